"""One replica of a local workload: started, watched, started again ever more slowly, drained, ended."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from meshctl.adapters.envoy.files import last_lines
from meshctl.adapters.envoy.ports import LOOPBACK, REPLICA_PORTS, free_port
from meshctl.adapters.supervision import Process, ProcessTable, alive, exit_status, send
from meshctl.core.errors import MeshctlError
from meshctl.core.model import WorkloadVersion
from meshctl.core.names import subset_name

FIRST_WAIT, LONGEST_WAIT = timedelta(milliseconds=200), timedelta(seconds=10)
"""Between the end of a replica and its next start; doubled each time until the longest."""

STEADY = timedelta(seconds=10)
"""A replica that ran for so long starts with the first wait again."""

LOG_CAP_BYTES = 50_000_000
"""The log of a running replica is emptied beyond this."""


@dataclass(slots=True)
class Replica:
    """One replica; ``process`` is ``None`` between its end and its next start.

    ``digest`` is that of the command it was started with: another one than the workload's makes it outdated.
    ``message`` says what happened to it last, for people.
    """

    table: ProcessTable
    logs: Path
    key: str
    service: str
    version: str
    number: int
    digest: str
    port: int | None = None
    process: Process | None = None
    message: str = ""
    retiring: bool = False
    terminated: bool = False
    _since: datetime | None = None
    _failures: int = 0
    _again_at: datetime | None = None
    _next_signal_at: datetime | None = None

    @classmethod
    def recorded(cls, table: ProcessTable, logs: Path, process: Process) -> Replica:
        """The replica behind a record.  Raises `KeyError` when the record is of something else."""
        notes = process.notes
        service, version, number = str(notes["service"]), str(notes["version"]), int(notes["number"])
        found = cls(table, logs, process.key, service, version, number, str(notes["command"]), int(notes["port"]))
        found.process, found.retiring = process, bool(notes.get("retiring"))
        return found

    @property
    def serves(self) -> bool:
        """Whether it belongs to the endpoints."""
        return self.process is not None and not self.retiring

    @property
    def log(self) -> Path:
        return self.logs / f"{self.service}-{subset_name(self.version)}-{self.number}.log"

    def due(self, now: datetime | None) -> bool:
        """Whether it is to be started; without ``now`` only if it never failed."""
        if self.process is not None or self.retiring:
            return False
        return self._again_at is None or (now is not None and now >= self._again_at)

    def start(self, spec: WorkloadVersion, now: datetime | None, taken: frozenset[int]) -> None:
        """Start it on its port, or on another one where that is gone.  A failure is a message and a later try."""
        try:
            self.port = free_port(REPLICA_PORTS, self.port, taken=taken)
            place = {"HOST": LOOPBACK, "PORT": str(self.port), "VERSION": self.version, "REPLICA": str(self.number)}
            notes: dict[str, str | int] = {
                "service": self.service,
                "version": self.version,
                "number": self.number,
                "port": self.port,
                "command": self.digest,
            }
            self.process = self.table.spawn(self.key, spec.command, place | spec.env, self.log, notes=notes)
        except (MeshctlError, OSError) as error:
            self.message = f"replica {self.number} of {self.version} cannot be started: {error}"
            if now is not None:
                self._wait(now)
            return
        self._since, self._again_at = now, None

    def look(self, now: datetime) -> None:
        """Notice that the process has ended, and decide when it is started again."""
        if self.process is None:
            return
        if self._since is None:
            self._since = now
        status = exit_status(self.process)
        if status is None and alive(self.process):
            if now - self._since >= STEADY:
                self._failures, self.message = 0, ""
            self._cap_log()
            return
        words = last_lines(self.log, 1)
        self.message = f"replica {self.number} of {self.version} {_how(status)}" + (f": {words}" if words else "")
        self.process = None
        self._wait(now)

    def retire(self) -> None:
        """No new requests from now on; `drain` ends it."""
        if not self.retiring:
            self.retiring = True
            self._note()

    def stay(self) -> None:
        """Take `retire` back, if the process was not told to end yet."""
        if self.retiring and not self.terminated:
            self.retiring, self._next_signal_at = False, None
            self._note()

    def drain(self, now: datetime, grace: timedelta) -> bool:
        """Go on with ending it: wait ``grace``, SIGTERM, wait ``grace``, SIGKILL; true when it is gone."""
        if self.process is None:
            self.table.forget(self.key)
            return True
        if self._next_signal_at is None:
            self._next_signal_at = now + grace
        if now >= self._next_signal_at:
            send(self.process, signal.SIGKILL if self.terminated else signal.SIGTERM)
            self.terminated, self._next_signal_at = True, now + grace
        return False

    def step_aside(self) -> None:
        """Leave the key to a replica by a newer command."""
        self.table.forget(self.key)
        self.key = f"{self.key}~{self.digest[:8]}"
        if self.process is not None:
            self.process = replace(self.process, key=self.key)
            self.table.put(self.process)

    def _wait(self, now: datetime) -> None:
        self._again_at = now + min(FIRST_WAIT * 2 ** min(self._failures, 10), LONGEST_WAIT)
        self._failures += 1

    def _note(self) -> None:
        if self.process is not None:
            self.process = replace(self.process, notes=self.process.notes | {"retiring": self.retiring})
            self.table.put(self.process)

    def _cap_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_CAP_BYTES:
            os.truncate(self.log, 0)


def _how(status: int | None) -> str:
    if status is None:
        return "ended"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"
