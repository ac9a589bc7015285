"""``meshctl describe``."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from meshctl.cli.target import Target, pass_target, release_and_run_names

if TYPE_CHECKING:
    from meshctl.app.notes import Note, Step
    from meshctl.app.views import ReleaseView

WIDTH = 100
DECISIONS_SHOWN = 10
PAST_SHOWN = 3


@click.command("describe")
@click.argument("name", shell_complete=release_and_run_names)
@pass_target
def describe_command(target: Target, name: str) -> int:
    """Tell in plain words why release NAME stands where it stands, or how the earlier run NAME ended.

    The last decision with its numbers, what would change it, what you may do now, and what is planned next.  The
    text is for people; scripts read: meshctl get NAME -o json

    \b
    Examples:
      meshctl describe shop --local
      meshctl describe shop-7 --local
    """
    from meshctl.app.history import run_view
    from meshctl.app.queries import release_view
    from meshctl.cli.output import warn_where_nothing_moves
    from meshctl.wiring import classic_figures, system_clock

    store = target.store
    if name not in store.names() and (earlier := run_view(store, name)) is not None:
        assert earlier.run is not None
        for line in run_description(earlier, classic_figures(store.blocks(name))):
            click.echo(line)
        return 0
    name = name if name in store.names() else name.rpartition("-")[0]
    view = release_view(store, name, now=system_clock().now())
    figures = classic_figures(store.blocks(view.run.name)) if view.run is not None else ()
    for line in description(view, target.suffix, figures):
        click.echo(line)
    warn_where_nothing_moves(target)
    return 0


def description(view: ReleaseView, suffix: str = "", figures: Sequence[str] = ()) -> Iterator[str]:
    """The text about one release, line by line; ``suffix`` ends each command that it names.

    ``figures`` are classic ones of the newest stage, to stand beside the verdict.
    """
    from meshctl.app.notes import note_of
    from meshctl.cli.output import GLYPHS

    status, note = view.status, note_of(view)
    reason = f" ({status.reason})" if status.reason else ""
    yield f"{view.name}  {GLYPHS[status.phase]} {status.phase}{reason}"
    yield from _wrapped(note.headline, "  ")
    yield ""
    yield from _facts(view)
    yield from _part("Why", note.why)
    yield from _part("Evidence", note.evidence)
    yield from _part("Textbook tests of the newest stage, for comparison; they decide nothing", figures)
    yield from _stages(view)
    yield from _part("What would change it", note.change)
    yield from _steps(view, note, suffix)
    yield from _part("What comes next", note.plan)
    yield from _history(view)
    yield from _requests(view)
    yield from _past(view)


def run_description(view: ReleaseView, figures: Sequence[str] = ()) -> Iterator[str]:
    """The text about an earlier run: how it ended and why; there is nothing left to be done about it."""
    from meshctl.app.notes import note_of
    from meshctl.cli.output import GLYPHS

    run, note = view.run, note_of(view)
    assert run is not None
    reason = f" ({run.reason})" if run.reason else ""
    yield f"{run.name}  {GLYPHS[run.phase]} {run.phase}{reason}"
    yield from _wrapped(f"An earlier run of {view.name}; what follows is as of its end.", "  ")
    yield ""
    yield from _facts(view)
    yield from _part("Why", note.why)
    yield from _part("Evidence", note.evidence)
    yield from _part("Textbook tests of the newest stage, for comparison; they decide nothing", figures)
    yield from _stages(view)
    yield from _history(view)
    yield from _past(view)


def _facts(view: ReleaseView) -> Iterator[str]:
    from meshctl.app import words

    status, run = view.status, view.run
    pairs = [("Namespace", view.release.metadata.namespace), ("Service", view.release.spec.service)]
    pairs.append(("Wished", view.release.spec.version))
    for version in view.versions:
        share = words.weight(version.weight)
        if version.in_effect != version.weight:
            share += f" decided, {words.weight(version.in_effect)} in effect"
        pairs.append((version.role.value.capitalize(), f"{version.version}  {share}"))
    if run is not None:
        pairs.append(("Run", f"{run.name}, began {words.instant(run.started_at)}{_lasted(view)}"))
        pairs.append(("Verdict", status.verdict.value))
    if status.rejected:
        pairs.append(("Rejected", ", ".join(status.rejected)))
    width = max(len(key) for key, _ in pairs) + 3
    yield from (f"  {key + ':':{width}}{value}" for key, value in pairs)


def _lasted(view: ReleaseView) -> str:
    from meshctl.app import words

    run = view.run
    if run is None or view.moment is None:
        return ""
    if run.ended_at is None:
        return f", {words.span(view.moment - run.started_at)} ago"
    ended = f", ended {words.span(view.moment - run.ended_at)} ago" if view.moment > run.ended_at else ""
    return f", took {words.span(run.ended_at - run.started_at)}{ended}"


def _part(title: str, sentences: Iterable[str]) -> Iterator[str]:
    sentences = tuple(sentences)
    if not sentences:
        return
    yield ""
    yield title
    for sentence in sentences:
        yield from _wrapped(sentence, "  - ")


def _wrapped(text: str, indent: str) -> list[str]:
    """Lines of at most `WIDTH`; a number stays with its percent sign."""
    rest = " " * len(indent)
    kept = text.replace(" %", "\u00a0%")
    lines = textwrap.wrap(kept, WIDTH, initial_indent=indent, subsequent_indent=rest, break_on_hyphens=False)
    return [line.replace("\u00a0%", " %") for line in lines]


def _steps(view: ReleaseView, note: Note, suffix: str) -> Iterator[str]:
    """The commands that may be given now; only those that this meshctl has."""
    from meshctl.cli.root import COMMANDS

    known = [step for step in note.steps if step.verb in COMMANDS]
    if not known:
        return
    yield ""
    yield "What you may do now"
    for step in known:
        yield f"  {_command(view, step, suffix)}"
        yield from _wrapped(step.meaning, "      ")


def _command(view: ReleaseView, step: Step, suffix: str) -> str:
    name = "" if step.verb == "apply" else f" {shlex.quote(view.name)}"
    return f"meshctl {step.verb}{name}{suffix}" + (f" {step.arguments}" if step.arguments else "")


def _stages(view: ReleaseView) -> Iterator[str]:
    """What both versions did at each stage, the candidate's figure first."""
    from meshctl.app import words

    if view.run is None or not view.run.entries:
        return
    rows: list[tuple[str, ...]] = [("stage", "", "time", "requests", "failed", "error rate", "p50 ms", "p99 ms")]
    for stage in view.stages:
        new, old = stage.candidate, stage.baseline
        cells: tuple[str, ...] = ("",) * 6
        if new.requests or old.requests:
            cells = (
                words.span(stage.seconds),
                f"{words.count(new.requests)} | {words.count(old.requests)}",
                f"{words.count(new.bad)} | {words.count(old.bad)}",
                f"{words.percent(new.error_rate)} | {words.percent(old.error_rate)}",
                f"{words.milliseconds(new.p50_ms)} | {words.milliseconds(old.p50_ms)}",
                f"{words.milliseconds(new.p99_ms)} | {words.milliseconds(old.p99_ms)}",
            )
        rows.append((words.weight(stage.stage.weight), stage.progress.value, *cells))
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    yield ""
    yield f"Stages ({view.run.candidate} | {view.run.baseline})"
    for row in rows:
        head = f"{row[0]:>{widths[0]}}  {row[1]:<{widths[1]}}"
        rest = "".join(f"  {cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True))
        yield f"  {head}{rest}".rstrip()


def _history(view: ReleaseView) -> Iterator[str]:
    from meshctl.app import words

    if not view.decisions:
        return
    yield ""
    shown = view.decisions[-DECISIONS_SHOWN:]
    yield f"Decisions of {shown[-1].run}, newest first"
    for each in reversed(shown):
        moved = f"{words.weight(each.weight_from)} → {words.weight(each.weight_to)}"
        head = f"  {words.instant(each.time)}  {each.actor}  {moved}  {each.reason}".rstrip()
        yield head
        yield from _wrapped(each.message, "      ")
    if len(shown) < len(view.decisions):
        yield f"  ({len(view.decisions) - len(shown)} older ones)"


def _requests(view: ReleaseView) -> Iterator[str]:
    """Who asked for what, when, why, and what became of it."""
    from meshctl.app import words

    if not view.pending and not view.status.requests:
        return
    yield ""
    yield "Requests, newest first"
    for request in reversed(view.pending):
        yield f"  {words.instant(request.time)}  {request.verb} by {request.actor}: not served yet"
        if request.reason:
            yield from _wrapped(f'because: "{request.reason}"', "      ")
    for word in reversed(view.status.requests):
        answer = "accepted" if word.accepted else "refused"
        yield f"  {words.instant(word.time)}  {word.verb} by {word.actor}: {answer}"
        if word.message:
            yield from _wrapped(word.message, "      ")


def _past(view: ReleaseView) -> Iterator[str]:
    from meshctl.app import words

    if not view.past:
        return
    yield ""
    yield "Earlier runs"
    for run in list(reversed(view.past))[:PAST_SHOWN]:
        reason = f" ({run.reason})" if run.reason else ""
        at = f", {words.instant(run.ended_at)}" if run.ended_at else ""
        yield f"  {run.name}  {run.baseline or '-'} → {run.candidate}  {run.phase}{reason}{at}"
