"""How long a gate takes: expected evidence per request, nats needed, seconds left.

All for a candidate equal to the baseline (design notes ``statistics-2.md`` section 3, P2 and P3).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

from .dispersion import assumed
from .evalues import Floats, error_margin, tail_margin
from .policy import Policy

GATE_CAPITAL = 0.64
"""Capital of a gate at the start (0.8) times the weight of its main alternative (0.8)."""


def nats_needed(beta: float, power: float, capital: float = GATE_CAPITAL) -> float:
    """P2: evidence that a stage must be able to collect on average so that its gate passes with ``power``.

    Diffusion approximation: evidence drifts by g per request with variance 2 g.

    >>> round(nats_needed(0.05, 0.9), 6)
    8.826527
    """
    for name, value in (("beta", beta), ("power", power), ("capital", capital)):
        if not 0.0 < value <= 1.0 or (name == "power" and value == 1.0):
            raise ValueError(f"`{name}` must be between 0 and 1, got {value!r}")
    missing = math.log(1.0 / beta) - math.log(capital)
    z = float(ndtri(power))
    return ((z * math.sqrt(2.0) + math.sqrt(max(2.0 * z * z + 4.0 * missing, 0.0))) / 2.0) ** 2


def error_nats_per_request(share: float, error_rate: float, margin: float, harm: float) -> float:
    """Expected evidence (G1) per request of both arms when both fail at ``error_rate``."""
    rate = np.array([error_rate])
    rest = 1.0 - share
    return float(error_margin(error_rate * share, share, error_rate * rest, rest, margin, harm, rate, rate)[0])


def latency_nats_per_request(share: float, tails: Floats, margin: float, harm: float) -> Floats:
    """Expected evidence (G2) per request at each bound when both arms exceed it with the share ``tails``."""
    tails = np.minimum(tails, 0.75)
    rest = 1.0 - share
    return tail_margin(tails * share, share, tails * rest, rest, margin, harm, tails)


def stage_seconds(
    policy: Policy,
    *,
    requests_per_second: float,
    share: float,
    margin_share: float,
    beta: float,
    power: float,
    error_rate: float,
    tails: Floats,
) -> float:
    """P3: seconds that a stage needs, beforehand, to pass its gate with ``power``; infinite without traffic.

    ``tails`` are the baseline's shares of slow requests at the informative bounds (may be empty).
    """
    errors, latency = _speeds(policy, share, margin_share, error_rate, tails)
    slowest = float(min([errors, *latency.tolist()]))
    if requests_per_second * slowest <= 0:
        return math.inf
    return nats_needed(beta, power) / (requests_per_second * slowest)


def _speeds(
    policy: Policy, share: float, margin_share: float, error_rate: float, tails: Floats
) -> tuple[float, Floats]:
    errors = error_nats_per_request(share, error_rate, policy.errors.margin, policy.errors.harm / margin_share)
    latency = latency_nats_per_request(share, tails, policy.latency.margin, policy.latency.harm / margin_share)
    return errors, latency


def remaining_seconds(
    policy: Policy,
    *,
    requests_per_second: float,
    share: float,
    margin_share: float,
    error_rate: float,
    tails: Floats,
    missing_nats: Floats,
    dispersions: Floats,
) -> float | None:
    """Median seconds until a running gate passes: ``missing_nats`` over expected nats per second, the slowest part.

    ``missing_nats`` and ``dispersions`` (measured) hold the errors first, then each bound of ``tails``.  ``None`` where
    there is no traffic to go by.
    """
    if requests_per_second <= 0 or not 0.0 < share < 1.0:
        return None
    errors, latency = _speeds(policy, share, margin_share, error_rate, tails)
    information = requests_per_second * 10.0 * share * (1.0 - share) * np.concatenate([[error_rate], tails])
    noise = np.array([policy.noise_errors] + [policy.noise_latency] * len(tails))
    phi = np.maximum(dispersions, assumed(1.0, noise * information, 10.0))
    speeds = np.concatenate([[errors], latency]) / phi * requests_per_second
    return float((np.maximum(missing_nats, 0.0) / np.maximum(speeds, 1e-300)).max())
