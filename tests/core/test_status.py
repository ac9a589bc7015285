"""The status of a release: what people, scripts and kstatus read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.model import Acknowledgement, Phase, Reason, ReleaseSpec, ReleaseState, Run, Stage, Verb, Verdict
from meshctl.core.status import STATUS_BYTES_MAX, as_data, needs_person, status_of
from meshctl.core.strategies.canary import terms_of

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
STAGES = (Stage(1.0), Stage(50.0), Stage(100.0))


def run(phase=Phase.PROGRESSING, reason=None, **fields):
    base = Run(
        name="shop-7",
        number=7,
        baseline="2.0.0",
        candidate="2.1.0",
        spec=ReleaseSpec("2.1.0", "shop"),
        stages=STAGES,
        phase=phase,
        started_at=NOON,
        changed_at=NOON + timedelta(seconds=9),
        reason=reason,
        entries=(terms_of(STAGES, 0, 0),),
        weight=1.0,
        confirmed=1.0,
    )
    return replace(base, **fields)


def state(phase=Phase.PROGRESSING, reason=None, **fields):
    return ReleaseState(baseline="2.0.0", run=run(phase, reason, **fields), runs=7, observed_generation=3)


def conditions(found):
    return {condition.type: condition.status for condition in status_of(found).conditions}


def test_a_release_that_nobody_looked_at_is_pending_and_reconciling():
    data = as_data(status_of(ReleaseState()))
    assert data["phase"] == "Pending"
    assert "run" not in data
    assert {each["type"]: each["status"] for each in data["conditions"]} == {"Ready": "False", "Reconciling": "True"}


def test_the_status_says_what_the_run_says():
    data = as_data(status_of(state(waits_for="evidence", message="goes on", verdict=Verdict.UNDECIDED)))
    assert data | {"conditions": []} == {
        "phase": "Progressing",
        "message": "goes on",
        "baseline": "2.0.0",
        "candidate": "2.1.0",
        "run": "shop-7",
        "stage": 0,
        "weight": 1.0,
        "confirmed": 1.0,
        "verdict": "undecided",
        "waitsFor": "evidence",
        "observedGeneration": 3,
        "rejected": [],
        "requests": [],
        "conditions": [],
    }


def test_before_the_first_traffic_there_is_no_stage():
    assert "stage" not in as_data(status_of(state(Phase.PENDING, entries=(), weight=0.0)))


@pytest.mark.parametrize(
    ("phase", "reason", "expected"),
    [
        (Phase.PENDING, None, {"Ready": "False", "Reconciling": "True"}),
        (Phase.PROGRESSING, Reason.EVIDENCE, {"Ready": "False", "Reconciling": "True"}),
        (Phase.PAUSED, Reason.MANUAL_GATE, {"Ready": "False", "Reconciling": "True", "Paused": "True"}),
        (Phase.HELD, Reason.METRICS_OUTAGE, {"Ready": "False", "Reconciling": "True"}),
        (Phase.HELD, Reason.LOWERED_BY_OTHER, {"Ready": "False", "Stalled": "True"}),
        (Phase.HELD, Reason.INCONCLUSIVE, {"Ready": "False", "Stalled": "True"}),
        (Phase.ROLLED_BACK, Reason.ABORTED, {"Ready": "False", "Stalled": "True", "RolledBack": "True"}),
    ],
)
def test_conditions_that_say_something_is_odd_are_absent_when_it_is_not(phase, reason, expected):
    found = conditions(state(phase, reason))
    assert found.pop("AnalysisPassed") == "Unknown"
    assert found == expected


def test_a_promoted_release_is_ready_since_its_end():
    ended = NOON + timedelta(minutes=3)
    found = state(Phase.PROMOTED, Reason.EVIDENCE, weight=100.0, ended_at=ended, verdict=Verdict.PASS)
    assert conditions(found) == {"Ready": "True", "AnalysisPassed": "True"}
    assert as_data(status_of(found))["conditions"][0]["lastTransitionTime"] == "2026-11-23T12:03:00.000Z"


def test_the_status_says_until_when_the_old_version_is_kept_warm():
    until = NOON + timedelta(hours=1)
    found = replace(state(Phase.PROMOTED, Reason.EVIDENCE, weight=100.0), warm="1.9.0", warm_until=until)
    data = as_data(status_of(found))
    assert (data["warm"], data["warmUntil"]) == ("1.9.0", "2026-11-23T13:00:00.000Z")
    assert not {"warm", "warmUntil"} & as_data(status_of(state())).keys()


def test_a_promoted_release_that_another_hand_lowered_is_stalled():
    found = conditions(state(Phase.PROMOTED, Reason.EVIDENCE, weight=40.0, verdict=Verdict.PASS))
    assert (found["Ready"], found["Stalled"]) == ("False", "True")


def test_a_failed_judgement_shows_as_a_condition():
    found = conditions(state(Phase.ROLLED_BACK, Reason.REGRESSION, verdict=Verdict.FAIL))
    assert found["AnalysisPassed"] == "False"


def test_a_first_release_has_no_analysis_to_pass():
    found = state(Phase.PROMOTED, Reason.FIRST_RELEASE, baseline=None, weight=100.0)
    assert "AnalysisPassed" not in conditions(found)


def test_the_time_of_the_last_change_of_phase_wins_where_it_is_known():
    since = NOON + timedelta(seconds=77)
    paused = status_of(state(Phase.PAUSED, Reason.PAUSED_BY_USER), since=since)
    assert next(each.since for each in paused.conditions if each.type == "Paused") == since


def test_only_a_hold_that_ends_by_itself_needs_nobody():
    assert not needs_person(run(Phase.HELD, Reason.NO_TRAFFIC))
    assert needs_person(run(Phase.HELD, Reason.INCONCLUSIVE))
    assert needs_person(run(Phase.PAUSED, Reason.WEIGHT_SET))
    assert not needs_person(run())


def test_a_new_block_of_the_same_kind_changes_nothing_in_the_status():
    later = NOON + timedelta(seconds=50)
    assert status_of(state(evidence_until=NOON)) == status_of(state(evidence_until=later))


def acknowledged(number, message, actor="anna"):
    times = (NOON + timedelta(seconds=each) for each in range(number))
    return tuple(
        Acknowledgement(f"request-{index}", Verb.PAUSE, time, actor, True, message) for index, time in enumerate(times)
    )


def test_the_last_sixteen_requests_are_told():
    found = status_of(replace(state(), acknowledged=acknowledged(40, "paused")))
    assert [word.id for word in found.requests] == [f"request-{index}" for index in range(24, 40)]


def test_long_words_of_old_requests_give_way_before_requests_do():
    found = status_of(replace(state(), acknowledged=acknowledged(16, "because " * 40)))
    assert len(found.requests) == 16
    assert len(found.requests[-1].message) > len(found.requests[0].message)
    assert size(found) <= STATUS_BYTES_MAX


def size(found):
    return len(json.dumps(as_data(found), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())


def test_even_where_every_letter_takes_four_bytes_the_status_fits_and_keeps_its_phase():
    long = "\N{FIRE}" * 600
    found = replace(
        state(Phase.HELD, Reason.INCONCLUSIVE, message=long, waits_for=long, candidate=long, name=long),
        baseline=long,
        acknowledged=acknowledged(16, long, long),
        rejected=(long,) * 20,
    )
    assert size(status_of(found)) <= STATUS_BYTES_MAX
    assert status_of(found).phase is Phase.HELD


words = st.text(max_size=600)


@given(
    message=words,
    waits=words,
    said=words,
    actor=words,
    number=st.integers(0, 20),
    rejected=st.lists(st.text(max_size=80), max_size=12),
)
def test_a_status_never_grows_beyond_its_limit(message, waits, said, actor, number, rejected):
    found = replace(
        state(message=message, waits_for=waits, phase=Phase.HELD, reason=Reason.INCONCLUSIVE),
        acknowledged=acknowledged(number, said, actor),
        rejected=tuple(rejected),
    )
    assert size(status_of(found)) <= STATUS_BYTES_MAX
