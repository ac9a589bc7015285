"""Validation of what the fixed-sample methods are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = Sequence[float] | Sequence[int] | NDArray[np.float64] | NDArray[np.int64]


class InvalidSample(ValueError):
    """A sample, a table of counts or a probability that no test can work on.  The message names the argument."""


def checked_sample(values: Sequence[float] | NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """``values`` as a flat array of finite floats.  Raises `InvalidSample`."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise InvalidSample(f"`{name}` must be a flat list of at least one value")
    if not np.all(np.isfinite(sample)):
        raise InvalidSample(f"`{name}` must hold finite values only, no NaN and no infinity")
    return sample


def checked_counts(counts: Counts, name: str) -> NDArray[np.float64]:
    """``counts`` as a flat array of floats that are not negative and not all zero.  Raises `InvalidSample`."""
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 1 or table.size == 0:
        raise InvalidSample(f"`{name}` must be a flat list of counts, one per bucket")
    if not np.all(np.isfinite(table)) or np.any(table < 0):
        raise InvalidSample(f"`{name}` must hold finite counts that are not negative")
    if not np.any(table > 0):
        raise InvalidSample(f"`{name}` must hold at least one observation")
    return table


def same_buckets(candidate: NDArray[np.float64], baseline: NDArray[np.float64]) -> None:
    """Raise `InvalidSample` unless both arms were counted in the same number of buckets."""
    if len(candidate) != len(baseline):
        raise InvalidSample(
            f"`candidate` has {len(candidate)} buckets and `baseline` {len(baseline)}: must be the same"
        )


def checked_share(value: float, name: str) -> float:
    """``value`` if it lies strictly between 0 and 1.  Raises `InvalidSample`."""
    if not 0 < value < 1:
        raise InvalidSample(f"`{name}` must lie between 0 and 1, found {value}")
    return value


def checked_failures(bad: int, requests: int, name: str) -> None:
    """Raise `InvalidSample` unless 0 <= bad <= requests."""
    if requests < 0 or not 0 <= bad <= requests:
        raise InvalidSample(f"`{name}` must have 0 <= bad <= requests, found {bad} bad of {requests}")
