"""When the capital of an e-process is put at work.

Evidence that is multiplied block by block forgets slowly: a long good past makes a late fault hard to see.  So only
a part of the capital 1 is bet from the start, more at each new stage and some all the time; what is not yet invested
counts as it is.  A schedule that is fixed beforehand keeps the evidence valid (design notes ``statistics.md``
section 3, *restarts*).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Parts of the capital: at the start, at each later stage, and spread evenly over ``spread_s`` seconds."""

    start: float
    stage: float
    spread: float
    spread_s: float

    def tranche(self, invested: float, new_stage: bool, seconds: float) -> float:
        """What is added for a block of ``seconds``; all tranches together are at most 1."""
        first = self.start if invested == 0.0 else self.stage
        wanted = (first if new_stage else 0.0) + self.spread * seconds / self.spread_s
        return min(wanted, 1.0 - invested)


ABORT = Schedule(start=0.5, stage=0.1, spread=0.2, spread_s=1200.0)
GUARD = Schedule(start=0.4, stage=0.1, spread=0.2, spread_s=1200.0)


def gate_schedule(max_duration_s: float) -> Schedule:
    """A gate's evidence starts anew at every stage: most at once, the rest over the stage's longest duration."""
    return Schedule(start=0.8, stage=0.8, spread=0.2, spread_s=max_duration_s)
