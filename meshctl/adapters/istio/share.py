"""Confirmation by what requests do: the share that a version really gets since its weight was written.

Slower than asking istiod, and it needs traffic; but it needs no right on Istio and trusts nobody's word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from meshctl.adapters.istio.confirm import NotSoon, Subsets, Wish
from meshctl.core.errors import MeshctlError
from meshctl.core.model import FULL, Release
from meshctl.core.ports import Clock

Counts = Callable[[Release, datetime], Mapping[str, int]]
"""Requests by version that began and ended since an instant.  Raises `Unreachable` when nobody can tell."""

SPREAD = timedelta(seconds=2)
"""How long after a write requests may still go by the old weights without a word: istiod waits 0.1 s for further
changes, and a push to many proxies takes its time."""

WINDOW = timedelta(minutes=5)
"""Requests before that are not looked at: one that took long and came late must not be held against a weight."""

SUBSET_AFTER = timedelta(seconds=10)
"""How long a new subset is given to reach every proxy where nobody can be asked."""

Z = 3.29
"""Two-sided 99.9 %: a right weight is doubted once in a thousand looks, and only for a look."""

LEAST_EXPECTED = 5.0
"""So many requests of the smaller share must be expected where the weight before is not known."""


class ObservedShare:
    """A `DataPlane` that counts requests.

    The wished share must lie inside the binomial interval of the observed one, and the share from before outside of
    it: else too few requests have been seen to tell the two apart.
    """

    def __init__(self, counts: Counts, clock: Clock) -> None:
        self._counts, self._clock = counts, clock

    def lacks_routes(self, wish: Wish) -> str:
        return NotSoon(self._lacks_routes(wish))  # requests are counted by scrapes, seconds apart

    def _lacks_routes(self, wish: Wish) -> str:
        if wish.written is None:
            return "nobody knows since when these weights stand: they were not written by meshctl"
        moved = [version for version in wish.weights if wish.weights[version] != wish.before.get(version, 0.0)]
        if wish.before and not moved:
            return ""
        now, since = self._clock.now(), wish.written + SPREAD
        if now <= since:
            return "requests since the write are not counted yet"
        since = max(since, now - WINDOW)
        try:
            found = self._counts(wish.release, since)
        except MeshctlError as error:
            return f"the share of requests cannot be seen: {error}"
        version = min(wish.weights, key=lambda each: (wish.weights[each], each))
        return self._doubt(wish, version, found)

    def _doubt(self, wish: Wish, version: str, found: Mapping[str, int]) -> str:
        total = sum(found.get(each, 0) for each in wish.weights)
        got, wished = found.get(version, 0), wish.weights[version] / FULL
        before = wish.before.get(version, 0.0) / FULL if wish.before else None
        lower, upper = interval(got, total)
        seen = f"{version} got {got} of {total} requests since the write"
        if not lower <= wished <= upper:
            return f"{seen}, which is not {wished:.1%}"
        if before is None and total * min(wished, 1 - wished) < LEAST_EXPECTED and not _settled(wished, total):
            return f"{seen}: too few to see {wished:.1%}"
        if before is not None and before != wished and lower <= before <= upper:
            return f"{seen}: too few to tell {wished:.1%} from {before:.1%}"
        return ""

    def lacks_subsets(self, subsets: Subsets) -> str:
        if subsets.written is not None and self._clock.now() - subsets.written < SUBSET_AFTER:
            seconds = SUBSET_AFTER.total_seconds()
            names = ", ".join(subsets.names)
            return NotSoon(f"nobody can be asked whether the proxies know {names}: it gets {seconds:g} s")
        return ""


def _settled(wished: float, total: int) -> bool:
    """All or nothing needs no rare requests to be seen, only enough of them."""
    return wished in (0.0, 1.0) and total >= Z * Z * LEAST_EXPECTED


def interval(hits: int, total: int, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927; Brown, Cai, DasGupta 2001 recommend it)."""
    if total <= 0:
        return 0.0, 1.0
    share, square = hits / total, z * z
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = z / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    lower = 0.0 if hits == 0 else max(0.0, middle - half)
    return lower, 1.0 if hits == total else min(1.0, middle + half)
