"""What people and pages ask about releases; reads the store and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from meshctl.app.sums import Follower, Sums
from meshctl.app.views import (
    DecisionView,
    EvidenceView,
    PastRun,
    Progress,
    ReleaseView,
    Role,
    StageView,
    VersionView,
)
from meshctl.core.catalog import Archive
from meshctl.core.model import FULL, Gate, Judgement, Phase, Reason, ReleaseState, Run, Verdict
from meshctl.core.plaintext import plain
from meshctl.core.ports import Store, Stored
from meshctl.core.record import Record
from meshctl.core.status import status_of


class Source(Store, Archive, Protocol):
    """What views are built from: a store whose records can be read."""


def release_view(
    source: Source, name: str, *, now: datetime | None = None, follower: Follower | None = None
) -> ReleaseView:
    """One release with everything there is to see, as of ``now`` (without: of the newest instant in the store).

    Who looks again and again keeps a ``follower``, which reads only what is new.

    Raises `Refused` when there is no such release.
    """
    stored = source.load(name)
    run = stored.state.run
    past = () if run is None else [kept.run for kept in source.runs(name) if kept.run.name != run.name]
    return view_at(source, stored, past, now=now, follower=follower)


def view_at(
    source: Archive,
    stored: Stored,
    past: Sequence[Run],
    *,
    now: datetime | None = None,
    follower: Follower | None = None,
) -> ReleaseView:
    """A release as it stands in ``stored``, with the records of the run that is the newest there."""
    run = stored.state.run
    if run is None:
        return _view(stored, Follower(), (), (), now)
    decisions = tuple(decision_view(record) for record in source.decisions(run.name))
    read = Follower() if follower is None else follower
    read.follow(source, run)
    return _view(stored, read, decisions, tuple(_past(each) for each in past), now)


def release_views(source: Source, *, now: datetime | None = None) -> tuple[ReleaseView, ...]:
    """All releases by name, as a list shows them: without the sums of the stages and without decisions."""
    return tuple(_view(source.load(name), Follower(), (), (), now) for name in source.names())


# ------------------------------------------------------------------------------------ the view


def _view(
    stored: Stored,
    read: Follower,
    decisions: tuple[DecisionView, ...],
    past: tuple[PastRun, ...],
    now: datetime | None,
) -> ReleaseView:
    state, run = stored.state, stored.state.run
    judgement = run.judgement if run is not None and run.entries else None
    judged = run is not None and _judged(run, read)
    moment = now or _moment(stored, run, decisions)
    return ReleaseView(
        release=stored.release,
        status=status_of(state, since=_changed(decisions)),
        run=run,
        moment=moment,
        versions=tuple(_versions(stored)),
        stages=() if run is None else tuple(_stages(run, read)),
        abort=None if judgement is None else EvidenceView(judgement.abort_log, judgement.abort_threshold_log),
        gate=_gate(judgement) if judged else None,
        waits_for="" if run is None else run.waits_for,
        remaining_s=None if run is None else _remaining(run, moment, judged=judged),
        decisions=decisions,
        pending=tuple(replace(each, actor=plain(each.actor), reason=plain(each.reason)) for each in stored.requests),
        warm_until=state.warm_until,
        past=past,
        rejected=state.rejected,
    )


def _judged(run: Run, read: Follower) -> bool:
    """Whether the judge's newest word is about the present stage: its gate evidence starts anew at each."""
    if read.newest == len(run.entries) - 1 >= 0:
        return True
    since, until = run.clock.running_since, run.evidence_until
    ran = since is not None and until is not None and until > since
    return ran or run.phase.ended or run.clock.elapsed > timedelta(0)


def _gate(judgement: Judgement | None) -> EvidenceView | None:
    if judgement is None or judgement.gate_threshold_log is None or judgement.gate_log is None:
        return None
    return EvidenceView(judgement.gate_log, judgement.gate_threshold_log)


def _remaining(run: Run, moment: datetime | None, *, judged: bool) -> float | None:
    """Seconds until the stage may end at the earliest; ``None`` where that cannot be told or a person decides."""
    judgement, stage = run.judgement if judged else None, run.stages[run.stage]
    settled = run.weight == run.confirmed == stage.weight
    if run.phase is not Phase.PROGRESSING or moment is None or not settled or stage.gate is Gate.MANUAL:
        return None
    least = (stage.min_duration - run.clock.at(moment)).total_seconds()
    if judgement is None or judgement.verdict is not Verdict.PASS:
        if judgement is None or judgement.remaining_s is None:
            return None
        least = max(least, judgement.remaining_s)
    return max(least, 0.0)


