"""What the sequential judge is asked about a stage, and all that it remembers of a run."""

from __future__ import annotations

from dataclasses import dataclass

from .abort import AbortEvidence, no_evidence
from .counts import buckets_of
from .dispersion import Dispersion, Singles, undispersed
from .edges import EdgeGuard
from .gates import Gate, closed_gate
from .guards import ServiceLevel, ShareCheck, Silence, service_level_of
from .intervals import no_likelihood
from .known import Known, nothing_known
from .policy import Policy
from .suspicion import Suspicion, unsuspicious
from .totals import Totals, no_totals


@dataclass(frozen=True, slots=True)
class Stage:
    """What the judge must know of one stage entry.

    ``entry`` counts the stage entries of the run.  ``share`` is the candidate's wished share, 0 to 1.  ``beta`` is the
    error probability of the gate (``None``: no gate), ``margin_share`` the share of all traffic that the next stage
    risks.  A ``bake`` has no gate but goes on collecting abort evidence; where the stage is not ``comparable`` (no
    baseline traffic is left) only the guards remain.
    """

    entry: int
    share: float
    beta: float | None
    margin_share: float
    bake: bool
    comparable: bool
    max_duration_s: float

    def __post_init__(self) -> None:
        for name, value, holds, rule in (
            ("entry", self.entry, self.entry >= 0, "zero or more"),
            ("share", self.share, 0.0 <= self.share <= 1.0, "between 0 and 1"),
            ("beta", self.beta, self.beta is None or 0.0 < self.beta < 1.0, "between 0 and 1, or None"),
            ("margin_share", self.margin_share, 0.0 < self.margin_share <= 1.0, "above 0 and at most 1"),
            ("max_duration_s", self.max_duration_s, self.max_duration_s > 0.0, "positive"),
        ):
            if not holds:
                raise ValueError(f"`{name}` must be {rule}, got {value!r}")


@dataclass(frozen=True, slots=True, eq=False)
class SequentialState:
    """All that the judge remembers.  Opaque to others: keep it with ``dump`` and ``load``.

    ``entry`` is the stage entry of the newest block; ``stage_is_new`` until its first traffic; ``seen_in_entry`` counts
    the candidate's requests in it.
    """

    bounds_ms: tuple[float, ...] | None
    last_end_s: float | None
    first_traffic_s: float | None
    entry: int | None
    stage_is_new: bool
    seen_in_entry: int
    known: Known
    abort: AbortEvidence
    gate: Gate
    dispersion: Dispersion
    edge: EdgeGuard
    likelihood: Singles
    service_level: ServiceLevel
    share_check: ShareCheck
    silence: Silence
    suspicion: Suspicion
    totals: Totals


def empty_state(policy: Policy, bounds_ms: tuple[float, ...] | None) -> SequentialState:
    """Nothing seen; sized for ``bounds_ms`` (``None``: the first block will tell)."""
    buckets = buckets_of(bounds_ms or ())
    return SequentialState(
        bounds_ms=bounds_ms,
        last_end_s=None,
        first_traffic_s=None,
        entry=None,
        stage_is_new=False,
        seen_in_entry=0,
        known=nothing_known(buckets),
        abort=no_evidence(buckets),
        gate=closed_gate(buckets),
        dispersion=undispersed(buckets),
        edge=EdgeGuard(),
        likelihood=no_likelihood(),
        service_level=service_level_of(policy),
        share_check=ShareCheck(),
        silence=Silence(),
        suspicion=unsuspicious(),
        totals=no_totals(buckets),
    )
