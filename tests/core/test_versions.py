"""The version of pods that meshctl makes: same pods, same version; other pods, another one."""

import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.model import Metadata, PodWorkload, Release, ReleaseSpec
from meshctl.core.names import LABEL_LIMIT, subset_name
from meshctl.core.validation import validate_release
from meshctl.core.versions import (
    VERSION_LIMIT,
    as_deployed,
    canonical,
    effective_version,
    returned,
    template_digest,
)

POD = {
    "metadata": {"labels": {"app": "shop"}},
    "spec": {"containers": [{"name": "shop", "image": "shop:2.1.0", "env": [{"name": "LEVEL", "value": "1"}]}]},
}
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=8)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
TEMPLATES = st.dictionaries(st.text(max_size=5), TREES, max_size=4)


def spec(template=POD, version="2.1.0", **fields):
    return ReleaseSpec(version, "shop", workload=PodWorkload(template), **fields)


def shuffled(value, chance):
    if isinstance(value, dict):
        entries = list(value.items())
        chance.shuffle(entries)
        return {key: shuffled(entry, chance) for key, entry in entries}
    return [shuffled(entry, chance) for entry in value] if isinstance(value, list) else value


@given(TEMPLATES, st.randoms())
def test_the_order_of_keys_is_no_part_of_a_version(template, chance):
    assert template_digest(shuffled(template, chance)) == template_digest(template)


@given(TEMPLATES)
def test_a_template_that_went_through_json_is_the_same(template):
    assert canonical(json.loads(json.dumps(template))) == canonical(template)
    assert canonical(json.loads(canonical(template))) == canonical(template)


@given(TEMPLATES, TEMPLATES)
def test_templates_that_mean_something_else_have_other_texts(one, other):
    if json.loads(canonical(one)) != json.loads(canonical(other)):
        assert canonical(one) != canonical(other)


def test_null_and_a_point_make_no_difference_as_for_kubernetes():
    plain = {"spec": {"terminationGracePeriodSeconds": 30}}
    assert canonical({"spec": {"terminationGracePeriodSeconds": 30.0, "nodeName": None}}) == canonical(plain)


@pytest.mark.parametrize("template", [{"a": float("nan")}, {"a": [float("inf")]}])
def test_what_json_cannot_say_has_no_digest(template):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(template)


@given(TEMPLATES, st.from_regex(r"\A[A-Za-z0-9]([-A-Za-z0-9_.]{0,52}[A-Za-z0-9])?\Z"))
def test_a_version_with_its_digest_is_a_label_and_asking_twice_changes_nothing(template, version):
    once = effective_version(spec(template, version))
    assert len(once) <= LABEL_LIMIT
    assert once.startswith(version)
    assert subset_name(once)
    assert effective_version(spec(template, once)) == once


def test_a_changed_name_of_a_config_map_is_another_version():
    one, other = copy.deepcopy(POD), copy.deepcopy(POD)
    one["spec"]["volumes"] = [{"name": "settings", "configMap": {"name": "shop-5h2k"}}]
    other["spec"]["volumes"] = [{"name": "settings", "configMap": {"name": "shop-9x4t"}}]
    assert effective_version(spec(one)) != effective_version(spec(other))


def test_replicas_are_no_part_of_a_version():
    more = replace(spec(), workload=PodWorkload(POD, replicas=9))
    assert effective_version(more) == effective_version(spec())


def test_a_release_is_loaded_with_its_effective_version():
    release = Release(Metadata("shop"), spec())
    loaded = as_deployed(release)
    assert loaded.spec.version == f"2.1.0-{template_digest(POD)}"
    assert as_deployed(loaded) is loaded
    assert validate_release(loaded) == []
    own = Release(Metadata("shop"), ReleaseSpec("2.1.0", "shop"))
    assert as_deployed(own) is own


def test_the_way_back_leads_to_the_pods_of_then_with_the_replicas_of_now():
    earlier = as_deployed(Release(Metadata("shop"), spec())).spec
    other = {**POD, "spec": {"containers": [{"name": "shop", "image": "shop:2.2.0"}]}}
    now = replace(spec(other, "2.2.0"), workload=PodWorkload(other, replicas=5))
    back = returned(now, earlier)
    assert effective_version(back) == earlier.version
    assert back.workload == PodWorkload(POD, replicas=5)


def test_the_way_back_to_deployments_of_the_users_own_makes_no_pods():
    back = returned(spec(), ReleaseSpec("1.9.0", "shop"))
    assert (back.version, back.workload) == ("1.9.0", None)


# ------------------------------------------------------------------------------------ what is refused


def problems(template=POD, *, embedded=False, **fields):
    release = Release(Metadata("shop"), replace(spec(template), **fields))
    return {
        ".".join(map(str, problem.path)): problem.message for problem in validate_release(release, embedded=embedded)
    }


def pod(**fields):
    return {**POD, "spec": {**POD["spec"], **fields}}


def labelled(**labels):
    return {**POD, "metadata": {"labels": labels}}


def test_a_pod_template_is_accepted_in_a_cluster_and_refused_without_one():
    assert problems() == {}
    assert "kind: Workload" in problems(embedded=True)["spec.workload"]


@pytest.mark.parametrize(
    ("template", "path", "message"),
    [
        ({}, "spec.workload.template.metadata", "labels"),
        ({**POD, "kind": "Pod"}, "spec.workload.template.kind", "no field of a pod template"),
        ({**POD, "metadata": {"name": "a", "labels": {"app": "a"}}}, "spec.workload.template.metadata.name", "may not"),
        (labelled(), "spec.workload.template.metadata.labels", "the Service selects"),
        (labelled(version="2"), "spec.workload.template.metadata.labels.version", "set by meshctl"),
        (labelled(**{"meshctl.dev/x": "2"}), "spec.workload.template.metadata.labels.meshctl.dev/x", "set by meshctl"),
        (labelled(app=2), "spec.workload.template.metadata.labels.app", "must be text"),
        (labelled(app="a b"), "spec.workload.template.metadata.labels.app", "label can hold"),
        (
            {**POD, "metadata": {"labels": {"app": "a"}, "annotations": {"a": 1}}},
            "spec.workload.template.metadata.annotations",
            "texts",
        ),
        ({"metadata": POD["metadata"]}, "spec.workload.template.spec", "with containers"),
        (pod(containers=[]), "spec.workload.template.spec.containers", "at least one"),
        (pod(containers=[{"image": "a"}]), "spec.workload.template.spec.containers.0", "a name"),
        (pod(restartPolicy="Never"), "spec.workload.template.spec.restartPolicy", "must be Always"),
        (pod(nodeName="x" * 17000), "spec.workload.template", "at most 16 KiB, found 16.7"),
        (pod(priority=float("nan")), "spec.workload.template", "JSON"),
    ],
)
def test_a_wrong_pod_template_is_refused_by_field(template, path, message):
    assert message in problems(template)[path]


@pytest.mark.parametrize("replicas", [0, -1, 1001])
def test_replicas_have_bounds(replicas):
    assert "from 1 to 1000" in problems(workload=PodWorkload(POD, replicas))["spec.workload.replicas"]


def test_a_version_must_leave_room_for_the_digest_unless_it_is_there_already():
    long = "v" * VERSION_LIMIT
    assert problems(version=long) == {}
    assert "at most 54 characters" in problems(version=long + "v")["spec.version"]
    assert problems(version=f"{long}-{template_digest(POD)}") == {}
