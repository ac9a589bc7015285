"""A start that fails leaves alone what runs: whoever mistypes a flag at 3 a.m. has not ended the traffic."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys

import pytest

from meshctl.core.model import Phase
from tests.durability.world import NEW, OLD, SHORT, MortalMesh, Verb, at_the_gate, until, watched

pytestmark = pytest.mark.e2e


@pytest.fixture
def mesh(tmp_path):
    found = MortalMesh(tmp_path, SHORT)
    found.begin()
    yield found
    assert found.end() == []


def refused(mesh, code, message, *words):
    """``meshctl WORDS``: one message, this code, and everything runs on as it did."""
    before = mesh.recorded()
    done = mesh.run(*words)
    assert done.returncode == code, (words, done.stdout + done.stderr)
    assert done.stderr.count("meshctl: ") == 1, done.stderr
    assert message in " ".join(done.stderr.split()), (words, done.stderr)
    assert mesh.recorded() == before
    assert mesh.live_weight(NEW) == 50


def fixed_port(mesh, listen):
    path = mesh.files / "workload.yaml"
    path.write_text(path.read_text().replace("listen: 127.0.0.1:0", f"listen: {listen}"))


def test_a_start_that_fails_leaves_the_traffic_of_before_as_it_flows(mesh):
    """
    Given a run at 50 % whose controller was killed
    When `local up` is tried with a wrong Envoy, a wrong template folder, a port that somebody else has
    Then each says in one message what is wrong, Envoy and replicas run on, and a right start goes on with the run
    """
    with watched(mesh):
        at_the_gate(mesh, NEW)
        mesh.kill_controller()
        refused(mesh, 2, "no executable file there", "local", "up", "--envoy", "/nowhere/envoy")
        refused(mesh, 1, "it ended with status 1", "local", "up", "--envoy", "/bin/false")
        refused(mesh, 1, "The Envoy that runs was left alone", "local", "up", "--envoy", sys.executable)
        refused(mesh, 2, "/nowhere", "local", "up", "--template-dir", "/nowhere")
        templates = mesh.folder / "t" / "istio"
        templates.mkdir(parents=True)
        (templates / "virtualservice.yaml.j2").write_text("{% if %}")
        refused(mesh, 2, "does not parse", "local", "up", "--template-dir", "t")
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            fixed_port(mesh, f"127.0.0.1:{other.getsockname()[1]}")
            refused(mesh, 2, "is in use by another process", "local", "up", "-f", str(mesh.files / "workload.yaml"))
        mesh.write_workload({})
        before = mesh.recorded()
        mesh.up("-f", str(mesh.files / "workload.yaml"))
        assert mesh.recorded() == before
        mesh.ask_quickly(Verb.PROMOTE)
        until(lambda: mesh.run_of_store().phase is Phase.PROMOTED, 30, "the promotion")


DAMAGES = {
    "random bytes": (lambda path: path.write_bytes(os.urandom(20_000)), "the file is not a SQLite database"),
    "nothing left": (lambda path: os.truncate(path, 0), "the file is damaged (it is empty)"),
    "the first half": (lambda path: os.truncate(path, path.stat().st_size // 2 // 4096 * 4096), "damaged"),
    "a newer format": (lambda path: newer(path), "has format 99, this meshctl knows formats up to"),
}


def newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def test_a_state_file_that_cannot_be_used_is_named_and_traffic_flows_on(mesh):
    """Damaged, cut off, or newer: every command says so; with the file restored the run goes on."""
    with watched(mesh):
        at_the_gate(mesh, NEW)
        mesh.kill_controller()
        mesh.let_go_of_the_state()
        path = mesh.base / "state.db"
        good, serving = path.read_bytes(), mesh.recorded()
        for damage, message in DAMAGES.values():
            damage(path)
            for words in (("local", "up"), ("get", "shop", "--local"), ("promote", "shop", "--local")):
                refused(mesh, 1, message, *words)
            for beside in ("", "-wal", "-shm"):
                path.with_name(path.name + beside).unlink(missing_ok=True)
            path.write_bytes(good)
        mesh.up()
        assert mesh.recorded() == serving
        mesh.ask_quickly(Verb.PROMOTE)
        until(lambda: mesh.run_of_store().phase is Phase.PROMOTED, 30, "the promotion")


def test_files_that_a_power_cut_left_empty_are_made_anew(mesh):
    """
    Given a promoted version, and a machine that lost its power: nothing runs, and every file but the state is empty
    When the controller is started
    Then the version that served serves again
    """
    users = mesh.users
    mesh.kill_controller()
    users.go()
    for pid in mesh.recorded().values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not mesh.recorded(), 5, "the end of all")
    emptied = [path for path in mesh.base.rglob("*.json") if path.is_file()]
    assert {"routes", "endpoints", "envoy"} <= {path.parent.name for path in emptied}
    for path in emptied:
        path.write_bytes(b"")
    mesh.up()
    assert mesh.url()
    assert mesh.live_weight(OLD) == 100
    assert len(mesh.recorded()) == 3


def test_an_envoy_that_is_killed_is_back_within_seconds_and_the_run_goes_on(mesh):
    """Nobody can serve while Envoy is gone: those requests are counted as failures of the mesh, and then it is over."""
    at_the_gate(mesh, NEW)
    envoy, before = mesh.recorded()["envoy"], mesh.users.next_counts()
    assert before.failed == 0
    os.kill(envoy, signal.SIGKILL)
    until(lambda: mesh.recorded().get("envoy", envoy) != envoy, 10, "another Envoy")
    until(lambda: mesh.users.counts.replicas[f"{OLD}/0"].good > before.replicas[f"{OLD}/0"].good + 20, 10, "answers")
    lost = mesh.users.next_counts()
    assert 0 < lost.failed == lost.failed_by_mesh + lost.failed_by_workload
    assert lost.failed - before.failed < 100 * 6, "at 100 requests a second, a few seconds long"
    assert mesh.live_weight(NEW) == 50
    mesh.ask_quickly(Verb.PROMOTE)
    until(lambda: mesh.run_of_store().phase is Phase.PROMOTED, 30, "the promotion")
    assert mesh.users.next_counts().failed == lost.failed
