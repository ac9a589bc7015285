"""What the demo needs of the rest of meshctl, and what it shows: two small shapes and one Protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from meshctl.core.model import Run
from meshctl.demo.result import StageEntry
from meshctl.demo.scenarios import Scenario
from meshctl.demo.tally import LoadCounts


@dataclass(frozen=True, slots=True)
class RunView:
    """The release's newest run as the store has it at ``at``.

    ``losses``: how many replicas ended by another hand since the controller's first start; ``None``: not known.
    """

    at: datetime
    run: Run
    losses: int | None = None


class Target(Protocol):
    """The embedded mesh in one folder, as the demo drives it."""

    def controller(self, folder: Path) -> Sequence[str]:
        """The command of ``local up`` for ``folder`` with the objects in ``folder/objects``, in the foreground.

        On SIGTERM it must tear down like on Ctrl-C; started again after a death it must go on where it was.
        """
        ...

    def clear(self, folder: Path) -> None:
        """End, by id, every process that an earlier controller of ``folder`` left running.  Idempotent."""
        ...

    def apply(self, folder: Path) -> None:
        """Store the objects in ``folder/objects``, as ``meshctl apply`` does."""
        ...

    def address(self, folder: Path) -> str | None:
        """The URL where users reach the service; ``None`` until the mesh listens."""
        ...

    def follow(self, folder: Path) -> RunView | None:
        """The newest run of the demo's release; ``None`` before there is one.  Asked five times a second."""
        ...


class Step(StrEnum):
    """Where a scenario stands."""

    STARTING = "starting"
    BASELINE = "baseline"
    RELEASING = "releasing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Frame:
    """One moment for people to look at.  ``note`` is news that stands nowhere else, and comes once."""

    scenario: Scenario
    version: str
    step: Step
    seconds: float
    run: Run | None
    load: LoadCounts | None
    note: str = ""


Show = Callable[[Frame], None]


class Entries:
    """Notes when each stage entry of one run was confirmed, from views that come several times a second."""

    def __init__(self) -> None:
        self.confirmed: list[StageEntry] = []
        self._seen = 0

    def see(self, view: RunView) -> None:
        """Look at the run once more."""
        run = view.run
        if len(run.entries) <= self._seen or run.confirmed != run.weight or run.weight != run.entries[-1].weight:
            return
        if self._seen == 0 and run.first_traffic_at is not None:
            at = run.first_traffic_at
        elif run.clock.running_since is not None and run.clock.elapsed == timedelta(0):
            at = run.clock.running_since
        else:
            at = view.at
        self._seen = len(run.entries)
        self.confirmed.append(StageEntry(run.weight, at))
