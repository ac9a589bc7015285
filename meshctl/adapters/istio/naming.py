"""Which objects carry the routes of a release, and the text that names their present state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE
from meshctl.core.model import Ownership, Release
from meshctl.core.ports import NO_ROUTES
from meshctl.core.routes import metadata, spec_of
from meshctl.core.tenancy import full_host

MANAGER = "meshctl-controller"
"""The field manager of everything that meshctl generates."""


def service_name(release: Release) -> str:
    """The VirtualService whose weights are moved."""
    adopt = release.spec.mesh.adopt
    if release.spec.mesh.ownership is Ownership.ADOPT and adopt is not None:
        return adopt.virtual_service
    return release.metadata.name


def find_rule(api: Api, release: Release) -> Object | None:
    """The DestinationRule that declares the subsets; ``None`` when there is none, or not exactly one to choose."""
    adopt = release.spec.mesh.adopt if release.spec.mesh.ownership is Ownership.ADOPT else None
    if adopt is None:
        return api.find(DESTINATION_RULE, release.metadata.name, release.metadata.namespace)
    if adopt.destination_rule is not None:
        return api.find(DESTINATION_RULE, adopt.destination_rule, release.metadata.namespace)
    found = rules_of(api, release)
    return found[0] if len(found) == 1 else None


def rules_of(api: Api, release: Release) -> list[Object]:
    """Every DestinationRule of the release's service in its namespace."""
    namespace = release.metadata.namespace
    service = full_host(release.spec.service, namespace)
    rules = api.list(DESTINATION_RULE, namespace).items
    return [rule for rule in rules if full_host(str(spec_of(rule).get("host", "")), namespace) == service]


def revision_of(service: Mapping[str, Any] | None, rule: Mapping[str, Any] | None) -> str:
    """Both resource versions as one text; `NO_ROUTES` without a VirtualService."""
    if service is None:
        return NO_ROUTES
    return f"{_version(service)}/{_version(rule)}"


def _version(object: Mapping[str, Any] | None) -> str:
    return str(metadata(object).get("resourceVersion", "")) if object is not None else ""
