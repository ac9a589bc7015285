"""The objects of a cluster in memory, with the rules by which an API server changes them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshctl.adapters.kubernetes.api import ADDED, DELETED, MODIFIED, Object, Patch
from meshctl.adapters.kubernetes.kinds import (
    CONFIG_MAP,
    ENDPOINT_SLICE,
    EVENT,
    LEASE,
    NAMESPACE,
    RELEASE_RUN,
    Kind,
)
from meshctl.core.ports import Clock
from tests.adapters.api_fields import (
    Owner,
    Owners,
    PatchFailed,
    applied,
    conflicts,
    copied,
    leaves,
    managed_fields,
    merged,
    patched,
    updated,
)

Key = tuple[str, str, str, str]
"""group, plural, namespace, name"""

WITHOUT_STATUS = {CONFIG_MAP, ENDPOINT_SLICE, EVENT, LEASE, RELEASE_RUN}
"""Kinds whose objects have no status subresource (Releases and Istio's objects have one)."""

KEPT = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "managedFields",
)
"""What no writer of an object can change."""


class Refusal(Exception):
    """An answer that is none of 2xx: HTTP code and ``metav1.Status``."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status = {"reason": reason, "message": message, "code": code, "details": details}


@dataclass(slots=True)
class Entry:
    kind: Kind
    object: Object
    owners: Owners


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the history: what a watch sends."""

    version: int
    kind: Kind
    type: str
    object: Object
    before: Object | None


