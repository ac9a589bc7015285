"""What Prometheus tells the judge is what clients saw, on a real mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from meshctl.adapters.background import Background
from meshctl.adapters.clock import SystemClock
from meshctl.adapters.prometheus import PrometheusMetrics, PrometheusSettings, Transport
from meshctl.adapters.secrets import Secrets
from meshctl.core.model import Block, Metadata, Reading, Release, ReleaseSpec
from tests.cluster.cluster import SCRAPE_S
from tests.cluster.shop import Shop
from tests.cluster.telemetry import BUCKETS_MS
from tests.cluster.waiting import eventually

OLD, NEW = "v1", "v2"
PATIENCE_S = 60.0


@dataclass
class Reader:
    """The release ``shop`` at 50 % as the controller reads it."""

    metrics: PrometheusMetrics
    release: Release
    cursor: str = ""
    blocks: list[Block] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def read(self, *, counts: bool = True) -> Reading:
        reading = self.metrics.read(self.release, OLD, NEW, self.cursor, entry=0, weight=50.0, counts=counts)
        self.cursor = reading.cursor
        self.blocks += reading.blocks
        self.problems += [reading.problem] if reading.problem else []
        return reading

    def from_now(self) -> None:
        """Count from now on: the proxies have been scraped after this moment, and durations count as well."""
        self.read(counts=False)
        self.blocks.clear()
        lag_s = self.metrics.settings.histogram_lag_s + 2 * SCRAPE_S
        self.until(
            lambda: self.blocks and (self.blocks[-1].end - self.blocks[0].start).total_seconds() > lag_s,
            "requests and durations count after this moment",
        )

    def totals(self) -> dict[str, tuple[int, int]]:
        """Requests and failures by version."""
        arms = {OLD: [block.baseline for block in self.blocks], NEW: [block.candidate for block in self.blocks]}
        return {name: (sum(arm.requests for arm in each), sum(arm.bad for arm in each)) for name, each in arms.items()}

    def until(self, wanted: Callable[[], object], what: str) -> None:
        def look() -> object:
            self.read()
            return wanted()

        eventually(look, PATIENCE_S, what, detail=lambda: f"{self.totals()} {self.problems[-1:]}")


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background()
    yield made
    made.stop()


@pytest.fixture
def reader(namespace: Shop, background: Background) -> Iterator[Reader]:
    """A reader of a service that has been answering for a while, from now on; nobody asks it any more."""
    namespace.deploy(NEW, ERRORS="0.2")
    namespace.route({OLD: 50, NEW: 50})
    settings = PrometheusSettings(url=namespace.cluster.prometheus.url, scrape_interval_s=SCRAPE_S)
    transport = Transport(settings, Secrets(), background)
    release = Release(Metadata("shop", namespace.namespace), ReleaseSpec(version=NEW, service="shop"))
    found = Reader(PrometheusMetrics(transport, SystemClock()), release)
    with namespace.load(rps=50) as load:
        load.wait_for(50)
    found.read()
    found.until(lambda: len(found.blocks) >= 3, "both versions are scraped")
    wanted = load.counts().requests
    eventually(lambda: scraped(namespace) == (wanted, wanted), PATIENCE_S, "the last durations are scraped too")
    found.from_now()
    assert found.totals() == {OLD: (0, 0), NEW: (0, 0)}
    yield found
    transport.close()


def scraped(namespace: Shop) -> tuple[float, float]:
    """Requests and durations that Prometheus has; Envoy shows the latter later."""
    ask = namespace.cluster.prometheus.value
    names = ("istio_requests_total", "istio_request_duration_milliseconds_count")
    requests, durations = (ask(f'sum({name}{{destination_service="{namespace.host}"}})') for name in names)
    return requests, durations


def test_every_request_of_the_clients_is_counted_for_the_version_that_answered(namespace: Shop, reader: Reader):
    with namespace.load(rps=100) as load:
        load.wait_for(1000)
        for _ in range(3):
            reader.read()
        load.wait_for(300)
    counts = load.counts()
    seen = {version: counts.version(version) for version in (OLD, NEW)}
    wanted = {version: (arm.requests, arm.failed) for version, arm in seen.items()}
    reader.until(lambda: reader.totals() == wanted, f"{wanted} are counted")
    reader.until(lambda: len(reader.blocks) > 2, "one more block ends")
    assert reader.totals() == wanted
    assert counts.failed_by_mesh == 0
    assert seen[NEW].failed > 0
    reader.until(lambda: latencies(reader) == {OLD: seen[OLD].good, NEW: seen[NEW].good}, "each duration is counted")
    assert {block.bounds_ms for block in reader.blocks} == {tuple(map(float, BUCKETS_MS))}


def latencies(reader: Reader) -> dict[str, int]:
    return {
        OLD: sum(sum(block.baseline.latency) for block in reader.blocks),
        NEW: sum(sum(block.candidate.latency) for block in reader.blocks),
    }


def test_requests_that_found_no_pod_count_as_failures_of_the_version_they_were_meant_for(
    namespace: Shop, reader: Reader
):
    with namespace.load(rps=100) as load:
        load.wait_for(100)
        namespace.delete_pods(NEW, grace_s=0)
        load.wait_for(300)
    counts = load.counts()
    assert counts.failed_by_mesh > 0
    # A short block may have too few of those that reached nobody to show whom they were meant for.
    wanted = round(0.6 * counts.failed)
    reader.until(
        lambda: sum(bad for _, bad in reader.totals().values()) >= wanted,
        f"{wanted} failures are counted: {counts.causes}",
    )
    assert reader.totals()[OLD][1] == counts.version(OLD).failed
    assert any("reach no endpoint" in problem for problem in reader.problems)


def test_the_share_that_requests_show_is_the_one_since_the_write(namespace: Shop, reader: Reader):
    namespace.route({OLD: 90, NEW: 10})
    since = datetime.now(UTC)  # noqa: TID251 - the moment at which the weight was seen
    reader.from_now()
    with namespace.load(rps=100) as load:
        load.wait_for(500)
    counts = load.counts()
    wanted = {version: counts.version(version).requests for version in (OLD, NEW)}
    eventually(lambda: reader.metrics.counts(reader.release, since) == wanted, PATIENCE_S, f"{wanted} are seen")
