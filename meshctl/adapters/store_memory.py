"""The store in memory: the same promises as the SQLite one, kept only as long as the process lives.

Records and blocks are held as the text they would have on disk, so nothing that is handed out can change them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from meshctl.core.catalog import RUNS_KEPT, KeptRun, conflict, printable, settled, unknown
from meshctl.core.errors import Conflict, StoreError
from meshctl.core.model import Block, Event, Release, ReleaseState, Request, Run, Workload
from meshctl.core.packing import canonical, inputs_of, pack, unpack
from meshctl.core.ports import MeshRecord, Stored, Version
from meshctl.core.record import WHOLE, Checkpoint, Head, Record, append, ended
from meshctl.core.terms import terms_of


@dataclass(slots=True)
class _Kept:
    run: Run
    head: Head = field(default_factory=Head)
    sealed: int = 0
    """So many of the blocks are named by a decision."""
    decisions: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Row:
    release: Release
    state: ReleaseState = field(default_factory=ReleaseState)
    version: int = 1
    judge_state: str = ""
    cursor: str = ""
    requests: dict[str, Request] = field(default_factory=dict)
    runs: dict[str, _Kept] = field(default_factory=dict)


class MemoryStore:
    """A `Store`, `Wishes` and `Archive` in memory, with faults to switch on.

    ``conflicts``: so many of the next saves lose the race.  ``disk_full``: nothing can be written.
    ``unreadable``: nothing can be read or written.
    """

    def __init__(self) -> None:
        self.conflicts = 0
        self.disk_full = False
        self.unreadable = False
        self._rows: dict[str, _Row] = {}
        self._workloads: dict[str, Workload] = {}
        self._revision = 0
        self._lock = threading.RLock()

    # -------------------------------------------------------------------------------- the tick's port

    def names(self) -> Sequence[str]:
        with self._reading():
            return sorted(self._rows)

    def load(self, name: str) -> Stored:
        with self._reading():
            row = self._row(name)
            requests = tuple(row.requests.values())
            return Stored(row.release, row.state, requests, row.version, row.judge_state, row.cursor)

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
    ) -> int:
        with self._writing():
            row = self._row(name)
            if self.conflicts > 0:
                self.conflicts -= 1
                raise Conflict(f"release {name!r}: somebody else wrote first (a conflict was asked for)")
            if row.version != expected_version:
                raise conflict(name, expected_version, row.version)
            runs = {
                key: replace(kept, decisions=[*kept.decisions], blocks=[*kept.blocks]) for key, kept in row.runs.items()
            }
            _record(runs, row.state.run, state.run, events, blocks, judge_state, mesh)
            newest = sorted(runs, key=lambda key: runs[key].run.number)[-RUNS_KEPT:]
            row.runs = {key: runs[key] for key in newest}
            row.state, row.judge_state, row.cursor = state, judge_state, cursor
            row.requests = {key: each for key, each in row.requests.items() if key not in served}
            row.version += 1
            return row.version

    def request(self, name: str, request: Request) -> None:
        with self._lock:
            with self._reading():
                if request.id in self._row(name).requests:
                    return
            with self._writing():
                self._row(name).requests[request.id] = printable(request)

    # -------------------------------------------------------------------------------- wishes

    def put_release(self, release: Release) -> Release:
        with self._lock:
            with self._reading():
                row = self._rows.get(release.metadata.name)
            stored = settled(release, row.release if row else None)
            if row and stored == row.release:
                return stored
            with self._writing():
                if row is None:
                    self._rows[release.metadata.name] = _Row(stored)
                else:
                    row.version += stored.spec != row.release.spec
                    row.release = stored
            return stored

    def release(self, name: str) -> Release:
        with self._reading():
            return self._row(name).release

    def put_workload(self, workload: Workload) -> Workload:
        with self._lock:
            with self._reading():
                before = self._workloads.get(workload.metadata.name)
            stored = settled(workload, before)
            if stored != before:
                with self._writing():
                    self._workloads[workload.metadata.name] = stored
            return stored

    def workload(self, name: str) -> Workload:
        with self._reading():
            if name not in self._workloads:
                raise unknown("workload", name, self._workloads)
            return self._workloads[name]

    def workloads(self) -> Sequence[Workload]:
        with self._reading():
            return [self._workloads[name] for name in sorted(self._workloads)]

    # -------------------------------------------------------------------------------- archive

    def runs(self, name: str) -> Sequence[KeptRun]:
        with self._reading():
            return [KeptRun(kept.run, kept.head) for kept in self._row(name).runs.values()]

    def decisions(self, run: str) -> Sequence[Record]:
        with self._reading():
            return [json.loads(text) for text in self._kept(run).decisions]

    def blocks(self, run: str, *, after: int = 0) -> Sequence[Block]:
        with self._reading():
            return [unpack(text) for text in self._kept(run).blocks[after:]]

    def checkpoint(self, run: str) -> Checkpoint:
        with self._reading():
            self._kept(run)
        return WHOLE

    def revision(self) -> int:
        with self._reading():
            return self._revision

    # -------------------------------------------------------------------------------- inside

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            if self.unreadable:
                raise StoreError("the state in memory cannot be read (a fault was asked for)")
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One change, all or nothing: callers compute first and assign last."""
        with self._reading():
            if self.disk_full:
                raise StoreError("the state in memory cannot be written: no space left (a fault was asked for)")
            yield
            self._revision += 1

    def _row(self, name: str) -> _Row:
        if name not in self._rows:
            raise unknown("release", name, self._rows)
        return self._rows[name]

    def _kept(self, run: str) -> _Kept:
        kept = {key: each for row in self._rows.values() for key, each in row.runs.items()}
        if run not in kept:
            raise unknown("run", run, kept)
        return kept[run]


def _record(
    runs: dict[str, _Kept],
    before: Run | None,
    after: Run | None,
    events: Sequence[Event],
    blocks: Sequence[Block],
    judge_state: str,
    mesh: MeshRecord,
) -> None:
    """Bring the runs of a release up to date with one save."""
    if after is not None:
        runs.setdefault(after.name, _Kept(after)).run = after
    owner = before or after
    assert owner is not None or not blocks, "blocks belong to a run"
    if owner is not None and owner.name in runs:
        runs[owner.name].blocks.extend(pack(block) for block in blocks)
    for name in dict.fromkeys(event.run for event in events):
        assert name in runs, "an event names a run of its release"
        kept, of_run = runs[name], [event for event in events if event.run == name]
        inputs = inputs_of(kept.blocks[kept.sealed :])
        records, kept.head = append(kept.head, of_run, inputs, judge_state, mesh, terms_of(kept.run))
        kept.decisions.extend(canonical(record) for record in records)
        kept.sealed = len(kept.blocks)
        if after is None or name != after.name:
            kept.run = ended(kept.run, of_run[-1])
