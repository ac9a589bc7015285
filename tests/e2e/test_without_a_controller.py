"""What happens when the controller is gone or hangs: traffic flows, an abort works, the next one goes on."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.e2e.world import NEW, OLD, processes_of, until

pytestmark = pytest.mark.e2e


def at_first_gate(mesh):
    mesh.begin()
    mesh.apply(NEW)
    mesh.reaches("Paused", "ManualGate", weight=10.0)
    return mesh


def test_after_kill_9_traffic_flows_on_and_the_next_controller_takes_over_and_goes_on(mesh):
    """
    Given a run that waits at 10 % for a person
    When the controller is killed, and promote is asked with nobody there
    Then users notice nothing, the request is kept, and the next controller serves it with the same processes
    """
    at_first_gate(mesh)
    before = mesh.pids()
    mesh.kill_controller()
    assert mesh.users.next_counts().failed == 0
    assert "not running" in mesh.run("local", "status").stdout
    assert "no controller runs" in mesh.ask("get", "shop")
    said = mesh.ask("promote", "shop", code=14)
    assert "no controller runs" in said
    assert "The request is stored" in said
    assert mesh.live_weight(NEW) == 10

    mesh.up()
    assert "took over what was left running: envoy" in mesh.log
    mesh.reaches("Progressing", weight=50.0)
    assert mesh.pids() == before
    counts = mesh.users.go()
    assert (counts.failed, counts.causes) == (0, {})


def test_an_abort_needs_no_controller_and_holds_when_the_next_one_comes(mesh):
    at_first_gate(mesh)
    before = mesh.pids()
    mesh.kill_controller()
    said = mesh.ask("abort", "shop", "--reason", "it is 3 a.m.")
    assert "done by this command" in said
    assert mesh.live_weight(NEW) == 0
    candidates = mesh.users.next_counts() and mesh.users.next_counts().version(NEW).requests
    assert mesh.pids() == before
    assert "RolledBack" in mesh.ask("wait", "shop", code=10)

    mesh.up()
    until(lambda: mesh.users.counts.version(OLD).requests > 50 and mesh.users.next_counts())
    assert mesh.live_weight(NEW) == 0
    assert mesh.users.of(NEW) == candidates
    assert mesh.status["reason"] == "Aborted"
    assert mesh.users.go().failed == 0


def test_an_abort_beside_a_controller_that_hangs_waits_two_seconds_for_it_and_then_does_it_itself(mesh):
    at_first_gate(mesh)
    os.kill(mesh.controller().pid, signal.SIGSTOP)
    began = time.monotonic()
    mesh.ask("abort", "shop")
    took = time.monotonic() - began
    assert mesh.live_weight(NEW) == 0
    assert took < 6
    os.kill(mesh.controller().pid, signal.SIGCONT)
    mesh.reaches("RolledBack", "Aborted", weight=0.0)
    assert mesh.live_weight(NEW) == 0
    assert mesh.users.go().failed == 0


def test_down_ends_a_controller_that_hangs_and_what_a_killed_one_left(mesh):
    mesh.begin(rps=20)
    os.kill(mesh.controller().pid, signal.SIGSTOP)
    mesh.users.go()
    assert "is down" in mesh.run("local", "down").stdout
    assert mesh.controller().wait(5) == -signal.SIGKILL
    assert processes_of(mesh.folder) == []

    mesh.up()
    until(lambda: "shop: shop-1 is Promoted (FirstRelease) at 100 %" in mesh.log, what="a line in the log")
    mesh.url()
    mesh.kill_controller()
    assert mesh.pids()
    assert "is down" in mesh.run("local", "down").stdout
    assert processes_of(mesh.folder) == []
    assert "is down" in mesh.run("local", "down").stdout


def test_a_second_controller_is_refused_in_one_message_and_the_first_goes_on(mesh):
    mesh.begin(rps=20)
    for words in (["local", "up"], ["local", "up", "--detach"], ["local", "up", "-f", str(mesh.files)]):
        done = mesh.run(*words)
        assert done.returncode == 13
        assert done.stderr.count("meshctl:") == 1
        assert f"already (process {mesh.controller().pid})" in done.stderr
    assert mesh.users.next_counts().failed == 0


def test_a_controller_in_the_background_is_up_when_the_command_returns(mesh):
    said = mesh.run("local", "up", "-f", str(mesh.files), "--detach").stdout
    assert "controller is up in .meshctl" in said
    assert mesh.url()
    assert "controller is up" in mesh.run("local", "logs", "controller").stdout
    assert mesh.run("local", "down").returncode == 0
    until(lambda: not processes_of(mesh.folder), 5, "the end of every process")
    again = mesh.run("local", "up", "--detach")
    assert again.returncode == 0, again.stderr
    assert mesh.url()


def test_ctrl_c_ends_everything_and_says_so(mesh):
    mesh.up("-f", str(mesh.files))
    mesh.url()
    mesh.controller().send_signal(signal.SIGINT)
    assert mesh.controller().wait(20) == 0
    assert processes_of(mesh.folder) == []
    assert "going down" in mesh.log
    assert "everything has ended" in mesh.log


def test_a_folder_far_below_is_no_trouble_from_any_working_directory(make_mesh, tmp_path):
    mesh = make_mesh()
    deep = tmp_path.joinpath(*["a-rather-long-name-of-a-folder"] * 6)
    (tmp_path / "elsewhere").mkdir()
    mesh.folder, mesh.base = tmp_path / "elsewhere", deep
    mesh.up("-f", "../shop", f"--local={deep}")
    assert mesh.url()
    assert "Promoted" in mesh.run("wait", "shop", f"--local={deep}").stdout
    assert "shop" in mesh.run("local", "status", f"--local=../{deep.relative_to(tmp_path)}").stdout
    assert mesh.run("local", "down", f"--local={deep}").returncode == 0
    until(lambda: not processes_of(deep), 5, "the end of every process")
