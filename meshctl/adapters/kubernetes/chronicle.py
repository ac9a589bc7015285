"""The record of a run as one object can hold it: decisions, blocks, and where it gives way when there is no room.

Pure.  Decisions are kept as their canonical text: their hashes stand over that, and an API server does not keep the
difference between ``1.0`` and ``1``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from meshctl.core.model import Actor, Event, Run
from meshctl.core.packing import canonical, inputs_of
from meshctl.core.ports import MeshRecord
from meshctl.core.record import WHOLE, Checkpoint, Head, Record, append
from meshctl.core.terms import terms_of

NO_DECISION = Head()
KEEPER = Actor("store")
"""Who makes the decisions that decide nothing: they name the blocks that give way."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place where the record can be cut: so many blocks and decisions from the run's beginning, and the judge's
    state there."""

    blocks: int
    decisions: int
    judge_state: str


@dataclass(frozen=True, slots=True)
class Chronicle:
    """A run with what is kept of its decisions (canonical JSON) and its blocks (packed lines).

    ``named``: so many of the kept lines are named by a decision.  ``mark``: where the next cut can be made.
    """

    run: Run
    head: Head = NO_DECISION
    decisions: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    named: int = 0
    checkpoint: Checkpoint = WHOLE
    mark: Mark | None = None

    @property
    def blocks(self) -> int:
        """All blocks of the run, those included that gave way."""
        return self.checkpoint.blocks + len(self.lines)

    def records(self) -> list[Record]:
        """The kept decisions as data."""
        return [json.loads(text) for text in self.decisions]


def continued(
    chronicle: Chronicle,
    run: Run,
    events: Sequence[Event],
    lines: Sequence[str],
    judge_state: str,
    mesh: MeshRecord,
) -> Chronicle:
    """The chronicle after a save: new blocks, then the decisions that stand on all blocks since the last one."""
    chronicle = replace(chronicle, run=run, lines=(*chronicle.lines, *lines))
    if not events:
        return chronicle
    inputs = inputs_of(chronicle.lines[chronicle.named :])
    records, head = append(chronicle.head, events, inputs, judge_state, mesh, terms_of(run))
    return replace(
        chronicle,
        head=head,
        decisions=(*chronicle.decisions, *(canonical(record) for record in records)),
        named=len(chronicle.lines),
    )


# ------------------------------------------------------------------------------------ giving way


def marked(chronicle: Chronicle, judge_state: str, now: datetime) -> Chronicle:
    """With a mark at its end, where every block is named: if need be by a decision made for that."""
    if chronicle.named < len(chronicle.lines):
        chronicle = continued(chronicle, chronicle.run, [_seal(chronicle.run, now)], (), judge_state, MeshRecord())
    return replace(chronicle, mark=Mark(chronicle.blocks, chronicle.head.decisions, judge_state))


def cut(chronicle: Chronicle) -> Chronicle:
    """Without the blocks before its mark."""
    mark = chronicle.mark
    assert mark is not None
    gone = mark.blocks - chronicle.checkpoint.blocks
    old = chronicle.checkpoint
    return replace(
        chronicle,
        lines=chronicle.lines[gone:],
        named=max(chronicle.named - gone, 0),
        checkpoint=Checkpoint(mark.blocks, mark.decisions, mark.judge_state, old.forgotten, old.hash),
        mark=None,
    )


def forgetting(chronicle: Chronicle) -> Chronicle | None:
    """Without half of the decisions that stand on blocks which are gone; ``None`` when there are none to spare."""
    old = chronicle.checkpoint
    spare = old.decisions - old.forgotten - 1
    if spare <= 0:
        return None
    count = (spare + 1) // 2
    last = json.loads(chronicle.decisions[count - 1])["hash"]
    checkpoint = replace(old, forgotten=old.forgotten + count, hash=last)
    return replace(chronicle, decisions=chronicle.decisions[count:], checkpoint=checkpoint)


def smaller(chronicle: Chronicle, judge_state: str | None, now: datetime) -> Chronicle | None:
    """The next smaller chronicle of the same run; ``None`` when nothing can be spared.

    Blocks give way before decisions, unless the decisions about blocks that are gone are what takes the room.
    ``judge_state`` is that after the newest block; ``None`` where it is not known, and then nothing behind the mark
    gives way.
    """
    if _room(chronicle.decisions) > _room(chronicle.lines) and (less := forgetting(chronicle)):
        return less
    if chronicle.mark is not None:
        return cut(chronicle)
    if judge_state is not None and (chronicle.lines or chronicle.head.decisions > chronicle.checkpoint.decisions):
        return cut(marked(chronicle, judge_state, now))
    return forgetting(chronicle)


def _room(texts: Sequence[str]) -> int:
    """About as many bytes as texts take where they are kept: numbers shrink to a fraction of what words do."""
    return len(zlib.compress("\n".join(texts).encode("utf-8", "replace")))


def _seal(run: Run, now: datetime) -> Event:
    return Event(
        time=now,
        run=run.name,
        stage=run.stage,
        phase_from=run.phase,
        phase_to=run.phase,
        reason=run.reason,
        message="the record is full: from here on it can begin with a checkpoint of the judge's state",
        actor=KEEPER,
        weight_from=run.weight,
        weight_to=run.weight,
        confirmed=run.confirmed,
        verdict=run.verdict,
    )
