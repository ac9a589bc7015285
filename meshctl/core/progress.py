"""How a run moves by itself: readiness, confirmation, verdicts, holds, the way from stage to stage.

The order within a tick is fixed: what the data plane really does, what the judge has shown, who opened the gate,
what is wrong, whether the stage may end (design: statistics 7, "state machine after each block").
"""

from __future__ import annotations

from datetime import timedelta

from meshctl.core import drift, gatehooks, hooks
from meshctl.core.model import (
    FULL,
    Actor,
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
from meshctl.core.turn import CONTROLLER, JUDGE, Turn

EFFECT_TIMEOUT = timedelta(seconds=30)
"""How long a decided weight may take to arrive in the data plane before the run is held."""

STALE_AFTER = timedelta(seconds=15)
"""Metrics older than this are an outage, unless their source needs longer (design: README section 5)."""

SELF_ENDING_HOLDS = (
    Reason.METRICS_OUTAGE,
    Reason.NO_TRAFFIC,
    Reason.SHARE_MISMATCH,
    Reason.NOT_IN_EFFECT,
    Reason.HOOK_HOLDS,
)
"""These end when the cause is gone; the others wait for a person."""


def take_note(turn: Turn, seen: Seen) -> None:
    """Keep what was found, before anybody acts: weight that nobody decided, the words of the judge and of hooks."""
    run = turn.run
    if run is None:
        return
    drift.note_drift(turn, run, seen)
    if run.phase.ended:
        drift.watch_the_end(turn, seen)
    elif run.entries:
        _keep_the_word(turn, seen)
        _keep_the_revision(turn, seen)
    gatehooks.take_answers(turn, seen)


def _keep_the_word(turn: Turn, seen: Seen) -> None:
    if seen.newest_block_end is not None:
        turn.change(evidence_until=seen.newest_block_end)
    if turn.judgement is not None:
        turn.change(verdict=turn.judgement.verdict, judgement=turn.judgement)


def _keep_the_revision(turn: Turn, seen: Seen) -> None:
    """Between two looks at one revision nobody had other weights; a stranger's that were taken away again leave
    another one behind."""
    live = seen.live
    if live is not None and live.in_effect and live.revision != turn.active.revision:
        turn.change(revision=live.revision)


def advance(turn: Turn, seen: Seen) -> None:
    """Move the run as far as this tick allows."""
    run = turn.run
    if run is None or run.phase.ended:
        return
    if not run.entries:
        _await_readiness(turn, seen)
    else:
        _walk(turn, seen)


def missing_for_a_raise(run: Run, seen: Seen) -> str:
    """What must be there before the candidate gets more weight and is not; empty when nothing is missing.

    What is not known is missing: capacity comes before weight (rule 6), and nothing unseen is raised.
    """
    replicas = seen.ready(run.candidate)
    if replicas is None:
        return f"replicas of {run.candidate}: unknown"
    if not replicas.complete:
        detail = f": {replicas.message}" if replicas.message else ""
        return f"replicas of {run.candidate}: {replicas.ready} of {replicas.wished} ready{detail}"
    return f"the mesh to answer: {seen.mesh_problem}" if seen.mesh_problem else ""


def _await_readiness(turn: Turn, seen: Seen) -> None:
    """Before any traffic: nothing but ready replicas leads on (rule 6)."""
    run = turn.active
    if gatehooks.obey_failure(turn) or run.phase is not Phase.PENDING:
        return
    replicas, missing = seen.ready(run.candidate), missing_for_a_raise(run, seen)
    ready = replicas is not None and replicas.complete
    if ready and run.baseline is None:
        turn.promote(Move.FIRST_RELEASE, Reason.FIRST_RELEASE, f"{run.candidate} is ready and the first version")
    elif not missing and gatehooks.way_is_free(turn):
        _enter_first_stage(turn, seen)
    elif not ready and turn.now - run.started_at > run.spec.ready_timeout:
        turn.take_back(Move.NOT_READY, Reason.NOT_READY, f"{run.candidate} did not get ready: still {missing}")
    elif missing:
        turn.wait_for(missing)


def _enter_first_stage(turn: Turn, seen: Seen) -> None:
    """The first weight comes after the routes that know the candidate.  They name the run, so whoever takes it back
    can say so on them, and no raise that sleeps somewhere is made after that."""
    run = turn.active
    if seen.live is None or seen.live.run != run.name:
        lacks = f": {seen.live.lacks}" if seen.live is not None and seen.live.lacks else ""
        turn.wait_for(f"the routes of {run.name} to be written{lacks}")
        return
    weight = run.stages[0].weight
    turn.enter_stage(Move.READY, 0, None, f"{run.candidate} is ready and gets {weight:g} %")
    turn.wait_for(_effect_of(turn.active))


def _walk(turn: Turn, seen: Seen) -> None:
    """Each step may settle this tick; those after it then have no say."""
    words = (_hear_the_judge, _hear_the_hooks)
    steps = (_see_replicas, *words, _see_weight, _pass_opened_gate, _recover, _hold, _step, _end_stage)
    any(step(turn, seen) for step in steps)


def _see_replicas(turn: Turn, seen: Seen) -> bool:
    """A candidate without a single ready replica gets no traffic."""
    run, replicas = turn.active, seen.ready(turn.active.candidate)
    if replicas is None or replicas.ready > 0:
        return False
    detail = f": {replicas.message}" if replicas.message else ""
    turn.take_back(Move.NOT_READY, Reason.NOT_READY, f"no replica of {run.candidate} is ready any more{detail}")
    return True


def _see_weight(turn: Turn, seen: Seen) -> bool:
    """Compare the live weight with the decided one (rule 9) and take note of a confirmation."""
    run = turn.active
    if seen.mesh_problem:
        return False
    live = 0.0 if seen.live is None else seen.live.weights.get(run.candidate, 0.0)
    if live > max(run.weight, run.confirmed):
        turn.wait_for(_effect_of(run))
        return True
    if drift.was_lowered(turn, live):
        drift.lowered_by_other(turn, live, in_effect=seen.live is None or seen.live.in_effect)
        return True
    turn.change(written=live)
    if live == run.weight and _in_flight(run) and drift.works_by(seen, run):
        turn.change(
            confirmed=run.weight,
            evidence_until=turn.now,
            first_traffic_at=run.first_traffic_at or turn.now,
        )
        _run_clock(turn)
    return False


def _hear_the_judge(turn: Turn, seen: Seen) -> bool:
    judgement, run = turn.judgement, turn.active
    if judgement is None or judgement.verdict is not Verdict.FAIL:
        return False
    move, reason = (Move.GUARD, Reason.GUARD) if judgement.guard else (Move.FAIL, Reason.REGRESSION)
    message = f"{run.candidate} is taken back at {run.weight:g} %: {judgement.message}"
    turn.take_back(move, reason, message, actor=JUDGE)
    return True


def _hear_the_hooks(turn: Turn, seen: Seen) -> bool:
    return gatehooks.obey_failure(turn)


def _in_flight(run: Run) -> bool:
    return run.weight != run.confirmed


def _pass_opened_gate(turn: Turn, seen: Seen) -> bool:
    """A person's ``promote`` leads on as soon as the weight is in effect and the replicas are ready."""
    run = turn.active
    if not run.gate_opened or run.phase is not Phase.PROGRESSING or _in_flight(run):
        return False
    overridden = run.reason is Reason.OVERRIDE or turn.stage.gate is Gate.AUTO
    reason = Reason.OVERRIDE if overridden else Reason.MANUAL_GATE
    _pass(turn, seen, reason, "the gate was opened by a person", CONTROLLER)
    return True


def _recover(turn: Turn, seen: Seen) -> bool:
    """End a hold whose cause is gone."""
    run, judgement = turn.active, turn.judgement
    if run.phase is not Phase.HELD or run.reason not in SELF_ENDING_HOLDS:
        return False
    gone = {
        Reason.METRICS_OUTAGE: not _silent(turn, seen),
        Reason.NO_TRAFFIC: judgement is not None and judgement.wait is None,
        Reason.SHARE_MISMATCH: judgement is not None and judgement.wait is None,
        Reason.NOT_IN_EFFECT: not _in_flight(run),
        Reason.HOOK_HOLDS: not hooks.holding(run),
    }[run.reason]
    if gone:
        turn.move(Move.RECOVER, None, f"goes on at {run.weight:g} %: {run.reason} is over")
        _run_clock(turn)
    elif run.reason is Reason.HOOK_HOLDS:
        turn.wait_for(gatehooks.waits_for(run))
    return turn.active.phase is Phase.PROGRESSING and run.gate_opened


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
        turn.wait_for(waits_for)
    return True


def _problem(turn: Turn, seen: Seen) -> tuple[Reason, str, str] | None:
    run, judgement, now = turn.active, turn.judgement, turn.now
    if _in_flight(run):
        if now - run.changed_at <= EFFECT_TIMEOUT:
            return None
        lacks = seen.live.lacks if seen.live is not None else ""
        found = seen.mesh_problem or lacks or f"the data plane still has {run.confirmed:g} %"
        return (
            Reason.NOT_IN_EFFECT,
            f"{run.weight:g} % is not in effect after {EFFECT_TIMEOUT.seconds} s: {found}",
            _effect_of(run),
        )
    if _silent(turn, seen):
        found = seen.metrics_problem or "no answer"
        return (
            Reason.METRICS_OUTAGE,
            f"no metrics for over {_silence(seen).total_seconds():.0f} s: {found}",
            "the metrics to come back",
        )
    if judgement is not None and judgement.wait is not None:
        cause = {Reason.NO_TRAFFIC: "requests to judge by"}.get(judgement.wait, "traffic to be split as configured")
        return judgement.wait, judgement.message, cause
    return None


def _silent(turn: Turn, seen: Seen) -> bool:
    """Whether the newest evidence is too old.  Blocks of before an outage may come late, and do not end it."""
    until = turn.active.evidence_until
    return until is not None and turn.now - until > _silence(seen)


def _silence(seen: Seen) -> timedelta:
    return max(STALE_AFTER, seen.metrics_silence)


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
        turn.wait_for(_effect_of(run))
        return True
    if judgement is None or not run.entries[-1].bake:
        return False
    wished = STEPPED_DOWN_WEIGHT if judgement.step_down else turn.stage.weight
    if wished == run.weight or (wished > run.weight and missing_for_a_raise(run, seen)):
        return False
    word = "suspicion: compared at" if wished < run.weight else "quiet again: back to"
    turn.move(Move.STEP, None, f"{word} {wished:g} %", actor=JUDGE, weight=wished)
    turn.wait_for(_effect_of(turn.active))
    return True


def _end_stage(turn: Turn, seen: Seen) -> bool:
    run, stage, judgement = turn.active, turn.stage, turn.judgement
    _run_clock(turn)
    elapsed = turn.active.clock.at(turn.now)
    ripe = elapsed >= stage.min_duration and run.weight == stage.weight
    if ripe and stage.gate is Gate.MANUAL:
        turn.move(Move.GATE, Reason.MANUAL_GATE, f"{run.weight:g} % waits for a person to promote")
        turn.wait_for("a person: promote or abort")
    elif ripe and judgement is not None and judgement.verdict is Verdict.PASS:
        _pass(turn, seen, Reason.EVIDENCE, judgement.message, JUDGE)
    elif elapsed >= stage.max_duration and stage.weight < FULL:
        _give_up(turn, judgement)
    elif elapsed < stage.min_duration:
        turn.wait_for(f"the stage to have lasted {stage.min_duration.total_seconds():g} s")
    elif run.weight != stage.weight:
        turn.wait_for(f"two quiet minutes, to go back to {stage.weight:g} %")
    else:
        turn.wait_for(f"evidence that {run.candidate} is not worse than the margin")
    return True


def _pass(turn: Turn, seen: Seen, reason: Reason, why: str, actor: Actor) -> None:
    """Go on to the next stage, or promote after the last; capacity comes before weight (rule 6)."""
    run = turn.active
    index = run.stage + 1
    if missing := missing_for_a_raise(run, seen):
        turn.wait_for(missing)
    elif not gatehooks.way_is_free(turn):
        return
    elif index == len(run.stages):
        turn.promote(Move.COMPLETE, reason, f"{run.candidate} is promoted: {why}", actor=actor)
    else:
        weight = run.stages[index].weight
        message = f"{run.candidate} goes from {run.weight:g} % to {weight:g} %: {why}"
        turn.enter_stage(Move.PASS, index, reason, message, actor=actor)
        turn.wait_for(_effect_of(turn.active))


def _give_up(turn: Turn, judgement: Judgement | None) -> None:
    run = turn.active
    word = judgement.message if judgement is not None else "no metrics in this tick"
    message = f"undecided after {turn.stage.max_duration.total_seconds():g} s at {run.weight:g} %: {word}"
    if run.spec.analysis.on_inconclusive is OnInconclusive.ROLLBACK:
        turn.take_back(Move.TIME_OUT, Reason.INCONCLUSIVE, message)
        return
    turn.move(Move.HOLD, Reason.INCONCLUSIVE, message, problem_since=turn.now)
    turn.wait_for("a person: resume, promote --reason or abort")


def _run_clock(turn: Turn) -> None:
    run = turn.active
    if run.phase is Phase.PROGRESSING and not _in_flight(run):
        turn.change(clock=run.clock.started(turn.now))


def _effect_of(run: Run) -> str:
    return f"the data plane to take {run.weight:g} %"
