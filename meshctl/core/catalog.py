"""What a store offers beside the tick's own `Store` port: wishes are put in, records are read out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from meshctl.core.errors import Conflict, Refused
from meshctl.core.model import Block, Release, Request, Run, Workload
from meshctl.core.ports import Store, Version
from meshctl.core.record import WHOLE, Checkpoint, Head, Record

RUNS_KEPT = 10
"""So many runs of a release are kept; older ones go with their decisions and blocks."""


Wish = TypeVar("Wish", Release, Workload)


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run as the store keeps it, with the end of its chain of decisions."""

    run: Run
    head: Head


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything that is kept of one run of a release, as of one moment."""

    release: str
    run: Run
    head: Head
    decisions: tuple[Record, ...]
    blocks: tuple[Block, ...]
    checkpoint: Checkpoint = WHOLE


class Wishes(Protocol):
    """What people want: releases and, embedded, workloads."""

    def put_release(self, release: Release) -> Release:
        """Create a release, or replace its spec, labels and annotations; returns it as stored.

        The generation is the store's own: it grows when the spec changed, and a running tick then loses its
        compare-and-swap.  Putting the same again changes nothing.
        """
        ...

    def release(self, name: str) -> Release:
        """One release as wished.  Raises `Refused` when there is none."""
        ...

    def put_workload(self, workload: Workload) -> Workload:
        """Create or replace a workload, by the rules of `put_release`."""
        ...

    def workload(self, name: str) -> Workload:
        """One workload.  Raises `Refused` when there is none."""
        ...

    def workloads(self) -> Sequence[Workload]:
        """All workloads, by name."""
        ...


class Archive(Protocol):
    """What happened, for people, `replay` and followers."""

    def runs(self, name: str) -> Sequence[KeptRun]:
        """The kept runs of a release, oldest first.  Raises `Refused` when there is no such release."""
        ...

    def decisions(self, run: str) -> Sequence[Record]:
        """The decisions of a run, in order.  Raises `Refused` when the run is not kept."""
        ...

    def blocks(self, run: str, *, after: int = 0) -> Sequence[Block]:
        """The blocks of a run, in order, without the first ``after`` of all that it had.

        Raises `Refused` when the run is not kept.
        """
        ...

    def checkpoint(self, run: str) -> Checkpoint:
        """What stands for the decisions and blocks that are not kept; `WHOLE` when all are.

        Raises `Refused` when the run is not kept.
        """
        ...

    def revision(self) -> int:
        """A number that grows with every change of anything in the store; asking is cheap."""
        ...


class StateStore(Store, Wishes, Archive, Protocol):
    """State, wishes and records."""


def unknown(kind: str, name: str, known: Iterable[str]) -> Refused:
    """The error for a name that the store does not know, with the nearest one that it does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        hint = f"Did you mean {near[0]!r}?"
    elif names:
        hint = f"Known: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}."
    else:
        hint = f"There is no {kind} at all yet."
    return Refused(f"no {kind} is named {name!r}", hint=hint)


def conflict(name: str, expected: Version, found: Version) -> Conflict:
    """The error of a save that came too late."""
    return Conflict(
        f"release {name!r} changed while it was worked on: read at version {expected}, now at {found}",
        hint="Nothing was stored; read it again and decide anew.",
    )


def settled(wish: Wish, before: Wish | None) -> Wish:
    """A wish as it is to be stored: its generation grows when its spec differs from the one ``before``."""
    generation = 1 if before is None else before.metadata.generation + (wish.spec != before.spec)
    return replace(wish, metadata=replace(wish.metadata, generation=generation))


REASON_MAX = 2000
"""So many characters of a reason, or of the name of whoever gave it, are kept."""


def printable(request: Request) -> Request:
    """A request whose words every store can hold: not longer than `REASON_MAX`, and a byte that is not UTF-8 becomes
    a question mark."""
    words = (request.actor[:REASON_MAX], request.reason[:REASON_MAX])
    actor, reason = (text.encode("utf-8", "replace").decode() for text in words)
    return replace(request, actor=actor, reason=reason)
