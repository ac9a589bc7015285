"""Blocks as arrays: what was counted, how much of it was slow.

An array of counts has the columns ``requests, bad, latency bucket 0, 1, ...``; both arms together are two rows,
baseline first.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from .blocks import Arm, Block
from .evalues import Counts

BASELINE, CANDIDATE = 0, 1
REQUESTS, BAD, LATENCY = 0, 1, 2


class BlockError(ValueError):
    """A block that contradicts itself or its predecessors; the message names the argument and the rule."""


def _row(name: str, arm: Arm, buckets: int) -> list[int]:
    if arm.requests < 0 or arm.bad < 0 or any(count < 0 for count in arm.latency):
        raise BlockError(f"`{name}` must not hold negative counts, got {arm}")
    if arm.bad > arm.requests:
        raise BlockError(f"`{name}.bad` must not exceed `{name}.requests`, got {arm.bad} of {arm.requests}")
    if buckets and arm.latency and len(arm.latency) != buckets:
        raise BlockError(
            f"`{name}.latency` must have one count per bound and one for +Inf: {buckets}, not {len(arm.latency)}"
        )
    latency = list(arm.latency) if buckets and arm.latency else [0] * buckets
    return [arm.requests, arm.bad, *latency]


def buckets_of(bounds_ms: tuple[float, ...]) -> int:
    """Number of latency buckets: one more than bounds, none where latency is not measured."""
    return len(bounds_ms) + 1 if bounds_ms else 0


def check_bounds(bounds_ms: tuple[float, ...]) -> None:
    """Raise ``BlockError`` unless bounds are positive, finite and strictly increasing."""
    if any(not (math.isfinite(bound) and bound > 0) for bound in bounds_ms) or any(
        lower >= upper for lower, upper in pairwise(bounds_ms)
    ):
        raise BlockError(f"`bounds_ms` must be positive, finite and strictly increasing, got {bounds_ms}")


def counts_of(block: Block) -> Counts:
    """The counts of a block, shape ``(2, 2 + buckets)``.  An arm without a histogram counts as zeros.

    Raises ``BlockError`` when the block's span, share or counts are impossible.
    """
    if not (math.isfinite(block.start_s) and math.isfinite(block.end_s) and block.end_s > block.start_s):
        raise BlockError(f"`end_s` must be after `start_s`, got {block.start_s} to {block.end_s}")
    if not 0.0 <= block.share <= 1.0:
        raise BlockError(f"`share` must be between 0 and 1, got {block.share}")
    buckets = buckets_of(block.bounds_ms)
    rows = [_row("baseline", block.baseline, buckets), _row("candidate", block.candidate, buckets)]
    return np.array(rows, dtype=np.int64)


def events(counts: Counts) -> Counts:
    """Bad requests and, above each bound, slow ones: ``(..., 1 + bounds)``."""
    slow = counts[..., :LATENCY:-1].cumsum(axis=-1)[..., ::-1]
    return np.concatenate([counts[..., BAD : BAD + 1], slow], axis=-1)


def trials(counts: Counts) -> Counts:
    """What ``events`` are a part of: requests for the bad ones, the histogram's own sum for the slow ones."""
    bounds = max(counts.shape[-1] - LATENCY - 1, 0)
    answered = counts[..., LATENCY:].sum(axis=-1, keepdims=True)
    return np.concatenate([counts[..., :1], np.repeat(answered, bounds, axis=-1)], axis=-1)
