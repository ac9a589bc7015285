"""The tick in an ordinary world: what it does, in which order, and what it leaves alone."""

from datetime import timedelta

import pytest

from meshctl.core.errors import StoreError
from meshctl.core.model import Phase, Reason, Verb, Verdict
from tests.app.tick_world import NEW, NEWER, OLD, TickWorld


@pytest.fixture
def world():
    return TickWorld()


@pytest.fixture
def running():
    """A run whose candidate has 10 %."""
    world = TickWorld()
    world.wish(NEW)
    world.reach(10.0)
    return world


def test_the_first_version_gets_routes_once_its_replicas_are_ready():
    world = TickWorld(serving=False, start_s=3.0)
    world.wish(OLD)
    world.tick(2)
    assert world.live == {}
    world.tick(3)
    assert world.live == {OLD: 100.0}
    assert world.run.phase is Phase.PROMOTED


def test_a_good_candidate_comes_through_and_the_old_version_goes_after_keep_warm(world):
    world.wish(NEW)
    world.say(Verdict.PASS)
    world.tick(40)
    assert world.run.phase is Phase.PROMOTED
    assert world.live == {NEW: 100.0, OLD: 0.0}
    assert world.running == {OLD, NEW}
    world.tick(60)
    assert world.live == {NEW: 100.0}
    assert world.running == {NEW}


def test_a_raise_is_stored_applied_and_confirmed_within_one_tick(running):
    running.say(Verdict.PASS)
    running.tick(5)
    assert running.run.confirmed == 50.0
    raising = running.log.effects.index("mesh.apply")
    assert running.log.effects[raising - 1] == "store.save"


def test_a_regression_is_lowered_before_it_is_stored(running):
    running.say(Verdict.FAIL)
    running.tick()
    assert running.log.effects[:2] == ["mesh.lower", "store.save"]
    assert running.share() == 0.0
    assert running.run.reason is Reason.REGRESSION


def test_a_full_store_does_not_keep_an_abort_from_traffic(running):
    request = running.abort()
    running.world.store.disk_full = True
    with pytest.raises(StoreError):
        running.tick()
    assert running.share() == 0.0
    assert running.routes.aborted
    running.world.store.disk_full = False
    running.tick()
    assert running.run.reason is Reason.ABORTED
    assert [word.accepted for word in running.state.acknowledged if word.id == request.id] == [True]


def test_a_full_store_keeps_every_raise_from_traffic(running):
    running.say(Verdict.PASS)
    running.world.store.disk_full = True
    for _ in range(10):
        with pytest.raises(StoreError):
            running.tick()
    assert running.share() == 10.0


def test_a_lost_race_starts_afresh_within_the_same_tick(running):
    running.world.store.conflicts = 2
    running.abort()
    result = running.tick()
    assert result.decision is not None
    assert running.run.phase is Phase.ROLLED_BACK


def test_a_tick_that_loses_every_race_changes_nothing(running):
    running.world.store.conflicts = 99
    running.say(Verdict.PASS)
    before = running.state
    result = running.tick(10)
    assert result.decision is None
    assert running.state == before
    assert running.share() == 10.0


def test_an_idle_release_is_neither_stored_nor_written(world):
    world.tick(3)
    world.log.effects.clear()
    world.tick(20)
    assert set(world.log.effects) <= {"workloads.retire"}


def test_a_changed_wish_is_rendered_once_during_a_run(running):
    running.wish(NEW, ready_timeout=timedelta(seconds=77))
    running.tick(5)
    assert running.log.effects.count("mesh.apply") == 1
    assert running.state.observed_generation == running.world.store.release("shop").metadata.generation


def test_a_changed_wish_waits_for_a_mesh_that_does_not_answer(running):
    running.world.mesh.unreachable = True
    running.wish(NEW, ready_timeout=timedelta(seconds=77))
    running.tick(3)
    running.world.mesh.unreachable = False
    running.tick(3)
    assert running.log.effects.count("mesh.apply") == 1


def test_a_newer_version_puts_the_old_candidate_to_nothing_in_one_write(running):
    written = len(running.world.mesh.history)
    running.wish(NEWER)
    running.tick()
    weights = [weights for _, weights in running.world.mesh.history[written:]]
    assert weights[0].get(NEW, 0.0) == 0.0
    assert running.log.effects[:2] == ["mesh.lower", "store.save"]
    assert running.run.candidate == NEWER
    assert all(each.get(NEW, 0.0) == 0.0 for each in weights)


def test_a_superseded_run_is_recorded_with_the_blocks_it_was_judged_by(running):
    name = running.run.name
    running.tick(3)
    running.wish(NEWER)
    running.tick()
    last = running.world.store.decisions(name)[-1]
    assert last["reason"] == "Superseded"
    assert last["inputs"]["blocks"] == 4


def test_replicas_go_only_when_no_route_in_effect_knows_them(world):
    world.wish(NEW)
    world.reach(10.0)
    world.abort()
    world.tick()
    assert NEW in world.running
    world.world.mesh.stuck = True
    world.tick(40)
    assert NEW in world.running
    world.world.mesh.settle()
    world.tick()
    assert NEW not in world.running


def test_replicas_of_a_first_release_that_never_got_ready_go_too():
    world = TickWorld(serving=False)
    world.wish(OLD)
    world.world.workloads.broken.add(OLD)
    world.tick(3, seconds=400)
    assert world.run.reason is Reason.NOT_READY
    world.tick(seconds=60)
    assert world.running == set()


def test_a_version_that_nobody_knows_is_told_and_given_up(world):
    world.wish("9.9.9")
    result = world.tick()
    assert any("9.9.9" in problem for problem in result.problems)
    world.tick(seconds=700)
    assert world.run.reason is Reason.NOT_READY


def test_a_rollback_goes_back_in_one_write_before_it_is_stored(world):
    world.wish(NEW)
    world.reach(100.0)
    world.say(Verdict.PASS)
    world.tick(10)
    assert world.run.phase is Phase.PROMOTED
    world.log.effects.clear()
    world.ask(Verb.ROLLBACK, reason="customers call")
    world.tick()
    assert world.log.effects[:2] == ["mesh.lower", "store.save"]
    assert world.live == {OLD: 100.0, NEW: 0.0}


def test_routes_of_a_promoted_version_that_are_written_anew_keep_the_way_back(world):
    world.wish(NEW)
    world.reach(100.0)
    world.say(Verdict.PASS)
    world.tick(10)
    world.wish(NEW, ready_timeout=timedelta(seconds=77))
    world.tick()
    world.renderer.broken = lambda routing: True
    world.ask(Verb.ROLLBACK, reason="customers call")
    world.tick()
    assert world.live[OLD] == 100.0


def test_learning_begins_before_the_first_traffic(world):
    world.world.workloads.start_s = 5.0
    world.wish(NEW)
    world.tick(4)
    assert world.share() == 0.0
    assert [block.entry for block in world.judge.learnt] == [-1] * len(world.judge.learnt) != []
    assert not world.judge.folded
