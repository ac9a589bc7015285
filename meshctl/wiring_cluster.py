"""Joins ports to adapters for a cluster: as the command line sees it, and as whoever drives releases there."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.istio.wayback import lower_routes
from meshctl.adapters.kubernetes.access import connect
from meshctl.adapters.kubernetes.api import Api
from meshctl.adapters.kubernetes.kinds import RELEASE
from meshctl.adapters.kubernetes.lease import LeaseLock
from meshctl.adapters.kubernetes.store import KubernetesStore
from meshctl.adapters.kubernetes.watching import Cache
from meshctl.app.commands import new_request
from meshctl.core.advice.finding import Finding
from meshctl.core.errors import Forbidden, InvalidInput, Refused
from meshctl.core.model import Release, Request, Verb, Workload
from meshctl.core.ports import Stored

SYNC_TIMEOUT_S = 60.0
LEASE_NAME = "meshctl"
REFRESH_S = 15.0
"""Who follows looks again after so long: the newest figures of the judge are stored now and then without a decision."""


class ClusterPlace:
    """A cluster from outside, as one user sees it.  Nothing is asked of it before it is needed."""

    def __init__(self, api: Api, namespace: str, *, named: bool) -> None:
        self.api, self.namespace = api, namespace
        self._named = named
        self._clock = SystemClock()
        self._stores: dict[str, KubernetesStore] = {}

    @property
    def home(self) -> str:
        """Where we live: a pod's own namespace, else the context's."""
        return self.api.namespace

    @classmethod
    def connect(cls, *, kubeconfig: str | None, context: str | None, namespace: str | None) -> ClusterPlace:
        """Raises `UnknownTarget`, `InvalidInput` and `Forbidden` for what is wrong with the kubeconfig."""
        api = connect(kubeconfig, context)
        return cls(api, namespace or api.namespace, named=namespace is not None)

    def store(self, namespace: str = "") -> KubernetesStore:
        """The records of a namespace, for whoever looks and asks."""
        namespace = namespace or self.namespace
        if namespace not in self._stores:
            self._stores[namespace] = KubernetesStore(self.api, namespace, self._clock, projects=False)
        return self._stores[namespace]

    def namespaces(self) -> list[str]:
        """Those that have a release."""
        return sorted({each["metadata"]["namespace"] for each in self.api.list(RELEASE).items})

    def wishes(self, path: Path) -> list[Release]:
        """The releases of a file or folder, tried on the API server; nothing is stored.

        One without a namespace is meant for the target's.  Raises `InvalidInput` naming file, line and field.
        """
        from meshctl.adapters.manifests import load_manifests

        found = []
        for wish in load_manifests(path, embedded=False, namespace=self.namespace, only=self._named):
            if isinstance(wish, Workload):
                raise InvalidInput(
                    f"{path}: Workload/{wish.metadata.name}: a Workload exists without a cluster only",
                    hint="In a cluster the pods come from Deployments of your own, or from spec.workload.",
                )
            found.append(wish)
        for wish in found:
            self.store(wish.metadata.namespace).put_release(wish, dry_run=True)
        return found

    def look(self, path: Path | None, *, everywhere: bool, **options: Any) -> list[Finding]:
        """What lint finds in the manifests of a file or folder, and what the cluster says of them; without them in the
        releases that are there."""
        from meshctl.adapters.kubernetes.around import read_surroundings, with_wishes
        from meshctl.adapters.linting import inspect, live_findings

        around = read_surroundings(self.api, self.namespace)
        if path is None:
            return live_findings(around, "" if everywhere else self.namespace)
        found = inspect(path, known=(), embedded=False, **options)

        def attempt(wish: Release) -> None:
            self.store(wish.metadata.namespace).put_release(wish, dry_run=True)

        return [*found.findings, *found.tried(attempt, partial(with_wishes, around), self.namespace)]

    def new_request(self, verb: Verb, **fields: Any) -> Request:
        return new_request(verb, self._clock.now(), **fields)

    def lower(self, stored: Stored) -> str:
        """Take the candidate of a release to nothing with the user's own rights: what was done, in words; nothing
        where there was nothing to lower or the user may not.

        Raises `Conflict` when a newer run has begun meanwhile, `Unreachable`.
        """
        run = stored.state.run
        if run is None or run.phase.ended:
            return ""
        try:
            revision = lower_routes(self.api, stored.release, run.name)
        except (Forbidden, Refused):
            return ""
        return f"{run.candidate} is taken back to 0 %: aborted" if revision is not None else ""

    def changes(self, name: str | None, *, everywhere: bool, timeout_s: float | None) -> Iterator[None]:
        """Now, after each change of a release (or of any), and every now and then, until the time is up.

        Raises `Unreachable` when the API server does not answer at the start; later it is waited for.
        """
        changed = threading.Event()
        cache = Cache(
            self.api,
            RELEASE,
            "" if everywhere else self.namespace,
            fields=f"metadata.name={name}" if name else "",
            changed=lambda *place: changed.set(),
        )
        cache.start()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            cache.wait_until_synced(SYNC_TIMEOUT_S, patient=False)
            while True:
                changed.clear()
                yield
                left = REFRESH_S if deadline is None else min(REFRESH_S, deadline - time.monotonic())
                if left <= 0:
                    return
                changed.wait(left)
        finally:
            cache.stop()


def lease_of(place: ClusterPlace, identity: str) -> LeaseLock:
    """The lease by which one of several controllers works, in the namespace that they live in."""
    unique = f"{identity}_{secrets.token_hex(4)}"
    return LeaseLock(place.api, LEASE_NAME, place.home, unique, clock=SystemClock(), monotonic=time.monotonic)
