"""The mesh on the real control plane: weights move real requests, what is confirmed is so in the proxies."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshctl.adapters.background import Background
from meshctl.adapters.clock import SystemClock
from meshctl.adapters.istio.confirm import FirstReadable
from meshctl.adapters.istio.istiod import Istiod
from meshctl.adapters.istio.proxies import ProxyAcknowledgements
from meshctl.adapters.istio.share import ObservedShare
from meshctl.adapters.istio.wayback import lower_routes
from meshctl.adapters.kubernetes.access import connect
from meshctl.adapters.prometheus import PrometheusMetrics, PrometheusSettings, Transport
from meshctl.adapters.secrets import Secrets
from meshctl.core.errors import Forbidden, Refused, Unreachable
from meshctl.core.model import Ownership, Routing
from tests.cluster.addresses import ISTIOD_SERVICE, PROMETHEUS_URL
from tests.cluster.cluster import Cluster
from tests.cluster.mesh_world import ISTIO, NEW, OLD, MeshWorld, front, install_definitions
from tests.cluster.second import PROXY as SECOND_PROXY
from tests.cluster.second import URL as SECOND_URL
from tests.cluster.second import second_replica
from tests.cluster.shop import Shop
from tests.cluster.waiting import eventually, patience

CHI_SQUARE_AT_1E6 = 23.9
"""One degree of freedom, p = 1e-6: a right split fails once in a million runs."""
GENERATED, DELEGATE, ADOPT = Ownership.GENERATED, Ownership.DELEGATE, Ownership.ADOPT
LOOK_MAX_S = 6.0
"""No look at a mesh takes longer, whatever is wrong with it."""
WRITE_MAX_S = 30.0
"""No write does either: the budget of a call to the API server, twice."""


@pytest.fixture
def untouched(cluster: Cluster, namespace: Shop) -> Iterator[Callable[..., MeshWorld]]:
    """``untouched(ownership)`` is a release that has no routes of its own yet."""
    install_definitions(cluster)
    made: list[MeshWorld] = []

    def make(ownership: Ownership, **options: Any) -> MeshWorld:
        made.append(MeshWorld(namespace, ownership, **options))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def release(untouched: Callable[..., MeshWorld]) -> Callable[[Ownership], MeshWorld]:
    """``release(ownership)`` has both versions known, everything goes to the old one, and that is in effect."""

    def begin(ownership: Ownership) -> MeshWorld:
        world = untouched(ownership)
        world.begin()
        return world

    return begin


def assert_split(counts, before, weight: float) -> None:
    """Whether requests since ``before`` split as the weight (percent of the new version) says."""
    old = counts.version(OLD).requests - before.version(OLD).requests
    new = counts.version(NEW).requests - before.version(NEW).requests
    expected = (old + new) * weight / 100
    assert (new - expected) ** 2 / expected + (new - expected) ** 2 / (old + new - expected) < CHI_SQUARE_AT_1E6


@pytest.mark.parametrize("ownership", list(Ownership))
def test_requests_follow_every_weight_and_none_fails(release, ownership):
    world = release(ownership)
    with world.shop.load(rps=150) as load:
        for weight in (10.0, 50.0):
            world.move(weight)
            before = load.counts()
            assert_split(load.wait_for(400), before, weight)
        world.arrive(world.lower())
        load.wait_for(20)
        before = load.counts()
        after = load.wait_for(200)
        assert after.version(NEW).requests == before.version(NEW).requests
        assert world.live().aborted
    assert load.counts().failed == 0


@pytest.mark.parametrize("ownership", list(Ownership))
def test_what_is_confirmed_is_what_every_envoy_has(release, ownership):
    """Compared with each Envoy's own dump of its configuration, while istiod pushes other things all the time."""
    world = release(ownership)
    with Noise(world.shop):
        for weight in (1.0, 10.0, 50.0, 10.0, 80.0, 0.1, 100.0, 0.0, 33.3):
            # Amidst so much noise a proxy may not have a subset in time: then it is refused, and tried again.
            revision = eventually(
                lambda weight=weight: world.apply(weight), 20, f"{weight} % is written", despite=(Refused,)
            )
            wanted = {OLD: round(1000 - weight * 10), NEW: round(weight * 10)}
            wanted = {version: share for version, share in wanted.items() if share}
            eventually(lambda revision=revision: world.mesh.confirm(world.release, revision, 0.5), 20, f"{weight} %")
            gateway, sidecar = world.in_envoys()
            assert gateway == wanted
            if ownership is not GENERATED:
                assert sidecar == wanted, "the generated routes are for the gateway alone"


