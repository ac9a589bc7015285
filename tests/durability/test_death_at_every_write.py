"""``kill -9`` of the controller between any two of its effects: the next one goes on, and no user notices.

A controller that takes over has about eight effects before its first look at the release; a whole release has about
forty.  `mortal` says what counts as one.
"""

from __future__ import annotations

import pytest

from tests.durability.world import (
    NEW,
    OLD,
    SHORT,
    MortalMesh,
    Undertaker,
    Verb,
    abort_through,
    at_the_gate,
    promote_through,
    until,
    watched,
)

pytestmark = pytest.mark.e2e

WALK = (1, 8, 10, 11, 13, 16, 18)
"""Deaths of one release: while starting, between starting a replica and recording it, between storing and raising,
between the files of one raise, between raising and recording that it is confirmed."""

ABORTS = (4, 10, 11)
"""Deaths around an abort: before it is heard, before the routes are lowered, between lowering and storing."""


@pytest.fixture
def mesh(tmp_path):
    found = MortalMesh(tmp_path, SHORT)
    found.begin(rps=50)
    yield found
    assert found.end() == []


def test_a_controller_that_dies_again_and_again_brings_a_release_to_its_end_and_no_user_notices(mesh):
    """
    Given a shop whose users keep asking, and a second version that is released
    When the controller is killed at one effect after another, and started again each time
    Then each takes over Envoy and the serving replicas as they run, the version is promoted, and no request failed
    """
    mesh.kill_controller()
    with watched(mesh):
        undertaker = Undertaker(mesh, WALK)
        promote_through(mesh, NEW, undertaker)
    assert undertaker.died == list(WALK)


def test_a_death_around_an_abort_never_gives_the_candidate_traffic_again(mesh):
    """
    Given a run that waits at 50 %
    When the controller is killed before, while and after it carries out an abort
    Then the command says that it is done, no weight rises any more, and the next controller leaves it so
    """
    with watched(mesh) as watch:
        run = at_the_gate(mesh, NEW)
        for number, effect in enumerate(ABORTS):
            if number:
                run = at_the_gate(mesh, NEW, Verb.RETRY)
            mesh.kill_controller()
            undertaker = Undertaker(mesh, [effect])
            until_settled(mesh, undertaker)
            abort_through(mesh, NEW, undertaker)
            assert run in watch.aborted


def until_settled(mesh, undertaker):
    """Up, or dead already."""
    until(lambda: mesh.is_up() or mesh.controller().poll() is not None, 60, "the controller, up or dead")
    assert undertaker.died == []


@pytest.mark.long
def test_a_death_at_any_effect_of_a_whole_release(mesh):
    """Every effect once, one release each; the shop goes back and forth between its two versions."""
    mesh.kill_controller()
    with watched(mesh):
        effect, whole = 0, False
        while not whole:
            effect += 1
            undertaker = Undertaker(mesh, [effect])
            promote_through(mesh, NEW if effect % 2 else OLD, undertaker)
            whole = not undertaker.died
            assert mesh.users.counts.failed == 0, (effect, mesh.users.counts.causes)
            mesh.kill_controller()
    assert effect > 35


@pytest.mark.long
def test_a_death_at_any_effect_around_an_abort(mesh):
    """Every effect once, from the start of a controller to an abort that it carries out."""
    with watched(mesh) as watch:
        run, effect, whole = at_the_gate(mesh, NEW), 0, False
        while not whole:
            effect += 1
            mesh.kill_controller()
            undertaker = Undertaker(mesh, [effect])
            until_settled(mesh, undertaker)
            abort_through(mesh, NEW, undertaker)
            assert run in watch.aborted
            whole = not undertaker.died
            if not whole:
                run = at_the_gate(mesh, NEW, Verb.RETRY)
    assert effect > 9
