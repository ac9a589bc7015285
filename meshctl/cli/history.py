"""``meshctl history`` and ``meshctl export``: what was, and a run as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshctl.cli.output import output_option
from meshctl.cli.target import Target, everywhere_option, pass_target, release_and_run_names, run_names
from meshctl.core.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from meshctl.app.history import RunLine
    from meshctl.core.record import Record

GOAL_BYTES = 65_536
"""What one object in a cluster may hold; a file may be larger."""


@click.command("history")
@click.argument("release", required=False, shell_complete=release_and_run_names)
@click.option("--decisions", is_flag=True, help="Show the decisions of RELEASE (or of one run) instead of its runs.")
@output_option
@everywhere_option
@pass_target
def history_command(target: Target, release: str | None, decisions: bool, output: str) -> int:
    """Show the kept runs of all releases, or of RELEASE alone, and how they ended; the newest first.

    Ten runs of each release are kept.  What a run was about: meshctl describe RUN; whether its record holds:
    meshctl replay RUN.

    \b
    Examples:
      meshctl history --local
      meshctl history shop --local -o json
      meshctl history shop --decisions --local
      meshctl history shop-7 --decisions --local -o yaml
    """
    from meshctl.app.history import run_lines
    from meshctl.cli.output import say

    if decisions and release is None:
        raise InvalidInput("history --decisions: of which release or run?", hint="meshctl history NAME --decisions")
    if release is not None and target.everywhere:
        raise InvalidInput(f"history {release} -A: a release is looked for in one namespace", hint="-n NAMESPACE")
    if decisions and release is not None:
        lines = _lines_of(target, release)
    else:
        lines = [line for _, store in target.sources() for line in run_lines(store, release)]
    if not lines:
        say("there has been no run yet; a release starts one once a controller runs")
    if decisions:
        records = [record for line in lines for record in reversed(target.store.decisions(line.run.name))]
        _print(records, _decision_rows, "DecisionList", output, [f"{each['run']}/{each['number']}" for each in records])
    else:
        _print_runs(lines, output, target)
    return 0


def _lines_of(target: Target, name: str) -> list[RunLine]:
    """The runs of a release, or the one run of this name."""
    from meshctl.app.history import find_run, run_lines

    try:
        return run_lines(target.store, name)
    except Refused as refusal:
        try:
            return [find_run(target.store, name)]
        except Refused:
            raise refusal from None


def _print_runs(lines: Sequence[RunLine], output: str, target: Target) -> None:
    from meshctl.wiring import system_clock
    from meshctl.wiring_records import run_data

    now = system_clock().now()
    data = [run_data(line.release, line.kept) for line in lines]

    def rows(items: Sequence[Any], wide: bool) -> list[tuple[str, ...]]:
        from meshctl.app import words

        head = ("RUN", "FROM", "TO", "PHASE", "REASON", "REACHED", "DECISIONS", "BEGAN", "TOOK")
        table = [head + (("VERDICT", "MESSAGE") if wide else ())]
        for line in lines:
            run = line.run
            reached = max((terms.weight for terms in run.entries), default=None)
            cells = (
                run.name,
                run.baseline or "-",
                run.candidate,
                run.phase.value,
                run.reason.value if run.reason else "-",
                "-" if reached is None else words.weight(reached),
                str(line.kept.head.decisions),
                f"{run.started_at:%Y-%m-%dT%H:%M:%SZ}",
                words.span(line.lasted(now)),
            )
            table.append(cells + ((run.verdict.value, run.message or "-") if wide else ()))
        return table

    _print(data, rows, "ReleaseRunList", output, [f"releaserun/{line.run.name}" for line in lines])


def _decision_rows(records: Sequence[Record], wide: bool) -> list[tuple[str, ...]]:
    from meshctl.app import words
    from meshctl.app.queries import decision_view

    rows: list[tuple[str, ...]] = [("TIME", "RUN", "NR", "ACTOR", "WEIGHT", "PHASE", "VERDICT", "REASON", "MESSAGE")]
    for record in records:
        each = decision_view(record)
        moved = f"{words.weight(each.weight_from)} → {words.weight(each.weight_to)}"
        message = each.message if wide or len(each.message) <= 70 else each.message[:69] + "…"
        rows.append(
            (
                f"{each.time:%Y-%m-%dT%H:%M:%SZ}",
                each.run,
                str(each.number),
                each.actor,
                moved,
                each.phase_to.value,
                each.verdict,
                each.reason or "-",
                message,
            )
        )
    return rows


def _print(items: Sequence[Any], rows: Any, kind: str, output: str, names: Sequence[str]) -> None:
    from meshctl.cli.output import JSONPATH, encoded, picked
    from meshctl.core.model import API_VERSION

    if output == "name":
        for name in names:
            click.echo(name)
    elif output in ("table", "wide"):
        if items:
            click.echo(_columns(rows(items, output == "wide")), nl=False)
    else:
        data = {"apiVersion": API_VERSION, "kind": kind, "items": list(items)}
        text = picked(data, output.removeprefix(JSONPATH)) if output.startswith(JSONPATH) else encoded(data, output)
        click.echo(text, nl=False)


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(cells[index]) for cells in rows) for index in range(len(rows[0]))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


@click.command("export")
@click.argument("run", shell_complete=run_names)
@click.option(
    "-o", "--output", "path", type=click.Path(path_type=Path, dir_okay=False), help="The file; without it stdout."
)
@pass_target
def export_command(target: Target, run: str, path: Path | None) -> int:
    """Write run RUN with everything its verdicts stand on as one JSON file.

    On any machine, without a mesh, meshctl replay --file FILE proves it.  A file that is there already is replaced
    as a whole or not at all.

    \b
    Examples:
      meshctl export shop-7 -o shop-7.json --local
      meshctl export shop-7 --local | gzip > shop-7.json.gz
    """
    from meshctl.app.history import dossier_of
    from meshctl.cli.output import say
    from meshctl.wiring_records import export_text, write_export

    dossier = dossier_of(target.store, run)
    if path is None:
        click.echo(export_text(dossier), nl=False)
        return 0
    size = write_export(path, dossier)
    kept = f"{len(dossier.decisions)} decisions, {len(dossier.blocks)} blocks, {size / 1024:.1f} KiB"
    say(f"{path}: {run} with {kept}" + (" (more than the 64 KiB of one object)" if size > GOAL_BYTES else ""))
    return 0
