"""An API server in memory, for tests: `meshctl.adapters.kubernetes.api.Api` with everything that can go wrong.

It keeps what the real one promises: resource versions, generations, the status subresource, owners that take their
dependants with them, finalizers, server-side apply with conflicts, watches from any remembered version.  The suite in
`test_kubernetes_api.py` runs on both.  It knows no schema: set ``admission`` where one, or a webhook, must speak.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.kubernetes.api import (
    ADDED,
    BOOKMARK,
    DELETED,
    MANAGER,
    MODIFIED,
    Change,
    Listing,
    NotFound,
    Object,
    Patch,
)
from meshctl.adapters.kubernetes.kinds import NAMESPACE, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_REVIEW, Kind
from meshctl.adapters.kubernetes.problems import Call, error_of
from meshctl.core.errors import MeshctlError
from meshctl.core.ports import Clock
from tests.adapters.api_cluster import Cluster, Line, Refusal
from tests.adapters.api_fields import copied, matches


@dataclass(slots=True)
class _Fault:
    error: MeshctlError
    verb: str
    kind: Kind | None
    name: str
    times: int
    after: bool

    def fits(self, call: Call) -> bool:
        wanted = (self.verb in ("", call.verb), self.kind in (None, call.kind), self.name in ("", call.name))
        return self.times > 0 and all(wanted)


class MemoryApi:
    """A cluster in memory as one user sees it.  ``namespaces`` exist from the start.

    For tests: ``calls`` holds every call made (clear it as you like); ``before(call)`` is asked before each, and may
    write through `seen_by` what another hand writes just then, or raise; ``texts`` are the answers of `get_text`, by
    path; `fail`, `deny`, `forget`, `cut_watches`, and ``cluster.admission`` and ``cluster.unknown`` make trouble.
    """

    def __init__(
        self,
        *,
        namespace: str = "default",
        user: str = "tester",
        namespaces: tuple[str, ...] = ("default", "istio-system"),
        clock: Clock | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.namespace, self.user, self.server = namespace, user, "https://memory.invalid:6443"
        self.calls: list[Call] = []
        self.before: Callable[[Call], None] | None = None
        self.texts: dict[str, str] = {}
        self.page = 500
        self._faults: list[_Fault] = []
        self._denied: set[tuple[str, Kind, str]] = set()
        self.cluster = cluster or Cluster(clock or SystemClock())
        if cluster is None:
            for name in namespaces:
                self.create(NAMESPACE, {"metadata": {"name": name}})
            self.calls.clear()

    # ------------------------------------------------------------------------------------------ for tests

    def seen_by(self, user: str) -> MemoryApi:
        """The same cluster as somebody else sees it: without the faults and denials that are laid here."""
        return MemoryApi(namespace=self.namespace, user=user, cluster=self.cluster)

    def fail(
        self,
        error: MeshctlError,
        *,
        verb: str = "",
        kind: Kind | None = None,
        name: str = "",
        times: int = 1,
        after: bool = False,
    ) -> None:
        """Raise ``error`` at the next ``times`` calls that fit; with ``after`` once the call was done: the answer is
        what gets lost."""
        self._faults.append(_Fault(error, verb, kind, name, times, after))

    def deny(self, verb: str, kind: Kind, namespace: str = "") -> None:
        """Refuse a verb (get, list, watch, create, update, patch, delete) from now on; in all namespaces if none is
        named."""
        self._denied.add((verb, kind, namespace))

    def forget(self) -> None:
        """Drop the history, as etcd's compaction does: watches from older versions are `Expired`."""
        with self.cluster.changed:
            self.cluster.forgotten = self.cluster.version
            self.cluster.history.clear()

    def cut_watches(self) -> None:
        """End every watch that is under way, as a restart of the API server does."""
        with self.cluster.changed:
            self.cluster.breaks += 1
            self.cluster.changed.notify_all()

    # ------------------------------------------------------------------------------------------ reads

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        with self._asked(Call("get", kind, name, namespace)):
            return copied(self.cluster.entry(kind, namespace, name).object)

    def find(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        try:
            return self.get(kind, name, namespace)
        except NotFound:
            return None

    def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        with self._asked(Call("list", kind, namespace=namespace)):
            found = [object for object in self.cluster.of(kind, namespace) if matches(object, labels, fields)]
            return Listing(copied(found), str(self.cluster.version))

    def pages(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Iterator[Listing]:
        whole = self.list(kind, namespace, labels=labels, fields=fields)
        for first in range(0, max(1, len(whole.items)), self.page):
            yield Listing(whole.items[first : first + self.page], whole.resource_version)

    def server_version(self) -> str:
        with self._asked(Call("get", path="/version")):
            return "v1.36.3"

    def get_text(self, path: str, *, query: Mapping[str, str] | None = None, timeout_s: float | None = None) -> str:
        with self._asked(Call("get", path=path)):
            if path not in self.texts:
                raise Refusal(404, "NotFound", f"nothing at {path}")
            return self.texts[path]

    # ------------------------------------------------------------------------------------------ writes

    def create(self, kind: Kind, object: Object, *, dry_run: bool = False) -> Object:
        meta = object.get("metadata", {})
        with self._asked(Call("create", kind, meta.get("name", ""), meta.get("namespace", ""))):
            if kind is SELF_SUBJECT_ACCESS_REVIEW:
                return self._access(object)
            if kind is SELF_SUBJECT_REVIEW:
                return {**object, "status": {"userInfo": {"username": self.user}}}
            return self.cluster.create(kind, object, (MANAGER, "Update", ""), dry_run=dry_run)

    def replace(self, kind: Kind, object: Object, *, subresource: str = "", dry_run: bool = False) -> Object:
        meta = object["metadata"]
        with self._asked(Call("update", kind, meta["name"], meta.get("namespace", ""), subresource)):
            return self.cluster.replace(kind, object, subresource, (MANAGER, "Update", subresource), dry_run=dry_run)

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        body: Any,
        *,
        form: Patch,
        subresource: str = "",
        manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> Object:
        if form is Patch.APPLY:
            body = {"apiVersion": kind.api_version, "kind": kind.name, **body, "metadata": body.get("metadata") or {}}
        with self._asked(Call("patch", kind, name, namespace, subresource, form)):
            return self.cluster.patch(
                kind, namespace, name, body, form, subresource, manager or MANAGER, force=force, dry_run=dry_run
            )

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
            with self._asked(Call("delete", kind, name, namespace)):
                self.cluster.delete(kind, namespace, name, uid, resource_version, propagation)
        except NotFound:
            return

    # ------------------------------------------------------------------------------------------ watch

    def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        timeout_s: float,
    ) -> MemoryChanges:
        call = Call("watch", kind, namespace=namespace)
        with self._asked(call):
            there = [object for object in self.cluster.of(kind, namespace) if matches(object, labels, fields)]
            at = int(resource_version or 0)
            first = [] if at else [Change(ADDED, copied(object)) for object in there]
            return MemoryChanges(
                self.cluster, call, at or self.cluster.version, first, (labels, fields), monotonic() + timeout_s
            )

    # ------------------------------------------------------------------------------------------ in between

    @contextmanager
    def _asked(self, call: Call) -> Iterator[None]:
        """Around each call: the record, another hand, faults, permissions, the lock, and refusals as errors."""
        self.calls.append(call)
        if self.before is not None:
            self.before(call)
        self._fault(call, after=False)
        try:
            if call.kind is not None and not self._may(call.verb, call.kind, call.namespace):
                raise _denial(call, self.user)
            with self.cluster.changed:
                yield
        except Refusal as refusal:
            raise error_of(call, refusal.code, refusal.status, server=self.server, user=self.user) from None
        self._fault(call, after=True)

    def _fault(self, call: Call, *, after: bool) -> None:
        for fault in self._faults:
            if fault.after == after and fault.fits(call):
                fault.times -= 1
                raise fault.error

    def _may(self, verb: str, kind: Kind, namespace: str) -> bool:
        return not {(verb, kind, namespace), (verb, kind, "")} & self._denied

    def _access(self, review: Object) -> Object:
        asked = review["spec"]["resourceAttributes"]
        denied = any(
            (verb, kind.group, kind.plural) == (asked["verb"], asked.get("group", ""), asked["resource"])
            and namespace in ("", asked.get("namespace", ""))
            for verb, kind, namespace in self._denied
        )
        return {**review, "status": {"allowed": not denied}}


class MemoryChanges:
    """A watch under way, from version ``at``."""

    def __init__(
        self, cluster: Cluster, call: Call, at: int, first: list[Change], selectors: tuple[str, str], deadline: float
    ) -> None:
        self._cluster, self._call, self._at, self._selectors, self._deadline = cluster, call, at, selectors, deadline
        self._waiting = deque(first)
        self._breaks, self._ended = cluster.breaks, False

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        with self._cluster.changed:
            while not self._waiting:
                if self._ended:
                    raise StopIteration
                self._look()
            return self._waiting.popleft()

    def close(self) -> None:
        with self._cluster.changed:
            self._ended = True
            self._waiting.clear()
            self._cluster.changed.notify_all()

    def _look(self) -> None:
        """Take over what happened since, else wait for it; at the end one bookmark."""
        cluster = self._cluster
        if self._at < cluster.forgotten:
            self._ended = True
            raise error_of(self._call, 410, {"message": f"too old resource version: {self._at} ({cluster.forgotten})"})
        lines = [line for line in cluster.history if line.version > self._at]
        for line in lines:
            if line.kind == self._call.kind and self._call.namespace in ("", line.object["metadata"].get("namespace")):
                self._waiting += _seen(line, *self._selectors)
        if lines:
            self._at = lines[-1].version
            return
        left_s = self._deadline - monotonic()
        if left_s > 0 and cluster.breaks == self._breaks:
            cluster.changed.wait(left_s)
            return
        self._ended = True
        if cluster.breaks == self._breaks:
            self._waiting.append(Change(BOOKMARK, {"metadata": {"resourceVersion": str(self._at)}}))


def _seen(line: Line, labels: str, fields: str) -> Iterator[Change]:
    """A line as a watch with selectors sees it: what begins to match was added, what ceases to was deleted."""
    now = matches(line.object, labels, fields)
    before = line.before is not None and matches(line.before, labels, fields)
    if line.type == DELETED:
        if before:
            yield Change(DELETED, copied(line.object))
    elif now:
        yield Change(MODIFIED if before else ADDED, copied(line.object))
    elif before:
        yield Change(DELETED, copied(line.object))


def _denial(call: Call, user: str) -> Refusal:
    kind = call.kind
    assert kind is not None
    plural = f"{kind.plural}/{call.subresource}" if call.subresource else kind.plural
    where = f' in the namespace "{call.namespace}"' if call.namespace else " at the cluster scope"
    return Refusal(
        403,
        "Forbidden",
        f'{kind.resource} "{call.name}" is forbidden: User "{user}" cannot {call.verb} resource "{plural}" '
        f'in API group "{kind.group}"{where}',
    )
