"""The store of a cluster in the simulated worlds: an API server in memory, and processes that may stop or die before
any of their writes, lose the answer to one, and lose what they had not written yet.

A decision counts from the write that commits it, whoever makes that: another process may help.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from meshctl.adapters.kubernetes.api import Object
from meshctl.adapters.kubernetes.store import KubernetesStore
from meshctl.adapters.memory import FakeClock
from meshctl.core.errors import StoreError, Unreachable
from meshctl.core.model import Release, Request
from meshctl.core.packing import unpack
from meshctl.core.ports import Stored, Version
from tests.adapters.api_memory import MemoryApi
from tests.sim.actors import Actor, Look

NAMESPACE = "default"
CALLS = ("get", "find", "list", "create", "replace", "patch", "delete")
WRITES = CALLS[3:]
PENDING_MAX = 20


@dataclass(frozen=True)
class Pending:
    """A save that somebody began: it counts once it is committed."""

    actor: Actor
    look: Look
    expected: Version
    state: Any
    rest: dict[str, Any]
    last_line: str
    """The newest block in the record that the new ones are added to."""


class ClusterStore:
    """What the cluster holds, and the faults of its API server."""

    def __init__(self, clock: FakeClock, settings: Any) -> None:
        self.api = MemoryApi(clock=clock)
        self.disk_full = self.unreadable = False
        self.settings = settings
        self.begun: list[Pending] = []
        self._stored: tuple[int, Stored] | None = None
        self._truth = KubernetesStore(self.api, NAMESPACE, clock, projects=False)
        for name in ("load", "release", "runs", "decisions", "blocks", "checkpoint", "names", "revision"):
            setattr(self, name, getattr(self._truth, name))

    def put_release(self, release: Release) -> Release:
        return self._truth.put_release(release)

    def request(self, name: str, request: Request) -> None:
        if self.disk_full or self.unreadable:
            raise StoreError("the API server takes no request (a fault was asked for)")
        self._truth.request(name, request)

    def stored(self) -> Stored:
        """The truth."""
        if self._stored is None or self._stored[0] != self.api.cluster.version:
            self._stored = (self.api.cluster.version, self._truth.load("shop"))
        return self._stored[1]


class ActorApi:
    """The API server as one process reaches it: it may stop before each of its writes."""

    def __init__(self, actor: Actor, store: ClusterStore, committed: Any) -> None:
        self._actor, self._store, self._committed = actor, store, committed
        self.namespace, self.user, self.server = store.api.namespace, actor.name, store.api.server
        self.lose_answer = False

    def __getattr__(self, verb: str) -> Any:
        assert verb in CALLS, verb

        def call(*args: Any, **rest: Any) -> Any:
            if self._store.unreadable:
                raise Unreachable("the API server is away (a fault was asked for)")
            if verb in WRITES:
                return self._write(verb, args, rest)
            return getattr(self._store.api, verb)(*args, **rest)

        return call

    def _write(self, verb: str, args: tuple[Any, ...], rest: dict[str, Any]) -> Object | None:
        self._actor.writes += 1
        self._actor.point(f"write {self._actor.writes}")
        if self._store.disk_full:
            raise Unreachable("etcd takes no more writes (a fault was asked for)")
        before = self._store.stored()
        answer: Object | None = getattr(self._store.api, verb)(*args, **rest)
        self._committed(before, self._store.stored())
        if self.lose_answer:
            self.lose_answer = False
            raise Unreachable("the line broke before the answer (a fault was asked for)")
        return answer


class ClusterActorStore:
    """The store as one process reaches it."""

    def __init__(self, actor: Actor, store: ClusterStore, ledger: Any, planted: Any) -> None:
        self._actor, self._store, self._ledger = actor, store, ledger
        self.api = ActorApi(actor, store, self._committed)
        self._planted = planted(self.api)
        self._before: Stored | None = None
        self.forget()
        self.names, self.request = store.names, store.request

    def forget(self) -> None:
        """The process died: a new one knows nothing."""
        settings = self._store.settings
        self._kept = KubernetesStore(
            self._planted,
            NAMESPACE,
            self._actor,
            projects=self._actor.name != "person",
            write_behind_s=settings.write_behind_s,
            bytes_max=settings.bytes_max,
            instance=self._actor.name,
        )

    def load(self, name: str) -> Stored:
        self._actor.point("load")
        stored = self._kept.load(name)
        if self._actor.stale_store and self._before is not None:
            self._actor.stale_store = False
            stored = replace(self._before, release=stored.release)
        self._before = stored
        self._actor.look = Look(stored)
        return stored

    def save(self, name: str, expected_version: Version, state: Any, **rest: Any) -> Version:
        self._actor.point("save")
        pending = Pending(self._actor, self._actor.look, expected_version, state, rest, self._last_line())
        begun = self._store.begun
        begun.append(pending)
        del begun[:-PENDING_MAX]
        version = self._kept.save(name, expected_version, state, **rest)
        if any(each is pending for each in begun):  # kept back: nothing was written
            begun.remove(pending)
            assert pending.look.stored is not None
            if _place(self._store.stored().version) == _place(expected_version):
                self._tell(pending, pending.look.stored)  # else its next look drops it
        return version

    def _committed(self, before: Stored, after: Stored) -> None:
        """After each write: whose save it was that counts from now on, if any."""
        if _place(before.version) == _place(after.version):
            return
        found = [each for each in self._store.begun if each.state == after.state]
        assert found, f"a state was stored that nobody asked for: {after.state}"
        self._store.begun.remove(found[-1])
        self._tell(found[-1], before)

    def _tell(self, pending: Pending, before: Stored) -> None:
        run = before.state.run
        if run is not None and pending.rest["blocks"]:
            self._ledger.block_ends.pop(run.name, None)
            if pending.last_line:
                self._ledger.block_ends[run.name] = self._ledger.spans[unpack(pending.last_line)][1]
        stored = replace(before, version=_place(before.version))
        actor = SimpleNamespace(look=pending.look, name=pending.actor.name)
        self._ledger.saved(actor, stored, _place(pending.expected), pending.state, pending.rest)

    def _last_line(self) -> str:
        known = self._kept._heads.get("shop")
        if known is None or known.present is None or not known.present.chronicle.lines:
            return ""
        return known.present.chronicle.lines[-1]


def _place(version: Version) -> str:
    """The state of the cluster that a version is of: without what is not written yet, and without the wish."""
    return re.sub(r"\+.*", "", str(version)) if "@" in str(version) else str(version)
