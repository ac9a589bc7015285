"""How a run moves by itself: readiness, confirmation, verdicts, holds, the way from stage to stage.

The order within a tick is fixed: what the data plane really does, what the judge has shown, who opened the gate,
what is wrong, whether the stage may end (design: statistics 7, "state machine after each block").
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from meshctl.core.model import (
    FULL,
    Gate,
    Judgement,
    OnInconclusive,
    OnMetricsOutage,
    Phase,
    Reason,
    Run,
    Seen,
    Verdict,
)
from meshctl.core.strategies.canary import STEPPED_DOWN_WEIGHT
from meshctl.core.transitions import Move
from meshctl.core.turn import JUDGE, Turn

EFFECT_TIMEOUT = timedelta(seconds=30)
"""How long a decided weight may take to arrive in the data plane before the run is held."""

STALE_AFTER = timedelta(seconds=15)
"""Metrics older than this are an outage (design: README section 5)."""

SELF_ENDING_HOLDS = (Reason.METRICS_OUTAGE, Reason.NO_TRAFFIC, Reason.SHARE_MISMATCH, Reason.NOT_IN_EFFECT)
"""These end when the cause is gone; the others wait for a person."""


def advance(turn: Turn, seen: Seen) -> None:
    """Move the run as far as this tick allows."""
    run = turn.run
    if run is None:
        return
    if run.phase.ended:
        _watch_the_end(turn, seen)
    elif not run.entries:
        _await_readiness(turn, seen)
    else:
        _walk(turn, seen)


def _await_readiness(turn: Turn, seen: Seen) -> None:
    """Before any traffic: nothing but ready replicas leads on (rule 6)."""
    run = turn.active
    replicas = seen.ready(run.candidate)
    if run.phase is Phase.PENDING and replicas is not None and replicas.complete:
        if run.baseline is None:
            turn.promote(Move.FIRST_RELEASE, Reason.FIRST_RELEASE, f"{run.candidate} is ready and the first version")
        elif not seen.mesh_problem:
            weight = run.stages[0].weight
            turn.enter_stage(Move.READY, 0, None, f"{run.candidate} is ready and gets {weight:g} %")
        return
    found = "unknown" if replicas is None else f"{replicas.ready} of {replicas.wished} ready"
    if replicas is not None and replicas.message:
        found += f": {replicas.message}"
    if run.phase is Phase.PENDING and turn.now - run.started_at > run.spec.ready_timeout:
        turn.take_back(Move.NOT_READY, Reason.NOT_READY, f"replicas of {run.candidate} did not get ready: {found}")
        return
    _wait_for(turn, f"replicas of {run.candidate}: {found}")


def _walk(turn: Turn, seen: Seen) -> None:
    if seen.newest_block_end is not None:
        turn.change(evidence_until=seen.newest_block_end)
    if turn.judgement is not None:
        turn.change(verdict=turn.judgement.verdict, judgement=turn.judgement)
    steps = (_see_replicas, _see_weight, _hear_the_judge, _pass_opened_gate, _recover, _hold, _step, _end_stage)
    for step in steps:
        if step(turn, seen):
            return


def _see_replicas(turn: Turn, seen: Seen) -> bool:
    """A candidate without a single ready replica gets no traffic."""
    run, replicas = turn.active, seen.ready(turn.active.candidate)
    if replicas is None or replicas.ready > 0 or replicas.wished == 0:
        return False
    detail = f": {replicas.message}" if replicas.message else ""
    turn.take_back(Move.NOT_READY, Reason.NOT_READY, f"no replica of {run.candidate} is ready any more{detail}")
    return True


def _see_weight(turn: Turn, seen: Seen) -> bool:
    """Compare the live weight with the decided one (rule 9) and take note of a confirmation."""
    run = turn.active
    if seen.mesh_problem:
        _wait_for(turn, f"the mesh to answer: {seen.mesh_problem}")
        return False
    live = 0.0 if seen.live is None else seen.live.weights.get(run.candidate, 0.0)
    if live > max(run.weight, run.confirmed):
        turn.note(f"found {live:g} % where {run.weight:g} % was decided: lowered")
        return True
    if live < run.weight and live != run.confirmed:
        _lowered_by_other(turn, live)
        return True
    if live < run.weight == run.confirmed:
        _lowered_by_other(turn, live)
        return True
    if live == run.weight != run.confirmed and seen.live is not None and seen.live.in_effect:
        turn.change(
            confirmed=run.weight,
            evidence_until=turn.now,
            first_traffic_at=run.first_traffic_at or turn.now,
        )
        if turn.active.phase is Phase.PROGRESSING:
            turn.change(clock=run.clock.started(turn.now))
    return False


def _lowered_by_other(turn: Turn, live: float) -> None:
    """Somebody took weight away: never raised by repair, a person must say so."""
    run = turn.active
    message = f"somebody lowered {run.candidate} from {run.weight:g} % to {live:g} %"
    if run.phase is Phase.HELD and run.reason is Reason.LOWERED_BY_OTHER and live == run.weight:
        return
    turn.move(Move.HOLD, Reason.LOWERED_BY_OTHER, message, weight=live, confirmed=live, problem_since=turn.now)
    _wait_for(turn, "a person: resume, promote --reason or abort")


def _hear_the_judge(turn: Turn, seen: Seen) -> bool:
    judgement, run = turn.judgement, turn.active
    if judgement is None or judgement.verdict is not Verdict.FAIL:
        return False
    move, reason = (Move.GUARD, Reason.GUARD) if judgement.guard else (Move.FAIL, Reason.REGRESSION)
    message = f"{run.candidate} is taken back at {run.weight:g} %: {judgement.message}"
    turn.take_back(move, reason, message, actor=JUDGE, verdict=Verdict.FAIL)
    return True


def _in_flight(run: Run) -> bool:
    return run.weight != run.confirmed


def _pass_opened_gate(turn: Turn, seen: Seen) -> bool:
    """A person's ``promote`` leads on as soon as the weight is in effect and the replicas are ready."""
    run = turn.active
    if not run.gate_opened or run.phase is not Phase.PROGRESSING or _in_flight(run):
        return False
    _pass(turn, seen, Reason.OVERRIDE, "promoted by a person")
    return True


