"""What one tick costs without a network: judge and decide, render and guard, one store write.

python bench/decision.py
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common import median, percentile, record

from meshctl.adapters.envoy.bootstrap import BOUNDS_MS
from meshctl.adapters.judge import AnalysisJudge
from meshctl.adapters.store_sqlite import SqliteStore
from meshctl.adapters.templates import TemplateRenderer
from meshctl.core.decide import decide
from meshctl.core.model import (
    AnalysisSpec,
    ArmCounts,
    Block,
    LiveRouting,
    MeshSpec,
    Metadata,
    ReadyReplicas,
    Release,
    ReleaseSpec,
    ReleaseState,
    Retries,
    Routing,
    Seen,
    WarmUp,
)
from meshctl.core.ports import MeshRecord

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ROUNDS = 400


def arm(chance: random.Random, requests: int) -> ArmCounts:
    """Lognormal latencies around 40 ms, in the buckets of the embedded mesh."""
    counts = [0] * (len(BOUNDS_MS) + 1)
    for _ in range(requests):
        value = chance.lognormvariate(3.69, 0.5)
        counts[sum(value > bound for bound in BOUNDS_MS)] += 1
    return ArmCounts(requests, 0, tuple(counts))


def timed(call: Callable[[int], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds."""
    taken = []
    for number in range(rounds):
        begin = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - begin) * 1000)
    return median(taken), percentile(taken, 0.95)


def releases() -> tuple[Release, ReleaseState]:
    """A run at its 10 percent stage, as the core itself brings it there."""
    mesh = MeshSpec(hosts=("shop",), timeout=timedelta(seconds=2), retries=Retries(2))
    spec = ReleaseSpec("2.1.0", "shop", mesh=mesh, analysis=AnalysisSpec(warm_up=WarmUp.NONE))
    release = Release(Metadata("shop"), spec)
    ready = {"2.0.0": ReadyReplicas(2, 2), "2.1.0": ReadyReplicas(2, 2)}
    state = ReleaseState(baseline="2.0.0")
    for weight in (0.0, 0.0, 1.0):
        live = LiveRouting({"2.0.0": 100 - weight, "2.1.0": weight}, "shop-1", False, "1", True)
        state = decide(release, state, Seen(live, ready), None, (), BEGIN).state
    return release, state


def decision(release: Release, state: ReleaseState) -> tuple[float, float]:
    """Fold one block of a second at 600 requests a second, judge, decide."""
    chance, judge, analysis = random.Random(1), AnalysisJudge(), release.spec.analysis
    run = state.run
    assert run is not None
    terms = run.entries[-1]
    blocks = [
        Block(BEGIN + n * SECOND, BEGIN + (n + 1) * SECOND, 0, 1.0, arm(chance, 594), arm(chance, 6), BOUNDS_MS)
        for n in range(ROUNDS)
    ]
    live = LiveRouting({"2.0.0": 99.0, "2.1.0": 1.0}, run.name, False, "1", True)
    ready = {"2.0.0": ReadyReplicas(2, 2), "2.1.0": ReadyReplicas(2, 2)}
    held = ""

    def once(number: int) -> None:
        nonlocal held
        block = blocks[number]
        held, judgement = judge.fold(held, analysis, terms, [block])
        decide(release, state, Seen(live, ready, newest_block_end=block.end), judgement, (), block.end)

    return timed(once)


def rendering(release: Release) -> tuple[float, float]:
    renderer = TemplateRenderer()
    return timed(lambda n: renderer.render(release, Routing("2.0.0", "2.1.0", (n % 1000) / 10, "shop-1")))


def saving(release: Release, state: ReleaseState) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder))
        store.put_release(release)
        block = Block(BEGIN, BEGIN + SECOND, 0, 1.0, ArmCounts(594, 0), ArmCounts(6, 0))

        def once(number: int) -> None:
            changed = replace(state, observed_generation=number)
            version = store.load("shop").version
            blocks = [replace(block, start=BEGIN + number * SECOND, end=BEGIN + (number + 1) * SECOND)]
            store.save(
                "shop", version, changed, judge_state="x" * 5000, cursor="y" * 500, events=(), blocks=blocks,
                served=(), mesh=MeshRecord(),
            )  # fmt: skip

        return timed(once)


def main() -> None:
    release, state = releases()
    figures = {
        "judge and decide one block": (decision(release, state), 2.0),
        "render and guard one pair": (rendering(release), 1.0),
        "load and save one tick, fsync included": (saving(release, state), None),
    }
    for name, ((middle, high), budget) in figures.items():
        record("decision", {"what": name, "medianMs": round(middle, 3), "p95Ms": round(high, 3), "budgetMs": budget})
        limit = f" (budget {budget:g} median)" if budget else ""
        print(f"{name}: {middle:.2f} ms median, {high:.2f} ms at the 95th percentile of {ROUNDS}{limit}")


if __name__ == "__main__":
    main()
