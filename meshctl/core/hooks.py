"""Which hooks are asked at which moment of a run, and what they are told.

A hook is somebody else's word on the way of a run: a smoke test before a stage, a check after it, a notice at the end.
It never raises anything: it can only keep a stage from being left, or take the candidate back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from meshctl.core.model import Hook, HookAsk, HookCall, HookOutcome, HookPoint, OnHookError, Phase, Run

BACKOFF_FIRST = timedelta(seconds=2)
BACKOFF_MAX = timedelta(seconds=60)
"""A hook that holds is asked again, at first soon, then ever more rarely."""


def way_out(run: Run) -> tuple[tuple[HookPoint, int, float], ...]:
    """The moments between the present stage and the next one, in order: point, stage entry, the stage's weight."""
    index, entry = (run.stage, len(run.entries) - 1) if run.entries else (-1, -1)
    after = ((HookPoint.AFTER_STAGE, entry, run.stages[index].weight),) if run.entries else ()
    before = ((HookPoint.BEFORE_STAGE, entry + 1, run.stages[index + 1].weight),) if run.stages[index + 1 :] else ()
    return (*after, *before)


def hooks_at(run: Run, point: HookPoint, weight: float | None = None) -> tuple[Hook, ...]:
    """The run's hooks for a moment; ``weight`` names the stage, where the moment belongs to one."""
    return tuple(
        hook
        for hook in run.spec.hooks
        if hook.at is point and (weight is None or not hook.stages or weight in hook.stages)
    )


def asks_of(run: Run, point: HookPoint, entry: int) -> tuple[HookAsk, ...]:
    """What was asked at a moment so far."""
    return tuple(ask for ask in run.hooks if ask.point is point and ask.entry == entry)


def first_asks(hooks: Sequence[Hook], entry: int, now: datetime) -> tuple[HookAsk, ...]:
    return tuple(HookAsk(hook.name, hook.at, entry, now) for hook in hooks)


def at_the_end(run: Run, phase: Phase, now: datetime) -> tuple[HookAsk, ...]:
    """What is asked once a run has reached ``phase``, an end: gates are off, what an earlier end still asks stays."""
    point = HookPoint.PROMOTION if phase is Phase.PROMOTED else HookPoint.ROLLBACK
    open_still = tuple(ask for ask in run.hooks if not ask.point.gates and not ask.settled)
    return (*open_still, *first_asks(hooks_at(run, point), max(len(run.entries) - 1, 0), now))


def open_after_the_end(run: Run) -> bool:
    """Whether an ended run still waits for somebody to hear of its end; the next run begins once nobody is left."""
    return run.phase.ended and any(not ask.settled for ask in run.hooks)


def hook_of(run: Run, ask: HookAsk) -> Hook:
    """The hook in the run's own snapshot of the spec."""
    return next(hook for hook in run.spec.hooks if hook.name == ask.name)


def holding(run: Run) -> tuple[HookAsk, ...]:
    """The hooks that keep the run from leaving its stage: they said so, or could not be asked."""
    return tuple(ask for ask in run.hooks if ask.point.gates and ask.outcome is not None and not ask.settled)


def failed(run: Run) -> HookAsk | None:
    """The hook, if any, whose answer takes the candidate back."""
    for ask in run.hooks:
        broken = ask.outcome is HookOutcome.ERROR and hook_of(run, ask).on_error is OnHookError.FAIL
        if ask.point.gates and ask.settled and (broken or ask.outcome is HookOutcome.FAIL):
            return ask
    return None


def key_of(run: Run, ask: HookAsk) -> str:
    """The same for every asking at one stage entry, after a restart too: ``shop-7/2/smoke``."""
    return f"{run.name}/{ask.entry}/{ask.name}"


def calls_of(run: Run | None, now: datetime) -> tuple[HookCall, ...]:
    """Who is to be asked now: everything stored that is due and not settled."""
    if run is None:
        return ()
    return tuple(_call(run, ask) for ask in run.hooks if not ask.settled and ask.due <= now)


def next_due(ask: HookAsk, now: datetime) -> datetime:
    """When to ask again."""
    return now + min(BACKOFF_FIRST * (1 << min(ask.asking - 1, 10)), BACKOFF_MAX)


def moment(run: Run, ask: HookAsk) -> str:
    """``after 10 %``, ``before 50 %``, ``at the promotion``."""
    if not ask.point.gates:
        return f"at the {ask.point}"
    return f"{'after' if ask.point is HookPoint.AFTER_STAGE else 'before'} {weight_of(run, ask):g} %"


def weight_of(run: Run, ask: HookAsk) -> float:
    """The weight of the stage that is asked about: the present one, or the next one, or the last decided."""
    if ask.point is HookPoint.AFTER_STAGE:
        return run.stages[run.stage].weight
    if ask.point is HookPoint.BEFORE_STAGE:
        return run.stages[run.stage + 1 if run.entries else 0].weight
    return run.weight


def _call(run: Run, ask: HookAsk) -> HookCall:
    before = ask.point is HookPoint.BEFORE_STAGE and run.entries
    return HookCall(
        key=key_of(run, ask),
        asking=ask.asking,
        hook=hook_of(run, ask),
        run=run.name,
        entry=ask.entry,
        stage=run.stage + 1 if before else run.stage,
        weight=weight_of(run, ask),
        phase=run.phase,
        reason=run.reason,
        message=run.message,
        baseline=run.baseline,
        candidate=run.candidate,
    )
