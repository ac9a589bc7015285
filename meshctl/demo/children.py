"""The demo's two child processes, the controller and the load generator, and the signals that end everything."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType

from meshctl.core.errors import WorkloadError

DEATHS = 5
DEATHS_WITHIN_S = 30.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """A process in a session of its own, so that Ctrl-C reaches only the parent, which ends it in order."""

    def __init__(self, what: str, command: Sequence[str], log: Path) -> None:
        self.what = what
        self._command = list(command)
        self._log = log
        self._deaths: list[float] = []
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            with self._log.open("ab") as log:
                return subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            raise WorkloadError(f"cannot start the {self.what} ({self._command[0]}): {error}") from error

    def died(self) -> int | None:
        """The exit code if the process is gone (negative: by that signal)."""
        return self._process.poll()

    def revive(self) -> str:
        """Start the process again if it is gone; what happened in words, or nothing.

        Raises `WorkloadError` with the end of its log when it dies again and again.
        """
        code = self.died()
        if code is None:
            return ""
        now = time.monotonic()
        self._deaths = [death for death in self._deaths if death > now - DEATHS_WITHIN_S] + [now]
        if len(self._deaths) >= DEATHS:
            raise WorkloadError(
                f"the {self.what} ended {DEATHS} times within {DEATHS_WITHIN_S:g} s, the last time with {code}:\n"
                f"{self.last_words()}",
                hint=f"all it said is in {self._log}",
            )
        self._process = self._start()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"the {self.what} ended {how} and was started again (pid {self.pid})"

    def end(self, within_s: float) -> bool:
        """SIGTERM, and SIGKILL after ``within_s``; true when it ended by itself."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True

    def last_words(self) -> str:
        """The end of the log."""
        return "\n".join(f"  {line}" for line in self._log.read_text("utf-8", "replace").splitlines()[-8:])


class Signals:
    """While open: the first SIGINT, SIGTERM or SIGHUP ends the next `wait` by `SystemExit`; later ones do nothing.

    Nothing is thrown anywhere else, so that what is being written or ended is not left half done.
    """

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> Signals:
        self._reader, self._writer = os.pipe()
        self._before = {number: signal.signal(number, self._take) for number in _ENDING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received = number
            os.write(self._writer, b"!")

    def wait(self, seconds: float) -> None:
        """Sleep.  Raises `SystemExit` with 128 + the signal's number when one comes or has come."""
        select.select([self._reader], [], [], seconds)
        if self.received:
            raise SystemExit(128 + self.received)
