"""Numbers as people read them at a glance: spans of time, counts, percent, ratios, proofs."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from meshctl.app.views import EvidenceView


def span(time: float | timedelta) -> str:
    """``8s``, ``2m14s``, ``1h03m``, ``3d02h``."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    if not math.isfinite(seconds):
        return "a very long time"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def about(seconds: float) -> str:
    """An estimate, not finer than it can be: ``about 25s``, ``about 8m``, ``about 3h``."""
    if not math.isfinite(seconds) or seconds > 30 * 86_400:
        return "no end in sight"
    if seconds < 90:
        return f"about {max(5, 5 * math.ceil(seconds / 5))}s"
    if seconds < 5400:
        return f"about {math.ceil(seconds / 60)}m"
    return f"about {seconds / 3600:.0f}h"


def count(number: int) -> str:
    """``987``, ``24.3k``, ``1.2M``: never wider than five signs."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            value = number / size
            return f"{value:.1f}{unit}" if value < 100 else f"{value:.0f}{unit}"
    return str(number)


def percent(share: float | None) -> str:
    """A share as percent with the digits that matter: ``0.02 %``, ``4.4 %``, ``31 %``."""
    if share is None:
        return "-"
    value = 100.0 * share
    digits = 2 if value < 1 else 1 if value < 10 else 0
    return f"{value:.{digits}f} %"


def weight(value: float) -> str:
    """A weight as it was decided: ``0.5 %``, ``10 %``."""
    return f"{value:g} %"


def milliseconds(value: float | None) -> str:
    """A latency without its unit, three digits that matter: ``0.84``, ``41.2``, ``1250``."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def surplus(ratio: float, more: str, less: str) -> str:
    """``slower by 6 %``, ``faster by 3 %``, ``equal``, ``slower by a factor of 4.1``."""
    if not math.isfinite(ratio) or ratio <= 0:
        return f"{more} without bound" if ratio > 0 else f"{less} altogether"
    excess = 100.0 * (ratio - 1.0)
    if abs(excess) < 0.5:
        return "equal"
    if ratio >= 3:
        return f"{more} by a factor of {ratio:.3g}"
    return f"{more if excess > 0 else less} by {abs(excess):.0f} %"


def proof(evidence: EvidenceView) -> str:
    """How far evidence is on its way to a proof."""
    return "proved" if evidence.proved else f"{100 * evidence.share:.0f} % of a proof"


def clock(time: datetime) -> str:
    """``07:40:12``, in UTC."""
    return time.strftime("%H:%M:%S")


def instant(time: datetime) -> str:
    """``2026-11-23 07:40:12 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")
