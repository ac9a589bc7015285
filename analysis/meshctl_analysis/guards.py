"""What holds whatever the comparison says: an absolute error rate, the configured share, and traffic at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln

from .capital import GUARD
from .evalues import Floats, wager
from .policy import Policy

SERVICE_LEVEL_FACTORS = (2.0, 5.0, 10.0)
SERVICE_LEVEL_RATE = 0.5
SHARE_STRENGTH = 100.0
"""How sharply the alternatives of the share check gather around the configured share."""
SHARE_RIGHT, SHARE_STILL_WRONG = -1.0, 1.0
"""Log Bayes factors at which a found mismatch counts as gone, and at which requests since then are left out."""


def service_level_alternatives(max_error_rate: float) -> Floats:
    """Error rates that break the service level clearly: 2, 5, 10 times the limit and one half."""
    rates = {min(factor * max_error_rate, SERVICE_LEVEL_RATE) for factor in SERVICE_LEVEL_FACTORS}
    return np.array(sorted(rates | {SERVICE_LEVEL_RATE}))


def service_level(bad: float, requests: float, max_error_rate: float, rates: Floats) -> Floats:
    """Log e-values of ``bad`` among ``requests`` against the null "at most ``max_error_rate``", per alternative rate.

    Binomial likelihood ratio; exact at any rate of errors (design notes ``statistics.md`` section 7).
    """
    good = requests - bad
    return np.asarray(bad * np.log(rates / max_error_rate) + good * (np.log1p(-rates) - math.log1p(-max_error_rate)))


@dataclass(frozen=True, slots=True, eq=False)
class ServiceLevel:
    """Evidence that the candidate alone breaks the service level; ``wealth`` is empty where none is declared."""

    wealth: Floats
    invested: float = 0.0

    @property
    def evidence(self) -> float:
        """The e-value of the guard, a factor."""
        return float(self.wealth.mean()) + 1.0 - self.invested if len(self.wealth) else 1.0


def service_level_of(policy: Policy) -> ServiceLevel:
    """Before the first block."""
    if policy.max_error_rate is None:
        return ServiceLevel(np.zeros(0))
    return ServiceLevel(np.zeros(len(service_level_alternatives(policy.max_error_rate))))


def guarded(
    guard: ServiceLevel, policy: Policy, bad: float, requests: float, new_stage: bool, seconds: float
) -> ServiceLevel:
    """``guard`` after a block in which ``bad`` of the candidate's ``requests`` failed."""
    if policy.max_error_rate is None:
        return guard
    capital = GUARD.tranche(guard.invested, new_stage, seconds)
    rates = service_level_alternatives(policy.max_error_rate)
    evidence = service_level(bad, requests, policy.max_error_rate, rates)
    return ServiceLevel(wager(guard.wealth, capital, evidence), guard.invested + capital)


def share_factor(candidate: float, baseline: float, share: float) -> float:
    """Log Bayes factor of "the candidate's share is not ``share``" for the requests of both arms.

    Beta mixture around the configured share; as an e-value it may be looked at after every block.  Only for
    ``0 < share < 1``.
    """
    alternative, rest = SHARE_STRENGTH * share, SHARE_STRENGTH * (1.0 - share)
    mixture = betaln(alternative + candidate, rest + baseline) - betaln(alternative, rest)
    return float(mixture - candidate * math.log(share) - baseline * math.log1p(-share))


@dataclass(frozen=True, slots=True)
class ShareCheck:
    """Requests of both arms since the share was set (or since a mismatch was found)."""

    share: float = 0.0
    candidate: int = 0
    baseline: int = 0
    mismatch: bool = False


def checked(check: ShareCheck, policy: Policy, candidate: int, baseline: int, share: float) -> ShareCheck:
    """``check`` after one more block.  A found mismatch stays until fresh requests speak for the configured share."""
    if share != check.share:
        check = ShareCheck(share)
    candidate, baseline = check.candidate + candidate, check.baseline + baseline
    if not 0.0 < share < 1.0:
        return ShareCheck(share)
    factor = share_factor(candidate, baseline, share)
    if factor >= math.log(policy.mismatch_factor) or (check.mismatch and factor > SHARE_STILL_WRONG):
        return ShareCheck(share, mismatch=True)
    return ShareCheck(share, candidate, baseline, check.mismatch and factor > SHARE_RIGHT)


@dataclass(frozen=True, slots=True)
class Silence:
    """Seconds since the last request of any arm, and the candidate's requests that its share has promised since
    its own last one."""

    quiet_s: float = 0.0
    promised: float = 0.0
    block_s: float = 0.0

    def silent(self, policy: Policy) -> bool:
        """Whether there is no traffic to judge."""
        limit = max(policy.silence_blocks * self.block_s, policy.silence_s)
        return self.quiet_s >= limit or self.promised >= policy.promised_requests


def listened(silence: Silence, candidate: int, baseline: int, share: float, seconds: float) -> Silence:
    """``silence`` after one more block with these requests."""
    requests = candidate + baseline
    return Silence(
        quiet_s=0.0 if requests else silence.quiet_s + seconds,
        promised=0.0 if candidate else silence.promised + share * requests,
        block_s=seconds,
    )
