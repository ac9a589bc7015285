"""The smallest world a decision can be made in: one release, its routes, its replicas, and the judge's word.

`SmallWorld.tick` does what `meshctl.app.tick` does around a decision, with plain values instead of ports: store,
bring the routes to what was decided, and look again while something changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from meshctl.core.decide import decide, weights_of
from meshctl.core.model import (
    AnalysisSpec,
    ArmTotals,
    CanaryStrategy,
    Decision,
    Event,
    HookAnswer,
    HookCall,
    HookOutcome,
    Judgement,
    LiveRouting,
    Metadata,
    ReadyReplicas,
    Reason,
    Release,
    ReleaseSpec,
    ReleaseState,
    Request,
    Run,
    Seen,
    Stage,
    Strategy,
    Verb,
    Verdict,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
PASSES_MAX = 4

STAGES = (
    Stage(1.0, min_duration=timedelta(seconds=10), max_duration=timedelta(seconds=100)),
    Stage(10.0, min_duration=timedelta(seconds=10), max_duration=timedelta(seconds=100)),
    Stage(50.0, min_duration=timedelta(seconds=20), max_duration=timedelta(seconds=100)),
    Stage(80.0, min_duration=timedelta(seconds=30), max_duration=timedelta(seconds=100)),
    Stage(100.0, min_duration=timedelta(seconds=10)),
)


def release_of(
    version: str,
    stages: tuple[Stage, ...] = STAGES,
    *,
    analysis: AnalysisSpec | None = None,
    keep_warm_s: float = 300,
    ready_timeout_s: float = 60,
) -> Release:
    """A canary release named ``shop``."""
    spec = ReleaseSpec(
        version=version,
        service="shop",
        strategy=Strategy(canary=CanaryStrategy(stages=stages)),
        analysis=analysis or AnalysisSpec(metrics_grace=timedelta(seconds=60)),
        keep_warm=timedelta(seconds=keep_warm_s),
        ready_timeout=timedelta(seconds=ready_timeout_s),
    )
    return Release(Metadata("shop"), spec)


def judged(
    verdict: Verdict,
    message: str = "",
    *,
    guard: bool = False,
    wait: Reason | None = None,
    step_down: bool = False,
) -> Judgement:
    """A word of the judge; the numbers do not matter to the core."""
    return Judgement(
        verdict=verdict,
        message=message or f"the judge says {verdict}",
        reasons=(),
        engine="scripted",
        engine_version="1",
        abort_log=0.0,
        abort_threshold_log=4.8,
        metrics={},
        gate_log=None,
        gate_threshold_log=None,
        baseline=ArmTotals(),
        candidate=ArmTotals(),
        guard=guard,
        wait=wait,
        step_down=step_down,
    )


@dataclass
class SmallWorld:
    """Everything is a plain field to be changed between ticks.

    ``judgement`` is what the judge says after every block (``None``: there are no blocks).  ``mesh_problem``: the
    mesh neither answers nor takes anything.  ``stuck``: it takes what is written, the data plane does not.
    """

    release: Release
    state: ReleaseState = field(default_factory=ReleaseState)
    now: datetime = START
    live: LiveRouting | None = None
    replicas: dict[str, ReadyReplicas | None] = field(default_factory=dict)
    judgement: Judgement | None = field(default_factory=lambda: judged(Verdict.UNDECIDED))
    blocks_late_s: float = 0.0
    """How old the newest block is when it is read."""
    mesh_problem: str = ""
    stuck: bool = False
    pending: list[Request] = field(default_factory=list)
    history: list[float] = field(default_factory=list)
    """The candidate's share after every change of the routes."""
    requests: int = 0
    hook_words: dict[str, tuple[HookOutcome, str]] = field(default_factory=dict)
    """What each hook answers, by name, once it was asked; others do not answer."""
    calls: tuple[HookCall, ...] = ()
    """Who was asked by the last decision."""

    # -------------------------------------------------------------------------------- the hands of people

    def wish(self, version: str) -> None:
        metadata = replace(self.release.metadata, generation=self.release.metadata.generation + 1)
        self.release = replace(self.release, metadata=metadata, spec=replace(self.release.spec, version=version))

    def ask(
        self, verb: Verb, *, actor: str = "anna", reason: str = "", weight: float | None = None, full: bool = False
    ) -> Request:
        self.requests += 1
        request = Request(f"r{self.requests}", verb, self.now, actor, reason, weight, full)
        self.pending.append(request)
        return request

    def ready(self, version: str, ready: int = 2, wished: int = 2) -> None:
        self.replicas[version] = ReadyReplicas(ready, wished)

    def meddle(self, percent: float) -> None:
        """Another hand gives the run's candidate this share."""
        assert self.live is not None
        serving = self.run.baseline or self.run.candidate
        weights = {serving: 100.0 - percent} | {self.run.candidate: percent}
        self.live = replace(self.live, weights=weights, in_effect=True)

    def mark(self) -> None:
        """A crash between lowering and storing: the routes are taken back, the store does not know."""
        assert self.live is not None
        self.meddle(0.0)
        self.live = replace(self.live, aborted=True)

    # -------------------------------------------------------------------------------- what happens by itself

    @property
    def run(self) -> Run:
        assert self.state.run is not None
        return self.state.run

    def tick(self, seconds: float = 1.0) -> list[Event]:
        self.now += timedelta(seconds=seconds)
        return [event for decision in self._passes() for event in decision.events]

    def step(self) -> Decision:
        """One decision, stored; the routes stay as they are."""
        decision = decide(self.release, self.state, self.seen(), self._word(), self.pending, self.now)
        self.state, self.pending, self.calls = decision.state, [], decision.hooks
        return decision

    def seen(self) -> Seen:
        return Seen(
            live=None if self.mesh_problem else self.live,
            replicas=dict(self.replicas),
            mesh_problem=self.mesh_problem,
            newest_block_end=self.now - timedelta(seconds=self.blocks_late_s) if self._word() else None,
            hooks=tuple(
                HookAnswer(call.key, call.asking, *self.hook_words[call.hook.name])
                for call in self.calls
                if call.hook.name in self.hook_words
            ),
        )

    def settle(self, decision: Decision) -> bool:
        """Bring the routes to what was decided; true if that changed anything."""
        routing = decision.routing
        if routing is None or self.mesh_problem:
            return False
        live = LiveRouting(weights_of(routing), routing.run, routing.aborted, "1", not self.stuck)
        changed, self.live = live != self.live, live
        if changed:
            self.history.append(live.weights.get(self.run.candidate, 0.0))
        return changed

    def _passes(self) -> Iterator[Decision]:
        word = self.judgement
        for _ in range(PASSES_MAX):
            before = self.state
            decision = self.step()
            yield decision
            self.judgement = None
            new = before.run is None or before.run.name != self.state.run.name if self.state.run else False
            if not self.settle(decision) and not new and decision.wake_at != self.now:
                break
        self.judgement = word

    def _word(self) -> Judgement | None:
        """Blocks count only while the decided weight is in effect."""
        run = self.state.run
        if run is None or run.phase.ended or not run.entries or run.weight != run.confirmed:
            return None
        live = 0.0 if self.live is None else self.live.weights.get(run.candidate, 0.0)
        return self.judgement if self.mesh_problem or live == run.weight else None
