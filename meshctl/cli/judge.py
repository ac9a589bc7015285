"""``meshctl judge``: two files instead of a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

EXIT_CODES = {"pass": 0, "fail": 10, "undecided": 11}


def _tolerances(command: Any) -> Any:
    """``--errors-tolerance`` and its five siblings; the defaults are the judge's own."""
    words = {
        "tolerance": "Ratio beyond which it is worse.",
        "margin": "Ratio it must be proved to be inside of.",
        "harm": "Extra bad share allowed on top.",
    }
    for metric in ("latency", "errors"):
        for name, text in reversed(words.items()):
            command = click.option(f"--{metric}-{name}", type=float, metavar="X", help=text)(command)
    return command


@click.command("judge")
@click.option("--baseline", type=click.Path(path_type=Path), required=True, help="Measurements of the old version.")
@click.option("--candidate", type=click.Path(path_type=Path), required=True, help="Measurements of the new version.")
@click.option("--engine", type=click.Choice(["sequential", "classic"]), help="Which statistics decide.")
@click.option("--alpha", type=float, metavar="P", help="Chance to fail a candidate that is not worse; 0.01.")
@click.option("--beta", type=float, metavar="P", help="Chance to pass one that is; 0.05.")
@_tolerances
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", help="How to print.")
def judge_command(baseline: Path, candidate: Path, output: str, **options: Any) -> int:
    """Say whether the candidate's measurements are worse than the baseline's, without any mesh.

    A file has one request a line, latency in milliseconds and, if you have it, the status (a header is optional);
    or it is a histogram: le,count with bounds in milliseconds, cumulative, the last line +Inf.

    \b
    Exit code: 0 pass, 10 fail, 11 undecided, 2 invalid input.
    Examples:
      meshctl judge --baseline before.csv --candidate after.csv
      meshctl judge --baseline before.csv --candidate after.csv --engine classic -o json
    """
    from meshctl.wiring import judge_files

    given = {name: value for name, value in options.items() if value is not None}
    verdict, text = judge_files(baseline, candidate, as_json=output == "json", **given)
    click.echo(text.rstrip("\n"))
    return EXIT_CODES[verdict]
