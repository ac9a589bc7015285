"""Latency bounds in milliseconds: where histograms are cut."""

from __future__ import annotations

ISTIO_BOUNDS_MS: tuple[float, ...] = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
"""The buckets of ``istio_request_duration_milliseconds``, up to 10 s."""

EMBEDDED_BOUNDS_MS: tuple[float, ...] = (
    *(1, 2, 3, 4, 5, 7, 10, 14, 20, 25, 30, 40, 50, 60, 75, 90, 110, 140, 180, 230),
    *(300, 400, 550, 750, 1000, 1500, 2500, 4000, 7000, 15000, 30000, 60000),
)
"""32 bounds for whoever may choose: steps of a fifth to a third where most services live (10 ms to 1 s), coarser
outside.  No step is narrower than the 5 % that the latency test tolerates."""
