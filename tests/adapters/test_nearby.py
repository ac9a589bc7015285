"""Reads from caches: they cost no call, know what was written through them, and give way where they are old."""

from __future__ import annotations

import pytest

from meshctl.adapters.kubernetes.api import NotFound, Patch
from meshctl.adapters.kubernetes.kinds import CONFIG_MAP, POD, VIRTUAL_SERVICE
from meshctl.adapters.kubernetes.nearby import ABSENT_S, BEHIND_MAX_S, OWN_WRITE_S, NearbyApi
from meshctl.adapters.kubernetes.watching import Cache
from meshctl.core.errors import Conflict
from tests.adapters.api_memory import MemoryApi


class Lagging:
    """A cache whose line is slow: it has what the API server had when it was told so."""

    def __init__(self, api, kind):
        self._api, self._kind, self._objects, self._told = api, kind, {}, []
        self.behind = 0.0

    def catch_up(self):
        before, self._objects = self._objects, {}
        for each in self._api.list(self._kind).items:
            self._objects[each["metadata"]["namespace"], each["metadata"]["name"]] = each
        for namespace, name in before.keys() | self._objects.keys():
            for changed in self._told:
                changed(self._kind, namespace, name)
        self._api.calls.clear()

    def get(self, name, namespace=""):
        return self._objects.get((namespace, name))

    def behind_s(self):
        return self.behind

    def tell(self, changed):
        self._told.append(changed)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def service(name="shop", namespace="default", **labels):
    meta = {"name": name, "namespace": namespace, "labels": labels}
    return {"metadata": meta, "spec": {"hosts": [name]}}


@pytest.fixture
def api():
    api = MemoryApi()
    api.create(VIRTUAL_SERVICE, service())
    return api


@pytest.fixture
def cache(api):
    return Lagging(api, VIRTUAL_SERVICE)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def near(api, cache, clock):
    near = NearbyApi(api, {VIRTUAL_SERVICE: cache}, monotonic=clock)
    cache.catch_up()
    return near


def marked(near, value):
    body = {"metadata": {"annotations": {"mark": value}}}
    return near.patch(VIRTUAL_SERVICE, "shop", "default", body, form=Patch.MERGE)


def mark(near):
    return near.get(VIRTUAL_SERVICE, "shop", "default")["metadata"].get("annotations", {}).get("mark")


def test_what_did_not_change_costs_no_call(api, near):
    for _ in range(3):
        assert near.get(VIRTUAL_SERVICE, "shop", "default")["spec"] == {"hosts": ["shop"]}
        assert near.find(VIRTUAL_SERVICE, "till", "default") is None
        assert len(near.list(VIRTUAL_SERVICE, "default").items) == 1
    with pytest.raises(NotFound):
        near.get(VIRTUAL_SERVICE, "till", "default")
    assert api.calls == []


def test_other_kinds_are_asked_for(api, near):
    api.create(CONFIG_MAP, {"metadata": {"name": "a", "namespace": "default"}})
    assert near.get(CONFIG_MAP, "a", "default")
    assert near.list(CONFIG_MAP, "default").items
    assert (near.namespace, near.user, near.server) == (api.namespace, api.user, api.server)


def test_an_own_write_is_read_at_once_and_gives_way_to_what_is_newer(near, api, cache):
    marked(near, "ours")
    assert mark(near) == "ours"
    assert near.list(VIRTUAL_SERVICE, "default").items[0]["metadata"]["annotations"] == {"mark": "ours"}
    cache.catch_up()
    assert mark(near) == "ours"
    marked(near, "ours again")
    marked(api.seen_by("another"), "theirs")
    assert mark(near) == "ours again"
    cache.catch_up()
    assert mark(near) == "theirs"


def test_what_was_created_is_there_and_what_was_deleted_is_gone(near, cache):
    near.create(VIRTUAL_SERVICE, service("till"))
    assert [each["metadata"]["name"] for each in near.list(VIRTUAL_SERVICE, "default").items] == ["shop", "till"]
    near.delete(VIRTUAL_SERVICE, "shop", "default")
    assert near.find(VIRTUAL_SERVICE, "shop", "default") is None
    cache.catch_up()
    assert [each["metadata"]["name"] for each in near.list(VIRTUAL_SERVICE, "default").items] == ["till"]


