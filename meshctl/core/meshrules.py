"""What the ownership of the routes asks of the rest of a release: a field that would have no effect is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meshctl.core.model import Adoption, MeshSpec, Ownership, Release

Path = tuple[str | int, ...]
Found = Iterator[tuple[Path, str]]

ROUTES_LIMIT = 50
ROUTE_NAME_LIMIT = 200

OBJECT_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_USUAL = MeshSpec()


def ownership_problems(release: Release, *, embedded: bool) -> Found:
    """Path below ``spec`` and message of everything that does not fit ``mesh.ownership``."""
    mesh = release.spec.mesh
    if embedded and mesh.ownership is not Ownership.GENERATED:
        message = f"'{mesh.ownership.value}' needs a cluster with Istio; without one write 'generated'"
        yield ("mesh", "ownership"), message
        return
    if mesh.adopt is not None and mesh.ownership is not Ownership.ADOPT:
        yield ("mesh", "adopt"), f"belongs to ownership: adopt, found ownership: {mesh.ownership.value}"
    match mesh.ownership:
        case Ownership.DELEGATE:
            yield from _theirs(mesh, "the VirtualService that delegates to this one", "hosts", "gateways")
        case Ownership.ADOPT if mesh.adopt is None:
            yield ("mesh", "adopt"), "must name virtualService and routes, whose weights are to be moved"
        case Ownership.ADOPT:
            assert mesh.adopt is not None
            whose = f"VirtualService {mesh.adopt.virtual_service}"
            yield from _theirs(mesh, whose, "hosts", "gateways", "timeout", "retries")
            yield from _adoption(mesh.adopt)
            canary = release.spec.strategy.canary
            if canary is not None and canary.preview is not None:
                yield ("strategy", "canary", "preview"), f"would be a route of its own, and the routes are {whose}'s"


def _theirs(mesh: MeshSpec, whose: str, *fields: str) -> Found:
    for field in fields:
        if getattr(mesh, field) != getattr(_USUAL, field):
            yield ("mesh", field), f"has no effect with ownership: {mesh.ownership.value}: {whose} says it"


def _adoption(adopt: Adoption) -> Found:
    names = {"virtualService": adopt.virtual_service, "destinationRule": adopt.destination_rule}
    for field, name in names.items():
        if name is not None and not OBJECT_NAME.fullmatch(name):
            yield ("mesh", "adopt", field), f"{name[:80]!r} is not the name of an object in the release's own namespace"
    path: Path = ("mesh", "adopt", "routes")
    if not 1 <= len(adopt.routes) <= ROUTES_LIMIT:
        yield path, f"must name from 1 to {ROUTES_LIMIT} routes (spec.http[].name), found {len(adopt.routes)}"
    for position, name in enumerate(adopt.routes):
        if not name or len(name) > ROUTE_NAME_LIMIT:
            yield (*path, position), "is not the name of a route; a route without one cannot be adopted"
        elif name in adopt.routes[:position]:
            yield (*path, position), f"{name!r} stands here twice"
