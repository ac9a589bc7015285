"""From the write of a weight to its effect: real Envoy, seen by a client that asks without pause.

python bench/effect.py
"""

from __future__ import annotations

import http.client
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

from common import median, percentile, record

from meshctl.core.model import (
    MeshSpec,
    Metadata,
    Readiness,
    Release,
    ReleaseSpec,
    Routing,
    Workload,
    WorkloadSpec,
    WorkloadVersion,
)
from meshctl.wiring import Embedded, EmbeddedPlace, endpoints

CHANGES = 200
OLD, NEW = "1.0.0", "1.1.0"


class Client(threading.Thread):
    """Asks again and again on one connection and remembers when which version answered first after a change."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection(address, timeout=5)
        self._changed = threading.Condition()
        self._newest = ("", 0.0)
        self._finished = threading.Event()

    def run(self) -> None:
        while not self._finished.is_set():
            self._connection.request("GET", "/")
            answer = self._connection.getresponse()
            answer.read()
            version = (answer.headers["x-served-by"] or "").partition("/")[0]
            with self._changed:
                if version != self._newest[0]:
                    self._newest = (version, time.perf_counter())
                    self._changed.notify_all()

    def first_answer(self, version: str) -> float:
        """When ``version`` began to answer."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._newest[0] == version, timeout=5):
                raise SystemExit(f"{version} did not answer within 5 s")
            return self._newest[1]

    def finish(self) -> None:
        self._finished.set()
        self.join()


def measure(mesh: Embedded, release: Release, address: str) -> tuple[list[float], list[float]]:
    """Milliseconds from the write to the first answer, and to the confirmation, for each change."""
    ports, renderer = mesh.ports, mesh.ports.renderer
    objects = {
        OLD: renderer.render(release, Routing(OLD, NEW, 0.0, "shop-1")),
        NEW: renderer.render(release, Routing(OLD, NEW, 100.0, "shop-1")),
    }
    ports.mesh.apply(release, objects[OLD])
    client = Client(address)
    client.start()
    client.first_answer(OLD)
    effects, confirmations = [], []
    for number in range(CHANGES):
        version = (NEW, OLD)[number % 2]
        begin = time.perf_counter()
        revision = ports.mesh.apply(release, objects[version])
        if not ports.mesh.confirm(release, revision, 5.0):
            raise SystemExit("Envoy did not confirm within 5 s")
        confirmations.append((time.perf_counter() - begin) * 1000)
        effects.append((client.first_answer(version) - begin) * 1000)
    client.finish()
    return effects, confirmations


def wait_for(condition: object, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise SystemExit(f"waited 20 s for {what}")
        time.sleep(0.02)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedPlace(Path(folder)).store(create=True)
        version = WorkloadVersion((sys.executable, "-m", "meshctl.demo.service"), 1, {"LATENCY_MS": "0.01"})
        readiness = Readiness(interval=timedelta(milliseconds=200))
        store.put_workload(
            Workload(Metadata("shop"), WorkloadSpec("127.0.0.1:0", {OLD: version, NEW: version}, readiness))
        )
        release = Release(Metadata("shop"), ReleaseSpec(NEW, "shop", mesh=MeshSpec(hosts=("shop",))))
        mesh = Embedded(Path(folder))
        mesh.start()
        try:
            ports = mesh.ports
            for each in (OLD, NEW):
                ports.workloads.ensure(release, each)

            def ready() -> bool:
                mesh.supervise(ports.clock.now())
                found = [ports.workloads.ready(release, each) for each in (OLD, NEW)]
                return all(each is not None and each.complete for each in found)

            wait_for(ready, "ready replicas")
            ports.mesh.apply(release, ports.renderer.render(release, Routing(OLD, NEW, 0.0, "shop-1")))
            wait_for(lambda: ready() and endpoints(Path(folder)), "the listener")
            address = next(iter(endpoints(Path(folder)).values())).removeprefix("http://")
            effects, confirmations = measure(mesh, release, address)
        finally:
            mesh.stop()
    for what, values in (("write to first answer", effects), ("write to confirmation", confirmations)):
        middle, high = median(values), percentile(values, 0.95)
        record("effect", {"what": what, "medianMs": round(middle, 1), "p95Ms": round(high, 1), "budgetMs": 50})
        print(f"{what}: {middle:.1f} ms median, {high:.1f} ms at the 95th percentile of {CHANGES} (budget 50)")


if __name__ == "__main__":
    main()
