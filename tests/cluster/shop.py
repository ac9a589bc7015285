"""The example service in a fresh Kubernetes namespace, and requests to it that are counted on the client's side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meshctl.demo.tally import LoadCounts, read
from tests.cluster.api import Object
from tests.cluster.cluster import EDGE, Cluster
from tests.cluster.waiting import eventually, patience

PORT = 8000
READY_WITHIN_S = 30.0


class Load:
    """Requests that flow until `stop`, by `meshctl.demo.load` in a process of its own."""

    def __init__(self, url: str, host: str, rps: float, out: Path, seed: int | None = None) -> None:
        self._out = out
        command = [sys.executable, "-m", "meshctl.demo.load", "--url", url, "--host", host]
        command += ["--rps", str(rps), "--out", str(out)]
        command += ["--seed", str(seed)] if seed is not None else []
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def counts(self) -> LoadCounts:
        """What it has counted up to this moment; `LoadCounts` tells failures by the mesh from those by the workload."""
        now = time.monotonic()

        def up_to_now() -> LoadCounts | None:
            ended = self._process.poll() is not None
            last = self._last()
            return last if ended or last.monotonic >= now else None

        return eventually(up_to_now, 20, "the load generator tells its counts") or LoadCounts()

    def wait_for(self, requests: int, within_s: float = 60.0) -> LoadCounts:
        """Wait until so many more requests have been answered."""
        wanted = self.counts().requests + requests
        eventually(lambda: self._last().requests >= wanted, within_s, f"{requests} more requests are answered")
        return self._last()

    def _last(self) -> LoadCounts:
        """Its last words, which may be a moment old."""
        return read(self._out) or LoadCounts()

    def stop(self) -> LoadCounts:
        """Send nothing more, wait for what is on its way, and tell the end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20 * patience())
        return self.counts()


