"""The promises, measured: few seeded runs on the borders of the null hypotheses, with room for chance only.

The bounds of the whole table are measured by ``analysis/calibration/error_rates.py``.  Here alpha is large, so that a
judge that does not keep it would be caught within seconds: a true rate at the promise passes in 999 of 1000 cases.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy.stats import binom

from calibration.error_rates import EXACT, NEVER_ABORT, POLICY, Cell, at_the_margin, errors_in, last_gate, service
from calibration.rollout import Plan, default_plan
from meshctl_analysis.sequential import Stage

WATCHED = Plan((Stage(0, 0.5, None, 1.0, False, True, 600.0),), (600.0,))
"""Sixty looks at an even split and no gate: a run ends failed or undecided."""


def most_by_chance(runs: int, promise: float) -> int:
    return int(binom.ppf(0.999, runs, promise))


@pytest.mark.parametrize(
    ("name", "candidate", "policy"),
    [
        ("on both tolerances", service(200.0, 1e-3, 1.1, 1.05), replace(POLICY, noise_errors=0.0, noise_latency=0.0)),
        ("no tolerance, no noise", service(200.0, 1e-2), EXACT),
    ],
)
def test_false_aborts_stay_below_alpha_when_looked_at_after_every_block(name, candidate, policy):
    alpha, runs = 0.2, 30
    cell = Cell(name, candidate, replace(policy, alpha=alpha), WATCHED, "failed", alpha, "")
    assert errors_in(cell, runs, seed=100) <= most_by_chance(runs, alpha)


def test_false_promotions_at_the_margin_stay_below_beta():
    runs = 30
    cell = Cell("", at_the_margin(2000.0, 1e-3), NEVER_ABORT, last_gate(400.0), "promoted", 0.05, "")
    assert errors_in(cell, runs, seed=200) <= most_by_chance(runs, 0.05)


def test_a_good_candidate_is_promoted_and_a_bad_one_is_not():
    """The counterpart: bounds on errors would also be kept by a judge that never decides."""
    good = Cell("", service(2000.0, 1e-3), POLICY, default_plan(), "promoted", 0.0, "")
    bad = Cell("", service(2000.0, 1e-3, 5.0), POLICY, default_plan(), "failed", 0.0, "")
    assert errors_in(good, 4, seed=300) == 4
    assert errors_in(bad, 4, seed=300) == 4
