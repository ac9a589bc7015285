"""Real runs, judged by the real judge on real Envoy, proved afterwards: here, as a file, and after somebody's hand."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.judge import AnalysisJudge
from meshctl.adapters.run_file import load_export
from meshctl.app.replay import replay
from meshctl.core.errors import InvalidInput
from tests.adapters.test_run_file import closed, numbers
from tests.adapters.test_run_file import opened as opened_dossier
from tests.e2e.world import NEW, OLD, until

pytestmark = pytest.mark.e2e

STAGES = "{weight: 50, minDuration: 5s}, {weight: 100, minDuration: 1s}"


def test_a_real_run_is_proved_here_and_on_another_machine_and_whatever_was_changed_is_found(make_mesh, tmp_path):
    """
    Given a version that fails every fifth request and was taken back
    When its run is listed, replayed, exported, and replayed again where no mesh is
    Then all is the same to the last bit, and any changed number makes it different, in the state file too
    """
    mesh = make_mesh(STAGES, env={"ERRORS": "0.2"})
    mesh.begin(rps=200.0)
    mesh.apply(NEW)
    mesh.reaches("RolledBack", "Regression", weight=0.0, within_s=60)
    assert re.search(r"shop-2 +2\.0\.0 +2\.1\.0 +RolledBack +Regression +50 %", mesh.ask("history", "shop"))
    assert "taken back" in mesh.ask("describe", "shop-2")
    done = mesh.run("replay", "shop-2", "--local", "-o", "json")
    found = json.loads(done.stdout)
    assert (found["same"], found["findings"], found["notes"]) == (True, [], [])
    assert found["judged"] >= 1
    mesh.ask("export", "shop-2", "-o", "run.json")
    assert mesh.ask("replay", "shop-1").startswith("shop-1: the same")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = shutil.move(mesh.folder / "run.json", elsewhere / "run.json")
    assert path.stat().st_size < 65_536
    assert mesh.run("replay", "--file", str(path)).stdout.startswith("shop-2: the same")
    _every_change_is_noticed(path)
    _a_change_in_the_state_file_is_named(mesh)


def _every_change_is_noticed(path):
    dossier, whole = load_export(path)
    assert whole
    judge, data = AnalysisJudge(), opened_dossier(dossier)
    places = sorted((place for place in numbers(data) if place[0] == "record"), key=str)

    @settings(deadline=None, max_examples=60)
    @given(place=st.sampled_from(places), change=st.sampled_from([1, -1, 0.5]))
    def noticed(place, change):
        changed = json.loads(json.dumps(data))
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] += change
        other = path.with_name("changed.json")
        other.write_text(json.dumps(closed(changed, anew=True)))
        try:
            found, _ = load_export(other)
        except InvalidInput:
            return
        assert not replay(found, judge).same

    noticed()


def _a_change_in_the_state_file_is_named(mesh):
    assert mesh.run("local", "down").returncode == 0
    with sqlite3.connect(mesh.base / "state.db") as db:
        number, body = db.execute(
            "SELECT number, body FROM decisions WHERE run = 'shop-2' ORDER BY number DESC LIMIT 1"
        ).fetchone()
        record = json.loads(body)
        record["inputs"]["candidate"]["bad"] -= 1
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        db.execute("UPDATE decisions SET body = ? WHERE run = 'shop-2' AND number = ?", (text, number))
    db.close()
    said = mesh.ask("replay", "shop-2", code=1)
    bad = record["inputs"]["candidate"]["bad"]
    assert f"decision {number}: inputs.candidate.bad is {bad}, it should be {bad + 1}" in said


def test_back_to_a_version_of_earlier_that_is_not_warm_is_a_run_of_its_own(make_mesh):
    """
    Given 2.1.0 serves, promoted by a person, and 2.0.0 is kept warm for no time at all
    When somebody wants 2.0.0 back
    Then the nearest name is offered for a wrong one, a reason is needed, and a run leads there under load
    """
    mesh = make_mesh("{weight: 10, gate: manual, minDuration: 1s}, {weight: 100, minDuration: 1s}", keep_warm="0s")
    mesh.begin()
    mesh.apply(NEW)
    mesh.reaches("Paused", "ManualGate", weight=10.0)
    mesh.ask("promote", "shop")
    mesh.reaches("Promoted", weight=100.0)
    until(lambda: not mesh.pids("shop/v2-0-0/"), 40, "the old replicas to go")

    assert f"Did you mean '{OLD}'?" in mesh.ask("rollback", "shop", "--to", "2.0.1", code=16)
    assert "it serves already" in mesh.ask("rollback", "shop", "--to", NEW, code=16)
    assert "say why with --reason" in mesh.ask("rollback", "shop", "--to", OLD, code=16)
    said = mesh.ask("rollback", "shop", "--to", OLD, "--reason", "orders are lost")
    assert "it is the wish now" in said
    assert f"back from {NEW} to {OLD}" in said
    assert mesh.reaches("Paused", "ManualGate", weight=10.0)["candidate"] == OLD
    mesh.ask("promote", "shop")
    mesh.reaches("Promoted", weight=100.0)
    assert mesh.status["rejected"] == [NEW]
    assert mesh.users.go().failed == 0
    for number in (1, 2, 3):
        assert mesh.ask("replay", f"shop-{number}").startswith(f"shop-{number}: the same")
