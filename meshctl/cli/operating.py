"""What the commands that drive releases of a cluster have in common: the operator's settings, and which cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshctl.cli import config
from meshctl.cli.target import Named, need_cluster_libraries
from meshctl.core.errors import InvalidInput, UnknownTarget

if TYPE_CHECKING:
    from meshctl.controller.telling import Observer
    from meshctl.wiring_cluster import ClusterPlace
    from meshctl.wiring_operator import OperatorSettings

F = TypeVar("F", bound=Callable[..., Any])

NONE = "-"
"""Says "none" where a setting has a default."""


def operator_options(command: F) -> F:
    """An option for each setting of the operator."""
    for setting in reversed([each for each in config.SETTINGS if ("install",) in each.used_by]):
        flag = f"--{setting.key.replace('_', '-')}"
        shown = setting.default is not None
        command = click.option(flag, metavar="TEXT", default=setting.default, show_default=shown, help=setting.help)(
            command
        )
    return command


def webhook_options(command: F) -> F:
    """Where decided events go."""
    for key in ("webhook_secret_env", "webhook_secret_file", "webhook_url"):
        metavar = {"webhook_url": "URL", "webhook_secret_file": "FILE"}.get(key, "NAME")
        command = click.option(f"--{key.replace('_', '-')}", metavar=metavar, help=config.BY_KEY[key].help)(command)
    return command


def loop_options(command: F) -> F:
    """How it is done."""
    for option in (
        click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="json: an object a line with namespace, release, run and stage.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1, 64),
            default=8,
            show_default=True,
            help="So many releases are looked at at the same time.",
        ),
        click.option(
            "--template-dir",
            type=click.Path(path_type=Path, readable=False),
            help="Your own templates, instead of the built-in ones.",
        ),
    ):
        command = option(command)
    return command


def settings_of(options: dict[str, Any]) -> OperatorSettings:
    """The operator's settings, taken out of a command's options."""
    from dataclasses import fields

    from meshctl.wiring_operator import OperatorSettings

    given = {each.name: options.pop(each.name, None) for each in fields(OperatorSettings)}
    return OperatorSettings(**{name: value for name, value in given.items() if value not in (None, NONE)})


def place_of(named: Named) -> ClusterPlace:
    """The cluster to act on: a named one, or the one that this process is a pod of.

    Raises `UnknownTarget` where neither is the case: the present context of somebody's kubeconfig is no order.
    """
    need_cluster_libraries()
    from meshctl.wiring_cluster import ClusterPlace

    context, kubeconfig = (config.value(key, flag=getattr(named, key)) for key in ("context", "kubeconfig"))
    inside = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    if not (named.cluster or context or kubeconfig or inside):
        raise UnknownTarget(
            "no cluster: whose releases shall be driven?",
            hint="Say --context NAME, -n NAMESPACE or -A for the present context; in a pod nothing needs to be said.",
        )
    if named.all_namespaces and named.namespace:
        raise InvalidInput(f"-A and -n {named.namespace} are named at once", hint="Leave out one of them.")
    namespace = config.value("namespace", flag=named.namespace)
    return ClusterPlace.connect(kubeconfig=kubeconfig, context=context, namespace=namespace)


def instance() -> str:
    """Who this is, for the lease and for Events: the pod's name."""
    return socket.gethostname() or "meshctl"


@contextmanager
def observed(address: str | None, deliveries: Callable[[], Mapping[str, int]]) -> Iterator[Observer | None]:
    """Somebody to tell of what the controller does, served at ``address``, if that is wished."""
    if address is None:
        yield None
        return
    from meshctl.controller.metrics import ControllerMetrics, serving

    metrics = ControllerMetrics(namespaced=True, deliveries=deliveries)
    with serving(metrics, address) as url:
        click.echo(f"metrics are on {url}/metrics", err=True)
        yield metrics
