"""The tier itself: what a test on the control plane may rely on."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cluster.api import Refused
from tests.cluster.waiting import eventually

UP_WITHIN_S = 15.0
LABELS = {
    "reporter",
    "source_workload",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_version",
    "destination_workload",
    "destination_workload_namespace",
    "response_code",
    "response_flags",
}


def test_the_control_plane_is_up_in_time(cluster):
    busy = cluster.load_before > (os.cpu_count() or 1)
    assert busy or cluster.started_in_s < UP_WITHIN_S


def test_a_weight_that_is_written_moves_real_requests_between_real_processes(namespace):
    namespace.route({"v1": 100, "v2": 0})
    with namespace.load(rps=100) as load:
        load.wait_for(100)
        assert load.counts().version("v2").requests == 0
        namespace.route({"v1": 0, "v2": 100})
        before = load.counts().version("v2").requests
        load.wait_for(100)
        moved = load.counts().version("v2").requests - before
    assert moved >= 90
    assert load.counts().failed == 0


def test_a_sidecar_follows_the_same_weights_as_the_gateway(namespace):
    namespace.route({"v1": 50, "v2": 50})
    with namespace.load(rps=100, via="sidecar") as load:
        load.wait_for(200)
    counts = load.counts()
    assert counts.failed == 0
    assert 60 <= counts.version("v2").requests * 200 / counts.requests <= 140


def test_istiod_refuses_what_is_invalid(empty_shop):
    with pytest.raises(Refused) as refused:
        empty_shop.route({"v1": -1, "v2": 101}, wait=False)
    assert "weight" in refused.value.message


def test_prometheus_has_istios_metrics_with_istios_labels(namespace):
    prometheus = namespace.cluster.prometheus
    namespace.deploy("v2", ERRORS=1)
    namespace.route({"v1": 50, "v2": 50})
    with namespace.load(rps=50) as load:
        load.wait_for(100)
        of_v2 = f'istio_requests_total{{destination_service="{namespace.host}",destination_version="v2"}}'
        found = eventually(lambda: prometheus.query(of_v2), 20, "v2's requests are in Prometheus")[0]["metric"]
    assert found.keys() >= LABELS
    assert (found["response_code"], found["response_flags"], found["reporter"]) == ("500", "-", "source")
    assert found["destination_workload"] == "shop-v2"
    buckets = f'istio_request_duration_milliseconds_bucket{{destination_service="{namespace.host}"}}'
    histogram = eventually(lambda: prometheus.query(buckets), 20, "the buckets are in Prometheus")
    assert {one["metric"]["destination_version"] for one in histogram} == {"v1", "v2"}


def test_a_request_that_reaches_no_pod_is_counted_with_its_flag_and_without_a_version(namespace):
    prometheus = namespace.cluster.prometheus
    namespace.deploy("v2", replicas=0)
    namespace.route({"v1": 0, "v2": 100})
    with namespace.load(rps=50) as load:
        load.wait_for(50)
        query = f'istio_requests_total{{destination_service="{namespace.host}",response_flags="UH"}}'
        found = eventually(lambda: prometheus.query(query), 20, "the failures are in Prometheus")[0]["metric"]
    assert found["destination_version"] == "unknown"
    assert load.counts().failed_by_mesh == load.counts().failed > 0


def test_a_pod_that_dies_is_restarted_in_its_place(namespace):
    name = namespace.pods("v1")[0]["metadata"]["name"]
    namespace.signal_pod(name, signal.SIGKILL)

    def restarted():
        pod = next(pod for pod in namespace.pods("v1") if pod["metadata"]["name"] == name)
        status = pod["status"]["containerStatuses"][0]
        return status["ready"] and status["restartCount"] == 1 and status["lastState"]["terminated"]["exitCode"] == 137

    eventually(restarted, 15, "the pod is ready again")


def test_the_api_server_is_killed_and_comes_back_while_requests_flow(namespace):
    namespace.route({"v1": 100, "v2": 0})
    with namespace.load(rps=50) as load:
        namespace.cluster.api_server.kill()
        load.wait_for(50)
        namespace.cluster.api_server.start()
        namespace.cluster.api_server.ready()
        eventually(lambda: not namespace.route({"v1": 0, "v2": 100}), 20, "istiod is back", despite=(Refused,))
    assert load.counts().failed == 0
