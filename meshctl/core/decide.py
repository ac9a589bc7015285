"""The one entry to every strategy: what was stored and what was seen go in, what to do comes out.

Nothing here does anything: the caller stores the returned state first and touches traffic afterwards (lowering
excepted, which waits for nobody).  Time is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from meshctl.core import hooks, progress, requests
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


REQUESTS_SERVED = 16
"""So many requests are answered by one decision, so that each answer is still there when somebody looks."""


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
    the requests not yet served; abort goes first, and what is too much for one decision waits for the next one.  The
    result is stored even where it changes nothing but the acknowledgements.
    """
    turn = Turn(release, state, judgement, now)
    progress.take_note(turn, seen)
    served = _serve(turn, pending, seen)
    _follow_the_wish(turn, seen)
    progress.advance(turn, seen)
    turn.expire_warm()
    state = turn.state
    return Decision(
        state=state,
        events=tuple(turn.events),
        served=served,
        routing=routing_of(state, now),
        needed=needed_of(state, now),
        wake_at=now if len(served) < len(pending) else _wake_at(release, state, now),
        hooks=hooks.calls_of(state.run, now),
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


def weights_of(routing: Routing) -> dict[str, float]:
    """Percent per version, as `LiveRouting.weights` has them."""
    if routing.candidate is None:
        return {routing.baseline: 100.0}
    return {
        routing.baseline: round(100.0 - routing.candidate_weight, 1),
        routing.candidate: routing.candidate_weight,
    }


def _serve(turn: Turn, pending: Sequence[Request], seen: Seen) -> tuple[str, ...]:
    """Answer every request once: aborts, then what the mark of an abort says, then the others by age.

    The mark comes after the aborts, so that one whose storing was cut short is still acknowledged to the person
    who asked for it, and before the others, so that it leaves them nothing to raise.  Returns the ids of those that
    need no further look.
    """
    answered = {word.id for word in turn.state.acknowledged}
    new = {request.id: request for request in pending if request.id not in answered}
    ordered = sorted(new.values(), key=lambda each: (each.verb is not Verb.ABORT, each.time, each.id))[:REQUESTS_SERVED]
    for request in ordered:
        if request.verb is Verb.ABORT:
            requests.serve(turn, request, seen)
    _obey_the_mark(turn, seen)
    for request in ordered:
        if request.verb is not Verb.ABORT:
            requests.serve(turn, request, seen)
    now_answered = answered | {request.id for request in ordered}
    return tuple(request.id for request in pending if request.id in now_answered)


def _obey_the_mark(turn: Turn, seen: Seen) -> None:
    """Routes that carry the aborted mark of this run were lowered for good, whatever the store says (rule 2)."""
    run, live = turn.run, seen.live
    if run is None or live is None or not live.aborted or live.run != run.name:
        return
    message = requests.by_the_mark(run)
    if not run.phase.ended:
        turn.take_back(Move.ABORT, Reason.ABORTED, message)
    elif run.phase is Phase.PROMOTED and run.baseline is not None and not live.weights.get(run.candidate):
        turn.give_way(run.baseline, Reason.ABORTED, message)


def _follow_the_wish(turn: Turn, seen: Seen) -> None:
    """Start the run that the spec wishes, or end the one that is in its way.

    Never both in one decision: the old run's end is carried out and stored before the new one begins.
    """
    wished, run = turn.release.spec.version, turn.run
    if run is not None and not run.phase.ended and run.candidate != wished:
        turn.take_back(Move.SUPERSEDE, Reason.SUPERSEDED, f"{run.candidate} makes way for {wished}")
    elif not (turn.stopped or turn.busy) and _may_start(turn.release, turn.state):
        turn.start_run()
    if not seen.mesh_problem:
        turn.observe_generation()


def _may_start(release: Release, state: ReleaseState) -> bool:
    """Only once the run before it has ended, the data plane has taken up its end and its hooks have heard of it."""
    wished, run = release.spec.version, state.run
    free = run is None or (run.phase.ended and run.weight == run.confirmed and not hooks.open_after_the_end(run))
    return free and wished != state.baseline and wished not in state.rejected


def _retired(run: Run, now: datetime) -> bool:
    return run.ended_at is not None and now - run.ended_at >= RETIRE_AFTER


def _wake_at(release: Release, state: ReleaseState, now: datetime) -> datetime | None:
    """``now`` asks for another decision at once: a run that waits to begin."""
    run = state.run
    if _may_start(release, state):
        return now
    if run is None:
        return None
    if not run.phase.ended or run.weight != run.confirmed or hooks.open_after_the_end(run):
        return now + TICK
    if run.phase is Phase.PROMOTED:
        return state.warm_until
    if run.ended_at is not None and not _retired(run, now):
        return run.ended_at + RETIRE_AFTER
    return None
