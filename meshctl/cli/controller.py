"""``meshctl controller``."""

from __future__ import annotations

from typing import Any

import click

from meshctl.cli.operating import (
    instance,
    loop_options,
    observed,
    operator_options,
    place_of,
    settings_of,
    webhook_options,
)
from meshctl.cli.target import cluster_options, everywhere_option, taken


@click.command("controller")
@everywhere_option
@cluster_options
@operator_options
@webhook_options
@loop_options
@click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    help="Serve /metrics, /healthz and /readyz there; 127.0.0.1 without HOST, 0 is a free port, which is told.",
)
def controller_command(**options: Any) -> int:
    """Drive the releases of a namespace, or of all with -A, until told to stop.

    Releases, routes and pods are watched; what moves is looked at every ten seconds and at once when something
    happens, what is idle costs nothing.  Of several controllers the holder of the lease works, and another takes over
    within 15 s of its death; none of them holds anything that would be lost.  In a pod it acts as its service account.

    meshctl install prints what a cluster needs to run it.

    \b
    Exit code: 0 ended as asked, 2 a setting is wrong, 14 the API server does not answer, 15 a right is missing,
               16 the CRDs of meshctl or Istio are not installed.
    Examples:
      meshctl controller -A --prometheus-url http://prometheus.istio-system:9090
      meshctl controller -n shop --context prod --prometheus-url https://thanos.example.com --log-format json
    """
    named = taken(options)
    place = place_of(named)
    from meshctl.controller.cluster import ClusterController
    from meshctl.controller.election import Election
    from meshctl.controller.logs import configure
    from meshctl.controller.signals import ended_by_signals
    from meshctl.wiring_cluster import lease_of
    from meshctl.wiring_world import ClusterWorld

    settings = settings_of(options)
    configure(options["log_format"])
    election = Election(lease_of(place, instance()))
    scope = "" if named.all_namespaces else place.namespace
    world = ClusterWorld(place.api, scope, settings, watches=True, may_raise=election.held, instance=instance())
    with observed(options["metrics"], world.deliveries) as observer:
        controller = ClusterController(world, election, observer, workers=options["workers"])
        with ended_by_signals(controller.stop):
            controller.run()
    return 0
