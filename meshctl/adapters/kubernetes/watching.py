"""A kind of object kept in memory: listed once, then watched, whatever becomes of the line.

Why not the official client's `Watch` or informer: docs/adr/0005-our-own-watch.md.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from time import monotonic

import msgspec

from meshctl.adapters.kubernetes.api import BOOKMARK, DELETED, Api, Change, Changes, Expired, Object
from meshctl.adapters.kubernetes.kinds import Kind
from meshctl.core.errors import MeshctlError, Unreachable

WATCH_LEAST_S, WATCH_MOST_S = 240.0, 300.0
"""Each watch asks to be ended after a time in between, so that thousands of them do not come back together."""

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.2, 5.0
"""An API server that comes back is found again within so many seconds."""

SHORT_S = 1.0
"""A watch that ends sooner and said nothing counts as a failure, so that it is not begun again without a pause."""

STOP_TIMEOUT_S = 2.0

Key = tuple[str, str]
"""namespace (empty for a kind that has none), name"""

log = logging.getLogger(__name__)


def trimmed(object: Object) -> Object:
    """Without what only the API server and kubectl need: who owns which field, and the last applied copy."""
    meta = {key: value for key, value in object["metadata"].items() if key != "managedFields"}
    annotations = dict(meta.get("annotations") or {})
    if annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None) is not None:
        meta["annotations"] = annotations
    return {**object, "metadata": meta}


class Cache:
    """The objects of one kind, as new as the line allows, readable from any thread.

    ``trim`` says what of an object is kept; a change of anything else is no change.  ``changed(kind, namespace,
    name)`` is told of every change, from the cache's thread and after the cache has it: it must return soon and is
    not told of several changes in a row one by one.  Objects are kept as JSON and decoded where they are read, which
    is a tenth of the memory; those who read may do with their copy what they like.
    """

    def __init__(
        self,
        api: Api,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        trim: Callable[[Object], Object] = trimmed,
        changed: Callable[[Kind, str, str], None] | None = None,
        backoff_s: tuple[float, float] = (BACKOFF_FIRST_S, BACKOFF_MAX_S),
    ) -> None:
        self.kind, self.namespace = kind, namespace
        self._api, self._labels, self._fields, self._trim = api, labels, fields, trim
        self._told = [changed] if changed else []
        self._backoff_s = backoff_s
        self._lock = threading.Condition()
        self._objects: dict[Key, bytes] = {}
        self._version, self._failures = "", 0
        self._synced = self._stopped = False
        self._problem: MeshctlError | None = None
        self._touch_lost_at: float | None = monotonic()
        self._changes: Changes | None = None
        self._thread: threading.Thread | None = None
        self.lists = self.watches = self.events = 0

    # ------------------------------------------------------------------------------------------ reading

    def get(self, name: str, namespace: str = "") -> Object | None:
        """One object as it was last heard of; ``None`` when there is none."""
        with self._lock:
            found = self._objects.get((namespace, name))
        return None if found is None else msgspec.json.decode(found)

    def keys(self, namespace: str = "") -> list[Key]:
        """(namespace, name) of all objects, in order."""
        with self._lock:
            return sorted(key for key in self._objects if namespace in ("", key[0]))

    def items(self, namespace: str = "") -> Iterator[Object]:
        """All objects in order of their names, decoded one after the other."""
        for place, name in self.keys(namespace):
            if (found := self.get(name, place)) is not None:
                yield found

    def __len__(self) -> int:
        with self._lock:
            return len(self._objects)

    @property
    def problem(self) -> MeshctlError | None:
        """Why the line is down at the moment."""
        with self._lock:
            return self._problem

    def behind_s(self) -> float:
        """Seconds since when changes may have been missed; 0 while the watch stands.

        A line that died without a word is noticed after `meshctl.adapters.kubernetes.transport.SILENCE_S`.
        """
        with self._lock:
            return 0.0 if self._touch_lost_at is None else monotonic() - self._touch_lost_at

    def wait_until_synced(self, timeout_s: float, *, patient: bool = True) -> bool:
        """Wait for the first list.  Raises what made it fail if that will not change by itself: no permission, no such
        kind; and, unless ``patient``, an API server that did not answer within the budget of one call."""
        with self._lock:
            self._lock.wait_for(lambda: self._synced or self._stopped or self._hopeless(patient), timeout_s)
            if not self._synced and self._problem is not None and self._hopeless(patient):
                raise self._problem
            return self._synced

    def _hopeless(self, patient: bool) -> bool:
        return self._problem is not None and not (patient and isinstance(self._problem, Unreachable))

    # ------------------------------------------------------------------------------------------ running

    def tell(self, changed: Callable[[Kind, str, str], None]) -> None:
        """Tell one more of every change from now on."""
        self._told = [*self._told, changed]

    def start(self) -> None:
        """Begin, in a thread that does not keep the process alive."""
        self._thread = threading.Thread(target=self._run, name=f"watch {self.kind.plural}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch and the thread; what is cached stays readable."""
        with self._lock:
            self._stopped = True
            changes = self._changes
            self._lock.notify_all()
        if changes is not None:
            changes.close()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stopped:
            try:
                if not self._version:
                    self._list()
                self._watch()
            except Expired as error:
                log.info("%s; listing anew", error)
                self._pause(None)
            except MeshctlError as error:
                self._pause(error)
            except Exception:
                log.exception("the watch of %s stumbled", self.kind.resource)
                self._version = ""
                self._pause(Unreachable(f"watching {self.kind.resource}: an error of our own, see the log"))

    def _list(self) -> None:
        """Take over everything that is there, page by page, and let go of what is not."""
        self.lists += 1
        found: dict[Key, bytes] = {}
        version = ""
        for page in self._api.pages(self.kind, self.namespace, labels=self._labels, fields=self._fields):
            found.update((_key(object), self._packed(object)) for object in page.items)
            version = page.resource_version
        with self._lock:
            before, self._objects = self._objects, found
            self._version, self._synced = version, True
            self._lock.notify_all()
        for key in sorted(before.keys() | found.keys()):
            if before.get(key) != found.get(key):
                self._tell(key)

    def _watch(self) -> None:
        """Take over changes until the API server ends the watch or the line breaks."""
        timeout_s = random.uniform(WATCH_LEAST_S, WATCH_MOST_S)  # noqa: S311 - spreads load, guards nothing
        began, before = monotonic(), self.events
        self.watches += 1
        changes = self._api.watch(
            self.kind,
            self.namespace,
            resource_version=self._version,
            labels=self._labels,
            fields=self._fields,
            timeout_s=timeout_s,
        )
        with self._lock:
            self._changes, self._touch_lost_at, self._problem = changes, None, None
            stopped = self._stopped
        try:
            if not stopped:
                for change in changes:
                    self._take(change)
        finally:
            changes.close()
            with self._lock:
                self._changes, self._touch_lost_at = None, monotonic()
        if self.events == before and monotonic() - began < SHORT_S:
            raise Unreachable(f"watching {self.kind.resource}: the API server ends the watch at once")
        self._failures = 0

    def _take(self, change: Change) -> None:
        self.events += 1
        self._failures = 0
        version = change.object["metadata"]["resourceVersion"]
        if change.type == BOOKMARK:
            self._version = version
            return
        key = _key(change.object)
        packed = None if change.type == DELETED else self._packed(change.object)
        with self._lock:
            before = self._objects.pop(key, None)
            if packed is not None:
                self._objects[key] = packed
            self._version = version
        if before != packed:
            self._tell(key)

    def _packed(self, object: Object) -> bytes:
        """One odd object must not cost all others: what cannot be trimmed is kept as it is."""
        try:
            return msgspec.json.encode(self._trim(object))
        except Exception:
            log.exception("%s cannot be trimmed", self.kind.label(*reversed(_key(object))))
            return msgspec.json.encode(trimmed(object))

    def _tell(self, key: Key) -> None:
        for told in self._told:
            try:
                told(self.kind, *key)
            except Exception:
                log.exception("whoever is told of %s failed", self.kind.label(key[1], key[0]))

    def _pause(self, error: MeshctlError | None) -> None:
        """Wait before the next attempt, longer each time and never at the same moment as others.

        After anything but a failure of the line the version may be to blame: then everything is listed anew.
        """
        with self._lock:
            if self._stopped:
                return
            if error is not None and (self._problem is None or str(error) != str(self._problem)):
                log.warning("%s", error)
            self._problem = error
            self._failures += 1
            if not isinstance(error, Unreachable):
                self._version = ""
            first_s, last_s = self._backoff_s
            most_s = min(last_s, first_s * 2.0 ** min(self._failures - 1, 20))
            self._lock.notify_all()
            self._lock.wait_for(lambda: self._stopped, random.uniform(most_s / 2, most_s))  # noqa: S311 - see above


def _key(object: Object) -> Key:
    return object["metadata"].get("namespace", ""), object["metadata"]["name"]
