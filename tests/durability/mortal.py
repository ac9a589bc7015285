"""``meshctl`` that kills itself with SIGKILL just before its N-th effect: ``python mortal.py N COUNTS meshctl-words``.

An effect is what outlives the process: a file renamed, linked or removed, a process started or signalled, a
transaction committed.  They are counted from outside, by the interpreter's audit events and SQLite's own trace: the
code under test is what is shipped.  Each effect is a line of the file COUNTS, so that a run without a death (N = 0)
tells how many there are.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from typing import Any

_connect = sqlite3.connect
EFFECTS = {"os.rename", "os.link", "os.remove", "os.posix_spawn", "os.kill", "os.killpg"}


class Fate:
    """Counts effects, and dies before the one that was named."""

    def __init__(self, last: int, counts: str) -> None:
        self._last = last
        self._descriptor = os.open(counts, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._count = 0
        self._writes = False

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        """An audit event of the interpreter."""
        if event in EFFECTS and not (event in ("os.kill", "os.killpg") and arguments[1] == 0):
            self._effect(f"{event} {arguments[0]}")

    def connect(self, *arguments: Any, **settings: Any) -> sqlite3.Connection:
        """In the place of `sqlite3.connect`: the same, traced."""
        connection = _connect(*arguments, **settings)
        connection.set_trace_callback(self._statement)
        return connection

    def _statement(self, text: str) -> None:
        if text.startswith("BEGIN"):
            self._writes = text == "BEGIN IMMEDIATE"
        elif text == "COMMIT" and self._writes:
            self._effect("commit")

    def _effect(self, what: str) -> None:
        self._count += 1
        os.write(self._descriptor, f"{self._count} {what}\n".encode())
        if self._count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    fate = Fate(int(sys.argv[1]), sys.argv[2])
    sys.addaudithook(fate.hear)
    sqlite3.connect = fate.connect  # type: ignore[assignment]
    from meshctl.cli import main

    sys.argv = ["meshctl", *sys.argv[3:]]
    sys.exit(main())
