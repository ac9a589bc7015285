"""``meshctl install``."""

from __future__ import annotations

from typing import Any

import click

from meshctl.cli import config
from meshctl.cli.operating import NONE, operator_options
from meshctl.core.errors import InvalidInput

DEFAULT_PROMETHEUS = "http://prometheus.istio-system:9090"
DEFAULT_ISTIOD = "http://istiod.istio-system:15014"


@click.command("install")
@click.option(
    "--mode",
    type=click.Choice(["controller", "cronjob"]),
    default="controller",
    show_default=True,
    help="What drives releases: a Deployment that watches, or a CronJob that begins once a minute.",
)
@click.option("--namespaced", is_flag=True, help="For one namespace alone, with no right beyond it.")
@click.option(
    "-n",
    "--namespace",
    metavar="NAME",
    help="Where it runs; meshctl-system, which is made, unless --namespaced.",
)
@click.option("--image", metavar="NAME:TAG", help="The image, built from the Dockerfile and pushed by you.")
@click.option(
    "--replicas", type=click.IntRange(1, 5), default=2, show_default=True, help="Controllers, of which one works."
)
@click.option(
    "--crds",
    type=click.Choice(["with", "without", "only"]),
    default="with",
    show_default=True,
    help="Whether the definitions of Release and ReleaseRun are printed; they belong to the whole cluster.",
)
@operator_options
def install_command(
    mode: str,
    namespaced: bool,
    namespace: str | None,
    image: str | None,
    replicas: int,
    crds: str,
    **settings: Any,
) -> int:
    """Print what a cluster needs to run meshctl: CRDs, rights, a controller or a CronJob, a NetworkPolicy.

    Nothing is applied: read it, keep it in Git, then kubectl apply --server-side.  The rights are those that are used
    and no more, a test compares; there is no wildcard and no right on secrets.  docs/cluster.md explains every part.

    \b
    Examples:
      meshctl install --image registry.example.com/meshctl:0.1.0 | kubectl apply --server-side -f -
      meshctl install --mode cronjob --namespaced -n shop --crds without
      meshctl install --prometheus-url https://thanos.example.com --hook-hosts checks.example.com
    """
    from meshctl.wiring_install import install_text

    if namespaced and not namespace:
        raise InvalidInput("--namespaced: for which namespace?", hint="Name it: -n NAMESPACE")
    settings["prometheus_url"] = settings["prometheus_url"] or DEFAULT_PROMETHEUS
    if not namespaced:  # to look at istiod is a right beyond the namespace
        settings["istiod_url"] = settings["istiod_url"] or DEFAULT_ISTIOD
    said = {
        config.BY_KEY[key].variable: str(value)
        for key, value in settings.items()
        if value not in (None, "", NONE) and value != config.BY_KEY[key].default
    }
    click.echo(
        install_text(
            mode=mode,
            namespaced=namespaced,
            namespace=namespace,
            image=image,
            replicas=replicas,
            crds=crds,
            settings=said,
        ),
        nl=False,
    )
    return 0
