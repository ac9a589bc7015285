"""Hooks around a tick: stored before they are asked, asked again after a crash, forgotten when nobody wants them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshctl.core.errors import Conflict, StoreError
from meshctl.core.model import Hook, HookAnswer, HookOutcome, HookPoint, Phase, Reason, Verdict
from tests.app.tick_world import NEW, NEWER, Crash, TickWorld

HOOKS = (
    Hook("smoke", HookPoint.AFTER_STAGE, stages=(1.0,), command=("smoke",)),
    Hook("sorry", HookPoint.ROLLBACK, command=("sorry",)),
)


class ScriptedHooks:
    """Answers what ``words`` says to what is kept; remembers every asking that was begun."""

    def __init__(self, log):
        self.words, self.kept, self.begun, self._log = {}, {}, [], log

    def keep(self, release, calls):
        self._log.happen("hooks.keep", "before")
        before = self.kept
        self.kept = {(call.key, call.asking): call for call in calls}
        self.begun += [asking for asking in self.kept if asking not in before]

    def answers(self, release):
        found = [(call, self.words.get(call.hook.name)) for call in self.kept.values()]
        return [HookAnswer(call.key, call.asking, word) for call, word in found if word is not None]


class Told:
    def __init__(self):
        self.events = []

    def tell(self, release, events):
        self.events += events


@pytest.fixture
def world():
    world = TickWorld()
    restart(world)
    world.told = Told()
    world.ports = replace(world.ports, notices=world.told)
    world.wish(NEW, hooks=HOOKS)
    world.say(Verdict.PASS)
    return world


def restart(world):
    """What a new controller knows: nothing but the store."""
    world.hooks = ScriptedHooks(world.log)
    world.ports = replace(world.ports, hooks=world.hooks)


def to_the_hook(world):
    for _ in range(30):
        world.tick()
        if world.hooks.begun:
            return
    raise AssertionError("nobody was asked")


def crash_at(world, effect, moment):
    def happen(*found):
        if found == (effect, moment):
            world.log.hooks.remove(happen)
            raise Crash

    world.log.hooks.append(happen)


def test_what_is_asked_was_stored_before(world):
    def look(effect, moment):
        if effect == "hooks.keep" and (run := world.state.run) is not None:
            seen.append(tuple(ask.name for ask in run.hooks))

    seen = []
    world.log.hooks.append(look)
    to_the_hook(world)
    assert seen[-1] == ("smoke",)
    assert world.hooks.begun == [("shop-2/0/smoke", 1)]
    world.tick(5)
    assert world.hooks.begun == [("shop-2/0/smoke", 1)]
    assert world.run.waits_for == "hook smoke after 1 %"
    assert world.share() == 1.0


@pytest.mark.parametrize("moment", [("hooks.keep", "before"), ("store.save", "after")])
def test_a_crash_between_storing_and_asking_asks_later(world, moment):
    def happen(*found):
        if found == moment and world.run.hooks:
            world.log.hooks.remove(happen)
            raise Crash

    world.log.hooks.append(happen)
    with pytest.raises(Crash):
        world.tick(30)
    assert not world.hooks.begun
    restart(world)
    world.tick()
    assert world.hooks.begun == [("shop-2/0/smoke", 1)]


def test_a_crash_after_asking_asks_again_under_the_same_key(world):
    to_the_hook(world)
    restart(world)
    world.tick()
    assert world.hooks.begun == [("shop-2/0/smoke", 1)]
    world.hooks.words["smoke"] = HookOutcome.PASS
    world.tick(2)
    assert world.run.weight == 10.0


def test_an_answer_that_could_not_be_stored_is_heard_again(world):
    to_the_hook(world)
    world.hooks.words["smoke"] = HookOutcome.HOLD
    for error in (StoreError("disk full"), Conflict("another was first")):
        crash_with(world, error)
    world.tick()
    assert (world.run.phase, world.run.reason) == (Phase.HELD, Reason.HOOK_HOLDS)
    messages = [event.message for event in world.told.events if event.actor.claimed == "smoke"]
    assert messages == ["hook smoke after 1 % holds"]


def crash_with(world, error):
    def fail(effect, moment):
        if (effect, moment) == ("store.save", "before"):
            world.log.hooks.remove(fail)
            raise error

    world.log.hooks.append(fail)
    if isinstance(error, Conflict):
        world.tick()
    else:
        with pytest.raises(StoreError):
            world.tick()


def test_an_abort_takes_no_longer_and_lets_go_of_the_hook(world):
    to_the_hook(world)
    world.abort()
    world.tick()
    assert world.share() == 0.0
    assert [key for key, _ in world.hooks.kept] == ["shop-2/0/sorry"]
    world.wish(NEWER)
    world.tick(3)
    assert world.run.name == "shop-2"
    world.hooks.words["sorry"] = HookOutcome.ERROR
    world.tick()
    assert world.run.name == "shop-3"
    assert not world.hooks.kept


def test_whoever_does_not_stay_asks_nobody_and_leaves_the_asking_to_the_next(world):
    from meshctl.core.ports import NoHooks

    to_the_hook(world)
    asks = world.run.hooks
    world.ports = replace(world.ports, hooks=NoHooks())
    world.tick(3)
    assert world.run.hooks == asks
    restart(world)
    world.tick()
    assert world.hooks.begun == [("shop-2/0/smoke", 1)]


def test_events_are_told_once_they_are_stored(world):
    crash_at(world, "store.save", "before")
    with pytest.raises(Crash):
        world.tick()
    assert not world.told.events
    world.tick()
    assert world.told.events[0].message == "run shop-2 begins: 2.0.0, to follow 1.0.0"
