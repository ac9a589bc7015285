"""The kept runs of releases: which there were, how they ended, and everything about one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from meshctl.app.queries import view_at
from meshctl.app.views import ReleaseView
from meshctl.core.catalog import Archive, Dossier, KeptRun, unknown
from meshctl.core.errors import Conflict, Refused
from meshctl.core.model import FULL, Phase, ReleaseState, Run
from meshctl.core.ports import Store

LOOKS = 5
"""A controller may write while a dossier is read; so often it is read anew."""


class Records(Store, Archive, Protocol):
    """A store whose records can be read."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run as a list shows it."""

    release: str
    kept: KeptRun

    @property
    def run(self) -> Run:
        return self.kept.run

    def lasted(self, now: datetime) -> timedelta:
        """From its beginning to its end, or until now."""
        return (self.run.ended_at or now) - self.run.started_at


def run_lines(records: Records, release: str | None = None) -> list[RunLine]:
    """The kept runs of one release or of all, the newest first.  Raises `Refused` for an unknown release."""
    names = records.names() if release is None else (release,)
    lines = [RunLine(name, kept) for name in names for kept in records.runs(name)]
    return sorted(lines, key=lambda line: (line.run.started_at, line.run.number), reverse=True)


def find_run(records: Records, name: str) -> RunLine:
    """The run of this name.  Raises `Refused`, naming the nearest, when none is kept."""
    release = name.rpartition("-")[0]
    for line in _runs_of(records, release):
        if line.run.name == name:
            return line
    raise unknown("run", name, [line.run.name for line in run_lines(records)])


def dossier_of(records: Records, name: str) -> Dossier:
    """Everything that is kept of a run, as of one moment.

    Raises `Refused` for an unknown run and `Conflict` where a controller writes faster than it can be read.
    """
    for _ in range(LOOKS):
        before = records.revision()
        line = find_run(records, name)
        found = Dossier(
            line.release,
            line.run,
            line.kept.head,
            tuple(records.decisions(name)),
            tuple(records.blocks(name)),
            records.checkpoint(name),
        )
        if records.revision() == before:
            return found
    raise Conflict(f"{name} changed each time it was read", hint="Try again.")


def run_view(records: Records, name: str) -> ReleaseView | None:
    """A release as it stood at the end of an earlier run; ``None`` when this run is its newest.

    Raises `Refused`, with the nearest name, when neither a run nor a release is called so.
    """
    try:
        line = find_run(records, name)
    except Refused:
        known = [*records.names(), *(line.run.name for line in run_lines(records))]
        raise unknown("release or run", name, known) from None
    stored = records.load(line.release)
    if stored.state.run is not None and stored.state.run.name == name:
        return None
    run = line.run
    serving = run.candidate if run.phase is Phase.PROMOTED and run.weight == FULL else run.baseline
    state = ReleaseState(baseline=serving, run=run, observed_generation=stored.release.metadata.generation)
    release = replace(stored.release, spec=run.spec)
    past = [kept.run for kept in records.runs(line.release) if kept.run.number < run.number]
    return view_at(records, replace(stored, release=release, state=state, requests=()), past)


def promoted_before(records: Records, release: str) -> list[str]:
    """Versions that this release promoted in a run that is still known of, newest first."""
    runs = [line.run for line in run_lines(records, release)]
    return list(dict.fromkeys(_promoted(runs)))


def _promoted(runs: Iterable[Run]) -> Iterator[str]:
    for run in runs:
        if run.phase is Phase.PROMOTED:
            yield run.candidate
        if run.baseline is not None:
            yield run.baseline


def _runs_of(records: Records, release: str) -> Sequence[RunLine]:
    try:
        return run_lines(records, release)
    except Refused:
        return ()
