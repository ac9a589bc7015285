"""An `Api` that reads some kinds from caches which watches keep filled: a look at what did not change costs no call.

Whoever writes through it reads at least what he wrote: the answer of a write counts until the cache has it.  After a
lost race the object is read from the API server once, since the cache was what was old.  A cache that fell behind is
passed over altogether.  What is read may still be a moment old; every write names the version that it was decided on.
"""

from __future__ import annotations

import copy
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from meshctl.adapters.kubernetes.api import Api, Changes, Listing, NotFound, Object, Patch
from meshctl.adapters.kubernetes.kinds import Kind
from meshctl.adapters.kubernetes.problems import Call, error_of
from meshctl.core.errors import Conflict

BEHIND_MAX_S = 1.0
"""A line that is down for longer may have missed the death of a pod (rule 6 allows 2 s in all)."""

OWN_WRITE_S = 10.0
"""So long an own write counts where the cache never tells of it, since somebody deleted the object right after."""

ABSENT_S = 2.0
"""So long an object that was found to be gone is taken for gone, whatever the cache holds."""

NOT_INDEXED = frozenset({"pod-template-hash"})
"""Labels that differ for every object and that nobody selects by."""

Place = tuple[str, str]
"""namespace, name"""


class Kept(Protocol):
    """The part of `meshctl.adapters.kubernetes.watching.Cache` that is used here."""

    def get(self, name: str, namespace: str = "") -> Object | None: ...

    def behind_s(self) -> float: ...

    def tell(self, changed: Callable[[Kind, str, str], None]) -> None: ...


