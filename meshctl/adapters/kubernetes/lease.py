"""Who of several controllers works: a Lease (coordination.k8s.io), taken and renewed by compare-and-swap.

The rules are those of client-go's leader election: clocks of different machines are never compared; a lease that
another holds has run out when it has not *changed* for its duration by our own clock.  It saves work, it is not what
keeps two controllers from doing harm: that is the compare-and-swap of the store and of the routes.
https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.kinds import LEASE
from meshctl.core.errors import Conflict
from meshctl.core.ports import Clock

DURATION_S = 15
"""So long after its last sign of life a holder is taken for gone."""


class LeaseLock:
    """One candidate for one lease.  ``identity`` is told to people and must be unique.  Not for several threads."""

    def __init__(
        self,
        api: Api,
        name: str,
        namespace: str,
        identity: str,
        *,
        clock: Clock,
        monotonic: Callable[[], float],
        duration_s: int = DURATION_S,
    ) -> None:
        self._api, self._name, self._namespace, self.identity = api, name, namespace, identity
        self._clock, self._monotonic, self._duration_s = clock, monotonic, duration_s
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self.holder = ""
        """Who held it at the last look."""

    def attempt(self) -> bool:
        """Take the lease if it is free, renew it if it is ours; whether it is ours now.

        Raises what `Api` raises, except for a lost race, which says that it is not ours.
        """
        lease = self._api.find(LEASE, self._name, self._namespace)
        spec = (lease or {}).get("spec") or {}
        if spec.get("holderIdentity") not in (None, "", self.identity) and not self._run_out(spec):
            self.holder = spec["holderIdentity"]
            return False
        try:
            if lease is None:
                written = self._api.create(LEASE, self._object(None))
            else:
                written = self._api.replace(LEASE, self._object(lease))
        except Conflict:
            # Perhaps with ourselves: a write whose answer was lost, and that was repeated.
            written = self._api.find(LEASE, self._name, self._namespace) or {}
        self.holder = str((written.get("spec") or {}).get("holderIdentity") or "")
        return self.holder == self.identity

    def release(self) -> None:
        """Give the lease back, so that the next one need not wait; only if it is ours."""
        lease = self._api.find(LEASE, self._name, self._namespace)
        if lease is None or (lease.get("spec") or {}).get("holderIdentity") != self.identity:
            return
        spec = lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            self._api.replace(LEASE, lease | {"spec": spec})
        except Conflict:
            return

    def _run_out(self, spec: dict[str, Any]) -> bool:
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        now = self._monotonic()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        return now - self._seen_at >= float(spec.get("leaseDurationSeconds") or self._duration_s)

    def _object(self, before: Object | None) -> Object:
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = (before or {}).get("spec") or {}
        ours = old.get("holderIdentity") == self.identity
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._duration_s,
            "acquireTime": old.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (before is not None and not ours),
        }
        head = {"apiVersion": LEASE.api_version, "kind": LEASE.name}
        metadata = before["metadata"] if before else {"name": self._name, "namespace": self._namespace}
        return head | {"metadata": metadata, "spec": spec}
