"""The store in one SQLite file, for everything that runs on one machine.

Controller and command line write to it at the same time from their own processes.  Each `SqliteStore.save` is one
transaction that begins with the version check.  What a row holds is JSON as the objects' own (`wire`), a block is
its packed line.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from meshctl.adapters import wire
from meshctl.adapters.sqlite_file import SqliteFile
from meshctl.core.catalog import RUNS_KEPT, KeptRun, Wish, conflict, printable, settled, unknown
from meshctl.core.model import Block, Event, Release, ReleaseState, Request, Run, Workload
from meshctl.core.packing import canonical, inputs_of, pack, unpack
from meshctl.core.ports import MeshRecord, Stored, Version
from meshctl.core.record import WHOLE, Checkpoint, Head, Record, append, ended
from meshctl.core.terms import terms_of

FILE_NAME = "state.db"

WISHES_REMEMBERED = 1024

T = TypeVar("T")


class SqliteStore:
    """A `Store`, `Wishes` and `Archive` in ``FOLDER/state.db``.

    With ``create`` folder and file are made where they are missing (modes 0700 and 0600), else a missing file is a
    `StoreError`.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self._file = SqliteFile(folder / FILE_NAME, create=create)

    @property
    def path(self) -> Path:
        """The file itself."""
        return self._file.path

    def close(self) -> None:
        """End the connection; what was saved is on disk already."""
        self._file.close()

    def verify(self) -> None:
        """Read the whole file once.  Raises `StoreError` when any part of it is damaged."""
        self._file.verify()

    # -------------------------------------------------------------------------------- the tick's port

    def names(self) -> Sequence[str]:
        with self._file.reading() as db:
            return _names(db, "releases")

    def load(self, name: str) -> Stored:
        with self._file.reading() as db:
            row = db.execute(
                "SELECT wish, state, body, version, judge_state, cursor"
                " FROM releases LEFT JOIN runs ON runs.name = releases.run WHERE releases.name = ?",
                (name,),
            ).fetchone()
            if row is None:
                raise unknown("release", name, _names(db, "releases"))
            waiting = db.execute("SELECT body FROM requests WHERE release = ? ORDER BY number", (name,)).fetchall()
        wish, state, run, version, judge_state, cursor = row
        return Stored(
            release=self._value(Release, wish, f"release {name!r}"),
            state=self._state(state, run, name),
            requests=tuple(self._value(Request, body, f"a request to {name!r}") for (body,) in waiting),
            version=version,
            judge_state=judge_state,
            cursor=cursor,
        )

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
        after, text = state.run, _text(replace(state, run=None))
        run_text, lines = _text(after) if after else "", [pack(block) for block in blocks]
        with self._file.writing() as db:
            row = db.execute("SELECT version, run FROM releases WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise unknown("release", name, _names(db, "releases"))
            version, before = row
            if version != expected_version:
                raise conflict(name, expected_version, version)
            db.execute(
                "UPDATE releases SET state = ?, run = ?, judge_state = ?, cursor = ?, version = ? WHERE name = ?",
                (text, after.name if after else None, judge_state, cursor, version + 1, name),
            )
            if after is not None:
                _put_run(db, name, after, run_text, is_new=after.name != before)
            _add_blocks(db, before or (after.name if after else None), lines)
            for run in dict.fromkeys(event.run for event in events):
                of_run = [event for event in events if event.run == run]
                present = after if after is not None and run == after.name else self._kept_run(db, name, run)
                _add_decisions(db, present, of_run, judge_state, mesh)
                if present is not after:
                    _end_run(db, present, of_run[-1])
            db.executemany("DELETE FROM requests WHERE release = ? AND id = ?", [(name, each) for each in served])
        return int(version) + 1

    def request(self, name: str, request: Request) -> None:
        text = _text(printable(request))
        with self._file.writing() as db:
            if db.execute("SELECT 1 FROM releases WHERE name = ?", (name,)).fetchone() is None:
                raise unknown("release", name, _names(db, "releases"))
            db.execute(
                "INSERT INTO requests (release, id, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (name, request.id, text),
            )

    # -------------------------------------------------------------------------------- wishes

    def put_release(self, release: Release) -> Release:
        name = release.metadata.name
        with self._file.writing() as db:
            before = self._wish(db, "releases", Release, name)
            stored = settled(release, before)
            if before is None:
                db.execute(
                    "INSERT INTO releases VALUES (?, ?, ?, NULL, '', '', 1)",
                    (name, _text(stored), _text(ReleaseState())),
                )
            elif stored != before:
                db.execute(
                    "UPDATE releases SET wish = ?, version = version + ? WHERE name = ?",
                    (_text(stored), int(stored.spec != before.spec), name),
                )
        return stored

    def release(self, name: str) -> Release:
        with self._file.reading() as db:
            found = self._wish(db, "releases", Release, name)
            if found is None:
                raise unknown("release", name, _names(db, "releases"))
            return found

    def put_workload(self, workload: Workload) -> Workload:
        name = workload.metadata.name
        with self._file.writing() as db:
            before = self._wish(db, "workloads", Workload, name)
            stored = settled(workload, before)
            if stored != before:
                db.execute(
                    "INSERT INTO workloads VALUES (?, ?) ON CONFLICT DO UPDATE SET wish = excluded.wish",
                    (name, _text(stored)),
                )
        return stored

    def workload(self, name: str) -> Workload:
        with self._file.reading() as db:
            found = self._wish(db, "workloads", Workload, name)
            if found is None:
                raise unknown("workload", name, _names(db, "workloads"))
            return found

    def workloads(self) -> Sequence[Workload]:
        with self._file.reading() as db:
            rows = db.execute("SELECT name, wish FROM workloads ORDER BY name").fetchall()
        return [self._value(Workload, wish, f"workload {name!r}") for name, wish in rows]

    # -------------------------------------------------------------------------------- archive

    def runs(self, name: str) -> Sequence[KeptRun]:
        with self._file.reading() as db:
            if db.execute("SELECT 1 FROM releases WHERE name = ?", (name,)).fetchone() is None:
                raise unknown("release", name, _names(db, "releases"))
            rows = db.execute(
                "SELECT name, body, decisions, head FROM runs WHERE release = ? ORDER BY number", (name,)
            ).fetchall()
        return [
            KeptRun(self._value(Run, body, f"run {run!r}"), Head(decisions, head))
            for run, body, decisions, head in rows
        ]

    def decisions(self, run: str) -> Sequence[Record]:
        return [self._json(text, f"a decision of {run!r}") for text in self._rows_of(run, "decisions")]

    def blocks(self, run: str, *, after: int = 0) -> Sequence[Block]:
        try:
            return [unpack(text) for text in self._rows_of(run, "blocks", after=after)]
        except ValueError as error:
            raise self._file.damaged(f"a block of {run!r}", error) from error

    def checkpoint(self, run: str) -> Checkpoint:
        self._rows_of(run, "decisions")
        return WHOLE

    def revision(self) -> int:
        with self._file.reading() as db:
            return int(db.execute("SELECT number FROM revision").fetchone()[0])

    # -------------------------------------------------------------------------------- inside

    def _rows_of(self, run: str, table: str, *, after: int = 0) -> list[str]:
        with self._file.reading() as db:
            if db.execute("SELECT 1 FROM runs WHERE name = ?", (run,)).fetchone() is None:
                raise unknown("run", run, _names(db, "runs"))
            rows = db.execute(
                f"SELECT body FROM {table} WHERE run = ? AND number > ? ORDER BY number",  # noqa: S608 - our word
                (run, after),
            )
            return [text for (text,) in rows]

    def _kept_run(self, db: sqlite3.Connection, release: str, run: str) -> Run:
        """A run that the state no longer names."""
        row = db.execute("SELECT body FROM runs WHERE name = ? AND release = ?", (run, release)).fetchone()
        assert row is not None, "an event names a run of its release"
        return self._value(Run, row[0], f"run {run!r}")

    def _wish(self, db: sqlite3.Connection, table: str, kind: type[Wish], name: str) -> Wish | None:
        row = db.execute(f"SELECT wish FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608 - our word
        return None if row is None else self._value(kind, row[0], f"{kind.__name__.lower()} {name!r}")

    def _state(self, text: str, run: str | None, name: str) -> ReleaseState:
        state = self._value(ReleaseState, text, f"the state of {name!r}")
        return state if run is None else replace(state, run=self._value(Run, run, f"the run of {name!r}"))

    def _value(self, kind: type[T], text: str, what: str) -> T:
        try:
            if kind in (Release, Workload):
                return cast("T", _wish(cast("Any", kind), text))
            return wire.decode(kind, self._json(text, what))
        except msgspec.DecodeError as error:
            raise self._file.damaged(what, error) from error
        except wire.WireError as error:
            raise self._file.damaged(what, error) from error

    def _json(self, text: str, what: str) -> Record:
        try:
            return msgspec.json.decode(text, type=Record)
        except msgspec.DecodeError as error:
            raise self._file.damaged(what, error) from error


@lru_cache(maxsize=WISHES_REMEMBERED)
def _wish(kind: type[Any], text: str) -> Any:
    """A wish by its text: the same hundreds of them are read every second and hardly ever change."""
    return wire.decode(kind, msgspec.json.decode(text, type=Record))


def _text(value: object) -> str:
    return msgspec.json.encode(wire.encode(value)).decode()


def _names(db: sqlite3.Connection, table: str) -> list[str]:
    return [name for (name,) in db.execute(f"SELECT name FROM {table} ORDER BY name")]  # noqa: S608 - our word


def _put_run(db: sqlite3.Connection, release: str, run: Run, text: str, *, is_new: bool) -> None:
    """Store the present run; when it is a new one, let go of what is too old."""
    db.execute(
        "INSERT INTO runs (name, release, number, body) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET body = excluded.body",
        (run.name, release, run.number, text),
    )
    if is_new:
        db.execute(
            "DELETE FROM runs WHERE release = ? AND number <="
            " (SELECT number FROM runs WHERE release = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
            (release, release, RUNS_KEPT),
        )


def _add_blocks(db: sqlite3.Connection, run: str | None, lines: Sequence[str]) -> None:
    """Blocks belong to the run they were read for: the one that was there before this save."""
    if not lines:
        return
    assert run is not None, "blocks belong to a run"
    last = db.execute("SELECT coalesce(max(number), 0) FROM blocks WHERE run = ?", (run,)).fetchone()[0]
    rows = [(run, number, line) for number, line in enumerate(lines, start=last + 1)]
    db.executemany("INSERT INTO blocks VALUES (?, ?, ?)", rows)


def _end_run(db: sqlite3.Connection, run: Run, event: Event) -> None:
    """Give a run that the state no longer names the end that its last event says."""
    db.execute("UPDATE runs SET body = ? WHERE name = ?", (_text(ended(run, event)), run.name))


def _add_decisions(
    db: sqlite3.Connection, run: Run, events: Sequence[Event], judge_state: str, mesh: MeshRecord
) -> None:
    name = run.name
    row = db.execute("SELECT decisions, head, sealed FROM runs WHERE name = ?", (name,)).fetchone()
    count, hash_, sealed = row
    new = db.execute("SELECT body FROM blocks WHERE run = ? AND number > ? ORDER BY number", (name, sealed)).fetchall()
    inputs = inputs_of([line for (line,) in new])
    records, head = append(Head(count, hash_), events, inputs, judge_state, mesh, terms_of(run))
    rows = [(name, record["number"], record["hash"], canonical(record)) for record in records]
    db.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?)", rows)
    db.execute(
        "UPDATE runs SET decisions = ?, head = ?, sealed = ? WHERE name = ?",
        (head.decisions, head.hash, sealed + len(new), name),
    )
