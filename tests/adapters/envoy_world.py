"""What the tests of the embedded mesh share: a release, its objects, a running mesh, many requests at once."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from meshctl.adapters.envoy.files import wait_until
from meshctl.adapters.envoy.mesh import EnvoyMesh
from meshctl.adapters.envoy.metrics import EnvoyMetrics
from meshctl.adapters.envoy.server import EnvoyServer
from meshctl.adapters.processes import LocalWorkloads
from meshctl.core.errors import Unreachable
from meshctl.core.model import Metadata, Readiness, Release, ReleaseSpec, Workload, WorkloadSpec, WorkloadVersion
from meshctl.core.names import subset_name

SERVICE = Path(__file__).with_name("envoy_service.py")
OLD, NEW = "2.0.0", "2.1.0"
RELEASE = Release(Metadata("shop"), ReleaseSpec(NEW, "shop"))


class Now:
    """A clock that reads the machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - tests of real processes live in real time


def version(replicas: int = 1, **env: str) -> WorkloadVersion:
    return WorkloadVersion((sys.executable, str(SERVICE)), replicas, env)


def workload(versions: dict[str, WorkloadVersion], listen: str = "127.0.0.1:0") -> Workload:
    readiness = Readiness(interval=timedelta(milliseconds=300), timeout=timedelta(milliseconds=300))
    return Workload(Metadata("shop"), WorkloadSpec(listen, versions, readiness, timedelta(milliseconds=200)))


def objects(
    weights: dict[str, int], *, run: str = "shop-1", aborted: bool = False, **route: object
) -> list[dict[str, object]]:
    """VirtualService and DestinationRule as the templates render them."""
    annotations = {"meshctl.dev/run": run} | ({"meshctl.dev/aborted": run} if aborted else {})
    metadata = {"name": "shop", "namespace": "default", "annotations": annotations}

    def to(one: str) -> dict[str, object]:
        return {"host": "shop", "subset": subset_name(one)}

    previews = [
        {
            "name": f"preview-{subset_name(one)}",
            "match": [{"headers": {"x-meshctl-preview": {"exact": one}}}],
            "route": [{"destination": to(one)}],
        }
        for one in weights
    ]
    split = {
        "name": "split",
        "route": [{"destination": to(one), "weight": weight} for one, weight in weights.items()],
        "timeout": "2s",
        "retries": {"attempts": 2, "retryOn": "connect-failure,refused-stream,reset-before-request"},
        **route,
    }
    subsets = [{"name": subset_name(one), "labels": {"version": one}} for one in weights]
    head = {"apiVersion": "networking.istio.io/v1", "metadata": metadata}
    return [
        {
            **head,
            "kind": "VirtualService",
            "spec": {"hosts": ["shop"], "gateways": ["mesh"], "http": [*previews, split]},
        },
        {**head, "kind": "DestinationRule", "spec": {"host": "shop", "subsets": subsets}},
    ]


class World:
    """One embedded mesh in a folder, supervised from a thread as the tick loop would do it."""

    def __init__(self, base: Path, *workloads: Workload) -> None:
        self.base = base
        self.server = EnvoyServer(base, workloads)
        self.mesh = EnvoyMesh(self.server)
        self.metrics = EnvoyMetrics(self.server, Now())
        self.workloads = LocalWorkloads(base, workloads, self.server.pools)

    def start(self) -> bool:
        self.workloads.adopt()
        return self.server.start()

    def supervise(self) -> str:
        now = Now().now()
        self.workloads.supervise(now)
        return self.server.supervise(now)

    def have_ready(self, *versions: str, timeout_s: float = 10.0) -> None:
        for one in versions:
            self.workloads.ensure(RELEASE, one)
        self.until(lambda: all(self.complete(one) for one in versions), timeout_s)

    def complete(self, one: str) -> bool:
        found = self.workloads.ready(RELEASE, one)
        return found is not None and found.complete

    def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        def looked() -> bool:
            self.supervise()
            try:
                return condition()
            except Unreachable:
                return False

        assert wait_until(looked, timeout_s, every_s=0.02), "the condition did not come true in time"

    def apply(self, weights: dict[str, int], *, fallback: dict[str, int] | None = None, run: str = "shop-1") -> str:
        spare = objects(fallback, run=run, aborted=True) if fallback else []
        revision = self.mesh.apply(RELEASE, objects(weights, run=run), fallback=spare)
        assert self.mesh.confirm(RELEASE, revision, 5.0)
        return revision

    def get(self, count: int, *, headers: dict[str, str] | None = None, parallel: int = 8) -> Counter[str]:
        """``count`` requests; how often which answer came, as ``status served-by-version flags``."""
        load = Load(self.server.listen("shop"), headers, parallel=parallel, count=count)
        load.run()
        return load.answers

    def stop(self) -> None:
        self.workloads.stop_all()
        self.server.stop()


class Load(threading.Thread):
    """Keep-alive connections that ask as fast as they are answered: ``count`` times, or until `finish`."""

    def __init__(
        self, address: str, headers: dict[str, str] | None = None, *, parallel: int = 8, count: int | None = None
    ) -> None:
        super().__init__(daemon=True)
        self.host, _, port = address.partition(":")
        self.port = int(port)
        lines = "".join(f"{key}: {value}\r\n" for key, value in (headers or {}).items())
        self.question = f"GET / HTTP/1.1\r\nhost: {address}\r\n{lines}\r\n".encode()
        self.parallel, self.left = parallel, count
        self.answers: Counter[str] = Counter()
        self.times: list[tuple[float, str]] = []
        self._over = threading.Event()

    def run(self) -> None:
        asyncio.run(self._all())

    def finish(self) -> Counter[str]:
        self._over.set()
        self.join(10)
        return self.answers

    async def _all(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(self.parallel)))

    def _more(self) -> bool:
        if self._over.is_set() or self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        return True

    async def _one(self) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        while self._more():
            writer.write(self.question)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:"))
            await reader.readexactly(length)
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            served = headers.get("x-served-by", "-").partition("/")[0]
            self.answers[f"{head.split(' ')[1]} {served} {headers.get('x-envoy-flags', '-')}"] += 1
            self.times.append((time.monotonic(), served))
        writer.close()
        await writer.wait_closed()
