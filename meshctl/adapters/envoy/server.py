"""The one Envoy of a folder: started or adopted, watched, told on which ports users come."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from meshctl.adapters.envoy.admin import Admin
from meshctl.adapters.envoy.binary import find_envoy, try_out
from meshctl.adapters.envoy.bootstrap import bootstrap, discovery, listener
from meshctl.adapters.envoy.files import last_lines, read_object, wait_until, write_json
from meshctl.adapters.envoy.layout import Layout
from meshctl.adapters.envoy.live import read_routes
from meshctl.adapters.envoy.pools import Pools
from meshctl.adapters.envoy.ports import SERVICE_PORTS, can_listen, free_port
from meshctl.adapters.supervision import Process, ProcessTable, alive, command_digest, end, exit_status, running_for_s
from meshctl.core.errors import InvalidInput, MeshctlError, StoreError, WorkloadError
from meshctl.core.model import Workload

KEY = "envoy"
START_S = 15.0
OPEN_S = 2.0
_BACKOFF = (timedelta(seconds=0.5), timedelta(seconds=10))


class EnvoyServer:
    """Envoy for the folder ``base`` and its workloads.  ``binary`` is the user's ``--envoy FILE``.

    Creating one starts nothing.  `pools` and `admin` are for `EnvoyMesh`, `EnvoyMetrics` and `LocalWorkloads`.
    """

    def __init__(self, base: Path, workloads: Sequence[Workload], *, binary: Path | None = None) -> None:
        self.layout = Layout(base)
        self.workloads = {workload.metadata.name: workload for workload in workloads}
        self.admin = Admin(self.layout.admin_socket())
        self.pools = Pools(self.layout, self.workloads, self.admin)
        self._table = ProcessTable(base)
        self._binary = binary
        self._again_at: datetime | None = None
        self._wait = _BACKOFF[0]

    def wish(self, workloads: Sequence[Workload]) -> None:
        """Go by these workloads from now on: their ports, their readiness.  The next `supervise` opens what is new;
        a workload that is gone stays known until the next start, since its routes are."""
        self.workloads.update({workload.metadata.name: workload for workload in workloads})
        self.pools.write()

    def start(self) -> bool:
        """Adopt the Envoy that runs for this folder, or start one and wait until it works; says if it was adopted.

        One that runs and does not fit is ended only once its successor has proved that it can read its
        configuration.  Raises `InvalidInput` when there is no Envoy or a port is taken, `WorkloadError` when Envoy
        does not start.
        """
        known = self._table.get(KEY)
        argv = self._argv(find_envoy(self._binary))
        config = bootstrap(self.layout, self.admin.path)
        fits = (
            known is not None
            and known.digest == command_digest(argv, {})
            and read_object(self.layout.bootstrap) == config
        )
        if known is not None and fits and alive(known) and wait_until(self.admin.live, OPEN_S):
            self._check_ports(held=self._told().values())
            self.pools.write()
            self._write_listeners(self._open_now())
            return True
        if known is not None and alive(known):
            self._check_ports(held=self._told().values())
            try_out(argv[0], config, self.layout)
            end([known], 2.0)
        write_json(self.layout.bootstrap, config)
        self._launch(argv)
        return False

    def stop(self) -> None:
        """End Envoy, on a full disk too.  The routes stay where they are, for the record and for the next start."""
        known = self._table.get(KEY)
        if known is not None:
            end([known], 2.0)
            with contextlib.suppress(StoreError):
                self._table.forget(KEY)
        self.layout.remove_admin_socket()

    def supervise(self, now: datetime) -> str:
        """One look, to be taken every tick: start Envoy again when it is gone, open what can be opened.

        Returns what was found wrong, empty when nothing was; never raises.  Waits only for an Envoy that starts.
        """
        known = self._table.get(KEY)
        try:
            if known is None or not self.running():
                if self._again_at is not None and now < self._again_at:
                    return f"Envoy is down and will be started again within {self._wait.total_seconds():g} s"
                self._wait = min(self._wait * 2, _BACKOFF[1])
                self._again_at = now + self._wait
                words = self._last_words(2).replace("\n", " ")
                self.start()
                return f"Envoy was gone and has been started again; it {words}"
            if self._again_at is not None and now > self._again_at + _BACKOFF[1]:
                self._again_at, self._wait = None, _BACKOFF[0]
            self.reopen()
        except (MeshctlError, OSError) as error:
            return f"looking after Envoy: {error}"
        return ""

    def running(self) -> bool:
        """Whether the recorded Envoy is alive."""
        known = self._table.get(KEY)
        if known is None:
            return False
        exit_status(known)
        return alive(known)

    @property
    def age_s(self) -> float:
        """For how long the present Envoy has been running, in seconds; 0 when none is."""
        known = self._table.get(KEY)
        return running_for_s(known) if known else 0.0

    @property
    def identity(self) -> str:
        """Changes with every Envoy: counters of two identities cannot be subtracted."""
        known = self._table.get(KEY)
        return known.identity if known else ""

    def listen(self, service: str) -> str:
        """``HOST:PORT`` where users reach a service; chosen at the first call where the workload says ``:0``."""
        wished = self.workloads[service].spec.listen
        host, _, port = wished.rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        if not port.isdigit() or not 0 <= int(port) <= 65535:
            raise InvalidInput(f"Workload/{service}: spec.listen: expected HOST:PORT, found {wished!r}")
        if int(port):
            return f"{host}:{int(port)}"
        known = read_object(self.layout.endpoints_of_users)
        if not str(known.get(service, "")).startswith(f"{host}:"):
            taken = frozenset(int(str(entry).rpartition(":")[2]) for entry in known.values())
            told = self._told().get(service, "")
            kept = told.startswith(f"{host}:")
            known[service] = told if kept else f"{host}:{free_port(SERVICE_PORTS, host=host, taken=taken)}"
            write_json(self.layout.endpoints_of_users, known)
        return str(known[service])

    def open(self, service: str) -> None:
        """Let users in; the service must have routes.  Returns when Envoy accepts connections.

        Raises `InvalidInput` when the port cannot be had, `Unreachable` when Envoy does not answer.
        """
        if service in self.admin.listeners():
            return
        address = self.listen(service)
        self._write_listeners({*self._open_now(), service})

        def settled() -> bool:
            return service in self.admin.listeners() or bool(self.admin.refused_listener(service))

        wait_until(settled, OPEN_S)
        if service not in self.admin.listeners():
            details = self.admin.refused_listener(service) or last_lines(self.layout.log(KEY))
            raise InvalidInput(
                f"Workload/{service}: Envoy cannot listen on {address}: {details}",
                hint="End the process that holds the port, or name another one (port 0 takes a free one).",
            )
        self._announce([service])

    def reopen(self) -> None:
        """Open every service that is closed and has routes by which at least half of its users find a healthy
        replica: the rest of them is worth less than everybody's outage, and the next tick lowers it."""
        present = self.admin.listeners()
        moved = {service for service in present & set(self.workloads) if self._listens_elsewhere(service)}
        if moved:
            self._write_listeners(self._open_now())
            self._announce(moved)
        for service in self.workloads:
            live = None if service in present else read_routes(self.layout.routes(service))
            if live is None:
                continue
            served = [weight for version, weight in live.weights.items() if self.pools.healthy(service, version)]
            if sum(served) * 2 >= sum(live.weights.values()):
                self.open(service)

    def _announce(self, services: Iterable[str]) -> None:
        known = read_object(self.layout.endpoints_of_users)
        addresses = known | {service: self.listen(service) for service in services}
        if addresses != known:
            write_json(self.layout.endpoints_of_users, addresses)

    def _listens_elsewhere(self, service: str) -> bool:
        return self._told().get(service, self.listen(service)) != self.listen(service)

    def _open_now(self) -> set[str]:
        return set(self._told()) & set(self.workloads)

    def _write_listeners(self, services: Iterable[str]) -> None:
        resources = []
        for service in sorted(services):
            host, _, port = self.listen(service).rpartition(":")
            resources.append(listener(service, host, int(port), self.layout))
        # Written even when nothing is new: each rename makes Envoy try again what it had to refuse.
        write_json(self.layout.listeners, discovery(f"{len(resources)}", resources))

    def _argv(self, program: Path) -> list[str]:
        return [
            str(program),
            *("--config-path", str(self.layout.bootstrap)),
            *("--concurrency", "1"),
            *("--log-level", "warning"),
            "--disable-hot-restart",
        ]

    def _launch(self, argv: Sequence[str]) -> None:
        self._table.end_strays()
        self._check_ports()
        _allow_files()
        # A fresh Envoy has no open port: users come in when there are routes and healthy replicas behind them.
        write_json(self.layout.listeners, discovery("0", ()))
        self.pools.write()
        process = self._table.spawn(KEY, argv, {}, self.layout.log(KEY), notes={})
        status: int | None = None

        def settled() -> bool:
            nonlocal status
            status = exit_status(process)
            return status is not None or self.admin.live()

        if not wait_until(settled, START_S, every_s=0.01) or status is not None:
            self._give_up(process, argv[0], status)

    def _give_up(self, process: Process, program: str, status: int | None) -> None:
        found = f"did not become ready within {START_S:g} s" if status is None else f"ended with status {status}"
        words = self._last_words(5)
        end([process], 1.0)
        self._table.forget(KEY)
        raise WorkloadError(
            f"started Envoy ({program}): it {found} and {words}",
            hint=f"The whole log is {self.layout.log(KEY)}.",
        )

    def _last_words(self, lines: int) -> str:
        """What Envoy wrote last, to follow "it"."""
        found = last_lines(self.layout.log(KEY), lines)
        return f"wrote last:\n{found}" if found else "wrote nothing"

    def _told(self) -> dict[str, str]:
        """The addresses, by service, that Envoy was told to listen on."""
        found = read_object(self.layout.listeners).get("resources", ())
        sockets = {entry["name"]: entry["address"]["socket_address"] for entry in found}
        return {name: f"{socket['address']}:{socket['port_value']}" for name, socket in sockets.items()}

    def _check_ports(self, held: Collection[str] = ()) -> None:
        """Raises `InvalidInput` for a port that is neither free nor among those ``held`` by an Envoy of ours."""
        for service in self.workloads:
            address = self.listen(service)
            host, _, port = address.rpartition(":")
            if address in held or can_listen(int(port), host):
                continue
            if self.workloads[service].spec.listen.endswith(":0"):
                known = read_object(self.layout.endpoints_of_users)
                known.pop(service, None)
                write_json(self.layout.endpoints_of_users, known)
                continue
            raise InvalidInput(
                f"Workload/{service}: spec.listen: {host}:{port} is in use by another process",
                hint="End that process, or name another port (port 0 takes a free one).",
            )


def _allow_files() -> None:
    """Let Envoy, which inherits it, open as many files as the machine allows; many shells allow only 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
