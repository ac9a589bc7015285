"""The mesh in memory: keeps the rendered objects and says what a data plane would do by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshctl.core.errors import Conflict, InvalidInput, Unreachable
from meshctl.core.model import ABORTED_ANNOTATION, FULL, RUN_ANNOTATION, LiveRouting, Release, Routing
from meshctl.core.names import subset_name
from meshctl.core.ports import NO_ROUTES, Manifest

WEIGHT_TOTAL = 1000


@dataclass(frozen=True, slots=True)
class _Routes:
    weights: dict[str, float]
    run: str
    aborted: bool
    revision: str
    fallback: dict[str, float]


class FakeMesh:
    """A `Mesh` that takes up each write at once, with faults to switch on.

    ``unreachable``: nothing is read or written.  ``stuck``: writes are taken but do not come into force until
    `settle`.  ``before_change`` is called before the weights in force change; ``history`` holds every weight of
    every release that ever was in force.
    """

    def __init__(self) -> None:
        self.unreachable = False
        self.stuck = False
        self.before_change: list[Callable[[], None]] = []
        self.history: list[tuple[str, dict[str, float]]] = []
        self._written: dict[str, _Routes] = {}
        self._in_force: dict[str, _Routes] = {}
        self._revisions = 0

    def read(self, release: Release) -> LiveRouting | None:
        self._reach(release)
        routes = self._written.get(release.metadata.name)
        if routes is None:
            return None
        in_effect = self._in_force.get(release.metadata.name) == routes
        return LiveRouting(dict(routes.weights), routes.run, routes.aborted, routes.revision, in_effect)

    def apply(
        self,
        release: Release,
        objects: Sequence[Manifest],
        *,
        fallback: Sequence[Manifest] = (),
        expected: str | None = None,
    ) -> str:
        self._reach(release)
        present = self._written.get(release.metadata.name)
        if expected is not None and expected != (present.revision if present else NO_ROUTES):
            raise Conflict(f"the routes of {release.metadata.name!r} are not those of revision {expected!r} any more")
        weights, annotations = routes_of(release, objects)
        spare = routes_of(release, fallback)[0] if fallback else weights
        assert sum(weight > 0 for weight in spare.values()) == 1, "what two versions serve is applied with a fallback"
        return self._write(
            release.metadata.name,
            _Routes(
                weights=weights,
                run=annotations.get(RUN_ANNOTATION, ""),
                aborted=ABORTED_ANNOTATION in annotations,
                revision=self._next_revision(),
                fallback=spare,
            ),
        )

    def lower(self, release: Release, run: str) -> str | None:
        self._reach(release)
        name = release.metadata.name
        routes = self._written.get(name)
        if routes is None:
            return None
        if routes.run != run:
            raise Conflict(f"the routes of {name!r} belong to run {routes.run!r} by now, not to {run!r}")
        lowered = replace(routes, weights=routes.fallback, aborted=True, revision=self._next_revision())
        return self._write(name, lowered)

    def confirm(self, release: Release, revision: str, timeout_s: float) -> bool:
        routes = self._in_force.get(release.metadata.name)
        return not self.unreachable and routes is not None and routes.revision == revision

    # -------------------------------------------------------------------------------- the world's hand

    def settle(self) -> None:
        """What was written comes into force, and so will the next writes."""
        self.stuck = False
        for name in list(self._written):
            self._take_up(name)

    def meddle(self, name: str, weights: Mapping[str, float]) -> None:
        """Somebody else changes the weights of a release, and nothing but them."""
        self._write(name, replace(self._written[name], weights=dict(weights), revision=self._next_revision()))

    def in_force(self) -> dict[str, dict[str, float]]:
        """The weights that the data plane works by, in percent, by release and version."""
        return {name: dict(routes.weights) for name, routes in self._in_force.items()}

    # -------------------------------------------------------------------------------- inside

    def _reach(self, release: Release) -> None:
        if self.unreachable:
            raise Unreachable(f"the mesh does not answer for {release.metadata.name!r} (a fault was asked for)")

    def _next_revision(self) -> str:
        self._revisions += 1
        return str(self._revisions)

    def _write(self, name: str, routes: _Routes) -> str:
        self._written[name] = routes
        if not self.stuck:
            self._take_up(name)
        return routes.revision

    def _take_up(self, name: str) -> None:
        for each in self.before_change:
            each()
        self._in_force[name] = self._written[name]
        self.history.append((name, dict(self._written[name].weights)))


def routes_of(release: Release, objects: Sequence[Manifest]) -> tuple[dict[str, float], dict[str, str]]:
    """Weight in percent by version, and the annotations, that a VirtualService and a DestinationRule say."""
    found: dict[str, Any] = {str(each.get("kind")): each for each in objects}
    if set(found) != {"VirtualService", "DestinationRule"} or len(objects) != 2:
        raise InvalidInput(f"a VirtualService and a DestinationRule were expected, found: {', '.join(found) or 'none'}")
    service, rule = found["VirtualService"], found["DestinationRule"]
    versions = {each["name"]: each["labels"][release.spec.version_label] for each in rule["spec"]["subsets"]}
    weights = {}
    for each in service["spec"]["http"][-1]["route"]:
        subset = each["destination"]["subset"]
        if subset not in versions:
            raise InvalidInput(f"the route of {release.metadata.name!r} names subset {subset!r}, which does not exist")
        weights[versions[subset]] = FULL * each.get("weight", WEIGHT_TOTAL) / WEIGHT_TOTAL
    return weights, dict(service["metadata"].get("annotations", {}))


class FakeRenderer:
    """Renders the two objects without templates: one route, one subset per version."""

    def render(self, release: Release, routing: Routing) -> Sequence[Manifest]:
        shares = {routing.baseline: WEIGHT_TOTAL}
        if routing.candidate is not None:
            share = round(routing.candidate_weight * WEIGHT_TOTAL / FULL)
            shares = {routing.baseline: WEIGHT_TOTAL - share, routing.candidate: share}
        annotations = {RUN_ANNOTATION: routing.run} | ({ABORTED_ANNOTATION: routing.run} if routing.aborted else {})
        metadata = {"name": release.spec.service, "annotations": annotations}
        host = release.spec.service
        route = [{"destination": {"host": host, "subset": subset_name(v)}, "weight": w} for v, w in shares.items()]
        subsets = [{"name": subset_name(v), "labels": {release.spec.version_label: v}} for v in shares]
        rule = {"host": host, "subsets": subsets}
        service = {"hosts": [host], "http": [{"route": route}]}
        return [
            {"kind": "DestinationRule", "metadata": metadata, "spec": rule},
            {"kind": "VirtualService", "metadata": metadata, "spec": service},
        ]

    def digest(self) -> str:
        return "sha256:none"
