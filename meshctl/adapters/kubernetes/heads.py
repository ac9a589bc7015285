"""What a store knows of each release since it last read or wrote it: the newest run, and what is not written yet."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from meshctl.adapters.kubernetes.api import Object
from meshctl.adapters.kubernetes.chain import run_of, start_of
from meshctl.adapters.kubernetes.projection import (
    initial_of,
    initial_text,
    is_newer,
    phase_since,
    same,
    status_data,
)
from meshctl.adapters.kubernetes.run_object import Owner, RunObject, Standing
from meshctl.core.errors import Conflict
from meshctl.core.model import ReleaseState

BYTES_A_MINUTE = 16 * 1024
"""What the record of one moving release may write where nothing is decided: 500 of them stay below 10 MB a minute."""

KNOWN_MAX = 2000
"""So many releases are remembered; what is not written yet is never forgotten."""


@dataclass(frozen=True)
class Known:
    """A release as it stood at one moment.

    ``head``: its newest run as it is stored, ``None`` before the first; ``present``: the same with what is not
    written yet, ``unwritten`` saves of it.
    """

    owner: Owner
    generation: int
    start: str
    standing: Standing
    head: RunObject | None = None
    present: RunObject | None = None
    unwritten: int = 0

    @property
    def token(self) -> str:
        """The version of the compare-and-swap."""
        at = f"{self.head.name}@{self.head.version}+{self.unwritten}" if self.head else f"start@{self.start}"
        return f"{at} of {self.owner.uid[:8]} generation {self.generation}"

    @cached_property
    def status(self) -> dict[str, Any]:
        """What the status of the release is to say, by what is stored."""
        if self.head is None:
            return status_data(self.standing.state)
        return self.status_with("")

    def status_with(self, problem: str) -> dict[str, Any]:
        """The same where the present spec cannot be followed."""
        if self.head is None:
            return status_data(self.standing.state, problem=problem)
        return status_data(
            self.head.standing.state,
            writes=self.head.writes,
            since=phase_since(self.head.chronicle),
            problem=problem,
        )

    def with_unwritten(self, present: RunObject) -> Known:
        """After a save that is not written yet."""
        return replace(self, present=present, standing=present.standing, unwritten=self.unwritten + 1)


def known_of(release: Object, head: RunObject | None) -> Known:
    """A release and its newest run as they were read."""
    meta = release["metadata"]
    owner = Owner(meta["name"], meta["namespace"], meta["uid"])
    if head is None:
        standing, _ = initial_of(release.get("status") or {})
        return Known(owner, meta["generation"], start_of(release), standing)
    return Known(owner, meta["generation"], "", head.standing, head, head)


class Heads:
    """What is known, by release.  May be used by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Known] = OrderedDict()

    def get(self, name: str) -> Known | None:
        with self._lock:
            return self._known.get(name)

    def put(self, name: str, known: Known) -> Known:
        with self._lock:
            self._known[name] = known
            self._known.move_to_end(name)
            if len(self._known) > KNOWN_MAX:
                spare = next((each for each, entry in self._known.items() if not entry.unwritten), None)
                if spare is not None:
                    del self._known[spare]
            return known

    def forget(self, name: str) -> None:
        with self._lock:
            self._known.pop(name, None)

    def unwritten(self) -> list[tuple[str, Known]]:
        with self._lock:
            return [(name, known) for name, known in self._known.items() if known.unwritten]


def is_older(version: str, other: str) -> bool:
    """Whether a resource version is certainly older, as one from a cache that lags behind."""
    return version.isdigit() and other.isdigit() and int(version) < int(other)


def can_wait(before: ReleaseState, after: ReleaseState) -> bool:
    """Whether a save changes nothing but the judge's newest figures: everything that is decided, asked or shown is
    written at once."""
    return _lasting(before) == _lasting(after)


def _lasting(state: ReleaseState) -> ReleaseState:
    run = state.run
    return state if run is None else replace(state, run=replace(run, judgement=None, evidence_until=None))


def overdue(known: Known, now: datetime, most: timedelta) -> bool:
    """Whether the newest write lies too far back, by whichever clock; a large object may wait in proportion."""
    assert known.head is not None
    return abs(now - known.head.written) >= most * max(1.0, known.head.size / BYTES_A_MINUTE)


# ------------------------------------------------------------------------------------ the status


def status_to_write(release: Object, known: Known, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The status that a Release is to get; ``None`` where it tells the same, or of a later state, or is another's."""
    present = release.get("status") or {}
    if release["metadata"]["uid"] != known.owner.uid or same(present, wanted):
        return None
    if known.head is None:
        if run_of(release) or start_of(release) != known.start:
            return None
        return wanted | ({"initial": present["initial"]} if "initial" in present else {})
    return None if is_newer(present, known.head.name, known.head.writes) else wanted


def initial_status(known: Known, standing: Standing) -> Callable[[Object], dict[str, Any]]:
    """What stores the state of a release that has had no run yet, if it still is as ``known``; else `Conflict`."""

    def status(release: Object) -> dict[str, Any]:
        if release["metadata"]["uid"] != known.owner.uid or run_of(release) or start_of(release) != known.start:
            raise Conflict("somebody else stored a state of it")
        _, saves = initial_of(release.get("status") or {})
        return status_data(standing.state) | {"initial": initial_text(standing, saves + 1)}

    return status
