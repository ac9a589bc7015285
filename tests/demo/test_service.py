"""The example service as a real process, and its behaviour as a pure function of its settings."""

from __future__ import annotations

import signal
import socket
import statistics
import subprocess
import sys
from contextlib import suppress

import pytest

from meshctl.core.errors import InvalidInput
from meshctl.demo.service import Behaviour, Settings
from tests.demo.doubles import PATIENCE_S, connection, get, replica, wait_until


def test_every_answer_says_which_version_and_replica_wrote_it():
    with replica(VERSION="2.1.0", REPLICA="1", LATENCY_MS="1") as (_, port):
        assert get(port) == (200, "2.1.0/1", b"hello from 2.1.0/1\n")
        assert get(port, "/healthz") == (200, "2.1.0/1", b"ready\n")


def test_a_failing_replica_signs_its_failures_and_stays_ready():
    with replica(ERRORS="1", LATENCY_MS="1") as (_, port):
        assert get(port) == (500, "1.0.0/0", b"failed from 1.0.0/0\n")
        assert get(port, "/healthz")[0] == 200


def test_a_told_replica_fails_its_check_finishes_what_is_inside_and_exits_with_zero():
    with replica(LATENCY_MS="400", SIGMA="0") as (process, port), connection(port) as inside:
        inside.request("GET", "/")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: get(port, "/healthz")[0] == 503, "a failed health check")
        answer = inside.getresponse()
        assert (answer.status, answer.read()) == (200, b"hello from 1.0.0/0\n")
        assert answer.headers["connection"] == "close"
        assert process.wait(PATIENCE_S) == 0


def test_a_told_replica_still_serves_whoever_comes_before_traffic_went_elsewhere():
    with replica(LATENCY_MS="1") as (process, port):
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: get(port, "/healthz")[0] == 503, "a failed health check")
        assert get(port)[0] == 200


def test_a_client_that_goes_away_does_not_keep_a_told_replica():
    with replica(LATENCY_MS="60000", SIGMA="0") as (process, port):
        with connection(port) as gone:
            gone.request("GET", "/")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def exchange(port, *pieces):
    """Send raw bytes piece by piece and return everything that comes back until the replica closes."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):
            for piece in pieces:
                raw.sendall(piece)
            received = b""
            while data := raw.recv(65536):
                received += data
        return received


@pytest.mark.parametrize("pieces", [1, 3, 97])
def test_requests_may_arrive_pipelined_and_in_any_pieces(pieces):
    data = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET / HTTP/1.1\r\n\r\n"
    data += b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n"
    size = max(len(data) // pieces, 1)
    with replica(LATENCY_MS="1") as (_, port):
        received = exchange(port, *(data[start : start + size] for start in range(0, len(data), size)))
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b"hello from") == 2
    assert received.endswith(b"connection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/2\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000, b"431"),
    ],
)
def test_what_the_service_does_not_speak_it_refuses_and_closes(request_bytes, status):
    with replica(LATENCY_MS="1") as (_, port):
        assert exchange(port, request_bytes).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("name", "value"), [("ERRORS", "1.5"), ("LATENCY_MS", "fast"), ("PORT", "70000"), ("SLOW", "nan")]
)
def test_a_wrong_environment_is_refused_by_name(name, value):
    with pytest.raises(InvalidInput, match=f"{name}='{value}'"):
        Settings.from_environment({name: value})


def test_a_replica_that_cannot_listen_says_so_and_exits_with_one():
    with replica() as (_, port):
        command = [sys.executable, "-m", "meshctl.demo.service"]
        second = subprocess.run(command, env={"PORT": str(port)}, capture_output=True, text=True, timeout=PATIENCE_S)
    assert second.returncode == 1
    assert "cannot start the demo service" in second.stderr


def test_the_work_is_lognormal_around_the_median():
    behaviour = Behaviour(Settings(seed="7"))
    durations = [behaviour.next(0.0)[0] * 1000 for _ in range(20_000)]
    assert statistics.median(durations) == pytest.approx(40, rel=0.02)
    assert statistics.mean(durations) == pytest.approx(40 * 2.718281828**0.125, rel=0.02)


def test_slow_multiplies_the_very_same_durations():
    usual, slow = Behaviour(Settings(seed="7")), Behaviour(Settings(seed="7", slow=2.0))
    assert [slow.next(0.0)[0] for _ in range(50)] == pytest.approx([2 * usual.next(0.0)[0] for _ in range(50)])


def test_a_seed_repeats_a_replica_and_tells_replicas_apart():
    def first(**changes):
        return [Behaviour(Settings(**{"seed": "7", "errors": 0.5, **changes})).next(0.0) for _ in range(3)]

    assert first() == first()
    assert first() != first(replica="1")
    assert first() != first(seed="8")


def test_a_late_fault_shows_only_while_the_replica_is_under_load():
    behaviour = Behaviour(Settings(errors=1.0, errors_above_rps=100.0))
    quiet = [behaviour.next(number / 50)[1] for number in range(500)]
    busy = [behaviour.next(10 + number / 200)[1] for number in range(1000)]
    quiet_again = [behaviour.next(15 + number / 50)[1] for number in range(500)]
    assert not any(quiet)
    assert all(busy[300:])
    assert not any(quiet_again[150:])
