"""``meshctl demo``."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshctl.core.errors import InvalidInput

if TYPE_CHECKING:
    from meshctl.demo.play import Options
    from meshctl.demo.result import DemoResult
    from meshctl.demo.scenarios import Scenario
    from meshctl.demo.view import Show

SCENARIOS = ("good", "errors", "spike", "slow", "late")
BOTH = ("good", "errors")


@click.command("demo")
@click.option("--scenario", type=click.Choice(SCENARIOS), help="Play only this one.")
@click.option("--once", is_flag=True, help="Play the scenario once and exit by its outcome.  Needs --scenario.")
@click.option("--rps", type=float, default=600.0, show_default=True, help="Requests a second on the whole service.")
@click.option("--seed", type=int, help="Of load and service; random when none is given, and printed.")
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", help="json: results only on stdout.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".meshctl/demo"),
    show_default=True,
    help="Where state, logs and records go; they stay.",
)
def demo_command(scenario: str | None, once: bool, rps: float, seed: int | None, output: str, folder: Path) -> int:
    """Show releases end to end: real Envoy, real replicas, real requests, the product's own judge.

    Without --scenario a good release goes to 100 %, then a bad one is stopped; about three minutes.  Nothing but
    the Python package is needed; every port is a free one on 127.0.0.1, and every process ends with the command.
    The records stay in the folder: meshctl describe shop --local=.meshctl/demo

    \b
    Scenarios: good    2.1.0 does as well as 2.0.0
               errors  it fails 5 % of its requests
               spike   it fails 30 %
               slow    it takes twice as long
               late    it fails 5 %, from the 50 % stage on

    \b
    Exit code: with --once 0 promoted, 10 rolled back, 11 held; else 0 when everything ended as it should, or 1.
    Examples:
      meshctl demo
      meshctl demo --scenario errors --once -o json --rps 200 --seed 7
    """
    if once and scenario is None:
        raise InvalidInput(
            "--once plays one scenario: name it with --scenario", hint=f"One of: {', '.join(SCENARIOS)}."
        )
    _need_embedded()
    from meshctl.demo import play
    from meshctl.demo.result import exit_code
    from meshctl.demo.scenarios import SCENARIOS as KNOWN

    plan = [KNOWN[name] for name in ((scenario,) if scenario else BOTH)]
    options = play.Options(folder=folder, rps=rps, seed=seed, once=once)
    results = _on_screen(plan, options) if output == "text" and _is_screen() else _in_lines(plan, options, output)
    return exit_code(results, once=once)


def _on_screen(plan: Sequence[Scenario], options: Options) -> list[DemoResult]:
    """Draw; the results stay on the terminal, the picture is drawn below them."""
    from meshctl.cli.demo_screen import Screen
    from meshctl.cli.output import console

    with Screen(options.folder, console()) as screen:
        return _play(plan, options, screen, screen.write)


def _in_lines(plan: Sequence[Scenario], options: Options, output: str) -> list[DemoResult]:
    """One line per change: on stdout, or on stderr where stdout is for scripts."""
    from meshctl.demo.lines import Lines

    quiet = output == "json"

    def write(text: str) -> None:
        click.echo(text, err=quiet)

    results = _play(plan, options, Lines(write), write)
    for result in results if quiet else ():
        click.echo(json.dumps(result.as_json()))
    return results


def _play(plan: Sequence[Scenario], options: Options, show: Show, write: Callable[[str], None]) -> list[DemoResult]:
    from meshctl.demo.lines import opening, summary
    from meshctl.demo.runner import Demo
    from meshctl.demo.target import EmbeddedTarget
    from meshctl.wiring import system_clock

    results = []
    with Demo(EmbeddedTarget(), system_clock(), plan, options, show) as demo:
        for text in opening(plan, options.rps, demo.seed):
            write(text)
        for position in range(len(plan)):
            result = demo.play(position)
            results.append(result)
            for text in summary(result):
                write(text)
    return results


def _is_screen() -> bool:
    """Whether stdout is a terminal that can go back up."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _need_embedded() -> None:
    """Raises `InvalidInput` where meshctl was installed without what the embedded mesh needs."""
    missing = [name for name in ("aiohttp", "msgspec") if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidInput(
            f"the demo needs {' and '.join(missing)}, which this installation lacks",
            hint="Install it with: pip install 'meshctl-istio[embedded]'",
        )
