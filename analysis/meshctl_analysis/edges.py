"""The edge guard: no bets where one arm's counters may lag behind the other's.

When the total of bad or slow requests falls sharply, an incident of both arms has ended.  Counters of one arm that
arrive a little late then look like a regression of that arm.  So no abort bets are made for 20 s (design notes
``statistics-2.md`` section 5): none at all when bad requests fell, none on latency when only slow ones did.  Rare slow
requests fall by chance every few minutes, and error bets must not rest for that.  For errors the guard costs no
validity, since bets are conditional on the total.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .counts import events, trials
from .evalues import Counts

WINDOW_S = 10.0
BLIND_S = 20.0
SLOT_S = 2.0
"""Blocks shorter than this are kept together."""
_SLACK_S = 1e-6
FALL, SIGMAS = 1.5, 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Counts of both arms together over ``seconds``."""

    seconds: float
    counts: Counts


@dataclass(frozen=True, slots=True, eq=False)
class EdgeGuard:
    """What both arms did lately.  Error bets rest for blocks that start before ``errors_until_s``, latency bets for
    those before ``latency_until_s``; ``share`` is the candidate's in the newest block."""

    slots: tuple[Slot, ...] = ()
    errors_until_s: float | None = None
    latency_until_s: float | None = None
    share: float = 0.0

    def betting(self, start_s: float) -> tuple[bool, bool]:
        """Whether errors, and latency, may be bet on in a block that starts at ``start_s``."""
        return _over(self.errors_until_s, start_s), _over(self.latency_until_s, start_s)


def watched(
    guard: EdgeGuard, counts: Counts, start_s: float, seconds: float, share: float, informative: Counts
) -> EdgeGuard:
    """``guard`` after one more block, *before* bets are made on it.

    ``counts`` are of both arms, shape ``(2, 2 + buckets)``; ``informative`` are indices of bounds.  The last 10 s are
    compared with the 10 s before, so that short blocks and long ones see the same edges.  A fall right after the
    candidate's share was lowered is no edge: the windows start anew.
    """
    slots = () if share < guard.share else guard.slots
    slots = _added(slots, counts.sum(axis=0), seconds)
    recent, older = _newest(slots)
    before, _ = _newest(older)
    errors_until_s, latency_until_s = guard.errors_until_s, guard.latency_until_s
    if before:
        errors_fell, slow_fell = _fell(_sum(before), _sum(recent), informative)
        until_s = start_s + max(BLIND_S, 2.0 * seconds)
        if errors_fell and _over(errors_until_s, start_s):
            errors_until_s = until_s
        if (errors_fell or slow_fell) and _over(latency_until_s, start_s):
            latency_until_s = until_s
    # One slot more than both windows: the newest one still grows.
    keep = len(recent) + max(len(before), round(WINDOW_S / SLOT_S)) + 1
    return EdgeGuard(slots[-keep:], errors_until_s, latency_until_s, share)


def _over(until_s: float | None, start_s: float) -> bool:
    return until_s is None or start_s >= until_s - _SLACK_S


def _added(slots: tuple[Slot, ...], counts: Counts, seconds: float) -> tuple[Slot, ...]:
    if slots and slots[-1].seconds + seconds <= SLOT_S + _SLACK_S:
        last = Slot(slots[-1].seconds + seconds, slots[-1].counts + counts)
        return (*slots[:-1], last)
    return (*slots, Slot(seconds, counts))


def _newest(slots: tuple[Slot, ...]) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    """The newest slots that make up a window, and the rest; no window when they are too short together."""
    seconds = 0.0
    for first in range(len(slots) - 1, -1, -1):
        seconds += slots[first].seconds
        if seconds >= WINDOW_S - _SLACK_S:
            return slots[first:], slots[:first]
    return (), ()


def _sum(slots: tuple[Slot, ...]) -> Counts:
    return np.asarray(sum(slot.counts for slot in slots))


def fell(before: int, before_of: int, now: int, now_of: int) -> bool:
    """Whether a total fell sharply: ``before`` events among ``before_of``, then ``now`` among ``now_of``.

    >>> fell(60, 2000, 3, 2000)
    True
    """
    return bool(_fallen(*(np.array([value]) for value in (before, before_of, now, now_of)))[0])


def _fallen(before: Counts, before_of: Counts, now: Counts, now_of: Counts) -> NDArray[np.bool_]:
    ratio = now_of / np.maximum(before_of, 1)
    expected = before * ratio
    return (now < expected / FALL) & (expected - now > SIGMAS * np.sqrt(now + expected * ratio + 1.0))


def _fell(before: Counts, now: Counts, informative: Counts) -> tuple[bool, bool]:
    """Whether bad requests fell, and whether slow ones did at any informative bound."""
    entries = np.concatenate([[0], informative + 1])
    rows = (events(before), trials(before), events(now), trials(now))
    fallen = _fallen(*(row[entries] for row in rows))
    return bool(fallen[0]), bool(fallen[1:].any())
