"""``meshctl apply`` and ``meshctl diff``: wishes from files."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from meshctl.cli.target import Target, pass_target

file_option = click.option(
    "-f",
    "--filename",
    "path",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    help="A YAML file or a folder of them.",
)


@click.command("apply")
@file_option
@pass_target
def apply_command(target: Target, path: Path) -> int:
    """Store the releases and workloads of a file; another version of a release starts a run.

    Everything is checked first: one wrong field and nothing is stored.  A new version during a run takes the old
    candidate to 0 % and begins again; a version that was taken back is not tried again, see retry.

    \b
    Exit code: 0 stored or unchanged, 2 a file is wrong, 14 stored but the controller does not answer,
               16 a version in use would become another program.
    Examples:
      meshctl apply -f release.yaml --local
      meshctl lint -f deploy/ && meshctl apply -f deploy/ --local
      meshctl apply -f release.yaml --local && meshctl wait shop --local
    """
    changed = []
    for applied in target.put(target.wishes(path, create=True)):
        click.echo(f"{applied.kind.lower()}/{applied.name} {applied.action}")
        if applied.action != "unchanged":
            changed.append(applied)
    target.carry(changed)
    return 0


@click.command("diff")
@file_option
@pass_target
def diff_command(target: Target, path: Path) -> int:
    """Show what apply would change, as a unified diff; changes nothing.  What apply would refuse it refuses too.

    Defaults are spelled out on both sides, so that only what matters differs.

    \b
    Exit code: 0 without differences, 1 with some, 2 a file is wrong.
    Examples:
      meshctl diff -f release.yaml --local
      meshctl diff -f deploy/ --local || meshctl apply -f deploy/ --local
    """
    from meshctl.wiring import wish_as_yaml

    different = False
    for wish in target.wishes(path):
        title = f"{wish.kind.lower()}/{wish.metadata.name}"
        before = target.present(wish)
        old = [] if before is None else wish_as_yaml(before).splitlines()
        lines = list(
            difflib.unified_diff(old, wish_as_yaml(wish).splitlines(), title, f"{title} ({path})", lineterm="")
        )
        different |= bool(lines)
        for line in lines:
            click.echo(line)
    return 1 if different else 0
