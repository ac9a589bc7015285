"""What the sequential judge promises and what it tolerates: every number that a user may choose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

EVIDENCE_SHARE = 0.8
"""The part of ``alpha`` that the abort evidence may spend; the guards share the rest."""


class PolicyError(ValueError):
    """A policy that cannot be kept; the message names the argument and the rule."""


def _require(name: str, value: float, holds: bool, rule: str) -> None:
    if not (math.isfinite(value) and holds):
        raise PolicyError(f"`{name}` must be {rule}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What one metric allows, as ratios candidate / baseline.

    Beyond ``tolerance`` evidence for an abort accrues.  A gate demands proof that the candidate lies inside
    ``margin`` times the baseline plus a part of ``harm``, the extra bad share of *all* requests (0 to 1).
    For errors the ratios concern the share of bad requests; for latency ``tolerance`` is a factor of time and
    ``margin`` concerns the share of requests slower than a bound.
    """

    tolerance: float
    margin: float
    harm: float

    def __post_init__(self) -> None:
        _require("tolerance", self.tolerance, self.tolerance >= 1.0, "at least 1")
        _require("margin", self.margin, self.margin >= 1.0, "at least 1")
        _require("harm", self.harm, 0.0 < self.harm < 1.0, "between 0 and 1")


@dataclass(frozen=True, slots=True)
class Policy:
    """The promise of a run and the constants behind it.

    ``alpha`` bounds the probability that a candidate within its tolerances is taken back, over the whole run,
    all looks, metrics and guards included.  ``max_error_rate`` is an absolute guard on the candidate alone
    (``None``: no guard).  ``warm_up="auto"`` makes no latency bets against a candidate that has had traffic for
    less than ``warm_up_s`` seconds; ``"none"`` lets them start at once.  ``noise_errors`` and ``noise_latency``
    are the noise between two equal arms that randomisation does not remove: variance of the log ratio times its
    correlation length in units of 10 s.
    """

    alpha: float = 0.01
    errors: Tolerance = Tolerance(1.10, 1.25, 0.001)
    latency: Tolerance = Tolerance(1.05, 1.15, 0.01)
    max_error_rate: float | None = None
    warm_up: Literal["auto", "none"] = "auto"
    warm_up_s: float = 600.0
    noise_errors: float = 0.05
    noise_latency: float = 0.002
    silence_s: float = 30.0
    silence_blocks: int = 3
    promised_requests: float = 15.0
    mismatch_factor: float = 1000.0
    doubt: float = 5.0
    """No stage is passed while the abort evidence is at or above this factor."""

    def __post_init__(self) -> None:
        _require("alpha", self.alpha, 0.0 < self.alpha < 1.0, "between 0 and 1")
        if self.max_error_rate is not None:
            _require("max_error_rate", self.max_error_rate, 0.0 < self.max_error_rate < 0.5, "between 0 and 0.5")
        if self.warm_up not in ("auto", "none"):
            raise PolicyError(f"`warm_up` must be 'auto' or 'none', got {self.warm_up!r}")
        for name in ("warm_up_s", "noise_errors", "noise_latency", "silence_s", "silence_blocks"):
            value = getattr(self, name)
            _require(name, value, value >= 0, "zero or more")
        for name in ("promised_requests", "mismatch_factor", "doubt"):
            value = getattr(self, name)
            _require(name, value, value >= 1, "at least 1")

    @property
    def abort_threshold(self) -> float:
        """The evidence (a factor, not its logarithm) at which the candidate is taken back."""
        return 1.0 / (EVIDENCE_SHARE * self.alpha)

    @property
    def guard_threshold(self) -> float:
        """The evidence at which all guards together take the candidate back."""
        return 1.0 / ((1.0 - EVIDENCE_SHARE) * self.alpha)
