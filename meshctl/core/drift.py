"""The hand of others on the weights: what is above the decided one is written down, what is below is never raised by
repair (rule 9).
"""

from __future__ import annotations

from meshctl.core.model import FULL, Phase, Reason, Run, Seen
from meshctl.core.transitions import Move
from meshctl.core.turn import Turn


def note_drift(turn: Turn, run: Run, seen: Seen) -> None:
    """More weight than was decided is written down here; the caller takes it away at once (rule 9)."""
    decided = {run.candidate: run.weight}
    serving, known = (run.baseline, turn.state.baseline), (run.candidate, run.confirmed)
    for version, weight in seen.live.weights.items() if seen.live is not None else ():
        if version not in serving and weight > decided.get(version, 0.0) and (version, weight) != known:
            turn.note(f"found {version} at {weight:g} % where {decided.get(version, 0.0):g} % was decided: lowered")


def works_by(seen: Seen, run: Run) -> bool:
    """Whether the data plane works by routes of this run."""
    return seen.live is not None and seen.live.in_effect and seen.live.run == run.name


def was_lowered(turn: Turn, live: float) -> bool:
    """Whether another hand took weight from the candidate: it has less than was decided, and neither what was written
    before nor what is on its way there."""
    run = turn.active
    return live < run.weight and (live not in turn.expected or run.weight == run.confirmed)


def lowered_by_other(turn: Turn, live: float, *, in_effect: bool) -> None:
    """Somebody took weight away: never raised by repair, a person must say so.  Blocks count for the weight that is
    left once the data plane has taken it."""
    run, weight = turn.active, tenths_below(live)
    message = f"somebody lowered {run.candidate} from {run.weight:g} % to {live:g} %"
    turn.move(
        Move.HOLD,
        Reason.LOWERED_BY_OTHER,
        message,
        weight=weight,
        written=weight,
        confirmed=weight if in_effect else run.confirmed,
        problem_since=turn.now,
        gate_opened=False,
    )
    turn.wait_for("a person: resume, promote --reason or abort")


def tenths_below(weight: float) -> float:
    """The greatest weight that can be rendered and is not above this one, which a stranger wrote."""
    rounded = round(weight, 1)
    return rounded if rounded <= weight else round(rounded - 0.1, 1)


def watch_the_end(turn: Turn, seen: Seen) -> None:
    """After the end: confirm the last weight, and say so when another hand moves it."""
    run = turn.active
    if seen.mesh_problem or seen.live is None:
        return
    live = seen.live.weights.get(run.candidate, 0.0)
    lowered = was_lowered(turn, live)
    turn.change(written=live)
    if live == run.weight and works_by(seen, run):
        turn.change(confirmed=live)
    elif run.phase is Phase.PROMOTED and (lowered or tenths_below(live) > run.weight):
        weight, change = tenths_below(live), f"from {run.weight:g} % to {live:g} %"
        waits_for = "a person: resume or rollback" if weight < FULL else ""
        turn.change(weight=weight, confirmed=weight, waits_for=waits_for)
        lost, given = f"lowered {run.candidate} {change}; not raised again", f"gave {run.candidate} back {change}"
        turn.note(f"somebody {lost if lowered else given}", before=run)
