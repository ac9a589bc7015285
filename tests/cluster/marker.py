"""A small workload whose way is followed through the whole cluster, to see that everybody follows everybody again.

After the API server or istiod was away, each watch comes back at its own time: those of istiod for pods, slices and
every kind of its own, those of the controllers, those of the node, and the streams of the proxies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from tests.cluster.addresses import ISTIOD_DEBUG_URL
from tests.cluster.api import Api, Object, Refused
from tests.cluster.process import NOT_YET
from tests.cluster.proxies import Proxy
from tests.cluster.waiting import eventually

WITHIN_S = 90.0


def follow(api: Api, proxies: Sequence[Proxy], name: str) -> None:
    """Put a workload into a namespace of this name, see it arrive everywhere, and remove it."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    routes = [api.apply(manifest, name) for manifest in (_destination_rule(name), _virtual_service(name))]
    for manifest in (_service(), _deployment(), _job()):
        api.apply(manifest, name)

    def istiod_reads() -> bool:
        known = {_version(one) for one in httpx.get(f"{ISTIOD_DEBUG_URL}/debug/configz", trust_env=False).json()}
        return known >= {_version(one) for one in routes}

    def proxies_know_the_pod() -> bool:
        addresses = {pod["status"].get("podIP") for pod in api.list("v1", "Pod", name, labelSelector="app=marker")}
        host = f"marker.{name}.svc.cluster.local"
        return bool(addresses) and all(proxy.endpoints(host).get("all") == addresses for proxy in proxies)

    def job_has_run() -> bool:
        return bool(api.get("batch/v1", "Job", "marker", name).get("status", {}).get("succeeded"))

    away = (*NOT_YET, Refused)
    eventually(istiod_reads, WITHIN_S, "istiod reads routes again", despite=away)
    eventually(proxies_know_the_pod, WITHIN_S, "a new pod reaches the proxies again", despite=away)
    eventually(job_has_run, WITHIN_S, "a job runs again", despite=away)
    api.delete("v1", "Namespace", name)


def _version(manifest: Object) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["resourceVersion"]


def _meta(**more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "marker"}, **more}


def _service() -> Object:
    spec = {"selector": {"app": "marker"}, "ports": [{"name": "http", "port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", **_meta(spec=spec)}


def _pod(command: list[str], **more: str) -> dict[str, Any]:
    return {"containers": [{"name": "marker", "image": "marker", "command": command}], **more}


def _deployment() -> Object:
    labels = {"app": "marker"}
    template = {"metadata": {"labels": labels}, "spec": _pod(["sleep", "1000"])}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        **_meta(spec={"selector": {"matchLabels": labels}, "template": template}),
    }


def _job() -> Object:
    template = {"spec": _pod(["true"], restartPolicy="Never")}
    return {"apiVersion": "batch/v1", "kind": "Job", **_meta(spec={"template": template})}


def _destination_rule(namespace: str) -> Object:
    subsets = [{"name": "all", "labels": {"app": "marker"}}]
    spec = {"host": f"marker.{namespace}.svc.cluster.local", "subsets": subsets}
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", **_meta(spec=spec)}


def _virtual_service(namespace: str) -> Object:
    host = f"marker.{namespace}.svc.cluster.local"
    spec = {"hosts": [host], "http": [{"route": [{"destination": {"host": host, "subset": "all"}}]}]}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", **_meta(spec=spec)}
