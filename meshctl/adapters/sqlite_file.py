"""One SQLite file: made safely, opened, brought to the present format; transactions and errors that name it.

A new file is made complete under another name and then linked into place, so that no process ever meets a file
without tables and two processes that begin at once end up with the same one.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from meshctl.adapters.migrations import APPLICATION_ID, MIGRATIONS
from meshctl.core.errors import StoreError

BUSY_TIMEOUT_S = 5.0
VERIFIED_BYTES = 64 * 2**20
"""A larger file is not read as a whole before it is used: that would take longer than a restart may."""

OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables are known from here on."""


class SqliteFile:
    """The connection to one file, for any number of threads; several processes may have the file open."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        self._lock = threading.RLock()
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreError(f"this Python has SQLite {sqlite3.sqlite_version}, meshctl needs 3.37 or newer")
        if not path.exists():
            if not create:
                raise StoreError(f"there is no {path}", hint="`meshctl local up -f DIR` makes it.")
            self._make()
        self._refuse_empty()
        with self._errors("open"):
            self._connection = _connect(path)
        try:
            with self._errors("open"):
                self._check()
                self._connection.execute("PRAGMA journal_mode = WAL")
                _migrate(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Several reads that see one and the same moment."""
        with self._lock, self._errors("read"), _transaction(self._connection, "DEFERRED"):
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One change, all or nothing, with no other writer in between; counts up the revision if anything changed."""
        with self._lock, self._errors("write"), _transaction(self._connection, "IMMEDIATE"):
            before = self._connection.total_changes
            yield self._connection
            if self._connection.total_changes != before:
                self._connection.execute("UPDATE revision SET number = number + 1")

    def verify(self) -> None:
        """Read all of it once, unless it is large.  Raises `StoreError` when a part is damaged that nobody may have
        asked for yet."""
        if self.path.stat().st_size > VERIFIED_BYTES:
            return
        with self.reading() as db:
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(f"{self.path}: the file is damaged ({found})", hint=_RECOVER.format(path=self.path))

    def damaged(self, what: str, error: Exception) -> StoreError:
        """The error for a row that is there but makes no sense."""
        return StoreError(f"{self.path}: {what} cannot be read: {error}", hint=_RECOVER.format(path=self.path))

    # -------------------------------------------------------------------------------- inside

    def _make(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".state-", suffix=".db")
        except OSError as error:
            raise StoreError(f"cannot make {self.path}: {error.strerror}", hint=_PERMISSIONS) from error
        os.close(handle)
        try:
            with self._errors("make"), closing(_connect(Path(name))) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                _migrate(connection)
            with suppress(FileExistsError):
                os.link(name, self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise StoreError(f"cannot make {self.path}: {error.strerror}", hint=_PERMISSIONS) from error
        finally:
            for suffix in ("", "-wal", "-shm"):
                Path(name + suffix).unlink(missing_ok=True)

    def _refuse_empty(self) -> None:
        """A file of ours is never empty; SQLite would take an empty one for new and drop the WAL beside it."""
        with suppress(OSError):
            if self.path.stat().st_size == 0:
                raise StoreError(
                    f"cannot open {self.path}: the file is damaged (it is empty)",
                    hint=_RECOVER.format(path=self.path),
                )

    def _check(self) -> None:
        """Refuse a file that is not ours or that a newer meshctl has changed."""
        application = _pragma(self._connection, "application_id")
        tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if application != APPLICATION_ID and tables:
            raise StoreError(f"{self.path} is a SQLite file, but not one of meshctl", hint="Name another folder.")
        found = _pragma(self._connection, "user_version")
        if found > len(MIGRATIONS):
            raise StoreError(
                f"{self.path} has format {found}, this meshctl knows formats up to {len(MIGRATIONS)}",
                hint="A newer meshctl wrote it: use that one, or name another folder.",
            )

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _named(self.path, doing, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _sync_folder(folder: Path) -> None:
    """Put a new name in ``folder`` on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    if _pragma(connection, "user_version") == len(MIGRATIONS):
        return
    with _transaction(connection, "IMMEDIATE"):
        for statements in MIGRATIONS[_pragma(connection, "user_version") :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends the transaction by itself
            connection.execute("ROLLBACK")
        raise


# ------------------------------------------------------------------------------------ words for errors

_RECOVER = (
    "Move it aside together with its -wal and -shm files and apply the releases again; "
    "`sqlite3 {path} .recover` saves what is readable."
)
_PERMISSIONS = "Look at the owner, the permissions and the free space of its folder."

_WORDS = {
    sqlite3.SQLITE_FULL: (
        "the disk is full",
        "Free some space and try again; nothing was stored.",
    ),
    sqlite3.SQLITE_CORRUPT: ("the file is damaged", _RECOVER),
    sqlite3.SQLITE_NOTADB: ("the file is not a SQLite database", _RECOVER),
    sqlite3.SQLITE_BUSY: ("another process has kept it locked", "End the process that holds it (`fuser {path}`)."),
    sqlite3.SQLITE_READONLY: ("it may not be written", _PERMISSIONS),
    sqlite3.SQLITE_PERM: ("access is denied", _PERMISSIONS),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", _PERMISSIONS),
    sqlite3.SQLITE_IOERR: ("the disk failed or is full", _PERMISSIONS),
}


def _named(path: Path, doing: str, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    words, hint = _WORDS.get(code & 0xFF if code is not None else -1, ("SQLite refused", ""))
    return StoreError(f"cannot {doing} {path}: {words} ({error})", hint=hint.format(path=path))
