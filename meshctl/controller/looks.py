"""One look at one release of a cluster, and when it wants the next; shared by whoever stays and whoever ticks once."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from meshctl.app.tick import Ports, TickResult, tick
from meshctl.controller.telling import Observer, Teller
from meshctl.core.decide import TICK

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How soon a release is looked at again, in seconds."""

    moving_s: float = 10.0
    close_s: float = 1.0
    """While a weight is on its way, a hook is asked, or everybody else was faster."""
    failed_max_s: float = 300.0
    """How late at most, after ever longer pauses, where something is wrong with a release that does not move."""


class World(Protocol):
    """A cluster as the loop sees it; releases are named ``namespace/release``.  See `meshctl.wiring_cluster`."""

    def start(self, look: Callable[[str], None]) -> None:
        """Fill the caches, then call ``look`` for every release that something happened to.

        Raises what will not get better by itself: `Forbidden`, `Refused` (no CRDs, no Istio).
        """
        ...

    def stop(self) -> None: ...

    def names(self) -> Sequence[str]:
        """All releases that are known."""
        ...

    def due_s(self, name: str) -> float | None:
        """In how many seconds a release should be looked at by what the caches say of it; ``None``: it is idle.

        Costs no call.
        """
        ...

    def strayed(self, name: str) -> bool:
        """Whether the routes of a release are not as they were written, by the caches: somebody else's hand."""
        ...

    def knows(self, name: str) -> bool:
        """Whether a release is still there, by the caches."""
        ...

    def ports(self, namespace: str) -> Ports: ...

    def follow(self, name: str, *, moving: bool) -> None:
        """Whether the end of a pod of this release should be heard of at once."""
        ...

    def problems(self) -> Sequence[str]:
        """What keeps the caches from being up to date."""
        ...


class Looks:
    """Looks at releases, one at a time each; several threads may look at several."""

    def __init__(self, world: World, observer: Observer | None = None, pace: Pace | None = None) -> None:
        self.teller = Teller(log)
        self._world, self._observer, self._pace = world, observer, pace or Pace()
        self._seen: set[str] = set()
        self._failures: dict[str, int] = {}

    def troubled(self) -> list[str]:
        """The releases whose last look met trouble."""
        return sorted(self._failures)

    def look(self, name: str) -> float | None:
        """Tick one release, and in how many seconds it is to be looked at again.

        Trouble with one never stops the others, not even a defect of ours.
        """
        if not self._world.knows(name):
            self._seen.discard(name)
            self._failures.pop(name, None)
            self.teller.forget(name)
            self._world.follow(name, moving=False)
            return None
        namespace, _, release = name.partition("/")
        began, result = time.monotonic(), None
        try:
            ports = self._world.ports(namespace)
            result = tick(ports, release, reapply=name not in self._seen)
        except Exception as error:
            self.teller.stumble(name, error)
            return self._after_failure(name, self._pace.moving_s)
        finally:
            if self._observer is not None:
                self._observer.ticked(name, result, time.monotonic() - began)
        self.teller.note(name, result)
        if name not in self._seen and not result.problems:
            self._seen.add(name)
            self.teller.stand(name, result)
        return self._after(name, result, ports.clock.now())

    def _after(self, name: str, result: TickResult, now: datetime) -> float | None:
        decision = result.decision
        if decision is None:
            return jittered(self._pace.close_s)
        wake_at, run = decision.wake_at, decision.state.run
        moving = wake_at is not None and wake_at <= now + TICK
        self._world.follow(name, moving=moving)
        if result.problems:
            return self._after_failure(name, self._pace.moving_s if moving else self._pace.failed_max_s)
        self._failures.pop(name, None)
        if wake_at is None:
            return None
        if not moving:
            return max((wake_at - now).total_seconds(), 0.0)
        close = bool(decision.hooks) or run is None or run.weight != run.confirmed
        return jittered(self._pace.close_s if close else self._pace.moving_s)

    def _after_failure(self, name: str, most_s: float) -> float:
        """Ever later, but never later than ``most_s``."""
        times = self._failures[name] = self._failures.get(name, 0) + 1
        return jittered(min(self._pace.close_s * 2.0 ** min(times - 1, 10), most_s))


def jittered(seconds: float) -> float:
    """So that what began together does not stay together."""
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
