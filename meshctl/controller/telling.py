"""What a controller says of its releases: one line per decision, trouble once while it lasts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Lock
from typing import Protocol

from meshctl.app.tick import TickResult
from meshctl.controller.logs import bound, decided
from meshctl.core.errors import MeshctlError


class Observer(Protocol):
    """Whoever wants to know what a controller does; see `meshctl.controller.metrics`."""

    def ticked(self, name: str, result: TickResult | None, seconds: float) -> None: ...

    def looked(self, names: Sequence[str] | None, problems: Sequence[str]) -> None: ...


class Teller:
    """Writes the log of a controller; may be used by several threads."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = Lock()
        self._bound: dict[str, dict[str, object]] = {}
        self._told: dict[str, frozenset[str]] = {}

    def names(self) -> list[str]:
        """The releases that were spoken of."""
        with self._lock:
            return list(self._bound)

    def note(self, name: str, result: TickResult) -> None:
        """Write down what a tick met and decided."""
        if result.decision is not None:
            with self._lock:
                self._bound[name] = bound(name, result.decision.state.run)
        self.tell(name, result.problems)
        for event in result.events:
            self._log.info("%s: %s", name, event.message, extra=decided(name, event))

    def stand(self, name: str, result: TickResult) -> None:
        """At a start: where a run of before stands, unless it has just moved."""
        run = result.decision.state.run if result.decision is not None else None
        if run is None or result.events:
            return
        reason = f" ({run.reason})" if run.reason else ""
        waits_for = f", waits for {run.waits_for}" if run.waits_for else ""
        words = (name, run.name, run.phase, reason, run.weight, waits_for)
        self._log.info("%s: %s is %s%s at %g %%%s", *words, extra=self.fields(name))

    def stumble(self, name: str, error: Exception) -> None:
        """Write down what went wrong; a defect with its place in the code."""
        known = isinstance(error, MeshctlError)
        text = str(error) if known else f"a defect of meshctl, please report it: {error!r}"
        self.tell(name, (text,), None if known else error)

    def tell(self, name: str, problems: Sequence[str], cause: Exception | None = None) -> None:
        """Trouble with a release, or with all (no name): told once while it lasts, not at every look."""
        with self._lock:
            known, self._told[name] = self._told.get(name, frozenset()), frozenset(problems)
        for problem in dict.fromkeys(problems):
            if problem not in known:
                words = f"{name}: " if name else ""
                self._log.warning("%s%s", words, problem, exc_info=cause, extra=self.fields(name))

    def forget(self, name: str) -> None:
        """A release that is gone."""
        with self._lock:
            self._bound.pop(name, None)
            self._told.pop(name, None)

    def fields(self, name: str) -> dict[str, object]:
        """What a line about a release carries; nothing for one about all."""
        if not name:
            return {}
        with self._lock:
            return self._bound.get(name) or bound(name, None)
