"""Ownership `adopt`: weights of named routes in a VirtualService that stays its user's."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from meshctl.adapters.istio.live import Live
from meshctl.adapters.istio.wayback import (
    WAY_BACK_ANNOTATION,
    Operation,
    WayBack,
    annotation_path,
    weight_operations,
)
from meshctl.adapters.istio.wished import Wished
from meshctl.adapters.kubernetes.api import Api, Object, Patch
from meshctl.adapters.kubernetes.kinds import VIRTUAL_SERVICE
from meshctl.core.adoption import adopted_lies, adopted_routes, missing_for, strangers_beside
from meshctl.core.errors import InvalidInput, Refused
from meshctl.core.model import ABORTED_ANNOTATION, RUN_ANNOTATION, Adoption, Release
from meshctl.core.routes import annotations_of


def check_routes(adopt: Adoption, service: Object) -> None:
    """Raises `InvalidInput` when the named routes are not there, not told apart or have no weights."""
    _, problems = adopted_routes(adopt, service)
    if problems:
        raise InvalidInput(_title(service, problems[0]), hint="See spec.mesh.adopt.routes of the Release.")


def what_is_missing(release: Release, versions: Sequence[str], live: Live) -> str:
    """What the user must add or take out before these versions can be given weights; empty when nothing."""
    found = list(missing_for(release, versions, live.service, live.rule))
    if not found and live.rule is not None:
        found += strangers_beside(release, versions, live.service, live.rule)
    return _title(live.service, found[0]) if found else ""


def check_first_contact(live: Live, wished: Wished) -> None:
    """Raises `Refused` where the first write would move anybody: whoever adopts routes begins with the version that
    serves."""
    if live.run or live.rule is None:
        return
    found = {version: round(weight * 10) for version, weight in live.weights.items() if weight}
    decided = {version: weight for version, weight in wished.weights.items() if weight}
    if found != decided:
        now = ", ".join(f"{weight / 10:g} % to {version}" for version, weight in found.items())
        raise Refused(
            _title(live.service, f"sends {now}, and the first release of adopted routes changes nothing"),
            hint="Begin with a Release whose version is the one that serves; then wish for the new one.",
        )


def write_weights(api: Api, adopt: Adoption, live: Live, way_back: WayBack, *, aborted: bool) -> Object:
    """Move the weights in one JSON patch that tests everything it stands on.  Raises `Conflict` when a test fails."""
    operations = _operations(live.service, live, way_back, aborted=aborted)
    lies = adopted_lies(live.service, patched(live.service, operations), adopt.routes, way_back.weights)
    if lies:
        raise Refused(_title(live.service, f"would not be changed as decided: {lies[0]}"), hint="Nothing was changed.")
    meta = live.service["metadata"]
    return api.patch(VIRTUAL_SERVICE, meta["name"], meta["namespace"], operations, form=Patch.JSON)


def _operations(service: Object, live: Live, way_back: WayBack, *, aborted: bool) -> list[Operation]:
    marks = {RUN_ANNOTATION: way_back.run, WAY_BACK_ANNOTATION: way_back.text()}
    if aborted:
        marks[ABORTED_ANNOTATION] = way_back.run
    version = {"op": "test", "path": "/metadata/resourceVersion", "value": service["metadata"]["resourceVersion"]}
    room = [] if annotations_of(service) else [{"op": "add", "path": "/metadata/annotations", "value": {}}]
    stale = ABORTED_ANNOTATION in annotations_of(service) and not aborted
    return [
        version,
        *weight_operations(service, live.routes, way_back.weights, strangers=False),
        *room,
        *({"op": "add", "path": annotation_path(name), "value": value} for name, value in marks.items()),
        *([{"op": "remove", "path": annotation_path(ABORTED_ANNOTATION)}] if stale else []),
    ]


def patched(document: Object, operations: Sequence[Operation]) -> Object:
    """The object after operations of the kinds used here (RFC 6902: test, add into an object, remove)."""
    result = copy.deepcopy(document)
    for operation in operations:
        *path, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
        place: Any = result
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if operation["op"] == "remove":
            del place[last]
        elif operation["op"] == "add":
            place[last] = copy.deepcopy(operation["value"])
    return result


def _title(service: Object, what: str) -> str:
    return f"{VIRTUAL_SERVICE.label(service['metadata']['name'], service['metadata']['namespace'])}: {what}"
