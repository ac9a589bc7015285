"""The one entry to every strategy: what was stored and what was seen go in, what to do comes out.

Nothing here does anything: the caller stores the returned state first and touches traffic afterwards (lowering
excepted, which waits for nobody).  Time is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from meshctl.core import progress, requests
from meshctl.core.model import (
    FULL,
    Decision,
    Judgement,
    Phase,
    Reason,
    Release,
    ReleaseState,
    Request,
    Routing,
    Run,
    Seen,
    Verb,
)
from meshctl.core.transitions import Move
from meshctl.core.turn import Turn

TICK = timedelta(seconds=1)
"""How soon a moving release wants to be looked at again."""

RETIRE_AFTER = timedelta(seconds=30)
"""How long the replicas of a candidate stay after it was taken back: open requests end, logs can be read."""


def decide(
    release: Release,
    state: ReleaseState,
    seen: Seen,
    judgement: Judgement | None,
    pending: Sequence[Request],
    now: datetime,
) -> Decision:
    """One step of one release.

    ``judgement`` is the judge's word after this tick's blocks, ``None`` when there were none.  ``pending`` are
    the requests not yet served; abort goes first.  The result is stored even where it changes nothing but the
    acknowledgements.
    """
    turn = Turn(release, state, judgement, now)
    _obey_the_mark(turn, seen)
    for request in sorted(pending, key=lambda each: (each.verb is not Verb.ABORT, each.time, each.id)):
        requests.serve(turn, request, seen)
    _follow_the_wish(turn)
    progress.advance(turn, seen)
    turn.expire_warm()
    state = turn.state
    return Decision(
        state=state,
        events=tuple(turn.events),
        served=tuple(request.id for request in pending),
        routing=routing_of(state, now),
        needed=needed_of(state, now),
        wake_at=_wake_at(state, now),
    )


def routing_of(state: ReleaseState, now: datetime) -> Routing | None:
    """What the mesh is to do by the stored state; ``None`` while nothing may be routed yet.

    Also ``None`` where another hand lowered a promoted version: that is never repaired (rule 9).
    """
    run = state.run
    if run is None or state.baseline is None:
        return None
    if run.phase is Phase.PROMOTED and run.weight < FULL:
        return None
    if run.phase is Phase.PROMOTED:
        return Routing(state.baseline, state.warm, 0.0, run.name)
    if run.phase is Phase.ROLLED_BACK:
        candidate = None if _retired(run, now) else run.candidate
        return Routing(state.baseline, candidate, 0.0, run.name, aborted=True)
    return Routing(state.baseline, run.candidate, run.weight, run.name)


def needed_of(state: ReleaseState, now: datetime) -> tuple[str, ...]:
    """The versions whose replicas must run, the serving one first."""
    run = state.run
    versions = [state.baseline, state.warm]
    if run is not None and not (run.phase is Phase.ROLLED_BACK and _retired(run, now)):
        versions.append(run.candidate)
    return tuple(dict.fromkeys(version for version in versions if version is not None))


def exposure(weights: dict[str, float], run: Run | None) -> float:
    """The share, in percent, of users that the run's candidate serves."""
    return 0.0 if run is None else weights.get(run.candidate, 0.0)


def weights_of(routing: Routing) -> dict[str, float]:
    """Percent per version, as `LiveRouting.weights` has them."""
    if routing.candidate is None:
        return {routing.baseline: 100.0}
    return {
        routing.baseline: round(100.0 - routing.candidate_weight, 1),
        routing.candidate: routing.candidate_weight,
    }


def _obey_the_mark(turn: Turn, seen: Seen) -> None:
    """Routes that carry the aborted mark of this run were lowered for good, whatever the store says (rule 2)."""
    run, live = turn.run, seen.live
    if run is None or live is None or run.phase.ended:
        return
    if live.aborted and live.run == run.name:
        turn.take_back(Move.ABORT, Reason.ABORTED, f"the routes say that {run.candidate} was taken back for good")


def _follow_the_wish(turn: Turn) -> None:
    """Start, or make way for, the run that the spec wishes."""
    wished, run = turn.release.spec.version, turn.run
    if run is not None and not run.phase.ended:
        if run.candidate == wished:
            return
        turn.take_back(Move.SUPERSEDE, Reason.SUPERSEDED, f"{run.candidate} makes way for {wished}")
    if wished != turn.state.baseline and wished not in turn.state.rejected:
        turn.start_run()
    turn.observe_generation()


def _retired(run: Run, now: datetime) -> bool:
    return run.ended_at is not None and now - run.ended_at >= RETIRE_AFTER


def _wake_at(state: ReleaseState, now: datetime) -> datetime | None:
    run = state.run
    if run is None:
        return None
    if not run.phase.ended:
        return now + TICK
    if run.phase is Phase.PROMOTED:
        return state.warm_until
    if run.ended_at is not None and not _retired(run, now):
        return run.ended_at + RETIRE_AFTER
    return None