class Cluster:
    """Objects, their history, and the lock around both (``changed`` is told of every line of the history)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.changed = threading.Condition(threading.RLock())
        self.entries: dict[Key, Entry] = {}
        self.history: list[Line] = []
        self.version = self.forgotten = 100
        self.breaks = 0
        self.admission: Callable[[Kind, Object, Object | None], None] | None = None
        self.unknown: set[Kind] = set()

    def entry(self, kind: Kind, namespace: str, name: str) -> Entry:
        if kind in self.unknown:
            raise Refusal(404, "NotFound", "404 page not found")
        found = self.entries.get(_key(kind, namespace, name))
        if found is None:
            raise Refusal(404, "NotFound", f'{kind.resource} "{name}" not found', name=name, kind=kind.plural)
        return found

    def of(self, kind: Kind, namespace: str) -> list[Object]:
        if kind in self.unknown:
            raise Refusal(404, "NotFound", "404 page not found")
        found = [(key, entry) for key, entry in self.entries.items() if key[:2] == (kind.group, kind.plural)]
        return [entry.object for key, entry in sorted(found) if not namespace or key[2] == namespace]

    # ------------------------------------------------------------------------------------------ writes

    def create(self, kind: Kind, given: Object, manager: Owner, *, dry_run: bool) -> Object:
        object = copied(given)
        meta = object.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{uuid.uuid4().hex[:5]}"
        name, namespace = meta.get("name", ""), meta.get("namespace", "") if kind.namespaced else ""
        if kind in self.unknown:
            raise Refusal(404, "NotFound", "404 page not found")
        if not name:
            raise Refusal(422, "Invalid", f"{kind.name} is invalid: metadata.name: Required value")
        if kind.namespaced and _key(NAMESPACE, "", namespace) not in self.entries:
            raise Refusal(404, "NotFound", f'namespaces "{namespace}" not found', name=namespace, kind="namespaces")
        if _key(kind, namespace, name) in self.entries:
            raise Refusal(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', name=name, kind=kind.plural)
        if meta.get("resourceVersion"):
            raise Refusal(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        object["apiVersion"], object["kind"] = kind.api_version, kind.name
        if kind not in WITHOUT_STATUS:
            object.pop("status", None)
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now, "generation": 1}
        meta.pop("managedFields", None)
        _without_empty(object)
        self._admit(kind, object, None)
        owners: Owners = {manager: set(leaves(object))}
        return self._store(kind, object, None, owners, dry_run=dry_run)

    def replace(self, kind: Kind, given: Object, subresource: str, manager: Owner, *, dry_run: bool) -> Object:
        meta = given.get("metadata", {})
        entry = self.entry(kind, meta.get("namespace", "") if kind.namespaced else "", meta.get("name", ""))
        return self._update(kind, entry, given, subresource, manager, dry_run=dry_run)

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Any,
        form: Patch,
        subresource: str,
        manager: str,
        *,
        force: bool,
        dry_run: bool,
    ) -> Object:
        if form is Patch.APPLY:
            return self._apply(kind, namespace, name, body, subresource, manager, force=force, dry_run=dry_run)
        entry = self.entry(kind, namespace, name)
        try:
            change = patched if form is Patch.JSON else merged
            new = change(entry.object, body)
        except PatchFailed as error:
            raise Refusal(422, "Invalid", "the server rejected our request due to an error in our request") from error
        return self._update(kind, entry, new, subresource, (manager, "Update", subresource), dry_run=dry_run)

    def _update(
        self, kind: Kind, entry: Entry, given: Object, subresource: str, manager: Owner, *, dry_run: bool
    ) -> Object:
        old = entry.object
        expected = given.get("metadata", {}).get("resourceVersion")
        if expected and expected != old["metadata"]["resourceVersion"]:
            raise _outdated(kind, old["metadata"]["name"])
        if given["metadata"].get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise _outdated(kind, old["metadata"]["name"], "Precondition failed: UID in precondition is another")
        new = self._part(kind, old, given, subresource)
        owners = {owner: set(paths) for owner, paths in entry.owners.items()}
        updated(old, new, owners, manager)
        return self._finish(kind, old, new, owners, dry_run=dry_run)

    def _apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Object,
        subresource: str,
        manager: str,
        *,
        force: bool,
        dry_run: bool,
    ) -> Object:
        me = (manager, "Apply", subresource)
        if subresource:
            self.entry(kind, namespace, name)
        entry = self.entries.get(_key(kind, namespace, name)) if kind not in self.unknown else None
        if entry is None:
            meta = {"name": name, "namespace": namespace or None, "resourceVersion": None}
            wanted = merged(body, {"metadata": meta})
            return self.create(kind, wanted, me, dry_run=dry_run)
        old = entry.object
        if (
            body["metadata"].get("resourceVersion", old["metadata"]["resourceVersion"])
            != old["metadata"]["resourceVersion"]
        ):
            raise _outdated(kind, name)
        wanted = self._meant(kind, body, subresource)
        owners = {owner: set(paths) for owner, paths in entry.owners.items()}
        if not any(owners.values()):
            owners = {("before-first-apply", "Update", ""): set(leaves(old))}
        against = conflicts(old, wanted, owners, me)
        if against and not force:
            raise _owned(against, kind)
        new = self._part(kind, old, applied(old, wanted, owners, me), subresource)
        return self._finish(kind, old, new, owners, dry_run=dry_run)

    def _meant(self, kind: Kind, body: Object, subresource: str) -> Object:
        """What of an applied object this endpoint looks at."""
        if kind in WITHOUT_STATUS:
            return body
        if subresource == "status":
            return {key: body[key] for key in ("apiVersion", "kind", "status") if key in body}
        return {key: value for key, value in body.items() if key != "status"}

    def _part(self, kind: Kind, old: Object, new: Object, subresource: str) -> Object:
        """The new object with only those parts of the change that this endpoint takes."""
        new = _without_empty(copied(new))
        if kind not in WITHOUT_STATUS and subresource == "status":
            rest = {key: copied(value) for key, value in old.items() if key != "status"}
            new = rest | ({"status": new["status"]} if "status" in new else {})
        elif kind not in WITHOUT_STATUS:
            new.pop("status", None)
            if "status" in old:
                new["status"] = copied(old["status"])
        for field in KEPT:
            new["metadata"].pop(field, None)
            if field in old["metadata"]:
                new["metadata"][field] = copied(old["metadata"][field])
        if (new["metadata"].get("name"), new["metadata"].get("namespace")) != _names(old):
            raise Refusal(400, "BadRequest", "the name of the object does not match the name on the URL")
        new["apiVersion"], new["kind"] = old["apiVersion"], old["kind"]
        return new

    def _finish(self, kind: Kind, old: Object, new: Object, owners: Owners, *, dry_run: bool) -> Object:
        if _matter(new) != _matter(old):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self._admit(kind, new, old)
        return self._store(kind, new, old, owners, dry_run=dry_run)

    def _admit(self, kind: Kind, new: Object, old: Object | None) -> None:
        if self.admission is not None:
            self.admission(kind, copied(new), copied(old))

    def _store(self, kind: Kind, new: Object, old: Object | None, owners: Owners, *, dry_run: bool) -> Object:
        """Keep an object and tell the watches, unless nothing changed: then its resource version stays too."""
        fields = managed_fields(owners, kind.api_version)
        if fields:
            new["metadata"]["managedFields"] = fields
        if dry_run or new == old:
            return copied(new)
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            self._remove(kind, new)
            return copied(new)
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        name, namespace = _names(new)
        self.entries[_key(kind, namespace or "", name)] = Entry(kind, new, owners)
        self._tell(kind, ADDED if old is None else MODIFIED, new, old)
        return copied(new)

    def delete(self, kind: Kind, namespace: str, name: str, uid: str, resource_version: str, propagation: str) -> None:
        entry = self.entry(kind, namespace, name)
        meta = entry.object["metadata"]
        for have, want in ((meta["uid"], uid), (meta["resourceVersion"], resource_version)):
            if want and have != want:
                raise _outdated(kind, name, "Precondition failed")
        if meta.get("finalizers"):
            if not meta.get("deletionTimestamp"):
                new = copied(entry.object)
                new["metadata"]["deletionTimestamp"] = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
                new["metadata"]["deletionGracePeriodSeconds"] = 0
                new["metadata"]["generation"] += 1
                self._store(kind, new, entry.object, entry.owners, dry_run=False)
            return
        self._remove(kind, entry.object, orphan=propagation == "Orphan")

    def _remove(self, kind: Kind, object: Object, *, orphan: bool = False) -> None:
        name, namespace = _names(object)
        last = self.entries.pop(_key(kind, namespace or "", name)).object
        self.version += 1
        gone = copied(object)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell(kind, DELETED, gone, last)
        for key, entry in list(self.entries.items()):
            references = entry.object["metadata"].get("ownerReferences") or []
            if key not in self.entries or not any(item["uid"] == last["metadata"]["uid"] for item in references):
                continue
            if not orphan and not any(self._alive(item["uid"]) for item in references):
                self.delete(entry.kind, key[2], key[3], "", "", "Background")

    def _alive(self, uid: str) -> bool:
        return any(entry.object["metadata"]["uid"] == uid for entry in self.entries.values())

    def _tell(self, kind: Kind, type: str, object: Object, before: Object | None) -> None:
        self.history.append(Line(self.version, kind, type, copied(object), copied(before)))
        self.changed.notify_all()


def _key(kind: Kind, namespace: str, name: str) -> Key:
    return kind.group, kind.plural, namespace if kind.namespaced else "", name


def _names(object: Object) -> tuple[str, str | None]:
    return object["metadata"]["name"], object["metadata"].get("namespace")


def _without_empty(object: Object) -> Object:
    """Empty collections of metadata are as if they were not there."""
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        if object["metadata"].get(field, True) in ({}, [], None):
            del object["metadata"][field]
    return object


def _matter(object: Object) -> Object:
    """What counts for ``metadata.generation``."""
    return {key: value for key, value in object.items() if key not in ("metadata", "status")}


def _outdated(kind: Kind, name: str, why: str = "") -> Refusal:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    return Refusal(409, "Conflict", f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}')


def _owned(against: list[tuple[str, tuple[str, ...]]], kind: Kind) -> Refusal:
    """As staging/src/k8s.io/apimachinery/pkg/util/managedfields/internal/conflict.go words it."""
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}" using {kind.api_version}',
            "field": "." + ".".join(path),
        }
        for manager, path in against
    ]
    plural = "s" if len(causes) > 1 else ""
    first = f"{causes[0]['message']}: {causes[0]['field']}"
    return Refusal(409, "Conflict", f"Apply failed with {len(causes)} conflict{plural}: {first}", causes=causes)
