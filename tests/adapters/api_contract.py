"""What every `Api` promises.  Run on the one in memory by `tests/adapters/test_kubernetes_api.py`, and on a real API
server by `tests/cluster/test_kubernetes_api.py`; each provides the fixture ``place``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import pytest

from meshctl.adapters.kubernetes.api import (
    ADDED,
    BOOKMARK,
    DELETED,
    MODIFIED,
    AlreadyExists,
    Api,
    Expired,
    NotFound,
    Object,
    Patch,
)
from meshctl.adapters.kubernetes.kinds import CONFIG_MAP, NAMESPACE, SELF_SUBJECT_ACCESS_REVIEW, Kind
from meshctl.core.errors import Conflict, Forbidden, InvalidInput, Refused
from tests.cluster.waiting import eventually

WIDGET = Kind("test.meshctl.dev", "v1", "widgets", "Widget")
"""A custom resource with a status; its ``spec.mode`` must be text, all else in it is free."""
GADGET = Kind("test.meshctl.dev", "v1", "gadgets", "Gadget")
"""A kind that no cluster knows."""

WAIT_S = 20.0
COLLECTED_WITHIN_S = 60.0
"""The garbage collector learns of a new kind up to half a minute after it was made."""


@dataclass(frozen=True)
class Place:
    """A cluster with an empty namespace.  ``stranger`` may nothing there but read config maps."""

    api: Api
    namespace: str
    stranger: Api
    stranger_name: str
    forget: Callable[[], str]
    """Make the API server forget its history, and return a version from before."""


@pytest.fixture
def api(place):
    return place.api


@pytest.fixture
def ns(place):
    return place.namespace


@pytest.fixture
def shop(api, ns):
    return api.create(WIDGET, widget(ns))


def widget(namespace: str, name: str = "shop", **spec: object) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"mode": "a", "size": 1, **spec}}


def applied(spec: object, **meta: object) -> Object:
    return {"apiVersion": WIDGET.api_version, "kind": WIDGET.name, "metadata": meta, "spec": spec}


def version(object: Object) -> str:
    return object["metadata"]["resourceVersion"]


# ------------------------------------------------------------------------------------------ one object


def test_a_new_object_gets_an_identity_a_version_and_generation_one(api, ns):
    made = api.create(WIDGET, widget(ns))
    assert (made["apiVersion"], made["kind"]) == ("test.meshctl.dev/v1", "Widget")
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"]
    assert made["metadata"]["generation"] == 1
    assert api.get(WIDGET, "shop", ns) == made
    assert api.find(WIDGET, "shop", ns) == made


def test_a_name_is_taken_once(api, ns, shop):
    with pytest.raises(AlreadyExists, match=rf"creating Widget {ns}/shop: it exists already"):
        api.create(WIDGET, widget(ns, size=2))
    assert isinstance(AlreadyExists(""), Conflict)
    assert api.get(WIDGET, "shop", ns) == shop


def test_what_is_not_there_is_named(api, ns):
    with pytest.raises(NotFound, match=rf"reading Widget {ns}/shop: there is none"):
        api.get(WIDGET, "shop", ns)
    assert api.find(WIDGET, "shop", ns) is None
    with pytest.raises(NotFound):
        api.replace(WIDGET, widget(ns))
    for form, body in ((Patch.MERGE, {"spec": {}}), (Patch.JSON, [{"op": "remove", "path": "/spec"}])):
        with pytest.raises(NotFound):
            api.patch(WIDGET, "shop", ns, body, form=form)


def test_a_kind_that_the_cluster_does_not_know_is_no_missing_object(api, ns):
    calls = (
        lambda: api.get(GADGET, "shop", ns),
        lambda: api.find(GADGET, "shop", ns),
        lambda: api.list(GADGET, ns),
        lambda: api.create(GADGET, widget(ns)),
        lambda: api.patch(GADGET, "shop", ns, {"spec": {}}, form=Patch.MERGE),
        lambda: api.delete(GADGET, "shop", ns),
        lambda: next(iter(api.watch(GADGET, ns, resource_version="0", timeout_s=1))),
    )
    for call in calls:
        with pytest.raises(Refused, match="does not know the kind Gadget") as refused:
            call()
        assert not isinstance(refused.value, NotFound)


def test_nothing_is_made_in_a_namespace_that_is_not_there(api):
    with pytest.raises(NotFound, match='there is no namespace "nowhere"'):
        api.create(CONFIG_MAP, {"metadata": {"name": "shop", "namespace": "nowhere"}})


def test_a_name_can_be_left_to_the_server(api, ns):
    made = api.create(CONFIG_MAP, {"metadata": {"generateName": "shop-", "namespace": ns}})
    assert made["metadata"]["name"].startswith("shop-")
    assert api.get(CONFIG_MAP, made["metadata"]["name"], ns) == made


# ------------------------------------------------------------------------------------------ whole objects


def test_a_whole_object_is_written_only_over_the_version_that_was_read(api, ns, shop):
    second = api.replace(WIDGET, {**shop, "spec": {"mode": "b"}})
    assert second["spec"] == {"mode": "b"}
    with pytest.raises(Conflict, match=f"writing Widget {ns}/shop: .*the object has been modified"):
        api.replace(WIDGET, {**shop, "spec": {"mode": "c"}})
    assert api.get(WIDGET, "shop", ns) == second


def test_many_writers_lose_no_write(api, ns, shop):
    def count() -> None:
        for _ in range(5):
            while True:
                now = api.get(WIDGET, "shop", ns)
                try:
                    api.replace(WIDGET, {**now, "spec": {**now["spec"], "size": now["spec"]["size"] + 1}})
                    break
                except Conflict:
                    continue

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert api.get(WIDGET, "shop", ns)["spec"]["size"] == 21


def test_only_the_spec_counts_for_the_generation(api, ns, shop):
    assert (
        api.patch(WIDGET, "shop", ns, {"metadata": {"labels": {"a": "b"}}}, form=Patch.MERGE)["metadata"]["generation"]
        == 1
    )
    told = api.patch(WIDGET, "shop", ns, {"status": {"phase": "Held"}}, form=Patch.MERGE, subresource="status")
    assert told["metadata"]["generation"] == 1
    assert api.patch(WIDGET, "shop", ns, {"spec": {"size": 2}}, form=Patch.MERGE)["metadata"]["generation"] == 2


def test_the_status_is_written_apart_and_nothing_else_with_it(api, ns):
    made = api.create(WIDGET, {**widget(ns), "status": {"phase": "Made"}})
    assert "status" not in made
    told = api.replace(WIDGET, {**made, "spec": {"mode": "b"}, "status": {"phase": "Held"}}, subresource="status")
    assert (told["spec"], told["status"]) == (made["spec"], {"phase": "Held"})
    wished = api.patch(WIDGET, "shop", ns, {"spec": {"mode": "b"}, "status": {"phase": "Lie"}}, form=Patch.MERGE)
    assert (wished["spec"]["mode"], wished["status"]) == ("b", {"phase": "Held"})
    with pytest.raises(Conflict):
        api.replace(WIDGET, {**told, "status": {"phase": "Late"}}, subresource="status")


def test_a_write_that_changes_nothing_makes_no_new_version(api, ns, shop):
    same = api.replace(WIDGET, shop)
    again = api.patch(WIDGET, "shop", ns, {"spec": {"size": 1}}, form=Patch.MERGE)
    third = api.patch(WIDGET, "shop", ns, [{"op": "replace", "path": "/spec/size", "value": 1}], form=Patch.JSON)
    assert {version(shop), version(same), version(again), version(third)} == {version(shop)}


def test_what_the_schema_refuses_is_said_with_its_field(api, ns, shop):
    for write in (
        lambda: api.create(WIDGET, widget(ns, "other", mode=7)),
        lambda: api.replace(WIDGET, {**shop, "spec": {"mode": 7}}),
        lambda: api.patch(WIDGET, "shop", ns, {"spec": {"mode": 7}}, form=Patch.MERGE),
        lambda: api.patch(WIDGET, "shop", ns, [{"op": "add", "path": "/spec/mode", "value": 7}], form=Patch.JSON),
        lambda: api.patch(WIDGET, "shop", ns, applied({"mode": 7}), form=Patch.APPLY, force=True),
    ):
        with pytest.raises(InvalidInput, match=r"spec\.mode.*string"):
            write()
    assert api.get(WIDGET, "shop", ns) == shop


# ------------------------------------------------------------------------------------------ patches


def test_a_merge_patch_changes_what_it_names_and_removes_what_it_sets_to_null(api, ns):
    api.create(WIDGET, widget(ns, hosts=["a", "b"], inner={"x": 1, "y": 2}))
    patched = api.patch(WIDGET, "shop", ns, {"spec": {"hosts": ["c"], "inner": {"x": None, "z": 3}}}, form=Patch.MERGE)
    assert patched["spec"] == {"mode": "a", "size": 1, "hosts": ["c"], "inner": {"y": 2, "z": 3}}


def test_a_merge_patch_can_insist_on_a_version(api, ns, shop):
    newer = api.patch(WIDGET, "shop", ns, {"spec": {"size": 2}}, form=Patch.MERGE)
    stale = {"metadata": {"resourceVersion": version(shop)}, "spec": {"size": 3}}
    with pytest.raises(Conflict):
        api.patch(WIDGET, "shop", ns, stale, form=Patch.MERGE)
    fresh = {"metadata": {"resourceVersion": version(newer)}, "spec": {"size": 3}}
    assert api.patch(WIDGET, "shop", ns, fresh, form=Patch.MERGE)["spec"]["size"] == 3


def test_annotations_come_and_go_by_merge_patches_of_many_at_once(api, ns, shop):
    def ask(number: int) -> None:
        api.patch(WIDGET, "shop", ns, {"metadata": {"annotations": {f"requests/{number}": "{}"}}}, form=Patch.MERGE)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = api.get(WIDGET, "shop", ns)["metadata"]["annotations"]
    assert set(found) == {f"requests/{number}" for number in range(8)}
    gone = {"metadata": {"annotations": dict.fromkeys(found)}}
    assert not api.patch(WIDGET, "shop", ns, gone, form=Patch.MERGE)["metadata"].get("annotations")


def test_a_json_patch_happens_as_a_whole_or_not_at_all(api, ns):
    routes = [{"name": "a", "weights": [90, 10]}, {"name": "b", "weights": [100]}]
    made = api.create(WIDGET, widget(ns, routes=routes))
    lower = [
        {"op": "test", "path": "/spec/routes/0/name", "value": "a"},
        {"op": "replace", "path": "/spec/routes/0/weights", "value": [100, 0]},
        {"op": "add", "path": "/metadata/annotations", "value": {"meshctl.dev/aborted": "shop-1"}},
    ]
    done = api.patch(WIDGET, "shop", ns, lower, form=Patch.JSON)
    assert done["spec"]["routes"] == [{"name": "a", "weights": [100, 0]}, routes[1]]
    assert done["metadata"]["annotations"] == {"meshctl.dev/aborted": "shop-1"}
    for guard in (
        {"op": "test", "path": "/metadata/resourceVersion", "value": version(made)},
        {"op": "test", "path": "/spec/routes/1/name", "value": "a"},
        {"op": "test", "path": "/metadata/annotations/meshctl.dev~1aborted", "value": "shop-2"},
        {"op": "test", "path": "/spec/missing/name", "value": "a"},
        {"op": "remove", "path": "/spec/missing"},
        {"op": "replace", "path": "/spec/routes/7/name", "value": "a"},
    ):
        with pytest.raises(Conflict, match="not what the patch tests for"):
            api.patch(WIDGET, "shop", ns, [{"op": "remove", "path": "/spec/size"}, guard], form=Patch.JSON)
    assert api.get(WIDGET, "shop", ns) == done


# ------------------------------------------------------------------------------------------ server-side apply


def apply(api: Api, ns: str, spec: object, manager: str = "meshctl", **options: bool) -> Object:
    return api.patch(WIDGET, "shop", ns, applied(spec), form=Patch.APPLY, manager=manager, **options)


def test_an_apply_makes_what_is_not_there_and_says_who_owns_it(api, ns):
    made = apply(api, ns, {"mode": "a", "routes": [{"name": "a"}]})
    assert made["spec"] == {"mode": "a", "routes": [{"name": "a"}]}
    (owner,) = made["metadata"]["managedFields"]
    assert (owner["manager"], owner["operation"]) == ("meshctl", "Apply")
    assert owner["fieldsV1"] == {"f:spec": {"f:mode": {}, "f:routes": {}}}


def test_the_same_apply_again_changes_nothing(api, ns):
    made = apply(api, ns, {"mode": "a", "routes": [{"name": "a"}]})
    assert version(apply(api, ns, {"mode": "a", "routes": [{"name": "a"}]})) == version(made)


def test_a_field_that_is_applied_no_more_goes_and_those_of_others_stay(api, ns):
    apply(api, ns, {"mode": "a", "size": 1, "inner": {"x": 1}})
    apply(api, ns, {"other": "theirs", "inner": {"y": 2}}, manager="another")
    assert apply(api, ns, {"mode": "a"})["spec"] == {"mode": "a", "other": "theirs", "inner": {"y": 2}}


def test_what_another_manager_owns_is_a_conflict_that_names_both(api, ns):
    mine = apply(api, ns, {"mode": "a", "routes": [{"name": "a", "weight": 90}, {"name": "b"}]})
    with pytest.raises(Conflict, match=r'conflict with "meshctl".*: \.spec\.routes'):
        apply(api, ns, {"routes": [{"name": "a", "weight": 80}]}, manager="argocd")
    assert api.get(WIDGET, "shop", ns) == mine
    forced = apply(api, ns, {"routes": [{"name": "a", "weight": 80}]}, manager="argocd", force=True)
    assert forced["spec"] == {"mode": "a", "routes": [{"name": "a", "weight": 80}]}
    with pytest.raises(Conflict, match=r'conflict with "argocd".*: \.spec\.routes'):
        apply(api, ns, {"mode": "a", "routes": []})


def test_the_same_value_can_have_two_owners(api, ns):
    apply(api, ns, {"mode": "a"})
    both = apply(api, ns, {"mode": "a"}, manager="another")
    assert {entry["manager"] for entry in both["metadata"]["managedFields"]} == {"meshctl", "another"}
    assert apply(api, ns, {"size": 1})["spec"] == {"mode": "a", "size": 1}


def test_who_changes_a_value_by_a_patch_owns_it(api, ns):
    apply(api, ns, {"mode": "a", "size": 1})
    api.patch(WIDGET, "shop", ns, {"spec": {"size": 2}}, form=Patch.MERGE, manager="kubectl-edit")
    with pytest.raises(Conflict, match=r'conflict with "kubectl-edit".*: \.spec\.size'):
        apply(api, ns, {"mode": "a", "size": 1})
    assert apply(api, ns, {"mode": "a"})["spec"] == {"mode": "a", "size": 2}


def test_an_applied_status_is_taken_at_its_own_place_only(api, ns, shop):
    body = {**applied({"size": 9}), "status": {"phase": "Held"}}
    there = api.patch(WIDGET, "shop", ns, body, form=Patch.APPLY, manager="status", subresource="status", force=True)
    assert (there["spec"], there["status"]) == (shop["spec"], {"phase": "Held"})
    here = api.patch(WIDGET, "shop", ns, {**body, "status": {"phase": "Lie"}}, form=Patch.APPLY, force=True)
    assert (here["spec"]["size"], here["status"]) == (9, {"phase": "Held"})


# ------------------------------------------------------------------------------------------ the end of objects


def test_what_is_not_there_can_be_deleted(api, ns):
    api.delete(WIDGET, "shop", ns)


def test_only_the_object_that_is_meant_is_deleted(api, ns, shop):
    newer = api.patch(WIDGET, "shop", ns, {"spec": {"size": 2}}, form=Patch.MERGE)
    with pytest.raises(Conflict):
        api.delete(WIDGET, "shop", ns, resource_version=version(shop))
    with pytest.raises(Conflict):
        api.delete(WIDGET, "shop", ns, uid="00000000-0000-0000-0000-000000000000")
    api.delete(WIDGET, "shop", ns, uid=newer["metadata"]["uid"], resource_version=version(newer))
    assert api.find(WIDGET, "shop", ns) is None


def test_a_finalizer_holds_an_object_until_it_is_taken_away(api, ns):
    made = widget(ns)
    made["metadata"]["finalizers"] = ["meshctl.dev/test"]
    api.create(WIDGET, made)
    api.delete(WIDGET, "shop", ns)
    assert api.get(WIDGET, "shop", ns)["metadata"]["deletionTimestamp"]
    api.delete(WIDGET, "shop", ns)
    api.patch(WIDGET, "shop", ns, {"metadata": {"finalizers": None}}, form=Patch.MERGE)
    assert api.find(WIDGET, "shop", ns) is None


def test_what_an_object_owns_goes_with_it(api, ns, shop):
    owner = {"apiVersion": WIDGET.api_version, "kind": "Widget", "name": "shop", "uid": shop["metadata"]["uid"]}
    for name in ("mine", "mine-too"):
        api.create(CONFIG_MAP, {"metadata": {"name": name, "namespace": ns, "ownerReferences": [owner]}})
    api.create(CONFIG_MAP, {"metadata": {"name": "another", "namespace": ns}})
    api.delete(WIDGET, "shop", ns)
    eventually(
        lambda: not {item["metadata"]["name"] for item in api.list(CONFIG_MAP, ns).items} & {"mine", "mine-too"},
        COLLECTED_WITHIN_S,
        "the dependants are gone",
    )
    assert api.find(CONFIG_MAP, "another", ns) is not None


# ------------------------------------------------------------------------------------------ trying out


def test_a_trial_is_refused_like_the_real_thing_and_changes_nothing(api, ns, shop):
    assert api.create(WIDGET, widget(ns, "other"), dry_run=True)["metadata"]["name"] == "other"
    assert api.find(WIDGET, "other", ns) is None
    tried = api.patch(WIDGET, "shop", ns, {"spec": {"size": 5}}, form=Patch.MERGE, dry_run=True)
    assert tried["spec"]["size"] == 5
    assert tried["metadata"]["generation"] == 2
    assert apply(api, ns, {"size": 6}, force=True, dry_run=True)["spec"]["size"] == 6
    assert api.replace(WIDGET, {**shop, "spec": {"mode": "b"}}, dry_run=True)["spec"] == {"mode": "b"}
    with pytest.raises(Conflict):
        apply(api, ns, {"size": 6}, manager="another", dry_run=True)
    with pytest.raises(InvalidInput):
        api.create(WIDGET, widget(ns, "other", mode=7), dry_run=True)
    assert api.get(WIDGET, "shop", ns) == shop


# ------------------------------------------------------------------------------------------ many objects


def test_a_list_holds_what_its_selectors_mean(api, ns):
    for name, labels in (("a", {"app": "x"}), ("b", {"app": "y", "tier": "web"}), ("c", {})):
        api.create(WIDGET, {**widget(ns, name), "metadata": {"name": name, "namespace": ns, "labels": labels}})

    def names(**selectors: str) -> list[str]:
        return [item["metadata"]["name"] for item in api.list(WIDGET, ns, **selectors).items]

    assert names() == ["a", "b", "c"]
    assert names(labels="app=x") == ["a"]
    assert names(labels="app in (x,y),tier") == ["b"]
    assert names(labels="app,!tier") == ["a"]
    assert names(labels="app!=x") == ["b", "c"]
    assert names(fields="metadata.name=c") == ["c"]
    everywhere = [item for item in api.list(WIDGET).items if item["metadata"]["namespace"] == ns]
    assert everywhere == api.list(WIDGET, ns).items
    assert everywhere[0] == api.get(WIDGET, "a", ns)


def test_objects_without_a_namespace_are_listed_too(api, ns):
    assert ns in {item["metadata"]["name"] for item in api.list(NAMESPACE).items}
    assert api.get(NAMESPACE, ns)["metadata"]["name"] == ns


def test_an_empty_list_still_has_a_version_to_watch_from(api, ns):
    listed = api.list(WIDGET, ns)
    assert listed.items == []
    assert int(listed.resource_version) > 0


# ------------------------------------------------------------------------------------------ watching


def seen(changes, count):
    return [(change.type, change.object["metadata"]["name"]) for change in islice(changes, count)]


def test_a_watch_from_a_list_misses_nothing_and_repeats_nothing(api, ns):
    api.create(WIDGET, widget(ns, "before"))
    at = api.list(WIDGET, ns).resource_version
    api.create(WIDGET, widget(ns))
    changes = api.watch(WIDGET, ns, resource_version=at, timeout_s=WAIT_S)
    last = api.patch(WIDGET, "shop", ns, {"spec": {"size": 2}}, form=Patch.MERGE)
    api.patch(WIDGET, "shop", ns, {"spec": {"size": 2}}, form=Patch.MERGE)
    api.delete(WIDGET, "shop", ns)
    api.delete(WIDGET, "before", ns)
    got = list(islice(changes, 4))
    changes.close()
    assert [(change.type, change.object["metadata"]["name"]) for change in got] == [
        (ADDED, "shop"),
        (MODIFIED, "shop"),
        (DELETED, "shop"),
        (DELETED, "before"),
    ]
    assert got[1].object == last
    assert got[2].object["spec"] == last["spec"]
    assert int(version(got[2].object)) > int(version(last))


def test_a_watch_goes_on_where_another_ended(api, ns):
    at = api.list(WIDGET, ns).resource_version
    for name in ("a", "b"):
        api.create(WIDGET, widget(ns, name))
    first = api.watch(WIDGET, ns, resource_version=at, timeout_s=WAIT_S)
    begun = next(first)
    first.close()
    second = api.watch(WIDGET, ns, resource_version=version(begun.object), timeout_s=WAIT_S)
    assert seen(second, 1) == [(ADDED, "b")]
    second.close()


def test_what_leaves_a_selector_is_deleted_for_who_watches_it(api, ns):
    at = api.list(WIDGET, ns, labels="app=x").resource_version
    changes = api.watch(WIDGET, ns, resource_version=at, labels="app=x", timeout_s=WAIT_S)
    api.create(WIDGET, widget(ns))
    for label in ("x", "y", "x"):
        api.patch(WIDGET, "shop", ns, {"metadata": {"labels": {"app": label}}}, form=Patch.MERGE)
    api.patch(WIDGET, "shop", ns, {"spec": {"size": 2}}, form=Patch.MERGE)
    api.delete(WIDGET, "shop", ns)
    assert [kind for kind, _ in seen(changes, 5)] == [ADDED, DELETED, ADDED, MODIFIED, DELETED]
    changes.close()


def test_a_watch_from_anywhere_begins_with_what_is_there(api, ns, shop):
    changes = api.watch(WIDGET, ns, resource_version="0", timeout_s=WAIT_S)
    first = next(changes)
    changes.close()
    assert (first.type, first.object) == (ADDED, shop)


def test_a_watch_ends_by_itself_and_says_how_far_it_came(api, ns, shop):
    at = api.list(WIDGET, ns).resource_version
    changes = list(api.watch(WIDGET, ns, resource_version=at, timeout_s=1))
    assert {change.type for change in changes} <= {BOOKMARK}
    assert all(int(version(change.object)) >= int(at) for change in changes)


def test_a_watch_is_ended_from_another_thread(api, ns):
    at = api.list(WIDGET, ns).resource_version
    changes = api.watch(WIDGET, ns, resource_version=at, timeout_s=WAIT_S)
    left: list[object] = []
    reader = threading.Thread(target=lambda: left.extend(changes))
    reader.start()
    changes.close()
    reader.join(WAIT_S / 2)
    assert not reader.is_alive()
    assert left == []


def test_a_watch_from_a_forgotten_version_is_expired(place):
    old = place.forget()
    with pytest.raises(Expired, match="watching widgets"):
        list(place.api.watch(WIDGET, place.namespace, resource_version=old, timeout_s=2))


# ------------------------------------------------------------------------------------------ rights, and what else


def test_who_may_not_is_told_which_rule_is_missing(place):
    stranger, ns = place.stranger, place.namespace
    assert stranger.list(CONFIG_MAP, ns).items is not None
    for verb, call in (
        ("get", lambda: stranger.get(WIDGET, "shop", ns)),
        ("list", lambda: stranger.list(WIDGET, ns)),
        ("watch", lambda: list(stranger.watch(WIDGET, ns, resource_version="0", timeout_s=1))),
        ("create", lambda: stranger.create(WIDGET, widget(ns))),
        ("update", lambda: stranger.replace(WIDGET, widget(ns))),
        ("patch", lambda: stranger.patch(WIDGET, "shop", ns, {}, form=Patch.MERGE)),
        ("delete", lambda: stranger.delete(WIDGET, "shop", ns)),
    ):
        with pytest.raises(Forbidden) as forbidden:
            call()
        rule = f'{{apiGroups: ["test.meshctl.dev"], resources: ["widgets"], verbs: ["{verb}"]}}'
        assert f'in a Role in namespace "{ns}": {rule}' in str(forbidden.value)
        assert f'"{place.stranger_name}"' in str(forbidden.value)


def test_a_subresource_has_a_rule_of_its_own(place):
    with pytest.raises(Forbidden, match=r'resources: \["widgets/status"\], verbs: \["patch"\]'):
        place.stranger.patch(WIDGET, "shop", place.namespace, {}, form=Patch.MERGE, subresource="status")


def test_one_can_ask_beforehand_what_one_may(place):
    def may(api: Api, verb: str, kind: Kind) -> bool:
        asked = {"verb": verb, "group": kind.group, "resource": kind.plural, "namespace": place.namespace}
        review = api.create(SELF_SUBJECT_ACCESS_REVIEW, {"spec": {"resourceAttributes": asked}})
        return review["status"]["allowed"]

    assert may(place.api, "patch", WIDGET)
    assert not may(place.stranger, "patch", WIDGET)
    assert may(place.stranger, "list", CONFIG_MAP)


def test_the_server_says_its_version(api):
    assert api.server_version().startswith("v1.")


def test_an_object_can_hold_a_megabyte(api, ns):
    made = api.create(CONFIG_MAP, {"metadata": {"name": "big", "namespace": ns}, "data": {"x": "y" * 1_000_000}})
    assert api.get(CONFIG_MAP, "big", ns) == made
