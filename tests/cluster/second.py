"""A second replica of istiod, with a gateway of its own: what is true at one need not be true at the other yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.cluster.addresses import ISTIOD_SERVICE, SYSTEM
from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import ISTIOD_SETTINGS
from tests.cluster.process import Process
from tests.cluster.proxies import Proxy

URL = "http://127.0.0.1:15114"
PROXY = f"edge-1.{SYSTEM}"
_ADDRESS = "10.0.0.4"


@dataclass(frozen=True)
class Second:
    istiod: Process
    gateway: Proxy


@contextmanager
def second_replica(cluster: Cluster) -> Iterator[Second]:
    """Both are there while inside.  The gateway shares the port of the first one, as two pods behind a Service do."""
    folder = cluster.network.folder
    made = Second(_istiod(cluster), _gateway(cluster))
    try:
        made.istiod.start()
        made.istiod.ready()
        made.gateway.start()
        made.gateway.ready()
        yield made
    finally:
        made.gateway.kill()
        made.istiod.kill()
        (folder / "gateway-1.json").unlink(missing_ok=True)


def _istiod(cluster: Cluster) -> Process:
    folder, plane = cluster.network.folder, cluster.plane
    command = [plane.binaries / "pilot-discovery", "discovery"]
    command += [f"--kubeconfig={plane.credentials.kubeconfig}", f"--meshConfig={folder / 'mesh.yaml'}"]
    ports = {"httpAddr": 15108, "grpcAddr": 15110, "secureGRPCAddr": 15112, "monitoringAddr": 15114, "httpsAddr": 15117}
    command += [f"--{name}=127.0.0.1:{port}" for name, port in ports.items()]
    settings = ISTIOD_SETTINGS | {"POD_NAME": "istiod-1", "VALIDATION_WEBHOOK_CONFIG_NAME": ""}

    def ready() -> bool:
        return httpx.get("http://127.0.0.1:15108/ready", trust_env=False).status_code == 200

    return Process("pilot-discovery-1", command, folder / "pilot-discovery-1.log", ready, settings)


def _gateway(cluster: Cluster) -> Proxy:
    folder = cluster.network.folder
    labels = {"istio": "ingressgateway", "app": "istio-ingressgateway"}
    node = {
        "id": f"router~{_ADDRESS}~{PROXY}~{SYSTEM}.svc.cluster.local",
        "cluster": f"edge.{SYSTEM}",
        "metadata": {
            "NAMESPACE": SYSTEM,
            "LABELS": labels,
            "NAME": "edge-1",
            "WORKLOAD_NAME": "edge",
            "CLUSTER_ID": "Kubernetes",
            "ISTIO_VERSION": "1.30.0",
            "INSTANCE_IPS": _ADDRESS,
            "GENERATOR": "",
        },
    }
    gateway = Proxy("gateway-1", node, _ADDRESS, cluster.gateway.url, folder)
    bootstrap = folder / "gateway-1.json"
    text = bootstrap.read_text().replace(f'"{ISTIOD_SERVICE}"', '"127.0.0.1"')
    bootstrap.write_text(text.replace('"port_value": 15010', '"port_value": 15110'))
    return gateway
