"""The port `Workloads` on local processes: replicas that are started, watched, started again, drained, ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from meshctl.adapters.replicas import Replica
from meshctl.adapters.supervision import ProcessTable, alive, command_digest, end
from meshctl.core.errors import InvalidInput, MeshctlError, StoreError, Unreachable
from meshctl.core.model import ReadyReplicas, Release, Workload, WorkloadVersion
from meshctl.core.names import subset_name


class Endpoints(Protocol):
    """Where replicas become endpoints of the mesh, and where their health is known."""

    def publish(self, service: str, version: str, ports: Sequence[int]) -> None:
        """Make exactly these ports of 127.0.0.1 the endpoints of a version."""
        ...

    def healthy(self, service: str, version: str) -> int | None:
        """How many of them may get requests; ``None`` when the mesh does not know the version (yet)."""
        ...


class LocalWorkloads:
    """The replicas of ``workloads``.  `adopt` once, then `supervise` every tick; nothing here waits, except
    `stop_all`.

    Readiness is what Envoy's health checks say (``endpoints``), because they decide where requests go.
    """

    def __init__(self, base: Path, workloads: Sequence[Workload], endpoints: Endpoints) -> None:
        self._logs = base / "logs"
        self._workloads = {workload.metadata.name: workload for workload in workloads}
        self._endpoints = endpoints
        self._table = ProcessTable(base)
        self._replicas: dict[str, Replica] = {}
        self._ports: dict[str, int | None] = {}
        self._changed: set[tuple[str, str]] = set()
        self._needed_by: dict[tuple[str, str], int] = {}
        self._adopted = False

    def wish(self, workloads: Sequence[Workload]) -> None:
        """Go by these workloads from now on.  `ensure` starts replicas by a changed command beside the old ones,
        which go when the new ones are ready; `retire` ends what nobody needs."""
        self._workloads = {workload.metadata.name: workload for workload in workloads}

    def adopt(self) -> list[str]:
        """Take over the replicas that still run; those by an older command serve until `ensure` replaced them.

        Processes that a crash left unrecorded are ended by id.  Returns the keys of what was taken over.
        """
        self._adopted = True
        self._table.end_strays()
        for key, process in self._table.records().items():
            if "service" not in process.notes:
                continue
            found = Replica.recorded(self._table, self._logs, process)
            self._ports[key] = found.port
            if alive(process):
                self._replicas[key] = found
            else:
                self._table.forget(key)
        for service, workload in self._workloads.items():
            self._changed |= {(service, version) for version in workload.spec.versions}
        self._changed |= {(found.service, found.version) for found in self._replicas.values()}
        self._publish()
        return sorted(self._replicas)

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

    def ensure(self, release: Release, version: str, *, run: int = 0) -> None:
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
        self._needed_by[service, version] = max(run, self._needed_by.get((service, version), 0))
        for number in range(spec.replicas):
            self._ensure_one(service, version, number, command_digest(spec.command, spec.env))
        for found in self._superfluous(service, version, spec):
            found.retire()
        self._changed.add((service, version))
        self._publish()

    def retire(self, release: Release, keep: Sequence[str], *, run: int = 0) -> None:
        """Take the replicas of all versions but ``keep`` out of the endpoints; each is ended after ``drain``."""
        self._adopt_once()
        service = release.spec.service
        for found in self._replicas.values():
            key = service, found.version
            if found.service != service or found.version in keep or self._needed_by.get(key, 0) > run:
                continue
            if not found.retiring:
                self._changed.add(key)
                found.retire()
        self._publish()

    def supervise(self, now: datetime) -> str:
        """One look at all replicas, to be taken every tick: notice the dead, start them again when their time has
        come, go on with draining.  Returns at once, with what went wrong on our side; never raises."""
        problems = []

        def attempt(step: Callable[..., None], *arguments: object) -> None:
            try:
                step(*arguments)
            except (MeshctlError, OSError) as error:
                problems.append(str(error))

        attempt(self._adopt_once)
        for found in list(self._replicas.values()):
            attempt(self._supervise_one, found, now)
        attempt(self._publish)
        return "; ".join(problems)

    def stop_all(self) -> None:
        """End every replica, all at once: SIGTERM, then SIGKILL after the longest ``drain``.  Blocks.

        A full disk does not hinder it: the next start finds records of processes that are gone.
        """
        self._adopt_once()
        running = [found.process for found in self._replicas.values() if found.process is not None]
        drains = [workload.spec.drain.total_seconds() for workload in self._workloads.values()]
        end(running, max(drains, default=5.0))
        self._changed |= {(found.service, found.version) for found in self._replicas.values()}
        gone = list(self._replicas)
        self._replicas.clear()
        with contextlib.suppress(StoreError):
            self._table.forget(*gone)
            self._publish()

    def messages(self) -> tuple[str, ...]:
        """What happened last to each replica that is wished, where something did; for people."""
        return tuple(found.message for found in self._replicas.values() if found.message and not found.retiring)

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

    def _of(self, service: str, version: str) -> list[Replica]:
        return [found for found in self._replicas.values() if (found.service, found.version) == (service, version)]

    def _ensure_one(self, service: str, version: str, number: int, digest: str) -> None:
        key = f"{service}/{subset_name(version)}/{number}"
        found = self._replicas.get(key)
        if found is not None and found.digest != digest:
            del self._replicas[key]
            found.step_aside()
            if found.process is not None:
                self._replicas[found.key] = found
            found = None
        if found is None:
            found = Replica(self._table, self._logs, key, service, version, number, digest, self._ports.get(key))
            self._replicas[key] = found
        found.stay()
        if found.due(None):
            self._start(found, None)

    def _start(self, found: Replica, now: datetime | None) -> None:
        spec = self._version(found.service, found.version)
        if spec is None:
            found.message = f"Workload/{found.service} declares {found.version} no more: it is not started again"
            return
        taken = frozenset(other.port for other in self._replicas.values() if other.port and other is not found)
        found.start(spec, now, taken)

    def _supervise_one(self, found: Replica, now: datetime) -> None:
        before = found.serves
        try:
            found.look(now)
            if found.retiring:
                workload = self._workloads.get(found.service)
                if found.drain(now, workload.spec.drain if workload else timedelta(0)):
                    del self._replicas[found.key]
            elif found.due(now):
                self._start(found, now)
        finally:
            if found.serves != before:
                self._changed.add((found.service, found.version))

    def _superfluous(self, service: str, version: str, spec: WorkloadVersion) -> list[Replica]:
        """Replicas beyond the wished number, and outdated ones once every replica is healthy (make before break)."""
        serving = [found for found in self._of(service, version) if found.serves]
        digest = command_digest(spec.command, spec.env)
        outdated = [found for found in serving if found.digest != digest]
        if outdated:
            try:
                if (self._endpoints.healthy(service, version) or 0) < len(outdated) + spec.replicas:
                    outdated = []
            except Unreachable:
                outdated = []
        return [*outdated, *(found for found in serving if found.digest == digest and found.number >= spec.replicas)]

    def _publish(self) -> None:
        """Tell the mesh about versions whose serving replicas changed; what fails is told at the next look."""
        for service, version in sorted(self._changed):
            if service in self._workloads:
                serving = [found for found in self._of(service, version) if found.serves]
                serving.sort(key=lambda found: found.number)
                self._endpoints.publish(service, version, [found.port for found in serving if found.port])
            self._changed.discard((service, version))
