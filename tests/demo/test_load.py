"""The load generator against servers that are made to misbehave: its counts are exact."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from meshctl.core.errors import MeshctlError
from meshctl.demo.load import MOST_CONNECTIONS
from meshctl.demo.tally import Arm, LoadCounts, read
from tests.demo.doubles import PATIENCE_S, replica, wait_until

GOOD = (200, "1.0.0/0", "")
SERVICE_FAILED = (500, "1.1.0/0", "")
NO_HEALTHY_HOST = (503, None, "UH")
NO_ROUTE = (404, None, "NR")
DIED_INSIDE = (503, None, "UC")
DIED_AFTER_RETRIES = (503, None, "URX,UC")
NOT_REACHED = (503, None, "UF,URX")


@contextmanager
def server(answers, gate=None):
    """Answers requests in turn from ``answers``: (status, x-served-by, flags), or ``None`` to hang up."""
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            answer = answers[next(numbers) % len(answers)]
            if gate is not None:
                gate.wait(PATIENCE_S)
            if answer is None:
                self.close_connection = True
                return
            status, served_by, flags = answer
            self.send_response(status)
            self.send_header("content-length", "0")
            if served_by:
                self.send_header("x-served-by", served_by)
            if flags:
                self.send_header("x-envoy-flags", flags)
            self.end_headers()

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield http.server_address[1]
        finally:
            http.shutdown()
            thread.join()


def command(port, out, rps, *more):
    url = f"http://127.0.0.1:{port}/"
    head = [sys.executable, "-m", "meshctl.demo.load", "--url", url, "--rps", str(rps), "--seed", "1"]
    return [*head, "--out", str(out), *more]


def load(port, out, requests, rps=400):
    subprocess.run(command(port, out, rps, "--requests", str(requests)), check=True, timeout=PATIENCE_S)
    counts = read(out)
    assert counts.final
    assert counts.sent == counts.requests == requests
    return counts


def test_each_kind_of_answer_is_counted_against_who_caused_it(tmp_path):
    answers = [GOOD, SERVICE_FAILED, NO_HEALTHY_HOST, NO_ROUTE, DIED_INSIDE, DIED_AFTER_RETRIES, NOT_REACHED, GOOD]
    with server(answers) as port:
        counts = load(port, tmp_path / "out.json", 80)
    assert (counts.failed, counts.failed_by_mesh, counts.failed_by_workload) == (60, 30, 20)
    assert counts.causes == {"UH": 10, "NR": 10, "UC": 10, "URX,UC": 10, "UF,URX": 10}
    assert (counts.version("1.0.0").requests, counts.version("1.0.0").failed) == (20, 0)
    assert (counts.version("1.1.0").requests, counts.version("1.1.0").failed) == (10, 10)


def test_a_mesh_that_hangs_up_or_is_not_there_failed_every_request(tmp_path):
    with server([None]) as port:
        hung_up = load(port, tmp_path / "hung_up.json", 40)
    gone = load(port, tmp_path / "gone.json", 40)
    for counts in (hung_up, gone):
        assert (counts.failed, counts.failed_by_mesh, counts.causes) == (40, 40, {"no connection": 40})


def test_requests_keep_leaving_while_none_comes_back_and_latency_counts_from_when_they_were_due(tmp_path):
    out, gate = tmp_path / "out.json", threading.Event()
    with server([GOOD], gate) as port:
        process = subprocess.Popen(command(port, out, 200, "--requests", "120"))
        wait_until(lambda: (seen := read(out)) is not None and seen.sent >= 100, "100 requests on their way")
        assert read(out).requests == 0
        gate.set()
        assert process.wait(PATIENCE_S) == 0
    counts = read(out)
    assert (counts.requests, counts.failed) == (120, 0)
    assert counts.version("1.0.0").quantile_ms(0.5) > 100


def test_a_mesh_that_stalls_gets_a_bounded_number_of_connections_so_that_it_can_recover(tmp_path):
    out, accepted = tmp_path / "out.json", []

    def accept(listener):
        with contextlib.suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        process = subprocess.Popen(command(listener.getsockname()[1], out, 2000))
        try:
            wait_until(lambda: (seen := read(out)) is not None and seen.sent >= 2 * MOST_CONNECTIONS, "many requests")
        finally:
            process.kill()
            process.wait()
        assert 0 < len(accepted) <= MOST_CONNECTIONS
        for connection in accepted:
            connection.close()


def test_who_cannot_keep_up_waits_for_a_connection_and_fails_nothing(tmp_path):
    out, few = tmp_path / "out.json", ["--requests", "100", "--connections", "4", "--timeout", "1"]
    with replica(LATENCY_MS="100", SIGMA="0") as (_, port):
        subprocess.run(command(port, out, 400, *few), check=True, timeout=PATIENCE_S)
    counts = read(out)
    assert (counts.requests, counts.failed) == (100, 0)
    assert counts.version("1.0.0").quantile_ms(0.99) > 1000


def test_an_answer_that_does_not_come_in_time_has_failed(tmp_path):
    out = tmp_path / "out.json"
    with replica(LATENCY_MS="5000", SIGMA="0") as (_, port):
        subprocess.run(command(port, out, 100, "--requests", "5", "--timeout", "0.2"), check=True, timeout=PATIENCE_S)
    assert read(out).causes == {"timed out": 5}


def test_on_sigterm_it_waits_for_what_is_on_its_way_and_counts_it(tmp_path):
    out = tmp_path / "out.json"
    with replica(LATENCY_MS="300", SIGMA="0") as (_, port):
        process = subprocess.Popen(command(port, out, 200))
        wait_until(lambda: (seen := read(out)) is not None and seen.requests > 10, "some answers")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    counts = read(out)
    assert counts.final
    assert counts.sent == counts.requests == counts.version("1.0.0").good
    assert counts.failed == 0


def test_the_same_seed_sends_at_the_same_rate_as_asked(tmp_path):
    out = tmp_path / "out.json"
    with replica(LATENCY_MS="1") as (_, port):
        process = subprocess.Popen(command(port, out, 300))
        first = wait_until(lambda: (seen := read(out)) is not None and seen.sent > 50 and seen, "a first snapshot")
        wait_until(lambda: read(out).sent > first.sent + 600, "600 requests more")
        last = read(out)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert (last.sent - first.sent) / (last.monotonic - first.monotonic) == pytest.approx(300, rel=0.2)


def test_it_ends_by_itself_when_its_parent_is_gone(tmp_path):
    out = tmp_path / "out.json"
    with replica(LATENCY_MS="1") as (_, port):
        script = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); sys.stdin.read(); p.returncode = 0"
        parent = subprocess.Popen([sys.executable, "-c", script, *command(port, out, 50)], stdin=subprocess.PIPE)
        wait_until(lambda: (seen := read(out)) is not None and seen.requests, "the first answers")
        parent.kill()
        parent.communicate()
        assert wait_until(lambda: (seen := read(out)).final and seen, "the last snapshot").failed == 0


def test_a_broken_counts_file_is_named_and_a_missing_one_means_nothing_yet(tmp_path):
    assert read(tmp_path / "none.json") is None
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(MeshctlError, match=r"broken\.json"):
        read(tmp_path / "broken.json")


def test_an_answer_that_breaks_off_was_inside_a_replica_that_died():
    counts = LoadCounts()
    counts.broke("no connection", "1.1.0/1")
    counts.broke("timed out")
    assert (counts.failed, counts.failed_by_workload, counts.failed_by_mesh) == (2, 1, 1)
    assert counts.version("1.1.0").failed == 1


def test_quantiles_are_right_to_five_percent_and_arms_subtract():
    arm, earlier = Arm(), Arm()
    for latency in range(1, 1001):
        arm.add(float(latency), failed=False)
        if latency <= 500:
            earlier.add(float(latency), failed=False)
    assert arm.quantile_ms(0.5) == pytest.approx(500, rel=0.05)
    assert arm.quantile_ms(0.99) == pytest.approx(990, rel=0.05)
    later = arm.plus(earlier, -1)
    assert (later.good, later.mean_ms) == (500, pytest.approx(750.5))
    assert later.quantile_ms(0.5) == pytest.approx(750, rel=0.05)
    assert Arm().quantile_ms(0.5) is None
