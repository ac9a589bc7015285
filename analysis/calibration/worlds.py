"""Simulated traffic of two arms, block by block, from a seeded generator: what the calibration scripts judge."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from meshctl_analysis.blocks import Arm, Block


@dataclass(frozen=True, slots=True)
class Service:
    """A service with lognormal latency.  The candidate's fields say how it differs; from ``bad_from_share`` on."""

    requests_per_second: float
    bounds_ms: tuple[float, ...]
    error_rate: float = 0.0
    median_ms: float = 40.0
    sigma: float = 0.5
    candidate_error_rate: float | None = None
    candidate_time_factor: float = 1.0
    bad_from_share: float = 0.0


def lognormal_law(bounds_ms: tuple[float, ...], median_ms: float, sigma: float) -> np.ndarray:
    """Probability of every bucket, +Inf last."""
    below = ndtr((np.log(bounds_ms) - math.log(median_ms)) / sigma)
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


class World:
    """Traffic at a share that may change from block to block."""

    def __init__(self, service: Service, seed: int, block_s: float = 1.0) -> None:
        self.service, self.block_s, self.now_s = service, block_s, 0.0
        self.random = np.random.default_rng(seed)
        law = lognormal_law(service.bounds_ms, service.median_ms, service.sigma)
        slowed = lognormal_law(service.bounds_ms, service.median_ms * service.candidate_time_factor, service.sigma)
        self.laws = (law, slowed)

    def block(self, share: float) -> Block:
        """The next block, with ``share`` of the traffic on the candidate."""
        service = self.service
        requests = int(self.random.poisson(service.requests_per_second * self.block_s))
        candidate = int(self.random.binomial(requests, share))
        differs = share >= service.bad_from_share
        rate = service.candidate_error_rate if differs else None
        start_s, self.now_s = self.now_s, self.now_s + self.block_s
        return Block(
            start_s=start_s,
            end_s=self.now_s,
            share=share,
            baseline=self._arm(requests - candidate, service.error_rate, self.laws[0]),
            candidate=self._arm(candidate, service.error_rate if rate is None else rate, self.laws[int(differs)]),
            bounds_ms=service.bounds_ms,
        )

    def _arm(self, requests: int, error_rate: float, law: np.ndarray) -> Arm:
        bad = int(self.random.binomial(requests, error_rate))
        return Arm(requests, bad, tuple(int(count) for count in self.random.multinomial(requests - bad, law)))

    def history(self, seconds: float) -> Iterator[Block]:
        """Baseline blocks before the candidate's first traffic."""
        for _ in range(round(seconds / self.block_s)):
            yield self.block(0.0)


def merged(blocks: list[Block]) -> Block:
    """Consecutive blocks as one: the same traffic, scraped less often."""

    def arm(arms: list[Arm]) -> Arm:
        latency = tuple(int(count) for count in np.sum([part.latency for part in arms], axis=0))
        return Arm(sum(part.requests for part in arms), sum(part.bad for part in arms), latency)

    first, last = blocks[0], blocks[-1]
    baseline, candidate = arm([block.baseline for block in blocks]), arm([block.candidate for block in blocks])
    return Block(first.start_s, last.end_s, last.share, baseline, candidate, first.bounds_ms)
