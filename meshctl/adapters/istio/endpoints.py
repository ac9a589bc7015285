"""What stands behind a release's Service: what it speaks, and how many pods of each version can answer now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.kinds import ENDPOINT_SLICE, POD, SERVICE
from meshctl.core.errors import Refused
from meshctl.core.model import Release
from meshctl.core.protocols import unmoved_protocol
from meshctl.core.routes import mapping, sequence

SERVICE_LABEL = "kubernetes.io/service-name"


def check_protocol(api: Api, release: Release) -> None:
    """Raises `Refused` for a Service none of whose ports speaks HTTP."""
    namespace, name = release.metadata.namespace, release.spec.service
    # Where Services are cached they are without their ports; a list by a field is always asked of the API server.
    for service in api.list(SERVICE, namespace, fields=f"metadata.name={name}").items:
        spoken = unmoved_protocol(service)
        if spoken:
            raise Refused(
                f"apply the routes of {release.metadata.name}: {SERVICE.label(name, namespace)} speaks {spoken}; "
                "gRPC and TCP routes are not supported yet",
                hint="meshctl moves HTTP requests. If these are, say so by the port's name or appProtocol: http.",
            )


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
