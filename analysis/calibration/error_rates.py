"""Does the judge keep its promises?  Seeded runs on the borders of the null hypotheses, counted.

    cd analysis && python -m calibration.error_rates [--runs 100] [--seed 1]

Ten-second blocks, the mesh's own histogram bounds, lognormal latency (median 60 ms, sigma 0.8), ten minutes of history.
Printed beside each share: a 95 % upper limit for the true rate, the promise, and what the prototype measured.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from scipy.special import betaincinv

from calibration.bounds import ISTIO_BOUNDS_MS
from calibration.rollout import Plan, default_plan, roll_out
from calibration.worlds import Service, World
from meshctl_analysis.policy import Policy, Tolerance

POLICY = Policy(warm_up="none")
EXACT = replace(POLICY, errors=Tolerance(1.0, 1.25, 0.001), latency=Tolerance(1.0, 1.15, 0.01))
EXACT = replace(EXACT, noise_errors=0.0, noise_latency=0.0)
NEVER_ABORT = replace(POLICY, alpha=1e-300, doubt=1e300)
HISTORY_S = 600.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One border: the service, the policy, the plan, which end counts as an error, and what is promised."""

    name: str
    service: Service
    policy: Policy
    plan: Plan
    error: str
    promise: float
    prototype: str


def service(requests_per_second: float, error_rate: float, ratio: float = 1.0, slower: float = 1.0) -> Service:
    """A service whose candidate fails ``ratio`` times as often and takes ``slower`` times as long."""
    return Service(requests_per_second, ISTIO_BOUNDS_MS, error_rate, 60.0, 0.8, ratio * error_rate, slower)


def at_the_margin(requests_per_second: float, error_rate: float) -> Service:
    """A service whose candidate lies exactly on the margin of the last gate."""
    tolerance = POLICY.errors
    return service(requests_per_second, error_rate, tolerance.margin + tolerance.harm / error_rate)


def last_gate(max_duration_s: float = 1800.0) -> Plan:
    """Only the stage at 50 %, whose gate decides."""
    plan = default_plan(max_duration_s=max_duration_s)
    return Plan((replace(plan.stages[2], entry=0),), (120.0,))


def cells() -> list[Cell]:
    """Borders in the order of the design notes (``statistics-2.md`` section 7)."""
    whole, slow_tail = default_plan(), default_plan((600, 600, 1800, 1800, 60))
    equal = [(20.0, 1e-3, "0.1 %"), (200.0, 1e-3, "0.3 %"), (2000.0, 1e-4, "0.3 %"), (2000.0, 1e-3, "0 %")]
    found = [
        Cell(f"equal arms, {rps:g} rps, {p:g}", service(rps, p), POLICY, whole, "failed", 0.01, told)
        for rps, p, told in equal
    ]
    for rps, told in ((200.0, "0.4 %"), (2000.0, "0.2 %")):
        edge = service(rps, 1e-3, 1.1, 1.05)
        found.append(Cell(f"on both tolerances, {rps:g} rps", edge, POLICY, slow_tail, "failed", 0.01, told))
    for rps, told in ((200.0, "0.2 %"), (2000.0, "0 %")):
        exact = service(rps, 1e-3)
        found.append(Cell(f"no tolerance, no noise, {rps:g} rps", exact, EXACT, slow_tail, "failed", 0.01, told))
    for rps, p, told in ((200.0, 1e-3, "0.4 %"), (200.0, 1e-2, "0 %"), (20.0, 1e-2, "0.4 %")):
        margin = at_the_margin(rps, p)
        found.append(
            Cell(
                f"last gate at the margin, {rps:g} rps, {p:g}", margin, NEVER_ABORT, last_gate(), "promoted", 0.05, told
            )
        )
    return found


def errors_in(cell: Cell, runs: int, seed: int) -> int:
    """How many of ``runs`` runs end in the cell's error."""
    worlds = (World(cell.service, seed + number, block_s=10.0) for number in range(runs))
    return sum(roll_out(world, cell.policy, cell.plan, HISTORY_S).end == cell.error for world in worlds)


def upper_limit(errors: int, runs: int, confidence: float = 0.95) -> float:
    """Exact (Clopper-Pearson) one-sided upper limit of a rate."""
    return 1.0 if errors >= runs else float(betaincinv(errors + 1, runs - errors, confidence))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the error rates of the sequential judge.")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--match", default="", help="only cells whose name contains this")
    arguments = parser.parse_args()
    print(f"{'border':44s}{'error':>10s}{'measured':>12s}{'below (95 %)':>14s}{'promise':>9s}{'prototype':>11s}")
    for cell in cells():
        if arguments.match not in cell.name:
            continue
        errors = errors_in(cell, arguments.runs, arguments.seed)
        below = 100 * upper_limit(errors, arguments.runs)
        print(
            f"{cell.name:44s}{cell.error:>10s}{100 * errors / arguments.runs:10.1f} %{below:12.1f} %"
            f"{100 * cell.promise:7.0f} %{cell.prototype:>11s}",
            flush=True,
        )


if __name__ == "__main__":
    main()