class NearbyApi:
    """Reads the kinds in ``caches`` from there, once they have begun; all else is done by ``api``.

    Objects are lacking what the cache of their kind trims.  May be used by several threads at once.
    """

    def __init__(
        self, api: Api, caches: Mapping[Kind, Kept], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._shelves = {kind: _Shelf(cache, monotonic) for kind, cache in caches.items()}
        for kind, cache in caches.items():
            cache.tell(self._shelves[kind].changed)

    @property
    def namespace(self) -> str:
        return self._api.namespace

    @property
    def user(self) -> str:
        return self._api.user

    @property
    def server(self) -> str:
        return self._api.server

    # ------------------------------------------------------------------------------------------ reads

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        found = self.find(kind, name, namespace)
        if found is None:
            raise error_of(Call("get", kind, name, namespace), 404, {"reason": "NotFound", "details": {"name": name}})
        return found

    def find(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        shelf = self._fresh(kind)
        if shelf is None:
            return self._api.find(kind, name, namespace)
        if shelf.is_doubted(name, namespace):
            found = self._api.find(kind, name, namespace)
            shelf.wrote(name, namespace, found, ours=False)
            return found
        return shelf.get(name, namespace)

    def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        """``labels`` as ``key=value,...``; with ``fields``, or over all namespaces, the API server is asked."""
        shelf = None if fields or not namespace else self._fresh(kind)
        if shelf is None:
            return self._api.list(kind, namespace, labels=labels, fields=fields)
        for name in shelf.doubted(namespace):
            self.find(kind, name, namespace)
        return Listing(shelf.chosen(namespace, [term for term in labels.split(",") if term]), "")

    def pages(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Iterator[Listing]:
        return self._api.pages(kind, namespace, labels=labels, fields=fields)

    def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        timeout_s: float,
    ) -> Changes:
        return self._api.watch(
            kind, namespace, resource_version=resource_version, labels=labels, fields=fields, timeout_s=timeout_s
        )

    def server_version(self) -> str:
        return self._api.server_version()

    def get_text(self, path: str, *, query: Mapping[str, str] | None = None, timeout_s: float | None = None) -> str:
        return self._api.get_text(path, query=query, timeout_s=timeout_s)

    def is_own(self, kind: Kind, name: str, namespace: str) -> bool:
        """Whether an object is, by its cache, as it was last written through here."""
        shelf = self._shelves.get(kind)
        return shelf is not None and shelf.is_own(name, namespace)

    def _fresh(self, kind: Kind) -> _Shelf | None:
        shelf = self._shelves.get(kind)
        return shelf if shelf is not None and shelf.behind_s() <= BEHIND_MAX_S else None

    # ------------------------------------------------------------------------------------------ writes

    def create(self, kind: Kind, object: Object, *, dry_run: bool = False) -> Object:
        meta = object["metadata"]
        place = meta.get("name", ""), meta.get("namespace", "")
        return self._write(kind, *place, dry_run, lambda: self._api.create(kind, object, dry_run=dry_run))

    def replace(self, kind: Kind, object: Object, *, subresource: str = "", dry_run: bool = False) -> Object:
        meta = object["metadata"]

        def write() -> Object:
            return self._api.replace(kind, object, subresource=subresource, dry_run=dry_run)

        return self._write(kind, meta["name"], meta.get("namespace", ""), dry_run, write)

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        form: Patch,
        subresource: str = "",
        manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> Object:
        def write() -> Object:
            return self._api.patch(
                kind,
                name,
                namespace,
                body,
                form=form,
                subresource=subresource,
                manager=manager,
                force=force,
                dry_run=dry_run,
            )

        return self._write(kind, name, namespace, dry_run, write)

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "Background",
    ) -> None:
        try:
            self._api.delete(kind, name, namespace, uid=uid, resource_version=resource_version, propagation=propagation)
        finally:
            if kind in self._shelves:
                self._shelves[kind].doubt(name, namespace)

    def _write(self, kind: Kind, name: str, namespace: str, dry_run: bool, write: Callable[[], Object]) -> Object:
        shelf = self._shelves.get(kind)
        if shelf is None or dry_run:
            return write()
        try:
            written = write()
        except (Conflict, NotFound):
            shelf.doubt(name, namespace)
            raise
        shelf.wrote(name, namespace, written)
        return written


class _Shelf:
    """One kind: its cache, what was written since, and who has which label."""

    def __init__(self, cache: Kept, monotonic: Callable[[], float]) -> None:
        self._cache, self._monotonic = cache, monotonic
        self.behind_s = cache.behind_s
        self._lock = threading.Lock()
        self._written: dict[Place, tuple[float, Object | None]] = {}
        self._doubted: set[Place] = set()
        self._own: dict[Place, str] = {}
        self._names: dict[str, set[str]] = {}
        self._labelled: dict[tuple[str, str], set[str]] = {}
        self._labels: dict[Place, tuple[str, ...]] = {}

    # -------------------------------------------------------------------------------- reading

    def get(self, name: str, namespace: str) -> Object | None:
        place = (namespace, name)
        found = self._cache.get(name, namespace)
        with self._lock:
            own = self._written.get(place)
            if own is None:
                return found
            at, written = own
            limit_s = ABSENT_S if written is None else OWN_WRITE_S
            if self._monotonic() - at > limit_s or _is_newer(found, written):
                del self._written[place]
                return found
        return copy.deepcopy(written)

    def chosen(self, namespace: str, terms: Sequence[str]) -> list[Object]:
        """Objects of a namespace that carry all of these labels, by name."""
        with self._lock:
            sets = [self._labelled.get((namespace, term), set()) for term in terms]
            names = set.intersection(*sets) if sets else set(self._names.get(namespace, ()))
            names |= {name for place, name in self._written if place == namespace}
        objects = [self.get(name, namespace) for name in sorted(names)]
        return [each for each in objects if each is not None and _carries(each, terms)]

    def is_doubted(self, name: str, namespace: str) -> bool:
        with self._lock:
            return (namespace, name) in self._doubted

    def doubted(self, namespace: str) -> list[str]:
        """The names for which `is_doubted` holds."""
        with self._lock:
            return [name for place, name in self._doubted if place == namespace]

    # -------------------------------------------------------------------------------- writing

    def wrote(self, name: str, namespace: str, written: Object | None, *, ours: bool = True) -> None:
        """What the API server says of an object now; ``None``: it is not there.  ``ours``: by our own hand."""
        with self._lock:
            self._doubted.discard((namespace, name))
            self._written[namespace, name] = (self._monotonic(), copy.deepcopy(written))
            if ours:
                self._own[namespace, name] = (written or {}).get("metadata", {}).get("resourceVersion", "")

    def doubt(self, name: str, namespace: str) -> None:
        """What is cached of an object is older than what somebody found."""
        with self._lock:
            self._doubted.add((namespace, name))

    def is_own(self, name: str, namespace: str) -> bool:
        found = self._cache.get(name, namespace)
        with self._lock:
            version = self._own.get((namespace, name))
        return version is not None and version == (found or {}).get("metadata", {}).get("resourceVersion")

    # -------------------------------------------------------------------------------- the index

    def changed(self, kind: Kind, namespace: str, name: str) -> None:
        """The cache has another state of an object."""
        found = self._cache.get(name, namespace)
        place = (namespace, name)
        with self._lock:
            for term in self._labels.pop(place, ()):
                self._drop(self._labelled, (namespace, term), name)
            if found is None:
                self._drop(self._names, namespace, name)
                return
            self._names.setdefault(namespace, set()).add(name)
            terms = tuple(
                sys.intern(f"{key}={value}") for key, value in _labels(found).items() if key not in NOT_INDEXED
            )
            self._labels[place] = terms
            for term in terms:
                self._labelled.setdefault((namespace, term), set()).add(name)

    @staticmethod
    def _drop(index: dict[Any, set[str]], key: Any, name: str) -> None:
        names = index.get(key, set())
        names.discard(name)
        if not names:
            index.pop(key, None)


def _is_newer(cached: Object | None, written: Object | None) -> bool:
    """Whether the cache has caught up with a write.  Versions of one kind are numbers that grow
    (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions)."""
    if cached is None or written is None:
        return cached is None and written is None
    try:
        return _version(cached) >= _version(written)
    except ValueError:
        return bool(cached["metadata"].get("resourceVersion") == written["metadata"].get("resourceVersion"))


def _version(object: Object) -> int:
    return int(object["metadata"].get("resourceVersion", ""))


def _labels(object: Object) -> Mapping[str, str]:
    return object["metadata"].get("labels") or {}


def _carries(object: Object, terms: Sequence[str]) -> bool:
    labels = _labels(object)
    return all(labels.get(key) == value for key, _, value in (term.partition("=") for term in terms))
