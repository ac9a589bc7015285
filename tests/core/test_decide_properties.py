"""What holds for every decision, whatever people ask, the judge says, and the world shows or hides.

The world here is hostile: what is seen has nothing to do with what was decided unless chance wills it, so each
sequence leads through states that no real world would reach in years.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.decide import decide, weights_of
from meshctl.core.model import (
    AnalysisSpec,
    Gate,
    LiveRouting,
    OnInconclusive,
    OnMetricsOutage,
    Phase,
    ReadyReplicas,
    Reason,
    Request,
    Seen,
    Stage,
    Verb,
    Verdict,
)
from tests.core.small_world import SmallWorld, judged, release_of

VERSIONS = ("1.0.0", "2.0.0", "3.0.0")
STAGES = tuple(
    Stage(weight, gate, timedelta(seconds=low), timedelta(seconds=40))
    for weight, gate, low in (
        (0.1, Gate.AUTO, 0),
        (5.0, Gate.MANUAL, 5),
        (50.0, Gate.AUTO, 5),
        (80.0, Gate.AUTO, 10),
    )
)


@dataclass(frozen=True)
class Look:
    """What one tick finds, relative to what was decided."""

    seconds: float
    version: str
    live: str
    percent: float
    in_effect: bool
    replicas: tuple[str, ...]
    word: str
    newest: bool
    requests: tuple[tuple[Verb, str, float | None, bool], ...]


lives = st.sampled_from(
    ["decided"] * 4 + ["before", "other weight", "other run", "marked", "stranger", "none", "problem"]
)
replicas = st.sampled_from(["full"] * 4 + ["part", "none", "unknown", "unasked"])
words = st.sampled_from(
    ["pass"] * 3 + ["undecided", "undecided", "fail", "guard", "NoTraffic", "ShareMismatch", "step-down", ""]
)
requests = st.tuples(
    st.sampled_from(Verb),
    st.sampled_from(["", "because"]),
    st.sampled_from([None, 0.0, 0.1, 3.0, 10.0, 49.9, 60.0, 99.9, 100.0, 12.34, float("nan"), -1.0]),
    st.booleans(),
)
looks = st.builds(
    Look,
    seconds=st.sampled_from([0.0, 1.0, 1.0, 6.0, 20.0, 70.0]),
    version=st.sampled_from([VERSIONS[1]] * 8 + [*VERSIONS]),
    live=lives,
    percent=st.sampled_from([0.0, 0.1, 1 / 3, 5.0, 33.333, 50.0, 80.0, 100.0]),
    in_effect=st.sampled_from([True, True, True, False]),
    replicas=st.tuples(replicas, replicas, replicas),
    word=words,
    newest=st.booleans(),
    requests=st.lists(requests, max_size=2).map(tuple),
)
analyses = st.builds(
    AnalysisSpec,
    on_inconclusive=st.sampled_from(OnInconclusive),
    on_metrics_outage=st.sampled_from(OnMetricsOutage),
    metrics_grace=st.just(timedelta(seconds=10)),
)
stories = st.tuples(analyses, st.lists(looks, min_size=1, max_size=15))


@dataclass(frozen=True)
class Turned:
    """One decision with everything that went into it."""

    look: Look
    release: object
    before: object
    seen: Seen
    judgement: object
    asked: tuple[Request, ...]
    now: object
    decision: object


def played(story):
    """Every decision of a story.  It begins with version 1.0.0 serving."""
    analysis, sights = story
    world = SmallWorld(release_of("0", STAGES, analysis=analysis, keep_warm_s=30))
    world.wish(VERSIONS[0])
    world.ready(VERSIONS[0])
    world.tick()
    previous = world.live
    for look in sights:
        if look.version != world.release.spec.version:
            world.wish(look.version)
        world.now += timedelta(seconds=look.seconds)
        seen, judgement = sight(world, look, previous), word(look.word)
        for verb, reason, weight, full in look.requests:
            world.ask(verb, reason=reason, weight=weight, full=full)
        asked, before = tuple(world.pending), world.state
        decision = decide(world.release, before, seen, judgement, asked, world.now)
        previous = world.live
        world.state, world.pending = decision.state, []
        world.settle(decision)
        yield Turned(look, world.release, before, seen, judgement, asked, world.now, decision)


def sight(world, look, previous):
    found = {"full": ReadyReplicas(2, 2), "part": ReadyReplicas(1, 2), "none": ReadyReplicas(0, 2), "unknown": None}
    known = {version: found[each] for version, each in zip(VERSIONS, look.replicas, strict=True) if each in found}
    problem = "connection refused" if look.live == "problem" else ""
    newest = world.now if look.newest else None
    return Seen(routes_seen(world, look, previous), known, problem, newest_block_end=newest)


def routes_seen(world, look, previous):
    live, run = world.live, world.state.run
    if look.live in ("none", "problem") or live is None or run is None:
        return None
    if look.live == "before":
        return previous
    if look.live == "other run":
        return replace(live, run="shop-99", in_effect=look.in_effect)
    weights = dict(live.weights)
    if look.live in ("other weight", "stranger"):
        version = run.candidate if look.live == "other weight" else "0.0.1"
        weights = {world.state.baseline or "0": 100.0 - look.percent} | {version: look.percent}
    return LiveRouting(weights, live.run, live.aborted or look.live == "marked", "1", look.in_effect)


def word(name):
    if not name:
        return None
    if name in ("fail", "guard"):
        return judged(Verdict.FAIL, guard=name == "guard")
    if name in ("pass", "undecided"):
        return judged(Verdict(name))
    if name == "step-down":
        return judged(Verdict.UNDECIDED, step_down=True)
    return judged(Verdict.UNDECIDED, wait=Reason(name))


def exposed(state):
    """Run and share of the candidate that the decision lets have traffic."""
    run = state.run
    return (None, 0.0) if run is None else (run.name, run.weight)


def rose(turned):
    """Whether the run's candidate was decided to get more than before."""
    name, weight = exposed(turned.decision.state)
    before, least = exposed(turned.before)
    return weight > (least if name == before else 0.0)


