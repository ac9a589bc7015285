"""A real Prometheus: what it scraped is counted exactly, whatever happens to it or to what it scrapes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshctl.adapters.background import Background
from meshctl.adapters.clock import SystemClock
from meshctl.adapters.prometheus import PrometheusMetrics, PrometheusSettings, Transport
from meshctl.adapters.secrets import Secrets
from meshctl.core.errors import Unreachable
from meshctl.core.model import Block, Metadata, Reading, Release, ReleaseSpec
from tests.cluster.scraped import Exporter, OwnPrometheus
from tests.cluster.waiting import eventually

OLD, NEW = "2.0.0", "2.1.0"
RELEASE = Release(Metadata("shop", "prod"), ReleaseSpec(version=NEW, service="shop"))
SETTINGS = {"scrape_interval_s": 1.0, "lookback_s": 20.0, "history_s": 0.0, "histogram_lag_s": 0.0}
SETTINGS |= {"settle_s": 0.5, "lateness_s": 1.0}
PATIENCE_S = 30.0


@dataclass
class Reader:
    """Reads on and on from where it was, and adds up."""

    metrics: PrometheusMetrics
    release: Release = RELEASE
    versions: tuple[str, str] = (OLD, NEW)
    cursor: str = ""
    blocks: list[Block] = field(default_factory=list)
    last: Reading | None = None

    def read(self, *, counts: bool = True, entry: int = 0) -> Reading:
        self.last = self.metrics.read(
            self.release, *self.versions, self.cursor, entry=entry, weight=10.0, counts=counts
        )
        self.cursor = self.last.cursor
        self.blocks += self.last.blocks
        return self.last

    def totals(self) -> tuple[int, int, int, int]:
        """Requests and failures of the baseline, then of the candidate, so far."""
        arms = [(block.baseline, block.candidate) for block in self.blocks]
        return (
            sum(old.requests for old, _ in arms),
            sum(old.bad for old, _ in arms),
            sum(new.requests for _, new in arms),
            sum(new.bad for _, new in arms),
        )

    def until(self, wanted: Callable[[], object], what: str) -> None:
        def look() -> object:
            self.read()
            return wanted()

        eventually(look, PATIENCE_S, what, detail=lambda: f"{self.totals()} {self.last}")


@dataclass
class Place:
    """A Prometheus, one exporter, and readers of it."""

    folder: Path
    background: Background
    exporter: Exporter
    prometheus: OwnPrometheus
    transports: list[Transport] = field(default_factory=list)

    def reader(self, url: str = "", versions: tuple[str, str] = (OLD, NEW), **options: object) -> Reader:
        chosen: dict[str, object] = {"url": url or self.prometheus.url, **SETTINGS, **options}
        settings = PrometheusSettings(**chosen)  # type: ignore[arg-type]
        transport = Transport(settings, Secrets(), self.background)
        self.transports.append(transport)
        return Reader(PrometheusMetrics(transport, SystemClock()), versions=versions)

    def scraped(self, times: int = 2) -> None:
        """Wait until the exporter was looked at so often more."""
        wanted = self.exporter.scrapes + times
        eventually(lambda: self.exporter.scrapes >= wanted, PATIENCE_S, f"{times} scrapes")

    def begun(self, **options: object) -> Reader:
        """A reader of a service that both versions have answered for, from now on."""
        reader = self.reader(**options)  # type: ignore[arg-type]
        for version in reader.versions:
            self.exporter.requests(version, 10)
        self.scraped(3)
        reader.read(counts=False)
        self.scraped(3)
        return reader


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed (make cluster)")
    exporter, background = Exporter("edge-0"), Background()
    prometheus = OwnPrometheus(tmp_path / "one", [exporter])
    prometheus.start()
    place = Place(tmp_path, background, exporter, prometheus)
    try:
        prometheus.ready()
        yield place
    finally:
        for transport in place.transports:
            transport.close()
        prometheus.end()
        exporter.stop()
        background.stop()


def test_every_request_is_counted_once_and_the_first_failure_too(place: Place):
    reader = place.begun()
    for count in (7, 0, 3, 90):
        place.exporter.requests(OLD, count, ms=3)
        place.exporter.requests(NEW, 1, code=500)
        place.exporter.requests(NEW, 2, code=503, flags="UF,URX")
        place.exporter.requests(NEW, 5, code=0, flags="DC")
        place.exporter.requests(NEW, 4, ms=60)
        place.scraped(1)
    reader.until(lambda: reader.totals() == (100, 0, 28, 12), "all are counted")
    place.scraped(3)
    reader.read()
    assert reader.totals() == (100, 0, 28, 12)
    latency = [sum(counts) for counts in zip(*(block.candidate.latency for block in reader.blocks), strict=True)]
    assert latency == [0, 0, 16, 0]
    assert {block.bounds_ms for block in reader.blocks} == {(5.0, 25.0, 100.0)}
    assert reader.last is not None
    assert reader.last.problem is None


def test_whoever_reads_later_gets_the_same_blocks(place: Place):
    reader = place.begun()
    begin = reader.cursor
    for number in range(6):
        place.exporter.requests(OLD, number)
        place.exporter.requests(NEW, 1, code=500 if number % 2 else 200)
        place.scraped(1)
        reader.read()
    place.scraped(2)
    reader.read()
    late = place.reader()
    late.cursor = begin
    late.read()
    assert late.blocks[: len(reader.blocks)] == reader.blocks
    assert len(reader.blocks) >= 5


def test_what_happened_before_a_confirmation_counts_nowhere(place: Place):
    reader = place.begun()
    place.exporter.requests(NEW, 50, code=500)
    reader.read(counts=False)
    place.exporter.requests(NEW, 50, code=500)
    place.scraped(1)
    reader.read(counts=False)
    place.scraped(2)
    place.exporter.requests(NEW, 3)
    reader.until(lambda: reader.totals()[2] > 0, "the next requests are counted")
    assert reader.totals() == (0, 0, 3, 0)


def test_counters_that_begin_anew_lose_no_request(place: Place):
    reader = place.begun()
    place.exporter.requests(OLD, 20)
    reader.until(lambda: reader.totals()[0] == 20, "what was before is counted")
    place.exporter.forget()
    place.exporter.requests(OLD, 5)
    place.exporter.requests(NEW, 2, code=500)
    reader.until(lambda: reader.totals() == (25, 0, 2, 2), "what came after is counted")


def test_an_exporter_that_cannot_be_reached_for_a_while_makes_a_longer_block(place: Place):
    reader = place.begun()
    reader.until(lambda: reader.blocks, "blocks come")
    place.exporter.stop()
    reader.until(
        lambda: reader.last and "nothing was scraped since" in (reader.last.problem or ""), "the silence is told"
    )
    place.exporter.requests(OLD, 11)
    place.exporter.start()
    reader.until(lambda: reader.totals()[0] == 11, "what happened meanwhile is counted")
    longest = max((block.end - block.start).total_seconds() for block in reader.blocks)
    assert longest >= 3
    assert all(one.end == two.start for one, two in zip(reader.blocks, reader.blocks[1:], strict=False))


def test_a_prometheus_that_dies_or_freezes_is_told_and_nothing_is_lost(place: Place):
    reader = place.begun(timeout_s=0.5, budget_s=1.0)
    before = reader.cursor
    place.exporter.requests(OLD, 4)
    place.scraped(2)
    place.prometheus.freeze()
    frozen = reader.read()
    assert (frozen.blocks, frozen.cursor) == ((), before)
    assert "gave no whole answer within 0.5 s" in (frozen.problem or "")
    place.prometheus.thaw()
    place.prometheus.kill()
    assert "cannot be reached" in (reader.read().problem or "")
    assert reader.cursor == before
    place.exporter.requests(NEW, 6, code=500)
    place.prometheus.heal()
    reader.until(lambda: reader.totals() == (4, 0, 6, 6), "both are counted")


def test_two_servers_behind_one_address_count_nothing_twice(place: Place):
    second = OwnPrometheus(place.folder / "two", [place.exporter])
    second.start()
    try:
        second.ready()
        reader, other = place.begun(), place.reader(second.url)
        eventually(lambda: not other.read().problem, PATIENCE_S, "the second server has the series")
        total = 0
        for number in range(8):
            place.exporter.requests(OLD, 10)
            total += 10
            place.scraped(2)
            (reader, other)[number % 2].cursor = (reader, other)[1 - number % 2].cursor
            (reader, other)[number % 2].read()
        counted = reader.totals()[0] + other.totals()[0]
        assert 0 < counted <= total
    finally:
        second.end()


def test_more_series_than_can_be_followed_are_summed_up_to_the_same(place: Place):
    reader = place.begun(series_max=1)
    place.scraped(4)
    for count in (7, 3):
        place.exporter.requests(OLD, count, ms=3)
        place.exporter.requests(NEW, 1, code=500)
        place.exporter.requests(NEW, 4, ms=60)
        place.scraped(1)
    reader.until(lambda: reader.totals() == (10, 0, 10, 2), "all are counted")
    place.exporter.forget()
    place.exporter.requests(NEW, 2, code=502)
    place.exporter.requests(OLD, 5)
    reader.until(lambda: reader.totals() == (15, 0, 12, 4), "those after a restart too")
    assert all(block.approximate for block in reader.blocks)
    assert sum(sum(block.candidate.latency) for block in reader.blocks) == 8
    assert reader.last is not None
    assert "counts are approximate" in (reader.last.problem or "")


def test_what_a_version_is_called_reaches_no_other_series(place: Place):
    odd = 'v1",reporter=~".*\\n.*|{}\n#'
    reader = place.begun(versions=(odd, "v2.0"))
    place.exporter.requests(odd, 3)
    place.exporter.requests("v2.0", 2)
    place.exporter.requests("v2x0", 50, code=500)
    reader.until(lambda: reader.totals()[2] == 2, "the requests are counted")
    assert reader.totals() == (3, 0, 2, 0)


def test_the_share_that_is_seen_is_that_of_requests_after_the_moment(place: Place):
    reader = place.begun()
    place.exporter.requests(OLD, 1000)
    place.scraped(2)
    since = datetime.now(UTC)  # noqa: TID251 - the moment of a write
    place.scraped(2)
    place.exporter.requests(OLD, 90)
    place.exporter.requests(NEW, 10)
    place.exporter.requests("unknown", 2, code=503, flags="UH")
    wanted = {OLD: 90, NEW: 10, "unknown": 2}
    metrics = reader.metrics
    eventually(lambda: metrics.counts(RELEASE, since) == wanted, PATIENCE_S, f"{wanted} are seen")
    place.prometheus.kill()
    with pytest.raises(Unreachable, match="cannot be reached"):
        metrics.counts(RELEASE, since)


def test_why_there_is_nothing_is_told_by_what_there_is(place: Place):
    reader = place.reader()
    eventually(lambda: reader.read(), 10, "a cursor")

    def problem(**options: object) -> str:
        asking = place.reader(**options)  # type: ignore[arg-type]
        asking.read()
        place.scraped(3)
        eventually(lambda: asking.read().problem, PATIENCE_S, "a problem is told")
        assert asking.last is not None
        return asking.last.problem or ""

    assert "there is no istio_requests_total of shop.prod: no request was answered yet" in problem()
    place.exporter.requests("v7", reporter="destination")
    place.scraped(2)
    assert "is reported by destination only; reporter is set to source" in problem()
    place.exporter.requests("unknown", 3)
    place.scraped(2)
    assert "does not tell versions apart: destination_version is unknown everywhere" in problem()
    place.exporter.requests("v8", 3)
    place.scraped(2)
    assert "has destination_version v8, not 2.0.0 or 2.1.0" in problem()
