"""What one save makes of the newest run, or of it and the one that takes its place.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from meshctl.adapters.kubernetes.chronicle import Chronicle, continued
from meshctl.adapters.kubernetes.heads import Known
from meshctl.adapters.kubernetes.run_object import Closing, Link, RunObject, Standing
from meshctl.core.model import Event, Run
from meshctl.core.ports import MeshRecord
from meshctl.core.record import Record, ended


@dataclass(frozen=True, slots=True)
class Save:
    """What is to be saved: the arguments of `meshctl.core.ports.Store.save`; blocks as packed lines."""

    standing: Standing
    events: Sequence[Event]
    lines: Sequence[str]
    served: Sequence[str]
    mesh: MeshRecord
    now: datetime

    @property
    def run(self) -> Run:
        """The newest run after the save."""
        assert self.standing.state.run is not None
        return self.standing.state.run

    def of(self, run: str) -> list[Event]:
        return [event for event in self.events if event.run == run]


def check(known: Known, save: Save) -> None:
    """What a save may speak of: the run before it and the run after it."""
    runs = {each.name for each in (known.standing.state.run, save.standing.state.run) if each is not None}
    assert all(event.run in runs for event in save.events), "an event names a run of its release"
    assert runs or not save.lines, "blocks belong to a run"


def kept_back(known: Known, save: Save) -> Known:
    """The same run with what is not worth a write yet."""
    assert known.present is not None
    chronicle = _continued(known.present.chronicle, save, save.events)
    return known.with_unwritten(replace(known.present, chronicle=chronicle, standing=save.standing))


def written(known: Known, save: Save) -> RunObject:
    """The same run, to be written."""
    assert known.present is not None
    assert known.head is not None
    chronicle = _continued(known.present.chronicle, save, save.events)
    return replace(
        known.present,
        chronicle=chronicle,
        standing=save.standing,
        writes=known.head.writes + 1,
        written=save.now,
        closes=None,
    )


def _continued(chronicle: Chronicle, save: Save, events: Sequence[Event]) -> Chronicle:
    return continued(chronicle, save.run, events, save.lines, save.standing.judge_state, save.mesh)


def begun(known: Known, save: Save) -> RunObject:
    """The run that takes the place of the newest one, with what this adds to the record of that one."""
    lines = save.lines if known.head is None else ()
    state = save.standing.judge_state
    chronicle = continued(Chronicle(save.run), save.run, save.of(save.run.name), lines, state, save.mesh)
    previous = Link("", known.owner.uid, known.start)
    if known.head is not None:
        previous = Link(known.head.name, known.head.uid, known.head.version)
    return RunObject(
        owner=known.owner,
        chronicle=chronicle,
        standing=save.standing,
        writes=1,
        written=save.now,
        previous=previous,
        closes=_closing(known, save),
    )


def _closing(known: Known, save: Save) -> Closing | None:
    if known.head is None or known.present is None:
        return None
    old, stored = known.present.chronicle, known.head.chronicle
    events = save.of(known.head.name)
    chronicle = continued(old, old.run, events, save.lines, save.standing.judge_state, save.mesh)
    run = ended(old.run, events[-1]) if events else old.run
    decisions = chronicle.decisions[len(stored.decisions) :]
    lines = chronicle.lines[len(stored.lines) :]
    if (run, decisions, lines) == (stored.run, (), ()):
        return None
    return Closing(run, decisions, lines)


def new_records(before: RunObject | None, after: RunObject) -> list[Record]:
    """The decisions that a save added, those of a run that made way included."""
    since = before.chronicle.head.decisions if before is not None and before.name == after.name else 0
    closing = [] if after.closes is None else Chronicle(after.closes.run, decisions=after.closes.decisions).records()
    return closing + [record for record in after.chronicle.records() if record["number"] > since]
