"""One container: its process, its probes, and its restarts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from tests.cluster.nodelet.api import Object
from tests.cluster.nodelet.files import PodFiles, Unmountable, expand

FIRST_BACKOFF_S = 1.0
"""A real kubelet waits ten seconds and doubles them; so does this one, from a shorter start."""
LONGEST_BACKOFF_S = 300.0
UNREADY_PROBE_S = 0.25
"""A container that is not ready yet is asked at least this often, so that tests need not wait for a period."""
ENTRYPOINTS = {"meshctl": ["meshctl"]}
"""Images are not pulled: what the images that we know would start.  Others need a ``command``."""


def now() -> str:
    """The time, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251 - a stamp for the API server


class Container:
    """From the first start to the last end."""

    def __init__(self, spec: Object, policy: str, address: str, files: PodFiles, folder: Path) -> None:
        self.name = spec["name"]
        self.spec = spec
        self.state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state: Object = {}
        self.ready = self.started = False
        self.restarts = 0
        self.changed: Callable[[], None] = lambda: None
        self._policy, self._address, self._files, self._folder = policy, address, files, folder
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def exit_code(self) -> int | None:
        """The exit code once it has ended for good."""
        code: int | None = self.state.get("terminated", {}).get("exitCode")
        return code

    def status(self) -> Object:
        """The entry in the pod's ``containerStatuses``."""
        return {
            "name": self.name,
            "image": self.spec.get("image", ""),
            "imageID": "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }

    async def run(self) -> None:
        """Start it, and again as its pod's restart policy says, until it ends for good or is told to stop."""
        backoff_s = 0.0
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            ended = await self._once()
            if self._stopping.is_set() or not self._again(ended["exitCode"]):
                self._show({"terminated": ended})
                return
            if asyncio.get_running_loop().time() - began > 2 * LONGEST_BACKOFF_S:
                backoff_s = 0.0
            self.last_state = {"terminated": ended}
            if backoff_s:
                message = f"back-off {backoff_s:g}s restarting failed container {self.name}"
                self._show({"waiting": {"reason": "CrashLoopBackOff", "message": message}})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), backoff_s)
                if self._stopping.is_set():
                    self._show({"terminated": ended})
                    return
            backoff_s = min(max(backoff_s * 2, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
            self.restarts += 1

    async def stop(self, grace_s: float) -> None:
        """preStop, SIGTERM, and SIGKILL when the grace period is over."""
        self._stopping.set()
        hook = self.spec.get("lifecycle", {}).get("preStop", {})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                if self._running():
                    await self._pre_stop(hook)
                self._signal(signal.SIGTERM)
                if self._process is not None:
                    await self._process.wait()
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL, whatever else was promised."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    async def _pre_stop(self, hook: Object) -> None:
        if "sleep" in hook:
            await asyncio.sleep(hook["sleep"]["seconds"])
        if "exec" in hook:
            await self._execute(hook["exec"]["command"])

    def _again(self, code: int) -> bool:
        return self._policy == "Always" or (self._policy == "OnFailure" and code != 0)

    def _running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _signal(self, number: int) -> None:
        if self._process is not None and self._running():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _show(self, state: Object, *, ready: bool = False) -> None:
        self.state, self.ready, self.started = state, ready, "running" in state
        self.changed()

    async def _once(self) -> Object:
        """Run it once to its end; the terminated state."""
        started = now()
        try:
            await self._start()
        except (Unmountable, OSError) as error:
            reason = "ImagePullBackOff" if isinstance(error, NoImage) else "CreateContainerError"
            self._show({"waiting": {"reason": reason, "message": str(error)}})
            await self._stopping.wait()
            return {"exitCode": 128, "reason": reason, "startedAt": started, "finishedAt": now()}
        assert self._process is not None
        if self._stopping.is_set():
            self.kill()
        running = {"running": {"startedAt": started}}
        self._show(running, ready="readinessProbe" not in self.spec)
        probes = asyncio.create_task(self._probes(running))
        code = await self._process.wait()
        probes.cancel()
        (self._folder / f"{self.name}.pid").unlink(missing_ok=True)
        code = code if code >= 0 else 128 - code
        reason = "Completed" if code == 0 else "Error"
        return {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()}

    async def _start(self) -> None:
        variables = await self._files.environment(self.spec)
        image = self.spec.get("image", "").rpartition("/")[2].partition(":")[0].partition("@")[0]
        command = self.spec.get("command") or ENTRYPOINTS.get(image)
        if not command:
            raise NoImage(f"no image {self.spec.get('image')!r} here: give a command")
        words = [expand(word, variables) for word in [*command, *self.spec.get("args", [])]]
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._files.enclosure(self.spec),
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=variables,
                cwd=self.spec.get("workingDir") or self._folder,
                start_new_session=True,
            )
        (self._folder / f"{self.name}.pid").write_text(str(self._process.pid))

    async def _probes(self, running: Object) -> None:
        if "startupProbe" in self.spec:
            await self._probe(self.spec["startupProbe"], until_good=True, bad=self._fail)
        tasks = []
        if "readinessProbe" in self.spec:
            tasks.append(
                self._probe(
                    self.spec["readinessProbe"],
                    good=lambda: self._show(running, ready=True),
                    bad=lambda: self._show(running, ready=False),
                )
            )
        if "livenessProbe" in self.spec:
            tasks.append(self._probe(self.spec["livenessProbe"], bad=self._fail))
        await asyncio.gather(*tasks)

    def _fail(self) -> None:
        self._signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(5, self._signal, signal.SIGKILL)

    async def _probe(
        self,
        probe: Object,
        good: Callable[[], None] = lambda: None,
        bad: Callable[[], None] = lambda: None,
        *,
        until_good: bool = False,
    ) -> None:
        """Ask again and again; tell when the answer has turned often enough in a row."""
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        period = probe.get("periodSeconds", 10)
        said: bool | None = None
        in_a_row, last = 0, None
        while True:
            answer = await self._ask(probe)
            in_a_row = in_a_row + 1 if answer == last else 1
            last = answer
            enough = probe.get("successThreshold", 1) if answer else probe.get("failureThreshold", 3)
            if answer != said and in_a_row >= enough:
                said = answer
                (good if answer else bad)()
                if answer and until_good:
                    return
            await asyncio.sleep(period if said else min(period, UNREADY_PROBE_S))

    async def _ask(self, probe: Object) -> bool:
        try:
            async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
                return await self._ask_once(probe)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _ask_once(self, probe: Object) -> bool:
        if "httpGet" in probe:
            wanted = probe["httpGet"]
            url = f"http://{wanted.get('host', self._address)}:{self._port(wanted['port'])}{wanted.get('path', '/')}"
            async with aiohttp.request("GET", url) as answer:
                return answer.status < 400
        if "tcpSocket" in probe:
            _, writer = await asyncio.open_connection(self._address, self._port(probe["tcpSocket"]["port"]))
            writer.close()
            return True
        if "exec" in probe:
            return await self._execute(probe["exec"]["command"]) == 0
        return True

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        return next(int(one["containerPort"]) for one in self.spec.get("ports", []) if one.get("name") == port)

    async def _execute(self, command: list[str]) -> int:
        words = [*self._files.enclosure(self.spec), *command]
        quiet = asyncio.subprocess.DEVNULL
        variables = await self._files.environment(self.spec)
        process = await asyncio.create_subprocess_exec(*words, stdin=quiet, stdout=quiet, stderr=quiet, env=variables)
        return await process.wait()


class NoImage(Unmountable):
    """An image that nobody can pull."""
