"""Many embedded releases under one controller: how soon it is back after a restart, what it costs to keep running.

python bench/scale.py             # 200 idle and 20 moving releases, about a minute and a half
python bench/scale.py --profile   # where the time goes

Real are the store (SQLite, with the records of earlier runs), templates, judge, tick and loop; mesh, replicas and
metrics are stand-ins in memory, because 440 real processes would measure the machine.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from common import record, rows, table

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.envoy.bootstrap import BOUNDS_MS
from meshctl.adapters.late_judge import LateJudge
from meshctl.adapters.memory import FakeWorkloads
from meshctl.adapters.mesh_memory import FakeMesh
from meshctl.adapters.store_sqlite import SqliteStore
from meshctl.adapters.templates import TemplateRenderer
from meshctl.app.tick import Ports
from meshctl.controller.local import LocalController
from meshctl.core.model import (
    AnalysisSpec,
    ArmCounts,
    Block,
    CanaryStrategy,
    Metadata,
    Phase,
    Reading,
    Release,
    ReleaseSpec,
    Stage,
    Strategy,
    WarmUp,
    Workload,
    WorkloadSpec,
    WorkloadVersion,
)
from meshctl.core.ports import MeshRecord
from meshctl.wiring import Embedded

IDLE, MOVING = 200, 20
BLOCKS = 300
"""Blocks of its last run that the store holds for each release."""

SETTLE_S, MEASURE_S = 10.0, 30.0
OLD, NEW = "1.0.0", "2.0.0"
RPS = 200.0
STAGES = (Stage(10.0, min_duration=timedelta(hours=1)), Stage(100.0))
BUDGETS = {"restartS": 1.0, "mib": 120.0, "corePercent": 15.0}


class SteadyMetrics:
    """Both versions answer alike, so many requests a second."""

    def read(
        self,
        release: Release,
        baseline: str,
        candidate: str,
        cursor: str,
        *,
        entry: int,
        weight: float,
        counts: bool = True,
    ) -> Reading:
        """A block since the cursor, which is a time."""
        now = datetime.now(UTC)  # noqa: TID251 - a stand-in for the outside world
        if not cursor or not counts:
            return Reading((), now.isoformat())
        start = datetime.fromisoformat(cursor)
        seconds = (now - start).total_seconds()
        arms = [_arm(RPS * seconds * share) for share in (1 - weight / 100, weight / 100)]
        return Reading((Block(start, now, entry, weight, *arms, BOUNDS_MS),), now.isoformat())


def _arm(requests: float) -> ArmCounts:
    shares = [0.0] * (len(BOUNDS_MS) + 1)
    for index in range(4, min(16, len(shares))):
        shares[index] = 1 / 12
    counts = tuple(round(requests * share) for share in shares)
    return ArmCounts(sum(counts), 0, counts)


class Folder(Embedded):
    """An embedded folder whose mesh, replicas and metrics are in memory; all else is what ships."""

    @cached_property
    def ports(self) -> Ports:
        clock = SystemClock()
        return Ports(
            store=self.store,
            mesh=FakeMesh(),
            workloads=FakeWorkloads(clock, {OLD: 2, NEW: 2}),  # type: ignore[arg-type]
            metrics=SteadyMetrics(),
            judge=LateJudge(),
            renderer=TemplateRenderer(None),
            clock=clock,
        )

    def start(self) -> tuple[str, ...]:
        return ()

    def listening(self) -> dict[str, str]:
        return {}

    def supervise(self, now: datetime) -> tuple[str, ...]:
        self.store.workloads()
        return ()

    def stop(self) -> None:
        """Nothing runs."""


def prepare(folder: Path) -> None:
    """Promoted releases with the records of their runs; afterwards those that move are wished anew."""
    with_records = SqliteStore(folder)
    for number in range(IDLE + MOVING):
        name = f"shop-{number:03}"
        versions = {version: WorkloadVersion(("run",), 2) for version in (OLD, NEW)}
        with_records.put_workload(Workload(Metadata(name), WorkloadSpec("127.0.0.1:0", versions)))
        strategy = Strategy(CanaryStrategy(stages=STAGES))
        spec = ReleaseSpec(OLD, name, strategy=strategy, analysis=AnalysisSpec(warm_up=WarmUp.NONE))
        with_records.put_release(Release(Metadata(name), spec))
    mesh = Folder(folder)
    controller = LocalController(mesh)
    controller._round()
    store = mesh.store
    noon = datetime(2026, 1, 1, tzinfo=UTC)
    for number, name in enumerate(store.names()):
        stored = store.load(name)
        assert stored.state.run is not None
        assert stored.state.run.phase is Phase.PROMOTED
        blocks = [
            Block(
                noon + timedelta(seconds=second),
                noon + timedelta(seconds=second + 1),
                0,
                10.0,
                _arm(180),
                _arm(20),
                BOUNDS_MS,
            )
            for second in range(BLOCKS)
        ]
        store.save(
            name,
            stored.version,
            stored.state,
            judge_state="",
            cursor="",
            events=[],
            blocks=blocks,
            served=[],
            mesh=MeshRecord(),
        )
        if number < MOVING:
            release = store.release(name)
            store.put_release(replace(release, spec=replace(release.spec, version=NEW)))


def child(folder: Path, seconds: float, *, profile: bool) -> None:
    """The controller in a process of its own; says when it has looked, and what it used."""
    mesh = Folder(folder)
    controller = LocalController(mesh)
    looked: dict[str, float] = {}
    inner = controller._tick

    def tick(name: str) -> None:
        inner(name)
        looked.setdefault("first", time.monotonic())
        looked.setdefault("cpu", time.process_time())
        looked["count"] = looked.get("count", 0) + 1
        if looked["count"] == IDLE + MOVING:
            looked["all"] = time.monotonic()

    controller._tick = tick  # type: ignore[method-assign]
    used: dict[str, float] = {}

    def measure() -> None:
        begin = time.monotonic() + SETTLE_S
        while time.monotonic() < begin:
            time.sleep(0.05)
        cpu, wall = time.process_time(), time.monotonic()
        while time.monotonic() < wall + seconds:
            time.sleep(0.05)
        used["core"] = (time.process_time() - cpu) / (time.monotonic() - wall)
        controller.stop()

    threading.Thread(target=measure, daemon=True).start()
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    controller.run()
    if profile:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(45)
    moving = sum(
        mesh.store.load(name).state.run.phase is Phase.PROGRESSING  # type: ignore[union-attr]
        for name in mesh.store.names()
    )
    print(json.dumps({**looked, "mib": peak_mib(), "moving": moving, **used}))


def peak_mib() -> float:
    """The most memory that this process ever had in use."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def scipys_share_mib() -> float:
    """What `scipy.special` adds to a process that has numpy."""
    text = (
        "import numpy\n"
        "from pathlib import Path\n"
        "size = lambda: int(Path('/proc/self/statm').read_text().split()[1]) * 4096 / 2**20\n"
        "before = size()\n"
        "import scipy.special\n"
        "print(size() - before)\n"
    )
    return float(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)


