"""Play the demo scenarios again and again and hold what the client saw against the targets.

python bench/demo.py                    # the whole table, over an hour
python bench/demo.py --only errors:600  # one row
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common import median, record, rows, table

Result = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One row of the table: a scenario at a rate, how often it is played, what is expected of the results."""

    scenario: str
    rps: int
    repeats: int
    phase: str
    target: str
    met: Callable[[list[Result]], bool]


def failed(results: list[Result]) -> list[int]:
    return [each["load"]["failed"] for each in results]


def seconds(results: list[Result]) -> list[float]:
    return [each["secondsToVerdict"] for each in results]


def few(middle: int, most: int) -> Callable[[list[Result]], bool]:
    return lambda results: median(failed(results)) <= middle and max(failed(results)) <= most


def clean_within(middle_s: float, most_s: float) -> Callable[[list[Result]], bool]:
    return lambda results: (
        median(seconds(results)) <= middle_s and max(seconds(results)) <= most_s and max(failed(results)) == 0
    )


ROWS = (
    Row("good", 600, 20, "Promoted", "20 of 20, median <= 110 s, 0 failed", clean_within(110, 1e9)),
    Row("good", 200, 5, "Promoted", "median <= 330 s, 0 failed", clean_within(330, 1e9)),
    Row("errors", 600, 5, "RolledBack", "failed <= 6 median, 12 most", few(6, 12)),
    Row("errors", 200, 5, "RolledBack", "failed <= 6 median, 12 most", few(6, 12)),
    Row("spike", 600, 5, "RolledBack", "failed <= 12 median, 20 most", few(12, 20)),
    Row("spike", 200, 5, "RolledBack", "failed <= 8 median, 15 most", few(8, 15)),
    Row("slow", 600, 5, "RolledBack", "within 20 s, 0 failed", clean_within(20, 20)),
    Row("slow", 200, 5, "RolledBack", "within 30 s, 0 failed", clean_within(30, 30)),
    Row("late", 600, 5, "RolledBack", "failed <= 75 median, 110 most", few(75, 110)),
    Row("late", 200, 5, "RolledBack", "failed <= 35 median, 50 most", few(35, 50)),
)


def play(row: Row, seed: int) -> Result:
    """One run of ``meshctl demo`` in a folder of its own; its result line."""
    command = ["-m", "meshctl", "demo", "--scenario", row.scenario, "--once", "-o", "json"]
    command += ["--rps", str(row.rps), "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=1800)
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise SystemExit(f"the demo printed nothing (exit {done.returncode}):\n{done.stderr[-2000:]}")
    result: Result = json.loads(lines[-1])
    return {**result, "exit": done.returncode, "seed": seed}


def summary(row: Row, results: list[Result]) -> list[object]:
    """One line of the table: figures beside the target, and whether it was met."""
    as_wished = sum(each["phase"] == row.phase for each in results)
    own = sum(each["load"]["failedByMesh"] for each in results)
    met = as_wished == len(results) and own == 0 and row.met(results)
    return [
        row.scenario,
        row.rps,
        f"{as_wished} of {len(results)} {row.phase}",
        f"{median(seconds(results)):.0f} / {max(seconds(results)):.0f} s",
        f"{median(failed(results)):g} / {max(failed(results))}",
        own,
        row.target,
        "yes" if met else "**no**",
    ]


HEADER = ("scenario", "rps", "outcome", "verdict median / most", "failed median / most", "by mesh", "target", "met")


def report() -> str:
    """The table from the newest results of each row."""
    kept = rows("demo")
    body = []
    for row in ROWS:
        mine = [each for each in kept if each["scenario"] == row.scenario and each["rps"] == row.rps]
        if mine:
            body.append(summary(row, mine[-row.repeats :]))
    return table(HEADER, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="SCENARIO:RPS")
    parser.add_argument("--repeats", type=int, help="instead of the number in the table")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for row in ROWS:
        if options.only and options.only != f"{row.scenario}:{row.rps}":
            continue
        for number in range(options.repeats or row.repeats):
            result = play(row, options.seed + number)
            record("demo", {"rps": row.rps, **result})
            print(json.dumps({"rps": row.rps, **result}), flush=True)
    print(report())


if __name__ == "__main__":
    main()
