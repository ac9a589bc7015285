"""Nothing stays behind, however a run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.cluster import needs, netns
from tests.cluster.waiting import eventually

RUN = """
import subprocess, sys
from tests.cluster.netns import Namespace
network = Namespace()
network.open()
(network.folder / "file").write_text("x")
subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(network.name, network.inode, network._reaper.pid, flush=True)
sys.stdin.read(1)
network.close()
"""


@pytest.fixture
def run():
    """Another run of the tests, as far as its network goes: its process, and what it is called."""
    if needs.namespace_missing():
        pytest.skip(needs.namespace_missing())
    process = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    name, inode, reaper = process.stdout.readline().split()
    yield process, name, int(inode), int(reaper)
    process.stdin.close()
    process.stdout.close()
    process.kill()
    process.wait()


def nothing_left(name, inode):
    return name not in netns.existing() and not netns.folder_of(name).exists() and not netns.processes_of(inode)


def test_two_runs_have_networks_of_their_own(run):
    _, name, inode, _ = run
    assert name in netns.existing()
    assert len(netns.processes_of(inode)) == 2
    assert inode != os.stat("/proc/thread-self/ns/net").st_ino


def test_the_end_of_a_run_leaves_nothing(run):
    process, name, inode, _ = run
    process.stdin.write("x")
    process.stdin.flush()
    process.wait(30)
    assert nothing_left(name, inode)


def test_a_run_that_is_killed_leaves_nothing(run):
    process, name, inode, _ = run
    process.kill()
    eventually(lambda: nothing_left(name, inode), 20, "its reaper has cleaned up")


def test_a_run_that_is_killed_with_its_reaper_is_cleaned_up_by_the_next_one(run):
    process, name, inode, reaper = run
    os.kill(reaper, signal.SIGKILL)
    process.kill()
    process.wait()
    assert netns.processes_of(inode)
    netns.clean_up()
    assert nothing_left(name, inode)
