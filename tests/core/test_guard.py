"""The guard: what was decided passes, whatever else is rendered is named."""

import copy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.errors import InvalidInput
from meshctl.core.guard import find_lies, shares, thousandths
from meshctl.core.model import (
    CanaryStrategy,
    MeshSpec,
    Metadata,
    Ownership,
    Preview,
    Release,
    ReleaseSpec,
    Routing,
    Strategy,
)
from meshctl.core.names import subset_name

HEADER = "x-preview"
RELEASE = Release(Metadata("shop"), ReleaseSpec("2.1.0", "shop", strategy=Strategy(CanaryStrategy(Preview(HEADER)))))
ROUTING = Routing("2.0.0", "2.1.0", 10.0, "shop-7")


def destination(version, weight):
    return {"destination": {"host": "shop", "subset": subset_name(version)}, "weight": weight}


def preview(version):
    return {"match": [{"headers": {HEADER: {"exact": version}}}], "route": [destination(version, 1000)]}


def truth():
    """What the packaged templates render, as small as can be."""

    def head(kind):
        annotations = {"meshctl.dev/run": "shop-7"}
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": kind,
            "metadata": {"name": "shop", "namespace": "default", "annotations": annotations},
        }

    main = {"name": "main", "route": [destination("2.0.0", 900), destination("2.1.0", 100)]}
    subsets = [{"name": subset_name(v), "labels": {"version": v}} for v in ("2.0.0", "2.1.0")]
    return [
        head("VirtualService")
        | {"spec": {"hosts": ["shop"], "gateways": ["mesh"], "http": [preview("2.0.0"), preview("2.1.0"), main]}},
        head("DestinationRule") | {"spec": {"host": "shop", "subsets": subsets}},
    ]


def lies(change, routing=ROUTING):
    objects = truth()
    change(objects)
    return [f"{'.'.join(map(str, lie.path))}: {lie.message}" for lie in find_lies(RELEASE, routing, objects)]


def put(*path, value):
    def change(objects):
        target = objects
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = copy.deepcopy(value)

    return change


def drop(*path):
    def change(objects):
        target = objects
        for part in path[:-1]:
            target = target[part]
        del target[path[-1]]

    return change


def add(*path, value):
    def change(objects):
        target = objects
        for part in path:
            target = target[part]
        target.insert(0, copy.deepcopy(value))

    return change


HTTP = (0, "spec", "http")
MAIN = (*HTTP, 2)
ROUTE = (*MAIN, "route")


def test_what_was_decided_passes():
    assert lies(lambda objects: None) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(*ROUTE, 1, "weight", value=500), "http.2.route.1.weight: the decided weight of v2-1-0 is 100, found 500"),
        (put(*ROUTE, 1, "weight", value="100"), "found '100'"),
        (put(*ROUTE, 1, "weight", value=100.0), "found 100.0"),
        (put(*ROUTE, 1, "weight", value=True), "found True"),
        (drop(*ROUTE, 1, "weight"), "found None"),
        (drop(*ROUTE, 1), "http.2.route: the subset v2-1-0 is missing; its decided weight is 100"),
        (add(*ROUTE, value=destination("2.0.0", 900)), "a second destination for the subset v2-0-0"),
        (add(*ROUTE, value=destination("1.9.0", 0)), "must be v2-0-0 or v2-1-0, found 'v1-9-0'"),
        (put(*ROUTE, 0, "destination", "host", value="evil"), "must be 'shop', found 'evil'"),
        (put(*ROUTE, 0, "destination", "subset", value=["v"]), "must be v2-0-0 or v2-1-0"),
        (put(*ROUTE, 0, "destination", value="shop"), "must be 'shop', found None"),
        (put(*ROUTE, 0, "extra", value=1), "may not be rendered"),
        (put(*ROUTE[:-1], "route", value="shop"), "must be a list of destinations"),
        (put(*MAIN, "mirror", value={"host": "shop"}), "http.2.mirror: may not be rendered"),
        (put(*MAIN, "fault", value={}), "may not be rendered"),
        (put(*MAIN, "redirect", value={}), "may not be rendered"),
        (put(*MAIN, "match", value=[{"uri": {"prefix": "/"}}]), "the last route must have no match"),
        (put(*HTTP, value=[]), "http: must be a list of routes"),
        (put(*HTTP, 0, value="x"), "http.0: must be a route, found a str"),
        (drop(*HTTP, 0, "match"), "only the last route may have no match"),
        (put(*HTTP, 0, "match", value=[{}]), "only the last route may have no match"),
        (drop(*HTTP, 0), "no route sends requests with x-preview: 2.0.0 to v2-0-0"),
        (put(*HTTP, 1, "route", value=[destination("2.0.0", 1000)]), "the preview of version 2.1.0 must not lead to"),
        (put(*HTTP, 1, "route", 0, "weight", value=1), "the decided weight of v2-1-0 is 1000, found 1"),
        (add(*HTTP, value=preview("9") | {"route": []}), "must be a list of destinations"),
        (put(0, "spec", "hosts", value=["other"]), "hosts: must be shop, as in the release"),
        (put(0, "spec", "gateways", value="mesh"), "gateways: must be mesh, as in the release"),
        (put(0, "spec", "tcp", value=[]), "spec.tcp: may not be rendered"),
        (put(0, "spec", value=None), "http: must be a list of routes"),
        (put(1, "spec", "host", value="other"), "host: must be 'shop', found 'other'"),
        (drop(1, "spec", "subsets", 0), "subsets: the subset v2-0-0 of version 2.0.0 is missing"),
        (put(1, "spec", "subsets", value=None), "the subset v2-0-0 of version 2.0.0 is missing"),
        (put(1, "spec", "subsets", 1, "labels", value={"version": "2.0.0"}), "must be {'version': '2.1.0'}"),
        (put(1, "spec", "subsets", 1, "name", value="v2-0-0"), "the subset v2-0-0 stands here twice"),
        (put(1, "spec", "subsets", 1, "name", value="canary"), "must be v2-0-0 or v2-1-0, found 'canary'"),
        (put(0, "metadata", "name", value="bank"), "metadata.name: must be 'shop', the release's own, found 'bank'"),
        (put(1, "metadata", "namespace", value="kube-system"), "metadata.namespace: must be 'default'"),
        (put(0, "metadata", "finalizers", value=[]), "metadata.finalizers: may not be rendered"),
        (put(0, "metadata", "annotations", "meshctl.dev/run", value="shop-6"), "must be 'shop-7', found 'shop-6'"),
        (put(0, "metadata", "annotations", "meshctl.dev/aborted", value="shop-7"), "was not decided"),
        (put(0, "apiVersion", value="networking.istio.io/v1alpha3"), "must be networking.istio.io/v1"),
        (put(0, "status", value={}), "status: may not be rendered"),
        (put(0, "kind", value="Secret"), "found kind 'Secret'"),
        (put(1, value="text"), "found a str"),
        (put(1, value=truth()[0]), "a second VirtualService; there must be exactly one"),
        (drop(1), "no DestinationRule was rendered"),
    ],
)  # fmt: skip
def test_a_lie_is_named(change, said):
    found = lies(change)
    assert any(said in line for line in found), found


