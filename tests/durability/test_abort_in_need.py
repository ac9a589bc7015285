"""``abort`` when nothing else works: no controller, one that hangs, no space, no state that can be read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from meshctl.core.model import Phase
from tests.durability.disks import DISKS
from tests.durability.world import NEW, SHORT, MortalMesh, Verb, at_the_gate, until, watched

pytestmark = pytest.mark.e2e


@pytest.fixture(params=DISKS, ids=lambda kind: kind.__name__)
def disk(request, tmp_path):
    found = request.param(tmp_path / ".meshctl")
    yield found
    found.end()


@pytest.fixture
def mesh(disk, tmp_path):
    found = MortalMesh(tmp_path, SHORT)
    found.begin()
    yield found
    assert found.end() == []


def abort(mesh, disk):
    """Exit code and words of ``meshctl abort shop``."""
    done = subprocess.run(
        [sys.executable, "-m", "meshctl", "abort", "shop", "--reason", "no space", "--local"],
        cwd=mesh.folder,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=disk.for_commands(),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join(done.stderr.split())


def is_down_but_not_stored(mesh, disk, cause):
    code, said = abort(mesh, disk)
    assert mesh.live_weight(NEW) == 0
    assert code == 1, said
    assert "at 0 %" in said
    assert "could not be stored" in said
    assert cause in said, said
    assert "The routes carry the mark" in said
    assert said.count("meshctl: ") == 1


def is_made_up_for(mesh):
    """The state says what the routes say, and the records are whole."""
    until(lambda: mesh.run_of_store().phase is Phase.ROLLED_BACK, 20, "the mark of the routes in the state")
    assert mesh.run_of_store().reason == "Aborted"
    assert mesh.live_weight(NEW) == 0
    assert mesh.chain_is_whole()


def test_an_abort_on_a_full_disk_takes_effect_says_so_and_is_stored_once_there_is_space(mesh, disk):
    """
    Given a run at 50 % and a disk without a free byte
    When it is aborted: with a controller that lives, one that hangs, and none
    Then it is at 0 % at once, the message says that it is and that it could not be stored, and later it is
    """
    with watched(mesh):
        at_the_gate(mesh, NEW)
        controller = mesh.controller().pid
        disk.fill(controller)
        is_down_but_not_stored(mesh, disk, "full")
        disk.make_room(controller)
        is_made_up_for(mesh)

        at_the_gate(mesh, NEW, Verb.RETRY)
        os.kill(controller, signal.SIGSTOP)
        disk.fill(None)
        is_down_but_not_stored(mesh, disk, "full")
        disk.make_room(None)
        os.kill(controller, signal.SIGCONT)
        is_made_up_for(mesh)

        at_the_gate(mesh, NEW, Verb.RETRY)
        mesh.kill_controller()
        disk.fill(None)
        is_down_but_not_stored(mesh, disk, "full")
        disk.make_room(None)
        mesh.up()
        is_made_up_for(mesh)


def test_an_abort_needs_no_state_that_can_be_read(mesh, disk):
    """
    Given a run at 50 % whose controller is gone
    When the state cannot be opened, for want of space for its index, and then because the file is damaged
    Then an abort takes effect by what lies ready beside the routes, and the next controller stores it
    """
    with watched(mesh):
        at_the_gate(mesh, NEW)
        mesh.kill_controller()
        mesh.let_go_of_the_state()
        disk.fill(None)
        is_down_but_not_stored(mesh, disk, "cannot open")
        disk.make_room(None)
        mesh.up()
        is_made_up_for(mesh)

        at_the_gate(mesh, NEW, Verb.RETRY)
        mesh.kill_controller()
        mesh.let_go_of_the_state()
        state = mesh.base / "state.db"
        content = state.read_bytes()
        state.write_bytes(b"no longer a database" * 400)
        is_down_but_not_stored(mesh, disk, "not a SQLite database")
        code, said = abort(mesh, disk)
        assert (code, "at 0 %" in said) == (1, True)
        state.write_bytes(content)
        mesh.up()
        is_made_up_for(mesh)
