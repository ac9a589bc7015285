"""Whether the routes that a proxy was given say what was wished: Envoy's route configurations, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshctl.adapters.istio.confirm import Shares, Wish
from meshctl.core.routes import mapping, sequence

_OUTBOUND = "outbound"


def agrees(configurations: Sequence[Mapping[str, Any]], wish: Wish) -> bool | None:
    """Whether every wished route among them has its shares, and where ``whole`` is said no other route is there;
    ``None`` when none of them is there."""
    found = []
    for route in _routes(configurations):
        if _is_from(route, wish):
            wished = _wished(str(route.get("name", "")), wish)
            if wished is not None:
                found.append(any(_same(_shares(route, wish.host), each) for each in wished))
            elif wish.whole:
                found.append(False)
    return all(found) if found else None


def _routes(configurations: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for configuration in configurations:
        for host in sequence(configuration.get("virtualHosts")):
            for route in sequence(mapping(host).get("routes")):
                yield mapping(route)


def _is_from(route: Mapping[str, Any], wish: Wish) -> bool:
    """istiod writes into each route which object it was made from (``BuildConfigInfoMetadata``)."""
    metadata = mapping(mapping(mapping(route.get("metadata")).get("filterMetadata")).get("istio"))
    parts = str(metadata.get("config", "")).split("/")
    # /apis/networking.istio.io/v1/namespaces/NAMESPACE/virtual-service/NAME
    return len(parts) == 8 and parts[6] == "virtual-service" and (parts[5], parts[7]) in wish.services


def _wished(name: str, wish: Wish) -> tuple[Shares, ...] | None:
    """The shares for an Envoy route: named as in the VirtualService, with ``.MATCH`` behind it where the match has a
    name, and with the root's name before it (``ROOT-``) in a delegate."""
    if name in wish.routes:
        return wish.routes[name]
    for known, shares in wish.routes.items():
        if known and (name.startswith(f"{known}.") or (wish.delegate and _ends_with(name, known))):
            return shares
    return None


def _ends_with(name: str, known: str) -> bool:
    return name.endswith(f"-{known}") or f"-{known}." in name


def _shares(route: Mapping[str, Any], host: str) -> Shares | None:
    """Subset -> weight where a route leads to nothing but subsets of ``host``."""
    action = mapping(route.get("route"))
    alone = action.get("cluster")
    clusters = (
        [{"name": alone, "weight": 1}] if alone else sequence(mapping(action.get("weightedClusters")).get("clusters"))
    )
    found: dict[str, int] = {}
    for each in clusters:
        direction, _, subset, name = cluster_parts(str(mapping(each).get("name", "")))
        if direction != _OUTBOUND or name != host:
            return None
        found[subset] = found.get(subset, 0) + int(mapping(each).get("weight", 0))
    return found


def _same(found: Shares | None, wished: Shares) -> bool:
    """Equal in proportion; what is 0 is not among Envoy's clusters."""
    if found is None:
        return False
    one = {subset: weight for subset, weight in found.items() if weight}
    other = {subset: weight for subset, weight in wished.items() if weight}
    total_one, total_other = sum(one.values()), sum(other.values())
    return one.keys() == other.keys() and all(one[each] * total_other == other[each] * total_one for each in one)


def cluster_parts(name: str) -> tuple[str, str, str, str]:
    """Direction, port, subset and host of one of istiod's clusters: ``outbound|80|v2-1-0|shop.default.svc...``."""
    parts = name.split("|")
    return (parts[0], parts[1], parts[2], parts[3]) if len(parts) == 4 else ("", "", "", "")


def subsets_of(names: Sequence[str], host: str) -> set[str] | None:
    """The subsets of a host among cluster names; ``None`` when none of them is of that host."""
    found = [
        subset for direction, _, subset, name in map(cluster_parts, names) if (direction, name) == (_OUTBOUND, host)
    ]
    return set(found) - {""} if found else None


def served_subsets(assignments: Sequence[Mapping[str, Any]], host: str) -> set[str]:
    """The subsets of a host that have a healthy endpoint on every port."""
    served: set[str] = set()
    empty: set[str] = set()
    for each in assignments:
        direction, _, subset, name = cluster_parts(str(each.get("clusterName", "")))
        if (direction, name) == (_OUTBOUND, host):
            (served if any(_healthy(each)) else empty).add(subset)
    return served - empty


def _healthy(assignment: Mapping[str, Any]) -> Iterator[bool]:
    for locality in sequence(assignment.get("endpoints")):
        for endpoint in sequence(mapping(locality).get("lbEndpoints")):
            yield mapping(endpoint).get("healthStatus", "HEALTHY") in ("HEALTHY", "UNKNOWN")