def _recover(turn: Turn, seen: Seen) -> bool:
    """End a hold whose cause is gone."""
    run, judgement = turn.active, turn.judgement
    if run.phase is not Phase.HELD or run.reason not in SELF_ENDING_HOLDS:
        return False
    gone = {
        Reason.METRICS_OUTAGE: seen.newest_block_end is not None,
        Reason.NO_TRAFFIC: judgement is not None and judgement.wait is None,
        Reason.SHARE_MISMATCH: judgement is not None and judgement.wait is None,
        Reason.NOT_IN_EFFECT: not _in_flight(run),
    }[run.reason]
    if gone:
        turn.move(Move.RECOVER, None, f"goes on at {run.weight:g} %: {run.reason} is over")
        _run_clock(turn)
    return False


def _hold(turn: Turn, seen: Seen) -> bool:
    """Hold where something is wrong or unknown; also the end of a hold that lasted too long."""
    run = turn.active
    if run.phase is Phase.PAUSED:
        return True
    if run.phase is Phase.HELD and run.reason not in SELF_ENDING_HOLDS:
        return True
    problem = _problem(turn, seen)
    if problem is None:
        return run.phase is Phase.HELD
    reason, message, waits_for = problem
    if run.phase is Phase.HELD and run.reason is reason:
        _lose_patience(turn)
    else:
        turn.move(Move.HOLD, reason, message, problem_since=turn.now)
        _wait_for(turn, waits_for)
    return True


def _problem(turn: Turn, seen: Seen) -> tuple[Reason, str, str] | None:
    run, judgement, now = turn.active, turn.judgement, turn.now
    if _in_flight(run):
        if now - run.changed_at <= EFFECT_TIMEOUT:
            return None
        found = seen.mesh_problem or f"the data plane still has {run.confirmed:g} %"
        return (
            Reason.NOT_IN_EFFECT,
            f"{run.weight:g} % is not in effect after {EFFECT_TIMEOUT.seconds} s: {found}",
            f"the data plane to take {run.weight:g} %",
        )
    if run.evidence_until is not None and now - run.evidence_until > STALE_AFTER:
        found = seen.metrics_problem or "no answer"
        return (
            Reason.METRICS_OUTAGE,
            f"no metrics for over {STALE_AFTER.seconds} s: {found}",
            "the metrics to come back",
        )
    if judgement is not None and judgement.wait is not None:
        cause = {Reason.NO_TRAFFIC: "requests to judge by"}.get(judgement.wait, "traffic to be split as configured")
        return judgement.wait, judgement.message, cause
    return None


def _lose_patience(turn: Turn) -> None:
    run = turn.active
    policy = run.spec.analysis
    if run.reason is not Reason.METRICS_OUTAGE or policy.on_metrics_outage is not OnMetricsOutage.ROLLBACK:
        return
    assert run.problem_since is not None
    if turn.now - run.problem_since > policy.metrics_grace:
        turn.take_back(
            Move.TIME_OUT,
            Reason.METRICS_OUTAGE,
            f"{run.candidate} is taken back: no metrics for longer than metricsGrace",
        )


