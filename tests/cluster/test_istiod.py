"""What istiod tells of itself, in this version: who took which routes, and who may ask.  `docs/cluster-tier.md`."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.cluster.addresses import ISTIOD_DEBUG_URL, ISTIOD_SERVICE, SYSTEM
from tests.cluster.waiting import eventually

ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
BY_SERVICE = f"http://{ISTIOD_SERVICE}:15014/debug"
AUDIENCE = "istio-ca"


def status_of(path, token=""):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{BY_SERVICE}/{path}", headers=headers, trust_env=False).status_code


@pytest.fixture
def proxy_of(cluster):
    def look(name):
        return next(one for one in cluster.istiod_debug("syncz") if one["proxy"] == name)

    return look


def test_configz_has_the_resource_version_that_istiod_read(empty_shop):
    def known():
        found = [one for one in empty_shop.cluster.istiod_debug("configz") if one["kind"] == "VirtualService"]
        return {one["metadata"]["namespace"]: one["metadata"]["resourceVersion"] for one in found}

    empty_shop.route({"v1": 90, "v2": 10})
    where = ("networking.istio.io/v1", "VirtualService", "shop", empty_shop.namespace)
    assert known()[empty_shop.namespace] == empty_shop.api.get(*where)["metadata"]["resourceVersion"]
    empty_shop.route({"v1": 80, "v2": 20}, wait=False)
    version = empty_shop.api.get(*where)["metadata"]["resourceVersion"]
    eventually(lambda: known()[empty_shop.namespace] == version, 10, "istiod has read it")


def test_syncz_shows_another_acknowledged_nonce_once_a_proxy_has_another_weight(empty_shop, proxy_of):
    empty_shop.route({"v1": 90, "v2": 10})
    before = proxy_of("edge-0.istio-system")
    empty_shop.route({"v1": 80, "v2": 20})
    after = eventually(
        lambda: (found := proxy_of("edge-0.istio-system"))["route_sent"] == found["route_acked"] and found,
        10,
        "the gateway has acknowledged its routes",
    )
    assert after["route_acked"] != before["route_acked"]
    assert after["resources"][ROUTES]["acked"] == after["route_acked"]


def test_the_nonce_is_the_version_of_the_push_and_a_uuid_and_config_dump_names_the_last_push(
    empty_shop, cluster, proxy_of
):
    empty_shop.route({"v1": 90, "v2": 10})
    routes_of, last = proxy_of("edge-0.istio-system")["route_acked"][:-36], _last_push(cluster)
    number = {version: int(re.fullmatch(r"[-0-9T:]+Z/(\d+)", version)[1]) for version in (routes_of, last)}
    assert number[routes_of] <= number[last]


def _last_push(cluster):
    dump = cluster.istiod_debug("config_dump?proxyID=edge-0.istio-system")
    routes = next(one for one in dump["configs"] if one["@type"].endswith(".RoutesConfigDump"))
    return routes["dynamicRouteConfigs"][0]["versionInfo"]


def test_only_loopback_and_the_system_namespace_may_ask_istiod_for_everything(cluster):
    system = cluster.api.token_for(SYSTEM, "default", audience=AUDIENCE)
    other = cluster.api.token_for("default", "default", audience=AUDIENCE)
    usual = cluster.api.token_for(SYSTEM, "default")
    answers = {
        "loopback": httpx.get(f"{ISTIOD_DEBUG_URL}/debug/syncz", trust_env=False).status_code,
        "no token": status_of("syncz"),
        "a token for the API server": status_of("syncz", usual),
        "istio-system": status_of("syncz", system),
        "another namespace": status_of("syncz", other),
        "another namespace, a proxy of its own": status_of("config_dump?proxyID=client-0.default", other),
        "another namespace, another's proxy": status_of("config_dump?proxyID=edge-0.istio-system", other),
    }
    assert answers == {
        "loopback": 200,
        "no token": 401,
        "a token for the API server": 401,
        "istio-system": 200,
        "another namespace": 403,
        "another namespace, a proxy of its own": 200,
        "another namespace, another's proxy": 404,
    }
