"""One line for each decision, trouble once, and every line about a release says which, in which run and stage."""

from __future__ import annotations

import io
import json
import logging

import pytest

from meshctl.controller.logs import configure
from meshctl.core.model import Phase, Verdict
from tests.controller.parts import Played


@pytest.fixture
def lines(monkeypatch):
    """What was logged since the last call, decoded."""
    stream = io.StringIO()
    logger = logging.getLogger("meshctl")
    before = (logger.handlers, logger.level, logger.propagate)
    monkeypatch.setattr("sys.stderr", stream)
    configure("json")

    def taken():
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return [json.loads(line) for line in text.splitlines()]

    yield taken
    logger.handlers, logger.level, logger.propagate = before


def test_a_run_logs_each_decision_once_and_nothing_in_between(lines):
    played = Played()
    played.rounds(3)
    lines()
    played.release()
    played.until(lambda status: status.phase is Phase.PROMOTED)
    played.rounds(20)
    said = lines()
    recorded = list(played.scene.store.decisions("shop-2"))
    assert [line["message"].removeprefix("shop: ") for line in said] == [each["message"] for each in recorded]
    assert len(said) < 20


def test_every_line_about_a_release_names_release_run_and_stage(lines):
    played = Played(bad=0.05)
    played.rounds(2)
    played.release()
    played.until(lambda status: status.stage == 0)
    played.scene.world.metrics.problem = "Prometheus does not answer"
    played.rounds(3)
    played.scene.world.metrics.problem = ""
    played.until(lambda status: status.phase is Phase.ROLLED_BACK)
    said = lines()
    assert len(said) > 3
    for line in said:
        assert {"time", "level", "message", "release", "run", "stage"} <= line.keys(), line
        assert line["release"] == "shop"
        assert line["message"].startswith("shop: ")
    last = said[-1]
    assert (last["run"], last["stage"], last["phase"], last["reason"]) == ("shop-2", 0, "RolledBack", "Regression")
    assert (last["verdict"], last["weight"], last["actor"]) == (Verdict.FAIL, 0.0, "judge")
    assert {line["level"] for line in said} == {"info", "warning"}


def test_trouble_is_told_once_while_it_lasts_and_again_when_it_comes_back(lines):
    played = Played()
    played.release()
    played.until(lambda status: status.stage == 0)
    lines()
    for _ in range(2):
        played.scene.world.metrics.problem = "Prometheus does not answer"
        played.rounds(8)
        played.scene.world.metrics.problem = ""
        played.rounds(1)
    warnings = [line["message"] for line in lines() if line["level"] == "warning"]
    assert warnings == ["shop: Prometheus does not answer"] * 2


def test_trouble_of_all_belongs_to_no_release(lines):
    played = Played()
    played.mesh.problems = ("Envoy has ended",)
    played.rounds(3)
    troubled = [line for line in lines() if line["level"] == "warning"]
    assert [(line["message"], "release" in line) for line in troubled] == [("Envoy has ended", False)]


def test_a_defect_is_logged_with_its_place_and_the_release_it_met(lines, monkeypatch):
    played = Played()
    played.rounds(1)
    lines()

    def broken(*arguments):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(played.scene.world.mesh, "read", broken)
    played.rounds(12)
    said = lines()
    assert len(said) == 1
    assert "please report it" in said[0]["message"]
    assert "ZeroDivisionError" in said[0]["error"]
    assert (said[0]["release"], said[0]["run"]) == ("shop", "shop-1")


def test_a_name_with_a_line_break_stays_on_one_line(lines):
    logging.getLogger("meshctl.controller").info("%s", "a\nb", extra={"release": "shop", "run": None, "stage": None})
    (line,) = lines()
    assert line["message"] == "a\nb"
    assert (line["run"], line["stage"]) == (None, None)
