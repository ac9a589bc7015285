"""What the load generator counts, on the client's side, and the file in which it says so.

A failed answer counts against the *service* when the service wrote it (``x-served-by``), against the *workload* when
it was inside a replica that died (Envoy's flag ``UC``, or an answer that broke off), and else against the *mesh*:
those are the ones meshctl must never cause.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

from meshctl.core.errors import MeshctlError

_FIRST_MS = 0.5
_GROWTH = math.log(1.05)
BUCKETS = 240
"""Latency buckets: bucket k ends at 0.5 ms x 1.05^k, the last one takes the rest (beyond a minute)."""
DIED_INSIDE = "UC"
NO_CONNECTION = "no connection"
TIMED_OUT = "timed out"


class Arm(msgspec.Struct, rename="camel"):
    """What one version (or one replica) answered; latency in milliseconds, of good answers only."""

    requests: int = 0
    failed: int = 0
    good: int = 0
    sum_ms: float = 0.0
    sum_squares: float = 0.0
    latency: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)

    def add(self, latency_ms: float, *, failed: bool) -> None:
        """Count one answer."""
        self.requests += 1
        if failed:
            self.failed += 1
            return
        self.good += 1
        self.sum_ms += latency_ms
        self.sum_squares += latency_ms * latency_ms
        bucket = math.ceil(math.log(latency_ms / _FIRST_MS) / _GROWTH) if latency_ms > _FIRST_MS else 0
        self.latency[min(bucket, BUCKETS - 1)] += 1

    def plus(self, other: Arm, sign: int = 1) -> Arm:
        """The sum of two arms, or with ``sign`` -1 what came after ``other``."""
        return Arm(
            self.requests + sign * other.requests,
            self.failed + sign * other.failed,
            self.good + sign * other.good,
            self.sum_ms + sign * other.sum_ms,
            self.sum_squares + sign * other.sum_squares,
            [a + sign * b for a, b in zip(self.latency, other.latency, strict=True)],
        )

    @property
    def mean_ms(self) -> float | None:
        return self.sum_ms / self.good if self.good else None

    @property
    def variance(self) -> float | None:
        """Of the latency, in square milliseconds; needs two good answers."""
        if self.good < 2:
            return None
        return max(self.sum_squares - self.sum_ms**2 / self.good, 0.0) / (self.good - 1)

    def quantile_ms(self, share: float) -> float | None:
        """The latency that ``share`` of the good answers kept within, to 5 percent."""
        wanted, seen = share * self.good, 0
        for bucket, count in enumerate(self.latency):
            seen += count
            if count and seen >= wanted:
                return _FIRST_MS * math.exp(_GROWTH * (bucket - 0.5))
        return None


class LoadCounts(msgspec.Struct, rename="camel", kw_only=True):
    """One snapshot.  ``monotonic`` is the machine's steady clock in seconds, the same for all its processes."""

    monotonic: float = 0.0
    final: bool = False
    sent: int = 0
    """Requests that are on their way or back; ``requests`` are back."""
    requests: int = 0
    failed: int = 0
    failed_by_mesh: int = 0
    failed_by_workload: int = 0
    max_lag_ms: float = 0.0
    """How late a request left at most after it was due; latencies count from when it was due."""
    causes: dict[str, int] = msgspec.field(default_factory=dict)
    """Failures that the service did not write, by Envoy's response flags or by what the client saw."""
    replicas: dict[str, Arm] = msgspec.field(default_factory=dict)
    """By ``x-served-by``."""

    def answered(self, status: int, served_by: str | None, flags: str, latency_ms: float) -> None:
        """Count a complete answer."""
        failed = status >= 500 or (served_by is None and status >= 400)
        self.requests += 1
        if served_by is not None:
            self._arm(served_by).add(latency_ms, failed=failed)
        if failed:
            self.failed += 1
            if served_by is None:
                self._not_written(flags or f"status {status}", died=DIED_INSIDE in flags.split(","))

    def broke(self, cause: str, served_by: str | None = None) -> None:
        """Count a request that got no complete answer; ``served_by`` is known when its head had come."""
        self.requests += 1
        self.failed += 1
        if served_by is not None:
            self._arm(served_by).add(0.0, failed=True)
        self._not_written(cause, died=served_by is not None)

    def _not_written(self, cause: str, *, died: bool) -> None:
        self.causes[cause] = self.causes.get(cause, 0) + 1
        if died:
            self.failed_by_workload += 1
        else:
            self.failed_by_mesh += 1

    def _arm(self, served_by: str) -> Arm:
        arm = self.replicas.get(served_by)
        if arm is None:
            arm = self.replicas[served_by] = Arm()
        return arm

    def version(self, version: str | None) -> Arm:
        """All replicas of one version together."""
        return total(arm for name, arm in self.replicas.items() if name.rpartition("/")[0] == version)


def total(arms: Iterable[Arm]) -> Arm:
    """The sum of arms."""
    result = Arm()
    for arm in arms:
        result = result.plus(arm)
    return result


def write(path: Path, counts: LoadCounts) -> None:
    """Put a snapshot where a reader finds it whole or not at all."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(msgspec.json.encode(counts))
    beside.replace(path)


def read(path: Path) -> LoadCounts | None:
    """The newest snapshot; ``None`` before the first one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=LoadCounts)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise MeshctlError(
            f"cannot read the load generator's counts in {path}: {error}",
            hint="the file is written by meshctl.demo.load; does another process write there too?",
        ) from error
