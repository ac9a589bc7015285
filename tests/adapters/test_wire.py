"""The codec: what is written is read back, and what is wrong is named with its place."""

import contextlib
import dataclasses
import json
import math
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from typing import get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.wire import WireError, decode, encode, format_path
from meshctl.core import model
from meshctl.core.model import (
    Block,
    Decision,
    Event,
    Judgement,
    MetricEvidence,
    Phase,
    Release,
    ReleaseState,
    Request,
    Run,
    Stage,
    Workload,
)

VALUES = [value for value in vars(model).values() if dataclasses.is_dataclass(value)]
RELEASE = {
    "apiVersion": "meshctl.dev/v1alpha1",
    "kind": "Release",
    "metadata": {"name": "shop"},
    "spec": {"version": "2.1.0", "service": "shop"},
}

INSTANTS = st.datetimes(timezones=st.just(UTC))
SCALARS = {
    str: st.text(max_size=8),
    float: st.floats(allow_nan=False),
    int: st.integers(-(2**53), 2**53),
    bool: st.booleans(),
    timedelta: st.timedeltas(),
    datetime: INSTANTS,
    object: st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=5,
    ),
}


@cache
def anything(hint):
    """Any value of a type of the core."""
    if hint in SCALARS:
        return SCALARS[hint]
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        return st.lists(anything(arguments[0]), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(st.text(max_size=5), anything(arguments[1]), max_size=3)
    if type(None) in arguments:
        return st.none() | anything(arguments[0])
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    hints = get_type_hints(hint)
    return st.builds(hint, **{field.name: anything(hints[field.name]) for field in dataclasses.fields(hint)})


def release(**spec):
    return {**RELEASE, "spec": {**RELEASE["spec"], **spec}}


def refusal(kind, data):
    with pytest.raises(WireError) as caught:
        decode(kind, data)
    return str(caught.value)


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_every_value_of_the_core_survives_json(kind):
    @settings(max_examples=8, deadline=None)
    @given(anything(kind))
    def survives(value):
        text = json.dumps(encode(value), allow_nan=False)
        assert decode(kind, json.loads(text)) == value
        assert decode(kind, msgspec.json.decode(msgspec.json.encode(encode(value)))) == value

    survives()


@pytest.mark.parametrize("kind", [Release, Workload, ReleaseState, Run, Event, Request, Block, Decision])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_stored_often_survives_often(kind, data):
    value = data.draw(anything(kind))
    assert decode(kind, json.loads(json.dumps(encode(value), allow_nan=False))) == value


def test_keys_are_camel_case_durations_short_and_none_is_left_out():
    stage = Stage(0.5, max_duration=timedelta(minutes=90))
    assert encode(stage) == {"weight": 0.5, "gate": "auto", "minDuration": "1m", "maxDuration": "1h30m"}
    request = Request("r1", model.Verb.ABORT, datetime(2026, 11, 23, 7, 40, 12, 300_000, UTC))
    assert encode(request) == {
        "id": "r1",
        "verb": "abort",
        "time": "2026-11-23T07:40:12.300Z",
        "actor": "unknown",
        "reason": "",
        "full": False,
        "version": "",
    }


def test_floats_that_json_cannot_write_survive():
    evidence = MetricEvidence(-math.inf, ratio=math.nan, upper=math.inf)
    data = encode(evidence)
    assert data == {"log": "-Infinity", "ratio": "NaN", "upper": "Infinity"}
    back = decode(MetricEvidence, data)
    assert (back.log, back.upper) == (-math.inf, math.inf)
    assert math.isnan(back.ratio)


def test_a_whole_number_is_a_weight_and_becomes_a_float():
    value = decode(Stage, {"weight": 1})
    assert (value.weight, type(value.weight)) == (1.0, float)


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (Release, [], "must be a mapping, found a list"),
        (Release, {}, "metadata: is missing"),
        (Release, release(service=None), "spec.service: must be text, found nothing"),
        (Release, release(mesh=None), "spec.mesh: must be a mapping, found nothing"),
        (Release, release(version=2.1), "spec.version: must be text, found the number 2.1\n  put it in quotes"),
        (Release, release(version=True), "spec.version: must be text, found true\n  put it in quotes"),
        (Release, release(mesh={"hosts": "shop"}), "spec.mesh.hosts: must be a list, found 'shop'"),
        (Release, release(mesh={"hosts": ["a", 1]}), "spec.mesh.hosts[1]: must be text, found the number 1"),
        (Release, release(mesh={"ownership": "generate"}), "found 'generate'\n  did you mean 'generated'?"),
        (Release, release(keepWarm=60), "spec.keepWarm: must be a duration, found the number 60\n  write a number"),
        (Release, release(keepWarm="1 hour"), "must be a duration, found '1 hour'"),
        (Release, release(analysis={"alpha": "0.01"}), "spec.analysis.alpha: must be a number, found '0.01'"),
        (Release, release(analysis={"alpha": True}), "must be a number, found true"),
        (Release, release(analysis={"alpha": 10**400}), "one too large"),
        (Release, release(mesh={"retries": {"attempts": 2.0}}), "must be a whole number, found the number 2.0"),
        (Release, release(Version="1"), "unknown field; did you mean 'version'?  allowed: analysis, hooks, keepWarm"),
        (
            Release,
            release(strategy={"canary": {"stages": [{"weight": 1}, {"wieght": 2}]}}),
            "stages[1].wieght: unknown field; did you mean 'weight'?  allowed: gate, maxDuration, minDuration, weight",
        ),
        (Request, {"id": "a", "verb": "abort", "time": "2026-11-23T07:40:12"}, "must be an instant with its zone"),
        (Request, {"id": "a", "verb": "abort", "time": "now"}, "time: must be an instant, found 'now'"),
        (Request, {"id": "a", "verb": "abort", "time": 5}, "time: must be an instant, found the number 5"),
        (Request, {"id": "a", "verb": [], "time": 5}, "verb: must be one of: abort, promote"),
        (Run, encode(None), "must be a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(kind, data, said):
    assert said in refusal(kind, data)


def test_keys_that_are_not_text_are_refused():
    spec = {"listen": "127.0.0.1:0", "versions": {2.1: {"command": ["a"]}}}
    assert "spec.versions: must be text, found the number 2.1" in refusal(
        Workload, {"metadata": {"name": "shop"}, "spec": spec}
    )


def test_paths_read_as_people_write_them():
    assert format_path(("spec", "versions", "2.1.0", "env", "A", 0)) == 'spec.versions["2.1.0"].env.A[0]'
    assert format_path(()) == ""


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["spec", "metadata", "name", "strategy", "canary", "stages"]), inner)
        ),
    )
)
def test_no_shape_makes_the_codec_stumble(data):
    for kind in (Release, ReleaseState, Judgement):
        with contextlib.suppress(WireError):
            decode(kind, data)


def test_an_enum_member_is_read_back_as_itself():
    assert decode(Phase, "Held") is Phase.HELD


def test_nothing_may_be_said_by_leaving_it_out():
    terms = model.StageTerms(0, 1.0, None, 1.0, bake=False, comparable=False, max_duration_s=1.0)
    data = encode(terms)
    assert data.pop("beta") is None
    assert decode(model.StageTerms, data) == terms
    del data["weight"]
    with pytest.raises(WireError, match="is missing"):
        decode(model.StageTerms, data)
