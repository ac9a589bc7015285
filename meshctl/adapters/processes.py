"""The port `Workloads` on local processes: replicas that are started, watched, started again, drained, ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from meshctl.adapters.envoy.files import last_lines
from meshctl.adapters.envoy.ports import LOOPBACK, free_port
from meshctl.adapters.supervision import Process, ProcessTable, alive, command_digest, end, exit_status, send
from meshctl.core.errors import InvalidInput, MeshctlError, Unreachable
from meshctl.core.model import ReadyReplicas, Release, Workload, WorkloadVersion
from meshctl.core.names import subset_name

FIRST_WAIT, LONGEST_WAIT = timedelta(milliseconds=200), timedelta(seconds=10)
"""Between the end of a replica and its next start; doubled each time until the longest."""

STEADY = timedelta(seconds=10)
"""A replica that ran for so long starts with the first wait again."""

LOG_CAP_BYTES = 50_000_000
"""The log of a running replica is emptied beyond this."""


class Endpoints(Protocol):
    """Where replicas become endpoints of the mesh, and where their health is known."""

    def publish(self, service: str, version: str, ports: Sequence[int]) -> None:
        """Make exactly these ports of 127.0.0.1 the endpoints of a version."""
        ...

    def healthy(self, service: str, version: str) -> int | None:
        """How many of them may get requests; ``None`` when the mesh does not know the version (yet)."""
        ...


@dataclass(slots=True)
class _Replica:
    """One replica; ``process`` is ``None`` between its end and its next start."""

    service: str
    version: str
    number: int
    digest: str
    port: int | None = None
    process: Process | None = None
    since: datetime | None = None
    failures: int = 0
    again_at: datetime | None = None
    message: str = ""
    retiring: bool = False
    next_signal_at: datetime | None = None
    terminated: bool = False

    @property
    def key(self) -> str:
        return f"{self.service}/{subset_name(self.version)}/{self.number}@{self.digest[:8]}"

    @property
    def serves(self) -> bool:
        return self.process is not None and not self.retiring


class LocalWorkloads:
    """The replicas of ``workloads``.  `adopt` once, then `supervise` every tick; nothing here waits, except
    `stop_all`.

    Readiness is what Envoy's health checks say (``endpoints``), because they decide where requests go.
    """

    def __init__(self, base: Path, workloads: Sequence[Workload], endpoints: Endpoints) -> None:
        self._base = base
        self._workloads = {workload.metadata.name: workload for workload in workloads}
        self._endpoints = endpoints
        self._table = ProcessTable(base)
        self._replicas: dict[str, _Replica] = {}
        self._ports: dict[str, int] = {}
        self._changed: set[tuple[str, str]] = set()
        self._adopted = False

    def wish(self, workloads: Sequence[Workload]) -> None:
        """Go by these workloads from now on; `ensure` and `retire` act on them."""
        self._workloads = {workload.metadata.name: workload for workload in workloads}

    def adopt(self) -> list[str]:
        """Take over the replicas that still run and still are what the workloads wish; drain the others.

        Processes that a crash left unrecorded are ended by id.  Returns the keys of what was taken over.
        """
        self._adopted = True
        self._table.end_strays()
        taken = []
        for key, process in self._table.records().items():
            notes = process.notes
            if "service" not in notes:
                continue
            service, version, number = str(notes["service"]), str(notes["version"]), int(notes["number"])
            wished = self._digest(service, version, number)
            found = _Replica(service, version, number, key.rpartition("@")[2], int(notes["port"]))
            self._ports[key] = int(notes["port"])
            if not alive(process):
                self._table.forget(key)
                continue
            found.process = process
            found.retiring = bool(notes.get("retiring")) or wished is None or wished[:8] != found.digest
            self._replicas[key] = found
            taken.append(key)
        for service, workload in self._workloads.items():
            self._changed |= {(service, version) for version in workload.spec.versions}
        self._changed |= {(found.service, found.version) for found in self._replicas.values()}
        self._publish()
        return taken

    def ready(self, release: Release, version: str) -> ReadyReplicas | None:
        """Replicas that Envoy sends requests to, of those wished; ``None`` while Envoy does not answer."""
        service = release.spec.service
        spec = self._version(service, version)
        if spec is None:
            return ReadyReplicas(0, 0, f"Workload/{service} has no version {version}")
        try:
            healthy = self._endpoints.healthy(service, version)
        except Unreachable:
            return None
        messages = [found.message for found in self._of(service, version) if found.message and not found.retiring]
        return ReadyReplicas(min(healthy or 0, spec.replicas), spec.replicas, "; ".join(messages))

    def ensure(self, release: Release, version: str) -> None:
        """Have the version's replicas running.  Who was being drained and was not told to end yet stays."""
        service = release.spec.service
        spec = self._version(service, version)
        if spec is None:
            known = self._workloads[service].spec.versions if service in self._workloads else {}
            raise InvalidInput(
                f"Release/{release.metadata.name}: Workload/{service} has no version {version!r}",
                hint=f"Declared: {', '.join(known) or 'none'}. Add it under spec.versions with its command.",
            )
        self._adopt_once()
        for number in range(spec.replicas):
            self._ensure_one(service, version, number)
        for found in self._of(service, version):
            if found.number >= spec.replicas and not found.retiring:
                self._retire_one(found)
        self._changed.add((service, version))
        self._publish()

    def retire(self, release: Release, keep: Sequence[str]) -> None:
        """Take the replicas of all versions but ``keep`` out of the endpoints; each is ended after ``drain``."""
        self._adopt_once()
        service = release.spec.service
        for found in self._replicas.values():
            if found.service == service and found.version not in keep and not found.retiring:
                self._changed.add((service, found.version))
                self._retire_one(found)
        self._publish()

    def supervise(self, now: datetime) -> str:
        """One look at all replicas, to be taken every tick: notice the dead, start them again when their time has
        come, go on with draining.  Returns at once, with what went wrong on our side; never raises."""
        problems = []
        try:
            self._adopt_once()
            for key, found in list(self._replicas.items()):
                before = found.serves
                self._look(found, now)
                if found.retiring:
                    self._drain(key, found, now)
                elif found.process is None and (found.again_at is None or now >= found.again_at):
                    self._start(found, now)
                elif found.process is not None:
                    self._cap(found)
                if found.serves != before:
                    self._changed.add((found.service, found.version))
        except (MeshctlError, OSError) as error:
            problems.append(str(error))
        try:
            self._publish()
        except (MeshctlError, OSError) as error:
            problems.append(str(error))
        return "; ".join(problems)

    def stop_all(self) -> None:
        """End every replica, all at once: SIGTERM, then SIGKILL after the longest ``drain``.  Blocks."""
        self._adopt_once()
        running = [found.process for found in self._replicas.values() if found.process is not None]
        drains = [workload.spec.drain.total_seconds() for workload in self._workloads.values()]
        end(running, max(drains, default=5.0))
        self._changed |= {(found.service, found.version) for found in self._replicas.values()}
        for key in self._replicas:
            self._table.forget(key)
        self._replicas.clear()
        self._publish()

    def pids(self, service: str, version: str) -> list[int]:
        """The processes that serve a version now, by replica number."""
        found = sorted(self._of(service, version), key=lambda replica: replica.number)
        return [replica.process.pid for replica in found if replica.process is not None and not replica.retiring]

    def _adopt_once(self) -> None:
        if not self._adopted:
            self.adopt()

    def _version(self, service: str, version: str) -> WorkloadVersion | None:
        workload = self._workloads.get(service)
        return workload.spec.versions.get(version) if workload else None

    def _digest(self, service: str, version: str, number: int) -> str | None:
        spec = self._version(service, version)
        if spec is None or number >= spec.replicas:
            return None
        return command_digest(spec.command, spec.env)

    def _of(self, service: str, version: str) -> list[_Replica]:
        return [found for found in self._replicas.values() if (found.service, found.version) == (service, version)]

    def _ensure_one(self, service: str, version: str, number: int) -> None:
        digest = self._digest(service, version, number)
        assert digest is not None
        fresh = _Replica(service, version, number, digest[:8])
        found = self._replicas.setdefault(fresh.key, fresh)
        if found.retiring and not found.terminated:
            found.retiring, found.next_signal_at = False, None
            self._note(found)
        if found.process is None and found.again_at is None and not found.retiring:
            self._start(found, None)

    def _retire_one(self, found: _Replica) -> None:
        if not found.retiring:
            found.retiring = True
            self._note(found)

    def _note(self, found: _Replica) -> None:
        if found.process is not None:
            notes = found.process.notes | {"retiring": found.retiring}
            found.process = replace(found.process, notes=notes)
            self._table.put(found.process)

    def _look(self, found: _Replica, now: datetime) -> None:
        """Notice that a process has ended, and decide when it is started again."""
        if found.process is None:
            return
        if found.since is None:
            found.since = now
        status = exit_status(found.process)
        if status is None and alive(found.process):
            if now - found.since >= STEADY:
                found.failures, found.message = 0, ""
            return
        words = last_lines(self._log(found), 1)
        found.message = f"replica {found.number} of {found.version} {_how(status)}" + (f": {words}" if words else "")
        found.process = None
        found.again_at = now + min(FIRST_WAIT * 2 ** min(found.failures, 10), LONGEST_WAIT)
        found.failures += 1

    def _start(self, found: _Replica, now: datetime | None) -> None:
        spec = self._version(found.service, found.version)
        assert spec is not None
        taken = frozenset(other.port for other in self._replicas.values() if other.port and other is not found)
        try:
            found.port = free_port(found.port or self._ports.get(found.key), taken=taken)
            env = {
                "HOST": LOOPBACK,
                "PORT": str(found.port),
                "VERSION": found.version,
                "REPLICA": str(found.number),
                **spec.env,
            }
            notes: Mapping[str, str | int] = {
                "service": found.service,
                "version": found.version,
                "number": found.number,
                "port": found.port,
            }
            found.process = self._table.spawn(found.key, spec.command, env, self._log(found), notes=notes)
        except (MeshctlError, OSError) as error:
            found.message = f"replica {found.number} of {found.version} cannot be started: {error}"
            found.failures += 1
            if now is not None:
                found.again_at = now + min(FIRST_WAIT * 2 ** min(found.failures, 10), LONGEST_WAIT)
            return
        found.since, found.again_at = now, None

    def _drain(self, key: str, found: _Replica, now: datetime) -> None:
        if found.process is None:
            del self._replicas[key]
            self._table.forget(key)
            return
        drain = self._workloads[found.service].spec.drain if found.service in self._workloads else timedelta(0)
        if found.next_signal_at is None:
            found.next_signal_at = now + drain
        if now < found.next_signal_at:
            return
        send(found.process, signal.SIGKILL if found.terminated else signal.SIGTERM)
        found.terminated, found.next_signal_at = True, now + drain

    def _publish(self) -> None:
        """Tell the mesh about versions whose serving replicas changed; what fails is told at the next look."""
        for service, version in sorted(self._changed):
            if service in self._workloads:
                serving = [found for found in self._of(service, version) if found.serves]
                serving.sort(key=lambda found: found.number)
                self._endpoints.publish(service, version, [found.port for found in serving if found.port])
            self._changed.discard((service, version))

    def _log(self, found: _Replica) -> Path:
        return self._base / "logs" / f"{found.service}-{subset_name(found.version)}-{found.number}.log"

    def _cap(self, found: _Replica) -> None:
        log = self._log(found)
        if log.exists() and log.stat().st_size > LOG_CAP_BYTES:
            os.truncate(log, 0)


def _how(status: int | None) -> str:
    if status is None:
        return "ended"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"
