"""What the answers of hooks do to a run: written down, waited for, obeyed, or waived by a person."""

from __future__ import annotations

from dataclasses import replace

from meshctl.core import hooks
from meshctl.core.model import (
    Actor,
    HookAnswer,
    HookAsk,
    HookOutcome,
    HookPoint,
    OnHookError,
    Phase,
    Reason,
    Run,
    Seen,
)
from meshctl.core.transitions import Move
from meshctl.core.turn import Turn

_SAYS = {
    HookOutcome.PASS: "passes",
    HookOutcome.HOLD: "holds",
    HookOutcome.FAIL: "fails",
    HookOutcome.ERROR: "could not be asked",
}


def take_answers(turn: Turn, seen: Seen) -> None:
    """Write every new answer into the run; what it says for the first time becomes a decision's record."""
    run = turn.run
    if run is None:
        return
    answers = {(answer.key, answer.asking): answer for answer in seen.hooks}
    for index, ask in enumerate(run.hooks):
        answer = answers.get((hooks.key_of(run, ask), ask.asking))
        if ask.settled or ask.due > turn.now or answer is None:
            continue
        heard = _heard(turn, run, ask, answer)
        asks = turn.active.hooks
        turn.change(hooks=(*asks[:index], heard, *asks[index + 1 :]))
        turn.busy |= run.phase.ended
        if heard.outcome is not ask.outcome:
            turn.note(_told(run, heard), actor=Actor("hook", ask.name))


def _heard(turn: Turn, run: Run, ask: HookAsk, answer: HookAnswer) -> HookAsk:
    on_error = hooks.hook_of(run, ask).on_error
    again = answer.outcome is HookOutcome.HOLD or (answer.outcome is HookOutcome.ERROR and on_error is OnHookError.HOLD)
    heard = replace(ask, outcome=answer.outcome, message=answer.message)
    if again and ask.point.gates:
        return replace(heard, asking=ask.asking + 1, due=hooks.next_due(ask, turn.now))
    return replace(heard, settled=True)


def _told(run: Run, ask: HookAsk) -> str:
    assert ask.outcome is not None
    ignored = ask.outcome is HookOutcome.ERROR and hooks.hook_of(run, ask).on_error is OnHookError.IGNORE
    detail = f": {ask.message}" if ask.message else ""
    return f"hook {ask.name} {hooks.moment(run, ask)} {_SAYS[ask.outcome]}{detail}{' (ignored)' if ignored else ''}"


def obey_failure(turn: Turn) -> bool:
    """A hook that fails its gate takes the candidate back."""
    ask = hooks.failed(turn.active)
    if ask is None:
        return False
    run = turn.active
    message = f"{run.candidate} is taken back at {run.weight:g} %: {_told(run, ask)}"
    turn.take_back(Move.HOOK, Reason.HOOK_FAILED, message, actor=Actor("hook", ask.name))
    return True


def way_is_free(turn: Turn) -> bool:
    """Whether every hook on the way out of the present stage has let go; asks those that were not asked yet.

    Those after the stage come first; those before the next stage are asked once all of them have passed.
    """
    return all(_passed(turn, *step) for step in hooks.way_out(turn.active))


def _passed(turn: Turn, point: HookPoint, entry: int, weight: float) -> bool:
    run = turn.active
    asks = hooks.asks_of(run, point, entry)
    if not asks and (new := hooks.first_asks(hooks.hooks_at(run, point, weight), entry, turn.now)):
        asks = new
        turn.change(hooks=(*run.hooks, *new))
        names = ", ".join(ask.name for ask in new)
        turn.note(f"asks {'hook' if len(new) == 1 else 'hooks'} {names} {hooks.moment(turn.active, new[0])}")
    waiting = [ask for ask in asks if not ask.settled]
    if not waiting:
        return True
    if any(ask.outcome is not None for ask in waiting):
        _hold(turn)
    turn.wait_for(waits_for(turn.active))
    return False


def _hold(turn: Turn) -> None:
    """Held, or before any traffic just waiting, for the first hook that said so."""
    run = turn.active
    if run.reason is Reason.HOOK_HOLDS:
        return
    message = _told(run, hooks.holding(run)[0])
    if run.phase is Phase.PENDING:
        turn.change(reason=Reason.HOOK_HOLDS, message=message)
    else:
        turn.move(Move.HOLD, Reason.HOOK_HOLDS, message, problem_since=turn.now)


def waits_for(run: Run) -> str:
    """Which hooks have not let go yet, and what they said."""
    open_still = [ask for ask in run.hooks if ask.point.gates and not ask.settled]
    said = [f" ({ask.message})" if ask.message else "" for ask in open_still]
    return " and ".join(
        f"hook {ask.name} {hooks.moment(run, ask)}{words}" for ask, words in zip(open_still, said, strict=True)
    )


def waive(turn: Turn) -> str:
    """A person overrides the hooks that hold now; returns words for the record, none if none held."""
    run = turn.active
    held = hooks.holding(run)
    if not held:
        return ""
    turn.change(hooks=tuple(replace(ask, settled=True) if ask in held else ask for ask in run.hooks))
    return f", without waiting for hook {', '.join(ask.name for ask in held)}"
