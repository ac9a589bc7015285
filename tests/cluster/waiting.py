"""Waiting for a condition, with a time limit and a word about what was waited for; never by the clock alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
LONGEST_PATIENCE = 6.0


def eventually(
    look: Callable[[], Answer],
    within_s: float,
    what: str,
    *,
    despite: tuple[type[Exception], ...] = (),
    detail: Callable[[], str] = str,
) -> Answer:
    """Call ``look`` until its answer is true, and return that answer.

    An exception of ``despite`` counts as not yet.  Raises `AssertionError` with the last answer, or the last
    exception, and ``detail()`` when the time is over.  On a machine with more to do than processors, it is longer.
    """
    began = time.monotonic()
    last: object = None
    while True:
        try:
            answer = look()
            if answer:
                return answer
            last = answer
        except despite as error:
            last = error
        if time.monotonic() > began + within_s * patience():
            raise AssertionError(f"after {within_s:g} s still not: {what}; last seen: {last!r} {detail()}".rstrip())
        time.sleep(0.02)


def patience() -> float:
    """How many processes want each processor, as far as that is more than one: so much longer may something take."""
    return min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), LONGEST_PATIENCE)
