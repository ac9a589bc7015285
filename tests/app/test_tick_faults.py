"""The tick in a bad world: crashes, other hands, a mesh that is away, templates that break, controllers that sleep."""

from contextlib import suppress
from dataclasses import replace

import pytest

from meshctl.app.tick import tick
from meshctl.core.errors import Conflict, Refused, StoreError, Unreachable
from meshctl.core.model import Phase, Reason, Verb, Verdict
from meshctl.core.ports import NO_ROUTES
from tests.app.tick_world import NEW, NEWER, OLD, Crash, TickWorld


@pytest.fixture
def running():
    """A run whose candidate has 10 %."""
    world = TickWorld()
    world.wish(NEW)
    world.reach(10.0)
    return world


def die(effect, moment):
    """A hook that ends the process once, at this moment."""
    left = [1]

    def hook(happens, when):
        if (happens, when) == (effect, moment) and left:
            left.pop()
            raise Crash

    return hook


def crashed(world, effect, moment, *, ticks=10):
    world.log.hooks = [die(effect, moment)]
    with pytest.raises(Crash):
        world.tick(ticks)
    world.log.hooks = []


# ------------------------------------------------------------------------------------ crashes


def test_after_a_crash_between_storing_and_raising_the_raise_is_made_up_for(running):
    running.say(Verdict.PASS)
    crashed(running, "mesh.apply", "before")
    assert (running.run.weight, running.share()) == (50.0, 10.0)
    running.tick()
    assert running.run.confirmed == running.share() == 50.0


def test_after_a_crash_between_lowering_and_storing_the_run_stays_down(running):
    running.say(Verdict.FAIL)
    crashed(running, "mesh.lower", "after")
    assert running.run.phase is Phase.PROGRESSING
    running.say(Verdict.PASS)
    running.ask(Verb.PROMOTE, reason="it looked good")
    running.tick(20)
    assert running.run.phase is Phase.ROLLED_BACK
    assert running.share() == 0.0
    assert NEW in running.state.rejected


def test_an_abort_whose_storing_was_cut_short_is_still_accepted(running):
    request = running.abort()
    crashed(running, "mesh.lower", "after")
    running.tick()
    assert [(word.accepted, word.actor) for word in running.state.acknowledged if word.id == request.id] == [
        (True, "anna")
    ]


def test_a_crash_after_raising_loses_nothing(running):
    running.say(Verdict.PASS)
    crashed(running, "mesh.apply", "after")
    assert (running.run.weight, running.run.confirmed, running.share()) == (50.0, 10.0, 50.0)
    running.tick()
    assert running.run.confirmed == 50.0


