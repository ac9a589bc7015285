"""What the routes of a release say now, whoever wrote them last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshctl.adapters.istio.naming import revision_of
from meshctl.adapters.istio.wayback import WayBack, is_aborted, moved_routes, run_of, way_back_of
from meshctl.adapters.kubernetes.api import Object
from meshctl.core.model import FULL, Release
from meshctl.core.routes import Destination, HttpRoute, http_routes, subset_labels, subset_versions
from meshctl.core.tenancy import full_host


@dataclass(frozen=True, slots=True)
class Live:
    """The VirtualService and DestinationRule of a release as they are.

    ``versions`` maps subset to version; ``weights`` maps version to percent, and whatever else gets requests by its
    own name: another service's host, a subset that the DestinationRule does not declare.
    """

    service: Object
    rule: Object | None
    routes: tuple[HttpRoute, ...]
    versions: Mapping[str, str]
    weights: dict[str, float]
    run: str
    aborted: bool
    way_back: WayBack | None

    @property
    def revision(self) -> str:
        return revision_of(self.service, self.rule)

    @property
    def metadata(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.service["metadata"]
        return found

    @property
    def undeclared(self) -> list[str]:
        """The subsets that get requests and that no DestinationRule declares: such requests fail."""
        declared = subset_labels(self.rule) if self.rule is not None else {}
        named = {each.subset for route in self.routes for each in route.destinations if each.weight and each.subset}
        return sorted(named - set(declared))

    @property
    def subsets_in_use(self) -> set[str]:
        """The subsets that any route names, previews included, whatever its weight."""
        return {destination.subset for route in http_routes(self.service) for destination in route.destinations}


def live_of(
    release: Release, service: Object, rule: Object | None, names: Sequence[str] = (), *, owner: str = ""
) -> Live:
    """``names`` are the adopted routes; empty: every route that is not a preview.  ``owner`` is the uid of the
    Release, where it has one: marks that an earlier one of this name left say nothing."""
    routes = moved_routes(service, names)
    versions = subset_versions(rule, release.spec.version_label) if rule is not None else {}
    own = full_host(release.spec.service, release.metadata.namespace)
    way = way_back_of(service)
    stale = way is not None and bool(owner and way.owner) and way.owner != owner
    if way is not None and (stale or way.run != run_of(service)):
        way = None
    weights = _weights(routes, own, versions, way)
    if names:
        # What else stands in a user's routes without a weight is his affair.
        moved = {versions.get(subset, subset) for subset in way.weights} if way is not None else set()
        weights = {version: weight for version, weight in weights.items() if weight or version in moved}
    return Live(
        service=service,
        rule=rule,
        routes=tuple(routes),
        versions=versions,
        weights=weights,
        run="" if stale else run_of(service),
        aborted=not stale and is_aborted(service),
        way_back=way,
    )


def _weights(
    routes: Sequence[HttpRoute], own: str, versions: Mapping[str, str], way: WayBack | None
) -> dict[str, float]:
    """Percent per version over all routes.

    Where they disagree, somebody else changed one of them: that route speaks which gives the way back's version the
    least, if that is less than was written; else the one that gives it the most.  So what is too much is lowered, and
    what was lowered is seen.
    """
    found = [_of_route(route, own, versions) for route in routes]
    if not found:
        return {}
    if way is None or all(each == found[0] for each in found):
        return found[0]
    home = {versions.get(subset, subset) for subset, weight in way.back.items() if weight}
    written = sum(weight for subset, weight in way.weights.items() if versions.get(subset, subset) in home) / 10

    def share(weights: Mapping[str, float]) -> float:
        return sum(weights.get(version, 0.0) for version in home)

    least = min(found, key=share)
    return least if share(least) < written else max(found, key=share)


def _of_route(route: HttpRoute, own: str, versions: Mapping[str, str]) -> dict[str, float]:
    if route.elsewhere:
        return {f"{route.label} {route.elsewhere}": FULL}
    found: dict[str, float] = {}
    for destination, percent in route.percents().items():
        name = _name(destination, own, versions)
        found[name] = found.get(name, 0.0) + percent
    return found


def _name(destination: Destination, own: str, versions: Mapping[str, str]) -> str:
    known = versions.get(destination.subset) if destination.host == own else None
    return known if known is not None else str(destination)
