"""The records of one namespace: the kept runs of its releases, with their decisions and blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.chain import Chain, number_of
from meshctl.adapters.kubernetes.heads import Known
from meshctl.adapters.kubernetes.kinds import RELEASE, RELEASE_RUN
from meshctl.adapters.kubernetes.looking import Reads
from meshctl.adapters.kubernetes.run_object import RELEASE_LABEL, RunObject, run_object
from meshctl.core.catalog import RUNS_KEPT, KeptRun, unknown
from meshctl.core.errors import Refused

Look = Callable[[str], tuple[Object, Known]]
"""A release by name, with what is known of it.  Raises `Refused` for an unknown one."""


class KubernetesArchive:
    """Reads records.  A run counts once it is part of the chain: at most the newest number of its release."""

    def __init__(self, api: Api, namespace: str, reads: Reads, chain: Chain, look: Look) -> None:
        self._api, self._namespace, self._reads, self._chain, self._look = api, namespace, reads, chain, look
        self._lock = threading.Lock()
        self._seen: Any = None
        self._revision = self._changes = 0
        self._versions: dict[str, str] = {}

    def runs(self, name: str) -> Sequence[KeptRun]:
        release, known = self._look(name)
        if known.head is None:
            return []
        kept = [each for each in self._chain.of(release) if _kept(number_of(each), known)]
        found = [self._present(each, known) for each in sorted(kept, key=number_of)]
        return [KeptRun(each.chronicle.run, each.chronicle.head) for each in found]

    def run(self, name: str) -> RunObject:
        """One kept run.  Raises `Refused` when there is none."""
        object = self._api.find(RELEASE_RUN, name, self._namespace)
        release = "" if object is None else object["metadata"].get("labels", {}).get(RELEASE_LABEL, "")
        try:
            _, known = self._look(release) if object is not None else (None, None)
        except Refused:
            known = None
        if object is None or known is None or not _kept(number_of(object), known):
            listed = self._api.list(RELEASE_RUN, self._namespace).items
            raise unknown("run", name, [each["metadata"]["name"] for each in listed])
        return self._present(object, known)

    def revision(self) -> int:
        """Grows with every change of a Release (so with every decision) and of every run that was read through here."""
        found = [
            (each["metadata"]["uid"], each["metadata"]["resourceVersion"])
            for each in self._reads.list(RELEASE, self._namespace).items
        ]
        with self._lock:
            seen = (sorted(found), self._changes)
            if seen != self._seen:
                self._seen = seen
                self._revision += 1
            return self._revision

    def _present(self, object: Object, known: Known) -> RunObject:
        meta = object["metadata"]
        with self._lock:
            before = self._versions.get(meta["name"], meta["resourceVersion"])
            self._changes += before != meta["resourceVersion"]
            self._versions[meta["name"]] = meta["resourceVersion"]
        present = known.present
        if present is not None and (present.uid, present.version) == (meta["uid"], meta["resourceVersion"]):
            return present
        return run_object(object)


def _kept(number: int, known: Known) -> bool:
    newest = 0 if known.head is None else known.head.chronicle.run.number
    return newest - RUNS_KEPT < number <= newest
