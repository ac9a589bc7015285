"""Following releases: a picture that is repainted on a terminal, one line per decision everywhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from meshctl.app.views import DecisionView, ReleaseView
from meshctl.cli.picture import render
from meshctl.core.record import stamp

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["change_line", "follow", "lines", "live", "render", "watching"]

T = TypeVar("T")


def live(views: Iterable[ReleaseView], console: Console) -> None:
    """Show one release for as long as ``views`` yields; the last picture stays on the screen."""
    follow(([view] for view in views), console, lambda found: render(found[0], height=console.height - 1))


def follow(
    frames: Iterable[Sequence[ReleaseView]], console: Console, draw: Callable[[Sequence[ReleaseView]], RenderableType]
) -> None:
    """Show each frame: drawn on a terminal; as lines on a pipe and on a terminal that cannot go back."""
    if not console.is_terminal or console.is_dumb_terminal:
        for line in lines(frames):
            console.file.write(line + "\n")
            console.file.flush()
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as screen:
        for views in frames:
            screen.update(draw(views), refresh=True)


def watching(changes: Iterable[None], look: Callable[[], T]) -> Iterator[T]:
    """What ``look`` returns at each change."""
    for _ in changes:
        yield look()


# ------------------------------------------------------------------------------------ lines


def lines(frames: Iterable[Sequence[ReleaseView]]) -> Iterator[str]:
    """One line for each release as it is found, then one per decision; what no decision changed is no line."""
    told: dict[str, tuple[str, int]] = {}
    last: dict[str, str] = {}
    for views in frames:
        for view in views:
            for line in _news(view, told):
                if last.get(view.name) != line:
                    last[view.name] = line
                    yield line


def _news(view: ReleaseView, told: dict[str, tuple[str, int]]) -> Iterator[str]:
    run = view.run.name if view.run is not None else ""
    before = told.get(view.name)
    newest = view.decisions[-1].number if view.decisions else 0
    told[view.name] = (run, newest)
    if before is None or not view.decisions:
        yield change_line(view)
        return
    known = before[1] if before[0] == run else 0
    for decision in view.decisions:
        if decision.number > known:
            yield _decision_line(view, decision)


def change_line(view: ReleaseView) -> str:
    """The release in one line: ``TIME NAME phase=.. stage=2/5 weight=10 reason=.. message=".."``."""
    if view.decisions:
        return _decision_line(view, view.decisions[-1])
    status = view.status
    at = "-" if view.run is None else stamp(view.run.ended_at or view.run.changed_at)
    stage = "-" if status.stage is None else f"{status.stage + 1}/{len(view.stages)}"
    return _line(at, view.name, status.phase, stage, status.weight, status.reason or "", status.message)


def _decision_line(view: ReleaseView, decision: DecisionView) -> str:
    entered = view.status.stage is not None and (decision.weight_to > 0 or decision.weight_from > 0)
    stage = f"{decision.stage + 1}/{len(view.stages)}" if entered else "-"
    at = stamp(decision.time)
    return _line(at, view.name, decision.phase_to, stage, decision.weight_to, decision.reason, decision.message)


def _line(at: str, name: str, phase: str, stage: str, weight: float, reason: str, message: str) -> str:
    word = json.dumps(message, ensure_ascii=False)
    return f"{at} {name} phase={phase} stage={stage} weight={weight:g} reason={reason or '-'} message={word}"
