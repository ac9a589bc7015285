"""What the demo's tests share: real replicas, a clock, made-up runs, a mesh of one process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

from meshctl.core.model import Phase, Reason, ReleaseSpec, Run, StageClock, StageTerms

BEGIN = datetime(2026, 11, 23, 7, 40, tzinfo=UTC)
PATIENCE_S = 30.0


def at(seconds):
    return BEGIN + timedelta(seconds=seconds)


def wait_until(condition, what):
    """Poll a condition; the tests never sleep for a fixed time."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.005)
    return value


@contextmanager
def replica(**environment):
    """A real replica; yields its process and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "meshctl.demo.service"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert "listens on" in line, process.stderr.read()
        yield process, int(line.rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


@contextmanager
def connection(port):
    client = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        yield client
    finally:
        client.close()


def get(port, path="/", method="GET"):
    """Status, x-served-by and body of one request on a connection of its own."""
    with connection(port) as client:
        client.request(method, path)
        answer = client.getresponse()
        return answer.status, answer.headers["x-served-by"], answer.read()


class SteadyClock:
    """A clock that starts at `BEGIN` and goes with the machine's steady one."""

    def __init__(self):
        self._start = time.monotonic()

    def now(self):
        return at(time.monotonic() - self._start)


def terms(entry, weight):
    return StageTerms(entry, weight, 0.2, 10.0, bake=False, comparable=True, max_duration_s=1800.0)


def run(candidate="1.1.0", *, phase=Phase.PROGRESSING, baseline="1.0.0", **changes):
    return replace(
        Run(
            name="shop-2",
            number=2,
            baseline=baseline,
            candidate=candidate,
            spec=ReleaseSpec(version=candidate, service="shop"),
            stages=(),
            phase=phase,
            started_at=BEGIN,
            changed_at=BEGIN,
        ),
        **changes,
    )


def at_stage(number, weights, since, **changes):
    """A run whose last of ``weights`` is live since an instant."""
    entered = tuple(terms(entry, weight) for entry, weight in enumerate(weights))
    values = {"entries": entered, "weight": weights[-1], "confirmed": weights[-1], "stage": number}
    return run(**{"first_traffic_at": BEGIN, "clock": StageClock(running_since=since), **values, **changes})


def promoted(first, last):
    return run(phase=Phase.PROMOTED, reason=Reason.EVIDENCE, first_traffic_at=first, ended_at=last)
