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
that is due opens a connection, until the proxy has no file left to answer on."""


class Generator:
    """Sends and counts; one per process."""

    def __init__(self, url: str, rps: float, seed: int | None, host: str | None = None) -> None:
        self.counts = LoadCounts()
        self.stop = asyncio.Event()
        self._url = URL(url)
        self._headers = {"host": host} if host else {}
        self._rps = rps
        self._random = random.Random(seed)  # noqa: S311 - arrival times, not a secret
        self._loop = asyncio.get_running_loop()

    async def run(self, limit: int | None = None) -> None:
        """Send until `stop` is set or ``limit`` requests have left, then wait for what is on its way."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), headers=self._headers
        ) as session:
            on_their_way: set[asyncio.Task[None]] = set()
            due = self._loop.time()
            while not self.stop.is_set() and (limit is None or self.counts.sent < limit):
                due += self._random.expovariate(self._rps)
                await self._wait_until(due)
                if self.stop.is_set():
                    break
                self.counts.sent += 1
                task = asyncio.create_task(self._request(session, due))
                on_their_way.add(task)
                task.add_done_callback(on_their_way.discard)
            if on_their_way:
                await asyncio.wait(on_their_way)

    async def _wait_until(self, due: float) -> None:
        delay = due - self._loop.time()
        if delay > 0.5:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), delay)
        elif delay > 0:
            await asyncio.sleep(delay)

    async def _request(self, session: aiohttp.ClientSession, due: float) -> None:
        counts, served_by = self.counts, None
        counts.max_lag_ms = max(counts.max_lag_ms, (self._loop.time() - due) * 1000)
        try:
            async with session.get(self._url) as response:
                served_by = response.headers.get("x-served-by")
                await response.read()
                flags = response.headers.get("x-envoy-flags", "")
                counts.answered(response.status, served_by, flags, (self._loop.time() - due) * 1000)
        except TimeoutError:
            counts.broke(TIMED_OUT, served_by)
        except (aiohttp.ClientError, OSError):
            counts.broke(NO_CONNECTION, served_by)


async def _report(generator: Generator, out: Path) -> None:
    """Write snapshots; end the run when nobody is there to read them."""
    loop, parent = asyncio.get_running_loop(), os.getppid()
    while True:
        generator.counts.monotonic = loop.time()
        write(out, generator.counts)
        if os.getppid() != parent:
            generator.stop.set()
        await asyncio.sleep(SNAPSHOT_S)


async def drive(
    url: str, rps: float, seed: int | None, out: Path, limit: int | None = None, host: str | None = None
) -> None:
    """Generate load until SIGTERM, SIGINT or ``limit`` requests, with snapshots in ``out``."""
    loop = asyncio.get_running_loop()
    generator = Generator(url, rps, seed, host)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, generator.stop.set)
    reporter = asyncio.create_task(_report(generator, out))
    await generator.run(limit)
    reporter.cancel()
    generator.counts.monotonic, generator.counts.final = loop.time(), True
    write(out, generator.counts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and generate load."""
    parser = argparse.ArgumentParser(prog="python -m meshctl.demo.load", description="Open-loop HTTP load.")
    parser.add_argument("--url", required=True, help="where the requests go")
    parser.add_argument("--host", help="the host that is asked for, when it is not the URL's")
    parser.add_argument("--rps", type=float, default=600.0, help="requests a second on average (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="repeat the same arrival times")
    parser.add_argument("--requests", type=int, help="stop after this many; without it: on SIGTERM")
    parser.add_argument("--out", type=Path, required=True, help="file that gets the counts as JSON")
    options = parser.parse_args(arguments)
    if not 0 < options.rps <= 100_000:
        parser.error(f"--rps {options.rps:g} is not a rate: give more than 0 and at most 100000 requests a second")
    asyncio.run(drive(options.url, options.rps, options.seed, options.out, options.requests, options.host))
    return 0


if __name__ == "__main__":
    sys.exit(main())
