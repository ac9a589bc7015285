"""What a VirtualService and a DestinationRule say, read as plain data: routes, destinations, shares, versions.

Objects come from an API server or a file and may hold anything, so nothing here raises for a strange shape: what is
not a route is not found.  Weights are relative, as Istio takes them: a route's destinations share its requests in
proportion, one that stands alone gets them all, and one without a weight beside others gets none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshctl.core.model import FULL
from meshctl.core.tenancy import CLUSTER_DOMAIN, full_host


@dataclass(frozen=True, slots=True)
class Destination:
    """One place that a route leads to.  ``host`` is the full name, ``subset`` may be empty."""

    index: int
    host: str
    subset: str
    weight: int

    def __str__(self) -> str:
        return f"{self.host}/{self.subset}" if self.subset else self.host


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One entry of ``spec.http``.  ``elsewhere``: it answers or leads on by another field than ``route``."""

    index: int
    name: str
    matches: tuple[Mapping[str, Any], ...]
    destinations: tuple[Destination, ...]
    elsewhere: str = ""

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"spec.http[{self.index}]" + (f" ({self.name})" if self.name else "")

    def percents(self) -> dict[Destination, float]:
        """What share of its requests each destination gets, in percent."""
        total = sum(each.weight for each in self.destinations)
        return {each: each.weight * FULL / total for each in self.destinations} if total > 0 else {}


def metadata(object: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(object.get("metadata"))


def annotations_of(object: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(metadata(object).get("annotations"))


def spec_of(object: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(object.get("spec"))


def http_routes(service: Mapping[str, Any], cluster_domain: str = CLUSTER_DOMAIN) -> list[HttpRoute]:
    """The HTTP routes of a VirtualService, in order; the first that matches a request takes it."""
    namespace = str(metadata(service).get("namespace", ""))
    return [
        _route(index, mapping(entry), namespace, cluster_domain)
        for index, entry in enumerate(sequence(spec_of(service).get("http")))
    ]


def _route(index: int, entry: Mapping[str, Any], namespace: str, cluster_domain: str) -> HttpRoute:
    elsewhere = next((key for key in ("delegate", "redirect", "directResponse") if entry.get(key)), "")
    destinations = tuple(_destinations(sequence(entry.get("route")), namespace, cluster_domain))
    matches = tuple(mapping(match) for match in sequence(entry.get("match")))
    return HttpRoute(index, str(entry.get("name") or ""), matches, destinations, elsewhere)


def _destinations(entries: Sequence[Any], namespace: str, cluster_domain: str) -> Iterator[Destination]:
    for index, entry in enumerate(entries):
        found = mapping(mapping(entry).get("destination"))
        weight = mapping(entry).get("weight", 0)
        known = weight if type(weight) is int and weight >= 0 else 0
        host = full_host(str(found.get("host") or ""), namespace, cluster_domain)
        yield Destination(index, host, str(found.get("subset") or ""), 1 if len(entries) == 1 else known)


def matches_all(route: HttpRoute) -> bool:
    """Whether a route takes every request that reaches it."""
    return not route.matches or not all(route.matches)


def is_preview(route: HttpRoute) -> bool:
    """Whether a route is for those who name a version: one destination, and every match wants a header's exact
    value.  Weights say nothing about such a route."""
    return len(route.destinations) == 1 and bool(route.matches) and all(_asks_by_header(each) for each in route.matches)


def _asks_by_header(match: Mapping[str, Any]) -> bool:
    return any(set(mapping(wanted)) == {"exact"} for wanted in mapping(match.get("headers")).values())


def subset_labels(rule: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The subsets of a DestinationRule: name -> pod labels."""
    return {
        str(mapping(entry).get("name")): mapping(mapping(entry).get("labels"))
        for entry in sequence(spec_of(rule).get("subsets"))
    }


def subset_versions(rule: Mapping[str, Any], version_label: str) -> dict[str, str]:
    """The version that each subset of a DestinationRule selects by ``version_label``, where it does."""
    found = {name: labels.get(version_label) for name, labels in subset_labels(rule).items()}
    return {name: version for name, version in found.items() if isinstance(version, str)}


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()