class Noise:
    """Somebody else's routes that change as fast as they can."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._over = shop, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._over.wait(0.03):
            number += 1
            route = [{"destination": {"host": "elsewhere.example"}}]
            spec = {
                "hosts": [f"noise-{self._shop.namespace}.example"],
                "http": [{"timeout": f"{number}s", "route": route}],
            }
            noise = {"apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "noise"}, "spec": spec}
            self._shop.apply(noise)


@pytest.mark.parametrize("ownership", list(Ownership))
def test_lowering_is_in_every_envoy_within_a_second(release, ownership):
    world = release(ownership)
    taken_s = []
    for number in range(5):
        world.move(50.0, run=f"shop-{number + 1}")
        anna = connect(str(world.shop.cluster.kubeconfig))
        began = time.monotonic()
        assert lower_routes(anna, world.release, f"shop-{number + 1}")
        eventually(lambda: all(NEW not in shares for shares in world.in_envoys()), 5, "no Envoy has the candidate")
        taken_s.append(time.monotonic() - began)
    assert sorted(taken_s)[len(taken_s) // 2] < 1.0 * patience(), taken_s


def test_of_an_adopted_object_nothing_but_weights_changes_and_a_foreign_hand_survives(release):
    """argo-rollouts #3854: whoever writes a VirtualService whole takes it over, and every later change of its owner
    in Git is hidden or lost; #4741: of several named routes only some were moved, and nobody said so."""
    world = release(ADOPT)
    before = _theirs(world.service)
    world.move(10.0)
    shares = [[each["weight"] for each in route["route"]] for route in world.service["spec"]["http"]]
    assert shares == [[900, 100], [900, 100], [100]]
    assert _theirs(world.service) == before
    patch = {"op": "replace", "path": "/spec/http/1/retries/attempts", "value": 4}
    world.edit_service([patch, {"op": "add", "path": "/spec/http/2/timeout", "value": "9s"}])
    world.move(50.0)
    world.arrive(world.lower())
    http = world.service["spec"]["http"]
    assert (http[1]["retries"]["attempts"], http[2]["timeout"]) == (4, "9s")
    before["spec"]["http"][1]["retries"]["attempts"] = 4
    before["spec"]["http"][2]["timeout"] = "9s"
    assert _theirs(world.service) == before
    owners = {entry["manager"] for entry in world.service["metadata"]["managedFields"]}
    assert "argocd-controller" in owners


def _theirs(service):
    """Everything but the weights of the named routes, marks of meshctl's own and what the API server counts."""
    rest = copy.deepcopy(service)
    for key in ("resourceVersion", "generation", "managedFields", "annotations"):
        rest["metadata"].pop(key, None)
    for route in rest["spec"]["http"][:2]:
        for each in route["route"]:
            each.pop("weight")
    return rest


def test_generated_objects_belong_to_the_release_by_one_manager_alone(release):
    world = release(GENERATED)
    for kind in ("VirtualService", "DestinationRule"):
        meta = world.shop.api.get(ISTIO, kind, "shop", world.shop.namespace)["metadata"]
        assert meta["labels"]["meshctl.dev/release"] == "shop"
        assert "ownerReferences" not in meta
        managers = {(entry["manager"], entry["operation"]) for entry in meta["managedFields"]}
        assert managers == {("meshctl-controller", "Apply")}


def test_a_foreign_object_of_the_same_name_is_refused_at_first_contact(untouched, namespace):
    namespace.route({OLD: 100, NEW: 0})
    world = untouched(GENERATED)
    with pytest.raises(Refused, match="not meshctl's: written by test"):
        world.begin()
    assert namespace.gateway_weights() == {OLD: 100}


def test_a_delegate_without_a_root_is_never_in_effect(untouched, namespace):
    world = untouched(DELEGATE)
    namespace.api.delete(ISTIO, "VirtualService", "front", namespace.namespace)
    revision = world.mesh.apply(world.release, world.render(Routing(OLD, None, 0.0, "shop-0")))
    assert not world.mesh.confirm(world.release, revision, 1.0)
    assert "no VirtualService delegates to" in world.live().lacks
    namespace.apply(front(namespace))
    eventually(lambda: world.live().in_effect, 20, "the root is seen")


# ------------------------------------------------------------------------------------ nothing fails


