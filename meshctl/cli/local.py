"""``meshctl local``: an embedded mesh on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshctl.cli.target import DEFAULT_FOLDER, folder_of
from meshctl.cli.target_local import LocalTarget
from meshctl.core.errors import InvalidInput, WorkloadError

if TYPE_CHECKING:
    from meshctl.controller.telling import Observer

START_TIMEOUT_S = 30.0
METRICS_FILE = "metrics.url"


@click.group("local")
def local_command() -> None:
    """Run an embedded mesh on this machine: real Envoy, your commands as replicas, the same controller.

    The folder .meshctl, or the one that --local=DIR, MESHCTL_LOCAL or meshctl.toml names, holds everything of it.

    \b
    Examples:
      meshctl local up -f examples/local-shop --detach
      meshctl local status
      meshctl local down
    """


folder_option = click.option(
    "--local", "folder", metavar="DIR", help=f"The folder of the mesh; {DEFAULT_FOLDER} when nothing names one."
)


def _target(folder: str | None) -> LocalTarget:
    """Unlike other commands, ``local`` may assume the usual folder: its name says what is meant."""
    return LocalTarget(folder_of(folder))


@local_command.command("up")
@click.option(
    "-f", "--filename", "path", type=click.Path(path_type=Path, readable=False), help="Apply these files first."
)
@click.option(
    "--envoy",
    type=click.Path(path_type=Path, readable=False),
    help="The Envoy binary to run, instead of the packaged one.",
)
@click.option(
    "--template-dir",
    type=click.Path(path_type=Path, readable=False),
    help="Your own templates, instead of the built-in ones.",
)
@click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    help="Serve /metrics, /healthz and /readyz there; 127.0.0.1 without HOST, 0 is a free port, which is told.",
)
@click.option("--webhook-url", metavar="URL", help="Post every decided event there, signed.")
@click.option("--webhook-secret-file", metavar="FILE", help="Where the secret for the signature is found.")
@click.option("--webhook-secret-env", metavar="NAME", help="The same, for a secret in an environment variable.")
@click.option("--detach", is_flag=True, help="Run in the background; return once it is up.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: an object a line with release, run and stage.",
)
@folder_option
def up_command(
    path: Path | None,
    envoy: Path | None,
    template_dir: Path | None,
    metrics: str | None,
    webhook_url: str | None,
    webhook_secret_file: str | None,
    webhook_secret_env: str | None,
    detach: bool,
    log_format: str,
    folder: str | None,
) -> int:
    """Start Envoy, the replicas and the controller; stay in the foreground until Ctrl-C.

    Users come in at the Workload's listen address.  A release that moves is looked at every second.  What a killed
    controller left running is taken over, not started twice, and Ctrl-C ends all of it: replicas get their drain
    time, Envoy goes last.  State, records and logs stay in the folder.

    \b
    Exit code: 0 ended as asked, 2 a file, a template or an address is wrong,
               13 another controller holds the folder.
    \b
    Examples:
      meshctl local up -f examples/local-shop
      meshctl local up --detach && meshctl get -w shop --local
      meshctl local up --metrics 9464 --log-format json 2>> controller.json
    """
    from meshctl.app.commands import apply
    from meshctl.wiring import Embedded, load_wishes

    target = _target(folder)
    if target.embedded.place.is_held():
        raise target.embedded.place.taken()
    store = target.embedded.store(create=True)
    if path is not None:
        for applied in apply(store, load_wishes(path, store.workloads()), target.embedded.now()):
            click.echo(f"{applied.kind.lower()}/{applied.name} {applied.action}", err=True)
    webhook = {"url": webhook_url, "secret_file": webhook_secret_file, "secret_env": webhook_secret_env}
    mesh = Embedded(target.base, envoy=envoy, template_dir=template_dir, webhook=webhook)
    if detach:
        return _detach(target, envoy, template_dir, metrics, webhook, log_format)
    from meshctl.controller.local import LocalController
    from meshctl.controller.logs import configure

    configure(log_format)
    with _observed(target.base, metrics, mesh.deliveries) as observer:
        LocalController(mesh, observer).run()
    return 0


@contextmanager
def _observed(
    base: Path, address: str | None, deliveries: Callable[[], Mapping[str, int]]
) -> Iterator[Observer | None]:
    """Somebody to tell of what the controller does, if that is wished; where is written beside the store."""
    if address is None:
        yield None
        return
    if importlib.util.find_spec("prometheus_client") is None:
        raise InvalidInput(
            "--metrics needs prometheus_client, which this installation lacks",
            hint="Install it with: pip install 'meshctl-istio[embedded]'",
        )
    from meshctl.controller.metrics import ControllerMetrics, serving

    metrics, told = ControllerMetrics(deliveries=deliveries), base / METRICS_FILE
    with serving(metrics, address) as url:
        try:
            told.write_text(url, encoding="utf-8")
            click.echo(f"metrics are on {url}/metrics", err=True)
            yield metrics
        finally:
            told.unlink(missing_ok=True)


def _metrics_url(base: Path) -> str | None:
    try:
        return (base / METRICS_FILE).read_text(encoding="utf-8")
    except OSError:
        return None


def _detach(
    target: LocalTarget,
    envoy: Path | None,
    template_dir: Path | None,
    metrics: str | None,
    webhook: Mapping[str, str | None],
    log_format: str,
) -> int:
    target.embedded.place.make()
    log = target.base / "controller.log"
    argv = [sys.executable, "-m", "meshctl", "local", "up", f"--local={target.base}", "--log-format", log_format]
    argv += [] if envoy is None else ["--envoy", str(envoy)]
    argv += [] if template_dir is None else ["--template-dir", str(template_dir)]
    argv += [] if metrics is None else ["--metrics", metrics]
    # By the environment: everybody on the machine can read a command line, and a URL may hold a secret.
    env = os.environ | {f"MESHCTL_WEBHOOK_{name.upper()}": value for name, value in webhook.items() if value}
    with log.open("ab") as stream:
        before = stream.tell()
        child = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            with log.open("rb") as stream:
                stream.seek(before)
                click.echo(stream.read().decode("utf-8", "replace").rstrip(), err=True)
            return child.returncode or 1
        if target.embedded.place.holder() == child.pid and target.embedded.answers():
            click.echo(f"controller is up in {target.base} (process {child.pid}, log {log})")
            if url := _metrics_url(target.base):
                click.echo(f"metrics are on {url}/metrics")
            return 0
        time.sleep(0.05)
    raise WorkloadError(
        f"the controller in {target.base} (process {child.pid}) does not answer within {START_TIMEOUT_S:g} s",
        hint=f"Its log is {log}; end it with: meshctl local down --local={target.base}",
    )


@local_command.command("down")
@folder_option
def down_command(folder: str | None) -> int:
    """End the controller, Envoy and all replicas, also what a killed controller left behind and one that hangs.

    Replicas get their drain time.  The records stay; the next meshctl local up goes on where this one ended.

    \b
    Examples:
      meshctl local down
      meshctl local down --local=staging
    """
    target = _target(folder)
    target.embedded.take_down()
    click.echo(f"{target.base} is down; its records stay")
    return 0


@local_command.command("status")
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", help="How to print.")
@folder_option
def status_command(output: str, folder: str | None) -> int:
    """Show what runs: controller, Envoy, each replica, where users come in and where metrics are served.

    \b
    Examples:
      meshctl local status
      meshctl local status -o json
    """
    target = _target(folder)
    found = target.embedded.status()
    found["metrics"] = _metrics_url(target.base) if found["controller"] else None
    if output == "json":
        click.echo(json.dumps(found))
        return 0
    click.echo("controller  " + (f"running, pid {found['pid']}" if found["controller"] else "not running"))
    if found["metrics"]:
        click.echo(f"metrics     {'':20} {found['metrics']}/metrics")
    for name, url in found["endpoints"].items():
        click.echo(f"service     {name:20} {url}")
    for process in found["processes"]:
        click.echo(f"process     {process['key']:20} pid {process['pid']:<8} {process['state']}")
    return 0


@local_command.command("logs")
@click.argument("key", required=False)
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(min=1), help="From the end.")
@folder_option
def logs_command(key: str | None, lines: int, folder: str | None) -> int:
    """Print the last lines of the logs of controller (if detached), Envoy and every replica, or of the one named KEY.

    Keys are those of meshctl local status.

    \b
    Examples:
      meshctl local logs
      meshctl local logs controller -n 100
      meshctl local logs shop/v2-1-0/0 -n 50
    """
    for name, text in _target(folder).embedded.logs(key, lines):
        click.echo(f"==> {name}")
        click.echo(text)
    return 0
