"""Requests that reached nobody: for whom they were meant, told by the share that is missing.

Where a version has no endpoint that can be used, Envoy answers for it (503, flag UH), and Istio's labels then name
no version.  Such requests are failures of the version that they were meant for, and the routes sent a known share to
each.  So the two possibilities are compared: that all of them were the candidate's, or all the baseline's.  They are
given to one side only when that is a thousand times as likely; else to nobody.
"""

from __future__ import annotations

import math

from meshctl.adapters.prometheus.differencing import Arm

CERTAIN = math.log(1000.0)
"""As certain as the share check of the judge (design: statistics.md section 7)."""


def meant_for(baseline: int, candidate: int, strays: int, weight: float) -> Arm | None:
    """Whose ``strays`` were, when ``baseline`` and ``candidate`` requests were answered and the candidate's weight is
    ``weight`` percent; ``None``: not to be told."""
    share, total = weight / 100.0, baseline + candidate + strays
    if strays <= 0 or not 0.0 <= share <= 1.0:
        return None
    if share in (0.0, 1.0):
        return Arm.BASELINE if share == 0.0 else Arm.CANDIDATE
    ratio = _log_binomial(candidate + strays, total, share) - _log_binomial(candidate, total, share)
    if ratio >= CERTAIN:
        return Arm.CANDIDATE
    return Arm.BASELINE if ratio <= -CERTAIN else None


def _log_binomial(successes: int, trials: int, share: float) -> float:
    choices = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    return choices + successes * math.log(share) + (trials - successes) * math.log1p(-share)
