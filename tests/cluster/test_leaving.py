"""Deleting, uninstalling and upgrading while a release is on its way: no request goes elsewhere unasked.

Elsewhere such moments hurt: deleting a Canary takes the routes with it, and users get errors (flagger #1562).
"""

from __future__ import annotations

import pytest

from tests.cluster.installed import SETTINGS, administrator, installed, manifests
from tests.cluster.waiting import eventually

GROUP = "meshctl.dev/v1alpha1"
ISTIO = "networking.istio.io/v1"
MANUAL = {"{weight: 10, minDuration: 5s, maxDuration: 10m}": "{weight: 10, gate: manual, minDuration: 2s}"}


@pytest.fixture
def person(namespace):
    return administrator(namespace)


@pytest.fixture
def words(namespace):
    return ["--namespaced", "-n", namespace.namespace, "--replicas=1", *SETTINGS]


@pytest.fixture
def at_ten(cluster, namespace, person, words):
    """A candidate waits at 10 % for a person; requests flow."""
    with installed(cluster, *words):
        person.release("v1")
        person.until(120, phase="Promoted", baseline="v1")
        with namespace.load(rps=50) as load:
            load.wait_for(100)
            person.release("v2", **MANUAL)
            person.until(120, reason="ManualGate", confirmed=10)
            yield load


def weights(shop):
    return {version: weight for version, weight in shop.gateway_weights().items() if weight}


def unmoved(shop, load):
    """Traffic stays as it is for a while, and nothing fails because of it."""
    before = load.counts()
    for _ in range(10):
        assert weights(shop) == {"v1": 900, "v2": 100}
        load.wait_for(20)
    after = load.counts()
    assert after.failed == before.failed
    arms = {
        name: arm.requests - (before.replicas[name].requests if name in before.replicas else 0)
        for name, arm in after.replicas.items()
    }
    candidate = sum(count for name, count in arms.items() if "v2" in name)
    assert candidate < 0.3 * sum(arms.values())


def test_routes_stay_as_they_are_when_their_release_is_deleted_in_the_middle(at_ten, namespace, person):
    namespace.api.delete(GROUP, "Release", "shop", namespace.namespace)
    eventually(
        lambda: not namespace.api.list(GROUP, "ReleaseRun", namespace.namespace), 30, "its records have gone with it"
    )
    unmoved(namespace, at_ten)
    for kind in ("VirtualService", "DestinationRule"):
        found = namespace.api.get(ISTIO, kind, "shop", namespace.namespace)
        assert found["metadata"]["labels"]["meshctl.dev/release"] == "shop"
    namespace.cluster.kubectl(
        *("-n", namespace.namespace, "delete", "virtualservice,destinationrule", "-l", "meshctl.dev/release=shop")
    )
    assert namespace.api.list(ISTIO, "VirtualService", namespace.namespace) == []


def test_routes_stay_as_they_are_when_everything_of_meshctl_is_uninstalled(at_ten, cluster, namespace, words):
    text = manifests(*words)
    cluster.kubectl("delete", "--wait=true", "-f", "-", given=text)
    try:
        assert "releases.meshctl.dev" not in cluster.kubectl("get", "crds", "-o", "name")
        unmoved(namespace, at_ten)
    finally:
        cluster.kubectl("apply", "--server-side", "-f", "-", given=manifests("--crds=only"))
        cluster.kubectl("wait", "--for=condition=Established", "crd/releases.meshctl.dev")


def test_an_upgrade_in_the_middle_goes_on_where_the_old_controller_stood(at_ten, cluster, namespace, person, words):
    def running():
        found = namespace.api.list("v1", "Pod", namespace.namespace, labelSelector="app.kubernetes.io/name=meshctl")
        return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}

    before = running()
    cluster.kubectl("-n", namespace.namespace, "rollout", "restart", "deployment/meshctl")
    eventually(lambda: running() and not running() & before, 60, "another controller is there")
    unmoved(namespace, at_ten)
    assert "is opened by" in person.says("promote", "shop", "--reason", "the new controller serves")
    person.until(180, phase="Promoted", baseline="v2")
    assert at_ten.counts().failed == 0


def test_an_abort_needs_no_controller_and_is_written_down_by_the_next(cluster, namespace, person, words):
    with installed(cluster, *words):
        person.release("v1")
        person.until(120, phase="Promoted", baseline="v1")
        load = namespace.start_load(rps=50)
        person.release("v2", **MANUAL)
        person.until(120, reason="ManualGate", confirmed=10)
    said = person.says("abort", "shop", "--reason", "empty carts")
    assert "v2 is taken back to 0 %" in said
    eventually(lambda: weights(namespace) == {"v1": 1000}, 5, "the gateway sends nothing to it any more")
    with installed(cluster, *words):
        person.until(60, phase="RolledBack", reason="Aborted")
    (told,) = person.status()["requests"]
    assert (told["verb"], told["accepted"]) == ("abort", True)
    assert load.stop().failed == 0


def test_an_installation_for_one_namespace_does_nothing_in_the_next(cluster, namespace, person, words):
    other = f"{namespace.namespace}-next"
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    try:
        with installed(cluster, *words):
            release = {"apiVersion": GROUP, "kind": "Release", "metadata": {"name": "shop"}}
            cluster.api.apply({**release, "spec": {"version": "v1", "service": "shop"}}, other)
            person.release("v1")
            person.until(120, phase="Promoted", baseline="v1")
            assert "status" not in cluster.api.get(GROUP, "Release", "shop", other)
            assert cluster.api.list(ISTIO, "VirtualService", other) == []
    finally:
        cluster.api.delete("v1", "Namespace", other)
