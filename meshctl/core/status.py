"""What a release tells of itself in its ``status``: a pure projection of what is stored, at most 4 KB of JSON.

Conditions follow kstatus: ``Ready`` is always there, ``Reconciling`` and ``Stalled`` only while they are true; beside
them ``AnalysisPassed``, ``Paused`` and ``RolledBack``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from meshctl.core.model import FULL, Acknowledgement, Phase, Reason, ReleaseState, Run, Verdict
from meshctl.core.packing import canonical
from meshctl.core.plaintext import plain
from meshctl.core.progress import SELF_ENDING_HOLDS
from meshctl.core.record import stamp
from meshctl.core.turn import ACKNOWLEDGEMENTS_KEPT

STATUS_BYTES_MAX = 4096
MESSAGE_MAX = 400
WORD_MAX = 63
"""Longest version, run name, actor or request id that is told in full; Kubernetes names end there too."""
REJECTED_MAX = 8
"""So many of the newest rejected versions are told; the state keeps more."""

_SHRINKING = (200, 120, 60, 0)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as kstatus reads it; ``since`` is its last transition, as far as the stored state knows it."""

    type: str
    status: str
    reason: str
    message: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The status of one release.  ``stage`` counts from 0, as records do; ``None`` before the first traffic."""

    phase: Phase
    reason: Reason | None = None
    message: str = ""
    baseline: str | None = None
    candidate: str | None = None
    run: str | None = None
    stage: int | None = None
    weight: float = 0.0
    confirmed: float = 0.0
    verdict: Verdict = Verdict.UNDECIDED
    waits_for: str = ""
    observed_generation: int = 0
    warm: str | None = None
    warm_until: datetime | None = None
    """Until when ``rollback`` is one write, and the old version's replicas are kept."""
    rejected: tuple[str, ...] = ()
    requests: tuple[Acknowledgement, ...] = ()
    conditions: tuple[Condition, ...] = ()


def status_of(state: ReleaseState, *, since: datetime | None = None) -> Status:
    """The status that a stored state amounts to.

    ``since`` is when the phase changed last, where the caller knows it from the decisions; without it conditions
    carry the nearest instant of the run itself.
    """
    run = state.run
    status = Status(
        phase=Phase.PENDING,
        message="not looked at yet",
        baseline=_word(state.baseline),
        observed_generation=state.observed_generation,
        warm=_word(state.warm),
        warm_until=state.warm_until,
        rejected=tuple(_clip(version, WORD_MAX) for version in state.rejected[-REJECTED_MAX:]),
        requests=tuple(_told(word) for word in state.acknowledged[-ACKNOWLEDGEMENTS_KEPT:]),
        conditions=(Condition("Ready", "False", "Pending"), Condition("Reconciling", "True", "Pending")),
    )
    if run is not None:
        status = replace(
            status,
            phase=run.phase,
            reason=run.reason,
            message=_clip(run.message, MESSAGE_MAX),
            candidate=_clip(run.candidate, WORD_MAX),
            run=_clip(run.name, WORD_MAX),
            stage=run.stage if run.entries else None,
            weight=run.weight,
            confirmed=run.confirmed,
            verdict=run.verdict,
            waits_for=_clip(run.waits_for, MESSAGE_MAX),
            conditions=tuple(_conditions(run, since)),
        )
    return _fitted(status)


def as_data(status: Status) -> dict[str, Any]:
    """The status as plain JSON data: camelCase, absent instead of null, numbers that JSON can hold."""
    data: dict[str, Any] = {
        "phase": status.phase.value,
        "reason": status.reason.value if status.reason else None,
        "message": status.message,
        "baseline": status.baseline,
        "candidate": status.candidate,
        "run": status.run,
        "stage": status.stage,
        "weight": _finite(status.weight),
        "confirmed": _finite(status.confirmed),
        "verdict": status.verdict.value,
        "waitsFor": status.waits_for or None,
        "observedGeneration": status.observed_generation,
        "warm": status.warm,
        "warmUntil": stamp(status.warm_until) if status.warm_until else None,
        "rejected": list(status.rejected),
        "requests": [_request_data(word) for word in status.requests],
        "conditions": [_condition_data(condition) for condition in status.conditions],
    }
    return {key: value for key, value in data.items() if value is not None}


