"""The demo as a contract: one command on real Envoy, without a terminal, judged by its exit code and last line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
LONGEST_S = 180


def processes_of(folder):
    """The pids of everything whose command line or environment names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in words:
                found.append(int(entry.name))
    return found


def test_a_candidate_that_fails_much_is_taken_back_and_nothing_stays_behind(tmp_path):
    """
    Given a new version that fails 30 % of its requests
    When the demo releases it under 200 requests a second
    Then it exits with 10, users saw few failures and none of them from the mesh, and no process is left
    """
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "meshctl", "demo", "--scenario", "spike", "--once", "-o", "json"]
    command += ["--rps", "200", "--seed", "1", "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
    assert done.returncode == 10, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert {name: result[name] for name in ("kind", "scenario", "phase", "reason")} == {
        "kind": "DemoResult",
        "scenario": "spike",
        "phase": "RolledBack",
        "reason": "Regression",
    }
    assert 0 < result["secondsToVerdict"] < 60
    assert [stage["weight"] for stage in result["stages"]] == [1.0]
    assert result["load"]["failedByMesh"] == result["load"]["failedByWorkload"] == 0
    assert 0 < result["load"]["failed"] <= 15
    assert (folder / "state.db").exists()
    assert processes_of(folder) == []
