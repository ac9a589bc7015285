"""A release's own metrics from a real Prometheus: exact counts, values of the moment, its own namespace only."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from meshctl.adapters.background import Background
from meshctl.adapters.judge import AnalysisJudge
from meshctl.adapters.kubernetes import connect
from meshctl.adapters.kubernetes.kinds import RELEASE as RELEASE_KIND
from meshctl.core.errors import InvalidInput
from meshctl.core.model import AnalysisSpec, CustomMetric, MetricKind, StageTerms, Verdict, WarmUp
from tests.cluster.installed import SETTINGS, administrator, installed
from tests.cluster.mesh_world import install_definitions
from tests.cluster.scraped import AppExporter, Exporter, OwnPrometheus
from tests.cluster.shop import Shop as ClusterShop
from tests.cluster.test_prometheus import NEW, OLD, PATIENCE_S, RELEASE, Place, Reader
from tests.cluster.waiting import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"
SECOND = timedelta(seconds=1)
ORDERS = CustomMetric(
    "failed-orders",
    MetricKind.COUNTER_RATIO,
    bad='orders_total{result="failed",version="{{version}}"}',
    total='orders_total{version="{{version}}"}',
)
WAITING = CustomMetric("waiting", MetricKind.HISTOGRAM, buckets='waiting_seconds_bucket{version=~"{{version}}"}')
QUEUE = CustomMetric("queue", MetricKind.GAUGE, value='queue_length{version="{{version}}"}', interval=2 * SECOND)
OWN = """warmUp: none
    metrics:
    - name: failed-answers
      kind: counter-ratio
      bad: 'istio_requests_total{reporter="source",response_code=~"5..",destination_version="{{version}}"}'
      total: 'istio_requests_total{reporter="source",destination_version="{{version}}"}'
      tolerance: 1.5
      margin: 4
      harm: 0.05
    - name: slow-answers
      kind: histogram
      buckets: 'istio_request_duration_milliseconds_bucket{reporter="source",destination_version="{{version}}"}'
      dryRun: true"""
"""Errors as a metric of one's own, from series that Istio confines by another label than most."""
TERMS = StageTerms(0, 50.0, 0.05, 1.0, bake=False, comparable=True, max_duration_s=1800.0)


class Shop:
    """One proxy that always works, a pod of each version, and one of the new version in another namespace."""

    def __init__(self, folder: Path, background: Background) -> None:
        self.edge = Exporter("edge-0")
        self.old, self.new = AppExporter("shop-old-0", OLD, "prod"), AppExporter("shop-new-0", NEW, "prod")
        self.foreign = AppExporter("shop-new-1", NEW, "others")
        self.prometheus = OwnPrometheus(folder, [self.edge, self.old, self.new, self.foreign])
        self.place = Place(folder, background, self.edge, self.prometheus)
        for each in (self.old, self.new, self.foreign):
            each.orders(10, failed=1)
            each.waited(0.3, 10)

    def begun(self, *metrics: CustomMetric, **options: object) -> Reader:
        """A reader that counts from now on."""
        self.place.scraped(3)
        analysis = AnalysisSpec(warm_up=WarmUp.NONE, metrics=metrics)
        reader = self.place.reader(**options)  # type: ignore[arg-type]
        reader.release = replace(RELEASE, spec=replace(RELEASE.spec, analysis=analysis))
        for version in (OLD, NEW):
            self.edge.requests(version, 10)
        self.place.scraped(3)
        reader.read(entry=-1)
        reader.read(counts=False)
        self.place.scraped(3)
        return reader

    def verdict(self, reader: Reader, *metrics: CustomMetric) -> Verdict:
        """What the judge says of all blocks so far."""
        _, word = AnalysisJudge().fold("", AnalysisSpec(warm_up=WarmUp.NONE, metrics=metrics), TERMS, reader.blocks)
        return word.verdict

    def end(self) -> None:
        for transport in self.place.transports:
            transport.close()
        self.prometheus.end()
        for each in (self.edge, self.old, self.new, self.foreign):
            each.stop()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed (make cluster)")
    background = Background()
    shop = Shop(tmp_path / "one", background)
    shop.prometheus.start()
    try:
        shop.prometheus.ready()
        yield shop
    finally:
        shop.end()
        background.stop()


def counts(reader: Reader, name: str, entry: int = 0) -> tuple[int, int, int, int]:
    """What was counted of both versions: all and bad of the baseline, of the candidate."""
    found = [each for block in reader.blocks if block.entry == entry for each in block.custom if each.name == name]
    return (
        sum(each.baseline.requests for each in found),
        sum(each.baseline.bad for each in found),
        sum(each.candidate.requests for each in found),
        sum(each.candidate.bad for each in found),
    )


def test_a_counter_ratio_is_counted_exactly_over_a_restart_and_in_its_own_namespace(shop: Shop) -> None:
    reader = shop.begun(ORDERS)
    for _ in range(4):
        shop.old.orders(500, failed=5)
        shop.new.orders(250, failed=100)
        shop.foreign.orders(500, failed=500)
        shop.place.scraped(1)
    reader.until(lambda: counts(reader, "failed-orders") == (2000, 20, 1000, 400), "exact counts")
    shop.new._orders.clear()
    shop.new.orders(7, failed=2)
    reader.until(lambda: counts(reader, "failed-orders") == (2000, 20, 1007, 402), "what came after a restart")
    assert shop.verdict(reader, ORDERS) is Verdict.FAIL
    assert shop.verdict(reader, replace(ORDERS, dry_run=True)) is Verdict.UNDECIDED
    assert reader.last is not None
    assert reader.last.problem is None


