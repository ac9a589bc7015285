"""Borrowed routes: which weights of a user's VirtualService are moved, and proof that nothing else is.

``spec.http`` has no keys by which several writers could share it (server-side apply takes the whole list), so the
weights are changed by a JSON patch, and what may be patched is found here.  Whatever is not certain is an error with
its remedy: a route named twice, a destination for which there is no subset.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshctl.core.guard import TOTAL
from meshctl.core.model import Adoption, Release
from meshctl.core.names import subset_name
from meshctl.core.routes import Destination, HttpRoute, http_routes, sequence, spec_of, subset_versions
from meshctl.core.tenancy import full_host

OURS = "meshctl.dev/"
"""Annotations of this prefix are meshctl's own on every object."""


def adopted_routes(adopt: Adoption, service: Mapping[str, Any]) -> tuple[list[HttpRoute], list[str]]:
    """The named routes of a VirtualService, and what is wrong with them."""
    routes = http_routes(service)
    named = [route.name for route in routes if route.name]
    found, problems = [], []
    if not routes and (sequence(spec_of(service).get("tcp")) or sequence(spec_of(service).get("tls"))):
        problems.append("has TCP or TLS routes only; meshctl moves HTTP requests (gRPC and TCP are not supported yet)")
        return [], problems
    for name in adopt.routes:
        mine = [route for route in routes if route.name == name]
        if not mine:
            problems.append(f"has no route named {name!r}; its routes are: {', '.join(named) or 'without names'}")
        elif len(mine) > 1:
            where = " and ".join(f"spec.http[{route.index}]" for route in mine)
            problems.append(f"has several routes named {name!r} ({where}); which one is meant?")
        elif mine[0].elsewhere or not mine[0].destinations:
            problems.append(f"{mine[0].label} has no weights: it is a {mine[0].elsewhere or 'route to nowhere'}")
        else:
            found.append(mine[0])
    return found, problems


def missing_for(
    release: Release, versions: Sequence[str], service: Mapping[str, Any], rule: Mapping[str, Any] | None
) -> Iterator[str]:
    """What the user's objects lack before these versions can be given weights, with the lines to add."""
    adopt = release.spec.mesh.adopt
    assert adopt is not None
    if rule is None:
        yield _no_rule(release, adopt)
        return
    label = release.spec.version_label
    subsets = subset_versions(rule, label)
    named = {version: [name for name, each in subsets.items() if each == version] for version in versions}
    title = f"DestinationRule {rule['metadata']['name']}"
    for version, names in named.items():
        if not names:
            line = f"- {{name: {subset_name(version)}, labels: {{{label}: {version!r}}}}}"
            yield f"{title} has no subset with {label}: {version}; add to its spec.subsets: {line}"
        elif len(names) > 1:
            yield f"{title} has several subsets with {label}: {version} ({', '.join(names)}); which one is meant?"
    own = full_host(release.spec.service, release.metadata.namespace)
    for route in adopted_routes(adopt, service)[0]:
        for version, names in named.items():
            if len(names) == 1:
                yield from _destination_problems(release, route, version, names[0], own)


def _no_rule(release: Release, adopt: Adoption) -> str:
    if adopt.destination_rule is not None:
        return f"there is no DestinationRule {adopt.destination_rule}, which spec.mesh.adopt names"
    return (
        f"there is not exactly one DestinationRule whose host is {release.spec.service}; "
        "write one, or name it in spec.mesh.adopt.destinationRule"
    )


def _destination_problems(release: Release, route: HttpRoute, version: str, subset: str, own: str) -> Iterator[str]:
    mine = [each for each in route.destinations if (each.host, each.subset) == (own, subset)]
    if not mine:
        line = f"- {{destination: {{host: {release.spec.service}, subset: {subset}}}, weight: 0}}"
        yield f"{route.label} has no destination for version {version}; add to its route: {line}"
    elif len(mine) > 1:
        yield f"{route.label} has several destinations for version {version}; which one is meant?"


def strangers_beside(
    release: Release, versions: Sequence[str], service: Mapping[str, Any], rule: Mapping[str, Any]
) -> Iterator[str]:
    """Destinations beside these versions that take a share which nobody decided."""
    adopt = release.spec.mesh.adopt
    assert adopt is not None
    own = full_host(release.spec.service, release.metadata.namespace)
    subsets = {name for name, each in subset_versions(rule, release.spec.version_label).items() if each in versions}
    for route in adopted_routes(adopt, service)[0]:
        for each in route.destinations:
            known = each.host == own and each.subset in subsets
            if each.weight and not known and not _alone_and_whole(route, each, own):
                yield f"{route.label} also sends requests to {each}; set its weight to 0, or leave the route to others"


def _alone_and_whole(route: HttpRoute, destination: Destination, own: str) -> bool:
    """A route to the service as a whole lacks destinations for the versions, which is said already."""
    return len(route.destinations) == 1 and destination.host == own and not destination.subset


# ------------------------------------------------------------------------------------ the guard


def adopted_lies(
    before: Mapping[str, Any], after: Mapping[str, Any], names: Sequence[str], weights: Mapping[str, int]
) -> list[str]:
    """Everything that a write would change and that was not decided; empty when it may be made.

    ``after`` must be ``before`` with the decided ``weights`` (subset -> parts of a thousand) on each of the routes
    named ``names``, and with annotations of meshctl's own; any other field is the user's.
    """
    lies = []
    if _without_ours(before, names) != _without_ours(after, names):
        lies.append("something else than weights of the named routes would change")
    for route in http_routes(after):
        if route.name not in names:
            continue
        entries = sequence(spec_of(after)["http"][route.index].get("route"))
        found = {each.subset: entries[each.index].get("weight") for each in route.destinations}
        rest = {subset: weight for subset, weight in found.items() if subset not in weights}
        if any(type(found.get(subset)) is not int or found[subset] != weight for subset, weight in weights.items()):
            lies.append(f"{route.label}: decided was {dict(weights)}, found {found}")
        elif any(rest.values()) or sum(weights.values()) != TOTAL:
            lies.append(f"{route.label}: the weights do not sum to {TOTAL}: {found}")
    return lies


def _without_ours(service: Mapping[str, Any], names: Sequence[str]) -> Any:
    """A VirtualService without what meshctl may change, and without what the API server counts by itself."""
    rest = copy.deepcopy(dict(service))
    meta = rest.get("metadata") or {}
    for key in ("resourceVersion", "generation", "managedFields"):
        meta.pop(key, None)
    kept = {key: value for key, value in (meta.pop("annotations", None) or {}).items() if not key.startswith(OURS)}
    for route in http_routes(rest):
        if route.name in names:
            for destination in route.destinations:
                rest["spec"]["http"][route.index]["route"][destination.index].pop("weight", None)
    return rest, kept
