"""Releases at every turn of their lives, played in the in-memory world with a judge that tells simple numbers."""

from __future__ import annotations

import json
import math
from datetime import timedelta

from meshctl.adapters.memory import Behaviour, FakeWorld
from meshctl.app.queries import release_view
from meshctl.app.tick import Ports, tick
from meshctl.core.model import (
    AnalysisSpec,
    ArmTotals,
    CanaryStrategy,
    Gate,
    Judgement,
    Metadata,
    MetricEvidence,
    OnInconclusive,
    Release,
    ReleaseSpec,
    Request,
    Stage,
    Strategy,
    Verb,
    Verdict,
)

OLD, NEW = "2.0.0", "2.1.0"

STAGES = (
    Stage(1.0, min_duration=timedelta(seconds=8)),
    Stage(10.0, min_duration=timedelta(seconds=8)),
    Stage(50.0, min_duration=timedelta(seconds=10), max_duration=timedelta(seconds=120)),
    Stage(80.0, min_duration=timedelta(seconds=15)),
    Stage(100.0, min_duration=timedelta(seconds=3)),
)


class CountingJudge:
    """Evidence from plain counts: three bad requests too many prove "worse", 200 requests prove "not worse".

    A candidate whose latency is above ``slow`` times the baseline's is neither proved bad nor good.
    """

    def __init__(self) -> None:
        self.ratio = 1.0

    def learn(self, state, analysis, blocks):
        return state

    def fold(self, state, analysis, terms, blocks):
        sums = json.loads(state) if state else {"entry": -1}
        if sums["entry"] != terms.entry:
            sums = {"entry": terms.entry, "new": [0, 0], "old": [0, 0]}
        for block in blocks:
            for arm, counts in (("new", block.candidate), ("old", block.baseline)):
                sums[arm] = [sums[arm][0] + counts.requests, sums[arm][1] + counts.bad]
        return json.dumps(sums), self._word(sums, terms)

    def _word(self, sums, terms):
        (n, bad), (m, worse) = sums["new"], sums["old"]
        abort = 1.7 * max(0.0, bad - n * (worse / m if m else 0.0))
        zone = 1.05 < self.ratio < 1.15
        gate = None if terms.beta is None else (0.2 if zone else 0.012 * n - 0.5)
        threshold = None if terms.beta is None else -math.log(terms.beta)
        passed = threshold is None or (gate is not None and gate >= threshold)
        failed = abort >= 4.83
        verdict = Verdict.FAIL if failed else Verdict.PASS if passed else Verdict.UNDECIDED
        return Judgement(
            verdict=verdict,
            message=f"candidate failed {bad} of {n} requests, baseline {worse} of {m}",
            reasons=(),
            engine="sequential",
            engine_version="1",
            abort_log=abort,
            abort_threshold_log=4.83,
            metrics={
                "errors": MetricEvidence(abort, 1.0 if not bad else 9.0, None if not bad else 4.1, None),
                "latency": MetricEvidence(-0.3, self.ratio),
            },
            gate_log=gate,
            gate_threshold_log=threshold,
            baseline=ArmTotals(m, worse, 45.3, 40.0, 128.0),
            candidate=ArmTotals(n, bad, 45.3 * self.ratio, 40.0 * self.ratio, 128.0 * self.ratio),
            remaining_s=None if threshold is None or passed else 25.0,
        )


class Scene:
    """One release ``shop`` in a world of its own: 2.0.0 serves, 2.1.0 is wished."""

    def __init__(self, stages=STAGES, *, judge=None, rps=600.0, name="shop", serving=True, **analysis) -> None:
        self.world = FakeWorld.of({OLD: 2, NEW: 2, "2.2.0": 2}, rps=rps)
        self.judge = judge or CountingJudge()
        self.name = name
        self.spec = {"stages": stages, "analysis": AnalysisSpec(**analysis)}
        self.put(OLD)
        if serving:
            self.run(3)

    @property
    def store(self):
        return self.world.store

    @property
    def view(self):
        return release_view(self.store, self.name)

    def put(self, version):
        strategy = Strategy(CanaryStrategy(stages=self.spec["stages"]))
        spec = ReleaseSpec(version, "shop", strategy=strategy, analysis=self.spec["analysis"])
        self.store.put_release(Release(Metadata(self.name), spec))

    def behave(self, **fields):
        """How 2.1.0 answers from now on."""
        self.world.metrics.behave(NEW, Behaviour(**fields))

    def ask(self, verb, actor="anna", reason="", **fields):
        now = self.world.clock.now()
        self.store.request(self.name, Request(f"{verb}-{now:%H%M%S}", Verb(verb), now, actor, reason, **fields))

    def run(self, seconds):
        """Tick once a second."""
        w = self.world
        ports = Ports(w.store, w.mesh, w.workloads, w.metrics, self.judge, w.renderer, w.clock)
        for _ in range(seconds):
            w.clock.advance(1.0)
            tick(ports, self.name)
        return self

    def until(self, condition, limit=600):
        """Tick until ``condition(view)`` holds."""
        for _ in range(limit):
            if condition(self.view):
                return self
            self.run(1)
        raise AssertionError(f"not reached: {self.view.status}")