@given(stories)
def test_a_run_that_was_taken_back_never_gets_traffic_again(story):
    gone = set()
    for turned in played(story):
        run, routing = turned.decision.state.run, turned.decision.routing
        if routing is not None and routing.run in gone:
            assert routing.candidate_weight == 0.0
        if run is not None:
            assert run.name not in gone or run.phase is Phase.ROLLED_BACK
            if run.phase is Phase.ROLLED_BACK:
                gone.add(run.name)


@given(stories)
def test_an_abort_of_an_active_run_ends_it_in_the_same_decision(story):
    for turned in played(story):
        run = turned.before.run
        if run is not None and not run.phase.ended and any(each.verb is Verb.ABORT for each in turned.asked):
            assert turned.decision.state.run.phase is Phase.ROLLED_BACK
            assert turned.decision.state.run.weight == 0.0


@given(stories)
def test_a_failed_verdict_ends_the_run_in_the_same_decision(story):
    for turned in played(story):
        run = turned.before.run
        if run is None or run.phase.ended or not run.entries:
            continue
        if turned.judgement is not None and turned.judgement.verdict is Verdict.FAIL:
            assert turned.decision.state.run.phase is Phase.ROLLED_BACK


@given(stories)
def test_weight_rises_only_with_an_event_that_says_so(story):
    for turned in played(story):
        if not rose(turned):
            continue
        rises = [event for event in turned.decision.events if event.weight_to > event.weight_from]
        assert rises
        for event in rises:
            assert event.phase_to in (Phase.PROGRESSING, Phase.PROMOTED) or event.reason is Reason.WEIGHT_SET


@given(stories)
def test_what_is_unknown_or_not_ready_never_raises_the_weight(story):
    for turned in played(story):
        run = turned.decision.state.run
        if run is None or not rose(turned):
            continue
        found = turned.seen.ready(run.candidate)
        assert found is not None
        assert found.complete
        assert not turned.seen.mesh_problem or run.reason is Reason.FIRST_RELEASE


@given(stories)
def test_without_a_pass_or_a_person_no_stage_is_passed(story):
    for turned in played(story):
        before, run = turned.before.run, turned.decision.state.run
        if before is None or run is None or before.name != run.name or before.phase.ended or not before.entries:
            continue
        asked = before.gate_opened or any(each.verb is not Verb.ABORT for each in turned.asked)
        passed = turned.judgement is not None and turned.judgement.verdict is Verdict.PASS
        if not asked and not passed:
            assert run.stage == before.stage
            assert run.phase is not Phase.PROMOTED


@given(stories)
def test_every_request_is_acknowledged_exactly_once(story):
    for turned in played(story):
        decision = turned.decision
        assert decision.served == tuple(each.id for each in turned.asked)
        for each in turned.asked:
            assert [word.id for word in decision.state.acknowledged].count(each.id) == 1


@given(stories)
def test_a_request_that_comes_again_is_not_carried_out_again(story):
    for turned in played(story):
        again = decide(turned.release, turned.decision.state, turned.seen, None, turned.asked, turned.now)
        assert again.served == turned.decision.served
        assert again.state.acknowledged == turned.decision.state.acknowledged
        assert not any(event.request for event in again.events)


@given(stories)
def test_the_same_inputs_give_the_same_decision(story):
    for turned in played(story):
        again = decide(turned.release, turned.before, turned.seen, turned.judgement, turned.asked[::-1], turned.now)
        assert replace(again, served=turned.decision.served) == turned.decision


@given(stories)
def test_every_decided_weight_can_be_rendered(story):
    for turned in played(story):
        routing = turned.decision.routing
        if routing is None:
            continue
        weights = weights_of(routing)
        assert all(weight == round(weight, 1) and 0.0 <= weight <= 100.0 for weight in weights.values())
        assert round(sum(weights.values()), 1) == 100.0


@given(stories)
def test_every_version_that_may_get_traffic_is_kept_running(story):
    for turned in played(story):
        routing = turned.decision.routing
        if routing is not None:
            assert set(weights_of(routing)) <= set(turned.decision.needed)


@given(stories)
def test_the_events_of_a_run_connect_from_one_to_the_next(story):
    for turned in played(story):
        for one, other in pairwise(turned.decision.events):
            if one.run == other.run:
                assert (one.phase_to, one.weight_to) == (other.phase_from, other.weight_from)


@given(stories)
def test_an_active_run_that_waits_says_for_what_and_is_looked_at_again(story):
    for turned in played(story):
        run, wake_at = turned.decision.state.run, turned.decision.wake_at
        if run is None or run.phase.ended:
            continue
        assert wake_at is not None
        assert run.waits_for


@given(stories)
def test_one_decision_ends_a_run_or_begins_one_but_never_both(story):
    for turned in played(story):
        before, run = turned.before.run, turned.decision.state.run
        if before is not None and run is not None and run.name != before.name:
            assert before.phase.ended
