"""Replicas in a cluster: the user's own Deployments are looked at, meshctl's are made, scaled and ended."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from meshctl.adapters.kubernetes.api import Listing, Patch
from meshctl.adapters.kubernetes.cached import PARTS
from meshctl.adapters.kubernetes.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    HORIZONTAL_POD_AUTOSCALER,
    POD,
    SERVICE,
)
from meshctl.adapters.kubernetes.looking import Looker
from meshctl.adapters.kubernetes.rendering import DeploymentRenderer
from meshctl.adapters.kubernetes.workloads import KubernetesWorkloads
from meshctl.core.errors import Conflict, Forbidden, InvalidInput, Unreachable, WorkloadError
from meshctl.core.model import PodWorkload, ReadyReplicas
from meshctl.core.versions import as_deployed
from tests.adapters.pods_world import NAMESPACE, NOT_READY, PodsWorld, made_release, own_release, template

RENDERER = DeploymentRenderer()
OWN = own_release("2.1.0")
OLD, NEW = made_release("2.0.0"), made_release("2.1.0")
OLD_VERSION, NEW_VERSION = OLD.spec.version, NEW.spec.version


@pytest.fixture
def world():
    return PodsWorld()


def workloads_of(world, **options):
    return KubernetesWorkloads(world.api, RENDERER, **{"look_valid_s": 0.0, **options})


class Trimmed:
    """The API as caches give it: of each object that is read only what `PARTS` keeps."""

    def __init__(self, api):
        self._api = api

    def __getattr__(self, name):
        return getattr(self._api, name)

    def find(self, kind, name, namespace=""):
        found = self._api.find(kind, name, namespace)
        return found and PARTS.get(kind, copy.copy)(found)

    def list(self, kind, namespace="", *, labels="", fields=""):
        found = self._api.list(kind, namespace, labels=labels, fields=fields)
        return Listing([PARTS.get(kind, copy.copy)(each) for each in found.items], found.resource_version)


@pytest.fixture(params=["asked", "cached"])
def workloads(world, request):
    api = world.api if request.param == "asked" else Trimmed(world.api)
    return KubernetesWorkloads(api, RENDERER, look_valid_s=0.0)


@pytest.fixture
def serving(world, workloads):
    """2.0.0 serves with two pods that meshctl made."""
    workloads.ensure(OLD, OLD_VERSION)
    world.settle()
    assert workloads.ready(OLD, OLD_VERSION) == ReadyReplicas(2, 2)
    world.writes()
    return world


# ------------------------------------------------------------------------------------ the user's own


def test_ready_pods_of_the_users_deployment_are_counted_and_nothing_is_written(world, workloads):
    world.deploy("2.0.0", 3)
    world.deploy("2.1.0", 2)
    world.settle()
    workloads.ensure(OWN, "2.1.0")
    assert workloads.ready(OWN, "2.1.0") == ReadyReplicas(2, 2)
    assert workloads.ready(OWN, "2.0.0") == ReadyReplicas(3, 3)
    workloads.retire(OWN, ["2.1.0"])
    assert world.writes() == []


def test_several_deployments_of_one_version_are_one_version(world, workloads):
    world.deploy("2.1.0", 1, "shop-east")
    world.deploy("2.1.0", 2, "shop-west")
    world.settle()
    assert workloads.ready(OWN, "2.1.0") == ReadyReplicas(3, 3)


def test_another_version_label_tells_versions_apart(world, workloads):
    world.deploy("2.1.0", 2, track="blue")
    world.settle()
    assert workloads.ready(own_release("blue", version_label="track"), "blue") == ReadyReplicas(2, 2)


def test_a_version_that_nobody_makes_cannot_be_ensured_and_is_explained(world, workloads):
    world.deploy("2.0.0")
    world.settle()
    found = workloads.ready(OWN, "2.1.0")
    assert (found.ready, found.wished) == (0, 0)
    assert found.message == (
        "no Deployment in namespace default makes pods for Service shop with the label version=2.1.0; "
        "there are: 2.0.0 (Deployment shop-2-0-0)"
    )
    with pytest.raises(InvalidInput, match=r"Release shop: 2\.1\.0 has no pods: no Deployment in namespace default"):
        workloads.ensure(OWN, "2.1.0")


def test_pods_that_the_service_does_not_select_are_explained(world, workloads):
    world.deploy("2.1.0", app="other")
    world.settle()
    found = workloads.ready(OWN, "2.1.0")
    assert found.ready == 0
    assert "Service shop selects app=shop, which the pods of Deployment shop-2-1-0 do not carry" in found.message


def test_a_deployment_at_0_is_never_complete(world, workloads):
    world.deploy("2.1.0", 0)
    world.settle()
    found = workloads.ready(OWN, "2.1.0")
    assert not found.complete
    assert found.message == "Deployment shop-2-1-0 is scaled to 0"


@pytest.mark.parametrize(
    ("spec", "message"),
    [(None, "there is no Service shop in namespace default"), ({}, "Service shop has no selector")],
)
def test_without_a_service_that_selects_pods_none_is_ready(workloads, world, spec, message):
    world.deploy("2.1.0")
    world.settle()
    if spec is None:
        world.hands.delete(SERVICE, "shop", NAMESPACE)
    else:
        world.hands.patch(SERVICE, "shop", NAMESPACE, {"spec": {"selector": None}}, form=Patch.MERGE)
    found = workloads.ready(OWN, "2.1.0")
    assert (found.ready, found.wished) == (0, 0)
    assert message in found.message


# ------------------------------------------------------------------------------------ ready


def test_ready_are_only_pods_that_the_endpoints_offer(world, workloads):
    world.deploy("2.1.0")
    world.settle()
    world.endpoints = False
    world.settle()
    found = workloads.ready(OWN, "2.1.0")
    assert (found.ready, found.wished) == (0, 2)
    assert "is ready, but Service shop has no endpoint for it yet" in found.message


def test_a_pod_that_is_published_before_it_is_ready_does_not_count(world, workloads):
    world.deploy("2.1.0")
    world.status["2.1.0"] = NOT_READY
    world.settle()
    slice_ = world.hands.get(ENDPOINT_SLICE, "shop-1", NAMESPACE)
    for endpoint in slice_["endpoints"]:
        endpoint["conditions"]["ready"] = True
    world.hands.replace(ENDPOINT_SLICE, slice_)
    assert workloads.ready(OWN, "2.1.0").ready == 0


def test_pods_that_are_deleted_are_ready_no_more(world, workloads):
    world.deploy("2.1.0")
    world.settle()
    world.end_pods("2.1.0")
    found = workloads.ready(OWN, "2.1.0")
    assert (found.ready, found.wished) == (0, 2)
    assert found.message == "Deployment shop-2-1-0 has no pods yet"


def test_looks_that_do_not_fit_together_are_unknown_and_not_zero(world, workloads):
    """The slices name pods that came after the pods were listed: nobody may take that for a dead version."""
    world.deploy("2.1.0")
    world.settle()
    for pod in world.pods():
        world.hands.delete(POD, pod["metadata"]["name"], NAMESPACE)
    assert workloads.ready(OWN, "2.1.0") is None


def test_a_pod_that_ends_while_its_successor_is_not_an_endpoint_yet_is_unknown(world, workloads):
    world.deploy("2.1.0", 1)
    world.settle()
    (pod,) = world.pods()
    name = pod["metadata"]["name"]
    world.hands.patch(POD, name, NAMESPACE, {"metadata": {"finalizers": ["a/b"]}}, form=Patch.MERGE)
    world.hands.delete(POD, name, NAMESPACE)
    world.scale("shop-2-1-0", 2)
    endpoints = world.hands.get(ENDPOINT_SLICE, "shop-1", NAMESPACE)
    world.settle()
    world.hands.replace(
        ENDPOINT_SLICE,
        {
            **endpoints,
            "metadata": {"name": "shop-1", "namespace": NAMESPACE, "labels": endpoints["metadata"]["labels"]},
        },
    )
    assert workloads.ready(OWN, "2.1.0") is None


@pytest.mark.parametrize("error", [Unreachable("no answer"), Forbidden("may not list pods")])
def test_what_cannot_be_read_is_said_by_an_error(world, workloads, error):
    world.deploy("2.1.0")
    world.api.fail(error, kind=POD)
    with pytest.raises(type(error)):
        workloads.ready(OWN, "2.1.0")


def test_a_look_that_counts_no_more_is_not_kept(world):
    now = [0.0]
    looker = Looker(world.api, valid_s=0.5, monotonic=lambda: now[0])
    looker.look(own_release())
    now[0] = 1.0
    other = own_release()
    looker.look(replace(other, spec=replace(other.spec, service="till")))
    assert list(looker._looks) == [(NAMESPACE, "till")]


def test_one_look_serves_a_whole_tick(world):
    world.deploy("2.0.0")
    world.deploy("2.1.0")
    world.settle()
    workloads = workloads_of(world, look_valid_s=60.0)
    world.api.calls.clear()
    for version in ("2.0.0", "2.1.0"):
        workloads.ready(OWN, version)
        workloads.ensure(OWN, version)
    workloads.retire(OWN, ["2.1.0"])
    assert len(world.api.calls) == 5


def test_a_look_that_was_forgotten_is_taken_anew(world):
    world.deploy("2.1.0")
    world.settle()
    workloads = workloads_of(world, look_valid_s=60.0)
    assert workloads.ready(OWN, "2.1.0").complete
    world.end_pods("2.1.0")
    assert workloads.ready(OWN, "2.1.0").complete
    workloads.forget(NAMESPACE, "shop")
    assert workloads.ready(OWN, "2.1.0").ready == 0


def test_a_look_under_way_while_something_changes_is_not_kept(world):
    world.deploy("2.1.0")
    world.settle()
    workloads = workloads_of(world, look_valid_s=60.0)

    def change(call):
        if call.kind is HORIZONTAL_POD_AUTOSCALER:
            world.api.before = None
            world.end_pods("2.1.0")
            workloads.forget(NAMESPACE, "shop")

    world.api.before = change
    assert workloads.ready(OWN, "2.1.0").complete
    assert workloads.ready(OWN, "2.1.0").ready == 0


def test_events_say_more_where_the_status_is_vague(world, workloads):
    world.deploy("2.1.0", 1)
    world.status["2.1.0"] = NOT_READY
    world.settle()
    name = world.pods()[0]["metadata"]["name"]
    for number, note in enumerate(("Readiness probe failed: connection refused", "Readiness probe failed: 503")):
        event = {
            "metadata": {"name": f"e{number}", "namespace": NAMESPACE},
            "regarding": {"kind": "Pod", "name": name, "namespace": NAMESPACE},
            "type": "Warning",
            "reason": "Unhealthy",
            "note": note,
            "deprecatedLastTimestamp": f"2026-11-23T12:00:0{number}Z",
        }
        world.hands.create(EVENT, event)
    message = workloads.ready(OWN, "2.1.0").message
    assert message == f"pod {name}: container shop runs and is not ready: Readiness probe failed: 503"


def test_without_the_right_to_read_events_the_status_alone_speaks(world, workloads):
    world.deploy("2.1.0", 1)
    world.status["2.1.0"] = NOT_READY
    world.settle()
    world.api.deny("list", EVENT)
    assert workloads.ready(OWN, "2.1.0").message.endswith("container shop runs and is not ready")


def test_what_an_autoscaler_wishes_is_what_is_wished(world, workloads):
    world.deploy("2.1.0", 2)
    world.autoscale("shop-2-1-0", least=3)
    world.settle()
    assert workloads.ready(OWN, "2.1.0") == ReadyReplicas(
        2, 3, "HorizontalPodAutoscaler shop-2-1-0 is to scale Deployment shop-2-1-0 from 2 to 3"
    )
    world.scale("shop-2-1-0", 5)
    world.settle()
    assert workloads.ready(OWN, "2.1.0") == ReadyReplicas(5, 5)


# ------------------------------------------------------------------------------------ made by meshctl


def test_one_deployment_is_made_once_for_the_wished_version(world, workloads):
    before = workloads.ready(NEW, NEW_VERSION)
    assert (before.ready, before.wished) == (0, 2)
    assert "is about to be made" in before.message
    workloads.ensure(NEW, NEW_VERSION)
    workloads.ensure(NEW, NEW_VERSION)
    assert world.writes() == [f"create {world.deployment(NEW_VERSION)['metadata']['name']}"]
    world.settle()
    assert workloads.ready(NEW, NEW_VERSION) == ReadyReplicas(2, 2)
    made = world.deployment(NEW_VERSION)
    assert made["metadata"]["labels"]["meshctl.dev/release"] == "shop"
    assert made["spec"]["template"]["spec"] == NEW.spec.workload.template["spec"]


def test_a_new_version_stands_beside_the_old_one_with_all_its_replicas(serving, workloads):
    workloads.ensure(NEW, OLD_VERSION)
    workloads.ensure(NEW, NEW_VERSION)
    assert len(serving.writes()) == 1
    serving.settle()
    assert (serving.replicas(OLD_VERSION), serving.replicas(NEW_VERSION)) == (2, 2)


def test_a_changed_config_map_alone_makes_another_deployment(world, workloads):
    for name in ("settings-5h2k", "settings-9x4t"):
        pods = template()
        pods["spec"]["volumes"] = [{"name": "settings", "configMap": {"name": name}}]
        release = made_release("2.1.0", pods=pods)
        workloads.ensure(release, release.spec.version)
    assert len(world.deployments()) == 2


def test_a_version_begins_no_smaller_than_what_serves_beside_it(serving, workloads):
    serving.scale(serving.deployment(OLD_VERSION)["metadata"]["name"], 7)
    workloads.ensure(NEW, NEW_VERSION)
    assert serving.replicas(NEW_VERSION) == 7


def test_it_follows_a_deployment_of_the_users_own_that_served_before(world, workloads):
    world.deploy("2.0.0", 4)
    world.settle()
    workloads.ensure(NEW, NEW_VERSION)
    workloads.ensure(NEW, "2.0.0")
    world.settle()
    assert workloads.ready(NEW, NEW_VERSION) == ReadyReplicas(4, 4)
    workloads.retire(NEW, [NEW_VERSION])
    assert world.replicas("2.0.0") == 4


def test_what_the_release_does_not_name_and_nobody_made_is_unknown(serving, workloads):
    with pytest.raises(InvalidInput, match=r"9\.9\.9 has no pods"):
        workloads.ensure(NEW, "9.9.9")


def test_a_name_that_is_taken_is_told_and_left_alone(world, workloads):
    name = world.deploy("0.1", name=f"shop-v2-1-0-{NEW_VERSION[-8:]}")["metadata"]["name"]
    with pytest.raises(WorkloadError, match=f"{name} exists and was not made by meshctl"):
        workloads.ensure(NEW, NEW_VERSION)
    assert "exists and was not made by meshctl" in workloads.ready(NEW, NEW_VERSION).message


def test_two_controllers_that_make_it_at_once_make_it_once(world, workloads):
    other = workloads_of(world, look_valid_s=60.0)
    other.ready(NEW, NEW_VERSION)
    workloads.ensure(NEW, NEW_VERSION)
    other.ensure(NEW, NEW_VERSION)
    assert len(world.deployments()) == 1


def test_what_the_api_server_refuses_stands_in_the_message(world, workloads):
    refusal = InvalidInput("creating Deployment: spec.template.spec.containers[0].image: Required value")
    world.api.fail(refusal, verb="create")
    with pytest.raises(InvalidInput):
        workloads.ensure(NEW, NEW_VERSION)
    assert "image: Required value" in workloads.ready(NEW, NEW_VERSION).message
    workloads.ensure(NEW, NEW_VERSION)
    world.settle()
    assert workloads.ready(NEW, NEW_VERSION).complete


def test_a_service_that_does_not_select_the_template_is_told(world, workloads):
    release = made_release("2.1.0", pods={**template(), "metadata": {"labels": {"app": "other"}}})
    workloads.ensure(release, release.spec.version)
    world.settle()
    assert "Service shop selects app=shop" in workloads.ready(release, release.spec.version).message


def test_a_quota_speaks_for_itself(world, workloads):
    workloads.ensure(NEW, NEW_VERSION)
    world.refused[NEW_VERSION] = 'pods "shop-1" is forbidden: exceeded quota: small, requested: pods=1'
    world.settle()
    found = workloads.ready(NEW, NEW_VERSION)
    assert (found.ready, found.wished) == (0, 2)
    assert 'cannot make pods: pods "shop-1" is forbidden: exceeded quota: small' in found.message


# ------------------------------------------------------------------------------------ who scales


def wish(release, replicas):
    return replace(release, spec=replace(release.spec, workload=replace(release.spec.workload, replicas=replicas)))


def test_a_changed_number_of_replicas_scales_in_place(serving, workloads):
    workloads.ensure(wish(OLD, 5), OLD_VERSION)
    assert serving.replicas(OLD_VERSION) == 5
    workloads.ensure(wish(OLD, 3), OLD_VERSION)
    assert serving.replicas(OLD_VERSION) == 3
    assert len(serving.deployments()) == 1


@pytest.mark.parametrize("replicas", [0, 1, 9])
def test_what_another_hand_scales_is_left_as_it_is(serving, workloads, replicas):
    serving.scale(serving.deployment(OLD_VERSION)["metadata"]["name"], replicas)
    for _ in range(3):
        workloads.ensure(OLD, OLD_VERSION)
    assert serving.replicas(OLD_VERSION) == replicas
    assert serving.writes() == []


def test_a_changed_wish_ends_what_another_hand_scaled(serving, workloads):
    serving.scale(serving.deployment(OLD_VERSION)["metadata"]["name"], 9)
    workloads.ensure(wish(OLD, 4), OLD_VERSION)
    assert serving.replicas(OLD_VERSION) == 4


def test_an_autoscaler_is_never_fought_with_or_without_a_changed_wish(serving, workloads):
    name = serving.deployment(OLD_VERSION)["metadata"]["name"]
    serving.autoscale(name, least=2)
    serving.scale(name, 6)
    for replicas in (2, 5, 3):
        workloads.ensure(wish(OLD, replicas), OLD_VERSION)
        assert serving.replicas(OLD_VERSION) == 6
    serving.scale(name, 4)
    workloads.ensure(wish(OLD, 3), OLD_VERSION)
    assert serving.replicas(OLD_VERSION) == 4


def test_an_autoscaler_that_goes_away_leaves_its_number_behind(serving, workloads):
    name = serving.deployment(OLD_VERSION)["metadata"]["name"]
    serving.autoscale(name)
    serving.scale(name, 6)
    workloads.ensure(wish(OLD, 3), OLD_VERSION)
    serving.hands.delete(HORIZONTAL_POD_AUTOSCALER, name, NAMESPACE)
    workloads.ensure(wish(OLD, 3), OLD_VERSION)
    assert serving.replicas(OLD_VERSION) == 6


def test_somebody_who_scales_in_between_is_a_conflict(serving, workloads):
    name = serving.deployment(OLD_VERSION)["metadata"]["name"]

    def come_between(call):
        if call.verb == "patch":
            serving.api.before = None
            serving.scale(name, 8)

    serving.api.before = come_between
    with pytest.raises(Conflict):
        workloads.ensure(wish(OLD, 5), OLD_VERSION)
    assert serving.replicas(OLD_VERSION) == 8


# ------------------------------------------------------------------------------------ the end of a version


def both(world, workloads):
    workloads.ensure(NEW, NEW_VERSION)
    world.settle()
    world.writes()


def test_a_version_that_nobody_needs_goes_to_0_and_can_come_back(serving, workloads):
    both(serving, workloads)
    workloads.retire(NEW, [NEW_VERSION])
    serving.settle()
    assert serving.replicas(OLD_VERSION) == 0
    workloads.retire(NEW, [NEW_VERSION])
    assert len(serving.writes()) == 1
    workloads.ensure(NEW, OLD_VERSION)
    serving.settle()
    assert workloads.ready(NEW, OLD_VERSION) == ReadyReplicas(2, 2)


def test_kept_versions_are_left_alone(serving, workloads):
    both(serving, workloads)
    workloads.retire(NEW, [NEW_VERSION, OLD_VERSION])
    assert serving.writes() == []


def test_nothing_ends_before_what_serves_is_complete(serving, workloads):
    """A Release that was deleted and applied again knows nothing of what serves."""
    serving.status[NEW_VERSION] = NOT_READY
    both(serving, workloads)
    workloads.retire(NEW, [NEW_VERSION])
    workloads.retire(NEW, [])
    assert serving.writes() == []
    del serving.status[NEW_VERSION]
    serving.settle()
    workloads.retire(NEW, [NEW_VERSION])
    assert serving.replicas(OLD_VERSION) == 0


def test_another_releases_deployments_are_none_of_ours(serving, workloads):
    other = made_release("9.0.0", name="cart")
    workloads.ensure(other, other.spec.version)
    both(serving, workloads)
    workloads.retire(NEW, [NEW_VERSION])
    assert serving.replicas(OLD_VERSION) == 0
    kept = [each for each in serving.deployments() if each["metadata"]["labels"]["meshctl.dev/release"] == "cart"]
    assert [each["spec"]["replicas"] for each in kept] == [2]


def test_an_autoscaled_version_goes_to_0_too_and_comes_back_as_large_as_what_serves(serving, workloads):
    name = serving.deployment(OLD_VERSION)["metadata"]["name"]
    serving.autoscale(name, least=3)
    serving.scale(name, 6)
    serving.settle()
    workloads.ensure(NEW, NEW_VERSION)
    serving.settle()
    workloads.retire(NEW, [NEW_VERSION])
    assert serving.replicas(OLD_VERSION) == 0
    workloads.ensure(NEW, OLD_VERSION)
    assert serving.replicas(OLD_VERSION) == 6


def test_of_many_versions_at_0_the_oldest_are_deleted(world, workloads):
    for number in range(13):
        release = made_release(f"1.{number}.0")
        workloads.ensure(release, release.spec.version)
        world.settle()
        workloads.retire(release, [release.spec.version])
        world.settle()
    workloads.retire(release, [release.spec.version])
    assert len(world.deployments()) == 11


def test_a_version_is_retired_also_after_the_release_went_over_to_the_users_own(serving, workloads):
    serving.deploy("3.0.0")
    serving.settle()
    workloads.retire(own_release("3.0.0"), ["3.0.0"])
    assert serving.replicas(OLD_VERSION) == 0
    workloads.ensure(own_release("3.0.0"), OLD_VERSION)
    assert serving.replicas(OLD_VERSION) == 2


def test_the_pods_of_a_version_never_change(serving, workloads):
    """Neither another number of replicas, nor another version beside it, nor the end of that one rolls its pods."""
    before = serving.deployment(OLD_VERSION)["spec"]["template"]
    both(serving, workloads)
    workloads.ensure(wish(NEW, 4), OLD_VERSION)
    workloads.retire(NEW, [OLD_VERSION])
    assert serving.deployment(OLD_VERSION)["spec"]["template"] == before


def test_a_release_without_labels_for_the_service_is_no_reason_to_fail(world, workloads):
    release = as_deployed(replace(NEW, spec=replace(NEW.spec, workload=PodWorkload(template(), 1))))
    world.hands.delete(SERVICE, "shop", NAMESPACE)
    found = workloads.ready(release, release.spec.version)
    assert (found.ready, found.wished) == (0, 1)
    assert "there is no Service shop" in found.message
    workloads.ensure(release, release.spec.version)
    assert len(world.hands.list(DEPLOYMENT, NAMESPACE).items) == 1
