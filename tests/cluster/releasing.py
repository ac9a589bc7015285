"""Releases of the cluster tier: somebody who drives them all, a wish, and where its requests go."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.addresses import ISTIOD_DEBUG_URL
from tests.cluster.api import Object, Refused
from tests.cluster.cluster import EDGE, Cluster
from tests.cluster.installed import SETTINGS, Person, administrator
from tests.cluster.mesh_world import install_definitions
from tests.cluster.process import Process
from tests.cluster.shop import Shop, deployment
from tests.cluster.waiting import eventually

ANALYSIS = {
    "errors": {"tolerance": 1.5, "margin": 4, "harm": 0.05},
    "latency": {"tolerance": 1.5, "margin": 4, "harm": 0.3},
    "warmUp": "none",
}
"""Wide margins: a test shows that the parts work together, not how sharp the judge is."""
LENIENT = ANALYSIS | {"latency": {"tolerance": 8, "margin": 10, "harm": 0.9}}
"""Where a person decides, pods that have just been started on a busy machine are not to be judged."""
WITHIN_S = 90.0
ISTIO = "networking.istio.io/v1"


def step(weight: float, gate: str = "manual", least: str = "1s") -> Object:
    """A stage that a person opens; with ``gate="auto"`` the judge does."""
    most = {} if weight == 100 else {"maxDuration": "10m"}
    return {"weight": weight, "gate": "auto" if weight == 100 else gate, "minDuration": least, **most}


def by_hand(*weights: float) -> list[Object]:
    """Stages that a person opens, and the last one."""
    return [step(weight) for weight in weights] + [step(100)]


def judged(*weights: float) -> list[Object]:
    """Stages that the judge opens, and the last one."""
    return [step(weight, "auto", "3s") for weight in weights] + [step(100)]


def controller_of(cluster: Cluster, *words: str, name: str = "controller") -> Process:
    """``meshctl controller`` as a program that can be killed and frozen, with the administrator's rights."""
    settings = [*SETTINGS, f"--istiod-url={ISTIOD_DEBUG_URL}"]
    log = cluster.network.folder / f"{name}.log"
    command: list[str | Path] = [sys.executable, "-m", "meshctl", "controller", *words, *settings]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MESHCTL_")}
    return Process(name, command, log, lambda: True, environment | {"KUBECONFIG": str(cluster.kubeconfig)})


def _served(cluster: Cluster, kind: str) -> bool:
    """A definition is established a moment before its objects can be read (429, storage is initializing)."""
    cluster.api.list("meshctl.dev/v1alpha1", kind)
    return True


@contextmanager
def driven(cluster: Cluster) -> Iterator[Process]:
    """One controller that drives the releases of all namespaces while inside."""
    install_definitions(cluster)
    for kind in ("Release", "ReleaseRun"):
        eventually(lambda kind=kind: _served(cluster, kind), 30, f"{kind} is served", despite=(Refused,))
    process = controller_of(cluster, "-A")
    process.start()
    try:
        yield process
    finally:
        process.heal()
        process.end()


