"""One program of the control plane: started, watched, and done harm to on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

from tests.cluster.waiting import eventually

NOT_YET = (httpx.HTTPError, OSError)
"""What a client sees of a program that is not up."""


class Process:
    """A program with its log.  `start` does not wait; `ready` does.

    Faults: `kill` (SIGKILL), `end` (SIGTERM, and waits), `freeze` (SIGSTOP) and `thaw`, `restart`; `heal` undoes them.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        is_ready: Callable[[], object],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(word) for word in command]
        self._environment = dict(environment or {})
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self.harmed = False
        """Whether a test did something to it since it was last healed."""

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.alive:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )

    def ready(self, within_s: float = 30.0) -> None:
        """Wait until it serves.  Raises `AssertionError` with the end of its log when it died or takes too long."""

        def look() -> bool:
            if not self.alive:
                code = self._process.returncode if self._process else None
                raise AssertionError(f"{self.name} ended with {code}:\n{self.last_words()}")
            return bool(self._is_ready())

        eventually(look, within_s, f"{self.name} is ready", despite=NOT_YET, detail=self.last_words)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self._gone(10)

    def end(self, within_s: float = 10.0) -> None:
        """SIGTERM, and SIGKILL after ``within_s``."""
        self.thaw()
        self._signal(signal.SIGTERM)
        try:
            self._gone(within_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Go on after `freeze`."""
        if self._frozen:
            self._signal(signal.SIGCONT)
            self._frozen = False

    def restart(self, within_s: float = 30.0) -> None:
        """End it, start it, and wait until it serves."""
        self.end()
        self.start()
        self.ready(within_s)

    def heal(self) -> None:
        """Undo every fault: thaw it, start it if it is gone, and wait until it serves."""
        self.harmed = self.harmed or not self.alive
        self.thaw()
        self.start()
        self.ready()

    def last_words(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(f"  {line[:300]}" for line in self.log.read_text("utf-8", "replace").splitlines()[-15:])

    def _signal(self, number: int) -> None:
        self.harmed = True
        if self.alive:
            os.killpg(self.pid, number)

    def _gone(self, within_s: float) -> None:
        if self._process is not None:
            self._process.wait(within_s)
        self._frozen = False
