"""A whole release on the real control plane, driven by what ``meshctl install`` prints and by nobody else.

The controller and the CronJob run as pods with the least-privilege account of the installation; requests flow all the
time and are counted on the client's side.
"""

from __future__ import annotations

import pytest

from tests.cluster.installed import SETTINGS, administrator, installed
from tests.cluster.waiting import eventually


@pytest.fixture
def person(namespace):
    return administrator(namespace)


@pytest.fixture(params=["controller", "cronjob"])
def driven(request, cluster, namespace):
    """Somebody who drives the releases of this namespace, with no right beyond it."""
    words = ["--mode", request.param, "--namespaced", "-n", namespace.namespace, "--replicas=1", *SETTINGS]
    with installed(cluster, *words):
        yield request.param
        for pod in cluster.api.list("v1", "Pod", namespace.namespace):
            if pod["metadata"]["name"].startswith("meshctl"):
                print(namespace.logs(pod["metadata"]["name"]))


def sole(shop, version):
    """Whether the gateway sends everything to one version."""
    weights = {each: weight for each, weight in shop.gateway_weights().items() if weight}
    return set(weights) == {version}


def test_a_good_version_goes_to_all_users_and_a_bad_one_is_taken_back(namespace, person, driven):
    person.release("v1")
    person.until(180, phase="Promoted", baseline="v1")
    eventually(
        lambda: sole(namespace, "v1"), 20, "the routes are there", detail=lambda: f"{namespace.gateway_weights()}"
    )
    with namespace.load(rps=100) as load:
        load.wait_for(200)
        person.release("v2")
        assert person.run("wait", "shop", "--timeout", "5m", timeout_s=400).returncode == 0
        assert person.status()["baseline"] == "v2"
        assert sole(namespace, "v2")
        namespace.deploy("v3", ERRORS=0.3)
        person.release("v3")
        assert person.run("wait", "shop", "--timeout", "5m", timeout_s=400).returncode == 10
        load.wait_for(100)
    assert person.status()["reason"] in ("Regression", "Guard")
    assert sole(namespace, "v2")
    counts = load.counts()
    assert counts.failed_by_mesh == 0, counts
    assert "the same" in person.says("replay", "shop-3")
