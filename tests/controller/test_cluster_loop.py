"""The loop over the releases of a cluster: what moves is looked at, what is idle is left alone, nobody holds it up."""

from __future__ import annotations

import threading
import time

from meshctl.controller.cluster import ClusterController
from meshctl.controller.election import Election
from meshctl.controller.looks import Pace
from meshctl.controller.once import look_once
from meshctl.core.errors import Unreachable
from meshctl.core.model import Phase
from tests.cli.scenes import NEW
from tests.controller.loop_world import FAST, Lease, SceneWorld, running


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not reached"
        time.sleep(0.005)


def promoted(world, *names):
    return all(world.state(name).baseline == NEW for name in names or world.looks)


def test_releases_of_all_namespaces_go_to_their_end():
    world = SceneWorld("one", "two", "three")
    with running(world):
        until(lambda: promoted(world))
    assert world.stopped


def test_an_idle_release_is_not_looked_at():
    world = SceneWorld("idle", "moving")
    world.scenes["idle"] = SceneWorld("idle", new=False).scenes["idle"]
    with running(world):
        until(lambda: promoted(world, "moving/shop"))
    assert world.looks["idle/shop"] == 0


def test_a_release_that_ended_is_looked_at_once_more_when_its_old_version_may_go():
    world = SceneWorld("shop")
    with running(world, pace=Pace(moving_s=0.001, close_s=0.001)):
        until(lambda: promoted(world) and "shop/shop" not in world.moving)
        before = world.looks["shop/shop"]
        world.look("shop/shop")
        until(lambda: world.looks["shop/shop"] > before)
        until(lambda: len(world.looks) == 1)
    assert world.looks["shop/shop"] == before + 1, "its next look is when keepWarm ends"


def test_what_happens_to_an_idle_release_wakes_it():
    world = SceneWorld("shop", new=False)
    with running(world):
        world.scenes["shop"].put(NEW)
        until(lambda: world.look is not None)
        world.look("shop/shop")
        until(lambda: promoted(world))


def test_whose_routes_were_changed_while_nobody_looked_is_looked_at():
    world = SceneWorld("one", "two", new=False)
    world.drifted.add("two/shop")
    with running(world):
        until(lambda: world.looks["two/shop"] > 0)
    assert world.looks == {"one/shop": 0, "two/shop": 1}


def test_without_the_lease_nothing_is_looked_at():
    world, lease = SceneWorld("shop"), Lease(ours=False)
    with running(world, lease) as controller:
        until(lambda: world.look is not None)
        world.look("shop/shop")
        until(lambda: len(controller._queue) == 0 and controller._queue.idle())
        assert world.looks["shop/shop"] == 0
        lease.ours = True
        until(lambda: promoted(world))


def test_who_loses_the_lease_stops_and_goes_on_when_it_is_back():
    world, lease = SceneWorld("shop"), Lease()
    with running(world, lease) as controller:
        until(lambda: world.state("shop/shop").run.number == 2)
        lease.ours = False
        controller._election.step()
        until(controller._queue.idle)
        before = world.looks["shop/shop"]
        for _ in range(20):
            world.look("shop/shop")
        until(lambda: len(controller._queue) == 0 and controller._queue.idle())
        assert world.looks["shop/shop"] <= before + 1
        lease.ours = True
        controller._election.step()
        until(lambda: promoted(world))


def test_a_machine_that_stood_still_for_longer_than_the_lease_forgets_no_release():
    world, lease = SceneWorld("shop"), Lease()
    with running(world, lease) as controller:
        until(lambda: world.state("shop/shop").run.number == 2)
        controller._election._until = 0.0
        until(lambda: len(controller._queue) == 0 and controller._queue.idle())
        controller._election.step()
        until(lambda: promoted(world))


def test_trouble_with_one_release_does_not_hold_the_others_up(caplog):
    world = SceneWorld("good", "bad", "worse")
    world.broken = {"bad": Unreachable("its API is away"), "worse": ZeroDivisionError("boom")}
    with caplog.at_level("WARNING"), running(world):
        until(lambda: promoted(world, "good/shop"))
        until(lambda: world.looks["bad/shop"] > 2 and world.looks["worse/shop"] > 2)
        world.broken = {}
        until(lambda: promoted(world))
    said = [record.getMessage() for record in caplog.records]
    assert said.count("bad/shop: its API is away") == 1
    assert len([line for line in said if "please report it" in line]) == 1


def test_a_release_that_is_gone_is_forgotten():
    world = SceneWorld("shop")
    with running(world):
        until(lambda: world.moving)
        world.gone.add("shop/shop")
        world.look("shop/shop")
        until(lambda: not world.moving)
        before = world.looks["shop/shop"]
        world.look("shop/shop")
        until(lambda: world.names() == [])
    assert world.looks["shop/shop"] <= before + 1


def test_going_down_finishes_the_look_under_way_and_gives_the_lease_back():
    world, lease = SceneWorld("shop"), Lease()
    inside, go_on = threading.Event(), threading.Event()
    real = world.ports

    def slow(namespace):
        inside.set()
        assert go_on.wait(10)
        return real(namespace)

    world.ports = slow
    with running(world, lease) as controller:
        assert inside.wait(10)
        controller.stop()
        assert not lease.released.is_set()
        go_on.set()
    assert lease.released.is_set()
    assert world.looks["shop/shop"] == 1


class Watching:
    def __init__(self):
        self.names, self.problems, self.ticks, self.failed = [], [], 0, 0

    def ticked(self, name, result, seconds):
        self.ticks += 1
        self.failed += result is None

    def looked(self, names, problems):
        self.names, self.problems = self.names if names is None else list(names), list(problems)


def test_an_observer_hears_of_looks_of_names_and_of_trouble():
    world, observer = SceneWorld("one", "two"), Watching()
    world.trouble = ("the watch of pods is down",)
    with running(world, observer=observer):
        until(lambda: observer.names and observer.ticks > 2)
        assert observer.problems == ["the watch of pods is down"]
        until(lambda: promoted(world))
    assert observer.names == ["one/shop", "two/shop"]


def test_a_run_ends_promoted_under_a_controller_that_comes_and_goes():
    world = SceneWorld("shop")
    for _ in range(60):
        if promoted(world):
            break
        before = world.looks["shop/shop"]
        with running(world):
            until(lambda before=before: world.looks["shop/shop"] > before + 3 or promoted(world))
    assert world.state("shop/shop").run.phase is Phase.PROMOTED


def test_a_controller_for_some_time_ends_by_itself_and_names_who_is_in_trouble():
    world = SceneWorld("good", "bad")
    world.broken = {"bad": Unreachable("its API is away")}
    controller = ClusterController(world, Election(Lease()), pace=FAST)
    assert controller.run(for_s=1.0) == ["bad/shop"]
    assert world.looks["good/shop"] > 5
    assert world.stopped


def test_one_look_at_each_that_moves_is_all_that_a_single_tick_takes():
    world = SceneWorld("one", "two", "idle", "bad")
    world.scenes["idle"] = SceneWorld("idle", new=False).scenes["idle"]
    world.broken = {"bad": Unreachable("its API is away")}
    assert look_once(world) == ["bad/shop"]
    assert world.looks == {"one/shop": 1, "two/shop": 1, "idle/shop": 0, "bad/shop": 1}
    assert world.stopped


def test_ticks_alone_bring_a_release_to_its_end():
    world = SceneWorld("shop")
    for _ in range(200):
        if promoted(world):
            break
        look_once(world)
    assert promoted(world)
