"""Corners of a decision that no transcript reaches."""

from datetime import timedelta

from meshctl.core.decide import REQUESTS_SERVED, decide
from meshctl.core.model import Phase, Reason, ReleaseState, Request, Seen, Verb, Verdict
from meshctl.core.turn import ACKNOWLEDGEMENTS_KEPT, REJECTED_KEPT
from tests.core.small_world import START, SmallWorld, judged, release_of


def test_a_version_that_serves_already_needs_no_run():
    decision = decide(release_of("1.0.0"), ReleaseState(baseline="1.0.0"), Seen(None, {}), None, (), START)
    assert decision.state.run is None
    assert decision.routing is None
    assert decision.wake_at is None
    assert decision.needed == ("1.0.0",)


def asked(verb, number, minutes):
    return Request(f"{verb}-{number}", verb, START + timedelta(minutes=minutes), "anna", "because")


def a_running_world():
    world = SmallWorld(release_of("1.0.0"))
    world.ready("1.0.0")
    world.tick(0.0)
    world.wish("2.0.0")
    world.ready("2.0.0")
    world.tick()
    return world


def test_blocks_of_before_an_outage_do_not_end_it():
    world = a_running_world()
    world.tick(10)
    world.judgement = None
    world.tick(20)
    assert world.run.reason is Reason.METRICS_OUTAGE
    found = judged(Verdict.UNDECIDED)
    for late_s in (60.0, 30.0, 16.0):
        world.judgement, world.blocks_late_s = found, late_s
        assert world.tick(5) == []
        assert world.run.reason is Reason.METRICS_OUTAGE
    world.blocks_late_s = 3.0
    (over,) = world.tick(5)
    assert over.message == "goes on at 1 %: MetricsOutage is over"
    assert world.run.phase is Phase.PROGRESSING


def test_no_answer_is_pushed_out_by_others_of_the_same_decision():
    world = a_running_world()
    promotes = [asked(Verb.PROMOTE, number, number) for number in range(60)]
    abort = asked(Verb.ABORT, 60, 60)
    waiting = [*promotes, abort]
    heard = {}
    while waiting:
        decision = decide(world.release, world.state, world.seen(), None, waiting, world.now)
        assert decision.served
        assert (decision.wake_at == world.now) == (len(waiting) > len(decision.served))
        world.state = decision.state
        told = {word.id: word for word in decision.state.acknowledged}
        heard |= {id: told[id] for id in decision.served}
        waiting = [each for each in waiting if each.id not in decision.served]
    assert set(heard) == {each.id for each in (*promotes, abort)}
    assert heard[abort.id].accepted
    assert not any(heard[each.id].accepted for each in promotes)
    assert REQUESTS_SERVED <= ACKNOWLEDGEMENTS_KEPT


def test_an_abort_goes_before_everything_that_was_asked_earlier():
    world = a_running_world()
    waiting = [asked(Verb.PAUSE, number, number) for number in range(60)] + [asked(Verb.ABORT, 60, 60)]
    decision = decide(world.release, world.state, world.seen(), None, waiting, world.now)
    assert waiting[-1].id in decision.served
    assert decision.state.run.phase.ended


def test_what_was_answered_before_is_taken_away_however_much_waits():
    world = a_running_world()
    first = asked(Verb.PAUSE, 0, 0)
    world.state = decide(world.release, world.state, world.seen(), None, [first], world.now).state
    waiting = [asked(Verb.PAUSE, number, number) for number in range(1, 60)] + [first]
    assert first.id in decide(world.release, world.state, world.seen(), None, waiting, world.now).served


def test_so_many_rejected_versions_are_remembered_and_the_newest_of_them():
    world = SmallWorld(release_of("1.0.0"))
    world.ready("1.0.0")
    world.tick(0.0)
    versions = [f"2.0.{number}" for number in range(REJECTED_KEPT + 5)]
    for version in [*versions, versions[10]]:
        world.wish(version)
        world.ready(version)
        world.tick()
        if version == versions[10] and len(world.state.rejected) == REJECTED_KEPT:
            world.ask(Verb.RETRY, reason="once more")
            world.tick()
        world.ask(Verb.ABORT)
        world.tick()
    assert len(world.state.rejected) == REJECTED_KEPT
    assert world.state.rejected[-2:] == (versions[-1], versions[10])
    assert versions[0] not in world.state.rejected


def test_an_abort_whose_routes_were_heard_of_before_its_request_is_done_and_not_refused():
    """The command lowers the routes first and stores the request after; a controller that watches is in between."""
    world = a_running_world()
    world.mark()
    world.tick()
    assert (world.run.phase, world.run.reason) == (Phase.ROLLED_BACK, Reason.ABORTED)
    world.ask(Verb.ABORT, reason="empty carts")
    world.tick()
    answer = world.state.acknowledged[-1]
    assert answer.accepted, answer.message
    assert "empty carts" in answer.message
