"""The port `Metrics` on Istio's standard metrics in Prometheus, or in whatever answers like it.

One block per scrape interval, cut on a grid of time that everybody shares, from raw samples: whoever reads the same
stretch later, after a crash or from a CronJob, gets the same blocks.  All instants are Prometheus's own.  Trouble is
told and never guessed around: an answer that is not whole gives no block, and the cursor stays.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from meshctl.adapters.prometheus import cursor as cursors
from meshctl.adapters.prometheus.answers import TooMuch, Trouble
from meshctl.adapters.prometheus.blocks import Blocks
from meshctl.adapters.prometheus.cursor import Cursor
from meshctl.adapters.prometheus.differencing import Grid
from meshctl.adapters.prometheus.empty import why_empty
from meshctl.adapters.prometheus.exact import Stretch, grid_of, read_exactly, slice_ms
from meshctl.adapters.prometheus.observing import observe
from meshctl.adapters.prometheus.own import read_past
from meshctl.adapters.prometheus.questions import Asked, Questions
from meshctl.adapters.prometheus.summed import read_summed
from meshctl.adapters.prometheus.telemetry import Subject
from meshctl.core.errors import Unreachable
from meshctl.core.model import Reading, Release
from meshctl.core.ports import Clock

log = logging.getLogger(__name__)

SKEW_TOLD_S = 5.0
HISTORY_ENTRY = -1


@dataclass(frozen=True, slots=True)
class _Moment:
    """When a reading takes place: Prometheus's time, and how far it is behind ours."""

    now_ms: int
    behind_ms: int


