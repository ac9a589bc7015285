"""The ageing kernel: what a histogram looks like when every request takes longer by a constant factor.

The latency test compares the candidate with the baseline *slowed by the tolerated factor*.  Inside a bucket
latencies are taken to be log-uniform, which is the only approximation of the test; given the kernel all is exact
(design notes ``statistics.md`` section 5; fine steps: ``statistics-2.md`` section 5).
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np

from .evalues import Floats


def _one_step(bounds_ms: tuple[float, ...], factor: float) -> Floats:
    size = len(bounds_ms) + 1
    kernel = np.eye(size)
    moved = 1.0 - 1.0 / factor
    for bucket in range(size - 1):
        if bucket > 0:
            moved = min(1.0, math.log(factor) / math.log(bounds_ms[bucket] / bounds_ms[bucket - 1]))
        kernel[bucket, bucket], kernel[bucket, bucket + 1] = 1.0 - moved, moved
    return kernel


@lru_cache(maxsize=64)
def ageing_kernel(bounds_ms: tuple[float, ...], factor: float) -> Floats:
    """Markov matrix, shape ``(buckets, buckets)``, that slows a histogram (a row vector) by ``factor``.

    From bucket (l, u] the share ``ln factor / ln(u / l)`` moves to the next one, from the first bucket
    ``1 - 1 / factor``; +Inf stays.  A factor wider than the narrowest bucket is applied in equal smaller steps.
    ``bounds_ms`` are strictly increasing upper bounds without +Inf.  Raises ``ValueError`` for ``factor < 1``.

    >>> ageing_kernel((50.0, 100.0, 250.0), 1.05).round(4)[1]
    array([0.    , 0.9296, 0.0704, 0.    ])
    """
    if not factor >= 1.0:
        raise ValueError(f"`factor` must be at least 1, got {factor!r}")
    ratios = [math.log(upper / lower) for lower, upper in pairwise(bounds_ms)]
    steps = max(1, math.ceil(math.log(factor) / min(ratios) - 1e-12)) if ratios else 1
    kernel = np.linalg.matrix_power(_one_step(bounds_ms, factor ** (1.0 / steps)), steps)
    kernel.setflags(write=False)
    return kernel


def aged(counts: Floats, kernel: Floats) -> Floats:
    """``counts`` moved by ``kernel``; summed in a fixed order, so that results do not depend on a BLAS."""
    return np.asarray(np.einsum("i,ij->j", counts, kernel))
