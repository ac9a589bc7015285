"""What a scenario's outcome says, from made-up runs and counts."""

from __future__ import annotations

import pytest

from meshctl.core.model import Phase, Reason
from meshctl.demo.lines import Lines, opening, summary
from meshctl.demo.result import LoadPoint, StageEntry, demo_result, difference, exit_code
from meshctl.demo.scenarios import SCENARIOS, plan
from meshctl.demo.tally import LoadCounts
from meshctl.demo.view import Entries, Frame, RunView, Step
from tests.demo.doubles import at, at_stage, run


def counts(*, baseline=0, candidate=0, failed=0, **more):
    result = LoadCounts(**more)
    for served_by, number in (("1.0.0/0", baseline), ("1.1.0/1", candidate)):
        for _ in range(number):
            result.answered(200, served_by, "", 40.0)
    for _ in range(failed):
        result.answered(500, "1.1.0/0", "", 40.0)
    return result


ENDED = {"first_traffic_at": at(10), "ended_at": at(21.26)}
POINTS = (
    LoadPoint(at(9.9), counts(baseline=100)),
    LoadPoint(at(18.1), counts(baseline=180, candidate=2)),
    LoadPoint(at(21.2), counts(baseline=200, candidate=12, failed=3)),
    LoadPoint(at(21.7), counts(baseline=205, candidate=13, failed=4)),
    LoadPoint(at(24.5), counts(baseline=300, candidate=13, failed=4)),
)
ENTRIES = (StageEntry(1.0, at(10)), StageEntry(10.0, at(18.2)))


def test_the_demo_result_has_exactly_the_shape_of_the_contract():
    ended = run(phase=Phase.ROLLED_BACK, reason=Reason.REGRESSION, **ENDED)
    assert demo_result("errors", ended, ENTRIES, POINTS, 0).as_json() == {
        "kind": "DemoResult",
        "scenario": "errors",
        "phase": "RolledBack",
        "reason": "Regression",
        "secondsToVerdict": 11.3,
        "stages": [
            {
                "weight": 1.0,
                "seconds": 8.2,
                "requests": {"baseline": 80, "candidate": 2},
                "failed": {"baseline": 0, "candidate": 0},
            },
            {
                "weight": 10.0,
                "seconds": 3.1,
                "requests": {"baseline": 25, "candidate": 15},
                "failed": {"baseline": 0, "candidate": 4},
            },
        ],
        "load": {"requests": 317, "failed": 4, "failedByMesh": 0, "failedByWorkload": 0},
    }


def test_a_run_without_traffic_has_no_time_to_a_verdict_and_no_stages():
    ended = run(phase=Phase.ROLLED_BACK, reason=Reason.NOT_READY, ended_at=at(5))
    result = demo_result("good", ended, (), (), None).as_json()
    assert (result["secondsToVerdict"], result["stages"], result["load"]["requests"]) == (None, [], 0)


@pytest.mark.parametrize(
    ("phase", "code"), [(Phase.PROMOTED, 0), (Phase.ROLLED_BACK, 10), (Phase.HELD, 11), (Phase.PAUSED, 11)]
)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_once_exits_by_how_the_run_ended_whatever_was_expected(phase, code, scenario):
    assert exit_code([demo_result(scenario, run(phase=phase), (), (), None)], once=True) == code


@pytest.mark.parametrize(
    ("good", "errors", "code"),
    [
        (Phase.PROMOTED, Phase.ROLLED_BACK, 0),
        (Phase.ROLLED_BACK, Phase.ROLLED_BACK, 1),
        (Phase.PROMOTED, Phase.PROMOTED, 1),
        (Phase.HELD, Phase.ROLLED_BACK, 1),
    ],
)
def test_the_show_exits_with_zero_only_when_good_was_promoted_and_errors_rolled_back(good, errors, code):
    results = [
        demo_result("good", run(phase=good), (), (), None),
        demo_result("errors", run(phase=errors), (), (), None),
    ]
    assert exit_code(results, once=False) == code


@pytest.mark.parametrize(("losses", "mesh", "workload"), [(0, 3, 0), (1, 1, 2), (None, 1, 2)])
def test_failures_inside_a_dying_replica_are_the_mesh_own_when_none_died_by_another_hand(losses, mesh, workload):
    load = LoadCounts()
    for flags in ("UC", "UC", "UH"):
        load.answered(503, None, flags, 1.0)
    result = demo_result("good", run(), (), (LoadPoint(at(1), load),), losses)
    assert (result.load.failed_by_mesh, result.load.failed_by_workload, result.load.failed) == (mesh, workload, 3)


