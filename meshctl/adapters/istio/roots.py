"""Ownership `delegate`: the user's root VirtualService, which must lead to ours, and in one step.

Istio takes a VirtualService without hosts for a delegate, merges its routes into each root route that names it, and
follows one level only (pilot/pkg/model/virtualservice_controller.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.kinds import VIRTUAL_SERVICE
from meshctl.core.errors import Forbidden
from meshctl.core.model import Release
from meshctl.core.routes import mapping, metadata, sequence, spec_of


def roots_of(api: Api, release: Release) -> list[Object]:
    """Every VirtualService with a route that delegates to the release's: of its own namespace, and if there is none,
    of all that may be read (which may be thousands, and is asked of the API server)."""
    name, namespace = release.metadata.name, release.metadata.namespace
    found = [each for each in api.list(VIRTUAL_SERVICE, namespace).items if any(_leads_to(each, name, namespace))]
    if found:
        return found
    try:
        return [each for each in api.list(VIRTUAL_SERVICE).items if any(_leads_to(each, name, namespace))]
    except Forbidden:
        return []


def _leads_to(service: Object, name: str, namespace: str) -> Iterator[bool]:
    own = str(metadata(service).get("namespace"))
    for entry in sequence(spec_of(service).get("http")):
        target = mapping(mapping(entry).get("delegate"))
        yield target.get("name") == name and (target.get("namespace") or own) == namespace


def problem_of(release: Release, roots: Sequence[Object]) -> str:
    """Why no request reaches the delegate; empty when one does."""
    name, namespace = release.metadata.name, release.metadata.namespace
    label = VIRTUAL_SERVICE.label(name, namespace)
    if not roots:
        line = f"delegate: {{name: {name}, namespace: {namespace}}}"
        return f"no VirtualService delegates to {label}; a route of yours must: {line}"
    for root in roots:
        if not spec_of(root).get("hosts"):
            return f"{_label(root)} delegates to {label} and is a delegate itself; Istio follows one level only"
    return next((problem for root in roots for problem in _conflicts(root, name, label)), "")


def _conflicts(root: Object, name: str, label: str) -> Iterator[str]:
    for index, entry in enumerate(sequence(spec_of(root).get("http"))):
        if mapping(mapping(entry).get("delegate")).get("name") == name:
            other = next((key for key in ("route", "redirect", "directResponse") if mapping(entry).get(key)), "")
            if other:
                yield f"{_label(root)}: spec.http[{index}] delegates to {label} and has a {other} too; take one out"


def _label(service: Any) -> str:
    return VIRTUAL_SERVICE.label(str(metadata(service).get("name")), str(metadata(service).get("namespace")))
