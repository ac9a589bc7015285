"""Processes that outlive us: started in sessions of their own, recorded, found again, ended by id.

A process is known by (pid, start time, boot id), which no other process can have, and by the digest of what it
was started with.  The record survives in ``processes.json``; who starts later adopts what still matches.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from meshctl.adapters.envoy.files import read_json, wait_until, write_json
from meshctl.core.errors import StoreError, WorkloadError

HOME_VARIABLE = "MESHCTL_HOME"
"""Marks, in their environment, the processes that were started for a folder."""

LOG_LIMIT_BYTES = 5_000_000
"""A log larger than this is set aside, once, before the process is started again."""


@dataclass(frozen=True, slots=True)
class Process:
    """A started process: ``started`` is its start time in clock ticks since boot, ``digest`` covers argv and
    environment, ``notes`` is what its owner wants to know again after a restart."""

    key: str
    pid: int
    started: int
    boot: str
    digest: str
    notes: dict[str, str | int | bool] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Changes whenever the process behind ``key`` is another one."""
        return f"{self.boot[:8]}:{self.pid}:{self.started}"


def command_digest(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """Digest of what a process is started with."""
    text = json.dumps([list(argv), dict(env)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def alive(process: Process) -> bool:
    """Whether exactly this process still runs (a zombie does not)."""
    if _boot_id() != process.boot:
        return False
    found = _stat(process.pid)
    return found is not None and found == ("running", process.started)


def running_for_s(process: Process) -> float:
    """How long ago a process of this boot was started, in seconds."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime - process.started / os.sysconf("SC_CLK_TCK"))


def exit_status(process: Process) -> int | None:
    """How a process ended, once: its exit code, or minus the signal.  ``None`` while it runs or when it was not
    started by us.  What it left in its session is ended first."""
    try:
        seen = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if seen is None:
        return None
    _signal_session(process.pid, signal.SIGKILL)
    _, status = os.waitpid(process.pid, 0)
    return os.waitstatus_to_exitcode(status)


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal to the process and to everything in its session, if it is still this process."""
    if alive(process):
        _signal_session(process.pid, number)


def end(processes: Sequence[Process], grace_s: float) -> None:
    """SIGTERM, then SIGKILL to what still runs after ``grace_s`` seconds.  Returns when all are gone."""

    def gone() -> bool:
        for process in processes:
            exit_status(process)
        return not any(alive(process) for process in processes)

    for process in processes:
        send(process, signal.SIGTERM)
    if not wait_until(gone, grace_s, every_s=0.01):
        for process in processes:
            send(process, signal.SIGKILL)
        wait_until(gone, 5.0, every_s=0.01)


class ProcessTable:
    """``processes.json``: which processes belong to a folder, by key (``envoy``, ``shop/v2-1-0/0``)."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._path = base / "processes.json"

    def spawn(
        self, key: str, argv: Sequence[str], env: Mapping[str, str], log: Path, *, notes: Mapping[str, str | int]
    ) -> Process:
        """Start a process in a session of its own, its output appended to ``log``, and record it.

        ``env`` is added to our own environment.  Raises `WorkloadError` when the command cannot be executed,
        `StoreError` when it cannot be recorded; then it does not run either.
        """
        _set_aside(log)
        whole = os.environ | dict(env) | {HOME_VARIABLE: str(self._base.resolve())}
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            pid = os.posix_spawnp(argv[0], list(argv), whole, file_actions=files, setsid=True)
        except OSError as error:
            raise WorkloadError(
                f"{key}: cannot execute {argv[0]!r}: {error.strerror or error}",
                hint="Name a program that exists and is executable, by its path or found on PATH.",
            ) from error
        started = _stat(pid)
        process = Process(key, pid, started[1] if started else 0, _boot_id(), command_digest(argv, env), dict(notes))
        try:
            self.put(process)
        except StoreError:
            end([process], 0.0)
            raise
        return process

    def records(self) -> dict[str, Process]:
        """Everything recorded, by key.  An unreadable file counts as empty: `end_strays` finds what
        runs."""
        try:
            found = read_json(self._path) or {}
            return {key: Process(key=key, **entry) for key, entry in found.items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    def get(self, key: str) -> Process | None:
        return self.records().get(key)

    def put(self, process: Process) -> None:
        """Record a process under its key, or record it anew with other notes."""
        self._write(self.records() | {process.key: process})

    def forget(self, *keys: str) -> None:
        """Drop records.  Raises `StoreError` when that cannot be written; a record of an ended process does no
        harm, whoever reads it asks `alive`."""
        self._write({known: process for known, process in self.records().items() if known not in keys})

    def end_strays(self) -> None:
        """End, by id, what was started for this folder and is not recorded: what a crash between starting and
        recording leaves behind.  Only leaders of sessions count; their sessions end with them."""
        for stray in self._strays():
            send(stray, signal.SIGKILL)

    def _strays(self) -> list[Process]:
        marker = f"{HOME_VARIABLE}={self._base.resolve()}".encode()
        known = {process.pid for process in self.records().values() if alive(process)}
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in known:
                continue
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                leader = os.getsid(int(entry.name)) == int(entry.name)
            except OSError:
                continue
            stat = _stat(int(entry.name))
            if marker in environment and leader and stat and stat[0] == "running":
                found.append(Process("stray", int(entry.name), stat[1], _boot_id(), ""))
        return found

    def _write(self, processes: Mapping[str, Process]) -> None:
        write_json(
            self._path,
            {
                key: {
                    "pid": process.pid,
                    "started": process.started,
                    "boot": process.boot,
                    "digest": process.digest,
                    "notes": process.notes,
                }
                for key, process in processes.items()
            },
        )


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> tuple[str, int] | None:
    """(``running`` or ``ended``, start time in ticks since boot), or ``None`` when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return ("ended" if fields[0] in "ZX" else "running", int(fields[19]))


def _signal_session(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _set_aside(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.rename(log.with_name(log.name + ".1"))