def _step(turn: Turn, seen: Seen) -> bool:
    """In a bake: down to the informative share on suspicion, back up when it is quiet."""
    run, judgement = turn.active, turn.judgement
    if _in_flight(run):
        _wait_for(turn, f"the data plane to take {run.weight:g} %")
        return True
    if judgement is None or not run.entries[-1].bake:
        return False
    wished = min(turn.stage.weight, STEPPED_DOWN_WEIGHT) if judgement.step_down else turn.stage.weight
    if wished == run.weight:
        return False
    word = "suspicion: compared at" if wished < run.weight else "quiet again: back to"
    turn.move(Move.STEP, None, f"{word} {wished:g} %", actor=JUDGE, weight=wished)
    return True


def _end_stage(turn: Turn, seen: Seen) -> bool:
    run, stage, judgement = turn.active, turn.stage, turn.judgement
    _run_clock(turn)
    elapsed = turn.active.clock.at(turn.now)
    ripe = elapsed >= stage.min_duration and run.weight == stage.weight
    if ripe and stage.gate is Gate.MANUAL:
        turn.move(Move.GATE, Reason.MANUAL_GATE, f"{run.weight:g} % waits for a person to promote")
        _wait_for(turn, "a person: promote or abort")
    elif ripe and judgement is not None and judgement.verdict is Verdict.PASS:
        _pass(turn, seen, Reason.EVIDENCE, judgement.message)
    elif elapsed >= stage.max_duration and stage.weight < FULL:
        _give_up(turn, judgement)
    elif elapsed < stage.min_duration:
        _wait_for(turn, f"the stage to have lasted {stage.min_duration.total_seconds():g} s")
    elif run.weight != stage.weight:
        _wait_for(turn, f"two quiet minutes, to go back to {stage.weight:g} %")
    else:
        _wait_for(turn, f"evidence that {run.candidate} is not worse than the margin")
    return True


def _pass(turn: Turn, seen: Seen, reason: Reason, why: str) -> None:
    """Go on to the next stage, or promote after the last; capacity comes before weight (rule 6)."""
    run = turn.active
    index = run.stage + 1
    if index == len(run.stages):
        turn.promote(Move.COMPLETE, reason, f"{run.candidate} is promoted: {why}", actor=JUDGE)
        return
    replicas = seen.ready(run.candidate)
    if replicas is None or not replicas.complete:
        found = "unknown" if replicas is None else f"{replicas.ready} of {replicas.wished}"
        _wait_for(turn, f"all replicas of {run.candidate} to be ready, found {found}")
        return
    weight = run.stages[index].weight
    message = f"{run.candidate} goes from {run.weight:g} % to {weight:g} %: {why}"
    turn.enter_stage(Move.PASS, index, reason, message, actor=JUDGE)


def _give_up(turn: Turn, judgement: Judgement | None) -> None:
    run = turn.active
    word = judgement.message if judgement is not None else "no metrics in this tick"
    message = f"undecided after {turn.stage.max_duration.total_seconds():g} s at {run.weight:g} %: {word}"
    if run.spec.analysis.on_inconclusive is OnInconclusive.ROLLBACK:
        turn.take_back(Move.TIME_OUT, Reason.INCONCLUSIVE, message)
        return
    turn.move(Move.HOLD, Reason.INCONCLUSIVE, message, problem_since=turn.now)
    _wait_for(turn, "a person: resume, promote --reason or abort")


def _run_clock(turn: Turn) -> None:
    run = turn.active
    if run.phase is Phase.PROGRESSING and not _in_flight(run):
        turn.change(clock=run.clock.started(turn.now))


def _wait_for(turn: Turn, what: str) -> None:
    if turn.active.waits_for != what:
        turn.change(waits_for=what)


def _watch_the_end(turn: Turn, seen: Seen) -> None:
    """After the end: confirm the last weight, and say so when another hand moves it."""
    run = turn.active
    if seen.mesh_problem or seen.live is None:
        return
    live = seen.live.weights.get(run.candidate, 0.0)
    if live == run.weight and seen.live.in_effect:
        turn.change(confirmed=live)
    elif live < run.weight == run.confirmed and run.phase is Phase.PROMOTED:
        turn.state = replace(turn.state, run=replace(run, weight=live, confirmed=live))
        turn.note(f"somebody lowered {run.candidate} from {run.weight:g} % to {live:g} %; not raised again")
