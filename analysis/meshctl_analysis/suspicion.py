"""The step-down: in a bake, suspicion asks for an informative share until it is gone.

With 80 % of the traffic on the candidate little is left to compare with, and errors say little.  So a cheap test that
may be wrong, of the errors of *all* traffic against their own past, asks for a share of 50 % as soon as something looks
odd.  It never aborts and never promotes, so no guarantee depends on it (design notes ``statistics-2.md`` section 4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .evalues import Floats, wager

FACTORS = np.array([2.0, 4.0, 10.0])
ALARM, DOUBT = 8.0, 2.0
QUIET_S = 120.0
RESTART_S = 10.0
"""A CUSUM below 1 restarts at 1 this often, whatever the length of a block."""


@dataclass(frozen=True, slots=True, eq=False)
class Suspicion:
    """One CUSUM per factor by which errors may have grown, ``running_s`` seconds after its last restart;
    ``quiet_s``: seconds since the last alarm, if any."""

    cusum: Floats
    running_s: float = 0.0
    quiet_s: float | None = None

    @property
    def step_down(self) -> bool:
        """Whether the informative share is wanted."""
        return self.quiet_s is not None and self.quiet_s < QUIET_S - 1e-6


def unsuspicious() -> Suspicion:
    """Before the first block of a bake."""
    return Suspicion(np.ones(len(FACTORS)))


def cumulated(cusum: Floats, bad: float, requests: float, error_rate: float) -> Floats:
    """CUSUM after ``bad`` of ``requests`` (both arms) where ``error_rate`` was expected: grows with the Poisson
    likelihood ratio of a rate x times as high."""
    return wager(cusum, 0.0, bad * np.log(FACTORS) - requests * error_rate * (FACTORS - 1.0))


def suspected(
    suspicion: Suspicion, bad: float, requests: float, error_rate: float, evidence: float, seconds: float
) -> Suspicion:
    """``suspicion`` after one more block of a bake, with the abort ``evidence`` (a factor) after it."""
    restart = suspicion.running_s >= RESTART_S - 1e-6
    cusum = np.maximum(suspicion.cusum, 1.0) if restart else suspicion.cusum
    running_s = (0.0 if restart else suspicion.running_s) + seconds
    cusum = cumulated(cusum, bad, requests, error_rate)
    if float(cusum.mean()) >= ALARM or evidence >= DOUBT:
        return Suspicion(cusum, running_s, 0.0)
    quiet_s = None if suspicion.quiet_s is None else suspicion.quiet_s + seconds
    calm = Suspicion(cusum, running_s, quiet_s)
    return replace(calm, cusum=np.minimum(cusum, 1.0)) if calm.step_down else calm
