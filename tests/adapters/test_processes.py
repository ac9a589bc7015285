"""Replicas as processes: started, watched, adopted, drained, ended, and never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshctl.adapters.envoy.files import wait_until
from meshctl.adapters.processes import LocalWorkloads
from meshctl.adapters.supervision import HOME_VARIABLE, Process, ProcessTable, alive, command_digest, end, exit_status
from meshctl.core.errors import InvalidInput, StoreError, Unreachable, WorkloadError
from meshctl.core.model import ReadyReplicas, Workload, WorkloadVersion
from tests.adapters.envoy_world import NEW, OLD, RELEASE, version, workload

START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeEndpoints:
    """Remembers what was published; calls every endpoint healthy."""

    def __init__(self) -> None:
        self.ports: dict[str, list[int]] = {}
        self.reachable = True
        self.full = False
        self.sick = 0

    def publish(self, service: str, version: str, ports: Sequence[int]) -> None:
        if self.full:
            raise StoreError("cannot write the endpoints")
        self.ports[version] = list(ports)

    def healthy(self, service: str, version: str) -> int | None:
        if not self.reachable:
            raise Unreachable("Envoy does not answer")
        return len(self.ports.get(version, ())) - self.sick


class Yard:
    """Workloads with a clock of their own."""

    def __init__(self, base: Path, declared: Workload) -> None:
        self.endpoints = FakeEndpoints()
        self.workloads = LocalWorkloads(base, [declared], self.endpoints)
        self.table = ProcessTable(base)
        self.now = START

    def pass_time(self, seconds: float) -> str:
        self.now += timedelta(seconds=seconds)
        return self.workloads.supervise(self.now)

    def until(self, condition: Callable[[], bool], step_s: float = 0.0) -> None:
        def looked() -> bool:
            self.pass_time(step_s)
            return condition()

        assert wait_until(looked, 5.0, every_s=0.01)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Yard]]:
    made: list[Yard] = []

    def begin(declared: Workload | None = None) -> Yard:
        made.append(Yard(tmp_path / "m", declared or workload({OLD: version(2), NEW: version()})))
        return made[-1]

    yield begin
    for yard in made[-1:]:
        yard.workloads.stop_all()


def sleeper(seconds: str = "60", ignoring: bool = False) -> WorkloadVersion:
    trap = "import signal; signal.signal(15, signal.SIG_IGN);" if ignoring else ""
    return WorkloadVersion((sys.executable, "-c", f"{trap}print('up', flush=True); import time; time.sleep({seconds})"))


def test_replicas_get_their_place_in_the_environment(make: Callable[..., Yard]):
    dump = "import os, time; print(*(os.environ[k] for k in ('HOST','PORT','VERSION','REPLICA','MINE')), flush=True)"
    declared = WorkloadVersion((sys.executable, "-c", dump + "; time.sleep(60)"), 2, {"MINE": "yes"})
    yard = make(workload({OLD: declared}))
    yard.workloads.ensure(RELEASE, OLD)
    ports = yard.endpoints.ports[OLD]
    logs = [yard.table._base / "logs" / f"shop-v2-0-0-{number}.log" for number in (0, 1)]
    yard.until(lambda: all(log.read_text() for log in logs))
    assert [log.read_text() for log in logs] == [f"127.0.0.1 {ports[n]} {OLD} {n} yes\n" for n in (0, 1)]


def test_readiness_is_what_the_mesh_says(make: Callable[..., Yard]):
    yard = make()
    assert yard.workloads.ready(RELEASE, OLD) == ReadyReplicas(0, 2)
    yard.workloads.ensure(RELEASE, OLD)
    assert yard.workloads.ready(RELEASE, OLD) == ReadyReplicas(2, 2)
    yard.endpoints.reachable = False
    assert yard.workloads.ready(RELEASE, OLD) is None


def test_an_undeclared_version_is_an_error_that_names_the_declared_ones(make: Callable[..., Yard]):
    with pytest.raises(InvalidInput, match=r"no version '9.9.9'(?s:.*)Declared: 2.0.0, 2.1.0"):
        make().workloads.ensure(RELEASE, "9.9.9")


def test_a_command_that_dies_at_once_is_told_with_status_and_last_words_and_tried_ever_more_slowly(
    make: Callable[..., Yard],
):
    yard = make(workload({OLD: version(EXIT="7")}))
    yard.workloads.ensure(RELEASE, OLD)
    waits = []
    for _ in range(4):
        yard.until(lambda: not yard.workloads.pids("shop", OLD))
        died = yard.now
        yard.until(lambda: bool(yard.workloads.pids("shop", OLD)), step_s=0.05)
        waits.append((yard.now - died).total_seconds())
    found = yard.workloads.ready(RELEASE, OLD)
    assert found is not None
    assert "ended with exit status 7: this version cannot find its configuration" in found.message
    assert [round(wait, 1) for wait in waits] == [0.2, 0.4, 0.8, 1.6]


def test_a_command_that_does_not_exist_is_a_message_and_no_traceback(make: Callable[..., Yard]):
    yard = make(workload({OLD: WorkloadVersion(("no-such-program",))}))
    yard.workloads.ensure(RELEASE, OLD)
    yard.pass_time(1)
    found = yard.workloads.ready(RELEASE, OLD)
    assert found is not None
    assert found.ready == 0
    assert "cannot execute 'no-such-program': No such file or directory" in found.message


def test_a_killed_replica_is_taken_out_and_started_again_on_its_port(make: Callable[..., Yard]):
    yard = make(workload({OLD: sleeper()}))
    yard.workloads.ensure(RELEASE, OLD)
    ports, victim = yard.endpoints.ports[OLD], yard.workloads.pids("shop", OLD)[0]
    os.kill(victim, signal.SIGKILL)
    yard.until(lambda: yard.endpoints.ports[OLD] == [])
    yard.until(lambda: yard.endpoints.ports[OLD] == ports, step_s=0.1)
    assert yard.workloads.pids("shop", OLD) != [victim]


def test_retiring_takes_out_of_the_pool_first_waits_then_asks_then_insists(make: Callable[..., Yard]):
    yard = make(workload({OLD: sleeper(ignoring=True), NEW: sleeper()}))
    yard.workloads.ensure(RELEASE, OLD)
    yard.workloads.ensure(RELEASE, NEW)
    yard.until(lambda: "up" in (yard.table._base / "logs" / "shop-v2-0-0-0.log").read_text())
    [process] = [entry for key, entry in yard.table.records().items() if "v2-0-0" in key]
    yard.workloads.retire(RELEASE, [NEW])
    assert yard.endpoints.ports == {OLD: [], NEW: yard.endpoints.ports[NEW]}
    yard.pass_time(0)
    assert alive(process), "the workload's drain is 200 ms"
    yard.pass_time(0.25)
    assert alive(process), "it does not listen to SIGTERM"
    yard.pass_time(0.25)
    yard.until(lambda: not alive(process))
    yard.until(lambda: len(yard.table.records()) == 1)
    assert len(yard.workloads.pids("shop", NEW)) == 1


def test_retiring_for_an_older_run_leaves_alone_what_a_later_one_needs(make: Callable[..., Yard]):
    yard = make(workload({OLD: sleeper()}))
    yard.workloads.ensure(RELEASE, OLD, run=8)
    yard.workloads.ensure(RELEASE, OLD, run=7)
    yard.workloads.retire(RELEASE, [], run=7)
    assert len(yard.endpoints.ports[OLD]) == 1
    yard.workloads.retire(RELEASE, [], run=8)
    assert yard.endpoints.ports[OLD] == []


def test_a_version_that_is_wanted_again_while_it_drains_stays(make: Callable[..., Yard]):
    yard = make(workload({OLD: sleeper()}))
    yard.workloads.ensure(RELEASE, OLD)
    before = yard.workloads.pids("shop", OLD)
    yard.workloads.retire(RELEASE, [])
    yard.pass_time(0)
    yard.workloads.ensure(RELEASE, OLD)
    yard.pass_time(10)
    assert yard.workloads.pids("shop", OLD) == before
    assert len(yard.endpoints.ports[OLD]) == 1


def test_a_later_manager_adopts_what_still_is_as_declared(make: Callable[..., Yard]):
    first = make(workload({OLD: sleeper()}))
    first.workloads.ensure(RELEASE, OLD)
    second = make(workload({OLD: sleeper()}))
    assert len(second.workloads.adopt()) == 1
    second.workloads.ensure(RELEASE, OLD)
    assert second.workloads.pids("shop", OLD) == first.workloads.pids("shop", OLD)
    assert second.endpoints.ports[OLD] == first.endpoints.ports[OLD]


def test_a_changed_command_is_started_beside_the_old_one_which_goes_when_the_new_one_is_ready(
    make: Callable[..., Yard],
):
    first = make(workload({OLD: sleeper("60")}))
    first.workloads.ensure(RELEASE, OLD)
    [process] = first.table.records().values()
    second = make(workload({OLD: sleeper("61")}))
    second.endpoints.sick = 1
    second.workloads.ensure(RELEASE, OLD)
    second.workloads.ensure(RELEASE, OLD)
    assert len(second.endpoints.ports[OLD]) == 2, "the old one serves on while the new one is not ready"
    second.endpoints.sick = 0
    second.workloads.ensure(RELEASE, OLD)
    assert len(second.endpoints.ports[OLD]) == 1
    [replacement] = second.workloads.pids("shop", OLD)
    assert replacement != process.pid
    second.pass_time(0)
    second.pass_time(1)
    second.until(lambda: not alive(process))
    second.until(lambda: list(second.table.records()) == ["shop/v2-0-0/0"])


def test_a_wish_for_fewer_replicas_drains_the_last_ones(make: Callable[..., Yard]):
    yard = make(workload({OLD: replace(sleeper(), replicas=3)}))
    yard.workloads.ensure(RELEASE, OLD)
    yard.workloads.wish([workload({OLD: replace(sleeper(), replicas=1)})])
    yard.workloads.ensure(RELEASE, OLD)
    assert len(yard.endpoints.ports[OLD]) == 1


def test_a_version_that_is_declared_no_more_serves_until_it_is_retired(make: Callable[..., Yard]):
    yard = make(workload({OLD: sleeper(), NEW: sleeper()}))
    yard.workloads.ensure(RELEASE, OLD)
    yard.workloads.wish([workload({NEW: sleeper()})])
    yard.pass_time(1)
    assert len(yard.endpoints.ports[OLD]) == 1
    os.kill(yard.workloads.pids("shop", OLD)[0], signal.SIGKILL)
    yard.until(lambda: yard.endpoints.ports[OLD] == [])
    assert yard.pass_time(60) == ""


def test_draining_goes_on_under_a_later_manager(make: Callable[..., Yard]):
    first = make(workload({OLD: sleeper()}))
    first.workloads.ensure(RELEASE, OLD)
    [process] = first.table.records().values()
    first.workloads.retire(RELEASE, [])
    second = make(workload({OLD: sleeper()}))
    second.pass_time(0)
    second.pass_time(1)
    second.until(lambda: not alive(process))
    assert second.endpoints.ports[OLD] == []


def test_a_process_that_was_started_but_not_recorded_is_found_and_ended(make: Callable[..., Yard]):
    yard = make()
    home = str(yard.table._base.resolve())
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env=os.environ | {HOME_VARIABLE: home},
        start_new_session=True,
    )
    other = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env=os.environ | {HOME_VARIABLE: home + "-other"},
        start_new_session=True,
    )
    try:
        yard.workloads.adopt()
        assert stray.wait(5) == -signal.SIGKILL
        assert other.poll() is None, "what belongs to another folder is left alone"
    finally:
        other.kill()
        other.wait(5)


def test_what_cannot_be_published_is_published_at_a_later_look(make: Callable[..., Yard]):
    yard = make(workload({OLD: sleeper()}))
    yard.workloads.adopt()
    yard.endpoints.full = True
    with pytest.raises(StoreError):
        yard.workloads.ensure(RELEASE, OLD)
    assert "cannot write the endpoints" in yard.pass_time(0)
    yard.endpoints.full = False
    assert yard.pass_time(0) == ""
    assert len(yard.endpoints.ports[OLD]) == 1


def test_stopping_ends_everything_at_once_and_forgets_it(make: Callable[..., Yard]):
    yard = make(workload({OLD: sleeper(), NEW: sleeper(ignoring=True)}))
    yard.workloads.ensure(RELEASE, OLD)
    yard.workloads.ensure(RELEASE, NEW)
    processes = list(yard.table.records().values())
    yard.workloads.stop_all()
    assert not any(alive(process) for process in processes)
    assert yard.table.records() == {}


def test_stopping_works_on_a_full_disk(make: Callable[..., Yard], monkeypatch: pytest.MonkeyPatch):
    yard = make(workload({OLD: sleeper()}))
    yard.workloads.ensure(RELEASE, OLD)
    [process] = yard.table.records().values()

    def full(*_: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(ProcessTable, "_write", full)
    yard.workloads.stop_all()
    assert not alive(process)


def test_children_of_a_replica_do_not_outlive_it(tmp_path: Path):
    table = ProcessTable(tmp_path)
    parent = "import subprocess, sys; c = subprocess.Popen(['sleep', '60']); print(c.pid, flush=True); c.wait()"
    log = tmp_path / "log"
    process = table.spawn("parent", [sys.executable, "-c", parent], {}, log, notes={})
    assert wait_until(lambda: bool(log.read_text().strip()), 5.0)
    child = int(log.read_text())
    os.kill(process.pid, signal.SIGKILL)
    assert wait_until(lambda: exit_status(process) is not None, 5.0)
    assert wait_until(lambda: not Path(f"/proc/{child}").exists() or "Z" in _state(child), 5.0)


def test_another_process_with_the_same_number_is_not_ours(tmp_path: Path):
    table = ProcessTable(tmp_path)
    process = table.spawn("one", ["sleep", "60"], {}, tmp_path / "log", notes={})
    other = Process("one", process.pid, process.started + 1, process.boot, process.digest)
    earlier = Process("one", process.pid, process.started, "another-boot", process.digest)
    assert (alive(process), alive(other), alive(earlier)) == (True, False, False)
    end([other, earlier], 0.0)
    assert alive(process)
    end([process], 1.0)


def test_the_digest_covers_command_and_environment():
    assert command_digest(["a", "b"], {}) != command_digest(["a b"], {})
    assert command_digest(["a"], {"X": "1"}) != command_digest(["a"], {"X": "2"})


def test_a_process_that_cannot_be_recorded_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = ProcessTable(tmp_path)
    seen: list[Process] = []

    def refuse(process: Process) -> None:
        seen.append(process)
        raise StoreError("full")

    monkeypatch.setattr(table, "put", refuse)
    with pytest.raises(StoreError):
        table.spawn("one", ["sleep", "60"], {}, tmp_path / "log", notes={})
    assert not alive(seen[0])


def test_a_program_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(WorkloadError, match="cannot execute 'no-such-program'"):
        ProcessTable(tmp_path).spawn("one", ["no-such-program"], {}, tmp_path / "log", notes={})


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
