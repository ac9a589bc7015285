"""Who may say how many replicas there are: properties over whatever people, autoscalers and wishes do, in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshctl.adapters.kubernetes.scaling import (
    KEPT_AT_ZERO,
    first_replicas,
    scaled_to_nothing,
    scaled_up,
    superfluous,
)
from meshctl.core.deployments import REPLICAS_ANNOTATION, WISHED_ANNOTATION
from tests.adapters.api_fields import patched

COUNTS = st.integers(0, 20)
WISHES = st.integers(1, 20)
AUTOSCALERS = st.none() | st.fixed_dictionaries({"spec": st.fixed_dictionaries({"minReplicas": WISHES})})
STEPS = st.one_of(
    st.tuples(st.just("wish"), WISHES),
    st.tuples(st.just("hand"), COUNTS),
    st.tuples(st.just("autoscaler"), AUTOSCALERS),
    st.tuples(st.just("retire"), st.none()),
    st.tuples(st.just("need"), COUNTS),
)


def deployment(replicas, wished=None, name="shop"):
    annotations = {REPLICAS_ANNOTATION: str(replicas), WISHED_ANNOTATION: str(wished or replicas or 1)}
    metadata = {"name": name, "uid": f"uid-{name}", "annotations": annotations, "creationTimestamp": name}
    return {"metadata": metadata, "spec": {"replicas": replicas}}


def written(live, operations):
    return patched(live, operations)


def of(live):
    return live["spec"]["replicas"]


@given(st.lists(STEPS, max_size=15), WISHES)
def test_only_what_nobody_else_scales_is_scaled(steps, wished):
    """After every step: another hand's number stays until the wish changes, an autoscaler's as long as it is there,
    and a needed version that meshctl scales has what is wished."""
    live, autoscaler, foreign = deployment(wished), None, False
    for step, value in steps:
        changed = False
        if step == "wish":
            wished, changed = value, value != wished
        elif step == "hand":
            foreign = foreign or value != of(live)
            live = {**live, "spec": {"replicas": value}}
            if value == int(live["metadata"]["annotations"][REPLICAS_ANNOTATION]):
                foreign = False
        elif step == "autoscaler":
            autoscaler = value
        elif step == "retire":
            ended = of(live) != 0
            live = written(live, scaled_to_nothing(live))
            foreign = foreign and not ended
            assert of(live) == 0
            continue
        before = of(live)
        operations = scaled_up(live, wished, autoscaler, [deployment(value)] if step == "need" else [])
        live = written(live, operations)
        if autoscaler is not None and before > 0:
            assert of(live) == before
        elif foreign and not changed:
            assert of(live) == before or before == 0
        elif not foreign:
            assert of(live) >= wished
        if of(live) != before:
            foreign = False
        again = scaled_up(live, wished, autoscaler, [])
        assert again == [], "what was carried out is carried out"


@given(WISHES, st.lists(COUNTS, max_size=4), AUTOSCALERS)
def test_a_version_begins_at_what_is_wished_or_serves_whatever_is_more(wished, others, autoscaler):
    found = first_replicas(wished, autoscaler, [deployment(each) for each in others])
    assert found >= max(wished, *others, 1)
    if autoscaler is not None:
        assert found >= autoscaler["spec"]["minReplicas"]
    assert found in {wished, 1, *others, (autoscaler or {"spec": {"minReplicas": 1}})["spec"]["minReplicas"]}


@given(st.integers(1, 20), WISHES)
def test_a_version_that_was_ended_comes_back_with_what_is_wished(replicas, wished):
    live = written(deployment(replicas, wished), scaled_to_nothing(deployment(replicas, wished)))
    assert of(live) == 0
    assert of(written(live, scaled_up(live, wished, None, []))) == wished
    assert of(written(live, scaled_up(live, None, None, []))) == wished


@given(st.integers(0, 30), st.integers(0, 30))
def test_of_those_at_0_the_newest_stay_and_none_whose_pods_still_end(empty, ending):
    gone = [deployment(0, name=f"{number:03}") for number in range(empty)]
    going = [{**deployment(0, name=f"a{number:03}"), "status": {"replicas": 1}} for number in range(ending)]
    running = [deployment(2, name="zzz")]
    found = superfluous([*gone, *going, *running])
    names = [each["metadata"]["name"] for each in found]
    newest = sorted((each["metadata"]["name"] for each in [*gone, *going]), reverse=True)[:KEPT_AT_ZERO]
    assert not set(names) & {*newest, *(each["metadata"]["name"] for each in going), "zzz"}
    assert len(found) == max(0, empty - max(0, KEPT_AT_ZERO - ending))