def measure(*, profile: bool) -> dict[str, Any]:
    """One restart and one measurement."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        size = os.path.getsize(Path(folder) / "state.db") / 2**20
        began = time.monotonic()
        command = [sys.executable, __file__, "--child", folder, "--seconds", f"{MEASURE_S:g}"]
        done = subprocess.run(
            [*command, *(["--profile"] if profile else [])],
            stdout=subprocess.PIPE,
            stderr=None if profile else subprocess.PIPE,
            text=True,
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    scipy = scipys_share_mib()
    return {
        "idle": IDLE,
        "moving": found["moving"],
        "stateMiB": round(size, 1),
        "restartS": round(found["first"] - began, 2),
        "restartProcessorS": round(found["cpu"], 2),
        "allLookedAtS": round(found["all"] - began, 2),
        "mib": round(found["mib"] - scipy, 1),
        "scipyMiB": round(scipy, 1),
        "corePercent": round(found["core"] * 100, 1),
    }


def report() -> str:
    """The newest measurement beside its budgets."""
    kept = rows("scale")[-1:]
    restart = "restart to first tick, {idle} idle and {moving} moving releases, state of {stateMiB} MiB"
    what = {
        "restartS": (f"{restart} ({{restartProcessorS}} s of processor)", "s"),
        "mib": ("peak memory without scipy's {scipyMiB} MiB", "MiB"),
        "corePercent": ("processor", "% of a core"),
    }
    body = [
        (text.format(**row), f"{row[key]} {unit}", f"{BUDGETS[key]:g} {unit}", row["time"])
        for row in kept
        for key, (text, unit) in what.items()
    ]
    return table(("what", "measured", "budget", "date"), body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=MEASURE_S, help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help="print where the time goes; nothing is recorded")
    options = parser.parse_args()
    if options.child:
        child(options.child, options.seconds, profile=options.profile)
        return
    found = measure(profile=options.profile)
    print(json.dumps(found))
    if not options.profile:
        record("scale", found)
        print(report())


if __name__ == "__main__":
    main()
