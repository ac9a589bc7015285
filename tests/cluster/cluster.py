"""The whole cluster in one object: control plane, node, proxies, Prometheus, and the faults one can do to them."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.cluster import marker, netns, proxies
from tests.cluster.addresses import GATEWAY, ISTIOD_DEBUG_URL, SYSTEM
from tests.cluster.api import Api, Refused
from tests.cluster.control_plane import ControlPlane
from tests.cluster.process import Process
from tests.cluster.prometheus import Prometheus
from tests.cluster.telemetry import envoy_filter
from tests.cluster.waiting import eventually

EDGE = f"{SYSTEM}/edge"
"""The Gateway that a VirtualService names to be reached from outside."""
SCRAPE_S = float(os.environ.get("MESHCTL_CLUSTER_SCRAPE_S", "1"))


class Cluster:
    """Everything, from `start` to `stop`.  Each program is a `Process`: ``cluster.istiod.kill()``, ``.freeze()``..."""

    def __init__(self, scrape_s: float = SCRAPE_S, reporter: str = "source") -> None:
        self._scrape_s, self._reporter = scrape_s, reporter
        self.network = netns.Namespace()
        self.started_in_s = 0.0
        self._programs: list[Process] = []

    def start(self) -> None:
        """Bring everything up in a new network namespace, which the calling thread enters."""
        began = time.monotonic()
        self.load_before = os.getloadavg()[0]
        self.network.open()
        folder = self.network.folder
        self.plane = ControlPlane(folder)
        flush_s = min(self._scrape_s, proxies.FLUSH_S)
        self.gateway = proxies.gateway(folder, flush_s)
        self.sidecar = proxies.sidecar(folder, flush_s)
        self.prometheus = Prometheus(folder, [self.gateway, self.sidecar], self._scrape_s, self._reporter)
        self.nodelet = self._nodelet(folder)
        self.etcd, self.api_server = self.plane.etcd, self.plane.api_server
        self.controller_manager, self.istiod = self.plane.controller_manager, self.plane.istiod
        plane = (self.etcd, self.api_server, self.controller_manager, self.istiod)
        self._programs = [*plane, self.nodelet, self.gateway, self.sidecar, self.prometheus]
        self.prometheus.start()
        self.plane.start()
        self.api = self.plane.api
        self.kubeconfig = self.plane.credentials.kubeconfig
        self.nodelet.start()
        for manifest in (_edge(), _no_secrets(), envoy_filter()):
            # A definition is listed a moment before its kind can be found.
            put = partial(self.api.apply, manifest)
            eventually(put, 20, f"{manifest['kind']} is there", despite=(Refused,))
        self.gateway.start()
        self.sidecar.start()
        self.plane.ready()
        for process in self.processes():
            process.ready()
        self.started_in_s = time.monotonic() - began

    def stop(self) -> None:
        """End everything, at once; nothing stays."""
        for process in reversed(self._programs):
            process.kill()
        if hasattr(self, "api"):
            self.api.close()
        self.network.close()

    def processes(self) -> list[Process]:
        """Every program, in the order in which they need each other."""
        return list(self._programs)

    def heal(self) -> None:
        """Undo every fault, and wait until everything serves and knows of everything."""
        for process in self.processes():
            process.heal()
        if any(process.harmed for process in self.processes()):
            marker.follow(self.api, (self.gateway, self.sidecar), f"heal-{time.monotonic_ns()}")
        for process in self.processes():
            process.harmed = False

    def kubectl(self, *words: str, given: str | None = None) -> str:
        """What kubectl prints, as the administrator."""
        return self.plane.kubectl(*words, given=given)

    def istioctl(self, *words: str, given: str | None = None) -> str:
        """What istioctl prints."""
        return self.plane.istioctl(*words, given=given)

    def kubeconfig_for(self, namespace: str, account: str, seconds: int = 3600) -> Path:
        """A kubeconfig with a real token of a service account, for RBAC as it is."""
        token = self.api.token_for(namespace, account, seconds)
        path = self.network.folder / f"kubeconfig-{namespace}-{account}"
        return self.plane.credentials.write_kubeconfig(path, token, namespace)

    def api_as(self, namespace: str, account: str, seconds: int = 3600) -> Api:
        """A client with a real token of a service account."""
        return Api(self.plane.credentials.authority, self.api.token_for(namespace, account, seconds))

    def istiod_debug(self, path: str) -> Any:
        """What istiod tells at ``/debug/PATH``, asked from its own loopback."""
        return httpx.get(f"{ISTIOD_DEBUG_URL}/debug/{path}", trust_env=False, timeout=10).json()

    def _nodelet(self, folder: Path) -> Process:
        words: list[str | Path] = [
            "-m",
            "tests.cluster.nodelet",
            "--folder",
            folder / "pods",
            "--kubeconfig",
            folder / "kubeconfig",
        ]
        log = folder / "nodelet.log"
        return Process("nodelet", [sys.executable, *words], log, self._node_is_there)

    def _node_is_there(self) -> bool:
        return bool(self.api.list("v1", "Node"))


def _edge() -> dict[str, Any]:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"], "bind": GATEWAY}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": SYSTEM},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
    }


def _no_secrets() -> dict[str, Any]:
    """Plain Envoy gets no certificates: its inbound listener would wait for them for ever."""
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": SYSTEM},
        "spec": {"mtls": {"mode": "DISABLE"}},
    }
