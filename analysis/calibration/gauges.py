"""How often a gauge takes back a version that is like the old one, and how soon it finds one that is not.

A gauge has few values, and values that follow each other repeat each other; nothing of that is random routing.  So its
promise holds for values that are independent from window to window, and this measures how it fares when they are not:
pods whose values waver with a memory, and pods that differ from each other for good.

    python -m calibration.gauges --runs 100
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from meshctl_analysis import others
from meshctl_analysis.blocks import Arm, Block
from meshctl_analysis.others import Metric
from meshctl_analysis.policy import Policy, Tolerance
from meshctl_analysis.sequential import Stage

WINDOW_S = 15.0
MINUTES = 30
PODS = 4
WAVER = 0.10
"""Standard deviation of the logarithm of a pod's values."""
POLICY = Policy(warm_up="none")
STAGE = Stage(0, 0.5, 0.05, 1.0, False, True, 60.0 * MINUTES)
QUEUE = Metric("queue", "values", Tolerance(1.10, 1.50, 0.10))


@dataclass(frozen=True, slots=True)
class Cell:
    """``memory_s``: how long a deviation takes to fall to a third; ``apart``: standard deviation of the logarithm of
    what a pod is for good; ``factor``: candidate / baseline."""

    memory_s: float
    apart: float
    factor: float


CELLS = [
    Cell(memory_s, apart, factor)
    for factor in (1.0, 2.0)
    for memory_s in (1.0, 15.0, 60.0)
    for apart in (0.0, 0.05, 0.15)
]


def values(cell: Cell, random: np.random.Generator) -> Iterator[np.ndarray]:
    """The logarithms of all pods, the baseline's first, window by window."""
    for_good = random.normal(0.0, cell.apart, 2 * PODS)
    for_good[PODS:] += math.log(cell.factor)
    stays = math.exp(-WINDOW_S / cell.memory_s)
    wavers = random.normal(0.0, WAVER, 2 * PODS)
    while True:
        yield for_good + wavers
        wavers = stays * wavers + math.sqrt(1.0 - stays * stays) * random.normal(0.0, WAVER, 2 * PODS)


def run(cell: Cell, seed: int) -> tuple[float | None, float | None]:
    """When the gate opened, and when the version was taken back, in minutes; each within half an hour, if at all."""
    random = np.random.default_rng(seed)
    series = values(cell, random)
    past = [next(series)[:PODS] for _ in range(240)]
    lowest, highest = math.exp(min(map(min, past))), math.exp(max(map(max, past)))
    steps = math.ceil(math.log(highest / lowest) / math.log(1.1)) + 4
    bounds = tuple(lowest / math.sqrt(1.1) * 1.1**step for step in range(steps))

    def block(number: int, old: np.ndarray, new: np.ndarray) -> Block:
        arms = [np.bincount(np.searchsorted(bounds, np.exp(each)), minlength=len(bounds) + 1) for each in (old, new)]
        baseline, candidate = (Arm(int(each.sum()), 0, tuple(map(int, each))) for each in arms)
        return Block(WINDOW_S * number, WINDOW_S * (number + 1), 0.5, baseline, candidate, bounds)

    history = [block(number - 240, each, np.zeros(0)) for number, each in enumerate(past)]
    passed: float | None = None
    state = others.learn(others.start(POLICY), POLICY, [], [QUEUE], {"queue": history})
    for number in range(round(60 * MINUTES / WINDOW_S)):
        plain = [Block(WINDOW_S * number, WINDOW_S * (number + 1), 0.5, Arm(9000, 3), Arm(9000, 3))]
        each = next(series)
        found = {"queue": [block(number, each[:PODS], each[PODS:])]}
        state, word = others.fold(state, POLICY, STAGE, plain, [QUEUE], found)
        minutes = WINDOW_S * (number + 1) / 60.0
        if word.verdict == "fail":
            return passed, minutes
        if word.verdict == "pass" and passed is None:
            passed = minutes
    return passed, None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("factor memory_s apart  passed after_min  taken_back after_min")
    for cell in CELLS:
        ends = [run(cell, options.seed * 1000 + number) for number in range(options.runs)]
        told = []
        for times in zip(*ends, strict=True):
            known = [time for time in times if time is not None]
            told.append(f"{len(known):>7} {f'{statistics.median(known):.1f}' if known else '-':>9}")
        print(f"{cell.factor:>6g} {cell.memory_s:>8g} {cell.apart:>5g} {'     '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
