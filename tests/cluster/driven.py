"""One release of one namespace that goes to and fro between two versions, with requests flowing all the time.

Who drives it is a process with the least-privilege account of a namespaced installation; what it says to the API
server and to Prometheus goes through a `Relay`, where a test can do harm.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.addresses import API_URL, ISTIOD_DEBUG_URL, PROMETHEUS_URL
from tests.cluster.api import Object, Refused
from tests.cluster.cluster import EDGE, SCRAPE_S
from tests.cluster.installed import Person, administrator, manifests
from tests.cluster.process import NOT_YET
from tests.cluster.relay import Relay
from tests.cluster.shop import Shop
from tests.cluster.waiting import eventually

MESHCTL, ISTIO = "meshctl.dev/v1alpha1", "networking.istio.io/v1"
AWAY = (*NOT_YET, Refused)
_ACCOUNT = ("ServiceAccount", "Role", "RoleBinding")


class Driver:
    """A process of meshctl, as the account of the installation."""

    def __init__(self, world: World, *words: str) -> None:
        self._world, self._words = world, words
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self.starts += 1
        with self._world.log.open("ab") as log:
            self._process = subprocess.Popen(self._world.command(*self._words), stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL: nothing is said, written or given back."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def end(self) -> None:
        """SIGTERM, and its exit code."""
        if self.alive:
            assert self._process is not None
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class World:
    """The namespace, whose Deployments ``shop-v1`` and ``shop-v2`` are ready, and who drives it."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.cluster = shop, shop.cluster
        self.log = self.cluster.network.folder / f"driver-{shop.namespace}.log"
        self.person: Person = administrator(shop)
        self.cluster.kubectl("apply", "--server-side", "-f", "-", given=manifests("--crds=only"))
        self.cluster.kubectl(
            "wait", "--for=condition=Established", "crd/releases.meshctl.dev", "crd/releaseruns.meshctl.dev"
        )
        for each in yaml.safe_load_all(manifests("--crds=without", "--namespaced", "-n", shop.namespace)):
            if each["kind"] in _ACCOUNT:
                shop.apply(each)
        self.kubernetes = Relay(API_URL, self.cluster.plane.credentials.authority)
        self.prometheus = Relay(PROMETHEUS_URL)
        token = self.cluster.api.token_for(shop.namespace, "meshctl")
        self.kubeconfig = self.cluster.plane.credentials.write_kubeconfig(
            self.cluster.network.folder / f"driver-{shop.namespace}.kubeconfig",
            token,
            shop.namespace,
            self.kubernetes.url,
        )

    def close(self) -> None:
        self.kubernetes.close()
        self.prometheus.close()

    def command(self, *words: str) -> list[str]:
        settings = [f"--prometheus-url={self.prometheus.url}", f"--istiod-url={ISTIOD_DEBUG_URL}"]
        settings += [f"--prometheus-scrape-interval={SCRAPE_S:g}s", "--host-suffixes=example"]
        settings += ["-n", self.shop.namespace, "--kubeconfig", str(self.kubeconfig)]
        return [sys.executable, "-m", "meshctl", *words, *settings]

    @contextmanager
    def driver(self, *words: str) -> Iterator[Driver]:
        """By default the controller."""
        driver = Driver(self, *(words or ("controller",)))
        driver.start()
        try:
            yield driver
        finally:
            driver.end()

    # -------------------------------------------------------------------------------- the release

    def wish(self, version: str, **changes: Any) -> None:
        """A version, with short stages; ``changes`` replace fields of ``spec``."""
        analysis = {
            "errors": {"tolerance": 1.5, "margin": 4, "harm": 0.05},
            "latency": {"tolerance": 1.5, "margin": 4, "harm": 0.3},
            "warmUp": "none",
        }
        spec = {
            "version": version,
            "service": "shop",
            "mesh": {"hosts": [self.shop.edge_host], "gateways": [EDGE]},
            "strategy": {"canary": {"stages": stages()}},
            "analysis": analysis,
            "keepWarm": "10m",
        }
        self.shop.apply(
            {"apiVersion": MESHCTL, "kind": "Release", "metadata": {"name": "shop"}, "spec": spec | changes}
        )

    def canary(self, **changes: Any) -> str:
        """Wish the version that does not serve, and wait until users have it at the first stage."""
        serves = self.person.status()["baseline"]
        version = "v2" if serves == "v1" else "v1"
        self.wish(version, **changes)
        eventually(
            lambda: self.weight(version) == 25,
            40,
            f"{version} is at its first stage",
            detail=self.story,
        )
        return version

    def promoted(self, version: str, within_s: float = 90.0) -> None:
        """Wait until everybody has this version."""

        def look() -> bool:
            status = self.person.status()
            return (
                status.get("phase") == "Promoted" and status.get("baseline") == version and self.serving() == {version}
            )

        eventually(look, within_s, f"{version} is promoted", despite=AWAY, detail=self.story)

    def serving(self) -> set[str]:
        """The versions that the gateway sends requests to."""
        return {version for version, weight in self.shop.gateway_weights().items() if weight}

    def weight(self, version: str) -> float:
        """Percent of the requests at the gateway, as it has it now."""
        weights = self.shop.gateway_weights()
        return 100.0 * weights.get(version, 0) / (sum(weights.values()) or 1)

    @property
    def routes(self) -> Object:
        return self.cluster.api.get(ISTIO, "VirtualService", "shop", self.shop.namespace)

    def story(self) -> str:
        """For a test that failed: the status and the end of what the drivers said."""
        said = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        try:
            status = json.dumps(self.person.status())
        except AWAY as error:
            status = str(error)
        return f"\n{status}\n{said[-5000:]}"


def stages(shortest: str = "12s") -> list[dict[str, Any]]:
    """Two, the first of them so long that a test which waits for it has the time to act."""
    return [{"weight": 25, "minDuration": shortest, "maxDuration": "10m"}, {"weight": 100, "minDuration": "2s"}]


@contextmanager
def world_of(cluster: Any, number: int) -> Iterator[World]:
    """A namespace with everything in it, v1 serving, and requests from now to the end."""
    shop = Shop(cluster, f"driven-{os.getpid()}-{number}")
    try:
        for version in ("v1", "v2"):
            shop.deploy(version, wait=False)
        for version in ("v1", "v2"):
            shop.wait_ready(version)
        world = World(shop)
        world.wish("v1")
        with world.driver():
            world.promoted("v1")
        yield world
        world.close()
    finally:
        cluster.heal()
        shop.remove()


__all__ = ["AWAY", "ISTIO", "MESHCTL", "Driver", "Path", "World", "stages", "world_of"]
