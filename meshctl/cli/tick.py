"""``meshctl tick``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from meshctl.cli.operating import instance, loop_options, operator_options, place_of, settings_of, webhook_options
from meshctl.cli.target import cluster_options, everywhere_option, taken
from meshctl.core.errors import InvalidInput


@click.command("tick")
@everywhere_option
@cluster_options
@click.option(
    "--for",
    "span",
    metavar="DURATION",
    help="Go on for so long, for instance 55s; without it each release is looked at once.",
)
@operator_options
@webhook_options
@loop_options
def tick_command(span: str | None, **options: Any) -> int:
    """Look once at every release that moves or changed, and take it as far as it goes now: what a CronJob runs.

    With --for it goes on, and requests and new versions are heard of at once.  Two at the same time, a kill at any
    moment and a night without any do no harm: nothing of a run lives outside the cluster's own store.  Hooks are asked
    only with --for, since nobody else would stay for their answers.

    \b
    Exit code: 0 all releases could be looked at, 1 some could not (each is named), 2 a setting is wrong,
               14 the API server does not answer, 15 a right is missing, 16 the CRDs are not installed.
    Examples:
      meshctl tick -n shop --prometheus-url http://prometheus.istio-system:9090
      meshctl tick -A --for 55s --log-format json
    """
    from meshctl.wiring import parse_duration

    limit: timedelta | None = None if span is None else parse_duration(span)
    if limit is not None and limit <= timedelta(0):
        raise InvalidInput(f"--for {span}: must be longer than nothing")
    named = taken(options)
    place = place_of(named)
    from meshctl.controller.cluster import ClusterController
    from meshctl.controller.election import Election, Unopposed
    from meshctl.controller.logs import configure
    from meshctl.controller.once import look_once
    from meshctl.controller.signals import ended_by_signals
    from meshctl.wiring_world import ClusterWorld

    settings = settings_of(options)
    configure(options["log_format"])
    scope = "" if named.all_namespaces else place.namespace
    world = ClusterWorld(place.api, scope, settings, watches=False, stays=limit is not None, instance=instance())
    if limit is None:
        troubled = look_once(world)
    else:
        controller = ClusterController(world, Election(Unopposed()), workers=options["workers"])
        with ended_by_signals(controller.stop):
            troubled = controller.run(limit.total_seconds())
    if troubled:
        click.echo(f"meshctl: in trouble, the log says why: {', '.join(troubled)}", err=True)
    return 1 if troubled else 0
