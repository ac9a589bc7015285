"""What both arms did between two scrapes: the only input of the sequential judge.

Counts are differences of cumulative counters, summed over the pods of an arm (design notes
``statistics.md`` section 2).  A missing scrape yields one longer block, never a block of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arm:
    """What one version did in one block.

    ``requests`` counts all answered requests, ``bad`` the failed ones among them.  ``latency`` holds
    one count per latency bucket of the *good* requests; its length is one more than the number of
    bounds, the last bucket being +Inf.  The latency test takes its sample size from the sum of
    ``latency``, never from ``requests``: histograms may lag behind counters.
    """

    requests: int
    bad: int
    latency: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Both arms between ``start_s`` and ``end_s`` (seconds on any common time axis).

    ``share`` is the share of all requests that the configuration promised the candidate, 0 to 1.
    ``bounds_ms`` are the upper bounds of the latency buckets in milliseconds, strictly increasing, without
    +Inf; every block of one run carries the same bounds.
    """

    start_s: float
    end_s: float
    share: float
    baseline: Arm
    candidate: Arm
    bounds_ms: tuple[float, ...] = ()