def test_the_difference_of_equal_arms_is_taken_within_stages_so_that_a_busier_minute_counts_for_both():
    load, points = LoadCounts(), [LoadPoint(at(0), LoadCounts())]
    for stage, (busy, baseline, candidate) in enumerate(((0.0, 900, 100), (30.0, 100, 900))):
        for number in range(1000):
            served_by = "1.0.0/0" if number < baseline else "1.1.0/0"
            extra = 2.0 if served_by == "1.1.0/0" else 0.0
            load.answered(200, served_by, "", 40.0 + busy + extra + number % 10)
        assert candidate == 1000 - baseline
        points.append(
            LoadPoint(at(10 * stage + 10), LoadCounts(replicas={k: v.plus(v, 0) for k, v in load.replicas.items()}))
        )
    entries = (StageEntry(10.0, at(0)), StageEntry(90.0, at(10)))
    result = demo_result("good", run(first_traffic_at=at(0), ended_at=at(20)), entries, points, 0)
    measured = difference(result.stages)
    assert measured.ms == pytest.approx(2.0, abs=0.01)
    assert 0.1 < measured.error_ms < 0.4
    assert "candidate minus baseline +2.00 ms" in str(measured)


def test_no_difference_is_claimed_without_answers_of_both():
    assert difference(demo_result("good", run(), ENTRIES, POINTS[:1], 0).stages) is None


def test_stage_entries_are_noted_once_each_when_the_data_plane_has_them():
    entries = Entries()
    views = [
        at_stage(0, [1.0], at(0), confirmed=0.0, first_traffic_at=None),
        at_stage(0, [1.0], at(0), first_traffic_at=at(2)),
        at_stage(0, [1.0], at(0), first_traffic_at=at(2)),
        at_stage(1, [1.0, 10.0], at(11), confirmed=1.0),
        at_stage(1, [1.0, 10.0], at(11)),
        at_stage(0, [1.0, 10.0], None, weight=0.0, confirmed=0.0, phase=Phase.ROLLED_BACK),
    ]
    for second, seen in enumerate(views):
        entries.see(RunView(at(second), seen))
    assert entries.confirmed == [StageEntry(1.0, at(2)), StageEntry(10.0, at(11))]


def test_lines_are_written_for_changes_and_every_five_seconds_only():
    written = []
    show, good = Lines(written.append), SCENARIOS["good"]
    now = at_stage(0, [1.0], at(0))
    for tenth in range(100):
        show(Frame(good, "1.1.0", Step.RELEASING, tenth / 10, now, LoadCounts(requests=7)))
    show(Frame(good, "1.1.0", Step.RELEASING, 10.1, at_stage(1, [1.0, 10.0], at(10), confirmed=1.0), None, "news"))
    assert written == [
        "   0.0s  good  Progressing at 1 %  requests 7  failed 0 (by the mesh 0)",
        "   5.0s  good  Progressing at 1 %  requests 7  failed 0 (by the mesh 0)",
        "  10.1s  news",
        "  10.1s  good  Progressing at 10 % (live 1 %)",
    ]


def test_the_end_of_a_run_is_told_once():
    written = []
    show = Lines(written.append)
    ended = run(phase=Phase.ROLLED_BACK, reason=Reason.REGRESSION, message="worse", **ENDED)
    for seconds, step in ((1.0, Step.RELEASING), (1.2, Step.RELEASING), (1.4, Step.ENDED)):
        show(Frame(SCENARIOS["errors"], "1.1.0", step, seconds, ended, None))
    assert written == ["   1.0s  errors  RolledBack (Regression): worse"]


def test_the_opening_says_what_differs_from_the_product():
    text = "\n".join(opening(plan(None, once=False), 600.0, 9))
    assert "600 requests a second (seed 9)" in text
    assert "8/8/10/15/3 s" in text
    assert "warmUp" in text


def test_the_summary_names_the_outcome_and_each_stage():
    ended = run(phase=Phase.ROLLED_BACK, reason=Reason.REGRESSION, message="worse", **ENDED)
    text = "\n".join(summary(demo_result("errors", ended, ENTRIES, POINTS, 0)))
    assert "errors: RolledBack (Regression) 11.3 s after its first traffic, as it should.  worse" in text
    assert "at 10 %: 3.1 s, baseline 25 requests (0 failed), candidate 15 (4 failed)" in text
