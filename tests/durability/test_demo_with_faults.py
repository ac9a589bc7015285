"""The demo with something going wrong in its middle: no request fails by the mesh.  All of it: bench/faults.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from meshctl.wiring import EmbeddedPlace
from tests.e2e.test_demo_contract import LONGEST_S, demo
from tests.e2e.world import processes_of, until

pytestmark = [pytest.mark.e2e, pytest.mark.long]

RPS = "300"


@pytest.fixture
def played(tmp_path):
    """Starts a scenario; afterwards nothing is left of it."""
    begun = []

    def play(scenario):
        begun.append(demo(tmp_path, "--scenario", scenario, "--once", "-o", "json", "--rps", RPS, "--seed", "1"))
        return begun[0]

    yield play
    for process in begun:
        process.kill()
    subprocess.run([sys.executable, "-m", "meshctl", "local", "down", "--local=records"], cwd=tmp_path, timeout=60)
    assert processes_of(tmp_path / "records") == []


class Outside:
    """The demo's mesh, looked at from outside."""

    def __init__(self, folder):
        self.base = folder / "records"
        self.place = EmbeddedPlace(self.base)
        until(lambda: (self.base / "state.db").exists(), 60, "the state")
        self.store = self.place.store()

    def reach(self, weight):
        def there():
            run = self.store.load("shop").state.run if self.store.names() else None
            return run is not None and run.baseline is not None and run.weight == run.confirmed == weight

        until(there, 120, f"{weight:g} %")

    def replicas(self):
        found = self.place.status()["processes"]
        return {each["key"]: each["pid"] for each in found if each["state"] == "running" and each["key"] != "envoy"}


def result(process):
    said, progress = process.communicate(timeout=LONGEST_S)
    assert "Traceback" not in progress
    found = json.loads(said.splitlines()[-1])
    assert found["load"]["failedByMesh"] == 0, (found, progress)
    return process.returncode, found


def test_a_bad_candidate_is_stopped_though_its_controller_was_killed_at_the_first_percent(played, tmp_path):
    process = played("errors")
    outside = Outside(tmp_path)
    outside.reach(1.0)
    first, before = outside.place.place.holder(), outside.replicas()
    os.kill(first, signal.SIGKILL)
    until(lambda: outside.place.place.holder() not in (None, first), 20, "the next controller")
    assert outside.replicas() == before
    code, found = result(process)
    assert (code, found["phase"], found["reason"]) == (10, "RolledBack", "Regression")
    assert found["load"]["failedByWorkload"] == 0
    assert "took over what was left running: envoy" in (outside.base / "controller.log").read_text()


def test_replicas_that_die_and_an_abort_at_the_first_percent_cost_no_request_by_the_mesh(played, tmp_path):
    process = played("good")
    outside = Outside(tmp_path)
    outside.reach(1.0)
    victims = {key: pid for key, pid in outside.replicas().items() if key.endswith("/0")}
    assert len(victims) == 2
    for pid in victims.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(outside.replicas().get(key, pid) != pid for key, pid in victims.items()), 20, "new replicas")
    done = subprocess.run(
        [sys.executable, "-m", "meshctl", "abort", "shop", "--reason", "a rehearsal", "--local=records"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    code, found = result(process)
    assert (code, found["phase"], found["reason"]) == (10, "RolledBack", "Aborted")
