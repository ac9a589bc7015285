"""An embedded mesh as a person has it: the command line, a folder, a shop of one's own, users who keep asking."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from meshctl.core.model import Run
from meshctl.demo.tally import LoadCounts, read
from meshctl.wiring import EmbeddedPlace, StateStore

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "local-shop" / "shop.py"
OLD, NEW = "2.0.0", "2.1.0"
POLL_S = 0.05
MARK = "MESHCTL_HOME="


def until(condition: Callable[[], Any], within_s: float = 20.0, what: str = "the condition") -> Any:
    """Look until ``condition`` is true and return what it gave; fails after ``within_s`` seconds."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {within_s:g} s"
        time.sleep(0.05)
    return found


def processes_of(folder: Path) -> list[int]:
    """Every living process that was started for, by or on ``folder``."""
    name, found = os.fsencode(folder), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            inherited = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        home = [word for word in inherited if word.startswith(MARK.encode()) and name in word]
        if name in words or home:
            found.append(int(entry.name))
    return found


class Users:
    """Open-loop load from a process of its own, counted on the client's side."""

    def __init__(self, folder: Path, url: str, rps: float) -> None:
        self._out = folder / "users.json"
        self._out.unlink(missing_ok=True)
        command = [sys.executable, "-m", "meshctl.demo.load", "--url", url, "--rps", f"{rps:g}", "--seed", "1"]
        self._process = subprocess.Popen([*command, "--out", str(self._out)], cwd=ROOT)
        until(lambda: self.counts.requests, what="the first answer")

    @property
    def counts(self) -> LoadCounts:
        return read(self._out) or LoadCounts()

    def of(self, version: str) -> int:
        """How many answers a version gave so far."""
        return self.counts.version(version).requests

    def next_counts(self) -> LoadCounts:
        """A snapshot that was begun after this call."""
        before = time.monotonic()
        until(lambda: self.counts.monotonic > before, what="a fresh snapshot")
        return self.counts

    def go(self) -> LoadCounts:
        """Let everybody get their answer and leave."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self.counts


class Mesh:
    """One folder, ``local up`` in it, and the commands that a person types."""

    def __init__(
        self,
        folder: Path,
        stages: str,
        *,
        env: dict[str, str] | None = None,
        drain: str = "300ms",
        keep_warm: str = "1h",
    ) -> None:
        self.folder = folder
        self.keep_warm = keep_warm
        self.base = folder / ".meshctl"
        self.stages = stages
        self.users: Users | None = None
        self._controllers: list[subprocess.Popen[bytes]] = []
        self._variables = {name: value for name, value in os.environ.items() if not name.startswith("MESHCTL")}
        self.files = folder / "shop"
        self.files.mkdir()
        (self.files / "shop.py").write_text(SHOP.read_text())
        self.write_workload(env or {}, drain)
        self.wish(OLD)

    # -------------------------------------------------------------------------------- files

    def write_workload(self, env: dict[str, str], drain: str = "300ms") -> None:
        command = json.dumps([sys.executable, str(self.files / "shop.py")])
        text = f"""\
            apiVersion: meshctl.dev/v1alpha1
            kind: Workload
            metadata: {{name: shop}}
            spec:
              listen: 127.0.0.1:0
              readiness: {{path: /healthz, interval: 300ms, timeout: 300ms, failures: 2}}
              drain: {drain}
              versions:
                "{OLD}": {{replicas: 2, command: {command}}}
                "{NEW}": {{replicas: 2, command: {command}, env: {json.dumps(env)}}}
            """
        (self.files / "workload.yaml").write_text(textwrap.dedent(text))

    def wish(self, version: str) -> None:
        text = f"""\
            apiVersion: meshctl.dev/v1alpha1
            kind: Release
            metadata: {{name: shop}}
            spec:
              version: "{version}"
              service: shop
              strategy: {{canary: {{stages: [{self.stages}]}}}}
              analysis: {{warmUp: none}}
              keepWarm: {self.keep_warm}
            """
        (self.files / "release.yaml").write_text(textwrap.dedent(text))

    # -------------------------------------------------------------------------------- commands

    def run(self, *words: str, within_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """``meshctl WORDS`` in the folder; never a traceback."""
        done = subprocess.run(
            [sys.executable, "-m", "meshctl", *words],
            cwd=self.folder,
            env=self._variables,
            capture_output=True,
            text=True,
            timeout=within_s,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def ask(self, *words: str, code: int = 0, within_s: float = 60.0) -> str:
        """As `run` with ``--local``; the exit code must be ``code``.  Returns everything that was said."""
        done = self.run(*words, "--local", within_s=within_s)
        said = done.stdout + done.stderr
        assert done.returncode == code, (words, done.returncode, said)
        return said

    def apply(self, version: str) -> None:
        self.wish(version)
        self.ask("apply", "-f", str(self.files / "release.yaml"))

    # -------------------------------------------------------------------------------- the controller

    def up(self, *words: str) -> int:
        """``local up`` in the foreground of a process of its own; returns its pid once it is up."""
        log = self.folder / "up.log"
        with log.open("ab") as stream:
            began = stream.tell()
            controller = subprocess.Popen(
                [sys.executable, "-m", "meshctl", "local", "up", *words],
                cwd=self.folder,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self._controllers.append(controller)

        def settled() -> bool:
            assert controller.poll() is None, self.log
            return "controller is up" in log.read_text()[began:]

        until(settled, 30, "the controller")
        return controller.pid

    @property
    def log(self) -> str:
        return (self.folder / "up.log").read_text()

    def controller(self) -> subprocess.Popen[bytes]:
        return self._controllers[-1]

    def kill_controller(self) -> None:
        """kill -9: no chance to tidy up."""
        self.controller().kill()
        self.controller().wait(10)

    def url(self) -> str:
        """Where users come in, once they can."""

        def asked() -> str | None:
            found = json.loads((self.base / "endpoints.json").read_text()) if self.base.exists() else {}
            if "shop" not in found:
                return None
            try:
                with urllib.request.urlopen(f"http://{found['shop']}/", timeout=2) as answer:
                    return f"http://{found['shop']}/" if answer.status == 200 else None
            except OSError:
                return None

        return str(until(asked, 30, "an open port"))

    def begin(self, *words: str, rps: float = 100.0) -> None:
        """Up with the first version promoted, and users on it."""
        self.up("-f", str(self.files), *words)
        until(lambda: f"{OLD} is ready and the first version" in self.log, 30, "the first version")
        self.users = Users(self.folder, self.url(), rps)

    # -------------------------------------------------------------------------------- what is

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("get", "shop", "-o", "json", "--local").stdout)
        return found

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get()["status"]
        return found

    def reaches(self, phase: str, reason: str | None = None, *, weight: float | None = None, within_s: float = 30.0):
        """Wait until the stored run says so, the weight confirmed by Envoy; returns the status."""

        def there() -> bool:
            run = self.run_of_store()
            fits = run is not None and run.phase == phase and reason in (None, run.reason)
            return fits and weight in (None, run.confirmed)

        until(there, within_s, f"{phase} {reason or ''} {'' if weight is None else weight}")
        return self.status

    def run_of_store(self) -> Run | None:
        """The present run as it is stored: what the commands show, without starting one."""
        return self._store.load("shop").state.run

    @cached_property
    def _store(self) -> StateStore:
        return EmbeddedPlace(self.base).store()

    def live_routes(self) -> Path:
        return self.base / "envoy" / "routes" / "shop.json"

    def live_weight(self, version: str) -> float:
        """The weight in the route file that Envoy follows, in percent."""
        host = json.loads(self.live_routes().read_text())["resources"][0]["virtual_hosts"][0]
        slug = "v" + re.sub(r"\W", "-", version)
        return sum(
            entry["weight"] / 10
            for route in host["routes"]
            if route["metadata"]["filter_metadata"]["meshctl"]["traffic"] == "shared"
            for entry in route["route"]["weighted_clusters"]["clusters"]
            if slug in entry["name"]
        )

    def pids(self, prefix: str = "") -> dict[str, int]:
        """Process by key, for what runs and whose key begins with ``prefix``."""
        found = json.loads(self.run("local", "status", "-o", "json").stdout)["processes"]
        return {
            process["key"]: process["pid"]
            for process in found
            if process["key"].startswith(prefix) and process["state"] == "running"
        }

    def end(self) -> list[int]:
        """End everything, come what may; returns what had to be killed after ``local down``."""
        self.__dict__.pop("_store", None)
        if self.users is not None:
            self.users.go()
        for controller in self._controllers:
            if controller.poll() is None:
                os.kill(controller.pid, signal.SIGCONT)
        if self.base.exists():
            subprocess.run(
                [sys.executable, "-m", "meshctl", "local", "down"],
                cwd=self.folder,
                env=self._variables,
                capture_output=True,
                timeout=60,
            )
        for controller in self._controllers:
            if controller.poll() is None:
                controller.kill()
            controller.wait(10)
        left = processes_of(self.folder)
        kill(left)
        return left


def kill(pids: Sequence[int]) -> None:
    """SIGKILL, by id."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