class Shop:
    """A namespace with a Service ``shop`` whose versions are the Deployments ``shop-VERSION``."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.api, self.namespace = cluster, cluster.api, namespace
        self.host = f"shop.{namespace}.svc.cluster.local"
        self.edge_host = f"shop.{namespace}.example"
        self._loads: list[Load] = []
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        self.apply(_service())

    def apply(self, manifest: Mapping[str, Any], manager: str = "test") -> Object:
        """Server-side apply into this namespace."""
        return self.api.apply(manifest, self.namespace, manager)

    def deploy(self, version: str, replicas: int = 2, *, wait: bool = True, **environment: object) -> None:
        """A version, with the faults that `meshctl.demo.service` knows: ``ERRORS=0.05``, ``SLOW=1.25``..."""
        settings = {"LATENCY_MS": "20", **{name: str(value) for name, value in environment.items()}}
        self.apply(deployment(version, replicas, settings))
        if wait:
            self.wait_ready(version, replicas)

    def wait_ready(self, version: str, replicas: int = 2, within_s: float = READY_WITHIN_S) -> None:
        """Wait until so many replicas of a version are ready and no other one is left."""

        def look() -> bool:
            found = self.api.get("apps/v1", "Deployment", f"shop-{version}", self.namespace)
            status = found.get("status", {})
            seen = status.get("observedGeneration") == found["metadata"]["generation"]
            numbers = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")]
            return seen and numbers == [replicas] * 3

        eventually(look, within_s, f"{replicas} replicas of shop-{version} are ready")

    def route(self, weights: Mapping[str, int], *, wait: bool = True) -> None:
        """A user's own DestinationRule and VirtualService with these weights, for the edge and for the mesh.

        Afterwards both Envoys have the weights, and of every version that gets requests all pods that are ready.
        """
        self.apply(destination_rule(self.host, list(weights)))
        self.apply(virtual_service([self.edge_host, self.host], self.host, weights))
        if wait:
            self.wait_weights(weights)
            self.wait_endpoints([version for version, weight in weights.items() if weight])

    def wait_weights(self, weights: Mapping[str, int], within_s: float = 10.0) -> None:
        """Wait until both Envoys have these weights."""
        wanted = {version: weight for version, weight in weights.items() if weight}

        def look() -> bool:
            return all(_without_zeros(found) == wanted for found in (self.gateway_weights(), self.sidecar_weights()))

        eventually(look, within_s, f"both Envoys have {wanted}", detail=lambda: f"{self.gateway_weights()}")

    def wait_endpoints(self, versions: Sequence[str], within_s: float = 20.0) -> None:
        """Wait until both Envoys know exactly the pods of these versions that are ready."""
        proxies = (self.cluster.gateway, self.cluster.sidecar)

        def look() -> bool:
            wanted = {version: self.ready_addresses(version) for version in versions}
            return all(
                proxy.endpoints(self.host).get(version) == addresses
                for proxy in proxies
                for version, addresses in wanted.items()
            )

        eventually(look, within_s, f"both Envoys know the pods of {', '.join(versions)}")

    def ready_addresses(self, version: str) -> set[str]:
        """Where the pods of a version listen that are ready and stay."""
        return {
            pod["status"]["podIP"]
            for pod in self.pods(version)
            if "deletionTimestamp" not in pod["metadata"]
            and any((one["type"], one["status"]) == ("Ready", "True") for one in pod["status"].get("conditions", []))
        }

    def gateway_weights(self) -> dict[str, int]:
        """The weights that the gateway has now."""
        return self.cluster.gateway.weights(self.edge_host)

    def sidecar_weights(self) -> dict[str, int]:
        """The weights that the sidecar has now."""
        return self.cluster.sidecar.weights(self.host)

    def start_load(self, rps: float = 100.0, via: str = "gateway", seed: int | None = None) -> Load:
        """Let requests flow, ``via`` the gateway or the sidecar, until the test ends or says `Load.stop`."""
        proxy, host = {
            "gateway": (self.cluster.gateway, self.edge_host),
            "sidecar": (self.cluster.sidecar, self.host),
        }[via]
        out = self.cluster.network.folder / f"load-{self.namespace}-{len(self._loads)}.json"
        load = Load(f"{proxy.url}/", host, rps, out, seed)
        self._loads.append(load)
        eventually(lambda: load.counts().requests > 0, 20, f"requests flow via the {via}")
        return load

    @contextmanager
    def load(self, rps: float = 100.0, via: str = "gateway", seed: int | None = None) -> Iterator[Load]:
        """Let requests flow while inside; `Load.counts` afterwards are the last ones."""
        load = self.start_load(rps, via, seed)
        try:
            yield load
        finally:
            load.stop()

    def pods(self, version: str = "") -> list[Object]:
        """The pods of the service, or of one version."""
        selector = "app=shop" + (f",version={version}" if version else "")
        return self.api.list("v1", "Pod", self.namespace, labelSelector=selector)

    def delete_pods(self, version: str, grace_s: int | None = None) -> None:
        """Delete every pod of a version, as ``kubectl delete pod`` does."""
        query = {} if grace_s is None else {"gracePeriodSeconds": str(grace_s)}
        for pod in self.pods(version):
            self.api.delete("v1", "Pod", pod["metadata"]["name"], self.namespace, **query)

    def folder(self, pod: str) -> Path:
        """Where a pod keeps its logs (``CONTAINER.log``) and process numbers (``CONTAINER.pid``)."""
        return self.cluster.network.folder / "pods" / self.namespace / pod

    def logs(self, pod: str) -> str:
        """What the containers of a pod have written."""
        return "\n".join(path.read_text("utf-8", "replace") for path in sorted(self.folder(pod).glob("*.log")))

    def signal_pod(self, pod: str, number: int = signal.SIGKILL) -> None:
        """A signal to every process of a pod: SIGKILL, SIGSTOP, SIGCONT.  Its node restarts what ends."""
        for path in self.folder(pod).glob("*.pid"):
            os.killpg(int(path.read_text()), number)

    def remove(self) -> None:
        """Stop the requests, and let the namespace be deleted."""
        for load in self._loads:
            load.stop()
        self.api.delete("v1", "Namespace", self.namespace)


def _without_zeros(weights: Mapping[str, int]) -> dict[str, int]:
    return {version: weight for version, weight in weights.items() if weight}


def _service() -> Object:
    spec = {"selector": {"app": "shop"}, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": spec}


def deployment(version: str, replicas: int, settings: Mapping[str, str]) -> Object:
    """The Deployment of one version."""
    labels = {"app": "shop", "version": version}
    container = {
        "name": "shop",
        "image": "shop:local",
        "command": [sys.executable, "-m", "meshctl.demo.service"],
        "env": [
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "REPLICA", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "PORT", "value": str(PORT)},
            {"name": "VERSION", "value": version},
            *({"name": name, "value": value} for name, value in settings.items()),
        ],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"shop-{version}", "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 10, "containers": [container]},
            },
        },
    }


def destination_rule(host: str, versions: list[str]) -> Object:
    """One subset per version, told apart by the label ``version``."""
    subsets = [{"name": version, "labels": {"version": version}} for version in versions]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "shop"},
        "spec": {"host": host, "subsets": subsets},
    }


def virtual_service(hosts: list[str], target: str, weights: Mapping[str, int]) -> Object:
    """One route, with a weight for each subset."""
    destinations = [
        {"destination": {"host": target, "subset": version}, "weight": weight} for version, weight in weights.items()
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "shop"},
        "spec": {"hosts": hosts, "gateways": [EDGE, "mesh"], "http": [{"name": "primary", "route": destinations}]},
    }
