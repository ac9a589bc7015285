"""Every note is true: what it offers is accepted, and what it says is what the engineer needs."""

from __future__ import annotations

import pytest

from meshctl.app.notes import note_of
from meshctl.app.queries import release_view
from meshctl.core.model import Verb
from tests.cli import scenes

VERBS = {str(verb) for verb in Verb}


@pytest.mark.parametrize("name", scenes.ALL)
def test_what_a_note_offers_is_accepted(name):
    for step in note_of(scenes.ALL[name]().view).steps:
        if step.verb not in VERBS:
            continue
        scene = scenes.ALL[name]()
        scene.ask(step.verb, reason="as the note says" if "--reason" in step.arguments else "")
        scene.run(1)
        answer = scene.store.load("shop").state.acknowledged[-1]
        assert answer.accepted, f"{step.verb}: {answer.message}"


def text(scene, part):
    return " ".join(getattr(note_of(scene.view), part))


@pytest.mark.parametrize("name", scenes.ALL)
def test_every_note_has_a_headline_and_a_plan_and_names_the_candidate(name):
    note = note_of(scenes.ALL[name]().view)
    assert note.headline.endswith(".")
    assert note.plan
    assert "None" not in " ".join((note.headline, *note.why, *note.evidence, *note.change, *note.plan))


def test_between_tolerance_and_margin_it_says_that_nothing_is_proved_and_why_it_may_stay_so():
    scene = scenes.zone()
    assert "Slower by 6 %: neither proved bad nor good" in text(scene, "evidence")
    assert "no amount of traffic need ever decide" in text(scene, "change")
    assert "taken back in 29m" in text(scene, "change")


def test_a_regression_tells_the_numbers_and_that_it_is_not_tried_again():
    scene = scenes.regression()
    note = note_of(scene.view)
    assert note.headline.startswith("2.1.0 was taken back at")
    assert "failed 3 of 60 requests (5.0 %), 2.0.0 0 of 5940" in text(scene, "evidence")
    assert "proved (ln 5.10 of 4.83" in text(scene, "evidence")
    assert "only retry or another version" in text(scene, "change")
    assert [step.verb for step in note.steps] == ["retry", "apply"]


def test_an_outage_of_the_metrics_is_not_blamed_on_the_candidate():
    scene = scenes.held()
    assert "not the candidate's fault" in text(scene, "why")
    assert "still held" in text(scene, "change")
    assert "A regression that is shown" not in text(scene, "change")


def test_a_hold_for_a_person_says_so():
    assert "a person must say how it goes on" in note_of(scenes.inconclusive().view).headline
    assert [step.verb for step in note_of(scenes.inconclusive().view).steps] == ["resume", "promote", "abort"]


def test_a_manual_gate_needs_no_reason():
    steps = note_of(scenes.manual().view).steps
    assert (steps[0].verb, steps[0].arguments) == ("promote", "")


def test_a_pause_names_the_person_and_the_reason():
    assert "by anna: paused at 50 % (waiting for the marketing mail)" in text(scenes.paused(), "why")


def test_a_promoted_release_offers_the_way_back():
    note = note_of(scenes.promoted().view)
    assert note.headline.startswith("All is well: 2.1.0 serves everybody")
    assert [step.verb for step in note.steps] == ["rollback", "apply"]


def test_a_rejected_version_that_is_wished_again_is_explained():
    note = note_of(scenes.turned_down().view)
    assert "2.1.0 is wished, but was rejected earlier" in note.headline
    assert "retry" in [step.verb for step in note.steps]


@pytest.mark.parametrize("scene", [scenes.first_waiting, scenes.first_aborted])
def test_where_no_version_serves_nobody_is_said_to_be_served(scene):
    note = note_of(scene().view)
    everything = " ".join((note.headline, *note.change, *(step.meaning for step in note.steps), *note.plan))
    assert "no version serves" in note.headline
    assert "nobody serves" not in everything
    assert "nothing serves" not in everything
    assert "Users are safe" not in everything


def test_a_wish_that_nobody_has_seen_says_what_is_missing():
    note = note_of(release_view(scenes.wished().store, "fresh"))
    assert "no controller has looked at it yet" in note.headline
    assert note.change