class PrometheusMetrics:
    """Reads what the two versions of a release did.  Safe to use from several threads."""

    def __init__(self, prometheus: Asked, clock: Clock) -> None:
        self.settings = prometheus.settings
        self._prometheus = prometheus
        self._clock = clock
        self._grid: Grid = grid_of(prometheus.settings)

    def read(
        self,
        release: Release,
        baseline: str,
        candidate: str,
        cursor: str,
        *,
        entry: int,
        weight: float,
        counts: bool = True,
    ) -> Reading:
        """The blocks since ``cursor``.  What happened between a write and its confirmation counts nowhere: with
        ``counts`` false the next blocks hold only growth since scrapes after this moment.  Never raises."""
        subject = Subject(release, baseline, candidate, self.settings, release.spec.analysis.metrics)
        before = _known(cursor, baseline, candidate)
        try:
            reading = self._read(subject, cursor, before, entry, weight, counts=counts)
        except Trouble as trouble:
            reading = Reading((), cursor if counts else "", str(trouble))
        except Exception as error:  # whatever it is, the run must hear that there are no metrics
            log.exception("a defect in reading the metrics of Release/%s", release.metadata.name)
            reading = Reading((), cursor if counts else "", f"a defect of meshctl: {type(error).__name__}")
        silence_s = self._silence_s(_known(reading.cursor, baseline, candidate) or before)
        if reading.problem:
            reading = replace(reading, problem=f"metrics of Release/{release.metadata.name}: {reading.problem}")
        return replace(reading, silence_s=silence_s)

    def counts(self, release: Release, since: datetime) -> Mapping[str, int]:
        """How many requests each version answered after an instant of our own clock, ``unknown`` where a request
        reached none: only what certainly ended after it, up to the last scrape.  Raises `Unreachable`."""
        try:
            questions, subject = Questions(self._prometheus), Subject(release, "", "", self.settings)
            moment = self._moment(questions.now_ms())
            since_ms = round(since.timestamp() * 1000) - moment.behind_ms
            return observe(subject, questions, since_ms, moment.now_ms)
        except Trouble as trouble:
            raise Unreachable(f"requests to Release/{release.metadata.name}: {trouble}") from None

    # -------------------------------------------------------------------------------- one reading

    def _read(
        self, subject: Subject, text: str, before: Cursor | None, entry: int, weight: float, *, counts: bool
    ) -> Reading:
        questions = Questions(self._prometheus)
        if before is None or not counts:
            moment, beginning = self._beginning(subject, questions, before)
            if counts and not text and entry == HISTORY_ENTRY and self.settings.history_s:
                return self._history(subject, questions, beginning, moment)
            lost = "the cursor of the metrics was not readable; counting starts anew" if text and counts else None
            return Reading((), cursors.write(beginning), lost)
        moment = self._moment(questions.now_ms())
        if moment.now_ms < before.at_ms - self._grid.lookback_ms:
            return self._anew(subject, questions, before, "the clock of Prometheus went back")
        if moment.now_ms - before.at_ms > self.settings.catch_up_s * 1000 + self._grid.lookback_ms:
            away_s = (moment.now_ms - before.at_ms) / 1000
            return self._anew(subject, questions, before, f"no block was complete for {away_s:.0f} s")
        try:
            stretches = self._stretches(subject, questions, before, moment)
        except TooMuch as trouble:
            if before.summed:
                raise
            return self._anew(subject, questions, before, str(trouble), summed=True)
        blocks = Blocks(entry, weight, before.summed)
        made = [blocks.of(each, stretch.cursor.bounds_ms) for stretch in stretches for each in stretch.blocks]
        own = dict.fromkeys(note for stretch in stretches for note in stretch.notes)
        notes = [*blocks.notes(subject), *own, *_skew(moment), stretches[-1].why]
        following = replace(stretches[-1].cursor, behind_ms=moment.behind_ms)
        kept = text if following.at_ms == before.at_ms else cursors.write(following)
        return Reading(tuple(made), kept, "; ".join(filter(None, notes)) or None)

    def _moment(self, now_ms: int) -> _Moment:
        return _Moment(now_ms, round(self._clock.now().timestamp() * 1000) - now_ms)

    def _beginning(
        self, subject: Subject, questions: Questions, before: Cursor | None, *, summed: bool = False
    ) -> tuple[_Moment, Cursor]:
        """A cursor from which only growth after this moment counts.  Where samples are not seen, one step more keeps
        away from those before it."""
        present = questions.present(subject.everything())
        moment = self._moment(present.now_ms)
        summed = summed or present.series > self.settings.series_max
        cursor = Cursor(
            subject.baseline,
            subject.candidate,
            at_ms=self._grid.ceiling(moment.now_ms) + (self._grid.step_ms if summed else 0),
            cut_ms=moment.now_ms,
            bounds_ms=before.bounds_ms if before else (),
            interval_ms=before.interval_ms if before else 0,
            behind_ms=moment.behind_ms,
            summed=summed,
            own=before.own if before else {},
        )
        return moment, cursor

    def _anew(
        self, subject: Subject, questions: Questions, before: Cursor, why: str, *, summed: bool = False
    ) -> Reading:
        _, beginning = self._beginning(subject, questions, before, summed=summed)
        return Reading((), cursors.write(beginning), f"{why}; counting starts anew")

    def _stretches(self, subject: Subject, questions: Questions, cursor: Cursor, moment: _Moment) -> list[Stretch]:
        """One after the other, until there is no more or no time left; at least one."""
        found: list[Stretch] = []
        while True:
            stretch = self._stretch(subject, questions, cursor, moment)
            if not stretch.blocks and moment.now_ms > cursor.at_ms + slice_ms(self._grid):
                # Nothing in all that time, nor will there be: what comes later does not reach back over it.
                stretch = replace(stretch, cursor=replace(cursor, at_ms=cursor.at_ms + slice_ms(self._grid), mark=""))
            elif not stretch.blocks:
                return [*found, stretch]
            found.append(stretch)
            cursor = stretch.cursor
            if questions.left_s < self.settings.budget_s / 2:
                return found

    def _stretch(self, subject: Subject, questions: Questions, cursor: Cursor, moment: _Moment) -> Stretch:
        if moment.now_ms - cursor.at_ms < self._grid.step_ms + self.settings.settle_s * 1000:
            return Stretch((), cursor)
        read = read_summed if cursor.summed else read_exactly
        stretch = read(subject, questions, cursor, moment.now_ms)
        if stretch.why in ("no series", "no version"):
            return replace(stretch, why=why_empty(subject, questions, moment.now_ms))
        return stretch

    def _history(self, subject: Subject, questions: Questions, beginning: Cursor, moment: _Moment) -> Reading:
        """The baseline's recent past as one block; what cannot be had of it is no trouble, the run has not begun."""
        start = self._grid.floor(moment.now_ms - self.settings.history_s * 1000)
        mesh = replace(subject, own=())
        stretches = self._stretches(mesh, questions, replace(beginning, at_ms=start, cut_ms=0), moment)
        parts = [each for stretch in stretches for each in stretch.blocks]
        following = stretches[-1].cursor
        if not parts:
            return Reading((), cursors.write(beginning), stretches[-1].why or None)
        block = Blocks(HISTORY_ENTRY, 0.0, following.summed).history(parts, following.bounds_ms, self._grid.step_ms)
        own = read_past(subject, questions, following.at_ms)
        block = replace(block, custom=own.past(following.at_ms))
        return Reading((block,), cursors.write(replace(following, behind_ms=moment.behind_ms, own=own.bounds)))

    def _silence_s(self, cursor: Cursor | None) -> float:
        """How long no block may end with everything in order: from a confirmation on, the scrape under way, the one
        that nothing is compared with, and the one that is; and one more that may be lost."""
        interval_ms = max(self._grid.step_ms, cursor.interval_ms if cursor else 0)
        behind_s = max(cursor.behind_ms / 1000, 0.0) if cursor else 0.0
        return 4 * interval_ms / 1000 + self.settings.settle_s + self.settings.lateness_s + behind_s


def _known(text: str, baseline: str, candidate: str) -> Cursor | None:
    cursor = cursors.read(text) if text else None
    return cursor if cursor is not None and (cursor.baseline, cursor.candidate) == (baseline, candidate) else None


def _skew(moment: _Moment) -> list[str]:
    """Nothing is counted wrongly for it; but somebody's clock is, and others may be misled."""
    behind_s = moment.behind_ms / 1000
    if abs(behind_s) < SKEW_TOLD_S:
        return []
    steps = round(abs(behind_s) / SKEW_TOLD_S) * SKEW_TOLD_S
    return [f"the clock of Prometheus is about {steps:.0f} s {'behind' if behind_s > 0 else 'ahead of'} ours"]
