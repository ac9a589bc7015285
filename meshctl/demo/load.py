"""An open-loop load generator in a process of its own: ``python -m meshctl.demo.load --url URL --rps N --out FILE``.

Requests leave at random times (Poisson, ``--seed`` repeats them) whether or not earlier ones have come back, and
latency counts from when a request was due: a slow service cannot slow its own measurement down.  A few times a second
the counts go to ``--out`` as JSON (`meshctl.demo.tally`).  SIGTERM: nothing more is sent, what is on its way is
awaited and counted, the last snapshot is marked ``final``.  Ends by itself when its parent is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
from yarl import URL

from meshctl.demo.tally import NO_CONNECTION, TIMED_OUT, LoadCounts, write

SNAPSHOT_S = 0.2
TIMEOUT_S = 10.0
MOST_CONNECTIONS = 1000
"""Thirty would do at 600 requests a second.  Without a bound a stall that lasts long enough never ends: every request
that is due opens a connection, until the proxy has no file left to answer on.  Who waits for one has not failed:
on a machine that cannot keep up, giving up would only make more connections."""

MOST_ON_THEIR_WAY = 20_000
"""With so many unanswered, requests leave only as fast as answers come."""


class Generator:
    """Sends and counts; one per process."""

    def __init__(
        self,
        url: str,
        rps: float,
        seed: int | None,
        host: str | None = None,
        *,
        connections: int = MOST_CONNECTIONS,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.counts = LoadCounts()
        self.stop = asyncio.Event()
        self._url = URL(url)
        self._headers = {"host": host} if host else {}
        self._rps = rps
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s)
        self._random = random.Random(seed)  # noqa: S311 - arrival times, not a secret

    async def run(self, limit: int | None = None) -> None:
        """Send until `stop` is set or ``limit`` requests have left, then wait for what is on its way."""
        connector = aiohttp.TCPConnector(limit=self._connections)
        async with aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), headers=self._headers
        ) as session:
            on_their_way: set[asyncio.Task[None]] = set()
            due = _now()
            while not self.stop.is_set() and (limit is None or self.counts.sent < limit):
                due += self._random.expovariate(self._rps)
                await self._wait_until(due)
                if self.stop.is_set():
                    break
                self.counts.sent += 1
                task = asyncio.create_task(self._request(session, due))
                on_their_way.add(task)
                task.add_done_callback(on_their_way.discard)
                if len(on_their_way) >= MOST_ON_THEIR_WAY:
                    await asyncio.wait(on_their_way, return_when=asyncio.FIRST_COMPLETED)
                    due = _now()
            if on_their_way:
                await asyncio.wait(on_their_way)

    async def _wait_until(self, due: float) -> None:
        delay = due - _now()
        if delay > 0.5:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), delay)
        elif delay > 0:
            await asyncio.sleep(delay)

    async def _request(self, session: aiohttp.ClientSession, due: float) -> None:
        counts, served_by = self.counts, None
        counts.max_lag_ms = max(counts.max_lag_ms, (_now() - due) * 1000)
        try:
            async with session.get(self._url) as response:
                served_by = response.headers.get("x-served-by")
                await response.read()
                flags = response.headers.get("x-envoy-flags", "")
                counts.answered(response.status, served_by, flags, (_now() - due) * 1000)
        except TimeoutError:
            counts.broke(TIMED_OUT, served_by)
        except (aiohttp.ClientError, OSError):
            counts.broke(NO_CONNECTION, served_by)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _report(generator: Generator, out: Path) -> None:
    """Write snapshots; end the run when nobody is there to read them."""
    parent = os.getppid()
    while True:
        generator.counts.monotonic = _now()
        write(out, generator.counts)
        if os.getppid() != parent:
            generator.stop.set()
        await asyncio.sleep(SNAPSHOT_S)


async def drive(generator: Generator, out: Path, limit: int | None = None) -> None:
    """Generate load until SIGTERM, SIGINT or ``limit`` requests, with snapshots in ``out``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, generator.stop.set)
    reporter = asyncio.create_task(_report(generator, out))
    await generator.run(limit)
    reporter.cancel()
    generator.counts.monotonic, generator.counts.final = _now(), True
    write(out, generator.counts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and generate load."""
    parser = argparse.ArgumentParser(prog="python -m meshctl.demo.load", description="Open-loop HTTP load.")
    parser.add_argument("--url", required=True, help="where the requests go")
    parser.add_argument("--host", help="the host that is asked for, when it is not the URL's")
    parser.add_argument("--rps", type=float, default=600.0, help="requests a second on average (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="repeat the same arrival times")
    parser.add_argument("--requests", type=int, help="stop after this many; without it: on SIGTERM")
    parser.add_argument("--connections", type=int, default=MOST_CONNECTIONS, help="at most (default: %(default)d)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_S,
        help="seconds without a byte that are a failure (default: %(default)g)",
    )
    parser.add_argument("--out", type=Path, required=True, help="file that gets the counts as JSON")
    options = parser.parse_args(arguments)
    if not 0 < options.rps <= 100_000:
        parser.error(f"--rps {options.rps:g} is not a rate: give more than 0 and at most 100000 requests a second")
    generator = Generator(
        options.url,
        options.rps,
        options.seed,
        options.host,
        connections=options.connections,
        timeout_s=options.timeout,
    )
    asyncio.run(drive(generator, options.out, options.requests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
