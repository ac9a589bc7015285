"""The only place that joins ports to adapters: an embedded folder, as the command line and the controller see it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.place import Place
from meshctl.app.commands import new_request, serve_directly
from meshctl.app.tick import Ports
from meshctl.core.advice.finding import Look
from meshctl.core.catalog import StateStore
from meshctl.core.errors import InvalidInput, MeshctlError, UnknownTarget, Unreachable
from meshctl.core.model import Acknowledgement, Block, Release, Request, Routing, Verb, Workload
from meshctl.core.ports import NoHooks, NoNotices, Workloads

STATE_FILE = "state.db"
WAKE_TIMEOUT_S = 10.0
DOWN_TIMEOUT_S = 5.0
"""How long ``local down`` waits for a controller's word before it takes it for hung."""

DRAIN_MARGIN_S = 15.0
"""How much longer than the longest ``drain`` an end in good order may take."""


class FolderStore(StateStore, Protocol):
    """Everything that a folder's store offers."""

    def verify(self) -> None:
        """Read all of it once.  Raises `StoreError` where a part is damaged."""
        ...


class EmbeddedPlace:
    """An embedded folder from outside: its records, and the way to whoever runs it.  Starts nothing."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.place = Place(base)

    def store(self, *, create: bool = False) -> FolderStore:
        """The folder's store.  Raises `UnknownTarget` when there is none and none shall be made."""
        from meshctl.adapters.store_sqlite import SqliteStore

        if create:
            self.place.make()
        else:
            self.known()
        return SqliteStore(self.base, create=create)

    def known(self) -> None:
        """Raises `UnknownTarget` when nothing was ever started here."""
        if not (self.base / STATE_FILE).exists():
            raise UnknownTarget(
                f"there is no embedded mesh in {self.base}",
                hint="Start one with: meshctl local up -f DIR, or name another folder with --local=DIR.",
            )

    def now(self) -> datetime:
        return SystemClock().now()

    def new_request(self, verb: Verb, **fields: Any) -> Request:
        return new_request(verb, self.now(), **fields)

    def say_request(self, name: str, request: Request, *, timeout_s: float) -> dict[str, Any]:
        """Have the controller serve a request now.  Raises `Unreachable`."""
        from meshctl.adapters.wire import encode

        word = {"word": "request", "release": name, "request": encode(request)}
        return self.place.say(word, timeout_s=timeout_s)

    def wake(self, name: str) -> bool:
        """Have the controller look at a release now; false when there is none.

        Raises `Unreachable` when there is one that does not answer.
        """
        if not self.place.is_held():
            return False
        self.place.say({"word": "wake", "release": name}, timeout_s=WAKE_TIMEOUT_S)
        return True

    def answers(self) -> bool:
        """Whether a controller is up and listens."""
        try:
            return bool(self.place.say({"word": "hello"}, timeout_s=2.0).get("ok"))
        except Unreachable:
            return False

    def take_down(self) -> None:
        """End controller, Envoy and replicas: in good order if the controller listens, else by id.

        Needs nothing but the folder: no store that can be read, no controller that answers.
        """
        self.known()
        with suppress(Unreachable):
            self.place.say({"word": "down"}, timeout_s=DOWN_TIMEOUT_S)
            deadline = time.monotonic() + self._longest_drain_s() + DRAIN_MARGIN_S
            while self.place.is_held() and time.monotonic() < deadline:
                time.sleep(0.02)
        self._end_holder()
        self.stop_left_behind()

    def _end_holder(self) -> None:
        """A controller that hangs would start everything again once it goes on."""
        holder = self.place.holder()
        if holder is None:
            return
        with suppress(ProcessLookupError):
            os.kill(holder, signal.SIGKILL)
        deadline = time.monotonic() + DOWN_TIMEOUT_S
        while self.place.is_held() and time.monotonic() < deadline:
            time.sleep(0.02)

    def serve_directly(self, name: str, request: Request) -> Acknowledgement:
        """Tick once in this process, beside a controller that does not answer: replicas are left to the next one."""
        ports = Embedded(self.base).ports
        ports = replace(ports, workloads=_HandsOff(ports.workloads), hooks=NoHooks(), notices=NoNotices())
        return serve_directly(ports, name, request)

    def lower_without_store(self, name: str) -> str | None:
        """Take the present candidate of a release to nothing by what lies ready beside its routes; the run's name."""
        from meshctl.adapters.envoy.layout import Layout
        from meshctl.adapters.envoy.mesh import lower_by_name

        return lower_by_name(Layout(self.base), name)

    def stop_left_behind(self) -> None:
        """End what a killed controller left running; Envoy last, so that the last requests get their answers."""
        from meshctl.adapters.envoy.layout import Layout
        from meshctl.adapters.envoy.server import KEY
        from meshctl.adapters.supervision import ProcessTable, end

        table = ProcessTable(self.base)
        table.end_strays()
        known = table.records()
        end([process for key, process in known.items() if key != KEY], self._longest_drain_s())
        end([process for key, process in known.items() if key == KEY], 2.0)
        for key in known:
            table.forget(key)
        Layout(self.base).remove_admin_socket()

    def _longest_drain_s(self) -> float:
        try:
            return max((each.spec.drain.total_seconds() for each in self.store().workloads()), default=5.0)
        except MeshctlError:
            return 5.0

    def status(self) -> dict[str, Any]:
        """Controller, endpoints and processes, as plain data."""
        from meshctl.adapters.envoy.admin import Admin
        from meshctl.adapters.envoy.layout import Layout
        from meshctl.adapters.supervision import ProcessTable

        self.known()
        try:
            listening = Admin(Layout(self.base).admin_socket()).listeners()
        except Unreachable:
            listening = set()
        return {
            "controller": self.place.is_held(),
            "pid": self.place.holder(),
            "endpoints": {name: url for name, url in endpoints(self.base).items() if name in listening},
            "processes": [
                {"key": key, "pid": process.pid, "state": "running" if process_alive(process) else "gone"}
                for key, process in sorted(ProcessTable(self.base).records().items())
            ],
        }

    def logs(self, key: str | None, lines: int) -> Iterator[tuple[str, str]]:
        """Name and last lines of each log.  Raises `InvalidInput` when ``key`` names none."""
        from meshctl.adapters.envoy.files import last_lines

        self.known()
        found = [path for path in [self.base / "controller.log"] if path.exists()]
        found += sorted((self.base / "logs").glob("*.log"))
        wished = [path for path in found if key is None or path.stem == key.replace("/", "-")]
        if key is not None and not wished:
            known = ", ".join(path.stem for path in found) or "none"
            raise InvalidInput(f"no log is named {key!r}", hint=f"There are: {known}.")
        for path in wished:
            yield path.stem, last_lines(path, lines, read_bytes=1_000_000)


