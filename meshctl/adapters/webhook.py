"""Posts every decided event to one address, signed, in the background.

Delivery is best effort: nothing waits for it, a queue that is full loses its oldest event, and what was decided is in
the store whether anybody heard of it or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meshctl.adapters.background import Background
from meshctl.adapters.hook_answers import PROXIES
from meshctl.adapters.hooks import Trouble, exchange, host_of
from meshctl.adapters.secrets import Secrets
from meshctl.core.errors import InvalidInput, MeshctlError
from meshctl.core.hookrules import url_problems
from meshctl.core.model import Event, Release, SecretRef
from meshctl.core.packing import canonical
from meshctl.core.ports import Clock
from meshctl.core.record import stamp

QUEUE_MAX = 1000
ATTEMPTS_MAX = 5
BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 30.0
TIMEOUT_S = 5.0
FLUSH_S = 2.0
"""How long going down waits for the last events to be delivered."""

WORTH_ANOTHER_TRY = frozenset({408, 425, 429}) | PROXIES

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where events go, and where the secret they are signed with is found."""

    url: str
    secret: SecretRef


class Webhook:
    """The `Notices` port.  ``delivered``, ``failed`` and ``dropped`` count events.

    Raises `InvalidInput` when the URL is none or the secret is not there.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        background: Background,
        secrets: Secrets,
        clock: Clock,
        *,
        backoff_s: float = BACKOFF_FIRST_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        for problem in url_problems(settings.url):
            raise InvalidInput(f"webhook: its URL {problem}")
        secrets.read(settings.secret, "webhook")
        self._settings, self._background, self._secrets, self._clock = settings, background, secrets, clock
        self._backoff_s, self._timeout_s = backoff_s, timeout_s
        self._lock = threading.Lock()
        self._queue: deque[dict[str, Any]] = deque()
        self._busy = False
        self._complained = False
        self.delivered = self.failed = self.dropped = 0

    def tell(self, release: Release, events: Sequence[Event]) -> None:
        with self._lock:
            self._queue.extend(notice_of(release, event) for event in events)
            while len(self._queue) > QUEUE_MAX:
                self._queue.popleft()
                self.dropped += 1
            if self._queue and not self._busy:
                self._busy = True
                self._background.start(self._deliver_all())

    def counts(self) -> dict[str, int]:
        """How many events had which end so far."""
        return {"delivered": self.delivered, "failed": self.failed, "dropped": self.dropped}

    def flush(self, within_s: float = FLUSH_S) -> bool:
        """Wait until everything was delivered or given up; false when that took too long."""
        deadline = time.monotonic() + within_s
        while self._busy and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._busy

    # -------------------------------------------------------------------------------- on the background thread

    async def _deliver_all(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._busy = False
                    return
                notice = self._queue.popleft()
            problem = await self._deliver(notice)
            if problem:
                self.failed += 1
            else:
                self.delivered += 1
            self._say(problem)

    async def _deliver(self, notice: dict[str, Any]) -> str:
        """Why an event could not be delivered, after all attempts; empty when it was."""
        problem = ""
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(min(self._backoff_s * (1 << (attempt - 1)), BACKOFF_MAX_S))
            try:
                problem, again = await self._post(notice)
            except Trouble as trouble:
                problem, again = str(trouble), trouble.again
            except MeshctlError as error:
                problem, again = str(error), True
            except Exception as error:  # the next event must still go out
                problem, again = f"a defect of meshctl: {type(error).__name__}", False
            if not problem or not again:
                break
        return problem

    async def _post(self, notice: dict[str, Any]) -> tuple[str, bool]:
        body = self._secrets.hide(json.dumps(notice)).encode()
        secret = self._secrets.read(self._settings.secret, "webhook")
        headers = signed(body, secret, int(self._clock.now().timestamp())) | {"Idempotency-Key": notice["id"]}
        answer = await exchange("POST", self._settings.url, headers, body, self._timeout_s)
        if 200 <= answer.status < 300:
            return "", False
        again = answer.status in WORTH_ANOTHER_TRY or answer.status >= 500
        return f"{host_of(self._settings.url)} answered {answer.status}", again

    def _say(self, problem: str) -> None:
        """Once when it begins to fail, once when it works again."""
        if problem and not self._complained:
            log.warning("webhook: events are not delivered: %s", self._secrets.printable(problem))
        elif not problem and self._complained:
            log.info("webhook: events are delivered again; %d were not", self.failed)
        self._complained = bool(problem)


def notice_of(release: Release, event: Event) -> dict[str, Any]:
    """An event as it is posted.  ``id`` is the same however often the event is told."""
    moved = event.phase_from is not event.phase_to
    kind = "phase" if moved else "weight" if event.weight_from != event.weight_to else "note"
    notice = {
        "type": f"dev.meshctl.release.{kind}",
        "time": stamp(event.time),
        "release": release.metadata.name,
        "namespace": release.metadata.namespace,
        "run": event.run,
        "stage": event.stage,
        "phase": event.phase_to.value,
        "reason": event.reason.value if event.reason else None,
        "message": event.message,
        "weight": float(event.weight_to),
        "actor": event.actor.claimed or event.actor.type,
    }
    digest = hashlib.sha256(canonical(notice).encode("utf-8", "replace")).hexdigest()
    return {"specversion": "1.0", "id": digest[:32], "source": f"meshctl/{release.metadata.name}"} | notice


def signed(body: bytes, secret: str, timestamp: int) -> dict[str, str]:
    """The headers that prove who sent a body, and when."""
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return {"X-Meshctl-Timestamp": str(timestamp), "X-Meshctl-Signature": f"sha256={mac.hexdigest()}"}
