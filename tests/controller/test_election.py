"""Of several controllers one works; who cannot renew stops before another may begin."""

from __future__ import annotations

import threading
import time as clock
from datetime import UTC, datetime, timedelta

import pytest

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.kubernetes.kinds import LEASE
from meshctl.adapters.kubernetes.lease import DURATION_S, LeaseLock
from meshctl.controller.election import HELD_S, Election
from meshctl.core.errors import Conflict, Unreachable
from tests.adapters.api_memory import MemoryApi

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Time:
    """Two clocks of one machine."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self):
        return NOON + timedelta(seconds=self.passed)

    def monotonic(self):
        return 1000.0 + self.passed


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def api():
    return MemoryApi()


@pytest.fixture
def candidate(api, time):
    def make(identity, api=api):
        lock = LeaseLock(api, "meshctl", "default", identity, clock=time, monotonic=time.monotonic)
        told = []
        election = Election(lock, told.append, monotonic=time.monotonic)
        election.told = told
        return election

    return make


def test_the_first_works_and_the_second_waits(candidate, time):
    one, two = candidate("one"), candidate("two")
    one.step()
    two.step()
    assert (one.held(), two.held()) == (True, False)
    for _ in range(20):
        time.passed += 4
        one.step()
        two.step()
        assert (one.held(), two.held()) == (True, False)
    assert (one.told, two.told) == ([True], [])


def test_who_goes_in_good_order_is_followed_at_once(candidate):
    one, two = candidate("one"), candidate("two")
    one.step()
    two.step()
    one.stop()
    two.step()
    assert two.held()


def test_who_was_killed_is_followed_when_the_lease_has_run_out_and_never_before(candidate, time):
    one, two = candidate("one"), candidate("two")
    one.step()
    two.step()
    for _ in range(DURATION_S - 1):
        time.passed += 1
        two.step()
        assert not two.held()
    time.passed += 1
    two.step()
    assert two.held()
    assert not one.held()


def test_who_cannot_renew_stops_before_another_may_begin(candidate, api, time):
    one, two = candidate("one", MemoryApi(cluster=api.cluster)), candidate("two")
    one.step()
    two.step()
    one._lock._api.fail(Unreachable("no way"), times=100)
    began = time.passed
    stopped = None
    while not two.held():
        time.passed += 0.5
        one.step()
        two.step()
        assert not (one.held() and two.held())
        if stopped is None and not one.held():
            stopped = time.passed - began
    assert stopped == HELD_S
    assert time.passed - began == DURATION_S
    assert one.told == [True, False]


def test_who_stood_still_for_longer_than_the_lease_and_still_has_it_is_told_anew(candidate, api, time):
    one = candidate("one")
    one.step()
    time.passed += 300
    assert not one.held(), "whoever asked meanwhile was sent away"
    one.step()
    assert one.held()
    assert one.told == [True, True]
    at_once = one._lock.attempt

    def attempt():
        time.passed += HELD_S - 1
        return at_once()

    one._lock.attempt = attempt
    time.passed += 4
    one.step()
    assert one.held(), "the answer came after the end of the lease, and before that of the next"
    assert one.told == [True, True, True]


def test_clocks_of_two_machines_need_not_agree(api, time):
    early, late = Time(), Time()
    late.passed = 86_400.0
    one = Election(LeaseLock(api, "m", "default", "one", clock=early, monotonic=early.monotonic))
    two = Election(LeaseLock(api, "m", "default", "two", clock=late, monotonic=late.monotonic))
    one.step()
    two.step()
    late.passed += DURATION_S - 1
    two.step()
    assert not two.held()


def test_a_lost_race_is_a_no_and_a_lost_answer_is_none(candidate, api, time):
    one = candidate("one")
    one.step()
    api.fail(Conflict("somebody wrote"), verb="update", kind=LEASE)
    time.passed += 4
    one.step()
    assert one.held(), "the lease still names us"
    lease = api.get(LEASE, "meshctl", "default")
    lease["spec"]["holderIdentity"] = "two"
    api.replace(LEASE, lease)
    one.step()
    assert not one.held()


def test_without_permission_nobody_works_and_it_is_told_once(candidate, api, caplog):
    api.deny("create", LEASE)
    one = candidate("one")
    with caplog.at_level("WARNING"):
        one.step()
        one.step()
    assert not one.held()
    assert len([record for record in caplog.records if "lease" in record.message]) == 1


def test_a_lease_that_cannot_be_given_back_is_told_and_runs_out_by_itself(candidate, api, caplog):
    one = candidate("one")
    one.step()
    api.fail(Unreachable("no way"), times=10)
    one.stop()
    assert not one.held()
    assert "could not be given back" in caplog.text


def test_the_thread_takes_the_lease_and_gives_it_back(api):
    taken = threading.Event()
    lock = LeaseLock(api, "meshctl", "default", "one", clock=SystemClock(), monotonic=clock.monotonic)
    election = Election(lock, lambda held: taken.set() if held else None)
    election.start()
    assert taken.wait(10)
    assert election.held()
    election.stop()
    assert api.get(LEASE, "meshctl", "default")["spec"]["holderIdentity"] == ""
