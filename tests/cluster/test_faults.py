"""Every program can be killed, ended or frozen, requests flow on, and everything follows everything again."""

from __future__ import annotations

import httpx
import pytest

from tests.cluster.api import Refused
from tests.cluster.process import NOT_YET
from tests.cluster.waiting import eventually

AWAY = (*NOT_YET, Refused)


@pytest.fixture
def flowing(namespace):
    namespace.route({"v1": 100, "v2": 0})
    with namespace.load(rps=50) as load:
        yield namespace, load
    assert not load.counts().causes


@pytest.mark.parametrize("name", ["etcd", "api_server", "istiod"])
def test_the_control_plane_dies_and_comes_back_while_requests_flow(flowing, name):
    shop, load = flowing
    getattr(shop.cluster, name).kill()
    load.wait_for(50)
    shop.cluster.heal()
    shop.route({"v1": 0, "v2": 100})
    load.wait_for(50)


def test_an_api_server_that_hangs_answers_nobody_and_goes_on_afterwards(flowing):
    shop, load = flowing
    shop.cluster.api_server.freeze()
    with pytest.raises(httpx.TimeoutException):
        httpx.get("https://10.96.0.1/livez", verify=False, trust_env=False, timeout=0.5)
    load.wait_for(25)
    shop.cluster.api_server.thaw()
    eventually(shop.api.is_ready, 20, "the API server serves again", despite=AWAY)


def test_prometheus_hangs_and_dies_and_keeps_what_it_had(flowing):
    shop, _ = flowing
    prometheus = shop.cluster.prometheus
    of_shop = f'sum(istio_requests_total{{destination_service="{shop.host}"}})'
    before = eventually(lambda: prometheus.value(of_shop), 20, "requests are in Prometheus")
    prometheus.freeze()
    with pytest.raises(httpx.TimeoutException):
        httpx.get(f"{prometheus.url}/-/ready", trust_env=False, timeout=0.5)
    prometheus.thaw()
    prometheus.restart()
    eventually(lambda: prometheus.value(of_shop) > before, 20, "Prometheus reads on", despite=AWAY)


def test_a_gateway_that_is_killed_counts_from_zero_and_gets_its_routes_again(namespace):
    namespace.route({"v1": 50, "v2": 50})
    with namespace.load(rps=50) as load:
        load.wait_for(50)
        namespace.cluster.gateway.kill()
        namespace.cluster.heal()
        namespace.wait_weights({"v1": 50, "v2": 50})
        failed = load.counts().failed
        load.wait_for(50)
    assert load.counts().failed_by_mesh == load.counts().failed
    assert load.counts().failed - failed < 50


def test_a_node_that_dies_starts_its_pods_again(namespace):
    namespace.cluster.nodelet.kill()
    namespace.cluster.heal()
    namespace.deploy("v1", replicas=1)
    namespace.route({"v1": 50, "v2": 50})
    with namespace.load(rps=50) as load:
        load.wait_for(50)
    assert load.counts().version("v2").requests > 0
