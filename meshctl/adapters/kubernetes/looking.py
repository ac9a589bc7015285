"""Reads what stands behind a Service: its pods and endpoints, and who makes and scales them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from meshctl.adapters.kubernetes.api import Listing, Object
from meshctl.adapters.kubernetes.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    HORIZONTAL_POD_AUTOSCALER,
    POD,
    SERVICE,
    Kind,
)
from meshctl.adapters.kubernetes.pod_words import is_vague
from meshctl.adapters.kubernetes.standing import Standing, name_of, pods_of, selector_of
from meshctl.core.errors import MeshctlError
from meshctl.core.model import Release

SERVICE_LABEL = "kubernetes.io/service-name"
"""On every EndpointSlice: the Service that it belongs to."""

LOOK_VALID_S = 0.5
"""One tick looks several times; so long the same look will do.  Far below the 2 s that a dead pod may keep weight."""

HEARD_VALID_S = 5.0
HEARD_PODS_MAX = 2


class Reads(Protocol):
    """An `Api`, as far as it is read here; or a cache that watches keep filled."""

    def find(self, kind: Kind, name: str, namespace: str = "") -> Object | None: ...

    def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing: ...


class Looker:
    """Takes looks, and keeps each for a moment.  May be used by several threads at once."""

    def __init__(self, api: Reads, *, valid_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._valid_s = valid_s
        self._monotonic = monotonic
        self._looks: dict[tuple[str, str], tuple[float, int, Standing]] = {}
        self._turns: dict[tuple[str, str], int] = {}
        self._heard: dict[tuple[str, str], tuple[float, str]] = {}

    def look(self, release: Release) -> Standing:
        """Everything behind the release's Service.  Raises `Unreachable` and `Forbidden`."""
        key, now = _key(release), self._monotonic()
        turn = self._turns.get(key, 0)
        found = self._looks.get(key)
        if found is not None and found[1] == turn and now - found[0] < self._valid_s:
            return found[2]
        standing = self._take(release)
        kept = {place: look for place, look in list(self._looks.items()) if now - look[0] < self._valid_s}
        self._looks = kept | {key: (now, turn, standing)}  # whose look gets lost between threads looks again
        return standing

    def forget(self, namespace: str, service: str) -> None:
        """Something changed: no look that was begun before counts any more."""
        key = namespace, service
        self._turns[key] = self._turns.get(key, 0) + 1

    def heard(self, release: Release, standing: Standing, version: str) -> dict[str, str]:
        """What events say of pods whose status is vague: the newest warning of the first few, by pod.

        Only words: where events cannot be read there are none.
        """
        vague = [pod for pod in pods_of(release, standing, version) if is_vague(pod)]
        said = {name_of(pod): self._warning(release.metadata.namespace, name_of(pod)) for pod in vague[:HEARD_PODS_MAX]}
        return {name: words for name, words in said.items() if words}

    def _take(self, release: Release) -> Standing:
        namespace, name = release.metadata.namespace, release.spec.service
        service = self._api.find(SERVICE, name, namespace)
        selector, trouble = selector_of(release, service)
        if trouble:
            return Standing(service, (), (), (), ())
        chosen = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        return Standing(
            service=service,
            # Endpoints first: a pod that comes in between is missed for a moment, and never one that is gone.
            slices=self._api.list(ENDPOINT_SLICE, namespace, labels=f"{SERVICE_LABEL}={name}").items,
            pods=self._api.list(POD, namespace, labels=chosen).items,
            deployments=self._api.list(DEPLOYMENT, namespace).items,
            autoscalers=self._api.list(HORIZONTAL_POD_AUTOSCALER, namespace).items,
        )

    def _warning(self, namespace: str, pod: str) -> str:
        now = self._monotonic()
        heard, words = self._heard.get((namespace, pod), (None, ""))
        if heard is None or now - heard >= HEARD_VALID_S:
            if len(self._heard) > 1000:
                self._heard.clear()
            words = newest_warning(self._events(namespace, pod))
            self._heard[namespace, pod] = (now, words)
        return words

    def _events(self, namespace: str, pod: str) -> Sequence[Object]:
        fields = f"regarding.kind=Pod,regarding.name={pod},type=Warning"
        try:
            return self._api.list(EVENT, namespace, fields=fields).items
        except MeshctlError:
            return ()


def newest_warning(events: Sequence[Object]) -> str:
    """The note of the newest event; recorders of both APIs are understood."""
    return str(max(events, key=_moment).get("note") or "") if events else ""


def _moment(event: Mapping[str, object]) -> str:
    series = event.get("series")
    last = series.get("lastObservedTime") if isinstance(series, Mapping) else None
    return str(last or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")


def _key(release: Release) -> tuple[str, str]:
    return release.metadata.namespace, release.spec.service
