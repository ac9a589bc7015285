"""A release drawn as a tree: versions, stages, evidence, what it waits for, the last decisions.

Every sign stands beside its word, so nothing is told by colour alone.  The picture fits the width it gets (from
140 columns down to 40) and, while it is live, the height of the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshctl.app import words
from meshctl.app.notes import following
from meshctl.app.views import ArmView, DecisionView, EvidenceView, Progress, ReleaseView, Role, StageView
from meshctl.cli.output import COLOURS, GLYPHS
from meshctl.core.model import Phase, Verdict

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

_ROLES = {
    Role.SERVING: ("●", "green"),
    Role.BASELINE: ("●", "blue"),
    Role.CANDIDATE: ("◆", "cyan"),
    Role.TAKEN_BACK: ("✖", "red"),
    Role.WARM: ("○", "dim"),
}
_STAGES = {
    Progress.DONE: ("✔", "green"),
    Progress.NOW: ("▶", "cyan"),
    Progress.AHEAD: ("○", "dim"),
    Progress.SKIPPED: ("»", "yellow"),
    Progress.STOPPED: ("✖", "red"),
    Progress.NOT_REACHED: ("·", "dim"),
}
_ASCII = str.maketrans({
    "✔": "+", "✖": "x", "▶": ">", "○": "o", "◐": "*", "‖": "=", "▲": "!", "●": "#", "◆": "*", "»": "/",
    "·": ".", "█": "#", "░": ".", "→": ">", "…": "~", "×": "x",
})  # fmt: skip

_WIDE, _MIDDLE, _NARROW = 100, 72, 56
_WAITING = (Phase.PAUSED, Phase.HELD)


def render(view: ReleaseView, *, height: int | None = None) -> RenderableType:
    """The tree of one release.  With ``height`` the less telling lines give way until it fits."""
    return _Picture(view, height)


@dataclass(frozen=True, slots=True)
class _Picture:
    view: ReleaseView
    height: int | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        pen = _Pen(options.max_width, options.ascii_only)
        for detail in _Detail.falling():
            tree = _tree(self.view, pen, detail)
            if self.height is None or len(console.render_lines(tree, options)) <= self.height:
                break
        yield tree


@dataclass(frozen=True, slots=True)
class _Detail:
    """How much of the less telling is shown."""

    decisions: int = 5
    all_stages: bool = True
    header: bool = True

    @classmethod
    def falling(cls) -> Sequence[_Detail]:
        return (cls(), cls(3), cls(1), cls(1, False), cls(0, False, False))


@dataclass(frozen=True, slots=True)
class _Pen:
    """Writes for one width and one character set."""

    width: int
    ascii_only: bool

    def text(self, *parts: str | tuple[str, str]) -> Text:
        from rich.text import Text

        pieces = [(part, "") if isinstance(part, str) else part for part in parts]
        return Text.assemble(*((self.signs(text), style) for text, style in pieces))

    def signs(self, text: str) -> str:
        return text.translate(_ASCII) if self.ascii_only else text

    def grid(self, *justify: str) -> Table:
        from rich.table import Table

        grid = Table.grid(padding=(0, 2, 0, 0))
        for side in justify:
            grid.add_column(justify="right" if side == ">" else "left", no_wrap=side != "w")
        return grid


def _tree(view: ReleaseView, pen: _Pen, detail: _Detail) -> Tree:
    from rich.console import Group
    from rich.tree import Tree

    tree = Tree(_title(view, pen), guide_style="dim")
    if view.versions:
        tree.add(_versions(view, pen))
    if view.run is not None and view.run.entries:
        arms = ((view.run.candidate, "cyan"), ("|", "dim"), (view.run.baseline or "", "blue"))
        tree.add(Group(pen.text(("Stages", "bold"), "  ", *arms), _stages(view, pen, detail)))
    if view.abort is not None and view.status.phase is not Phase.PROMOTED:
        tree.add(Group(pen.text(("Evidence", "bold")), _evidence(view, pen)))
    told = _told(view, pen)
    if told is not None:
        tree.add(told)
    if detail.decisions and view.decisions:
        tree.add(Group(pen.text(("Decisions", "bold")), _decisions(view.decisions[-detail.decisions :], pen)))
    return tree


def _title(view: ReleaseView, pen: _Pen) -> Text:
    status = view.status
    colour = COLOURS[status.phase]
    title = pen.text((view.name, "bold"), "  ", (f"{GLYPHS[status.phase]} {status.phase}", f"bold {colour}"))
    if status.reason is not None:
        title.append_text(pen.text((f" {status.reason}", colour)))
    if view.run is not None and pen.width >= _NARROW:
        title.append_text(pen.text((f"  run {view.run.name}", "dim")))
        if view.moment is not None:
            end = view.run.ended_at or view.moment
            word = "took" if view.run.ended_at else "for"
            title.append_text(pen.text((f" {word} {words.span(end - view.run.started_at)}", "dim")))
    return title


def _versions(view: ReleaseView, pen: _Pen) -> Table:
    """One line per version: what it is, its share, and where the data plane does not follow yet."""
    grid = pen.grid("<", "<", ">", "<", "<")
    for each in view.versions:
        glyph, colour = _ROLES[each.role]
        late = "" if each.in_effect == each.weight else f"now {words.weight(each.in_effect)}"
        if late and pen.width >= _MIDDLE:
            late += " in effect"
        bar = pen.text("")
        if pen.width >= _NARROW:
            bar = _bar(each.weight / 100.0, 10 if pen.width < _WIDE else 20, colour, pen)
        grid.add_row(
            pen.text((f"{glyph} ", colour), (each.version, "bold")),
            pen.text((each.role.value, colour)),
            pen.text((words.weight(each.weight), "bold")),
            bar,
            pen.text((late, "yellow")),
        )
    return grid


def _bar(share: float, width: int, colour: str, pen: _Pen) -> Text:
    full = round(share * width)
    if share > 0:
        full = max(1, full)
    if share < 1:
        full = min(full, width - 1)
    return pen.text(("█" * full, colour), ("░" * (width - full), "dim"))


# ------------------------------------------------------------------------------------ stages

_Figures = Callable[[ArmView], str]


def _figures(width: int) -> tuple[tuple[str, _Figures], ...]:
    """The columns of both versions, the most telling ones where there is little room."""
    errors = ("errors %", lambda arm: words.percent(arm.error_rate).removesuffix(" %"))
    requests = ("requests", lambda arm: words.count(arm.requests))
    p50 = ("p50 ms", lambda arm: words.milliseconds(arm.p50_ms))
    p99 = ("p99 ms", lambda arm: words.milliseconds(arm.p99_ms))
    if width >= _WIDE:
        return requests, errors, p50, p99
    if width >= _MIDDLE:
        return requests, errors, p99
    return (errors, p99) if width >= _NARROW else (errors,)


def _stages(view: ReleaseView, pen: _Pen, detail: _Detail) -> Table:
    """One line per stage; each figure as ``candidate | baseline``."""
    figures = _figures(pen.width)
    grid = pen.grid("<", ">", "<", ">", *">" * len(figures))
    assert view.run is not None
    if detail.header:
        heads = (pen.text((head, "dim")) for head in ("time", *(head for head, _ in figures)))
        grid.add_row("", "", "", *heads)
    present = view.run.stage + 1
    shown = [stage for stage in view.stages if detail.all_stages or abs(stage.number - present) <= 1]
    columns = [_column(shown, figure, pen) for _, figure in figures]
    for index, stage in enumerate(shown):
        grid.add_row(*_stage(stage, view, pen), *(column[index] for column in columns))
    return grid


def _column(stages: Sequence[StageView], figure: _Figures, pen: _Pen) -> list[Text]:
    """One figure of all stages, with the sign between the versions at one place."""
    pairs = [(figure(stage.candidate), figure(stage.baseline)) if _seen(stage) else None for stage in stages]
    width = max((len(pair[1]) for pair in pairs if pair), default=0)
    return [
        pen.text((pair[0], "cyan"), ("|", "dim"), (f"{pair[1]:<{width}}", "blue")) if pair else pen.text("")
        for pair in pairs
    ]


def _seen(stage: StageView) -> bool:
    return bool(stage.candidate.requests or stage.baseline.requests)


def _stage(stage: StageView, view: ReleaseView, pen: _Pen) -> Iterator[Text]:
    glyph, colour = _STAGES[stage.progress]
    word = stage.progress.value
    if stage.progress is Progress.NOW and view.status.phase in _WAITING:
        glyph, colour, word = GLYPHS[view.status.phase], "yellow", view.status.phase.lower()
    if stage.manual and stage.progress in (Progress.NOW, Progress.AHEAD) and pen.width >= _NARROW:
        word += ", manual gate"
    here = "bold " if stage.progress in (Progress.NOW, Progress.STOPPED) else ""
    yield pen.text((glyph, colour))
    yield pen.text((words.weight(stage.stage.weight), here))
    yield pen.text((word, f"{here}{colour}"))
    yield pen.text(words.span(stage.seconds) if _seen(stage) or stage.progress is Progress.NOW else "")


# ------------------------------------------------------------------------------------ evidence and words


def _evidence(view: ReleaseView, pen: _Pen) -> Table:
    """Two bars: the proof that takes the candidate back, and the one that opens the gate."""
    grid = pen.grid("<", "<", ">", "<") if pen.width >= _MIDDLE else pen.grid("<", "<", ">")
    ended = view.status.phase.ended
    rows: list[tuple[str, EvidenceView | None, str, str]] = [
        ("worse", view.abort, "red", _outcome(view.abort) if ended else "a full bar takes it back")
    ]
    rows.append(("not worse", view.gate, "green", _outcome(view.gate) if ended else _purpose(view)))
    rows += _own_metrics(view)
    for name, evidence, colour, meaning in rows:
        if evidence is None:
            cells = [pen.text(name), pen.text("-"), pen.text(""), pen.text(meaning)]
        else:
            share = pen.text(f"{100 * evidence.share:.0f} %")
            cells = [pen.text(name), _meter(evidence, colour, pen), share, pen.text(meaning)]
        grid.add_row(*cells[: len(grid.columns)])
    return grid


def _own_metrics(view: ReleaseView) -> Iterator[tuple[str, EvidenceView, str, str]]:
    """A bar for each metric of the release's own: how far it is on its way to take the candidate back alone."""
    judgement = view.run.judgement if view.run is not None else None
    for name, found in judgement.metrics.items() if judgement is not None else ():
        if judgement is not None and found.alone is not None:
            bar = EvidenceView(found.log, judgement.abort_threshold_log)
            meaning = f"alone: {found.alone}" + (", a dry run" if found.dry_run else "")
            yield name, bar, "bright_black" if found.dry_run else "red", meaning


