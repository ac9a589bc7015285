"""What a view of a release says, from a world that was really played."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshctl.app.queries import release_view, release_views
from meshctl.app.sums import Follower, quantile
from meshctl.app.views import Progress, Role
from meshctl.core.errors import Refused
from meshctl.core.model import Gate, Stage
from tests.cli import scenes
from tests.cli.scenes import NEW, OLD, Scene


def progress(view):
    return [stage.progress for stage in view.stages]


def test_a_release_that_nobody_looked_at_has_no_versions_and_no_stages():
    view = release_view(scenes.wished().store, "fresh")
    assert (view.run, view.versions, view.stages, view.moment) == (None, (), (), None)
    assert view.status.phase == "Pending"


def test_an_unknown_release_is_refused_by_name():
    with pytest.raises(Refused, match="shap"):
        release_view(Scene().store, "shap")


def test_stages_tell_what_is_done_what_is_now_and_what_is_ahead():
    view = scenes.progressing().view
    assert progress(view) == [Progress.DONE, Progress.DONE, Progress.NOW, Progress.AHEAD, Progress.AHEAD]
    assert view.present.number == 3


def test_seconds_and_requests_of_a_stage_are_the_sums_of_its_blocks():
    scene = scenes.progressing()
    view, state = scene.view, scene.store.load("shop").state
    for stage, terms in zip(view.stages, state.run.entries, strict=False):
        blocks = [block for block in scene.store.blocks(state.run.name) if block.entry == terms.entry]
        assert stage.seconds == sum((block.end - block.start).total_seconds() for block in blocks)
        assert stage.candidate.requests == sum(block.candidate.requests for block in blocks)
        assert stage.baseline.requests == sum(block.baseline.requests for block in blocks)
    assert view.stages[0].candidate.error_rate == 0.0
    assert view.stages[0].candidate.p50_ms == pytest.approx(40.0, abs=1.0)
    assert view.stages[4].candidate.error_rate is None


class Reader:
    """A store that notes how many blocks were read."""

    def __init__(self, store):
        self._store, self.read = store, 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    def blocks(self, run, *, after=0):
        found = self._store.blocks(run, after=after)
        self.read += len(found)
        return found


def test_who_follows_a_release_reads_each_block_once_and_sees_what_everybody_sees():
    scene = scenes.progressing()
    reader, follower = Reader(scene.store), Follower()
    for _ in range(40):
        scene.run(1)
        assert release_view(reader, "shop", follower=follower) == scene.view
    assert reader.read == len(scene.store.blocks("shop-2"))
    scene.put("2.2.0")
    scene.run(10)
    assert release_view(reader, "shop", follower=follower) == scene.view


def test_errors_of_the_candidate_are_counted_where_they_happened():
    view = scenes.regression().view
    assert view.stages[0].candidate.bad == 3
    assert view.stages[0].baseline.bad == 0
    assert progress(view) == [Progress.STOPPED] + [Progress.NOT_REACHED] * 4
    assert view.abort.proved
    assert view.turned_down == NEW


def test_a_promoted_run_has_every_stage_done_and_the_old_version_warm():
    view = scenes.promoted().view
    assert set(progress(view)) == {Progress.DONE}
    assert [(each.version, each.role, each.weight) for each in view.versions] == [
        (NEW, Role.SERVING, 100.0),
        (OLD, Role.WARM, 0.0),
    ]
    assert view.warm == OLD
    assert view.remaining_s is None


def test_a_stage_that_was_jumped_over_is_skipped_not_done():
    scene = scenes.manual()
    scene.ask("promote", reason="seen in staging", full=True)
    scene.run(2)
    assert progress(scene.view)[0] is Progress.DONE
    scene = scenes.Scene((Stage(1.0), Stage(10.0), Stage(50.0), Stage(100.0)))
    scene.put(NEW)
    scene.run(3)
    scene.ask("set-weight", reason="quiet night", weight=50.0)
    scene.run(2)
    assert progress(scene.view) == [Progress.DONE, Progress.SKIPPED, Progress.NOW, Progress.AHEAD]


def test_a_stage_that_was_run_stays_so_when_a_person_goes_back_before_it():
    view = scenes.set_back().view
    found = {stage.stage.weight: stage.progress for stage in view.stages}
    assert found == {
        1.0: Progress.DONE,
        5.0: Progress.STOPPED,
        10.0: Progress.DONE,
        50.0: Progress.DONE,
        80.0: Progress.NOT_REACHED,
        100.0: Progress.NOT_REACHED,
    }


def test_the_gate_of_the_stage_before_is_not_shown_as_this_stages():
    scene = scenes.progressing()
    scene.until(lambda view: view.status.weight == 80)
    assert scene.view.gate is None
    assert scene.view.remaining_s is None
    scene.run(2)
    assert scene.view.remaining_s == pytest.approx(13.0)


def test_evidence_is_told_against_its_thresholds():
    view = scenes.zone().view
    assert view.abort.share == 0.0
    assert view.gate.share == pytest.approx(0.2 / 1.609, abs=0.01)
    assert not view.gate.proved


def test_the_estimate_is_the_longer_of_least_duration_and_planner():
    scene = Scene((Stage(1.0, min_duration=timedelta(seconds=60)), Stage(100.0)))
    scene.put(NEW)
    scene.run(3)
    assert 25.0 < scene.view.remaining_s <= 60.0
    assert scenes.zone().view.remaining_s == 25.0


def test_a_person_who_opens_the_gate_is_not_estimated():
    scene = Scene((Stage(10.0, gate=Gate.MANUAL), Stage(100.0)))
    scene.put(NEW)
    assert scene.run(5).view.remaining_s is None


def test_a_decided_weight_that_is_not_in_effect_yet_shows_both():
    view = scenes.stuck().view
    assert [(each.role, each.weight, each.in_effect) for each in view.versions] == [
        (Role.CANDIDATE, 10.0, 1.0),
        (Role.BASELINE, 90.0, 99.0),
    ]


def test_a_promoted_version_that_another_hand_lowered_says_so():
    view = scenes.meddled().view
    assert view.status.phase == "Promoted"
    assert [(each.version, each.in_effect) for each in view.versions] == [(NEW, 40.0), (OLD, 60.0)]


def test_decisions_carry_who_and_why():
    view = scenes.paused().view
    last = view.decisions[-1]
    assert (last.actor, last.by_person, last.why) == ("anna", True, "waiting for the marketing mail")
    assert [each.number for each in view.decisions] == list(range(1, len(view.decisions) + 1))


def test_requests_that_wait_for_a_tick_are_there():
    scene = scenes.progressing()
    scene.ask("pause", reason="lunch")
    assert [request.verb for request in scene.view.pending] == ["pause"]


def test_earlier_runs_are_told():
    past = scenes.regression().view.past
    assert [(run.name, run.candidate, run.phase) for run in past] == [("shop-1", OLD, "Promoted")]


def test_a_list_tells_every_release_without_reading_its_blocks():
    scene = scenes.progressing()
    view = release_views(scene.store)[0]
    assert view.name == "shop"
    assert view.status.weight == 50
    assert view.decisions == ()
    assert view.gate is not None


def test_the_moment_is_the_callers_or_the_newest_that_is_stored():
    scene = scenes.progressing()
    now = scene.world.clock.now() + timedelta(minutes=5)
    assert release_view(scene.store, "shop", now=now).moment == now
    assert scene.view.moment == scene.world.clock.now()


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((0, 0, 0), 0.5, None),
        ((10, 0, 0), 0.5, 5.0),
        ((0, 10, 0), 0.5, 15.0),
        ((5, 5, 0), 0.5, 10.0),
        ((0, 0, 10), 0.99, 20.0),
        ((98, 0, 2), 0.99, 20.0),
    ],
)
def test_a_quantile_is_linear_in_its_bucket_and_never_beyond_the_last_bound(counts, share, expected):
    assert quantile(counts, (10.0, 20.0), share) == expected