@pytest.mark.parametrize("ownership", [GENERATED, DELEGATE])
def test_no_request_fails_when_versions_come_and_go(release, ownership):
    """argo-rollouts #4775: a burst of UH on a revision that supersedes another; #4195: NC at the end or an abort,
    when a subset is taken away before every proxy has ceased to route to it."""
    world = release(ownership)
    world.shop.deploy("v3")
    with world.shop.load(rps=150) as gateway, world.shop.load(rps=50, via="sidecar"):
        world.move(10.0)
        world.arrive(world.lower())
        world.move(0.0, new="v3", run="shop-2")
        world.move(10.0, new="v3", run="shop-2")
        world.move(100.0, new="v3", run="shop-2")
        promoted = world.render(Routing("v3", OLD, 0.0, "shop-2"))
        world.arrive(
            world.mesh.apply(
                world.release, promoted, fallback=world.render(Routing(OLD, "v3", 0.0, "shop-2", aborted=True))
            )
        )
        world.arrive(world.lower("shop-2"))
        world.arrive(world.mesh.apply(world.release, world.render(Routing(OLD, None, 0.0, "shop-2", aborted=True))))
        gateway.wait_for(100)
    assert gateway.counts().failed == 0
    rule = world.shop.api.get(ISTIO, "DestinationRule", "shop", world.shop.namespace)
    assert [subset["name"] for subset in rule["spec"]["subsets"]] == [OLD]


def test_no_request_fails_when_a_service_without_routes_gets_its_first_ones(untouched, namespace):
    """argo-rollouts #587, #2507: the first deploy is where routes and subsets appear at once."""
    with namespace.load(rps=100, via="sidecar") as load:
        world = untouched(DELEGATE)
        world.begin()
        load.wait_for(200)
        before = load.counts()
        load.wait_for(100)
        assert load.counts().version(NEW).requests == before.version(NEW).requests
    assert load.counts().failed == 0


def test_traffic_is_not_sent_to_pods_that_are_not_ready(release):
    world = release(GENERATED)
    world.shop.deploy(NEW, replicas=0)
    eventually(lambda: not world.shop.ready_addresses(NEW), 20, "no pod of the candidate is left")
    before = world.service
    with pytest.raises(Refused, match="no ready pod"):
        world.apply(10.0)
    assert world.service["spec"] == before["spec"]


# ------------------------------------------------------------------------------------ who is away


def look(world: MeshWorld):
    """A look that holds nobody up."""
    began = time.monotonic()
    live = world.live()
    assert time.monotonic() - began < LOOK_MAX_S * patience()
    return live


def test_a_proxy_that_does_not_answer_is_named_and_holds_nobody_up(release):
    world = release(DELEGATE)
    world.move(10.0)
    world.shop.cluster.sidecar.freeze()
    revision = world.apply(20.0)
    assert not world.mesh.confirm(world.release, revision, 2.0)
    live = look(world)
    assert (live.weights[NEW], live.in_effect) == (20.0, False)
    assert live.lacks == "not acknowledged by client-0.default"
    assert world.lower(), "a way back waits for nobody"
    world.shop.cluster.sidecar.thaw()
    eventually(lambda: look(world).in_effect, 30, "the proxy has caught up")


def test_a_first_weight_is_not_written_while_a_proxy_may_not_know_the_subset(release):
    world = release(DELEGATE)
    world.shop.deploy("v3")
    world.shop.cluster.sidecar.freeze()
    world.apply(0.0, new="v3", run="shop-2")
    with pytest.raises(Refused, match=r"subset.* not acknowledged by client-0\.default; no route was changed"):
        world.apply(10.0, new="v3", run="shop-2")
    assert world.live().weights["v3"] == 0.0
    assert "client-0.default" in world.live().lacks
    world.shop.cluster.sidecar.thaw()
    eventually(lambda: _raised(world, new="v3", run="shop-2"), 30, "the proxy has caught up")


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_without_istiod_nothing_becomes_in_effect_and_nobody_hangs(release, fault):
    world = release(GENERATED)
    world.move(10.0)
    world.shop.cluster.gateway.freeze()
    world.apply(20.0)
    getattr(world.shop.cluster.istiod, fault)()
    world.shop.cluster.gateway.thaw()
    live = look(world)
    assert (live.weights[NEW], live.in_effect) == (20.0, False)
    assert "istiod at http://127.0.0.1:15014 does not answer" in live.lacks
    began = time.monotonic()
    assert not world.mesh.confirm(world.release, live.revision, 0.5)
    assert time.monotonic() - began < LOOK_MAX_S * patience()
    world.shop.cluster.istiod.heal()
    eventually(lambda: look(world).in_effect, 60, "istiod is back, and the proxies have followed")
    assert world.in_envoys()[0] == {OLD: 800, NEW: 200}


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_without_istiod_no_route_can_be_written_what_was_in_effect_stays_so_and_nobody_hangs(release, fault):
    """Istio's webhook must allow every write of its objects, and it is istiod who is asked; whatever was written, no
    proxy would hear of it before istiod is back."""
    world = release(GENERATED)
    world.move(10.0)
    getattr(world.shop.cluster.istiod, fault)()
    assert look(world).in_effect
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"webhook|did not answer in time"):
        world.lower()
    assert time.monotonic() - began < WRITE_MAX_S * patience()
    world.shop.cluster.istiod.heal()
    world.arrive(world.lower())
    assert world.in_envoys()[0] == {OLD: 1000}


