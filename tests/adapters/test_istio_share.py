"""Confirmation by the observed share: only a share that fits the new weight and not the old one counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.istio.confirm import FirstReadable, Subsets, Wish
from meshctl.adapters.istio.mesh import IstioMesh
from meshctl.adapters.istio.share import SPREAD, SUBSET_AFTER, WINDOW, ObservedShare, interval
from meshctl.core.errors import Forbidden, Refused, Unreachable
from meshctl.core.model import Metadata, Release, ReleaseSpec
from tests.adapters.istio_world import IstioWorld

RELEASE = Release(Metadata("shop"), ReleaseSpec("v2", "shop"))
WRITTEN = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Now:
    def __init__(self, seconds: float = 60.0) -> None:
        self.time = WRITTEN + timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self.time


def wish(weight: float, before: float | None, written: datetime | None = WRITTEN) -> Wish:
    return Wish(
        release=RELEASE,
        revision="1/1",
        host="shop.default.svc.cluster.local",
        services=(),
        delegate=False,
        whole=True,
        routes={},
        weights={"v1": 100.0 - weight, "v2": weight},
        before={} if before is None else {"v1": 100.0 - before, "v2": before},
        written=written,
    )


def lacks(weight, before, hits, total, *, seconds=60.0, asked=None):
    def counts(release, since):
        if asked is not None:
            asked.append(since)
        return {"v1": total - hits, "v2": hits}

    return ObservedShare(counts, Now(seconds)).lacks_routes(wish(weight, before))


@pytest.mark.parametrize(
    ("weight", "before", "hits", "total"),
    [
        (1, 0, 1, 100),
        (10, 1, 55, 500),
        (50, 10, 24, 60),
        (0, 50, 0, 50),
        (0, 1, 0, 1200),
        (100, 50, 60, 60),
        (10, None, 50, 500),
        (0, None, 0, 100),
        (1, 1, 0, 0),
    ],
)
def test_a_share_that_fits_only_the_new_weight_is_in_effect(weight, before, hits, total):
    assert lacks(weight, before, hits, total) == ""


@pytest.mark.parametrize(
    ("weight", "before", "hits", "total", "said"),
    [
        (1, 0, 0, 100, "v2 got 0 of 100 requests since the write: too few to tell 1.0% from 0.0%"),
        (10, 1, 5, 500, "which is not 10.0%"),
        (10, 1, 1, 20, "too few to tell 10.0% from 1.0%"),
        (0, 50, 25, 50, "which is not 0.0%"),
        (0, 1, 0, 300, "too few to tell 0.0% from 1.0%"),
        (10, None, 1, 20, "too few to see 10.0%"),
        (0, None, 0, 10, "too few to see 0.0%"),
        (50, 10, 0, 0, "too few to tell"),
    ],
)
def test_a_share_that_fits_the_old_weight_or_nothing_is_not(weight, before, hits, total, said):
    assert said in lacks(weight, before, hits, total)


def test_requests_around_the_write_and_long_ago_are_not_counted():
    asked = []
    assert "not counted yet" in lacks(10, 1, 55, 500, seconds=SPREAD.total_seconds(), asked=asked)
    lacks(10, 1, 55, 500, seconds=10, asked=asked)
    lacks(10, 1, 55, 500, seconds=3600, asked=asked)
    assert asked == [WRITTEN + SPREAD, WRITTEN + timedelta(hours=1) - WINDOW]


def test_weights_of_another_hand_and_silent_metrics_are_not_in_effect():
    plane = ObservedShare(lambda release, since: {}, Now())
    assert "not written by meshctl" in plane.lacks_routes(wish(10, 1, written=None))

    def silent(release, since):
        raise Unreachable("Prometheus does not answer")

    assert "Prometheus does not answer" in ObservedShare(silent, Now()).lacks_routes(wish(10, 1))


def test_a_new_subset_is_given_some_seconds():
    subsets = Subsets(RELEASE, "1", "shop", ("v2",), (), WRITTEN)
    seconds = SUBSET_AFTER.total_seconds()
    assert "it gets 10 s" in ObservedShare(lambda *_: {}, Now(seconds - 1)).lacks_subsets(subsets)
    assert ObservedShare(lambda *_: {}, Now(seconds)).lacks_subsets(subsets) == ""


def test_what_only_time_or_scrapes_can_show_is_not_waited_for():
    world = IstioWorld()
    asked = []

    def counts(release, since):
        asked.append(since)
        return {}

    world.mesh = IstioMesh(world.api, ObservedShare(counts, SystemClock()), SystemClock())
    world.begin()
    began = monotonic()
    with pytest.raises(Refused, match="it gets 10 s"):
        world.apply(10.0)
    revision = world.mesh.read(world.release).revision
    assert not world.mesh.confirm(world.release, revision, 60.0)
    assert monotonic() - began < 2.0
    assert len(asked) <= 4


def test_where_istiod_shows_nothing_the_share_is_asked():
    class Closed:
        def lacks_routes(self, wish):
            raise Forbidden("401")

        lacks_subsets = lacks_routes

    class Open:
        def lacks_routes(self, wish):
            return "asked"

        lacks_subsets = lacks_routes

    for first, said in ((Closed(), "asked"), (Open(), "asked")):
        plane = FirstReadable(first, Open())
        assert plane.lacks_routes(None) == plane.lacks_subsets(None) == said


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_the_interval_holds_the_observed_share_and_shrinks_with_requests(hits, more):
    total = hits + more
    lower, upper = interval(hits, total)
    assert 0.0 <= lower <= upper <= 1.0
    if total:
        assert lower <= hits / total <= upper
        wider = interval(hits * 4, total * 4)
        assert wider[1] - wider[0] <= upper - lower


def test_the_interval_is_wilsons():
    assert interval(10, 100, z=1.96) == pytest.approx((0.0552, 0.1744), abs=1e-4)  # Agresti and Coull 1998
