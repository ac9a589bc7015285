"""Bad input on a real cluster: one message, the documented exit code, nothing changed.  Nothing beyond a namespace."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cluster.api import Refused
from tests.cluster.driven import ISTIO, MESHCTL, World
from tests.cluster.relay import Answer
from tests.cluster.shop import Shop
from tests.cluster.waiting import eventually

NO_SUCH_KIND = Answer(404, b"404 page not found\n", {"content-type": "text/plain; charset=utf-8"})


@pytest.fixture(scope="module")
def world(cluster):
    shop = Shop(cluster, "bad-input")
    shop.deploy("v1", 1)
    world = World(shop)
    world.wish("v1")
    with world.driver():
        world.promoted("v1")
    yield world
    world.close()
    shop.remove()


@pytest.fixture(autouse=True)
def unchanged(world):
    """Whatever a test of this module says, the routes stay as they are."""
    before = world.routes
    yield
    world.kubernetes.honest()
    world.prometheus.honest()
    assert world.routes["spec"] == before["spec"]
    assert world.routes["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def meshctl(world, *words, kubeconfig=None):
    """Exit code and what is said of a command of the driver's account."""
    command = world.command(*words)
    command = [str(kubeconfig) if kubeconfig and word == str(world.kubeconfig) else word for word in command]
    if "-A" in words or "-n" in words:
        at = len(command) - 1 - command[::-1].index("-n")
        del command[at : at + 2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def only(said, *words):
    """One message, with all these words."""
    lines = [line for line in said.splitlines() if line and not line.startswith(" ")]
    assert sum(line.startswith(("error", "Error")) for line in lines) <= 1, said
    for word in words:
        assert word in said, said


def as_somebody(world, name="nobody"):
    """An account without any right."""
    world.shop.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    return world.cluster.kubeconfig_for(world.shop.namespace, name)


def test_who_has_no_permission_is_told_what_is_missing(world):
    code, said = meshctl(world, "tick", kubeconfig=as_somebody(world))
    assert code == 15, said
    only(said, "nobody", "releases")


def test_without_crds_the_remedy_is_named(world):
    world.kubernetes.before = lambda method, path: NO_SUCH_KIND if path.startswith("/apis/meshctl.dev") else None
    code, said = meshctl(world, "tick")
    assert code == 16, said
    only(said, "meshctl install")


def test_an_api_server_that_is_not_there_is_named(world, tmp_path):
    config = json.loads(world.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://10.96.0.99:6443"
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    code, said = meshctl(world, "tick", kubeconfig=file)
    assert code == 14, said
    only(said, "10.96.0.99:6443")


def test_a_context_that_does_not_exist_is_named_beside_those_that_do(world):
    code, said = meshctl(world, "tick", "--context", "clutser")
    assert code == 2, said
    only(said, "clutser", "cluster")


def test_a_token_that_is_no_longer_good_is_told_from_a_missing_right(world):
    file = as_somebody(world, "gone")
    world.cluster.api.delete("v1", "ServiceAccount", "gone", world.shop.namespace)

    def refused():
        code, said = meshctl(world, "tick", kubeconfig=file)
        return said if code == 15 and "401" in said else ""

    only(eventually(refused, 30, "it is refused"), "does not accept our credentials")


def test_the_account_of_a_namespaced_installation_cannot_touch_the_next_namespace(world, namespace):
    namespace.route({"v1": 100, "v2": 0})
    before = world.cluster.api.get(ISTIO, "VirtualService", "shop", namespace.namespace)
    api = world.cluster.api_as(world.shop.namespace, "meshctl")
    for act in (
        lambda: api.patch(ISTIO, "VirtualService", "shop", namespace.namespace, {"spec": {"http": []}}),
        lambda: api.delete(ISTIO, "DestinationRule", "shop", namespace.namespace),
        lambda: api.get("v1", "Secret", "any", world.shop.namespace),
        lambda: api.list(MESHCTL, "Release", namespace.namespace),
        lambda: api.list(MESHCTL, "Release"),
    ):
        with pytest.raises(Refused) as refusal:
            act()
        assert refusal.value.status == 403
    api.close()
    for words in (["tick", "-A"], ["tick", "-n", namespace.namespace]):
        code, said = meshctl(world, *words)
        assert code == 15, said
        only(said, "releases")
    with namespace.load(rps=50) as load:
        load.wait_for(50)
    assert load.counts().failed == 0
    after = world.cluster.api.get(ISTIO, "VirtualService", "shop", namespace.namespace)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_release_that_names_a_host_of_the_next_namespace_is_refused_and_moves_nothing(world, namespace):
    namespace.route({"v1": 100, "v2": 0})
    world.wish("v2", mesh={"hosts": ["shop", namespace.host]})
    meshctl(world, "tick")
    status = world.person.status()
    world.wish("v1")
    meshctl(world, "tick")
    assert namespace.host in json.dumps(status), status
    assert status["baseline"] == "v1"
    assert namespace.gateway_weights() == {"v1": 100}
