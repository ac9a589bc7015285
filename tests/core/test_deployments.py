"""The Deployment of a version: its name, what it must be, and that nothing else passes for it."""

import copy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.deployments import (
    NAME_LIMIT,
    deployment_name,
    find_deployment_lies,
    plan_deployment,
)
from meshctl.core.model import Metadata, PodWorkload, Release, ReleaseSpec
from meshctl.core.versions import as_deployed

POD = {
    "metadata": {"labels": {"app": "shop"}, "annotations": {"note": "yes"}},
    "spec": {"containers": [{"name": "shop", "image": "shop:2.1.0", "args": ["--fast"]}]},
}
SHOP = as_deployed(Release(Metadata("shop", "store"), ReleaseSpec("2.1.0", "shop", workload=PodWorkload(POD, 3))))
PLAN = plan_deployment(SHOP, SHOP.spec.workload, 4)

NAMES = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
VERSIONS = st.from_regex(r"\A[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")


def rendered():
    return copy.deepcopy(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": PLAN.name,
                "namespace": PLAN.namespace,
                "labels": PLAN.labels,
                "annotations": PLAN.annotations,
            },
            "spec": {
                "replicas": PLAN.replicas,
                "selector": {"matchLabels": PLAN.selector},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
                "template": PLAN.template,
            },
        }
    )


def put(path, value):
    """The Deployment with another value at one place; ``None`` takes it away."""
    found = rendered()
    place = found
    for part in path[:-1]:
        place = place[part]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return find_deployment_lies(PLAN, [found])


@given(NAMES, VERSIONS)
def test_a_name_is_a_dns_label_with_room_for_what_kubernetes_adds(release, version):
    name = deployment_name(release, version)
    assert len(name) <= NAME_LIMIT
    assert name == deployment_name(release, version)
    assert name[0].isalnum()
    assert name[-1].isalnum()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@given(NAMES, VERSIONS, VERSIONS)
def test_long_names_of_two_versions_differ_by_their_digest(release, one, other):
    if one != other and len(f"{release}-{one}") > NAME_LIMIT < len(f"{release}-{other}"):
        assert deployment_name(release, one) != deployment_name(release, other)


def test_a_plan_marks_whose_the_pods_are_and_which_version():
    version = SHOP.spec.version
    marks = {"meshctl.dev/release": "shop", "version": version}
    assert PLAN.name == f"shop-v2-1-0-{version[-8:]}"
    assert PLAN.selector == marks
    assert PLAN.labels == {**marks, "app.kubernetes.io/managed-by": "meshctl"}
    assert PLAN.template["metadata"] == {"labels": {"app": "shop", **marks}, "annotations": {"note": "yes"}}
    assert PLAN.template["spec"] == POD["spec"]
    assert PLAN.annotations == {
        "meshctl.dev/version": version,
        "meshctl.dev/replicas": "4",
        "meshctl.dev/wished-replicas": "3",
    }


def test_a_wish_is_not_changed_by_planning_it():
    before = copy.deepcopy(POD)
    plan_deployment(SHOP, replace(SHOP.spec.workload, template=POD), 1)
    assert before == POD


def test_the_decided_deployment_passes():
    assert find_deployment_lies(PLAN, [rendered()]) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "labels", "team"), "a"),
        (("metadata", "annotations", "note"), "b"),
        (("spec", "minReadySeconds"), 5),
        (("spec", "revisionHistoryLimit"), 2),
        (("spec", "progressDeadlineSeconds"), 60),
        (("spec", "strategy", "rollingUpdate", "maxSurge"), 1),
    ],
)
def test_what_is_not_about_the_pods_is_the_templates_own(path, value):
    assert put(path, value) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("apiVersion",), "apps/v1beta1", "must be apps/v1"),
        (("status",), {}, "may not be rendered"),
        (("metadata", "name"), "other", "must be 'shop-v2-1-0"),
        (("metadata", "namespace"), "kube-system", "must be 'store'"),
        (("metadata", "ownerReferences"), [], "may not be rendered"),
        (("metadata", "labels", "version"), "9", "must be '2.1.0"),
        (("metadata", "labels", "meshctl.dev/release"), None, "must be 'shop', found None"),
        (("metadata", "labels", "meshctl.dev/other"), "a", "meshctl's own"),
        (("metadata", "annotations", "meshctl.dev/replicas"), "9", "must be '4'"),
        (("spec", "replicas"), 3, "must be 4, found 3"),
        (("spec", "replicas"), True, "must be 4"),
        (("spec", "replicas"), None, "must be 4, found None"),
        (("spec", "paused"), True, "may not be rendered"),
        (("spec", "selector", "matchLabels", "app"), "shop", "must be matchLabels"),
        (("spec", "selector"), None, "must be matchLabels"),
        (("spec", "strategy"), {"type": "Recreate"}, "maxUnavailable 0"),
        (("spec", "strategy", "rollingUpdate", "maxUnavailable"), 1, "maxUnavailable 0"),
        (("spec", "strategy"), None, "maxUnavailable 0"),
        (("spec", "template", "metadata", "labels", "app"), "cart", "must be 'shop'"),
        (("spec", "template", "metadata", "annotations"), None, "is missing"),
        (("spec", "template", "spec", "containers", 0, "image"), "shop:latest", "must be 'shop:2.1.0', as the release"),
        (("spec", "template", "spec", "hostNetwork"), True, "stands in no wish"),
        (("spec", "template", "spec", "containers"), [], "must be [{"),
        (("spec", "template"), None, "must be {"),
    ],
)
def test_anything_else_is_a_lie_that_names_its_place(path, value, message):
    found = put(path, value)
    assert [lie.message for lie in found if message in lie.message], found
    lie = next(lie for lie in found if message in lie.message)
    assert lie.path == path[: len(lie.path)]


@pytest.mark.parametrize("objects", [[], [rendered(), rendered()], ["text"], [None], [{"kind": "Pod"}]])
def test_anything_but_one_deployment_is_a_lie(objects):
    assert find_deployment_lies(PLAN, objects)
