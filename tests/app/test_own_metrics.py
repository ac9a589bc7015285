"""Metrics of a release's own decide with errors and latency, and are told wherever a run is."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from meshctl.adapters.judge import AnalysisJudge
from meshctl.app.findings import findings_of
from meshctl.app.history import dossier_of
from meshctl.app.queries import release_view
from meshctl.app.replay import replay
from meshctl.cli.picture import render
from meshctl.core.model import (
    AnalysisSpec,
    ArmCounts,
    CustomCounts,
    CustomMetric,
    MetricKind,
    Phase,
    Reason,
    Stage,
    Verdict,
    WarmUp,
)
from meshctl.core.status import as_data, status_of
from tests.app.tick_world import NEW, TickWorld

ORDERS = CustomMetric(
    "failed-orders",
    MetricKind.COUNTER_RATIO,
    bad='orders_total{result="failed",version="{{version}}"}',
    total='orders_total{version="{{version}}"}',
)


WAITING = CustomMetric("waiting", MetricKind.HISTOGRAM, buckets='waiting_bucket{version="{{version}}"}')
QUEUE = CustomMetric("queue", MetricKind.GAUGE, value='queue_length{version="{{version}}"}')
BOUNDS = (1.0, 2.0, 4.0)


class WithOrders:
    """The metrics of the world in memory, and in each block what both versions did by the release's own metric."""

    def __init__(self, inner):
        self._inner = inner
        self.old, self.new = ArmCounts(300, 3), ArmCounts(300, 3)
        self.bounds = ()

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def read(self, release, baseline, candidate, cursor, *, entry, **more):
        reading = self._inner.read(release, baseline, candidate, cursor, entry=entry, **more)
        if not release.spec.analysis.metrics or entry < 0:
            return reading
        name = release.spec.analysis.metrics[0].name
        blocks = (
            replace(block, custom=(CustomCounts(name, block.start, block.end, self.old, self.new, self.bounds),))
            for block in reading.blocks
        )
        return replace(reading, blocks=tuple(blocks))


class Shop(TickWorld):
    """Version 2 comes, judged by the real judge, orders included."""

    def __init__(self, *, new=(300, 3), dry_run=False, metric=ORDERS, old=(300, 3), bounds=()):
        short = timedelta(seconds=5)
        super().__init__(stages=(Stage(50.0, min_duration=short), Stage(100.0, min_duration=short)))
        self.metrics = WithOrders(self.world.metrics)
        self.metrics.old, self.metrics.new, self.metrics.bounds = ArmCounts(*old), ArmCounts(*new), bounds
        self.judge = AnalysisJudge()
        self.ports = replace(self.ports, metrics=self.metrics, judge=self.judge)
        own = AnalysisSpec(warm_up=WarmUp.NONE, metrics=(replace(metric, dry_run=dry_run),))
        self.world.metrics.load(600.0)
        self.wish(NEW, analysis=own)

    def view(self):
        return release_view(self.world.store, "shop", now=self.world.clock.now())


def test_more_failed_orders_alone_take_a_version_back_and_say_so():
    shop = Shop(new=(300, 40))
    shop.tick(40)
    assert (shop.run.phase, shop.run.reason) == (Phase.ROLLED_BACK, Reason.REGRESSION)
    assert "failed-orders: candidate" in shop.run.message or "failed-orders: 2.0.0" in shop.run.message
    assert "more than the tolerated 1.1x the baseline" in shop.run.message


def test_as_many_failed_orders_let_a_good_version_through():
    shop = Shop()
    shop.tick(120)
    assert shop.run.phase is Phase.PROMOTED


@pytest.mark.parametrize("metric", [WAITING, QUEUE], ids=["histogram", "gauge"])
def test_larger_values_alone_take_a_version_back_and_equal_ones_let_it_through(metric):
    usual, more = (100, 0, (60, 30, 8, 2)), (100, 0, (20, 30, 30, 20))
    shop = Shop(metric=metric, old=usual, new=more, bounds=BOUNDS)
    shop.tick(40)
    assert (shop.run.phase, shop.run.reason) == (Phase.ROLLED_BACK, Reason.REGRESSION)
    assert f"{metric.name}: " in shop.run.message
    shop = Shop(metric=metric, old=usual, new=usual, bounds=BOUNDS)
    shop.tick(9)
    assert any(line.startswith(f"{metric.name}: median ") for line in findings_of(shop.view()))
    shop.tick(150)
    assert shop.run.phase is Phase.PROMOTED
    assert replay(dossier_of(shop.world.store, "shop-2"), AnalysisJudge()).same


def test_a_dry_run_takes_nothing_back_and_tells_what_it_would_say():
    shop = Shop(new=(300, 40), dry_run=True)
    shop.tick(10)
    assert shop.run.phase in (Phase.PROGRESSING, Phase.PROMOTED)
    found = shop.run.judgement.metrics["failed-orders"]
    assert (found.alone, found.dry_run) == (Verdict.FAIL, True)
    assert any("Dry run: alone it would say fail, and decides nothing." in line for line in findings_of(shop.view()))


@pytest.mark.parametrize("dry_run", [False, True])
def test_records_hold_them_and_a_replay_derives_them_again(dry_run):
    shop = Shop(new=(300, 40), dry_run=dry_run)
    shop.tick(40)
    records = [each for each in shop.world.store.decisions("shop-2") if (each["judge"] or {}).get("metrics")]
    told = records[-1]["judge"]["metrics"]["failed-orders"]
    assert told["candidate"]["bad"] > told["baseline"]["bad"]
    assert told["alone"] == "fail"
    assert told.get("dryRun", False) is dry_run
    dossier = dossier_of(shop.world.store, "shop-2")
    assert replay(dossier, AnalysisJudge()).findings == ()
    fewer = [
        replace(block, custom=tuple(replace(c, candidate=ArmCounts(300, 3)) for c in block.custom))
        for block in dossier.blocks
    ]
    assert replay(replace(dossier, blocks=tuple(fewer)), AnalysisJudge()).findings


def test_status_and_picture_and_description_name_them():
    shop = Shop(new=(300, 6))
    shop.tick(12)
    view = shop.view()
    assert any(line.startswith("failed-orders: 2.0.0 ") for line in findings_of(view))
    status = as_data(status_of(shop.state))
    words = {each["type"]: each.get("message", "") for each in status["conditions"]}["AnalysisPassed"]
    assert words == f"failed-orders: {shop.run.judgement.metrics['failed-orders'].alone}"
    assert len(json.dumps(status)) < 4096
    screen = Console(width=100, file=io.StringIO())
    screen.print(render(view))
    assert re.search(r"failed-orders +\S+ +\d+ % +alone: undecided", screen.file.getvalue())