def process_alive(process: Any) -> bool:
    from meshctl.adapters.supervision import alive

    return alive(process)


class _HandsOff:
    """Replicas that are looked at and left alone: whoever is not their controller starts and ends none."""

    def __init__(self, workloads: Workloads) -> None:
        self.ready = workloads.ready

    def ensure(self, release: Release, version: str, *, run: int) -> None:
        """Nothing: the controller does it."""

    def retire(self, release: Release, keep: Sequence[str], *, run: int) -> None:
        """Nothing: the controller does it."""


class Embedded:
    """An embedded folder from inside: real Envoy, real processes, the store, joined to ports."""

    def __init__(
        self, base: Path, *, envoy: Path | None = None, template_dir: Path | None = None, webhook: Any = None
    ) -> None:
        from meshctl.adapters.envoy.server import EnvoyServer
        from meshctl.adapters.outward import Outward
        from meshctl.adapters.processes import LocalWorkloads

        outside = EmbeddedPlace(base)
        self.place = outside.place
        self.store = outside.store()
        self._wished = self.store.workloads()
        self._server = EnvoyServer(base, self._wished, binary=envoy)
        self._workloads = LocalWorkloads(base, self._wished, self._server.pools)
        self._template_dir = template_dir
        self._outward = Outward(base, SystemClock(), **(webhook or {}))
        self.monotonic, self.deliveries = time.monotonic, self._outward.deliveries

    @cached_property
    def ports(self) -> Ports:
        from meshctl.adapters.envoy.mesh import EnvoyMesh
        from meshctl.adapters.envoy.metrics import EnvoyMetrics
        from meshctl.adapters.late_judge import LateJudge
        from meshctl.adapters.templates import TemplateRenderer

        clock = SystemClock()
        return Ports(
            store=self.store,
            mesh=EnvoyMesh(self._server),
            workloads=self._workloads,
            metrics=EnvoyMetrics(self._server, clock),
            judge=LateJudge(),
            renderer=TemplateRenderer(self._template_dir),
            clock=clock,
            hooks=self._outward.hooks,
            notices=self._outward.notices,
        )

    def check(self) -> None:
        """Read the state, try the templates on a release of each shape.  Raises `StoreError` and `TemplateError`."""
        self.store.verify()
        tried = set()
        for name in self.store.names():
            release = self.store.release(name)
            shape = repr((replace(release.spec.mesh, hosts=()), release.spec.strategy))
            if shape in tried:
                continue
            tried.add(shape)
            wished, run = release.spec.version, f"{name}-0"
            known = (each.spec.versions for each in self._wished if each.metadata.name == release.spec.service)
            others = [version for versions in known for version in versions if version != wished]
            self.ports.renderer.render(release, Routing(wished, None, 0.0, run))
            for other in others[:1]:
                self.ports.renderer.render(release, Routing(other, wished, 1.0, run))

    def start(self) -> tuple[str, ...]:
        """Adopt what runs, start Envoy where none does; returns the keys of what was adopted.

        What fails leaves nothing behind that it launched, and everything as it was that ran before.
        """
        adopted = self._workloads.adopt()
        known = self._server.start()
        return (*(["envoy"] if known else []), *adopted)

    def listening(self) -> Mapping[str, str]:
        """Service -> URL, for the services whose port is open to users now."""
        try:
            present = self._server.admin.listeners()
        except Unreachable:
            return {}
        return {name: f"http://{self._server.listen(name)}" for name in self._server.workloads if name in present}

    def supervise(self, now: datetime) -> tuple[str, ...]:
        """One look at Envoy and all replicas; returns what is wrong, and what became of replicas that ended."""
        wished = self.store.workloads()
        if wished != self._wished:
            self._wished = wished
            self._workloads.wish(wished)
            self._server.wish(wished)
        problems = (self._workloads.supervise(now), self._server.supervise(now))
        return (*(problem for problem in problems if problem), *self._workloads.messages())

    def stop(self) -> None:
        """End replicas and Envoy; Envoy last, so that the last requests get their answers."""
        self._outward.stop()
        self._workloads.stop_all()
        self._server.stop()