def first():
    return Scene()


def first_waiting():
    """No version serves yet, and the first one does not get ready."""
    scene = Scene(serving=False)
    scene.world.workloads.broken.add(OLD)
    return scene.run(5)


def first_aborted():
    scene = first_waiting()
    scene.ask("abort", reason="wrong image")
    return scene.run(2)


def set_back():
    """Set by hand to less than a stage that was passed already, then aborted."""
    scene = progressing()
    scene.ask("set-weight", weight=5.0)
    scene.run(3)
    scene.ask("abort")
    return scene.run(2)


def pending():
    scene = Scene()
    scene.world.workloads.broken.add(NEW)
    scene.put(NEW)
    return scene.run(5)


def progressing():
    scene = Scene()
    scene.put(NEW)
    return scene.until(lambda view: view.status.weight == 50).run(5)


def promoted():
    scene = Scene()
    scene.put(NEW)
    return scene.until(lambda view: view.status.phase.ended and view.status.baseline == NEW).run(3)


def regression():
    scene = Scene()
    scene.behave(bad=0.05)
    scene.put(NEW)
    return scene.until(lambda view: view.status.reason == "Regression").run(2)


def zone():
    scene = Scene()
    scene.judge.ratio = 1.06
    scene.behave(median_ms=42.4)
    scene.put(NEW)
    scene.until(lambda view: view.status.stage == 0).run(12)
    return scene


def held():
    scene = progressing()
    scene.world.metrics.problem = "Prometheus does not answer"
    return scene.until(lambda view: view.status.phase == "Held").run(4)


def lowered():
    scene = progressing()
    scene.world.mesh.meddle("shop", {OLD: 95.0, NEW: 5.0})
    return scene.run(2)


def meddled():
    scene = promoted()
    scene.world.mesh.meddle("shop", {OLD: 60.0, NEW: 40.0})
    return scene.run(2)


def stuck():
    scene = Scene()
    scene.put(NEW)
    scene.until(lambda view: view.status.stage == 0 and view.status.confirmed == 1)
    scene.world.mesh.stuck = True
    return scene.until(lambda view: view.status.weight == 10).run(2)


def superseded():
    scene = progressing()
    scene.put("2.2.0")
    return scene.run(3)


def wished():
    """A second release that no controller has looked at."""
    scene = Scene()
    scene.store.put_release(Release(Metadata("fresh"), ReleaseSpec(NEW, "shop")))
    return scene


def turned_down():
    """2.1.0 was rejected, 2.2.0 promoted, then 2.1.0 wished again."""
    scene = regression()
    scene.put("2.2.0")
    scene.until(lambda view: view.status.baseline == "2.2.0")
    scene.put(NEW)
    return scene.run(2)


def inconclusive():
    scene = Scene((Stage(10.0, max_duration=timedelta(seconds=90)), Stage(100.0)), on_inconclusive=OnInconclusive.HOLD)
    scene.judge.ratio = 1.06
    scene.put(NEW)
    return scene.until(lambda view: view.status.phase == "Held").run(1)


def manual():
    scene = Scene((Stage(10.0, gate=Gate.MANUAL, min_duration=timedelta(seconds=5)), Stage(100.0)))
    scene.put(NEW)
    return scene.until(lambda view: view.status.phase == "Paused").run(20)


def paused():
    scene = progressing()
    scene.ask("pause", reason="waiting for the marketing mail")
    scene.run(2)
    scene.ask("retry", actor="ben", reason="why not")
    return scene.run(10)


def aborted():
    scene = progressing()
    scene.ask("abort", reason="support reports empty carts")
    return scene.run(2)


ALL = {
    each.__name__: each
    for each in (
        first,
        first_waiting,
        first_aborted,
        set_back,
        pending,
        progressing,
        promoted,
        regression,
        zone,
        held,
        lowered,
        meddled,
        stuck,
        superseded,
        turned_down,
        inconclusive,
        manual,
        paused,
        aborted,
    )
}
"""Every scene with a run, by name."""