@pytest.mark.parametrize(
    "change",
    [
        put(*MAIN, "timeout", value="5s"),
        put(*MAIN, "corsPolicy", value={}),
        put(0, "metadata", "annotations", "example.com/team", value="shop"),
        put(1, "spec", "trafficPolicy", value={"connectionPool": {}}),
        add(*HTTP, value=truth()[0]["spec"]["http"][2] | {"match": [{"uri": {"prefix": "/slow"}}], "timeout": "60s"}),
    ],
)
def test_what_is_not_about_where_requests_go_is_the_templates_affair(change):
    assert lies(change) == []


def test_a_delegate_has_neither_hosts_nor_gateways():
    release = replace(RELEASE, spec=replace(RELEASE.spec, mesh=MeshSpec(Ownership.DELEGATE)))
    objects = truth()
    found = {".".join(map(str, lie.path)) for lie in find_lies(release, ROUTING, objects)}
    assert found == {"spec.hosts", "spec.gateways"}
    for key in ("hosts", "gateways"):
        del objects[0]["spec"][key]
    assert find_lies(release, ROUTING, objects) == []
    objects[0]["spec"]["http"][-1]["delegate"] = {"name": "other"}
    assert [".".join(map(str, lie.path)) for lie in find_lies(release, ROUTING, objects)] == ["spec.http.2.delegate"]


def test_aborted_routes_must_say_so():
    aborted = Routing("2.0.0", "2.1.0", 10.0, "shop-7", aborted=True)
    assert len(lies(lambda objects: None, aborted)) == 2

    def mark(objects):
        for each in objects:
            each["metadata"]["annotations"]["meshctl.dev/aborted"] = "shop-7"

    assert lies(mark, aborted) == []


@given(st.integers(0, 1000))
def test_shares_are_the_decided_tenths_and_sum_to_a_thousand(tenths):
    baseline, candidate = shares(Routing("1", "2", tenths / 10, "r"))
    assert candidate.weight == tenths
    assert baseline.weight + candidate.weight == 1000


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_no_other_weight_than_the_decided_one_passes(decided, rendered):
    def change(objects):
        objects[0]["spec"]["http"][2]["route"] = [destination("2.0.0", 1000 - rendered), destination("2.1.0", rendered)]

    assert (lies(change, Routing("2.0.0", "2.1.0", decided / 10, "shop-7")) == []) == (decided == rendered)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
PLACES = [
    *((0,), (0, "metadata"), (0, "metadata", "annotations"), (0, "spec")),
    *(HTTP, (*HTTP, 0), (*HTTP, 0, "match"), (*HTTP, 0, "match", 0, "headers"), ROUTE, (*ROUTE, 0)),
    *((1, "spec"), (1, "spec", "subsets"), (1, "spec", "subsets", 0)),
]


@given(st.sampled_from(PLACES), JSON)
def test_no_shape_makes_the_guard_stumble(place, junk):
    assert lies(put(*place, value=junk))


@pytest.mark.parametrize("percent", [0.25, -1, 100.1, float("nan"), float("inf")])
def test_a_weight_that_cannot_be_rendered_is_refused(percent):
    with pytest.raises(InvalidInput, match="cannot be rendered"):
        thousandths(percent)


def test_two_versions_of_one_subset_cannot_be_routed():
    with pytest.raises(InvalidInput, match="would share the subset"):
        shares(Routing("2.1.0", "2-1-0", 1.0, "r"))
