"""The embedded controller: one foreground process that supervises, ticks, and listens for a word.

A moving release is looked at every second, an idle one every ten and whenever somebody speaks of it.  The loop
holds nothing of a run: it can be killed at any moment and the next one goes on from the store.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import Any

from meshctl.app.commands import serve_directly
from meshctl.app.tick import tick
from meshctl.controller.signals import ended_by_signals
from meshctl.controller.telling import Observer, Teller
from meshctl.core.errors import MeshctlError
from meshctl.core.model import Request
from meshctl.wiring import Embedded, decode_request

log = logging.getLogger(__name__)

TICK_S = 1.0
IDLE_TICK = timedelta(seconds=10)


class LocalController:
    """Runs an embedded mesh until it is told to stop."""

    def __init__(self, mesh: Embedded, observer: Observer | None = None) -> None:
        self._mesh = mesh
        self._observer = observer
        self._teller = Teller(log)
        self._due: dict[str, datetime] = {}
        self._seen: set[str] = set()
        self._open: Mapping[str, str] = {}
        self._stopped = Flag()

    def run(self) -> None:
        """Hold the folder, start what is to run, loop until told to stop, then tear everything down.

        Raises `Conflict` when another controller holds the folder, `TemplateError` before anything was started,
        `WorkloadError` when Envoy will not start.  Whatever fails, what was running before is left as it flows.
        """
        mesh = self._mesh
        with mesh.place.held(), ended_by_signals(self.stop):
            mesh.check()
            adopted = mesh.start()
            try:
                listening = mesh.place.listen()
            except OSError:
                if not adopted:
                    mesh.stop()
                raise
            with listening as ear:
                if adopted:
                    log.info("took over what was left running: %s", ", ".join(adopted))
                log.info("controller is up in %s", mesh.place.base)
                self._loop(ear)
                log.info("going down: replicas get their drain time, then Envoy ends")
                mesh.stop()
            log.info("everything has ended; the records stay in %s", mesh.place.base)

    def stop(self) -> None:
        self._stopped.set()

    def _loop(self, ear: Any) -> None:
        mesh = self._mesh
        next_round = mesh.monotonic()
        while not self._stopped.is_set():
            self._round()
            next_round = max(next_round + TICK_S, mesh.monotonic())
            while not self._stopped.is_set() and (left := next_round - mesh.monotonic()) > 0:
                if heard := ear.next_word(left):
                    self._serve(*heard)

    def _round(self) -> None:
        mesh = self._mesh
        now = mesh.ports.clock.now()
        try:
            problems = mesh.supervise(now)
            self._teller.tell("", problems)
            names = mesh.ports.store.names()
        except Exception as error:
            self._teller.stumble("", error)
            if self._observer is not None:
                self._observer.looked(self._teller.names(), [str(error)])
            return
        for name in names:
            if self._due.get(name, now) <= now:
                self._tick(name)
        if self._observer is not None:
            self._observer.looked(names, problems)
        self._tell_ports()

    def _tell_ports(self) -> None:
        """Say where users come in, when that changes."""
        found = self._mesh.listening()
        for service, url in found.items():
            if self._open.get(service) != url:
                log.info("%s listens on %s", service, url)
        self._open = {**self._open, **found}

    def _tick(self, name: str) -> None:
        """Tick one release; trouble with one never stops the others, nor ends what flows: not even a defect of ours."""
        now = self._mesh.ports.clock.now()
        self._due[name] = now + timedelta(seconds=TICK_S / 2)
        began, result = self._mesh.monotonic(), None
        try:
            result = tick(self._mesh.ports, name, reapply=name not in self._seen)
        except Exception as error:
            self._teller.stumble(name, error)
            return
        finally:
            if self._observer is not None:
                self._observer.ticked(name, result, self._mesh.monotonic() - began)
        self._teller.note(name, result)
        if name not in self._seen and not result.problems:
            self._seen.add(name)
            self._teller.stand(name, result)
        if result.decision is not None:
            wake_at = result.decision.wake_at
            latest = now + IDLE_TICK
            moving = wake_at is not None and wake_at <= now + timedelta(seconds=TICK_S)
            self._due[name] = now if moving else min(wake_at or latest, latest)

    def _serve(self, word: dict[str, Any], answer: Any) -> None:
        """Carry out a word from the control socket: ``wake`` a release, carry a ``request``, or go ``down``."""
        kind, name = word.get("word"), str(word.get("release", ""))
        try:
            if kind == "down":
                self.stop()
                answer.give(ok=True, message="going down")
            elif kind == "hello":
                answer.give(ok=True, message="up")
            elif kind == "wake":
                self._due.pop(name, None)
                self._tick(name)
                answer.give(ok=True, message="looked at")
            elif kind == "request":
                self._serve_request(name, decode_request(word.get("request")), answer)
            else:
                answer.give(ok=False, message=f"unknown word {kind!r}", exitCode=2)
        except MeshctlError as error:
            answer.give(ok=False, message=str(error), exitCode=error.exit_code)
        except Exception as error:
            self._teller.stumble(name, error)
            answer.give(ok=False, message=f"a defect of meshctl: {error!r}; the log has more", exitCode=1)

    def _serve_request(self, name: str, request: Request, answer: Any) -> None:
        self._due.pop(name, None)
        told = serve_directly(self._mesh.ports, name, request)
        log.info("%s: %s", name, told.message, extra=self._teller.fields(name))
        answer.give(ok=told.accepted, message=told.message, exitCode=0 if told.accepted else 16)
