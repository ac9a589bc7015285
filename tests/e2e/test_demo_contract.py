"""The demo as a contract: one command on real Envoy, without a terminal, judged by its exit code and last line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.e2e.world import processes_of, until

pytestmark = pytest.mark.e2e

LONGEST_S = 240


def demo(folder, *words):
    """Start ``meshctl demo`` in ``folder``, its records in ``folder/records``."""
    command = [sys.executable, "-m", "meshctl", "demo", *words, "--folder", str(folder / "records")]
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def play(folder, scenario):
    """The exit code and what the last line says, after nothing was left behind."""
    process = demo(folder, "--scenario", scenario, "--once", "-o", "json", "--rps", "600", "--seed", "1")
    try:
        said, progress = process.communicate(timeout=LONGEST_S)
    finally:
        process.kill()
    assert processes_of(folder / "records") == []
    assert "Traceback" not in progress
    result = json.loads(said.splitlines()[-1])
    assert list(result) == ["kind", "scenario", "phase", "reason", "secondsToVerdict", "stages", "load"]
    assert (result["kind"], result["scenario"]) == ("DemoResult", scenario)
    for stage in result["stages"]:
        assert list(stage) == ["weight", "seconds", "requests", "failed"]
        assert set(stage["requests"]) == set(stage["failed"]) == {"baseline", "candidate"}
    assert list(result["load"]) == ["requests", "failed", "failedByMesh", "failedByWorkload"]
    assert result["load"]["requests"] > 600 * 15
    return process.returncode, result


def test_a_candidate_that_fails_is_taken_back_on_the_first_percent(tmp_path):
    code, result = play(tmp_path, "errors")
    assert code == 10
    assert (result["phase"], result["reason"]) == ("RolledBack", "Regression")
    assert [stage["weight"] for stage in result["stages"]] == [1.0]
    assert 0 < result["secondsToVerdict"] < 120
    assert 0 < result["load"]["failed"] <= 12
    assert result["load"]["failedByMesh"] == result["load"]["failedByWorkload"] == 0


def test_a_good_candidate_is_promoted_and_no_user_notices(tmp_path):
    code, result = play(tmp_path, "good")
    assert (code, result["phase"]) == (0, "Promoted"), result
    assert [stage["weight"] for stage in result["stages"]] == [1.0, 10.0, 50.0, 80.0, 100.0]
    assert result["load"]["failed"] == result["load"]["failedByMesh"] == result["load"]["failedByWorkload"] == 0


def test_ctrl_c_in_the_middle_ends_every_process(tmp_path):
    process = demo(tmp_path, "--scenario", "good")
    try:
        endpoints = tmp_path / "records" / "endpoints.json"
        until(lambda: endpoints.exists() and (tmp_path / "records" / "load-1.1.0.json").exists(), 60, "load")
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        said, progress = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, (said, progress)
    assert "Traceback" not in progress
    assert processes_of(tmp_path / "records") == []
    assert time.monotonic() - began < 20


def test_once_without_a_scenario_is_refused_before_anything_starts(tmp_path):
    process = demo(tmp_path, "--once")
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 2
    assert "--scenario" in said
    assert not (tmp_path / "records").exists()
