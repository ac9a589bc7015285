"""The work sheet of one decision: the state as it changes, and the events that say why."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from meshctl.core import hooks
from meshctl.core.model import (
    FULL,
    Acknowledgement,
    Actor,
    Event,
    Judgement,
    Phase,
    Reason,
    Release,
    ReleaseState,
    Request,
    Run,
    Stage,
    StageClock,
    Verdict,
)
from meshctl.core.strategies import canary
from meshctl.core.transitions import Move, after

CONTROLLER = Actor("controller")
JUDGE = Actor("judge")

ACKNOWLEDGEMENTS_KEPT = 16

REJECTED_KEPT = 50
"""So many rejected versions are remembered; an older one that is wished again has to pass every stage anyway."""


class Turn:
    """Collects the changes of one decision.  Every change of phase goes through `move`."""

    def __init__(self, release: Release, state: ReleaseState, judgement: Judgement | None, now: datetime) -> None:
        self.release = release
        self.state = state
        self.judgement = judgement
        self.now = now
        self.events: list[Event] = []
        self.starter: Request | None = None
        """The request that caused the next run, if a person did."""
        self.stopped = False
        """An abort was asked for or a run ended: no run begins in the same decision."""
        self.busy = False
        """Something about an ended run has to be stored before the next one may begin."""
        self.expected = () if state.run is None else (state.run.written, state.run.weight)
        """The weights that the routes may have by our own hand: what they said at the last look, what was decided."""

    # -------------------------------------------------------------------------------- reading

    @property
    def run(self) -> Run | None:
        return self.state.run

    @property
    def active(self) -> Run:
        """The run in hand; only asked for where one exists."""
        assert self.state.run is not None
        return self.state.run

    @property
    def stage(self) -> Stage:
        return self.active.stages[self.active.stage]

    # -------------------------------------------------------------------------------- changing

    def change(self, **fields: object) -> None:
        """Change the run without a word: clocks, confirmations, what it waits for."""
        self.state = replace(self.state, run=replace(self.active, **fields))  # type: ignore[arg-type]

    def move(
        self,
        move: Move,
        reason: Reason | None,
        message: str,
        *,
        actor: Actor = CONTROLLER,
        request: Request | None = None,
        weight: float | None = None,
        **fields: object,
    ) -> None:
        """Take a move of the transition table, with its event.  A new ``weight`` needs confirmation again."""
        before = self.active
        phase = after(before.phase, move)
        if weight is not None and weight != before.weight:
            fields |= {"weight": weight, "changed_at": self.now}
        clock = fields.get("clock", before.clock)
        assert isinstance(clock, StageClock)
        fields["clock"] = clock.stopped(self.now)
        if phase is not Phase.HELD:
            fields["problem_since"] = None
        if phase.ended:
            asks = hooks.at_the_end(before, phase, self.now)
            fields |= {"ended_at": self.now, "waits_for": "", "hooks": asks}
            self.stopped = True
        self.change(phase=phase, reason=reason, message=message, **fields)
        self._tell(before, message, actor, request)

    def note(
        self, message: str, *, before: Run | None = None, actor: Actor = CONTROLLER, request: Request | None = None
    ) -> None:
        """An event that leaves the phase as it is; ``before`` is the run as it was if its weight changed."""
        self._tell(before or self.active, message, actor, request)

    def wait_for(self, what: str) -> None:
        """What the run waits for now, for people who look."""
        if self.active.waits_for != what:
            self.change(waits_for=what)

    def take_back(
        self,
        move: Move,
        reason: Reason,
        message: str,
        *,
        actor: Actor = CONTROLLER,
        request: Request | None = None,
    ) -> None:
        """End the run with the candidate at 0; unless superseded, its version is not tried again by itself."""
        candidate = self.active.candidate
        self.move(move, reason, message, actor=actor, request=request, weight=0.0)
        if reason is not Reason.SUPERSEDED:
            self.reject(candidate)

    def reject(self, version: str) -> None:
        """From now on this version is not tried by itself."""
        others = tuple(other for other in self.state.rejected if other != version)
        self.state = replace(self.state, rejected=(*others, version)[-REJECTED_KEPT:])

    def give_way(
        self, old: str, reason: Reason, message: str, *, actor: Actor = CONTROLLER, request: Request | None = None
    ) -> None:
        """Back from the promoted candidate to the ``old`` version."""
        self.take_back(Move.ROLLBACK, reason, message, actor=actor, request=request)
        self.state = replace(self.state, baseline=old, warm=None, warm_until=None)

    def enter_stage(
        self,
        move: Move,
        index: int,
        reason: Reason | None,
        message: str,
        *,
        actor: Actor = CONTROLLER,
        request: Request | None = None,
        stages: tuple[Stage, ...] | None = None,
    ) -> None:
        """Begin ``stages[index]``: a new entry for the judge, a clock at zero, the stage's weight decided."""
        run = self.active
        stages = stages or run.stages
        terms = canary.terms_of(stages, index, len(run.entries))
        self.move(
            move,
            reason,
            message,
            actor=actor,
            request=request,
            weight=stages[index].weight,
            stages=stages,
            stage=index,
            entries=(*run.entries, terms),
            clock=StageClock(),
            gate_opened=False,
            verdict=Verdict.UNDECIDED,
            hooks=(),
        )

    def promote(self, move: Move, reason: Reason, message: str, *, actor: Actor = CONTROLLER) -> None:
        """The candidate becomes the baseline; the old version stays warm for ``keepWarm``."""
        run = self.active
        self.move(move, reason, message, actor=actor, weight=FULL)
        old = run.baseline
        self.state = replace(
            self.state,
            baseline=run.candidate,
            warm=old,
            warm_until=None if old is None else self.now + run.spec.keep_warm,
        )

    def start_run(self) -> None:
        """A new run of the wished version, from the beginning."""
        spec, number = self.release.spec, self.state.runs + 1
        strategy = spec.strategy.canary
        assert strategy is not None
        baseline = self.state.baseline
        run = Run(
            name=f"{self.release.metadata.name}-{number}",
            number=number,
            baseline=baseline,
            candidate=spec.version,
            spec=spec,
            stages=canary.stages_of(strategy),
            phase=Phase.PENDING,
            started_at=self.now,
            changed_at=self.now,
            waits_for=f"replicas of {spec.version} to be ready",
        )
        self.state = replace(self.state, run=run, runs=number, warm=None, warm_until=None)
        request = self.starter
        actor = CONTROLLER if request is None else Actor("user", request.actor)
        place = "the first version" if baseline is None else f"to follow {baseline}"
        self._tell(run, f"run {run.name} begins: {spec.version}, {place}", actor, request)

    def observe_generation(self) -> None:
        generation = self.release.metadata.generation
        if self.state.observed_generation != generation:
            self.state = replace(self.state, observed_generation=generation)

    def expire_warm(self) -> None:
        if self.state.warm_until is not None and self.now >= self.state.warm_until:
            self.state = replace(self.state, warm=None, warm_until=None)

    def acknowledge(self, request: Request, accepted: bool, message: str) -> None:
        word = Acknowledgement(request.id, request.verb, self.now, request.actor, accepted, message)
        kept = (*self.state.acknowledged, word)[-ACKNOWLEDGEMENTS_KEPT:]
        self.state = replace(self.state, acknowledged=kept)

    def _tell(self, before: Run, message: str, actor: Actor, request: Request | None) -> None:
        run = self.active
        self.events.append(
            Event(
                time=self.now,
                run=run.name,
                stage=run.stage,
                phase_from=before.phase,
                phase_to=run.phase,
                reason=run.reason,
                message=message,
                actor=actor,
                weight_from=before.weight,
                weight_to=run.weight,
                confirmed=before.confirmed,
                verdict=before.verdict,
                judgement=self.judgement,
                request=request,
            )
        )