def endpoints(base: Path) -> dict[str, str]:
    """Service -> URL where its users reach it, for the services that are open."""
    from meshctl.adapters.envoy.files import read_object

    return {service: f"http://{address}" for service, address in read_object(base / "endpoints.json").items()}


# ------------------------------------------------------------------------------------ files and text


def load_wishes(path: Path, workloads: Sequence[Workload], *, embedded: bool = True) -> list[Release | Workload]:
    """Read and check a file or folder of manifests; ``workloads`` are those already known.

    ``embedded``: also refuse what only a cluster can do.

    Raises `InvalidInput` naming file, line and field.
    """
    from meshctl.adapters.manifests import load_manifests

    return load_manifests(path, known_workloads=workloads, embedded=embedded)


def wish_as_yaml(wish: Release | Workload) -> str:
    """A wish as a person would write it, every default spelled out."""
    from meshctl.adapters.manifests import dump_yaml
    from meshctl.adapters.wire import encode

    data = encode(wish)
    data["metadata"].pop("generation", None)
    return dump_yaml([data])


def render_release(path: Path, weight: float, baseline: str, template_dir: Path | None) -> str:
    """The mesh objects of the one Release in ``path`` with its version at ``weight`` percent, as YAML."""
    from meshctl.adapters.manifests import dump_yaml
    from meshctl.adapters.templates import TemplateRenderer

    releases = [wish for wish in load_wishes(path, (), embedded=False) if isinstance(wish, Release)]
    if len(releases) != 1:
        raise InvalidInput(f"{path}: render takes a file with one Release, found {len(releases)}")
    release = releases[0]
    if release.spec.version == baseline:
        raise InvalidInput(
            f"--baseline {baseline}: is the version that {path} releases",
            hint="Name the version that serves before it.",
        )
    routing = Routing(baseline, release.spec.version, weight, f"{release.metadata.name}-1")
    return dump_yaml(TemplateRenderer(template_dir).render(release, routing))


def decode_request(data: object) -> Request:
    """A request from the control socket.  Raises `InvalidInput`."""
    from meshctl.adapters.wire import decode

    return decode(Request, data)


def parse_duration(text: str) -> timedelta:
    """``90s``, ``1h30m``.  Raises `InvalidInput`."""
    from meshctl.core.timetext import parse_duration as parse

    return parse(text)


def controller_command(base: Path, *, files: Path | None = None) -> list[str]:
    """The command line of an embedded controller for ``base``."""
    argv = [sys.executable, "-m", "meshctl", "local", "up", f"--local={base}"]
    return argv if files is None else [*argv, "-f", str(files)]


def system_clock() -> SystemClock:
    """The wall clock, for surfaces that must name an instant."""
    return SystemClock()


def judge_files(baseline: Path, candidate: Path, *, as_json: bool, **options: Any) -> tuple[str, str]:
    """Verdict on two files of measurements, and the text or JSON that explains it.  Raises `InvalidInput`."""
    from meshctl.adapters.judge import judge_files as judge

    return judge(baseline, candidate, as_json=as_json, **options)


def classic_figures(blocks: Sequence[Block]) -> list[str]:
    """What textbook tests say of the newest stage, a line each; for people, nothing is decided by it."""
    from meshctl.adapters.judge import classic_figures as figures

    return figures(blocks)


def inspect_manifests(path: Path, **options: Any) -> Look:
    """Everything that lint has to say about the manifests of a file or folder.  Raises `InvalidInput`."""
    from meshctl.adapters.linting import inspect

    return inspect(path, **options)
