"""Runs a hook's command: in a session of its own, without a shell, its output bounded, its time limited by whoever
awaits it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from meshctl.adapters.hook_answers import SIZE_LIMIT
from meshctl.core.errors import WorkloadError

STDIN_LIMIT = 32 * 1024
"""Fits into a pipe whole, so nobody has to wait for the command to read."""

END_GRACE_S = 1.0


async def run_command(argv: Sequence[str], env: Mapping[str, str], told: bytes) -> tuple[int, bytes]:
    """Exit status (minus the signal) and the first of the output, one byte more than allowed at most.

    Whatever cancels this ends the command and its session.  Raises `WorkloadError` when it cannot be executed.
    """
    output = _Output()
    stdin = _filled(told[:STDIN_LIMIT])
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=stdin, stdout=output.writer, stderr=asyncio.subprocess.DEVNULL, start_new_session=True, env=env
        )
    except (OSError, ValueError) as error:
        output.close()
        detail = error.strerror if isinstance(error, OSError) else "its words cannot be passed on"
        raise WorkloadError(f"cannot execute {argv[0]!r}: {detail}") from None
    finally:
        os.close(stdin)
        output.close_writer()
    output.listen()
    try:
        status = await process.wait()
        return status, output.text()
    finally:
        if process.returncode is None:
            await _end(process)
        output.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), END_GRACE_S)


def _filled(text: bytes) -> int:
    """The reading end of a pipe that holds ``text`` and ends there."""
    reader, writer = os.pipe()
    os.write(writer, text)
    os.close(writer)
    return reader


class _Output:
    """A pipe that is read as fast as it fills; only so much is kept as may be looked at."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()

    def listen(self) -> None:
        self._loop.add_reader(self._reader, self._read)

    def text(self) -> bytes:
        while self._read():
            if len(self._kept) > SIZE_LIMIT:
                break
        return bytes(self._kept)

    def close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        self.close_writer()
        if self._reader >= 0:
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1

    def _read(self) -> bool:
        try:
            found = os.read(self._reader, 65536)
        except BlockingIOError:
            return False
        if not found:
            self._loop.remove_reader(self._reader)
            return False
        room = SIZE_LIMIT + 1 - len(self._kept)
        self._kept += found[:room]
        return True
