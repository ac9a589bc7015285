"""Releases of a cluster as the loop sees them: by caches alone, woken by whoever changes something."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from meshctl.adapters.kubernetes.api import Patch
from meshctl.adapters.kubernetes.kinds import RELEASE, VIRTUAL_SERVICE
from meshctl.adapters.kubernetes.releases import REQUEST_PREFIX
from meshctl.core.errors import Conflict, Forbidden, InvalidInput, Refused, Unreachable
from meshctl.core.model import CanaryStrategy, Metadata, Release, ReleaseSpec, Routing, Stage, Strategy
from meshctl.wiring_operator import Operator, OperatorSettings
from meshctl.wiring_world import ClusterWorld, due_s
from tests.adapters.cluster_stage import NEW, OLD, ClusterStage

SETTINGS = OperatorSettings(prometheus_url="http://127.0.0.1:9")
STAGES = (Stage(10.0, min_duration=timedelta(seconds=2)), Stage(100.0, min_duration=timedelta(seconds=1)))


def release(version, stages=STAGES):
    return Release(Metadata("shop"), ReleaseSpec(version, "shop", strategy=Strategy(CanaryStrategy(stages=stages))))


class Woken:
    """Who was called, in order."""

    def __init__(self):
        self.names, self._changed = [], threading.Condition()

    def __call__(self, name):
        with self._changed:
            self.names.append(name)
            self._changed.notify_all()

    def wait(self, name="default/shop", times=1, within_s=10.0):
        with self._changed:
            return self._changed.wait_for(lambda: self.names.count(name) >= times, within_s)

    def clear(self):
        with self._changed:
            self.names.clear()


@pytest.fixture
def stage():
    stage = ClusterStage()
    stage.wish(release(OLD))
    stage.until(phase="Promoted")
    stage.ticks(2)
    return stage


@pytest.fixture
def woken():
    return Woken()


@pytest.fixture
def world(stage, woken):
    api = stage.api.seen_by("controller")
    world = ClusterWorld(api, "", SETTINGS, watches=True)
    world.api = api
    world.start(woken)
    yield world
    world.stop()


def quiet(world, stage):
    """Everything that happened until now was heard: a change that all hear of comes last."""
    done = threading.Event()
    marker = "marker"
    world._caches[VIRTUAL_SERVICE].tell(lambda kind, namespace, name: name == marker and done.set())
    spec = {"hosts": ["marker"], "http": []}
    stage.hands.create(VIRTUAL_SERVICE, {"metadata": {"name": marker, "namespace": "istio-system"}, "spec": spec})
    assert done.wait(10)
    stage.hands.delete(VIRTUAL_SERVICE, marker, "istio-system")


def test_what_is_idle_is_known_costs_no_call_and_wakes_nobody(world, woken, stage):
    quiet(world, stage)
    world.api.calls.clear()
    assert world.names() == ["default/shop"]
    assert world.knows("default/shop")
    assert not world.knows("default/till")
    assert world.due_s("default/till") is None
    due = world.due_s("default/shop")
    assert due is None or due > 60, "its old version may go then"
    assert not world.strayed("default/shop")
    assert world.problems() == []
    assert world.api.calls == []
    assert woken.names == []


def test_another_wish_wakes_a_release_and_its_own_status_does_not(world, woken, stage):
    stage.wish(release(NEW))
    assert woken.wait()
    assert world.due_s("default/shop") == 0.0
    quiet(world, stage)
    woken.clear()
    found = stage.hands.get(RELEASE, "shop", "default")
    found["status"] |= {"phase": "Progressing", "message": "on its way"}
    stage.hands.replace(RELEASE, found, subresource="status")
    quiet(world, stage)
    assert woken.names == []


def test_a_request_wakes_a_release_at_once(world, woken, stage):
    body = {"metadata": {"annotations": {f"{REQUEST_PREFIX}r1": '{"verb": "pause"}'}}}
    stage.hands.patch(RELEASE, "shop", "default", body, form=Patch.MERGE)
    assert woken.wait()
    assert world.due_s("default/shop") == 0.0


def test_a_new_release_and_one_that_is_gone_are_told(world, woken, stage):
    other = release(OLD)
    stage.wish(Release(Metadata("till"), other.spec))
    assert woken.wait("default/till")
    stage.hands.delete(RELEASE, "till", "default")
    assert woken.wait("default/till", times=2)
    assert not world.knows("default/till")


def test_a_foreign_hand_on_the_routes_wakes_an_idle_release_and_is_seen_afterwards(world, woken, stage):
    service = stage.hands.get(VIRTUAL_SERVICE, "shop", "default")
    service["spec"]["http"][0]["route"][0]["weight"] = 400
    stage.hands.replace(VIRTUAL_SERVICE, service)
    assert woken.wait()
    assert world.strayed("default/shop") or len(service["spec"]["http"][0]["route"]) == 1
    woken.clear()
    stage.hands.delete(VIRTUAL_SERVICE, "shop", "default")
    assert woken.wait()
    assert world.strayed("default/shop")


def test_an_own_write_wakes_nobody(world, woken, stage):
    ports = world.ports("default")
    wished = ports.store.load("shop").release
    live = stage.hands.get(VIRTUAL_SERVICE, "shop", "default")
    run = live["metadata"]["annotations"]["meshctl.dev/run"]
    objects = ports.renderer.render(wished, Routing(OLD, NEW, 0.0, run))
    world._operator._mesh._mesh._eyes._plane = stage.ports.mesh._eyes._plane
    ports.mesh.apply(wished, objects)
    quiet(world, stage)
    assert woken.names == []


def test_a_pod_that_dies_wakes_a_release_that_moves_and_no_other(world, woken, stage):
    stage.wish(release(NEW, stages=(Stage(10.0, min_duration=timedelta(minutes=20)), Stage(100.0))))
    assert woken.wait()
    stage.until(weight=10.0)
    world.follow("default/shop", moving=False)
    quiet(world, stage)
    woken.clear()
    stage.pods.end_pods(NEW)
    quiet(world, stage)
    before = woken.names.count("default/shop")
    stage.pods.settle()
    quiet(world, stage)
    world.follow("default/shop", moving=True)
    stage.pods.end_pods(NEW)
    assert woken.wait(times=before + 1)


def test_routes_are_written_only_by_the_controller_that_works_and_lowered_by_any(stage):
    stage.wish(release(NEW, stages=(Stage(10.0, min_duration=timedelta(minutes=20)), Stage(100.0))))
    stage.until(weight=10.0, confirmed=10.0)
    operator = Operator(SETTINGS, stage.api, stage.clock, may_raise=lambda: False)
    ports = operator.ports(stage.ports.store)
    wished = stage.ports.store.load("shop").release
    objects = ports.renderer.render(wished, Routing(OLD, NEW, 50.0, "shop-2"))
    with pytest.raises(Conflict, match="another controller works"):
        ports.mesh.apply(wished, objects)
    assert stage.weights()[NEW] == 10.0
    assert ports.mesh.lower(wished, "shop-2") is not None
    assert stage.weights()[NEW] == 0.0
    operator.close()


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Forbidden("listing releases: may not"), RELEASE),
        (Refused("the API server does not know the kind VirtualService"), VIRTUAL_SERVICE),
    ],
)
def test_what_does_not_get_better_by_itself_ends_the_start(stage, woken, trouble, kind):
    api = stage.api.seen_by("controller")
    api.fail(trouble, kind=kind, times=100)
    world = ClusterWorld(api, "", SETTINGS, watches=True)
    with pytest.raises(type(trouble)):
        world.start(woken)


def test_an_api_server_that_does_not_answer_ends_the_start_after_a_while(stage, woken, monkeypatch):
    monkeypatch.setattr("meshctl.wiring_world.SYNC_TIMEOUT_S", 0.3)
    api = stage.api.seen_by("controller")
    api.fail(Unreachable("nobody answers"), times=1000)
    with pytest.raises(Unreachable, match="nobody answers"):
        ClusterWorld(api, "", SETTINGS, watches=True).start(woken)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "prometheus_url: is not said"),
        ({"prometheus_url": "prometheus"}, "prometheus: url must be an address"),
        ({"prometheus_url": "http://p:9090", "prometheus_headers": "X"}, "prometheus_headers: 'X' is no pair"),
        ({"prometheus_url": "http://p:9090", "istiod_url": "istiod"}, "istiod_url: 'istiod' is no address"),
        ({"prometheus_url": "http://p:9090", "hook_hosts": "http://x"}, "hook_hosts: 'http://x' is no host"),
        ({"prometheus_url": "http://p:9090", "webhook_url": "http://x"}, "webhook: events are signed"),
    ],
)
def test_a_setting_that_is_wrong_is_named_before_anything_begins(stage, settings, said):
    with pytest.raises(InvalidInput, match=said):
        Operator(OperatorSettings(**settings), stage.api, stage.clock)


# ------------------------------------------------------------------------------------ what the object itself says


def object_of(**status):
    settled = {"phase": "Promoted", "weight": 100, "confirmed": 100, "observedGeneration": 3, "run": "shop-1"}
    return {"metadata": {"name": "shop", "namespace": "default", "generation": 3}, "status": settled | status}


def test_a_release_is_idle_only_when_nothing_is_left_to_do(stage):
    now = stage.clock.now()
    stamp = (now + timedelta(minutes=5)).isoformat()
    ago = (now - timedelta(seconds=10)).isoformat()
    assert due_s(object_of(), now) is None
    assert due_s({"metadata": {"generation": 1}}, now) == 0.0
    assert due_s(object_of(phase="Progressing"), now) == 0.0
    assert due_s(object_of(confirmed=50), now) == 0.0
    assert due_s(object_of(observedGeneration=2), now) == 0.0
    assert due_s(object_of(warmUntil=stamp), now) == 300.0
    assert due_s(object_of(warmUntil=ago), now) == 0.0
    taken_back = [{"type": "RolledBack", "status": "True", "lastTransitionTime": ago}]
    ended = object_of(phase="RolledBack", weight=0, confirmed=0, conditions=taken_back)
    assert due_s(ended, now) == 20.0
    assert due_s(ended, now + timedelta(minutes=1)) == 0.0
    assert due_s(ended, now + timedelta(hours=1)) is None
    asked = object_of()
    asked["metadata"]["annotations"] = {f"{REQUEST_PREFIX}r1": "abort"}
    assert due_s(asked, now) == 0.0
