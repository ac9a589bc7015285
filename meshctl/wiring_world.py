"""Releases of a cluster for whoever drives them: watched, with ports for each namespace.

`ClusterWorld` is what the loop of `meshctl.controller` sees of a cluster.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.istio.wayback import is_aborted, moved_routes, way_back_of
from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.cached import PARTS
from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE, ENDPOINT_SLICE, RELEASE, VIRTUAL_SERVICE, Kind
from meshctl.adapters.kubernetes.lookout import Lookout
from meshctl.adapters.kubernetes.nearby import NearbyApi
from meshctl.adapters.kubernetes.releases import REQUEST_PREFIX
from meshctl.adapters.kubernetes.store import KubernetesStore
from meshctl.adapters.kubernetes.watching import Cache, trimmed
from meshctl.app.tick import Ports
from meshctl.core.decide import RETIRE_AFTER
from meshctl.core.errors import Unreachable
from meshctl.core.model import Phase
from meshctl.wiring_operator import Operator, OperatorSettings

SYNC_TIMEOUT_S = 120.0
RETIRED_FOR = timedelta(minutes=10)
"""A release that was taken back is looked at by whoever starts within so long: its pods may not be retired yet."""


def _too_late(cache: Cache) -> Unreachable:
    if cache.problem is not None:
        return Unreachable(cache.problem.args[0], hint=cache.problem.hint)
    return Unreachable(f"listing {cache.kind.resource} takes longer than {SYNC_TIMEOUT_S:g} s")


_ENDED = tuple(each.value for each in Phase if each.ended)

Place = tuple[str, str]
"""namespace, name"""


class ClusterWorld:
    """Releases of one namespace or (``""``) of all; implements `meshctl.controller.looks.World`.

    With ``watches`` routes, pods and all that is read is kept in memory, else only the releases are.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        settings: OperatorSettings,
        *,
        watches: bool,
        may_raise: Callable[[], bool] = lambda: True,
        stays: bool = True,
        instance: str = "",
    ) -> None:
        kinds: Mapping[Kind, Callable[[Object], Object]] = {RELEASE: trimmed}
        if watches:
            kinds = {RELEASE: trimmed, VIRTUAL_SERVICE: _routes, DESTINATION_RULE: _routes, **PARTS}
        self._caches = {kind: Cache(api, kind, namespace, trim=trim) for kind, trim in kinds.items()}
        self._releases = self._caches[RELEASE]
        self._api, self._instance, self._stays = api, instance, stays
        self._near = NearbyApi(api, self._caches)
        self._clock = SystemClock()
        self._operator = Operator(settings, self._near, self._clock, may_raise=may_raise, stays=stays)
        self._lock = threading.Lock()
        self._ports: dict[str, Ports] = {}
        self._stores: dict[str, KubernetesStore] = {}
        self._asked: dict[str, _Asked] = {}
        self._adopted: dict[Place, str] = {}
        self._moving: dict[str, Place] = {}
        self._look: Callable[[str], None] = lambda name: None
        self._filled = False
        self._lookout = Lookout(lambda place, release: self._look(f"{place}/{release}"), self._operator.forget)
        self._releases.tell(self._release_changed)
        if watches:
            self._caches[VIRTUAL_SERVICE].tell(self._routes_changed)
            self._caches[DESTINATION_RULE].tell(self._routes_changed)
            self._lookout.follow(self._caches[ENDPOINT_SLICE])
            self._caches[ENDPOINT_SLICE].tell(self._lookout.changed)

    def start(self, look: Callable[[str], None]) -> None:
        """Fill the caches; ``look`` is called for every release that something happens to.

        Raises what does not get better by itself (`Forbidden`; `Refused`: no CRDs, no Istio), and `Unreachable` when
        it takes too long, which for somebody who does not stay is one call that got no answer.
        """
        self._look = look
        deadline = time.monotonic() + SYNC_TIMEOUT_S
        for cache in self._caches.values():
            cache.start()
        try:
            for cache in self._caches.values():
                if not cache.wait_until_synced(deadline - time.monotonic(), patient=self._stays):
                    raise _too_late(cache)
        except BaseException:
            self.stop()
            raise
        self._filled = True

    def stop(self) -> None:
        """Write what is not written yet, let go of all lines."""
        for store in list(self._stores.values()):
            store.flush()
        self._operator.close()
        for cache in self._caches.values():
            cache.stop()

    def deliveries(self) -> Mapping[str, int]:
        """What became of the webhook's events so far, by outcome."""
        return self._operator.deliveries()

    # -------------------------------------------------------------------------------- what there is

    def names(self) -> Sequence[str]:
        return [f"{namespace}/{name}" for namespace, name in self._releases.keys()]  # noqa: SIM118 - no mapping

    def knows(self, name: str) -> bool:
        return self._release(name) is not None

    def due_s(self, name: str) -> float | None:
        release = self._release(name)
        return None if release is None else due_s(release, self._clock.now())

    def strayed(self, name: str) -> bool:
        """Whether the routes of a release that has ended are not as they were written for it; costs no call."""
        release, cache = self._release(name), self._caches.get(VIRTUAL_SERVICE)
        if release is None or cache is None or not (release.get("status") or {}).get("run"):
            return False
        namespace, _, own = name.partition("/")
        service = cache.get(_virtual_service(release) or own, namespace)
        return service is None or not _as_written(service)

    def problems(self) -> Sequence[str]:
        return [str(cache.problem) for cache in self._caches.values() if cache.problem is not None]

    def ports(self, namespace: str) -> Ports:
        with self._lock:
            if namespace not in self._ports:
                store = KubernetesStore(
                    self._api,
                    namespace,
                    self._clock,
                    reads=self._near,
                    claims=self._operator.claims,
                    instance=self._instance,
                )
                self._stores[namespace] = store
                self._ports[namespace] = self._operator.ports(store)
            return self._ports[namespace]

    def follow(self, name: str, *, moving: bool) -> None:
        release = self._release(name)
        namespace = name.partition("/")[0]
        place = (namespace, release["spec"].get("service", "")) if moving and release is not None else None
        with self._lock:
            if self._moving.get(name) == place:
                return
            if place is not None:
                self._moving[name] = place
            else:
                self._moving.pop(name, None)
            found: dict[Place, tuple[str, ...]] = {}
            for each, behind in self._moving.items():
                found[behind] = (*found.get(behind, ()), each.partition("/")[2])
            self._lookout.move(found)

    def _release(self, name: str) -> Object | None:
        namespace, _, release = name.partition("/")
        return self._releases.get(release, namespace)

    # -------------------------------------------------------------------------------- what happens

    def _release_changed(self, kind: Kind, namespace: str, name: str) -> None:
        """Somebody wishes something else, or asks for something; a status is nobody's wish."""
        label, release = f"{namespace}/{name}", self._releases.get(name, namespace)
        with self._lock:
            before = self._asked.pop(label, None)
            self._adopted = {place: each for place, each in self._adopted.items() if each != label}
            if release is not None:
                self._asked[label] = asked = _Asked.of(release)
                if adopted := _virtual_service(release):
                    self._adopted[namespace, adopted] = label
        if release is None or (asked.is_news(before) and due_s(release, self._clock.now()) is not None):
            self._look(label)

    def _routes_changed(self, kind: Kind, namespace: str, name: str) -> None:
        """Somebody else wrote routes: his hand is seen at once.  What was there before is asked for by `strayed`."""
        if not self._filled or self._near.is_own(kind, name, namespace):
            return
        with self._lock:
            label = self._adopted.get((namespace, name), f"{namespace}/{name}")
        if self.knows(label):
            self._look(label)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What people say of a release."""

    uid: str
    generation: int
    requests: frozenset[str]

    @classmethod
    def of(cls, release: Object) -> _Asked:
        meta = release["metadata"]
        requests = (each for each in meta.get("annotations") or {} if each.startswith(REQUEST_PREFIX))
        return cls(meta["uid"], meta.get("generation", 0), frozenset(requests))

    def is_news(self, before: _Asked | None) -> bool:
        """Whether more was said since."""
        same = before is not None and (self.uid, self.generation) == (before.uid, before.generation)
        return not same or before is None or bool(self.requests - before.requests)


def due_s(release: Object, now: datetime) -> float | None:
    """In how many seconds a release should be looked at, by what the object itself says; ``None``: it is idle."""
    meta, status = release["metadata"], release.get("status") or {}
    asked = any(each.startswith(REQUEST_PREFIX) for each in meta.get("annotations") or {})
    settled = status.get("phase") in _ENDED and status.get("weight") == status.get("confirmed")
    if asked or not settled or status.get("observedGeneration") != meta.get("generation"):
        return 0.0
    if status.get("warmUntil"):
        return max((datetime.fromisoformat(status["warmUntil"]) - now).total_seconds(), 0.0)
    since = _since(status, "RolledBack")
    if since is not None and now - since < RETIRED_FOR:
        return max((since + RETIRE_AFTER - now).total_seconds(), 0.0)
    return None


def _since(status: Mapping[str, Any], condition: str) -> datetime | None:
    for each in status.get("conditions") or ():
        if each.get("type") == condition and each.get("lastTransitionTime"):
            return datetime.fromisoformat(each["lastTransitionTime"])
    return None


def _virtual_service(release: Object) -> str:
    """The VirtualService that a release adopts; empty for one of its own name."""
    mesh = (release.get("spec") or {}).get("mesh") or {}
    return str((mesh.get("adopt") or {}).get("virtualService") or "") if mesh.get("ownership") == "adopt" else ""


def _as_written(service: Object) -> bool:
    """Whether a VirtualService says what it was written to say, by its own way back."""
    way = way_back_of(service)
    if way is None:
        return False
    wished = way.back if is_aborted(service) else way.weights
    routes = moved_routes(service, way.routes)
    return bool(routes) and all(
        round(percent * 10) == wished.get(destination.subset, 0)
        for route in routes
        for destination, percent in route.percents().items()
    )


def _routes(object: Object) -> Object:
    """Of who owns which field only the owners are kept."""
    owners = [
        {key: each[key] for key in ("manager", "operation", "subresource", "time") if key in each}
        for each in object["metadata"].get("managedFields") or ()
    ]
    kept = trimmed(object)
    return {**kept, "metadata": {**kept["metadata"], "managedFields": owners}}