def _meter(evidence: EvidenceView, colour: str, pen: _Pen) -> Text:
    width = max(8, min(40, pen.width // 3))
    return _bar(1.0 if evidence.proved else evidence.share, width, colour, pen)


def _outcome(evidence: EvidenceView | None) -> str:
    return "" if evidence is None else "proved" if evidence.proved else "not proved"


def _purpose(view: ReleaseView) -> str:
    terms = view.run.entries[-1] if view.run is not None and view.run.entries else None
    if terms is not None and not terms.comparable:
        return "nothing left to compare with: guards only"
    if view.gate is None:
        anew = terms is not None and terms.beta is not None
        return "starts anew at each stage" if anew else "no gate at this weight: guards and abort only"
    present = view.present
    if present is not None and present.manual:
        return "a person opens this gate"
    return "a full bar opens the gate"


def _told(view: ReleaseView, pen: _Pen) -> Table | None:
    """What it waits for and how long that may take; at the end, why it ended."""
    grid = pen.grid("<", "w")
    phase = view.status.phase
    if (phase in _WAITING or phase.ended) and view.status.message:
        lowered = phase is Phase.PROMOTED and view.waits_for and view.decisions
        why, colour = (view.decisions[-1].message, "yellow") if lowered else (view.status.message, COLOURS[phase])
        grid.add_row(pen.text(("Why", "bold")), pen.text((why, colour)))
    if view.waits_for:
        grid.add_row(pen.text(("Waits for", "bold")), pen.text(view.waits_for))
    if view.remaining_s is not None and view.run is not None:
        proviso = "" if view.verdict is Verdict.PASS else f", if it is as good as {view.run.baseline}"
        estimate = f"{words.about(view.remaining_s)} to {following(view.run)}{proviso}"
        grid.add_row(pen.text(("Estimate", "bold")), pen.text(estimate))
    if view.turned_down and phase.ended:
        advice = f"{view.turned_down}, rejected: only retry or another version starts a run"
        grid.add_row(pen.text(("Wished", "bold")), pen.text(advice))
    for request in view.pending:
        grid.add_row(pen.text(("Request", "bold")), pen.text(f"{request.verb} by {request.actor}, not served yet"))
    return grid if grid.row_count else None


def _decisions(decisions: Sequence[DecisionView], pen: _Pen) -> Table:
    wide = pen.width >= _MIDDLE
    grid = pen.grid("<", "<", ">", "w") if wide else pen.grid("<", "w")
    for decision in reversed(decisions):
        time = pen.text((words.clock(decision.time), "dim"))
        message = pen.text(decision.message)
        if wide:
            moved = decision.weight_from != decision.weight_to
            change = f"{decision.weight_from:g}→{decision.weight_to:g} %" if moved else words.weight(decision.weight_to)
            style = "magenta" if decision.by_person else "dim"
            grid.add_row(time, pen.text((decision.actor, style)), pen.text(change), message)
        else:
            grid.add_row(time, message)
    return grid
