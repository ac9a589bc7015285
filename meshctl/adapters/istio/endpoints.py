"""How many pods of each version the Service leads to now: who is to get traffic must have some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.kinds import ENDPOINT_SLICE, POD
from meshctl.core.model import Release
from meshctl.core.routes import mapping, sequence

SERVICE_LABEL = "kubernetes.io/service-name"


def ready_endpoints(api: Api, release: Release, versions: Sequence[str]) -> dict[str, int]:
    """Ready endpoints of the release's Service, by version (the pods' ``versionLabel``)."""
    if not versions:
        return {}
    namespace = release.metadata.namespace
    slices = api.list(ENDPOINT_SLICE, namespace, labels=f"{SERVICE_LABEL}={release.spec.service}").items
    ready = {name for each in slices for name in _ready_pods(each)}
    found = {}
    for version in versions:
        pods = api.list(POD, namespace, labels=f"{release.spec.version_label}={version}").items
        found[version] = sum(pod["metadata"]["name"] in ready for pod in pods)
    return found


def _ready_pods(slice_: Object) -> Iterator[str]:
    """Conditions that are not there count as true (EndpointConditions of discovery.k8s.io/v1)."""
    for endpoint in sequence(slice_.get("endpoints")):
        target = mapping(endpoint.get("targetRef"))
        if mapping(endpoint.get("conditions")).get("ready") is not False and target.get("kind") == "Pod":
            yield str(target.get("name"))
