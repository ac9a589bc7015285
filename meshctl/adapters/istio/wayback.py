"""The way back, kept with the routes themselves: one write that needs no template, no store and no controller.

With every write of weights an annotation of the VirtualService tells what was written and where all of it goes when
the run is lowered for good.  Whoever may patch the VirtualService can go that way, the person at the command line too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from meshctl.adapters.istio.naming import find_rule, revision_of, service_name
from meshctl.adapters.kubernetes.api import Api, Object, Patch
from meshctl.adapters.kubernetes.kinds import VIRTUAL_SERVICE
from meshctl.core.errors import Conflict, Forbidden, Refused
from meshctl.core.model import ABORTED_ANNOTATION, RUN_ANNOTATION, Ownership, Release
from meshctl.core.routes import HttpRoute, annotations_of, http_routes, is_preview
from meshctl.core.timetext import format_time

WAY_BACK_ANNOTATION = "meshctl.dev/way-back"

TRIES = 5
"""How often a lowering begins anew when somebody else writes between its reading and its writing."""

Operation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WayBack:
    """What was written by a run, by subset in parts of a thousand, and where `lower_routes` leads.

    ``routes`` are the adopted routes by name; empty: every route that is not a preview.  ``before`` is what the
    routes said until then, ``written`` when they were written.  ``owner`` is the uid of the Release: one of the same
    name that comes after it begins anew.
    """

    owner: str
    run: str
    weights: Mapping[str, int]
    back: Mapping[str, int]
    before: Mapping[str, int]
    routes: tuple[str, ...]
    written: datetime

    def text(self) -> str:
        """As it stands in the annotation."""
        values = {
            "owner": self.owner,
            "run": self.run,
            "weights": dict(self.weights),
            "back": dict(self.back),
            "before": dict(self.before),
            "routes": list(self.routes),
            "written": format_time(self.written),
        }
        return json.dumps(values, separators=(",", ":"))


def way_back_of(service: Mapping[str, Any]) -> WayBack | None:
    """The way back that a VirtualService carries; ``None`` when it has none that can be read."""
    try:
        values = json.loads(annotations_of(service).get(WAY_BACK_ANNOTATION, ""))
        return WayBack(
            owner=str(values["owner"]),
            run=str(values["run"]),
            weights=_weights(values["weights"]),
            back=_weights(values["back"]),
            before=_weights(values["before"]),
            routes=tuple(str(name) for name in values["routes"]),
            written=datetime.fromisoformat(values["written"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _weights(values: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(weight) for name, weight in values.items()}


def run_of(service: Mapping[str, Any]) -> str:
    """The run that a VirtualService says it belongs to."""
    return str(annotations_of(service).get(RUN_ANNOTATION, ""))


def is_aborted(service: Mapping[str, Any]) -> bool:
    """Whether a VirtualService says that its run was lowered for good; the mark of an older run says nothing."""
    return annotations_of(service).get(ABORTED_ANNOTATION) == run_of(service) != ""


def moved_routes(service: Mapping[str, Any], names: Sequence[str] = ()) -> list[HttpRoute]:
    """The routes whose weights are meshctl's: those of these names, else all that are not a preview."""
    routes = http_routes(service)
    if names:
        return [route for route in routes if route.name in names]
    return [route for route in routes if not is_preview(route)]


def weight_operations(
    service: Object, routes: Sequence[HttpRoute], weights: Mapping[str, int], *, strangers: bool
) -> Iterator[Operation]:
    """JSON patch that gives each subset its weight, if the routes still are what ``service`` says.

    Destinations that ``weights`` does not name get nothing where ``strangers`` is true, else they stay as they are.
    """
    for route in routes:
        path = f"/spec/http/{route.index}"
        raw = service["spec"]["http"][route.index]
        if route.name:
            yield {"op": "test", "path": f"{path}/name", "value": route.name}
        yield {"op": "test", "path": f"{path}/route", "value": raw["route"]}
        for destination in route.destinations:
            weight = weights.get(destination.subset, 0 if strangers else None)
            present = raw["route"][destination.index].get("weight")
            if weight is not None and weight != present:
                yield {"op": "add", "path": f"{path}/route/{destination.index}/weight", "value": weight}


def annotation_path(name: str) -> str:
    """The JSON pointer of an annotation."""
    return f"/metadata/annotations/{name.replace('~', '~0').replace('/', '~1')}"


def lower_routes(api: Api, release: Release, run: str) -> str | None:
    """Send everything to where the way back leads, marked as aborted, in one write; the revision after it.

    Needs the right to get and patch VirtualServices and nothing else.  Only if the live routes still belong to
    ``run``, else `Conflict`; ``None`` when no routes exist.  Raises `Refused` when they carry no way back.
    """
    name, namespace = service_name(release), release.metadata.namespace
    label = VIRTUAL_SERVICE.label(name, namespace)
    for _ in range(TRIES):
        service = api.find(VIRTUAL_SERVICE, name, namespace)
        if service is None:
            return None
        if run_of(service) != run:
            raise Conflict(
                f"lower {run} on {label}: its routes belong to {run_of(service) or 'no run'}",
                hint="A newer run has taken over; read its state first.",
            )
        if not is_aborted(service):
            try:
                body = _lowering(release, service, run)
                service = api.patch(VIRTUAL_SERVICE, name, namespace, body, form=Patch.JSON)
            except Conflict:
                continue
        return revision_of(service, _rule(api, release))
    raise Conflict(f"lower {run} on {label}: it changed {TRIES} times while it was written", hint="Try again.")


def _lowering(release: Release, service: Object, run: str) -> list[Operation]:
    way = way_back_of(service)
    label = VIRTUAL_SERVICE.label(service["metadata"]["name"], service["metadata"]["namespace"])
    if way is None or way.run != run:
        raise Refused(
            f"lower {run} on {label}: it carries no way back (annotation {WAY_BACK_ANNOTATION})",
            hint="Somebody removed it; the next tick writes the routes anew, or `set-weight 0` does.",
        )
    routes = moved_routes(service, way.routes)
    if not routes:
        wanted = ", ".join(way.routes) or "a route that is no preview"
        raise Refused(
            f"lower {run} on {label}: none of its routes is {wanted}",
            hint="Somebody changed the routes; put them back, or send the traffic to the baseline by hand.",
        )
    generated = release.spec.mesh.ownership is not Ownership.ADOPT
    return [
        {"op": "test", "path": annotation_path(RUN_ANNOTATION), "value": run},
        *weight_operations(service, routes, way.back, strangers=generated),
        {"op": "add", "path": annotation_path(ABORTED_ANNOTATION), "value": run},
    ]


def _rule(api: Api, release: Release) -> Object | None:
    """Only its version is asked for: whoever may not read it lowers all the same."""
    try:
        return find_rule(api, release)
    except Forbidden:
        return None
