"""What the classic engine remembers between two looks."""

from __future__ import annotations

from dataclasses import dataclass

from .evalues import Counts
from .guards import ServiceLevel, ShareCheck, Silence
from .looks import AbortLook, GateLook
from .totals import Totals


@dataclass(frozen=True, slots=True, eq=False)
class ClassicState:
    """All that the engine remembers.  Opaque to others: keep it with `dump` and `load`.

    ``elapsed_s`` and ``stage`` (counts of both arms, shape ``(2, 2 + buckets)``) are of the present stage entry;
    ``cold`` holds the part of ``stage`` from before the candidate was warm, which latency abort tests leave out.
    ``looked`` and ``proved`` are the shares of the stage at the newest looks.  ``failed`` names the metrics that were
    ever found worse in the run; ``passed`` says whether this entry's gate was passed.
    """

    bounds_ms: tuple[float, ...] | None
    last_end_s: float | None
    first_traffic_s: float | None
    entry: int | None
    stage_is_new: bool
    elapsed_s: float
    stage: Counts
    cold: Counts
    looked: float
    proved: float
    abort_look: AbortLook | None
    gate_look: GateLook | None
    failed: tuple[str, ...]
    passed: bool
    service_level: ServiceLevel
    share_check: ShareCheck
    silence: Silence
    totals: Totals
