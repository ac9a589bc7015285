"""Releases as people write them, and what they ask of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from meshctl.adapters.kubernetes.api import Api, NotFound, Object, Patch
from meshctl.adapters.kubernetes.kinds import RELEASE
from meshctl.adapters.kubernetes.looking import Reads
from meshctl.adapters.kubernetes.refusals import explained
from meshctl.adapters.kubernetes.releases import (
    REQUEST_PREFIX,
    release_of,
    request_key,
    request_text,
    wish_of,
)
from meshctl.core.catalog import unknown
from meshctl.core.errors import Conflict, InvalidInput, Refused
from meshctl.core.model import Release, Request, Verb, Workload
from meshctl.core.ports import Clock

MANAGER = "meshctl"
WAITING_BYTES_MAX = 128 * 1024
"""What the requests that wait on one release may take: half of what all annotations of an object share, so that an
abort always finds room."""


class KubernetesWishes:
    """The wishes of one namespace.  ``force`` takes fields over that another field manager owns."""

    def __init__(self, api: Api, namespace: str, clock: Clock, reads: Reads, *, force: bool = False) -> None:
        self._api, self._namespace, self._clock, self._reads, self._force = api, namespace, clock, reads, force
        self._lock = threading.Lock()
        self._last = datetime.min.replace(tzinfo=clock.now().tzinfo)

    def names(self) -> list[str]:
        found = self._reads.list(RELEASE, self._namespace).items
        return sorted(each["metadata"]["name"] for each in found)

    def object(self, name: str, *, directly: bool = False) -> Object:
        """The Release itself.  Raises `Refused`, with the nearest name, when there is none."""
        found = None if directly else self._reads.find(RELEASE, name, self._namespace)
        found = found or self._api.find(RELEASE, name, self._namespace)
        if found is None:
            raise unknown("release", name, self.names())
        return found

    def put(self, release: Release, *, dry_run: bool = False) -> Release:
        """Server-side apply: fields that were applied before and are not wished any more go; others' fields stay.

        With ``dry_run`` the API server only says what it would make of it.
        """
        meta = release.metadata
        if meta.namespace != self._namespace:
            raise InvalidInput(
                f"Release/{meta.name}: metadata.namespace: is {meta.namespace}, the target is {self._namespace}",
                hint=f"Name the namespace that is meant: -n {meta.namespace}, or change the file.",
            )
        try:
            object = self._api.patch(
                RELEASE,
                meta.name,
                self._namespace,
                wish_of(release),
                form=Patch.APPLY,
                manager=MANAGER,
                force=self._force,
                dry_run=dry_run,
            )
        except (InvalidInput, Conflict) as error:
            raise explained(error, f"Release/{meta.name}") from error
        return release_of(object)

    def ask(self, name: str, request: Request) -> None:
        """One annotation, by merge patch without a version: it never loses a race."""
        key = request_key(request.id)
        annotations = self.object(name, directly=True)["metadata"].get("annotations") or {}
        if key in annotations:
            return
        text = request_text(request, self._moment())
        waiting = [value for each, value in annotations.items() if each.startswith(REQUEST_PREFIX)]
        too_many = sum(len(each.encode()) for each in (*waiting, text)) > WAITING_BYTES_MAX
        if too_many and request.verb is not Verb.ABORT:
            raise Refused(
                f"{request.verb} of {name}: {len(waiting)} requests wait to be served already",
                hint="Does a controller run? See: meshctl get, kubectl describe release.",
            )
        body = {"metadata": {"annotations": {key: text}}}
        try:
            self._api.patch(RELEASE, name, self._namespace, body, form=Patch.MERGE)
        except NotFound:
            raise unknown("release", name, self.names()) from None

    def answered(self, release: Object, ids: Sequence[str]) -> None:
        """Take requests off a release."""
        there = release["metadata"].get("annotations") or {}
        keys = [REQUEST_PREFIX + each for each in ids if REQUEST_PREFIX + each in there]
        if keys:
            body = {"metadata": {"annotations": dict.fromkeys(keys)}}
            self._api.patch(RELEASE, release["metadata"]["name"], self._namespace, body, form=Patch.MERGE)

    def _moment(self) -> datetime:
        """Now, and later than the last time: requests of one process keep their order."""
        with self._lock:
            self._last = max(self._clock.now(), self._last + timedelta(microseconds=1))
            return self._last


def no_workloads(name: str = "") -> Workload:
    """A cluster has Deployments.  Raises `Refused`."""
    what = f"Workload/{name}: " if name else ""
    raise Refused(
        f"{what}a Workload exists without a cluster only",
        hint="In a cluster the pods come from Deployments of your own, or from spec.workload of the Release.",
    )
