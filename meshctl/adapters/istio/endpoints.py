"""What stands behind a release's Service: what it speaks, and how many pods of each version can answer now."""

from __future__ import annotations

from collections.abc import Sequence

from meshctl.adapters.kubernetes.api import Api
from meshctl.adapters.kubernetes.kinds import ENDPOINT_SLICE, POD, SERVICE
from meshctl.adapters.kubernetes.looking import SERVICE_LABEL
from meshctl.adapters.kubernetes.pod_words import is_ready
from meshctl.adapters.kubernetes.standing import name_of, ready_endpoints
from meshctl.core.errors import Refused
from meshctl.core.model import Release
from meshctl.core.protocols import unmoved_protocol


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


def ready_pods(api: Api, release: Release, versions: Sequence[str]) -> dict[str, int]:
    """How many pods of each version are ready and stand among the ready endpoints of the release's Service."""
    if not versions:
        return {}
    namespace = release.metadata.namespace
    slices = api.list(ENDPOINT_SLICE, namespace, labels=f"{SERVICE_LABEL}={release.spec.service}").items
    endpoints = ready_endpoints(slices)
    found = {}
    for version in versions:
        pods = api.list(POD, namespace, labels=f"{release.spec.version_label}={version}").items
        found[version] = sum(is_ready(pod) and name_of(pod) in endpoints for pod in pods)
    return found
