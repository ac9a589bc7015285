"""Hooks in decisions: stored before anybody is asked, asked again after a restart, never in the way of an abort."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.hookrules import hook_problems
from meshctl.core.model import (
    Hook,
    HookAnswer,
    HookOutcome,
    HookPoint,
    HttpHook,
    OnHookError,
    Phase,
    Reason,
    SecretRef,
    Verb,
    Verdict,
)
from tests.core.small_world import STAGES, SmallWorld, judged, release_of

PASS, HOLD, FAIL, ERROR = HookOutcome.PASS, HookOutcome.HOLD, HookOutcome.FAIL, HookOutcome.ERROR


def hook(name, on, *, stages=(), on_error=OnHookError.HOLD):
    return Hook(name, on, stages, command=(name,), on_error=on_error)


SMOKE = hook("smoke", HookPoint.AFTER_STAGE)
LOAD = hook("load", HookPoint.BEFORE_STAGE, stages=(10.0, 50.0))
TELL, SORRY = hook("tell", HookPoint.PROMOTION), hook("sorry", HookPoint.ROLLBACK)


def world_with(*hooks, serving=True):
    world = SmallWorld(release_of("1.0.0"))
    world.ready("1.0.0")
    world.ready("2.0.0")
    world.tick()
    world.release = replace(world.release, spec=replace(world.release.spec, hooks=hooks))
    world.wish("2.0.0")
    return world


def until_asked(world, name, within=60):
    world.judgement = judged(Verdict.PASS)
    for _ in range(within):
        world.tick()
        if any(call.hook.name == name for call in world.calls):
            return next(call for call in world.calls if call.hook.name == name)
    raise AssertionError(f"{name} was not asked")


def test_the_intent_is_part_of_the_state_of_the_decision_that_asks():
    world = world_with(SMOKE)
    call = until_asked(world, "smoke")
    (ask,) = world.run.hooks
    assert (call.key, call.asking) == ("shop-2/0/smoke", 1)
    assert (ask.name, ask.entry, ask.outcome, ask.settled) == ("smoke", 0, None, False)
    assert (call.candidate, call.baseline, call.weight, call.stage) == ("2.0.0", "1.0.0", 1.0, 0)


def test_whoever_comes_after_a_crash_asks_again_under_the_same_key_and_a_stored_answer_counts():
    world = world_with(SMOKE)
    first = until_asked(world, "smoke")
    successor = SmallWorld(world.release, world.state, world.now, world.live, dict(world.replicas))
    successor.judgement = judged(Verdict.PASS)
    successor.tick()
    assert [(call.key, call.asking) for call in successor.calls] == [(first.key, first.asking)]
    successor.hook_words["smoke"] = (PASS, "")
    successor.tick()
    assert successor.run.weight == 10.0
    world.hook_words["smoke"] = (PASS, "")
    world.judgement = None
    world.step()
    assert not world.calls
    third = SmallWorld(world.release, world.state, world.now, world.live, dict(world.replicas))
    third.judgement = judged(Verdict.PASS)
    third.tick()
    assert third.run.weight == 10.0
    assert not third.calls


@pytest.mark.parametrize(
    "answer",
    [
        HookAnswer("shop-2/1/smoke", 1, FAIL),
        HookAnswer("shop-1/0/smoke", 1, FAIL),
        HookAnswer("shop-2/0/other", 1, FAIL),
        HookAnswer("shop-2/0/smoke", 2, FAIL),
        HookAnswer("shop-2/0/smoke", 0, FAIL),
    ],
)
def test_an_answer_to_another_question_is_not_heard(answer, monkeypatch):
    world = world_with(SMOKE)
    until_asked(world, "smoke")
    before, seen = world.run.hooks, world.seen
    monkeypatch.setattr(world, "seen", lambda: replace(seen(), hooks=(answer,)))
    world.tick()
    assert world.run.hooks == before


def test_a_hook_that_holds_is_asked_ever_more_rarely_and_never_given_up():
    world = world_with(SMOKE)
    until_asked(world, "smoke")
    world.hook_words["smoke"] = (HOLD, "not yet")
    asked = []
    for _ in range(400):
        world.tick()
        asked += [(world.now, call.asking) for call in world.calls]
    first = {number: min(at for at, each in asked if each == number) for _, number in asked}
    pauses = [(first[number + 1] - first[number]).total_seconds() for number in sorted(first)[:-1]]
    assert pauses[:4] == [4 + 1, 8 + 1, 16 + 1, 32 + 1], "one second passes until the answer is seen"
    assert set(pauses[4:]) == {60 + 1}
    assert (world.run.phase, world.run.reason) == (Phase.HELD, Reason.HOOK_HOLDS)
    assert world.run.waits_for == "hook smoke after 1 % (not yet)"


def test_before_and_after_are_asked_in_order_and_only_where_they_belong():
    world = world_with(SMOKE, LOAD)
    world.hook_words = {"smoke": (PASS, ""), "load": (PASS, "")}
    world.judgement = judged(Verdict.PASS)
    asked = []
    for _ in range(150):
        world.tick()
        asked += [call.key for call in world.calls if call.key not in asked]
    keys = ["0/smoke", "1/load", "1/smoke", "2/load", "2/smoke", "3/smoke", "4/smoke"]
    assert asked == [f"shop-2/{key}" for key in keys]
    assert world.run.phase is Phase.PROMOTED


@pytest.mark.parametrize("verb", [Verb.ABORT, None])
def test_the_end_is_told_and_the_next_run_waits_until_it_was(verb):
    world = world_with(TELL, SORRY, SMOKE)
    until_asked(world, "smoke")
    if verb is None:
        world.judgement = judged(Verdict.FAIL)
    else:
        world.ask(verb)
    world.tick()
    assert (world.run.phase, world.run.weight) == (Phase.ROLLED_BACK, 0.0)
    assert [call.key for call in world.calls] == ["shop-2/0/sorry"]
    world.wish("3.0.0")
    world.ready("3.0.0")
    world.tick(300)
    assert world.run.name == "shop-2"
    world.hook_words["sorry"] = (HOLD, "heard, but busy")
    world.tick()
    assert world.run.name == "shop-3"


def test_a_new_stage_forgets_what_was_asked_at_the_one_before():
    world = world_with(SMOKE)
    until_asked(world, "smoke")
    world.ask(Verb.SET_WEIGHT, weight=20.0, reason="look closer")
    world.tick()
    assert world.run.weight == 20.0
    assert not world.run.hooks
    assert not world.calls


outcomes = st.sampled_from([PASS, HOLD, FAIL, ERROR, None])
moments = st.tuples(
    st.dictionaries(st.sampled_from(["smoke", "load", "tell", "sorry", "lax", "strict"]), outcomes),
    st.sampled_from([Verdict.PASS, Verdict.PASS, Verdict.PASS, Verdict.UNDECIDED, Verdict.FAIL, None]),
    st.sampled_from([None] * 12 + list(Verb)),
    st.sampled_from([1.0, 1.0, 5.0, 12.0]),
)


@given(st.lists(moments, max_size=30))
def test_whatever_hooks_say_the_judge_and_people_come_first_and_nothing_rises_without_a_pass(story):
    lax = hook("lax", HookPoint.AFTER_STAGE, on_error=OnHookError.IGNORE)
    strict = hook("strict", HookPoint.BEFORE_STAGE, on_error=OnHookError.FAIL)
    world = world_with(SMOKE, LOAD, TELL, SORRY, lax, strict)
    for words, verdict, verb, seconds in story:
        world.hook_words = {name: (outcome, "") for name, outcome in words.items() if outcome is not None}
        world.judgement = None if verdict is None else judged(verdict)
        before, counted = world.state.run, world._word()
        if verb is not None:
            world.ask(verb, reason="because", weight=30.0 if verb is Verb.SET_WEIGHT else None)
        world.tick(seconds)
        run = world.run
        assert all(not ask.settled or ask.outcome is not None for ask in run.hooks)
        assert not any(ask.point.gates for ask in run.hooks) or not run.phase.ended
        if before is None or before.phase.ended or before.name != run.name:
            continue
        if verb is Verb.ABORT or (counted is not None and verdict is Verdict.FAIL and not world.mesh_problem):
            assert run.phase is Phase.ROLLED_BACK
        if run.weight > before.weight and verb is None and run.phase is Phase.PROGRESSING:
            assert verdict is Verdict.PASS or before.gate_opened or not before.entries
            assert words.get("strict", PASS) is not FAIL


# ------------------------------------------------------------------------------------ rules


def http(**fields):
    return Hook("smoke", HookPoint.AFTER_STAGE, http=HttpHook(**({"url": "https://example.com/x"} | fields)))


def test_good_hooks_are_accepted():
    good = [
        SMOKE,
        LOAD,
        TELL,
        replace(http(headers={"Authorization": SecretRef(env="TOKEN")}), name="a"),
        replace(http(url="http://[::1]:8080/x?y=1", headers={"X-Key": SecretRef(file="/run/key")}), name="b"),
        hook("last", HookPoint.BEFORE_STAGE, stages=(100.0,)),
    ]
    assert list(hook_problems(good, STAGES)) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([SMOKE, SMOKE], "stands here twice"),
        ([hook("Smoke!", HookPoint.AFTER_STAGE)], "lower-case letters"),
        ([hook("smoke", HookPoint.AFTER_STAGE, stages=(7.0,))], "there is no stage of 7"),
        ([hook("smoke", HookPoint.ROLLBACK, stages=(1.0,))], "not to those at the rollback"),
        ([Hook("smoke", HookPoint.ROLLBACK)], "exactly one of http and command"),
        ([replace(http(), command=("true",))], "exactly one of http and command"),
        ([Hook("smoke", HookPoint.ROLLBACK, command=(" ",))], "must name a program"),
        ([Hook("smoke", HookPoint.ROLLBACK, command=("a", "b\0"))], "zero byte"),
        ([Hook("smoke", HookPoint.ROLLBACK, command=("a",) * 65)], "at most 64 words"),
        ([Hook("smoke", HookPoint.ROLLBACK, command=("sh", "-c", "x" * 2001))], "at most 2000 characters"),
        ([http(headers={f"X-{n}": SecretRef(env="A") for n in range(21)})], "at most 20"),
        ([http(url="ftp://example.com")], "must be a URL such as"),
        ([http(url="https://")], "must be a URL such as"),
        ([http(url="file:///etc/passwd")], "must be a URL such as"),
        ([http(url="https://anna:pw@example.com/")], "must not hold a user"),
        ([http(url="https://anna@example.com/")], "must not hold a user"),
        ([http(url="https://example.com:port/")], "cannot be read as a URL"),
        ([http(url="https://example.com/#pw")], "after '#'"),
        ([http(url="https://example.com/a b")], "without blanks"),
        ([http(url="https://example.com/" + "x" * 3000)], "at most 2000"),
        ([http(headers={"Host": SecretRef(env="A")})], "is set by meshctl"),
        ([http(headers={"idempotency-KEY": SecretRef(env="A")})], "is set by meshctl"),
        ([http(headers={"pw: x\r\n": SecretRef(env="A")})], "not one of a header"),
        ([http(headers={"X": SecretRef()})], "exactly one of"),
        ([http(headers={"X": SecretRef(env="A", file="b")})], "exactly one of"),
        ([http(headers={"X": SecretRef(env="pw pw")})], "not the name of an environment variable"),
        ([http(headers={"X": SecretRef(file="")})], "the path of a file"),
        ([http(timeout=timedelta(0))], "longer than nothing"),
        ([replace(SMOKE, timeout=timedelta(hours=2))], "at most 1h"),
        ([replace(TELL, timeout=timedelta(minutes=6))], "at most 5m"),
        ([replace(SMOKE, retries=11)], "from 0 to 10"),
        ([replace(SMOKE, name=f"smoke-{n}") for n in range(21)], "at most 20 hooks"),
    ],
)
def test_bad_hooks_are_refused_without_repeating_a_secret(bad, message):
    problems = list(hook_problems(bad, STAGES))
    assert len(problems) == 1
    assert message in problems[0][1]
    assert "pw" not in f"{problems[0]}"
