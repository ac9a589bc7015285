"""What people do: apply wishes, ask for something, wait for an end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshctl.app.commands import Applied, acknowledgement, apply, end_of, is_answered, new_request, serve_directly
from meshctl.app.tick import Ports
from meshctl.core.errors import Conflict, InvalidInput, Refused, StoreError
from meshctl.core.model import (
    Gate,
    Metadata,
    Phase,
    Reason,
    Release,
    ReleaseSpec,
    ReleaseState,
    Stage,
    Verb,
    Workload,
    WorkloadSpec,
    WorkloadVersion,
)
from tests.cli.scenes import NEW, OLD, Scene

SHOP = Workload(
    Metadata("shop"),
    WorkloadSpec("127.0.0.1:0", {OLD: WorkloadVersion(("shop",)), NEW: WorkloadVersion(("shop", "--new"))}),
)
MANUAL = (Stage(10.0, gate=Gate.MANUAL, min_duration=timedelta(seconds=1)), Stage(100.0))


def store_of(scene=None):
    return (scene or Scene()).store


def put(store, *objects):
    return list(apply(store, objects, Scene().world.clock.now()))


def changed(workload, version, **fields):
    versions = dict(workload.spec.versions)
    versions[version] = replace(versions[version], **fields)
    return replace(workload, spec=replace(workload.spec, versions=versions))


def ports_of(scene, **fields):
    w = scene.world
    ports = Ports(w.store, w.mesh, w.workloads, w.metrics, scene.judge, w.renderer, w.clock)
    return replace(ports, **fields)


def at_gate():
    scene = Scene(MANUAL)
    scene.put(NEW)
    return scene.until(lambda view: view.status.reason == Reason.MANUAL_GATE)


# ------------------------------------------------------------------------------------ apply


def test_workloads_are_stored_before_the_releases_that_need_them():
    store = Scene().store
    release = Release(Metadata("till"), ReleaseSpec(OLD, "shop"))
    assert put(store, release, SHOP) == [
        Applied("Workload", "shop", "created"),
        Applied("Release", "till", "created"),
    ]
    assert [each.action for each in put(store, release, SHOP)] == ["unchanged", "unchanged"]
    other = replace(release, spec=replace(release.spec, version=NEW))
    assert [each.action for each in put(store, other, SHOP)] == ["unchanged", "configured"]


def test_a_release_of_a_service_that_nobody_runs_is_refused_before_anything_is_stored():
    store = Scene().store
    with pytest.raises(InvalidInput, match="there is no Workload 'till'") as caught:
        put(store, SHOP, Release(Metadata("till"), ReleaseSpec(OLD, "till")))
    assert "Known: shop" in str(caught.value)
    assert list(store.workloads()) == []


@pytest.mark.parametrize("fields", [{"command": ("other",)}, {"env": {"DEBUG": "1"}}], ids=["command", "environment"])
@pytest.mark.parametrize("version", [OLD, NEW], ids=["the serving version", "the candidate"])
def test_a_version_in_use_does_not_become_another_program(version, fields):
    scene = at_gate()
    put(scene.store, SHOP)
    with pytest.raises(Refused, match=f"version {version} is in use and has another command or environment"):
        put(scene.store, changed(SHOP, version, **fields))
    assert scene.store.workload("shop").spec == SHOP.spec


def test_a_version_in_use_is_not_taken_away():
    scene = Scene()
    put(scene.store, SHOP)
    less = replace(SHOP, spec=replace(SHOP.spec, versions={NEW: SHOP.spec.versions[NEW]}))
    with pytest.raises(Refused, match=f"version {OLD} is in use and is missing"):
        put(scene.store, less)


def test_a_version_that_nobody_uses_and_the_number_of_replicas_may_change():
    scene = Scene()
    put(scene.store, SHOP)
    assert put(scene.store, changed(SHOP, NEW, command=("another",)))[0].action == "configured"
    now = scene.store.workload("shop")
    assert put(scene.store, changed(now, OLD, replicas=5))[0].action == "configured"


# ------------------------------------------------------------------------------------ requests


def test_every_request_has_an_id_of_its_own():
    now = Scene().world.clock.now()
    first, second = (new_request(Verb.ABORT, now, actor="anna", reason="why") for _ in range(2))
    assert first.id != second.id
    assert (first.verb, first.time, first.actor, first.reason) == (Verb.ABORT, now, "anna", "why")


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not stored"])
def test_a_request_is_served_once_whether_or_not_it_was_stored(stored):
    scene = at_gate()
    request = new_request(Verb.ABORT, scene.world.clock.now(), actor="anna", reason="empty carts")
    if stored:
        scene.store.request("shop", request)
    told = serve_directly(ports_of(scene), "shop", request)
    assert told.accepted
    assert "empty carts" in told.message
    assert scene.store.load("shop").requests == ()
    assert acknowledgement(scene.store.load("shop").state, request.id) == told
    assert serve_directly(ports_of(scene), "shop", request) == told
    assert [each.id for each in scene.store.load("shop").state.acknowledged] == [request.id]
    assert scene.view.status.weight == 0.0


def test_a_refusal_is_an_answer_too():
    scene = Scene()
    told = serve_directly(ports_of(scene), "shop", new_request(Verb.ABORT, scene.world.clock.now(), actor="anna"))
    assert not told.accepted
    assert "rollback" in told.message


def test_an_answer_is_heard_however_many_requests_wait():
    scene = at_gate()
    for _ in range(40):
        scene.store.request("shop", new_request(Verb.PROMOTE, scene.world.clock.now(), actor="bob", reason="go on"))
        scene.world.clock.advance(0.001)
    told = serve_directly(ports_of(scene), "shop", new_request(Verb.ABORT, scene.world.clock.now(), actor="anna"))
    assert told.accepted
    assert scene.store.load("shop").requests == ()


def test_an_unknown_request_has_no_answer_yet():
    assert acknowledgement(ReleaseState(), "x") is None


class _Failing:
    """A store whose saves fail in one way."""

    def __init__(self, inner, error):
        self._inner, self._error = inner, error
        self.names, self.load, self.request = inner.names, inner.load, inner.request

    def save(self, *arguments, **fields):
        raise self._error


def test_an_abort_is_in_effect_even_where_it_cannot_be_stored():
    scene = at_gate()
    request = new_request(Verb.ABORT, scene.world.clock.now(), actor="anna")
    full = _Failing(scene.store, StoreError("the disk is full"))
    with pytest.raises(StoreError):
        serve_directly(ports_of(scene, store=full), "shop", request)
    live = scene.world.mesh.read(scene.store.release("shop"))
    assert live.weights[NEW] == 0.0
    assert live.aborted


def test_a_request_that_loses_every_race_says_so():
    scene = at_gate()
    request = new_request(Verb.PAUSE, scene.world.clock.now(), actor="anna")
    with pytest.raises(Refused, match="others kept writing"):
        serve_directly(ports_of(scene, store=_Failing(scene.store, Conflict("late"))), "shop", request)


# ------------------------------------------------------------------------------------ wait


def test_nothing_has_ended_before_the_first_run():
    assert end_of(ReleaseState()) is None


@pytest.mark.parametrize(
    ("phase", "reason", "code"),
    [
        (Phase.PENDING, None, None),
        (Phase.PROGRESSING, None, None),
        (Phase.PAUSED, Reason.MANUAL_GATE, None),
        (Phase.PAUSED, Reason.PAUSED_BY_USER, None),
        (Phase.HELD, Reason.METRICS_OUTAGE, None),
        (Phase.HELD, Reason.NO_TRAFFIC, None),
        (Phase.HELD, Reason.NOT_IN_EFFECT, None),
        (Phase.HELD, Reason.LOWERED_BY_OTHER, 11),
        (Phase.HELD, Reason.INCONCLUSIVE, 11),
        (Phase.PROMOTED, Reason.EVIDENCE, 0),
        (Phase.ROLLED_BACK, Reason.REGRESSION, 10),
        (Phase.ROLLED_BACK, Reason.ABORTED, 10),
    ],
)
def test_a_wait_ends_where_nothing_or_only_a_person_leads_on(phase, reason, code):
    state = at_gate().store.load("shop").state
    assert end_of(replace(state, run=replace(state.run, phase=phase, reason=reason))) == code


def test_a_wish_is_answered_by_its_own_run_and_not_by_the_one_before():
    scene = Scene()
    stored = scene.store.load("shop")
    assert is_answered(stored)
    later = replace(stored.release.spec, version=NEW)
    seen = replace(stored, release=replace(stored.release, spec=later))
    assert not is_answered(seen), "seen, but its run waits until the end of the one before is in effect"
    assert is_answered(replace(seen, state=replace(seen.state, rejected=(NEW,))))
    unseen = replace(stored.release, metadata=replace(stored.release.metadata, generation=9))
    assert not is_answered(replace(stored, release=unseen))
    scene.ask("pause")
    assert not is_answered(scene.store.load("shop"))
    scene.put(NEW)
    scene.run(2)
    assert is_answered(scene.store.load("shop"))
