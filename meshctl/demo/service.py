"""The demo's service, one replica: ``python -m meshctl.demo.service``.

Its work is a timer, lognormal around ``LATENCY_MS`` (40) with ``SIGMA`` (0.5), so that two replicas started alike
differ by chance only.  Its faults come from the environment:

``ERRORS``             share of requests that are answered with 500, 0 to 1
``ERRORS_ABOVE_RPS``   ``ERRORS`` happen only while this replica gets more requests a second than this
``SLOW``               factor on the duration of the work
``SEED``               repeats the same durations and errors, per version and replica

``HOST``, ``PORT`` (0: a free one), ``VERSION`` and ``REPLICA`` are what `meshctl local up` gives every replica.  Each
answer carries ``x-served-by: VERSION/REPLICA``.  ``/healthz`` says whether the replica may get traffic.  After SIGTERM
it fails, so that traffic goes elsewhere, while whatever still comes is served; then the replica exits.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from meshctl.core.errors import InvalidInput
from meshctl.demo.http1 import Answer, Connection

RATE_WINDOW_S = 2.0
LINGER_S = 3.0
"""How long a replica that was told to end waits at most for traffic to go elsewhere."""
UNASKED_S = 1.2
"""Nobody asks any more: no request and no health check for longer than a check's interval."""
QUIET_S = 0.2
FAILED_CHECKS = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says about this replica."""

    host: str = "127.0.0.1"
    port: int = 0
    version: str = "1.0.0"
    replica: str = "0"
    latency_ms: float = 40.0
    sigma: float = 0.5
    errors: float = 0.0
    errors_above_rps: float = 0.0
    slow: float = 1.0
    seed: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check every variable.  Raises `InvalidInput` that names the variable."""
        return cls(
            host=environment.get("HOST", "127.0.0.1"),
            port=int(_number(environment, "PORT", 0, 65535)),
            version=environment.get("VERSION", "1.0.0"),
            replica=environment.get("REPLICA", "0"),
            latency_ms=_number(environment, "LATENCY_MS", 40, 60_000),
            sigma=_number(environment, "SIGMA", 0.5, 3),
            errors=_number(environment, "ERRORS", 0, 1),
            errors_above_rps=_number(environment, "ERRORS_ABOVE_RPS", 0, 1e6),
            slow=_number(environment, "SLOW", 1, 1000),
            seed=environment.get("SEED", ""),
        )


def _number(environment: Mapping[str, str], name: str, default: float, largest: float) -> float:
    text = environment.get(name, "")
    try:
        value = float(text) if text else float(default)
    except ValueError:
        value = math.nan
    if not 0 <= value <= largest:
        raise InvalidInput(
            f"cannot start the demo service: {name}={text!r} is not a number from 0 to {largest:g}",
            hint=f"set {name} in the Workload's env of this version, or leave it out for {default:g}",
        )
    return value


class Behaviour:
    """How long each request takes and whether it fails: chance with a seed, and the request rate."""

    def __init__(self, settings: Settings) -> None:
        key = f"{settings.seed}/{settings.version}/{settings.replica}" if settings.seed else None
        self._random = random.Random(key)  # noqa: S311 - a simulated workload, not a secret
        self._settings = settings
        self._recent: deque[float] = deque()

    def next(self, now: float) -> tuple[float, bool]:
        """Seconds of work and whether it fails, for a request that arrives at ``now`` (monotonic seconds)."""
        settings = self._settings
        seconds = settings.latency_ms / 1000 * settings.slow * math.exp(self._random.gauss(0.0, settings.sigma))
        fails = self._random.random() < settings.errors
        if settings.errors_above_rps:
            self._recent.append(now)
            while self._recent[0] < now - RATE_WINDOW_S:
                self._recent.popleft()
            fails = fails and len(self._recent) > settings.errors_above_rps * RATE_WINDOW_S
        return seconds, fails


class Replica:
    """One replica: takes requests, answers health checks, goes away without losing anybody's request."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.served_by = f"{settings.version}/{settings.replica}"
        self.connections: set[Connection] = set()
        self._behaviour = Behaviour(settings)
        self._loop = loop
        self._draining = False
        self._last_request = self._last_check = 0.0
        self._failed_checks = 0

    def take(self, path: str, answer: Callable[[Answer], None]) -> asyncio.TimerHandle | None:
        """Serve one request: the health check at once, everything else after its work."""
        now = self._loop.time()
        if path.partition("?")[0] == "/healthz":
            self._last_check = now
            self._failed_checks += self._draining
            answer(Answer(503, b"draining\n") if self._draining else Answer(200, b"ready\n"))
            return None
        self._last_request = now
        seconds, fails = self._behaviour.next(now)
        return self._loop.call_later(seconds, self._finish, fails, answer)

    def _finish(self, fails: bool, answer: Callable[[Answer], None]) -> None:
        status, text = (500, "failed") if fails else (200, "hello")
        answer(Answer(status, f"{text} from {self.served_by}\n".encode(), close=self._draining))

    async def drain(self, server: asyncio.Server) -> None:
        """Fail the health check, serve what still comes until it stops coming, finish what is inside."""
        self._draining = True
        start = self._loop.time()
        while not self._abandoned(start):
            await asyncio.sleep(0.02)
        server.close()
        while any(connection.busy for connection in self.connections):
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.close()
        await asyncio.sleep(0)

    def _abandoned(self, start: float) -> bool:
        now = self._loop.time()
        since_request = now - max(start, self._last_request)
        since_check = now - max(start, self._last_check)
        unasked = min(since_request, since_check) > UNASKED_S
        told = self._failed_checks >= FAILED_CHECKS and since_request > QUIET_S
        return unasked or told or now - start > LINGER_S


async def serve(settings: Settings) -> None:
    """Listen, say where, and stay until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    replica = Replica(settings, loop)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(lambda: Connection(replica), settings.host, settings.port, backlog=1024)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"{replica.served_by} listens on http://{host}:{port}", flush=True)
    await stop.wait()
    await replica.drain(server)


def main() -> int:
    """Run one replica; the exit code is 0 after SIGTERM, 2 for a wrong environment, 1 when it cannot listen."""
    try:
        settings = Settings.from_environment(os.environ)
        asyncio.run(serve(settings))
    except InvalidInput as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"cannot start the demo service: {error}; is the port (PORT) taken by another process?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
