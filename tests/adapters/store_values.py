"""Releases, runs, events and blocks for the tests of stores and records."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from meshctl.core.model import (
    Actor,
    ArmCounts,
    ArmTotals,
    Block,
    Event,
    Judgement,
    Metadata,
    MetricEvidence,
    Phase,
    Reason,
    Release,
    ReleaseSpec,
    Request,
    Run,
    Stage,
    StageTerms,
    Verb,
    Verdict,
    Workload,
    WorkloadSpec,
    WorkloadVersion,
)
from meshctl.core.ports import MeshRecord

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MESH = MeshRecord("sha256:0a", {"VirtualService/shop": "1812", "DestinationRule/shop": "1790"})

JUDGEMENT = Judgement(
    verdict=Verdict.FAIL,
    message="2.1.0 failed 3 of 68 requests",
    reasons=("errors",),
    engine="sequential",
    engine_version="1",
    abort_log=9.4,
    abort_threshold_log=4.828,
    metrics={"errors": MetricEvidence(9.4, lower=4.1), "latency": MetricEvidence(-0.3)},
    gate_log=-2.0,
    gate_threshold_log=1.609,
    baseline=ArmTotals(6731, 0),
    candidate=ArmTotals(68, 3),
)


def release(name: str = "shop", version: str = "2.1.0") -> Release:
    return Release(Metadata(name), ReleaseSpec(version, name))


def workload(name: str = "shop", replicas: int = 2) -> Workload:
    return Workload(Metadata(name), WorkloadSpec("127.0.0.1:0", {"2.0.0": WorkloadVersion(("run",), replicas)}))


def run(name: str = "shop", number: int = 1, **fields: object) -> Run:
    base = Run(
        name=f"{name}-{number}",
        number=number,
        baseline="2.0.0",
        candidate="2.1.0",
        spec=ReleaseSpec("2.1.0", name),
        stages=(Stage(1.0), Stage(50.0), Stage(100.0)),
        phase=Phase.PROGRESSING,
        started_at=NOON,
        changed_at=NOON,
        entries=(StageTerms(0, 1.0, 0.1, 0.5, bake=False, comparable=True, max_duration_s=1800.0),),
        weight=1.0,
        judgement=JUDGEMENT,
    )
    return replace(base, **fields)


def event(run: str = "shop-1", **fields: object) -> Event:
    base = Event(
        time=NOON + timedelta(seconds=34, milliseconds=300),
        run=run,
        stage=0,
        phase_from=Phase.PROGRESSING,
        phase_to=Phase.ROLLED_BACK,
        reason=Reason.REGRESSION,
        message="2.1.0 failed 3 of 68 requests, 2.0.0 0 of 6731: worse than 1.1x the baseline",
        actor=Actor("judge"),
        weight_from=1.0,
        weight_to=0.0,
        confirmed=1.0,
        verdict=Verdict.FAIL,
        judgement=JUDGEMENT,
    )
    return replace(base, **fields)


def block(second: int = 0, requests: int = 198, bad: int = 0) -> Block:
    start = NOON + timedelta(seconds=second)
    return Block(
        start=start,
        end=start + timedelta(seconds=1),
        entry=0,
        weight=1.0,
        baseline=ArmCounts(requests, 0, (requests - 10, 10, 0)),
        candidate=ArmCounts(2, bad, (2 - bad, 0, 0)),
        bounds_ms=(50.0, 100.0),
    )


def request(id_: str = "r1", verb: Verb = Verb.PROMOTE, **fields: object) -> Request:
    return replace(Request(id_, verb, NOON, "anna", "looks fine"), **fields)