def test_where_the_mesh_has_too_many_series_those_of_the_release_are_followed_one_by_one_still(shop: Shop) -> None:
    reader = shop.begun(ORDERS, series_max=8)
    for _ in range(4):
        shop.old.orders(50, failed=1)
        shop.new.orders(25, failed=5)
        shop.edge.requests(OLD, 10)
        shop.edge.requests(NEW, 10)
        shop.place.scraped(1)
    reader.until(lambda: counts(reader, "failed-orders") == (200, 4, 100, 20), "exact counts")
    assert any(block.approximate for block in reader.blocks)


def test_a_histogram_is_counted_exactly_between_its_bounds(shop: Shop) -> None:
    reader = shop.begun(WAITING)
    for _ in range(6):
        shop.old.waited(0.05, 300)
        shop.new.waited(0.05, 100)
        shop.new.waited(1.5, 200)
        shop.foreign.waited(9.0, 500)
        shop.place.scraped(1)
    reader.until(lambda: counts(reader, "waiting") == (1800, 0, 1800, 0), "exact counts")
    found = [each for block in reader.blocks if block.entry == 0 for each in block.custom]
    assert {each.bounds for each in found} == {(0.1, 0.5, 2.0)}
    assert tuple(map(sum, zip(*(each.candidate.latency for each in found), strict=True))) == (600, 0, 1200, 0)
    assert tuple(map(sum, zip(*(each.baseline.latency for each in found), strict=True))) == (1800, 0, 0, 0)
    assert shop.verdict(reader, WAITING) is Verdict.FAIL


def test_a_gauge_is_one_value_in_each_window_and_whoever_reads_later_sees_the_same(shop: Shop) -> None:
    shop.new.queue, shop.foreign.queue = 14.0, 900.0
    reader = shop.begun(QUEUE)
    begin = reader.cursor
    reader.until(lambda: counts(reader, "queue")[2] >= 3, "three windows")
    found = [each for block in reader.blocks if block.entry == 0 for each in block.custom]
    assert all((each.baseline.requests, each.candidate.requests) == (1, 1) for each in found)
    (bounds,) = {each.bounds for each in found}
    below = bounds[found[0].candidate.latency.index(1) - 1]
    assert below < 14.0 <= min([bound for bound in bounds if bound > below], default=900.0)
    later = shop.place.reader()
    later.release, later.cursor = reader.release, begin
    first = [block for block in reader.blocks if block.entry == 0]
    eventually(lambda: (later.read(), len(later.blocks) >= len(first))[1], PATIENCE_S, "the same blocks")
    assert later.blocks[: len(first)] == first


def test_a_version_called_like_a_query_reads_nothing_else(shop: Shop) -> None:
    odd = f'{NEW}",namespace="others'
    shop.begun(ORDERS)
    reader = shop.place.reader(versions=(OLD, odd))
    reader.release = replace(RELEASE, spec=replace(RELEASE.spec, analysis=AnalysisSpec(metrics=(ORDERS,))))
    reader.read(counts=False)
    shop.foreign.orders(500, failed=500)
    shop.place.scraped(4)
    reader.until(lambda: reader.blocks, "blocks")
    assert counts(reader, "failed-orders")[2:] == (0, 0)


def test_the_api_server_takes_them_and_names_what_is_wrong(empty_shop: ClusterShop) -> None:
    install_definitions(empty_shop.cluster)
    api = connect(str(empty_shop.cluster.kubeconfig))
    (example,) = yaml.safe_load_all((EXAMPLES / "kubernetes-own-metrics/release.yaml").read_text(encoding="utf-8"))
    example["metadata"]["namespace"] = empty_shop.namespace
    taken = api.create(RELEASE_KIND, example)
    assert taken["spec"] == example["spec"]

    def told(field: str, value: object) -> str:
        wrong = copy.deepcopy(example)
        wrong["metadata"]["name"] = "other"
        wrong["spec"]["analysis"]["metrics"][0][field] = value
        with pytest.raises(InvalidInput) as refusal:
            api.create(RELEASE_KIND, wrong)
        return str(refusal.value)

    assert "a counter-ratio has bad and total" in told("total", "")
    assert "spec.analysis.metrics[0].interval" in told("interval", "1h")
    assert "must be from 1s to 5m" in told("interval", "1h")
    assert "spec.analysis.metrics[0].kind" in told("kind", "ratio")
    assert "spec.analysis.metrics[0].name" in told("name", "Failed Orders")
    assert "metrics" in told("name", "queue")


def test_a_whole_release_is_taken_back_by_a_metric_of_its_own(namespace: ClusterShop) -> None:
    person, label = administrator(namespace), "--prometheus-namespace-label=destination_service_namespace"
    words = ["--mode", "controller", "--namespaced", "-n", namespace.namespace, "--replicas=1", *SETTINGS, label]
    own = {"tolerance: 1.5, margin: 4, harm: 0.05": "tolerance: 1000, margin: 2000, harm: 0.99", "warmUp: none": OWN}
    namespace.deploy("v3", ERRORS=0.3)
    with installed(namespace.cluster, *words), namespace.load(rps=100) as load:
        person.release("v1", **own)
        person.until(180, phase="Promoted", baseline="v1")
        load.wait_for(200)
        person.release("v3", **own)
        assert person.run("wait", "shop", "--timeout", "5m", timeout_s=400).returncode == 10
        status = person.status()
        assert (status["reason"], status["baseline"]) == ("Regression", "v1")
        assert "failed-answers: " in status["message"]
        (passed,) = [each for each in status["conditions"] if each["type"] == "AnalysisPassed"]
        assert "failed-answers: fail; slow-answers: " in passed["message"]
        assert "(dry run)" in passed["message"]
        assert "failed-answers: v3 " in person.says("describe", "shop")
        assert "the same" in person.says("replay", "shop-2")