def _changed(decisions: Sequence[DecisionView]) -> datetime | None:
    moves = [each.time for each in decisions if each.phase_from is not each.phase_to]
    return moves[-1] if moves else None


def _moment(stored: Stored, run: Run | None, decisions: Sequence[DecisionView]) -> datetime | None:
    known = [each.time for each in decisions[-1:]] + [word.time for word in stored.state.acknowledged[-1:]]
    if run is not None:
        known += [each for each in (run.started_at, run.changed_at, run.evidence_until, run.ended_at) if each]
    return max(known, default=None)


def _versions(stored: Stored) -> Iterable[VersionView]:
    state, run = stored.state, stored.state.run
    if run is None or run.phase.ended:
        yield from _settled(state, run)
        return
    yield VersionView(run.candidate, Role.CANDIDATE, run.weight, run.confirmed)
    if run.baseline is not None:
        rest, live = FULL - run.weight, FULL - run.confirmed
        yield VersionView(run.baseline, Role.BASELINE, round(rest, 1), round(live, 1))


def _settled(state: ReleaseState, run: Run | None) -> Iterable[VersionView]:
    """The versions after the end of a run: the one that serves, and what is left of the other."""
    other, away = (None, 0.0) if run is None else (run.candidate, run.confirmed)
    if run is not None and run.phase is Phase.PROMOTED:
        other, away = run.baseline, FULL - run.confirmed
    if state.baseline is not None:
        weight = run.weight if run is not None and run.phase is Phase.PROMOTED else FULL
        yield VersionView(state.baseline, Role.SERVING, weight, round(FULL - away, 1))
    if run is not None and run.phase is Phase.ROLLED_BACK:
        yield VersionView(run.candidate, Role.TAKEN_BACK, 0.0, run.confirmed)
    elif state.warm is not None and run is not None:
        yield VersionView(state.warm, Role.WARM, round(FULL - run.weight, 1), round(away, 1) if other else 0.0)


def _stages(run: Run, read: Follower) -> Iterable[StageView]:
    entered = {terms.weight for terms in run.entries}
    sums = read.by_weight(run)
    for index, stage in enumerate(run.stages):
        found = sums.get(stage.weight, Sums())
        yield StageView(
            number=index + 1,
            stage=stage,
            progress=_progress(run, index, entered=stage.weight in entered),
            seconds=found.seconds,
            baseline=found.baseline.view(found.bounds),
            candidate=found.candidate.view(found.bounds),
        )


def _progress(run: Run, index: int, *, entered: bool) -> Progress:
    if run.phase is Phase.PROMOTED or run.reason is Reason.ROLLBACK_REQUESTED:
        return Progress.DONE if entered else Progress.SKIPPED
    ended = run.phase is Phase.ROLLED_BACK
    if not run.entries or index > run.stage:
        if not ended:
            return Progress.AHEAD
        return Progress.DONE if entered else Progress.NOT_REACHED
    if index < run.stage:
        return Progress.DONE if entered else Progress.SKIPPED
    return Progress.STOPPED if ended else Progress.NOW


# ------------------------------------------------------------------------------------ the record


def decision_view(record: Record) -> DecisionView:
    """A decision as people look at it; nothing in it can steer a terminal."""
    actor, request = record["actor"], record.get("request") or {}
    return DecisionView(
        number=record["number"],
        time=datetime.fromisoformat(record["time"]),
        run=record["run"],
        stage=record["stage"],
        phase_from=Phase(record["phase"]["from"]),
        phase_to=Phase(record["phase"]["to"]),
        reason=record.get("reason") or "",
        verdict=record["verdict"],
        message=plain(record["message"]),
        actor=plain(actor.get("claimed") or actor["type"]),
        by_person=actor["type"] == "user",
        weight_from=record["weight"]["from"],
        weight_to=record["weight"]["to"],
        why=plain(request.get("reason", "")),
    )


def _past(run: Run) -> PastRun:
    return PastRun(run.name, run.baseline, run.candidate, run.phase, run.reason, run.started_at, run.ended_at)
