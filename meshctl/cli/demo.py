"""``meshctl demo``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from meshctl.core.errors import InvalidInput

SCENARIOS = ("good", "errors", "spike", "slow", "late")
BOTH = ("good", "errors")


@click.command("demo")
@click.option("--scenario", type=click.Choice(SCENARIOS), help="Play only this one.")
@click.option("--once", is_flag=True, help="Play the scenario once and exit by its outcome.  Needs --scenario.")
@click.option("--rps", type=float, default=600.0, show_default=True, help="Requests a second on the whole service.")
@click.option("--seed", type=int, help="Of load and service; random when none is given, and printed.")
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", help="json: results only on stdout.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".meshctl/demo"), show_default=True)
def demo_command(scenario: str | None, once: bool, rps: float, seed: int | None, output: str, folder: Path) -> int:
    """Show releases end to end: real Envoy, real replicas, real requests, the product's own judge.

    Without --scenario a good release goes to 100 %, then a bad one is stopped; about three minutes.  The records
    stay in the folder: meshctl describe shop --local=.meshctl/demo

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
    from meshctl.demo.lines import Lines, opening, summary
    from meshctl.demo.play import Options
    from meshctl.demo.result import exit_code
    from meshctl.demo.runner import Demo
    from meshctl.demo.scenarios import SCENARIOS as KNOWN
    from meshctl.demo.target import EmbeddedTarget
    from meshctl.wiring import system_clock

    plan = [KNOWN[name] for name in ((scenario,) if scenario else BOTH)]
    options = Options(folder=folder, rps=rps, seed=seed, once=once)
    quiet = output == "json"
    results = []
    write = _writer(quiet)
    with Demo(EmbeddedTarget(), system_clock(), plan, options, Lines(write)) as demo:
        for text in opening(plan, rps, demo.seed):
            write(text)
        for position in range(len(plan)):
            result = demo.play(position)
            results.append(result)
            for text in summary(result):
                write(text)
            if quiet:
                click.echo(json.dumps(result.as_json()))
    return exit_code(results, once=once)


def _writer(quiet: bool) -> Callable[[str], None]:
    """Progress goes to stdout, or to stderr when stdout is for scripts."""
    return lambda text: click.echo(text, err=quiet)