STORIES = {
    "promotion": (Verdict.PASS, None, {NEW: 100.0}),
    "regression": (Verdict.FAIL, None, {OLD: 100.0}),
    "abort": (Verdict.PASS, Verb.ABORT, {OLD: 100.0}),
    "superseded": (Verdict.PASS, NEWER, {NEWER: 100.0}),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("story", STORIES)
def test_a_crash_at_any_effect_changes_neither_the_end_nor_the_rules(running, story, number, moment):
    word, what, end = STORIES[story]
    running.say(word)
    if what is Verb.ABORT:
        running.abort()
    elif what is not None:
        running.wish(what)
    gone: set[str] = set()
    seen = [0]

    def hook(effect, when):
        assert not raised_what_was_taken_back(running, gone)
        assert running.share(running.run.candidate) <= max(running.run.weight, running.run.confirmed)
        if when == moment and effect != "workloads.retire":
            seen[0] += 1
            if seen[0] == number + 1:
                raise Crash

    running.log.hooks = [hook]
    for _ in range(150):
        try:
            running.tick()
        except Crash:
            continue
    assert {version: weight for version, weight in running.live.items() if weight} == end
    assert running.run.phase.ended


def raised_what_was_taken_back(world, gone):
    routes = world.routes
    if routes.aborted:
        gone.add(routes.run)
    return routes.run in gone and routes.weights.get(OLD) != 100.0


# ------------------------------------------------------------------------------------ other hands


def test_weight_that_nobody_decided_is_taken_away_before_anything_is_stored(running):
    running.world.mesh.meddle("shop", {OLD: 40.0, NEW: 60.0})
    result = running.tick()
    assert running.log.effects[:2] == ["mesh.apply", "store.save"]
    assert running.share() == 10.0
    assert any("found 2.0.0 at 60 %" in event.message for event in result.events)


def test_weight_that_comes_back_after_an_abort_is_taken_away_every_time(running):
    running.abort()
    running.tick()
    for _ in range(3):
        running.world.mesh.meddle("shop", {OLD: 40.0, NEW: 60.0})
        running.tick()
        assert running.share() == 0.0


def test_a_version_that_nobody_wished_gets_nothing(running):
    running.world.mesh.meddle("shop", {OLD: 80.0, NEW: 10.0, "0.9.0": 10.0})
    result = running.tick()
    assert running.live == {OLD: 90.0, NEW: 10.0}
    assert any("0.9.0" in event.message for event in result.events)


def test_weight_that_another_hand_took_is_not_given_back(running):
    running.world.mesh.meddle("shop", {OLD: 97.0, NEW: 3.0})
    running.say(Verdict.PASS)
    running.tick(20)
    assert running.share() == 3.0
    assert (running.run.phase, running.run.reason) == (Phase.HELD, Reason.LOWERED_BY_OTHER)
    running.ask(Verb.RESUME)
    running.tick()
    assert running.share() == 10.0


# ------------------------------------------------------------------------------------ blocks


def test_a_block_belongs_to_one_stage_and_to_the_weight_that_was_in_effect(running):
    running.judge.folded.clear()
    running.say(Verdict.PASS)
    running.tick(14)
    weights = {
        entry: {block.weight for _, block in running.judge.folded if block.entry == entry} for entry in (1, 2, 3)
    }
    assert weights == {1: {10.0}, 2: {50.0}, 3: {100.0}}
    assert all(entry == block.entry for entry, block in running.judge.folded)
    counted = {(block.weight, block.candidate.requests) for _, block in running.judge.folded}
    assert counted == {(10.0, 10), (50.0, 50), (100.0, 100)}


def test_what_happens_between_writing_a_weight_and_its_confirmation_counts_for_nobody(running):
    running.tick(4)
    running.judge.folded.clear()
    running.say(Verdict.PASS)
    running.world.mesh.stuck = True
    running.tick()
    passed = running.judge.folded[-1][1].end
    running.tick(3)
    running.world.mesh.settle()
    running.say(Verdict.UNDECIDED)
    running.tick(2)
    after = [block for _, block in running.judge.folded if block.start >= passed]
    assert [block.candidate.requests for block in after] == [50]
    assert (after[0].start - passed).total_seconds() == 4.0


def test_weight_that_another_hand_took_counts_only_once_it_is_in_effect(running):
    running.tick()
    running.judge.folded.clear()
    running.world.mesh.stuck = True
    running.world.mesh.meddle("shop", {OLD: 95.0, NEW: 5.0})
    running.tick(2)
    assert running.run.reason is Reason.LOWERED_BY_OTHER
    running.world.mesh.settle()
    running.tick(3)
    assert [block.candidate.requests for _, block in running.judge.folded] == [5, 5]


def test_a_block_with_a_foreign_weight_in_it_counts_for_nobody(running):
    running.judge.folded.clear()
    running.world.mesh.meddle("shop", {OLD: 40.0, NEW: 60.0})
    running.tick()
    assert running.judge.folded == []
    running.tick()
    assert [block.candidate.requests for _, block in running.judge.folded] == [10]


def test_a_foreign_weight_that_somebody_took_away_and_could_not_store_is_in_no_block(running):
    running.tick()
    running.judge.folded.clear()
    running.world.mesh.meddle("shop", {OLD: 40.0, NEW: 60.0})
    crashed(running, "store.save", "before")
    assert running.share() == 10.0
    running.tick(3)
    assert [block.candidate.requests for _, block in running.judge.folded] == [10, 10]


def test_a_change_of_weight_that_the_metrics_did_not_see_is_in_no_block(running):
    running.tick()
    running.judge.folded.clear()
    running.world.metrics.problem = "the scrape failed"
    running.ask(Verb.SET_WEIGHT, weight=30.0, reason="a closer look")
    running.tick(2)
    running.world.metrics.problem = None
    running.tick(3)
    assert [block.candidate.requests for _, block in running.judge.folded] == [30, 30]


# ------------------------------------------------------------------------------------ the mesh is away


def test_nothing_is_raised_while_the_mesh_does_not_answer(running):
    running.world.mesh.unreachable = True
    running.say(Verdict.PASS)
    result = running.tick(20)
    assert running.run.weight == 10.0
    assert any("does not answer" in problem for problem in result.problems)
    running.world.mesh.unreachable = False
    running.tick()
    assert running.share() == 50.0


def test_an_abort_while_the_mesh_does_not_answer_is_stored_and_made_up_for(running):
    running.world.mesh.unreachable = True
    running.abort()
    running.tick()
    assert running.run.phase is Phase.ROLLED_BACK
    assert running.share() == 10.0
    running.world.mesh.unreachable = False
    running.tick()
    assert running.share() == 0.0


def test_routes_that_cannot_be_read_are_lowered_all_the_same(running):
    mesh, read = running.world.mesh, running.world.mesh.read
    blind = BlindMesh(mesh)
    running.ports = replace(running.ports, mesh=blind)
    running.abort()
    running.tick()
    assert running.share() == 0.0
    assert read(running.world.store.release("shop")).aborted


def test_a_write_that_fails_does_not_keep_an_abort_from_being_stored(running):
    running.ports = replace(running.ports, mesh=DeafMesh(running.world.mesh))
    running.abort()
    result = running.tick()
    assert running.run.phase is Phase.ROLLED_BACK
    assert any("disk" in problem for problem in result.problems)


def test_an_abort_without_a_way_back_beside_the_routes_is_rendered(running):
    running.ports = replace(running.ports, mesh=ForgetfulMesh(running.world.mesh))
    running.abort()
    running.tick()
    assert running.share() == 0.0
    assert running.run.reason is Reason.ABORTED


def test_a_mesh_that_cannot_say_whether_a_weight_is_in_effect_is_asked_again(running):
    mesh = SilentMesh(running.world.mesh)
    running.ports = replace(running.ports, mesh=mesh)
    running.say(Verdict.PASS)
    result = running.tick(6)
    assert running.share() == 50.0
    assert running.run.phase is Phase.PROGRESSING
    assert result.problems == ()


def test_routes_that_were_deleted_come_back_without_the_candidate_once_somebody_can_serve(running):
    mesh = DeletableMesh(running.world.mesh)
    running.ports = replace(running.ports, mesh=mesh)
    running.world.workloads.broken.add(OLD)
    mesh.deleted = True
    running.tick()
    assert mesh.deleted
    assert running.run.reason is Reason.LOWERED_BY_OTHER
    running.world.workloads.broken.clear()
    running.tick()
    assert running.live == {OLD: 100.0, NEW: 0.0}


def test_what_is_wrong_with_the_metrics_is_told_and_held(running):
    running.world.metrics.problem = "the scrape failed"
    result = running.tick(20)
    assert result.problems == ("the scrape failed",)
    assert running.run.reason is Reason.METRICS_OUTAGE
    assert "the scrape failed" in running.run.message
    assert running.share() == 10.0


def test_metrics_that_come_seldom_are_given_the_time_that_they_need(running):
    metrics = RemarkedMetrics(running.world.metrics, silence_s=60.0)
    running.ports = replace(running.ports, metrics=metrics)
    running.world.metrics.problem = "not scraped yet"
    running.tick(55)
    assert running.run.phase is Phase.PROGRESSING
    running.tick(10)
    assert running.run.reason is Reason.METRICS_OUTAGE
    assert "over 60 s" in running.run.message


def test_the_metrics_are_told_when_what_they_see_belongs_to_no_stage(running):
    metrics = RemarkedMetrics(running.world.metrics)
    running.ports = replace(running.ports, metrics=metrics)
    running.tick()
    running.world.mesh.meddle("shop", {OLD: 40.0, NEW: 60.0})
    running.tick()
    running.world.metrics.problem = "the scrape failed"
    running.tick()
    assert metrics.counted[0]
    assert not metrics.counted[1]
    assert metrics.counted[-1]


# ------------------------------------------------------------------------------------ templates


def test_a_template_that_breaks_on_a_raise_leaves_traffic_alone(running):
    running.renderer.broken = lambda routing: routing.candidate_weight == 50.0
    running.say(Verdict.PASS)
    result = running.tick(10)
    assert running.share() == 10.0
    assert "the template does not render" in result.problems


def test_a_template_whose_way_back_does_not_render_raises_nothing(running):
    running.renderer.broken = lambda routing: routing.aborted
    running.say(Verdict.PASS)
    running.tick(10)
    assert running.share() == 10.0


def test_a_broken_template_does_not_keep_an_abort_from_traffic(running):
    running.renderer.broken = lambda routing: True
    running.abort()
    running.tick()
    assert running.share() == 0.0
    assert running.run.reason is Reason.ABORTED


def test_weight_that_cannot_be_lowered_by_a_broken_template_goes_all_the_way_back(running):
    running.renderer.broken = lambda routing: True
    running.ask(Verb.SET_WEIGHT, weight=5.0)
    running.tick()
    assert running.share() == 0.0
    running.tick(3)
    assert running.run.phase is Phase.ROLLED_BACK


def test_a_broken_template_never_takes_the_promoted_version_back(running):
    running.reach(100.0)
    running.say(Verdict.PASS)
    running.tick(10)
    running.renderer.broken = lambda routing: True
    running.world.mesh.meddle("shop", {NEW: 90.0, "0.9.0": 10.0})
    running.tick(5)
    assert running.share() == 90.0
    assert running.run.phase is Phase.PROMOTED


# ------------------------------------------------------------------------------------ controllers that sleep


def other_controller(world, effect, moment, does):
    """At this moment, a raise being decided, another controller works on the same release; ours sleeps meanwhile."""
    left = [1]

    def hook(happens, when):
        if (happens, when) == (effect, moment) and world.run.weight != world.run.confirmed and left:
            left.pop()
            does()

    world.log.hooks = [hook]


def test_a_raise_by_a_controller_that_slept_through_an_abort_is_not_made(running):
    running.say(Verdict.PASS)

    def abort():
        running.abort()
        tick(running.ports, "shop")

    other_controller(running, "store.save", "after", abort)
    running.tick(10)
    assert running.run.phase is Phase.ROLLED_BACK
    assert max(weights.get(NEW, 0.0) for _, weights in running.world.mesh.history) == 10.0


def test_a_raise_is_not_made_when_an_abort_came_between_looking_and_writing(running):
    mesh, apply = running.world.mesh, running.world.mesh.apply

    def slow(release, objects, **rest):
        mesh.apply = apply
        mesh.lower(release, running.run.name)
        return apply(release, objects, **rest)

    mesh.apply = slow
    running.say(Verdict.PASS)
    running.tick(8)
    assert running.share() == 0.0
    assert 50.0 not in [weights.get(NEW) for _, weights in running.world.mesh.history]
    assert (running.run.phase, running.run.reason) == (Phase.ROLLED_BACK, Reason.ABORTED)


def test_an_abort_forbids_a_raise_that_was_stored_and_not_made_before_it_is_stored_itself():
    world = TickWorld()
    world.wish(NEW)
    crashed(world, "mesh.apply", "after")
    crashed(world, "mesh.apply", "before")
    assert (world.run.weight, world.share()) == (1.0, 0.0)
    late = world.routes.revision
    world.abort()
    crashed(world, "store.save", "after")
    assert world.routes.aborted
    with pytest.raises(Conflict):
        world.world.mesh.apply(world.world.store.release("shop"), (), expected=late)


def test_no_weight_is_decided_before_the_routes_name_the_run():
    world = TickWorld()
    world.renderer.broken = lambda routing: True
    world.wish(NEW)
    world.tick(3)
    assert (world.run.phase, world.run.weight) == (Phase.PENDING, 0.0)
    assert world.run.waits_for == "the routes of shop-2 to be written"
    world.renderer.broken = lambda routing: False
    world.tick(2)
    assert world.share() == 1.0


def test_weight_of_a_stranger_is_lowered_without_raising_the_candidate_before_it_is_stored(running):
    running.tick(6)
    running.world.mesh.meddle("shop", {OLD: 80.0, NEW: 10.0, "0.9.0": 10.0})
    running.say(Verdict.PASS)
    running.world.store.disk_full = True
    for _ in range(3):
        with pytest.raises(StoreError):
            running.tick()
        assert running.live == {OLD: 90.0, NEW: 10.0}


def test_a_promoted_version_that_was_lowered_gets_its_weight_back_only_once_that_is_stored(running):
    running.reach(100.0)
    running.say(Verdict.PASS)
    running.tick(10)
    running.world.mesh.meddle("shop", {OLD: 100.0, NEW: 0.0})
    running.ask(Verb.RESUME)
    running.world.store.disk_full = True
    with pytest.raises(StoreError):
        running.tick()
    assert running.share() == 0.0
    running.world.store.disk_full = False
    running.tick()
    assert running.share() == 100.0


def test_a_controller_that_slept_through_a_newer_run_does_not_undo_it(running):
    stale = Stale(running.world.store, running.world.store.load("shop"))
    running.wish(NEWER)
    running.tick(8)
    running.tick()
    assert running.run.candidate == NEWER
    before = running.live
    written = len(running.world.mesh.history)
    with pytest.raises(StaleStoreRead):
        tick(replace(running.ports, store=stale), "shop")
    assert running.live == before
    assert len(running.world.mesh.history) == written


def test_a_controller_that_slept_does_not_end_replicas_that_a_newer_run_needs(running):
    running.abort()
    running.tick()
    running.world.clock.advance(60)
    retire, late = running.world.workloads.retire, []

    def asleep(*args, **rest):
        late.append(lambda: retire(*args, **rest))
        raise SleptHere

    running.world.workloads.retire = asleep
    for _ in range(3):
        with suppress(SleptHere):
            running.tick()
    running.world.workloads.retire = retire
    running.ask(Verb.RETRY, reason="once more")
    running.reach(10.0)
    assert late
    for wakes in late:
        wakes()
    assert running.running == {OLD, NEW}


def test_two_controllers_in_turn_never_step_twice(running):
    running.say(Verdict.PASS)
    for _ in range(40):
        running.tick(seconds=0.5)
        tick(running.ports, "shop")
    weights = [weights.get(NEW, 0.0) for _, weights in running.world.mesh.history]
    assert sorted(set(weights)) == [0.0, 1.0, 10.0, 50.0, 100.0]
    assert weights == sorted(weights)


# ------------------------------------------------------------------------------------ pieces that misbehave


class SleptHere(Exception):
    """The controller went to sleep at this effect."""


class StaleStoreRead(Exception):
    """The sleeping controller found out at its save."""


class Stale:
    """A store as a controller remembers it that slept after loading; its save comes too late."""

    def __init__(self, store, stored):
        self._store, self._stored = store, stored

    def load(self, name):
        return self._stored

    def save(self, name, expected_version, state, **rest):
        try:
            self._store.save(name, expected_version, state, **rest)
        except Conflict as error:
            raise StaleStoreRead from error


class RemarkedMetrics:
    """Metrics that may be silent for a while; remembers which readings counted."""

    def __init__(self, inner, silence_s=0.0):
        self._inner, self._silence_s = inner, silence_s
        self.counted: list[bool] = []

    def read(self, *args, counts, **rest):
        self.counted.append(counts)
        return replace(self._inner.read(*args, counts=counts, **rest), silence_s=self._silence_s)


class BlindMesh:
    """A mesh that cannot be read but written."""

    def __init__(self, mesh):
        self.lower, self.apply, self.confirm = mesh.lower, mesh.apply, mesh.confirm

    def read(self, release):
        raise Unreachable("the admin port does not answer")


class ForgetfulMesh:
    """A mesh that has no way back lying ready."""

    def __init__(self, mesh):
        self.read, self.apply, self.confirm = mesh.read, mesh.apply, mesh.confirm

    def lower(self, release, run):
        raise Refused("no way back lies beside the live routes")


class SilentMesh:
    """A mesh that does not answer to `confirm` the first time."""

    def __init__(self, mesh):
        self.read, self.apply, self.lower = mesh.read, mesh.apply, mesh.lower
        self._confirm, self._left = mesh.confirm, [1]

    def confirm(self, release, revision, timeout_s):
        if self._left:
            self._left.pop()
            raise Unreachable("the admin port does not answer")
        return self._confirm(release, revision, timeout_s)


class DeletableMesh:
    """A mesh whose routes can be deleted; writing brings them back."""

    def __init__(self, mesh):
        self.deleted = False
        self._mesh, self.lower, self.confirm = mesh, mesh.lower, mesh.confirm

    def read(self, release):
        return None if self.deleted else self._mesh.read(release)

    def apply(self, release, objects, *, fallback=(), expected=None):
        assert self.deleted == (expected == NO_ROUTES)
        self.deleted = False
        return self._mesh.apply(release, objects, fallback=fallback)


class DeafMesh:
    """A mesh that can be read but not written."""

    def __init__(self, mesh):
        self.read, self.confirm = mesh.read, mesh.confirm

    def lower(self, release, run):
        raise StoreError("the disk is gone")

    def apply(self, release, objects, **rest):
        raise StoreError("the disk is gone")


# ------------------------------------------------------------------------------------ replicas


def test_replicas_that_cannot_be_asked_for_raise_nothing_and_the_reason_is_told(running):
    running.say(Verdict.PASS)
    running.world.workloads.problem = Unreachable("listing pods: no answer")
    result = running.tick(10)
    assert result.problems == ("listing pods: no answer",)
    assert (running.run.phase, running.share()) == (Phase.PROGRESSING, 10.0)
    assert running.run.waits_for == f"replicas of {NEW}: unknown"
    running.world.workloads.problem = None
    running.tick(3)
    assert running.share() == 50.0