class Scene:
    """The release ``shop`` in the namespace of a `Shop`, its user's words and what became of them."""

    def __init__(self, shop: Shop, controller: Process) -> None:
        self.shop, self.controller = shop, controller
        self.person: Person = administrator(shop)

    def wish(self, version: str, stages: Sequence[Object] = (), **spec: Any) -> None:
        """Apply the release with this version; one that was taken back before is tried again."""
        rejected = self.status().get("rejected", []) if self._there() else []
        mesh = {"hosts": [self.shop.edge_host], "gateways": [EDGE]}
        analysis = ANALYSIS if stages and stages[0]["gate"] == "auto" else LENIENT
        whole = {"version": version, "service": "shop", "mesh": mesh, "analysis": analysis, "keepWarm": "10m", **spec}
        whole["strategy"] = {"canary": {"stages": list(stages) or by_hand(10)}}
        file = self.shop.cluster.network.folder / f"{self.shop.namespace}.json"
        head = {"apiVersion": "meshctl.dev/v1alpha1", "kind": "Release", "metadata": {"name": "shop"}}
        file.write_text(json.dumps({**head, "spec": whole}))
        self.person.says("apply", "-f", str(file))
        if version in rejected:
            self.person.says("retry", "shop", "--reason", "the next scene")

    def begin(self, version: str, **spec: Any) -> None:
        """The first release ever, to its end."""
        self.wish(version, **spec)
        self.serves(version)

    def status(self) -> dict[str, Any]:
        """What the release says of itself."""
        return self.person.status()

    def until(self, **wanted: Any) -> dict[str, Any]:
        """Wait until the status says so."""
        return self.person.until(WITHIN_S, **wanted)

    def reach(self, version: str, weight: float, **spec: Any) -> None:
        """Wish a version and wait until it has this weight, at a gate that a person opens."""
        self.wish(version, by_hand(weight), **spec)
        self.has(version, weight)
        self.until(phase="Paused", reason="ManualGate")

    def has(self, version: str, weight: float) -> None:
        """Wait until the run of a version has this weight, and the gateway knows."""
        eventually(
            lambda: self._at(version, weight), WITHIN_S, f"{version} has {weight:g} %", detail=lambda: self._words()
        )

    def serves(self, version: str) -> None:
        """Wait until a version is promoted and gets everything."""
        eventually(
            lambda: (
                self._slug(self.status().get("baseline", ""), version)
                and self.status().get("phase") in ("Promoted", "RolledBack")
                and self.share(version) == 100.0
            ),
            WITHIN_S,
            f"{version} serves alone",
            detail=lambda: self._words(),
        )

    def ended(self, code: int, within_s: int = 180) -> dict[str, Any]:
        """Wait as a person does; ``code`` is 0 for promoted, 10 for rolled back."""
        self.person.says("wait", "shop", "--timeout", f"{within_s}s", code=code, timeout_s=within_s + 60)
        return self.status()

    def abort(self) -> None:
        """Take the candidate back."""
        done = self.person.run("abort", "shop", "--reason", "the next scene")
        assert done.returncode == 0, f"{done.stderr} {self._words()}"

    def share(self, version: str) -> float:
        """Percent of the requests at the gateway that go to a version, as the gateway has it now."""
        return self._share(self.shop.gateway_weights(), version)

    def side_share(self, version: str) -> float:
        """The same inside the mesh."""
        return self._share(self.shop.sidecar_weights(), version)

    def subsets(self) -> list[str]:
        """What the DestinationRule of meshctl declares."""
        rule = self.shop.api.get(ISTIO, "DestinationRule", "shop", self.shop.namespace)
        return [subset["name"] for subset in rule["spec"]["subsets"]]

    def pods(self, version: str) -> set[str]:
        """The identities of the pods of a version that stay."""
        return {
            pod["metadata"]["uid"]
            for pod in self.shop.pods()
            if self._slug(pod["metadata"]["labels"]["version"], version) and "deletionTimestamp" not in pod["metadata"]
        }

    def there(self, kind: str) -> bool:
        """Whether an object of Istio's named ``shop`` exists."""
        return any(each["metadata"]["name"] == "shop" for each in self.shop.api.list(ISTIO, kind, self.shop.namespace))

    def _there(self) -> bool:
        return bool(self.shop.api.list("meshctl.dev/v1alpha1", "Release", self.shop.namespace))

    def _at(self, version: str, weight: float) -> bool:
        status = self.status()
        named = self._slug(status.get("candidate", ""), version)
        return named and status.get("weight") == status.get("confirmed") == weight and self.share(version) == weight

    def _share(self, weights: Mapping[str, int], version: str) -> float:
        total = sum(weights.values())
        return (
            100.0 * sum(each for name, each in weights.items() if self._slug(name, version)) / total if total else 0.0
        )

    def _slug(self, name: str, version: str) -> bool:
        return name == version or name.startswith(f"{version}-")

    def _words(self) -> str:
        tail = self.controller.last_words()[-1500:]
        return f"{self.shop.gateway_weights()} {json.dumps(self.status())}\n{tail}"


def made_pods(version: str, **environment: object) -> Object:
    """``spec.workload``: pods that meshctl makes."""
    settings = {"LATENCY_MS": "20", **{name: str(value) for name, value in environment.items()}}
    template = copy.deepcopy(deployment(version, 2, settings)["spec"]["template"])
    del template["metadata"]["labels"]["version"]
    return {"replicas": 2, "template": template}


@pytest.fixture(scope="module")
def controller(cluster: Cluster) -> Iterator[Process]:
    """One controller for the scenes of a file."""
    with driven(cluster) as process:
        yield process


@pytest.fixture(scope="module")
def market(cluster: Cluster, controller: Process) -> Iterator[Scene]:
    """A release whose version v1 serves, shared by the scenes of a file that leave it so."""
    shop = Shop(cluster, f"market-{os.getpid()}-{controller.pid}")
    try:
        for version in ("v1", "v2"):
            shop.deploy(version, wait=False)
        for version in ("v1", "v2"):
            shop.wait_ready(version)
        scene = Scene(shop, controller)
        scene.begin("v1")
        yield scene
    finally:
        cluster.heal()
        shop.remove()


@pytest.fixture
def scene(market: Scene, controller: Process) -> Iterator[Scene]:
    """The shared release between two runs: v1 serves alone."""
    market.serves("v1")
    yield market
    controller.heal()
    market.shop.cluster.heal()
    if market.status()["phase"] not in ("Promoted", "RolledBack"):
        market.person.run("abort", "shop")
