"""The queue of what is to be looked at: the earliest moment counts, and no key is in two hands."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.controller.due import DueQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    return DueQueue(clock)


def taken(queue):
    """Everything that is due now, each finished before the next."""
    found = []
    while (key := queue.take(0)) is not None:
        found.append(key)
        queue.done(key)
    return found


def test_keys_come_when_they_are_due_the_longest_waiting_first(queue, clock):
    queue.wake("c", 30)
    queue.wake("b", 20)
    queue.wake("a", 10)
    assert queue.take(0) is None
    clock.now = 25
    assert taken(queue) == ["a", "b"]
    clock.now = 30
    assert taken(queue) == ["c"]
    assert len(queue) == 0


def test_the_earliest_moment_counts_and_a_key_is_due_once(queue, clock):
    queue.wake("a", 10)
    queue.wake("a", 20)
    queue.wake("a", 5)
    clock.now = 5
    assert taken(queue) == ["a"]
    clock.now = 100
    assert taken(queue) == []


def test_a_key_in_hand_is_given_to_nobody_else_and_its_call_is_heard_afterwards(queue):
    queue.wake("a")
    assert queue.take(0) == "a"
    queue.wake("a")
    assert queue.take(0) is None
    assert not queue.idle()
    queue.done("a")
    assert taken(queue) == ["a"]
    assert queue.idle()


def test_a_forgotten_key_does_not_come_unless_it_is_called_anew(queue, clock):
    queue.wake("a", 1)
    queue.forget("a")
    clock.now = 10
    assert taken(queue) == []
    queue.wake("a")
    assert taken(queue) == ["a"]


def test_lateness_is_that_of_the_key_that_waits_longest(queue, clock):
    assert queue.late_s() == 0
    queue.wake("a", 1)
    queue.wake("b", 3)
    clock.now = 5
    assert queue.late_s() == 4
    assert queue.take(0) == "a"
    assert queue.late_s() == 2


def test_who_waits_is_let_go_when_the_queue_closes():
    queue, found = DueQueue(), []
    waiting = threading.Thread(target=lambda: found.append(queue.take(60)))
    waiting.start()
    queue.close()
    waiting.join(10)
    assert found == [None]
    queue.wake("a")
    assert queue.take(60) is None


def test_a_call_from_another_thread_ends_the_wait():
    queue, found = DueQueue(), []
    queue.wake("later", 60)
    waiting = threading.Thread(target=lambda: found.append(queue.take(60)))
    waiting.start()
    queue.wake("now")
    waiting.join(10)
    assert found == ["now"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("wake"), st.sampled_from("abc"), st.integers(0, 5)),
            st.tuples(st.just("take"), st.just(""), st.just(0)),
            st.tuples(st.just("done"), st.sampled_from("abc"), st.just(0)),
            st.tuples(st.just("wait"), st.just(""), st.integers(0, 3)),
        ),
        max_size=60,
    )
)
def test_no_call_is_lost_and_no_key_is_in_two_hands(steps):
    clock = Clock()
    queue, due, held = DueQueue(clock), {}, set()
    for step, key, number in steps:
        if step == "wake":
            queue.wake(key, number)
            due[key] = min(due.get(key, 1e9), clock.now + number)
        elif step == "take":
            ready = {each: at for each, at in due.items() if at <= clock.now and each not in held}
            found = queue.take(0)
            assert (found is None) == (not ready)
            if found is not None:
                assert ready[found] == min(ready.values())
                held.add(found)
                del due[found]
        elif step == "done" and key in held:
            held.discard(key)
            queue.done(key)
        elif step == "wait":
            clock.now += number
