"""Objects that meshctl owns: written by server-side apply, under a name of its own, and never over somebody else's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from meshctl.adapters.istio.naming import MANAGER
from meshctl.adapters.istio.wayback import WAY_BACK_ANNOTATION, WayBack
from meshctl.adapters.istio.wished import Wished
from meshctl.adapters.kubernetes.api import MANAGER as CREATOR
from meshctl.adapters.kubernetes.api import Api, Object, Patch
from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE, RELEASE, VIRTUAL_SERVICE, Kind
from meshctl.core.errors import Conflict, Refused
from meshctl.core.model import ABORTED_ANNOTATION, RUN_ANNOTATION, Release
from meshctl.core.ports import Manifest
from meshctl.core.routes import annotations_of, metadata, sequence, spec_of, subset_labels

RELEASE_LABEL = "meshctl.dev/release"
"""On every object made for a release: its name."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The Release that objects are made for: told by a label, never by an owner reference.

    With a reference they would go with the Release, and its Service would spread all requests over all pods of every
    version: nobody asked for that (docs/adr/0006-routes-outlive-their-release.md).
    """

    name: str
    uid: str


def owner_of(api: Api, release: Release) -> Owner | None:
    """Whom a release's objects are made for; ``None`` while the release is no object."""
    found = api.find(RELEASE, release.metadata.name, release.metadata.namespace)
    return None if found is None else Owner(release.metadata.name, found["metadata"]["uid"])


def check_ours(api: Api, kind: Kind, release: Release, object: Object | None) -> None:
    """Raises `Refused`, naming who wrote it, for an object of our name that is not this release's."""
    if object is None or _owned_by(release, object) or _written_by_us(object):
        return
    meta = object["metadata"]
    # What comes from a cache may lack its managers; a list by a field is always asked of the API server.
    whole = api.list(kind, meta["namespace"], fields=f"metadata.name={meta['name']}").items
    entries = [each for found in whole for each in sequence(metadata(found).get("managedFields"))]
    who = ", ".join(dict.fromkeys(str(each.get("manager")) for each in entries))
    raise Refused(
        f"{kind.label(meta['name'], meta['namespace'])} is there already and not meshctl's: "
        f"written by {who or 'somebody unknown'}",
        hint="Delete or rename it, name the Release otherwise, or let meshctl move only its weights: "
        "spec.mesh.ownership: adopt.",
    )


def _owned_by(release: Release, object: Object) -> bool:
    """The name counts, whoever of that name it was: the release may have been restored."""
    return (metadata(object).get("labels") or {}).get(RELEASE_LABEL) == release.metadata.name


def _written_by_us(object: Object) -> bool:
    """By the managers of its fields; where these were left out, by the mark that every object of ours carries."""
    entries = metadata(object).get("managedFields")
    if entries is None:
        return RUN_ANNOTATION in annotations_of(object)
    return any((each.get("manager"), each.get("operation")) == (MANAGER, "Apply") for each in sequence(entries))


def service_object(wished: Wished, owner: Owner | None, way_back: WayBack) -> Object:
    """The VirtualService to write."""
    return _object(wished.service, owner, {WAY_BACK_ANNOTATION: way_back.text()})


def rule_object(wished: Wished, owner: Owner | None, live: Object | None, keep: set[str]) -> Object:
    """The DestinationRule to write: the wished subsets, and those of ``live`` that ``keep`` names."""
    result = _object(wished.rule, owner, {})
    if live is not None:
        mine = subset_labels(result)
        present = sequence(spec_of(live).get("subsets"))
        kept = [each for each in present if each.get("name") in keep and each.get("name") not in mine]
        result["spec"]["subsets"] = [*result["spec"]["subsets"], *copy.deepcopy(kept)]
    return result


def _object(manifest: Manifest, owner: Owner | None, marks: Mapping[str, str]) -> Object:
    result: Object = copy.deepcopy(dict(manifest))
    result["metadata"]["annotations"] = {**result["metadata"].get("annotations", {}), **marks}
    if owner is not None:
        result["metadata"]["labels"] = {**result["metadata"].get("labels", {}), RELEASE_LABEL: owner.name}
    return result


def says_the_same(live: Object | None, object: Object) -> bool:
    """Whether a write would change nothing that matters.

    The mark of an abort on a DestinationRule is not worth a write, and so a push to every proxy, of its own.
    """
    if live is None or live.get("spec") != object["spec"]:
        return False
    have, want = metadata(live), metadata(object)
    marks = dict(annotations_of(object))
    if object["kind"] == DESTINATION_RULE.name:
        marks.pop(ABORTED_ANNOTATION, None)
    same_marks = all(annotations_of(live).get(name) == value for name, value in marks.items())
    same_labels = all(
        (have.get("labels") or {}).get(name) == value for name, value in (want.get("labels") or {}).items()
    )
    return same_marks and same_labels


def write(api: Api, kind: Kind, object: Object, live: Object | None) -> Object:
    """Create an object, or apply it over exactly the version that was read.  Raises `Conflict` when it is another.

    What is ours is taken over whatever another hand has changed in it; first contact is looked at before.
    """
    if live is None:
        return _created(api, kind, object)
    meta = live["metadata"]
    body = {**object, "metadata": {**object["metadata"], "resourceVersion": meta["resourceVersion"]}}
    return api.patch(kind, meta["name"], meta["namespace"], body, form=Patch.APPLY, manager=MANAGER, force=True)


def _created(api: Api, kind: Kind, object: Object) -> Object:
    """Server-side apply cannot ask that nothing be there yet, so the object is created and then claimed: applied as
    it is, which makes its fields ours, and struck from the list of what its creator owns, which would else keep
    every field alive that a later apply leaves out."""
    made = api.create(kind, object)
    name, namespace = made["metadata"]["name"], made["metadata"]["namespace"]
    made = write(api, kind, object, made)
    for index, entry in enumerate(sequence(made["metadata"].get("managedFields"))):
        if (entry.get("manager"), entry.get("operation")) == (CREATOR, "Update"):
            body = [
                {"op": "test", "path": f"/metadata/managedFields/{index}/manager", "value": CREATOR},
                {"op": "remove", "path": f"/metadata/managedFields/{index}"},
            ]
            try:
                return api.patch(kind, name, namespace, body, form=Patch.JSON)
            except Conflict:
                break
    return made


def written_at(object: Object) -> datetime | None:
    """When an object was last written by anybody, as the API server remembers it."""
    entries = sequence(metadata(object).get("managedFields"))
    times = [str(each["time"]) for each in entries if each.get("time")]
    return max((datetime.fromisoformat(each) for each in times), default=None)


def kind_of(object: Object) -> Kind:
    return VIRTUAL_SERVICE if object["kind"] == VIRTUAL_SERVICE.name else DESTINATION_RULE
