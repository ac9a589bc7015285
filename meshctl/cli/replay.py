"""``meshctl replay``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshctl.cli import target as targets
from meshctl.cli.target import Named, cluster_options, local_option, run_names, taken
from meshctl.core.errors import InvalidInput

if TYPE_CHECKING:
    from meshctl.app.replay import Replay
    from meshctl.core.catalog import Dossier

BAR_FROM = 1000
"""With fewer blocks it is over before a bar could be read."""

FINDINGS_SHOWN = 20


@click.command("replay")
@click.argument("run", required=False, shell_complete=run_names)
@click.option("--file", "path", type=click.Path(path_type=Path, readable=False), help="A file that export wrote.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)
@local_option
@cluster_options
def replay_command(run: str | None, path: Path | None, output: str, **target: Any) -> int:
    """Derive the verdicts of run RUN once more from its stored numbers, and prove that its record is unchanged.

    Every block goes through the judge again, in order; each decision's verdict, evidence (within 1e-9), gate and
    state, its blocks and its place in the chain of hashes must come out as recorded.  With --file it needs no mesh.

    Exit code 0 when all is the same; 1 when anything differs, and it says which decision and which field.

    \b
    Examples:
      meshctl replay shop-7 --local
      meshctl replay --file shop-7.json
    """
    from meshctl.app.replay import damaged, replay
    from meshctl.wiring_records import judge

    dossier, whole = _dossier(run, path, taken(target))
    total = len(dossier.blocks)
    hidden = total < BAR_FROM or not sys.stderr.isatty()
    with click.progressbar(length=total, label=dossier.run.name, file=sys.stderr, hidden=hidden) as bar:
        found = replay(dossier, judge(), lambda done, of: bar.update(1))
    found = found if whole else damaged(found)
    if output == "json":
        click.echo(json.dumps(_data(found), ensure_ascii=True))
    else:
        _tell(found)
    return 0 if found.same else 1


def _dossier(run: str | None, path: Path | None, named: Named) -> tuple[Dossier, bool]:
    from meshctl.app.history import dossier_of
    from meshctl.wiring_records import load_export

    if path is None:
        if run is None:
            raise InvalidInput("replay what?", hint="Name a run (meshctl history lists them) or a file with --file.")
        return dossier_of(targets.resolve(named).store, run), True
    dossier, whole = load_export(path)
    if run not in (None, dossier.run.name):
        raise InvalidInput(f"{path}: holds the run {dossier.run.name!r}, not {run!r}")
    return dossier, whole


def _tell(found: Replay) -> None:
    from meshctl.core.plaintext import plain

    what = f"{found.decisions} decisions, {found.judged} of them by figures of the judge, from {found.blocks} blocks"
    click.echo(f"{plain(found.run)}: {'the same' if found.same else 'different'} ({what})")
    for finding in found.findings[:FINDINGS_SHOWN]:
        click.echo(f"  {plain(str(finding))}")
    if len(found.findings) > FINDINGS_SHOWN:
        click.echo(f"  and {len(found.findings) - FINDINGS_SHOWN} more; all of them with -o json")
    for note in found.notes:
        click.echo(f"  ({note})")


def _data(found: Replay) -> dict[str, object]:
    return {
        "kind": "ReplayResult",
        "run": found.run,
        "same": found.same,
        "decisions": found.decisions,
        "judged": found.judged,
        "blocks": found.blocks,
        "findings": [
            {"decision": each.decision, "field": each.field, "message": each.message} for each in found.findings
        ],
        "notes": list(found.notes),
    }