def test_a_new_controller_sees_what_the_proxies_acknowledged_to_a_restarted_istiod(release, untouched):
    world = release(GENERATED)
    world.move(10.0)
    world.shop.cluster.istiod.restart()
    fresh = untouched(GENERATED)
    eventually(lambda: look(fresh).in_effect, 60, "a controller that knows nothing has seen it")
    assert look(fresh).weights == {OLD: 90.0, NEW: 10.0}


def test_every_replica_of_istiod_is_asked_for_its_own_proxies(release, cluster):
    world = release(GENERATED)
    with second_replica(cluster) as second:
        world.istiods.append(Istiod(SECOND_URL))
        world.move(10.0)
        assert second.gateway.weights(world.shop.edge_host) == {OLD: 900, NEW: 100}
        second.istiod.freeze()
        world.apply(20.0)
        live = look(world)
        assert (live.weights[NEW], live.in_effect) == (20.0, False)
        assert f"istiod at {SECOND_URL} does not answer" in live.lacks
        second.istiod.thaw()
        eventually(lambda: look(world).in_effect, 30, "the second replica has pushed it")
        assert second.gateway.weights(world.shop.edge_host) == {OLD: 800, NEW: 200}
        second.gateway.freeze()
        world.apply(30.0)
        eventually(lambda: look(world).lacks == f"not acknowledged by {SECOND_PROXY}", 20, "the other gateway has it")
        second.gateway.thaw()
        eventually(lambda: look(world).in_effect, 30, "both gateways have it")
        world.running.add(SECOND_PROXY)
        second.istiod.kill()
        world.istiods.pop().close()
        world.apply(40.0)
        lost = f"{SECOND_PROXY} runs and is connected to no istiod, so it works by what it had"
        eventually(
            lambda: look(world).lacks == lost, 20, "only the lost proxy is missing", detail=lambda: look(world).lacks
        )
        assert second.gateway.weights(world.shop.edge_host) == {OLD: 700, NEW: 300}
        world.running.clear()
        assert look(world).in_effect, "its pod is gone"


def test_where_istiod_asks_for_a_token_that_we_lack_the_share_of_requests_confirms(untouched, namespace):
    background = Background()
    prometheus = Transport(PrometheusSettings(url=PROMETHEUS_URL, scrape_interval_s=5.0), Secrets(), background)
    counts = PrometheusMetrics(prometheus, SystemClock()).counts
    closed = Istiod(f"http://{ISTIOD_SERVICE}:15014")
    with pytest.raises(Forbidden):
        closed.proxies()
    observed = ObservedShare(counts, SystemClock())
    world = untouched(DELEGATE, plane=FirstReadable(ProxyAcknowledgements(lambda: [closed]), observed))
    with namespace.load(rps=100, via="gateway"):
        eventually(lambda: _begun(world), 60, "the subset had its time")
        eventually(lambda: look(world).in_effect, 60, "requests show the first weights")
        world.apply(0.0)
        eventually(lambda: look(world).in_effect, 60, "nothing has moved")
        eventually(lambda: _raised(world), 60, "the candidate's subset had its time")
        assert not look(world).in_effect
        eventually(lambda: look(world).in_effect, 90, "requests show the raise", detail=lambda: look(world).lacks)
        assert world.in_envoys()[0] == {OLD: 800, NEW: 200}
    prometheus.close()
    background.stop()
    closed.close()


def _begun(world: MeshWorld) -> bool:
    try:
        world.mesh.apply(world.release, world.render(Routing(OLD, None, 0.0, "shop-0")))
    except Refused:
        return False
    return True


def _raised(world: MeshWorld, **names: str) -> bool:
    try:
        world.apply(20.0, **names)
    except Refused:
        return False
    return True
