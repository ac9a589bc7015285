"""Keeps one of several controllers at work: takes the lease, renews it, and knows when it may have been lost."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from meshctl.core.errors import MeshctlError

log = logging.getLogger(__name__)

RENEW_S, RETRY_S = 4.0, 2.0
HELD_S = 10.0
"""A lease that could not be renewed for so long counts as lost; the others wait longer (15 s) before they take it."""


class Lock(Protocol):
    """A lease as one candidate sees it; see `meshctl.adapters.kubernetes.lease`."""

    @property
    def holder(self) -> str: ...

    def attempt(self) -> bool:
        """Take or renew; whether it is ours.  Raises `MeshctlError`."""
        ...

    def release(self) -> None:
        """Give it back.  Raises `MeshctlError`."""
        ...


class Unopposed:
    """No lease at all: for whoever works for a short time and beside others."""

    holder = ""

    def attempt(self) -> bool:
        return True

    def release(self) -> None:
        """Nothing."""


class Election:
    """One candidate.  `held` may be asked from any thread, costs nothing, and never says yes too long."""

    def __init__(
        self,
        lock: Lock,
        changed: Callable[[bool], None] | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock, self._changed, self._monotonic = lock, changed, monotonic
        self._until = 0.0
        self._was = False
        self._told = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def tell(self, changed: Callable[[bool], None]) -> None:
        """Who is to hear when the lease comes and goes, in the election's own thread.

        A lease that had run out before it was renewed has come anew: whoever asked `held` meanwhile was told no.
        """
        self._changed = changed

    def held(self) -> bool:
        """Whether the lease is ours, as far as this can be known."""
        return self._monotonic() < self._until

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Renew no more and give the lease back, if the API server answers: the next one goes on at once."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        ours, self._until = self.held(), 0.0
        if ours:
            try:
                self._lock.release()
            except MeshctlError as error:
                log.warning("the lease could not be given back, the next controller waits for its end: %s", error)

    def step(self) -> float:
        """One attempt; seconds until the next."""
        began, lapsed = self._monotonic(), False
        try:
            if self._lock.attempt():
                before, self._until = self._until, began + HELD_S
                lapsed = self._was and self._monotonic() >= before  # after a pause of the process, for example
            else:
                self._until = 0.0
            self._tell("")
        except MeshctlError as error:
            self._tell(str(error))
        except Exception as error:  # a defect must not make a leader of nobody for ever
            self._tell(f"a defect of meshctl, please report it: {error!r}")
        held = self.held()
        if held != self._was or (held and lapsed):
            self._was = held
            log.info("this controller works now" if held else f"{self._lock.holder or 'nobody'} holds the lease")
            if self._changed is not None:
                self._changed(held)
        return (RENEW_S if held and not self._told else RETRY_S) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    def _run(self) -> None:
        wait = 0.0
        while not self._stopped.wait(wait):
            wait = self.step()

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._told:
            log.warning("lease: %s", trouble)
        self._told = trouble
