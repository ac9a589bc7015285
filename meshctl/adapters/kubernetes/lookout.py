"""Notices within a moment that pods of a moving release came or went, so that nobody waits for the next tick.

Endpoints decide where requests go, so their slices are what is watched: a pod that is deleted, evicted or fails its
probe leaves them at once, whatever became of the pod.  A change says only "look at this release now"; what it means
is read by the tick.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from meshctl.adapters.kubernetes.api import Object
from meshctl.adapters.kubernetes.kinds import Kind
from meshctl.adapters.kubernetes.looking import SERVICE_LABEL
from meshctl.adapters.kubernetes.standing import endpoint_is_ready

Addresses = frozenset[tuple[str, ...]]
Place = tuple[str, str]
"""namespace, name"""


class Slices(Protocol):
    """A cache of EndpointSlices."""

    def get(self, name: str, namespace: str = "") -> Object | None: ...


def service_of(slice_: Object) -> Place:
    """Namespace and name of the Service that a slice belongs to; the name is empty where there is none."""
    metadata = slice_["metadata"]
    return metadata.get("namespace", ""), (metadata.get("labels") or {}).get(SERVICE_LABEL, "")


def ready_addresses(slice_: Object | None) -> Addresses:
    """The addresses of a slice that requests may go to."""
    endpoints = (slice_ or {}).get("endpoints") or ()
    return frozenset(tuple(each.get("addresses") or ()) for each in endpoints if endpoint_is_ready(each))


class Lookout:
    """Turns changes of EndpointSlices into words to the controller.

    `changed` has the shape of a cache's callback: ``Cache(api, ENDPOINT_SLICE, changed=lookout.changed)``.  Where an
    endpoint became ready or is it no more, ``forget(namespace, service)`` is called first, so that nobody goes by what
    he saw a moment ago (`KubernetesWorkloads.forget`), then ``look_now(namespace, release)`` for the releases that
    move behind its Service.  Both come from the cache's thread and must return at once.
    """

    def __init__(self, look_now: Callable[[str, str], None], forget: Callable[[str, str], None]) -> None:
        self._look_now = look_now
        self._forget = forget
        self._slices: Slices | None = None
        self._moving: Mapping[Place, tuple[str, ...]] = {}
        self._known: dict[Place, tuple[Place, Addresses]] = {}
        self._lock = threading.Lock()

    def follow(self, slices: Slices) -> None:
        """The cache whose changes will be told."""
        self._slices = slices

    def move(self, moving: Mapping[Place, tuple[str, ...]]) -> None:
        """From now on these releases move: (namespace, Service) -> names of Releases."""
        with self._lock:
            self._moving = dict(moving)

    def changed(self, kind: Kind, namespace: str, name: str) -> None:
        """A slice was added, changed or deleted.  Never raises."""
        found = self._slices.get(name, namespace) if self._slices is not None else None
        with self._lock:
            releases, place = self._concerned((namespace, name), found)
        if releases:
            self._forget(*place)
        for release in releases:
            self._look_now(place[0], release)

    def _concerned(self, slice_: Place, found: Object | None) -> tuple[tuple[str, ...], Place]:
        known = self._known.pop(slice_, None)
        before = known[1] if known is not None else ready_addresses(None)
        place = service_of(found) if found is not None else known[0] if known is not None else slice_
        if found is not None:
            self._known[slice_] = (place, ready_addresses(found))
        return (self._moving.get(place, ()) if ready_addresses(found) != before else ()), place
