"""The outside world as the core and the use cases see it: one small Protocol per outside system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from meshctl.core.model import (
    AnalysisSpec,
    Block,
    Event,
    HookAnswer,
    HookCall,
    Judgement,
    LiveRouting,
    Reading,
    ReadyReplicas,
    Release,
    ReleaseState,
    Request,
    Routing,
    StageTerms,
)

Manifest = Mapping[str, object]
"""A Kubernetes object as plain data."""

Version = int | str
"""What a store knows a state of a release by; whoever is not that store can only compare two for equality."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One release as the store holds it.  ``version`` is the token of the compare-and-swap."""

    release: Release
    state: ReleaseState
    requests: tuple[Request, ...]
    version: Version
    judge_state: str
    cursor: str


@dataclass(frozen=True, slots=True)
class MeshRecord:
    """What a decision says about the mesh: digest of the templates, revision per object."""

    templates: str = ""
    revisions: Mapping[str, str] | None = None


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, UTC."""
        ...


class Store(Protocol):
    """Keeps releases, their state, runs, decisions and blocks.  Every write is one transaction."""

    def names(self) -> Sequence[str]:
        """All releases, by name."""
        ...

    def load(self, name: str) -> Stored:
        """One release with its pending requests, oldest first.  Raises `Refused` when there is none."""
        ...

    def save(
        self,
        name: str,
        expected_version: Version,
        state: ReleaseState,
        *,
        judge_state: str,
        cursor: str,
        events: Sequence[Event],
        blocks: Sequence[Block],
        served: Sequence[str],
        mesh: MeshRecord,
    ) -> Version:
        """Store state, judge state, cursor, new decisions and blocks, and remove served requests (ids), all or
        nothing.  Raises `Conflict` when ``expected_version`` is not the stored one.  Returns the new version."""
        ...

    def request(self, name: str, request: Request) -> None:
        """Add a request; never conflicts."""
        ...


NO_ROUTES = ""
"""The revision of routes that do not exist."""


class Mesh(Protocol):
    """The routes of one release, as the mesh has them."""

    def read(self, release: Release) -> LiveRouting | None:
        """What is live now; ``None`` when there are no routes of this release.  Raises `Unreachable`."""
        ...

    def apply(
        self,
        release: Release,
        objects: Sequence[Manifest],
        *,
        fallback: Sequence[Manifest] = (),
        expected: str | None = None,
    ) -> str:
        """Bring rendered objects into force and return their revision.

        ``fallback`` (the objects that send everything to the baseline) is laid ready first, so that `lower` needs
        neither template nor free disk.  ``expected`` is the revision that must still be live when the write
        happens, `NO_ROUTES` if there are to be none; else `Conflict`, and nothing is changed.
        """
        ...

    def lower(self, release: Release, run: str) -> str | None:
        """Send everything to the baseline in one write, marked as aborted, and return the revision.

        Only if the live routes still belong to ``run``; else `Conflict`.  ``None`` when no routes exist.
        """
        ...

    def confirm(self, release: Release, revision: str, timeout_s: float) -> bool:
        """Wait until the data plane works by ``revision``; false when it does not in time."""
        ...


class Workloads(Protocol):
    """The replicas behind the versions of a release."""

    def ready(self, release: Release, version: str) -> ReadyReplicas | None:
        """How many replicas of a version may get traffic; ``None`` when that cannot be found out, as also where
        `Unreachable` or `Forbidden` is raised, which says why."""
        ...

    def ensure(self, release: Release, version: str, *, run: int) -> None:
        """Have the version's replicas running for the run of this number; returns at once.

        Raises `InvalidInput` for an unknown version.
        """
        ...

    def retire(self, release: Release, keep: Sequence[str], *, run: int) -> None:
        """Drain and end the replicas of every version of the release but those in ``keep``; returns at once.

        Versions that were ensured for a later run than ``run``, the newest that the caller knows, are left alone:
        a controller that slept does not end what a newer run needs.
        """
        ...


class Metrics(Protocol):
    """What the versions of a release did."""

    def read(
        self,
        release: Release,
        baseline: str,
        candidate: str,
        cursor: str,
        *,
        entry: int,
        weight: float,
        counts: bool = True,
    ) -> Reading:
        """Everything since ``cursor`` as blocks of stage entry ``entry`` at confirmed ``weight`` percent.

        An empty cursor starts anew: no block, only a cursor; with ``entry`` -1 the blocks then are the baseline's
        history, as far back as the source remembers.  With ``counts`` false nothing that happened until now is ever
        part of a block: no block, only a cursor.  Never raises: trouble is `Reading.problem`.
        """
        ...


class Judge(Protocol):
    """Compares the two versions.  Its state is opaque text; the empty text is the beginning."""

    def learn(self, state: str, analysis: AnalysisSpec, blocks: Sequence[Block]) -> str:
        """Add blocks from before the candidate's first traffic: the baseline's history, never evidence."""
        ...

    def fold(
        self, state: str, analysis: AnalysisSpec, terms: StageTerms, blocks: Sequence[Block]
    ) -> tuple[str, Judgement]:
        """Add blocks of one stage entry, in order, and judge."""
        ...


class Hooks(Protocol):
    """Asks other systems, in the background: neither method waits, neither raises."""

    def keep(self, release: Release, calls: Sequence[HookCall]) -> None:
        """Have exactly these askings of a release under way.

        Those that were not known are begun, each once; those not named any more are given up, with their answers.
        """
        ...

    def answers(self, release: Release) -> Sequence[HookAnswer]:
        """What has been answered so far to the askings that are kept."""
        ...


class Notices(Protocol):
    """Tells the outside world what was decided, in the background."""

    def tell(self, release: Release, events: Sequence[Event]) -> None:
        """Take over stored events for delivery; returns at once and never raises."""
        ...


class NoHooks:
    """Asks nobody: for whoever ticks once and does not stay for the answers."""

    def keep(self, release: Release, calls: Sequence[HookCall]) -> None:
        """Nothing: a controller that stays asks, from what was stored."""

    def answers(self, release: Release) -> Sequence[HookAnswer]:
        return ()


class NoNotices:
    """Tells nobody."""

    def tell(self, release: Release, events: Sequence[Event]) -> None:
        """Nothing: the events are in the store."""


class Renderer(Protocol):
    """Turns a decided routing into mesh objects by templates, and proves that they say what was decided."""

    def render(self, release: Release, routing: Routing) -> Sequence[Manifest]:
        """VirtualService and DestinationRule.  Raises `TemplateError` when a template renders anything else than
        the decided weights, the two subsets and the two objects."""
        ...

    def digest(self) -> str:
        """SHA-256 of the templates in use."""
        ...
