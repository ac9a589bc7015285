"""Envoys that belong to the mesh: a gateway, and one in sidecar mode that is asked as a proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from meshctl.adapters.envoy.binary import find_envoy
from tests.cluster.addresses import GATEWAY, ISTIOD_SERVICE, SIDECAR, SYSTEM
from tests.cluster.process import Process
from tests.cluster.telemetry import BUCKETS_MS

ADMIN_PORT = 15000
FLUSH_S = 5.0
"""Envoy's default, and Istio's: counters are always new, histograms only after a flush."""
_H2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Proxy(Process):
    """One Envoy with its admin interface at ``admin`` and a place for requests at ``url``."""

    def __init__(
        self, name: str, node: dict[str, Any], address: str, url: str, folder: Path, flush_s: float = FLUSH_S
    ) -> None:
        self.address, self.url = address, url
        self.admin = f"http://{address}:{ADMIN_PORT}"
        self.workload, self.namespace = node["cluster"].split(".")
        self.node_id = node["id"]
        bootstrap = folder / f"{name}.json"
        bootstrap.write_text(json.dumps(_bootstrap(node, address, flush_s)))
        command: list[str | Path] = [find_envoy(), "--config-path", bootstrap]
        command += ["--concurrency", "1", "--disable-hot-restart"]
        command += ["--log-level", "warning", "--component-log-level", "misc:error"]
        super().__init__(name, command, folder / f"{name}.log", self._is_ready)

    def _is_ready(self) -> bool:
        return httpx.get(f"{self.admin}/ready", trust_env=False).status_code == 200

    def weights(self, host: str) -> dict[str, int]:
        """The weight of each subset on the first route of a host, as this Envoy has it now; empty: no route."""
        query = {"resource": "dynamic_route_configs"}
        dump = httpx.get(f"{self.admin}/config_dump", params=query, trust_env=False).json()
        for config in dump.get("configs", []):
            for virtual_host in config["route_config"].get("virtual_hosts", []):
                if host in virtual_host["domains"]:
                    return _weights(virtual_host["routes"][0]["route"])
        return {}

    def endpoints(self, host: str) -> dict[str, set[str]]:
        """The addresses of each subset of a host, as this Envoy has them now; the whole service is ``""``."""
        clusters = httpx.get(f"{self.admin}/clusters", params={"format": "json"}, trust_env=False).json()
        found: dict[str, set[str]] = {}
        for cluster in clusters["cluster_statuses"]:
            parts = cluster["name"].split("|")
            if parts[0] == "outbound" and parts[-1] == host:
                hosts = cluster.get("host_statuses", [])
                found[parts[2]] = {one["address"]["socket_address"]["address"] for one in hosts}
        return found

    def stats(self, pattern: str) -> dict[str, int]:
        """Envoy's own counters and gauges whose names match."""
        query = {"format": "json", "filter": pattern}
        found = httpx.get(f"{self.admin}/stats", params=query, trust_env=False).json()["stats"]
        return {one["name"]: one["value"] for one in found if "name" in one}


def gateway(folder: Path, flush_s: float = FLUSH_S) -> Proxy:
    """The gateway that a Gateway with ``selector: {istio: ingressgateway}`` means; listens where that says."""
    labels = {"istio": "ingressgateway", "app": "istio-ingressgateway"}
    node = _node("router", GATEWAY, "edge", SYSTEM, labels)
    return Proxy("gateway", node, GATEWAY, f"http://{GATEWAY}", folder, flush_s)


def sidecar(folder: Path, flush_s: float = FLUSH_S, namespace: str = "default") -> Proxy:
    """A client's sidecar: ask it for any host of the mesh, as one asks an HTTP proxy."""
    node = _node("sidecar", SIDECAR, "client", namespace, {"app": "client"})
    return Proxy("sidecar", node, SIDECAR, "http://127.0.0.1:15081", folder, flush_s)


def _node(kind: str, address: str, name: str, namespace: str, labels: dict[str, str]) -> dict[str, Any]:
    metadata = {
        "NAMESPACE": namespace,
        "LABELS": labels,
        "NAME": f"{name}-0",
        "WORKLOAD_NAME": name,
        "CLUSTER_ID": "Kubernetes",
        "ISTIO_VERSION": "1.30.0",
        "INSTANCE_IPS": address,
        "GENERATOR": "",
    }
    identity = f"{kind}~{address}~{name}-0.{namespace}~{namespace}.svc.cluster.local"
    return {"id": identity, "cluster": f"{name}.{namespace}", "metadata": metadata}


def _bootstrap(node: dict[str, Any], address: str, flush_s: float) -> dict[str, Any]:
    options = {"@type": f"type.googleapis.com/{_H2}", "explicit_http_config": {"http2_protocol_options": {}}}
    istiod = {"address": {"socket_address": {"address": ISTIOD_SERVICE, "port_value": 15010}}}
    return {
        "node": node,
        "admin": {"address": {"socket_address": {"address": address, "port_value": ADMIN_PORT}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds-grpc",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {_H2: options},
                    "load_assignment": {
                        "cluster_name": "xds-grpc",
                        "endpoints": [{"lb_endpoints": [{"endpoint": istiod}]}],
                    },
                }
            ]
        },
        "stats_flush_interval": f"{flush_s:g}s",
        "stats_config": {
            "use_all_default_tags": False,
            "histogram_bucket_settings": [
                {"match": {"contains": "istio_request_duration"}, "buckets": list(BUCKETS_MS)}
            ],
        },
    }


def _weights(route: dict[str, Any]) -> dict[str, int]:
    if "cluster" in route:
        return {_subset(route["cluster"]): 100}
    return {_subset(one["name"]): one.get("weight", 0) for one in route["weighted_clusters"]["clusters"]}


def _subset(cluster: str) -> str:
    parts = cluster.split("|")
    return parts[2] if len(parts) == 4 else cluster
