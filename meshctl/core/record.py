"""The record of a decision: an event and what it stood on, as one JSON object, chained by hash.

Each record carries the hash of the one before it in its run (``previous``, ``null`` in the first) and its own:
SHA-256 of the record without ``hash`` as compact JSON with sorted keys.  A changed number, a lost record and a
record at another place are found by `faults`; a cut-off end is found where the head is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from meshctl.core.model import ArmTotals, Block, Event, Inputs, Judgement, MetricEvidence, Request, Run
from meshctl.core.packing import canonical, digest, inputs_of, pack
from meshctl.core.ports import MeshRecord

Record = dict[str, Any]
"""One decision as plain JSON data (``objects.md``, "ReleaseRun and its decisions")."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a run's chain: how many decisions it has and the hash of the newest."""

    decisions: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What stands for the beginning of a record that grew too large for its place.

    The first ``blocks`` blocks of the run are gone.  They are named by its first ``decisions`` decisions, and the judge
    went on from them with ``judge_state``, whose digest the last of these decisions carries.  Of the decisions the
    first ``forgotten`` are gone too, always fewer than ``decisions``; ``hash`` is that of the last one gone.
    """

    blocks: int
    decisions: int
    judge_state: str
    forgotten: int = 0
    hash: str = ""


WHOLE = Checkpoint(0, 0, "")
"""Stands for nothing: all is there."""


def append(
    head: Head, events: Sequence[Event], inputs: Inputs, judge_state: str, mesh: MeshRecord, terms: str = ""
) -> tuple[tuple[Record, ...], Head]:
    """The records of events of one run that were decided together, and the chain's new head.

    ``terms`` is the digest of what the run was judged by (`meshctl.core.terms`).
    """
    records = []
    for event in events:
        record = _record(event, head, inputs, judge_state, mesh, terms)
        records.append(record)
        head = Head(head.decisions + 1, record["hash"])
    return tuple(records), head


def ended(run: Run, event: Event) -> Run:
    """A run that the state no longer names, as its last event left it (a newer run took its place)."""
    moved = event.weight_to != run.weight
    return replace(
        run,
        phase=event.phase_to,
        reason=event.reason,
        message=event.message,
        waits_for="",
        problem_since=None,
        verdict=event.verdict,
        weight=event.weight_to,
        changed_at=event.time if moved else run.changed_at,
        clock=run.clock.stopped(event.time),
        ended_at=event.time if event.phase_to.ended and run.ended_at is None else run.ended_at,
    )


def hash_of(record: Mapping[str, Any]) -> str:
    """The hash that a record must carry."""
    return digest(canonical({key: value for key, value in record.items() if key != "hash"}))


def faults(
    records: Sequence[Mapping[str, Any]],
    *,
    head: Head | None = None,
    blocks: Sequence[Block] | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[str, ...]:
    """What is wrong with a run's chain of records, in words; empty when it is whole.

    ``head`` finds records that are missing at the end; ``blocks`` (all of the run, or all since the ``checkpoint``)
    are compared with the digests and sums that the records name.
    """
    since = checkpoint or WHOLE
    found: list[str] = list(checkpoint_faults(records, since))
    previous: str | None = since.hash or None
    for number, record in enumerate(records, start=since.forgotten + 1):
        name = f"decision {number}" + (f" of {record['run']}" if record.get("run") else "")
        if record.get("number") != number:
            found.append(f"{name}: carries the number {record.get('number')}, a record is missing or moved")
        if record.get("previous") != previous:
            found.append(f"{name}: does not follow the record before it")
        if record.get("hash") != _hash_or_none(record):
            found.append(f"{name}: its content does not match its hash")
        previous = record.get("hash")
    count = since.forgotten + len(records)
    if head is not None and (head.decisions, head.hash or None) != (count, previous):
        found.append(f"the run names {head.decisions} decisions, {count} were found, or the last one differs")
    if blocks is not None:
        found.extend(_block_faults(records[since.decisions - since.forgotten :], blocks))
    return tuple(found)


def checkpoint_faults(records: Sequence[Mapping[str, Any]], checkpoint: Checkpoint) -> tuple[str, ...]:
    """What the decision that a checkpoint was made at says against it; ``records`` are those that are kept."""
    if not checkpoint.decisions:
        return ()
    position = checkpoint.decisions - checkpoint.forgotten - 1
    if not 0 <= position < len(records):
        return (f"the decision {checkpoint.decisions}, which the checkpoint was made at, is missing",)
    judge = records[position].get("judge")
    named = judge.get("stateDigest") if isinstance(judge, Mapping) else None
    if named != (digest(checkpoint.judge_state) if checkpoint.judge_state else None):
        return (f"the judge's state in the checkpoint is not the one that decision {checkpoint.decisions} names",)
    return ()


def _hash_or_none(record: Mapping[str, Any]) -> str | None:
    try:
        return hash_of(record)
    except (TypeError, ValueError):
        return None


def _block_faults(records: Sequence[Mapping[str, Any]], blocks: Sequence[Block]) -> list[str]:
    """Records name the blocks since the last decision, in order; records decided together name the same ones."""
    found: list[str] = []
    lines = [pack(block) for block in blocks]
    begin = position = 0
    for record in records:
        named = record.get("inputs")
        if not isinstance(named, Mapping) or not isinstance(named.get("blocks"), int):
            found.append(f"decision {record.get('number')}: names no blocks")
            continue
        named = {key: value for key, value in named.items() if key != "terms"}
        following = lines[position : position + named["blocks"]]
        if named == inputs_as_data(inputs_of(following)):
            begin, position = position, position + len(following)
        elif named != inputs_as_data(inputs_of(lines[begin:position])):
            found.append(f"decision {record.get('number')}: the blocks it names are not the stored ones")
    return found


# ------------------------------------------------------------------------------------ one record


def _record(event: Event, head: Head, inputs: Inputs, judge_state: str, mesh: MeshRecord, terms: str) -> Record:
    record: Record = {
        "number": head.decisions + 1,
        "run": event.run,
        "time": stamp(event.time),
        "stage": event.stage,
        "phase": {"from": event.phase_from.value, "to": event.phase_to.value},
        "verdict": event.verdict.value,
        "reason": event.reason.value if event.reason else None,
        "message": event.message,
        "actor": {"type": event.actor.type} | ({"claimed": event.actor.claimed} if event.actor.claimed else {}),
        "weight": {
            "from": float(event.weight_from),
            "to": float(event.weight_to),
            "confirmed": float(event.confirmed),
        },
        "inputs": inputs_as_data(inputs) | ({"terms": terms} if terms else {}),
        "judge": judge_as_data(event.judgement, judge_state),
        "mesh": {"templates": mesh.templates} | dict(mesh.revisions or {}),
        "request": _request(event.request),
        "previous": head.hash or None,
    }
    record["hash"] = hash_of(record)
    return record


def stamp(time: datetime) -> str:
    """An instant as text, exact: milliseconds, or microseconds where it has them."""
    time = time.astimezone(UTC)
    precision = "microseconds" if time.microsecond % 1000 else "milliseconds"
    return time.isoformat(timespec=precision).replace("+00:00", "Z")


def inputs_as_data(inputs: Inputs) -> Record:
    """What a record says of the blocks since the decision before it."""
    return {
        "from": stamp(inputs.start) if inputs.start else None,
        "to": stamp(inputs.end) if inputs.end else None,
        "blocks": inputs.blocks,
        "digest": inputs.digest,
        "baseline": _sums(inputs.baseline),
        "candidate": _sums(inputs.candidate),
    } | ({"approximate": inputs.approximate} if inputs.approximate else {})


def _sums(totals: ArmTotals) -> Record:
    return {"requests": totals.requests, "bad": totals.bad}


def judge_as_data(judgement: Judgement | None, judge_state: str) -> Record | None:
    """What a record says of the judge: its newest word, if it said one in that tick, and its state."""
    state = {"stateDigest": digest(judge_state)} if judge_state else {}
    if judgement is None:
        return state or None
    return {
        "engine": judgement.engine,
        "version": judgement.engine_version,
        "evidence": {"log": _number(judgement.abort_log), "threshold": _number(judgement.abort_threshold_log)},
        "metrics": {name: _metric(evidence) for name, evidence in judgement.metrics.items()},
        "gate": _gate(judgement),
    } | state


def _gate(judgement: Judgement) -> Record | None:
    if judgement.gate_threshold_log is None:
        return None
    return {"log": _number(judgement.gate_log), "threshold": _number(judgement.gate_threshold_log)}


def _metric(evidence: MetricEvidence) -> Record:
    ratio = {"estimate": _number(evidence.ratio), "lower": _number(evidence.lower), "upper": _number(evidence.upper)}
    told = {"log": _number(evidence.log)} | ({} if all(value is None for value in ratio.values()) else {"ratio": ratio})
    return told | _own(evidence)


def _own(evidence: MetricEvidence) -> Record:
    """What is told of a release's own metrics only."""
    if evidence.alone is None or evidence.baseline is None or evidence.candidate is None:
        return {}
    return {
        "baseline": _sums(evidence.baseline),
        "candidate": _sums(evidence.candidate),
        "gate": _number(evidence.gate_log),
        "alone": evidence.alone.value,
    } | ({"dryRun": True} if evidence.dry_run else {})


def _number(value: float | None) -> float | None:
    """JSON has no infinity: an unbounded number is ``null``."""
    return value if value is not None and math.isfinite(value) else None


def _request(request: Request | None) -> Record | None:
    if request is None:
        return None
    record: Record = {"id": request.id, "verb": request.verb.value, "reason": request.reason}
    record |= {"time": stamp(request.time)}
    if request.weight is not None:
        record["weight"] = float(request.weight)
    if request.full:
        record["full"] = True
    if request.version:
        record["version"] = request.version
    return record
