"""The demo's scenarios in simulation: how long a good candidate takes, what bad ones cost.

    cd analysis && python -m calibration.demo [--runs 20] [--seed 1] [--rps 200 600]

One-second blocks, a lognormal service (median 40 ms, sigma 0.5) without errors, ten seconds of baseline first, and one
second from each decision to its effect.
"""

from __future__ import annotations

import argparse
import statistics

from calibration.bounds import EMBEDDED_BOUNDS_MS
from calibration.rollout import Outcome, default_plan, roll_out
from calibration.worlds import Service, World
from meshctl_analysis.policy import Policy

DWELL_S = (8.0, 8.0, 10.0, 15.0, 3.0)
HISTORY_S = 10.0
SCENARIOS: dict[str, dict[str, float]] = {
    "good": {},
    "errors": {"candidate_error_rate": 0.05},
    "spike": {"candidate_error_rate": 0.30},
    "slow": {"candidate_time_factor": 2.0},
    "late": {"candidate_error_rate": 0.05, "bad_from_share": 0.5},
}


def run(scenario: str, requests_per_second: float, seed: int) -> Outcome:
    """One run of a scenario."""
    service = Service(requests_per_second, EMBEDDED_BOUNDS_MS, **SCENARIOS[scenario])
    return roll_out(World(service, seed), Policy(warm_up="none"), default_plan(DWELL_S), HISTORY_S, late_blocks=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate the scenarios of the demo.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rps", type=float, nargs="+", default=[200.0, 600.0])
    arguments = parser.parse_args()
    print(f"{'scenario':9s}{'rps':>6s}  ends{'':30s}{'seconds (median, most)':>24s}{'failed (median, most)':>24s}")
    for requests_per_second in arguments.rps:
        for scenario in SCENARIOS:
            runs = [run(scenario, requests_per_second, arguments.seed + number) for number in range(arguments.runs)]
            ends = {end: sum(outcome.end == end for outcome in runs) for end in ("promoted", "failed", "undecided")}
            seconds, failed = [outcome.seconds for outcome in runs], [outcome.failed for outcome in runs]
            told = ", ".join(f"{number} {end}" for end, number in ends.items() if number)
            seconds_text = f"{statistics.median(seconds):16.0f}{max(seconds):8.0f}"
            failed_text = f"{statistics.median(failed):16.0f}{max(failed):8.0f}"
            print(f"{scenario:9s}{requests_per_second:6.0f}  {told:34s}{seconds_text}{failed_text}")


if __name__ == "__main__":
    main()