def needs_person(run: Run) -> bool:
    """Whether the run goes on only when somebody says so."""
    if run.phase is Phase.HELD:
        return run.reason not in SELF_ENDING_HOLDS
    return run.phase is Phase.PAUSED


# ------------------------------------------------------------------------------------ conditions


def _conditions(run: Run, since: datetime | None) -> Iterator[Condition]:
    at = since or run.ended_at or run.problem_since or run.changed_at
    reason = run.reason.value if run.reason else run.phase.value
    message = _clip(run.message, 120)
    serves_all = run.phase is Phase.PROMOTED and run.weight == FULL
    if serves_all:
        yield Condition("Ready", "True", reason, since=run.ended_at or at)
    else:
        yield Condition("Ready", "False", reason, since=run.started_at)
    stalled = run.phase is Phase.ROLLED_BACK or (run.phase is Phase.HELD and needs_person(run))
    if run.phase is Phase.PROMOTED and not serves_all:
        stalled, message = True, f"{run.weight:g} % in effect, lowered by another hand"
    if stalled:
        yield Condition("Stalled", "True", reason, message, at)
    elif not run.phase.ended:
        yield Condition("Reconciling", "True", reason, _clip(run.waits_for, 120), run.started_at)
    if run.baseline is not None:
        word = {Verdict.PASS: "True", Verdict.FAIL: "False", Verdict.UNDECIDED: "Unknown"}[run.verdict]
        told = _clip(_own_metrics(run), MESSAGE_MAX)
        yield Condition(
            "AnalysisPassed", word, run.verdict.value.capitalize(), told, since=run.ended_at or run.changed_at
        )
    if run.phase is Phase.PAUSED:
        yield Condition("Paused", "True", reason, since=at)
    if run.phase is Phase.ROLLED_BACK:
        yield Condition("RolledBack", "True", reason, since=run.ended_at or at)


def _own_metrics(run: Run) -> str:
    """What each metric of the release's own would say alone."""
    found = run.judgement.metrics.items() if run.judgement is not None else ()
    return "; ".join(
        f"{name}: {each.alone}{' (dry run)' if each.dry_run else ''}" for name, each in found if each.alone is not None
    )


# ------------------------------------------------------------------------------------ size


def _fitted(status: Status) -> Status:
    """Requests give way until the status fits: the words of the older ones first, then the oldest altogether."""
    for length in _SHRINKING:
        for index in range(len(status.requests)):
            if _size(status) <= STATUS_BYTES_MAX:
                return status
            words = list(status.requests)
            words[index] = replace(words[index], message=_clip(words[index].message, length))
            status = replace(status, requests=tuple(words))
    while _size(status) > STATUS_BYTES_MAX and status.requests:
        status = replace(status, requests=status.requests[1:])
    if _size(status) > STATUS_BYTES_MAX:
        bare = tuple(replace(condition, message="") for condition in status.conditions)
        status = replace(
            status,
            message=_clip(status.message, 60),
            waits_for=_clip(status.waits_for, 60),
            rejected=status.rejected[-4:],
            conditions=bare,
        )
    return status


def _size(status: Status) -> int:
    return len(canonical(as_data(status)).encode("utf-8", "replace"))


def _told(word: Acknowledgement) -> Acknowledgement:
    return replace(
        word,
        id=_clip(plain(word.id), WORD_MAX),
        actor=_clip(plain(word.actor), WORD_MAX),
        message=_clip(plain(word.message), MESSAGE_MAX),
    )


def _word(text: str | None) -> str | None:
    return None if text is None else _clip(text, WORD_MAX)


def _clip(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    return text[: length - 1].rstrip() + "…" if length else ""


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _request_data(word: Acknowledgement) -> dict[str, Any]:
    data = {
        "id": word.id,
        "verb": word.verb.value,
        "time": stamp(word.time),
        "actor": word.actor,
        "accepted": word.accepted,
        "message": word.message,
    }
    return {key: value for key, value in data.items() if value != ""}


def _condition_data(condition: Condition) -> dict[str, Any]:
    data: dict[str, Any] = {"type": condition.type, "status": condition.status, "reason": condition.reason}
    if condition.message:
        data["message"] = condition.message
    if condition.since is not None:
        data["lastTransitionTime"] = stamp(condition.since)
    return data