def test_after_a_lost_race_the_object_itself_is_read(near, api, cache):
    old = near.get(VIRTUAL_SERVICE, "shop", "default")
    marked(api.seen_by("another"), "theirs")
    with pytest.raises(Conflict):
        near.replace(VIRTUAL_SERVICE, old)
    api.calls.clear()
    assert mark(near) == "theirs"
    assert mark(near) == "theirs"
    assert len(api.calls) == 1


def test_an_object_that_is_gone_is_not_believed_in_nor_for_ever_denied(near, api, cache, clock):
    api.seen_by("another").delete(VIRTUAL_SERVICE, "shop", "default")
    with pytest.raises(NotFound):
        marked(near, "x")
    assert near.find(VIRTUAL_SERVICE, "shop", "default") is None
    api.seen_by("another").create(VIRTUAL_SERVICE, service())
    cache.catch_up()
    clock.now += ABSENT_S + 1
    assert near.find(VIRTUAL_SERVICE, "shop", "default") is not None


def test_an_own_write_that_the_cache_never_tells_of_counts_for_a_while_only(near, api, cache, clock):
    near.create(VIRTUAL_SERVICE, service("till"))
    api.seen_by("another").delete(VIRTUAL_SERVICE, "till", "default")
    cache.catch_up()
    assert near.find(VIRTUAL_SERVICE, "till", "default") is not None
    clock.now += OWN_WRITE_S + 1
    assert near.find(VIRTUAL_SERVICE, "till", "default") is None


def test_a_trial_write_is_no_write(near):
    near.patch(VIRTUAL_SERVICE, "shop", "default", {"spec": {"hosts": []}}, form=Patch.MERGE, dry_run=True)
    assert near.get(VIRTUAL_SERVICE, "shop", "default")["spec"] == {"hosts": ["shop"]}


def test_a_cache_that_fell_behind_is_passed_over(near, api, cache):
    marked(api.seen_by("another"), "theirs")
    assert mark(near) is None
    cache.behind = BEHIND_MAX_S + 0.1
    assert mark(near) == "theirs"
    assert len(near.list(VIRTUAL_SERVICE, "default").items) == 1


def test_what_is_read_may_be_changed_by_whoever_read_it(near):
    marked(near, "ours")
    near.get(VIRTUAL_SERVICE, "shop", "default")["spec"].clear()
    assert near.get(VIRTUAL_SERVICE, "shop", "default")["spec"] == {"hosts": ["shop"]}


def test_labels_choose_as_the_api_server_does(api):
    cache = Cache(api, POD)
    near = NearbyApi(api, {POD: cache})
    for number in range(6):
        labels = {
            "app": "shop" if number % 2 else "till",
            "version": f"v{number // 2}",
            "pod-template-hash": str(number),
        }
        meta = {"name": f"pod-{number}", "namespace": "default", "labels": labels}
        api.create(POD, {"metadata": meta})
    api.create(POD, {"metadata": {"name": "elsewhere", "namespace": "istio-system", "labels": {"app": "shop"}}})
    cache.start()
    try:
        assert cache.wait_until_synced(10)
        for labels in ("", "app=shop", "app=shop,version=v1", "app=none", "version=v0"):
            assert _names(near.list(POD, "default", labels=labels)) == _names(api.list(POD, "default", labels=labels))
        assert _names(near.list(POD)) == _names(api.list(POD))
        near.delete(POD, "pod-1", "default")
        near.patch(POD, "pod-3", "default", {"metadata": {"labels": {"app": "till"}}}, form=Patch.MERGE)
        assert _names(near.list(POD, "default", labels="app=shop")) == ["pod-5"]
    finally:
        cache.stop()


def _names(listing):
    return [each["metadata"]["name"] for each in listing.items]
