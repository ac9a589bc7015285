"""What a person may ask of a release, and what becomes of it (design: objects.md, "Requests").

Every request is answered by an acknowledgement, accepted or not, in words that say what to do instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from meshctl.core import gatehooks
from meshctl.core.errors import Refused
from meshctl.core.model import FULL, Actor, Phase, Reason, Request, Run, Seen, StageClock, Verb, Verdict
from meshctl.core.plaintext import plain
from meshctl.core.progress import SELF_ENDING_HOLDS, missing_for_a_raise
from meshctl.core.strategies import canary
from meshctl.core.transitions import Move, allowed
from meshctl.core.turn import Turn


def serve(turn: Turn, request: Request, seen: Seen) -> None:
    """Carry out one request, or refuse it, and acknowledge it either way."""
    turn.stopped |= request.verb is Verb.ABORT
    try:
        run = turn.run
        if run is None:
            raise Refused(f"{turn.release.metadata.name} has had no run yet")
        message = _SERVICES[request.verb](turn, run, request, seen)
    except Refused as refusal:
        turn.acknowledge(request, False, str(refusal))
    else:
        turn.acknowledge(request, True, message)


def _by(request: Request) -> Actor:
    return Actor("user", request.actor)


def _who(request: Request) -> str:
    return plain(request.actor)


def _because(request: Request) -> str:
    return f" ({plain(request.reason)})" if request.reason else ""


def _need_reason(request: Request, what: str) -> None:
    if not request.reason.strip():
        raise Refused(f"{what} is recorded with its reason: say why with --reason")


def _need_active(run: Run, verb: Verb, instead: str) -> None:
    if run.phase.ended:
        raise Refused(f"cannot {verb} {run.name}: it is {run.phase} already; {instead}")


def check_abort(run: Run) -> None:
    """Raises `Refused`, and names what would do, where there is nothing to take back."""
    instead = "use rollback to go back" if run.phase is Phase.PROMOTED else "its candidate has no traffic"
    _need_active(run, Verb.ABORT, instead)


def by_the_mark(run: Run) -> str:
    """What is said of a run that its routes took back: whoever aborts lowers them first and tells of it after."""
    return f"the routes say that {run.candidate} was taken back for good"


def _abort(turn: Turn, run: Run, request: Request, seen: Seen) -> str:
    if run.phase is Phase.ROLLED_BACK and run.message == by_the_mark(run):
        return f"{run.candidate} is taken back to 0 %: aborted{_because(request)}"
    check_abort(run)
    message = f"{run.candidate} is taken back from {run.weight:g} % to 0 %: aborted{_because(request)}"
    turn.take_back(Move.ABORT, Reason.ABORTED, message, actor=_by(request), request=request)
    return message


def _promote(turn: Turn, run: Run, request: Request, seen: Seen) -> str:
    _need_active(run, Verb.PROMOTE, "use retry to try again" if run.phase is Phase.ROLLED_BACK else "nothing to do")
    if not run.entries:
        raise Refused(f"cannot promote {run.name}: it {run.waits_for and 'waits for ' + run.waits_for}")
    if turn.judgement is not None and turn.judgement.verdict is Verdict.FAIL:
        raise Refused(f"cannot promote {run.name}: the judge has shown a regression: {turn.judgement.message}")
    at_manual_gate = run.phase is Phase.PAUSED and run.reason is Reason.MANUAL_GATE
    if request.full:
        return _promote_to_full(turn, run, request, seen)
    if not at_manual_gate:
        _need_reason(request, "promote without the judge's pass")
    waived = "" if at_manual_gate else gatehooks.waive(turn)
    opened = f"is opened by {_who(request)}{waived}"
    message = f"{run.candidate}: the gate of {run.weight:g} % {opened}{_because(request)}"
    reason = None if at_manual_gate else Reason.OVERRIDE
    turn.move(Move.PROMOTE, reason, message, actor=_by(request), request=request, gate_opened=True, waits_for="")
    return message


def _promote_to_full(turn: Turn, run: Run, request: Request, seen: Seen) -> str:
    _need_reason(request, "promote --full")
    last = len(run.stages) - 1
    if run.stage == last:
        raise Refused(f"{run.candidate} is at its last stage already")
    _need_capacity(run, seen)
    message = f"{run.candidate} goes from {run.weight:g} % to 100 % at once, by {_who(request)}{_because(request)}"
    turn.enter_stage(Move.PROMOTE, last, Reason.OVERRIDE, message, actor=_by(request), request=request)
    return message


def _need_capacity(run: Run, seen: Seen) -> None:
    if missing := missing_for_a_raise(run, seen):
        raise Refused(f"cannot raise {run.candidate}: it waits for {missing}")


def _pause(turn: Turn, run: Run, request: Request, seen: Seen) -> str:
    _need_active(run, Verb.PAUSE, "there is nothing to pause")
    if not allowed(run.phase, Move.PAUSE):
        raise Refused(f"{run.name} is paused already: {run.message}")
    message = f"paused at {run.weight:g} %{_because(request)}"
    actor = _by(request)
    turn.move(Move.PAUSE, Reason.PAUSED_BY_USER, message, actor=actor, request=request, waits_for="a person: resume")
    return message


def _resume(turn: Turn, run: Run, request: Request, seen: Seen) -> str:
    if run.phase is Phase.PROMOTED and run.weight < FULL:
        return _resume_promoted(turn, run, request, seen)
    _need_active(run, Verb.RESUME, "there is nothing to resume")
    if not allowed(run.phase, Move.RESUME):
        raise Refused(f"{run.name} is {run.phase}, not paused")
    if run.reason is Reason.MANUAL_GATE:
        raise Refused(f"{run.name} waits at a manual gate: use promote")
    if run.phase is Phase.HELD and run.reason in SELF_ENDING_HOLDS:
        raise Refused(f"{run.name} goes on by itself once it has what it waits for: {run.waits_for}")
    if not run.entries:
        message, actor = "resumed: waits for readiness again", _by(request)
        turn.move(Move.RESUME_WAITING, None, message, actor=actor, request=request, started_at=turn.now)
        return message
    stepped_down = run.entries[-1].bake and run.reason is not Reason.LOWERED_BY_OTHER
    weight = run.weight if stepped_down else turn.stage.weight
    if weight > run.weight:
        _need_capacity(run, seen)
    message = f"resumed at {weight:g} %{_because(request)}"
    clock = StageClock() if run.reason is Reason.INCONCLUSIVE else run.clock
    turn.move(
        Move.RESUME,
        None,
        message,
        actor=_by(request),
        request=request,
        weight=weight,
        clock=clock,
        evidence_until=turn.now,
        waits_for="",
    )
    return message


def _resume_promoted(turn: Turn, run: Run, request: Request, seen: Seen) -> str:
    """Another hand took weight from the promoted version; a person gives it back."""
    _need_capacity(run, seen)
    message = f"{run.candidate} goes back from {run.weight:g} % to 100 %{_because(request)}"
    turn.change(weight=FULL, changed_at=turn.now, waits_for="")
    turn.note(message, before=run, actor=_by(request), request=request)
    return message


def _retry(turn: Turn, run: Run, request: Request, seen: Seen) -> str:
    wished = turn.release.spec.version
    if wished not in turn.state.rejected:
        raise Refused(f"{wished} was not rejected: there is nothing to retry")
    if turn.stopped:
        raise Refused(f"cannot retry {wished}: an abort came at the same time; look first, then ask again")
    _need_reason(request, "retry")
    rest = tuple(version for version in turn.state.rejected if version != wished)
    turn.state = replace(turn.state, rejected=rest)
    turn.starter = request
    return f"{wished} is tried again in a new run{_because(request)}"


def _rollback(turn: Turn, run: Run, request: Request, seen: Seen) -> str:
    if request.version and request.version != turn.state.warm:
        return _return(turn, run, request)
    if run.phase is not Phase.PROMOTED:
        instead = " already" if run.phase is Phase.ROLLED_BACK else "; use abort"
        raise Refused(f"cannot roll back {run.name}: it is {run.phase}{instead}")
    old = turn.state.warm
    if old is None:
        raise Refused(f"cannot roll back {run.name}: no earlier version is kept warm; release it anew")
    replicas = seen.ready(old)
    if replicas is None or replicas.ready == 0:
        raise Refused(f"cannot roll back {run.name}: no replica of {old} is ready")
    message = f"{run.candidate} gives way to {old} again: rolled back{_because(request)}"
    turn.give_way(old, Reason.ROLLBACK_REQUESTED, message, actor=_by(request), request=request)
    return message


def _return(turn: Turn, run: Run, request: Request) -> str:
    """Back to a version whose replicas are gone: no single write is safe then, a run of its own leads there.

    The wish names the version already; what it leaves is not tried again by itself.
    """
    wished, serving = turn.release.spec.version, turn.state.baseline
    if request.version == serving:
        raise Refused(f"cannot roll back to {plain(request.version)}: it serves already")
    if wished != request.version:
        raise Refused(f"cannot roll back to {plain(request.version)}: it is not kept warm, and {wished} is wished")
    if not run.phase.ended and run.candidate != wished:
        raise Refused(f"cannot roll back while {run.name} is under way: use abort first")
    turn.state = replace(turn.state, rejected=tuple(each for each in turn.state.rejected if each != wished))
    if serving is not None:
        turn.reject(serving)
    turn.starter = request
    message = f"back from {serving} to {wished}, through the stages of a run of its own{_because(request)}"
    turn.note(message, actor=_by(request), request=request)
    return message


def _set_weight(turn: Turn, run: Run, request: Request, seen: Seen) -> str:
    weight = request.weight
    if weight is None or not 0.0 <= weight < 100.0 or round(weight, 1) != weight:
        raise Refused(f"set-weight takes 0 to 99.9 percent in steps of 0.1, not {weight}; use promote --full for 100")
    if weight == 0.0:
        return _abort(turn, run, request, seen)
    _need_active(run, Verb.SET_WEIGHT, "there is no candidate to weigh")
    if not run.entries:
        raise Refused(f"cannot set a weight on {run.name}: it waits for {run.waits_for}")
    if weight > run.weight:
        _need_reason(request, "raising the weight")
        _need_capacity(run, seen)
    stages, index = canary.with_weight(run.stages, weight)
    message = f"weight set from {run.weight:g} % to {weight:g} % by {_who(request)}{_because(request)}"
    turn.enter_stage(
        Move.SET_WEIGHT, index, Reason.WEIGHT_SET, message, actor=_by(request), request=request, stages=stages
    )
    turn.change(waits_for="a person: resume")
    return message


_SERVICES: dict[Verb, Callable[[Turn, Run, Request, Seen], str]] = {
    Verb.ABORT: _abort,
    Verb.PROMOTE: _promote,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.RETRY: _retry,
    Verb.ROLLBACK: _rollback,
    Verb.SET_WEIGHT: _set_weight,
}
