"""Istio's words become Envoy's, and what is not understood is refused by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from meshctl.adapters.envoy.translate import translate
from meshctl.core.errors import InvalidInput
from tests.adapters.envoy_world import NEW, OLD, objects


def envoy_routes(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return translate(manifests, "shop").routes["virtual_hosts"][0]["routes"]


def test_weights_become_a_split_over_the_subsets_clusters():
    found = translate(objects({OLD: 990, NEW: 10}), "shop")
    split = found.routes["virtual_hosts"][0]["routes"][-1]["route"]["weighted_clusters"]
    assert split == {"clusters": [{"name": "shop.v2-0-0", "weight": 990}, {"name": "shop.v2-1-0", "weight": 10}]}
    assert found.weights == {OLD: 990, NEW: 10}


def test_users_reach_the_service_by_any_host():
    host = translate(objects({OLD: 1000}), "shop").routes["virtual_hosts"][0]
    assert host["domains"] == ["shop", "*"]


def test_the_routes_say_whose_they_are_and_whether_they_are_aborted():
    found = translate(objects({OLD: 1000, NEW: 0}, run="shop-7", aborted=True), "shop")
    about = found.routes["virtual_hosts"][0]["metadata"]["filter_metadata"]["meshctl"]
    assert (found.run, found.aborted) == ("shop-7", True)
    assert (about["run"], about["aborted"], about["weights"]) == ("shop-7", True, {OLD: 1000, NEW: 0})


def test_timeout_and_retries_are_passed_on_and_default_to_those_of_istio():
    manifests = objects(
        {OLD: 1000}, timeout="1m30s", retries={"attempts": 3, "perTryTimeout": "250ms", "retryOn": "503"}
    )
    split = envoy_routes(manifests)[-1]["route"]
    assert split["timeout"] == "90s"
    assert split["retry_policy"]["num_retries"] == 3
    assert split["retry_policy"]["per_try_timeout"] == "0.25s"
    assert split["retry_policy"]["retriable_status_codes"] == [503]
    assert split["retry_policy"]["retry_on"] == "retriable-status-codes"
    preview = envoy_routes(manifests)[0]["route"]
    assert preview["timeout"] == "0s", "without a timeout there is none, as in Istio"
    assert preview["retry_policy"]["num_retries"] == 2


def test_a_preview_is_a_header_match_that_stays_out_of_the_comparison():
    preview = envoy_routes(objects({OLD: 1000, NEW: 0}))[1]
    assert preview["match"]["headers"] == [{"name": "x-meshctl-preview", "string_match": {"exact": NEW}}]
    assert preview["metadata"]["filter_metadata"]["meshctl"]["traffic"] == "addressed"


def test_mirrors_and_header_changes_are_understood():
    mirror = {"destination": {"host": "shop", "subset": "v2-1-0"}, "percentage": {"value": 12.5}}
    headers = {"request": {"set": {"x-a": "1"}, "remove": ["x-b"]}, "response": {"add": {"x-c": "2"}}}
    route = envoy_routes(objects({OLD: 1000, NEW: 0}, mirrors=[mirror], headers=headers))[-1]
    [policy] = route["route"]["request_mirror_policies"]
    assert policy["cluster"] == "shop.v2-1-0"
    assert policy["runtime_fraction"]["default_value"] == {"numerator": 125_000, "denominator": "MILLION"}
    assert route["request_headers_to_remove"] == ["x-b"]
    assert route["response_headers_to_add"][0]["header"] == {"key": "x-c", "value": "2"}


def test_a_traffic_policy_becomes_part_of_the_cluster():
    manifests = objects({OLD: 1000})
    manifests[1]["spec"]["trafficPolicy"] = {
        "connectionPool": {"tcp": {"maxConnections": 7, "connectTimeout": "30ms"}, "http": {"maxRetries": 9}},
        "loadBalancer": {"simple": "ROUND_ROBIN"},
        "outlierDetection": {"consecutive5xxErrors": 5, "interval": "1s"},
    }
    policy = translate(manifests, "shop").policies[OLD]
    assert policy["lb_policy"] == "ROUND_ROBIN"
    assert policy["connect_timeout"] == "0.03s"
    assert policy["circuit_breakers"]["thresholds"][0]["max_connections"] == 7
    assert policy["circuit_breakers"]["thresholds"][0]["max_retries"] == 9
    assert policy["outlier_detection"] == {"consecutive_5xx": 5, "interval": "1s"}


def test_translating_changes_nothing_in_what_was_given():
    manifests = objects({OLD: 900, NEW: 100})
    before = copy.deepcopy(manifests)
    translate(manifests, "shop")
    assert manifests == before


SPLIT = ("spec", "http", -1)
STRANGERS = [
    (("spec",), "exportTo", ["."], "VirtualService/shop: spec.exportTo"),
    (("metadata",), "finalizers", [], "metadata.finalizers"),
    (SPLIT, "fault", {"abort": {}}, "VirtualService/shop: spec.http[2].fault"),
    (SPLIT, "mirror", {"host": "shop"}, "spec.http[2].mirror"),
    ((*SPLIT, "route", 0), "weigth", 3, "spec.http[2].route[0].weigth"),
    ((*SPLIT, "route", 0, "destination"), "port", {"number": 80}, "spec.http[2].route[0].destination.port"),
    ((*SPLIT, "retries"), "backoff", "1s", "spec.http[2].retries.backoff"),
    (("spec", "http", 0, "match", 0), "sourceLabels", {}, "spec.http[0].match[0].sourceLabels"),
    (("spec", "http", 0, "match", 0, "headers", "x-meshctl-preview"), "suffix", "x", "x-meshctl-preview.suffix"),
]


@pytest.mark.parametrize(("where", "field", "value", "named"), STRANGERS, ids=[entry[3] for entry in STRANGERS])
def test_an_unknown_field_is_refused_with_object_path_and_what_is_allowed(where, field, value, named):
    manifests = objects({OLD: 990, NEW: 10})
    here: Any = manifests[0]
    for step in where:
        here = here[step]
    here[field] = value
    with pytest.raises(InvalidInput) as caught:
        translate(manifests, "shop")
    assert named in str(caught.value)
    assert "Allowed here:" in str(caught.value)


@pytest.mark.parametrize("policy", [{"tls": {}}, {"loadBalancer": {"consistentHash": {}}}, {"portLevelSettings": []}])
def test_an_unknown_traffic_policy_is_refused_by_name(policy):
    manifests = objects({OLD: 1000})
    manifests[1]["spec"]["subsets"][0]["trafficPolicy"] = policy
    with pytest.raises(InvalidInput, match=r"DestinationRule/shop: spec\.subsets\[0\]\.trafficPolicy\."):
        translate(manifests, "shop")


@pytest.mark.parametrize("protocol", ["tcp", "tls"])
def test_other_protocols_are_refused_by_name(protocol):
    manifests = objects({OLD: 1000})
    manifests[0]["spec"][protocol] = []
    with pytest.raises(InvalidInput, match=f"{protocol.upper()} routes are not possible"):
        translate(manifests, "shop")


WRONG = [
    ({"route": [{"destination": {"host": "shop", "subset": "v2-0-0"}, "weight": 999}]}, "sum to 999"),
    ({"route": [{"destination": {"host": "shop", "subset": "v9"}}]}, "no subset 'v9'"),
    ({"route": [{"destination": {"host": "cart", "subset": "v2-0-0"}}]}, "not the service 'shop'"),
    ({"route": [{"destination": {"host": "shop", "subset": "v2-0-0"}, "weight": 0.5}]}, "whole number"),
    ({"timeout": "2"}, "expected a duration"),
    ({"retries": {"attempts": 1, "retryOn": "whenever"}}, "unknown condition 'whenever'"),
    ({"match": [{"uri": {"prefix": "/a"}}]}, "no route is for everybody"),
]


@pytest.mark.parametrize(("route", "found"), WRONG, ids=[entry[1] for entry in WRONG])
def test_a_wrong_value_is_refused_with_what_was_found(route, found):
    with pytest.raises(InvalidInput, match=found):
        translate(objects({OLD: 1000}, **route), "shop")


def test_anything_but_the_two_objects_is_refused():
    manifests = objects({OLD: 1000})
    with pytest.raises(InvalidInput, match="exactly one DestinationRule, found 0"):
        translate(manifests[:1], "shop")
    stranger = {"apiVersion": "v1", "kind": "Secret"}
    with pytest.raises(InvalidInput, match="found VirtualService, DestinationRule, Secret"):
        translate([*manifests, stranger], "shop")
    manifests[0]["apiVersion"] = "networking.istio.io/v1beta1"
    with pytest.raises(InvalidInput, match=r"VirtualService/shop: apiVersion: expected networking\.istio\.io/v1"):
        translate(manifests, "shop")
