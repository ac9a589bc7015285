"""``meshctl render``."""

from __future__ import annotations

from pathlib import Path

import click

from meshctl.core.errors import InvalidInput


@click.command("render")
@click.option(
    "-f",
    "--filename",
    "path",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    help="A file with one Release.",
)
@click.option("--weight", type=float, required=True, help="Percent for the candidate, 0 to 100 in steps of 0.1.")
@click.option(
    "--baseline", default="baseline", show_default=True, metavar="VERSION", help="The version that gets the rest."
)
@click.option(
    "--template-dir",
    type=click.Path(path_type=Path, readable=False),
    help="Your own templates, instead of the built-in ones.",
)
def render_command(path: Path, weight: float, baseline: str, template_dir: Path | None) -> int:
    """Print the VirtualService and the DestinationRule of a release at a weight; touches nothing.

    What a template renders is read back and compared with what was asked for: one that lies is refused, with
    its name and line.

    \b
    Exit code: 0, or 2 when a file or a template is wrong.
    Examples:
      meshctl render -f release.yaml --baseline 2.0.0 --weight 10
      meshctl render -f release.yaml --weight 0.5 --template-dir templates | kubectl diff -f -
    """
    from meshctl.wiring import render_release

    if not 0.0 <= weight <= 100.0 or round(weight, 1) != weight:
        raise InvalidInput(f"--weight {weight:g}: must be 0 to 100 in steps of 0.1")
    click.echo(render_release(path, weight, baseline, template_dir), nl=False)
    return 0
