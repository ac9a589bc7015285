"""The controller of a cluster: watches, looks at what moves, leaves alone what is idle.

A release that moves is looked at every ten seconds and at once when something about it changes; an idle one costs
nothing but its place in the caches.  The loop holds nothing of a run: it may be killed at any moment, and two of them
do no harm, since every write is made only over what it was decided on.
"""

from __future__ import annotations

import logging
import threading
import time

from meshctl.controller.due import DueQueue
from meshctl.controller.election import Election
from meshctl.controller.looks import Looks, Pace, World, jittered
from meshctl.controller.telling import Observer

log = logging.getLogger(__name__)

WORKERS = 8
RESYNC_S = 300.0
"""So often every release is asked for in the caches, whatever was heard of it."""

ROUND_S = 1.0
NAMES_ROUNDS = 30
"""So many rounds pass until the observer hears again which releases there are: of ten thousand that is work."""

LATE_S = 30.0
"""A release that has waited for so long says that there are too few hands."""

TAKE_S = 3600.0
STOP_S = 20.0
"""So long a tick that is under way may take to end when the controller is told to stop."""


class ClusterController:
    """Works while it holds the lease, until it is told to stop."""

    def __init__(
        self,
        world: World,
        election: Election,
        observer: Observer | None = None,
        *,
        workers: int = WORKERS,
        pace: Pace | None = None,
    ) -> None:
        self._world = world
        self._election = election
        election.tell(self._elected)
        self._observer = observer
        self._queue = DueQueue()
        self._looks = Looks(world, observer, pace)
        self._workers = [
            threading.Thread(target=self._work, name=f"tick {number}", daemon=True) for number in range(workers)
        ]
        self._stopped = threading.Event()

    def run(self, for_s: float | None = None) -> list[str]:
        """Fill the caches, take part in the election, tick until told to stop or the time is up; then give the lease
        back.  Returns the releases whose last look met trouble.

        Raises what `World.start` raises, before anything was done.
        """
        began = time.monotonic()
        self._world.start(self._queue.wake)
        try:
            log.info("controller is up: %d releases are known", len(self._world.names()))
            for worker in self._workers:
                worker.start()
            self._election.start()
            self._watch_over(None if for_s is None else began + for_s)
        finally:
            self._go_down()
        return self._looks.troubled()

    def stop(self) -> None:
        self._stopped.set()

    # -------------------------------------------------------------------------------- the round

    def _watch_over(self, until: float | None) -> None:
        """Tell how things stand, and now and then ask for every release, until told to stop or ``until``."""
        left, rounds = jittered(RESYNC_S), 0
        while until is None or time.monotonic() < until:
            round_s = ROUND_S if until is None else min(ROUND_S, max(until - time.monotonic(), 0.0))
            if self._stopped.wait(round_s):
                return
            left -= ROUND_S
            if left <= 0:
                left = jittered(RESYNC_S)
                self._look_at_all()
            late = self._queue.late_s()
            problems = list(self._world.problems())
            if late > LATE_S and self._election.held():
                problems.append(f"a release has waited for {late:.0f} s to be looked at")
            self._looks.teller.tell("", [problem for problem in problems if "has waited" not in problem])
            if self._observer is not None:
                self._observer.looked(None if rounds % NAMES_ROUNDS else self._world.names(), problems)
            rounds += 1

    def _elected(self, held: bool) -> None:
        if not held:
            return
        self._look_at_all()
        for name in self._world.names():
            if self._world.strayed(name):
                self._queue.wake(name)

    def _look_at_all(self) -> None:
        """Queue whatever is not idle."""
        for name in self._world.names():
            after_s = self._world.due_s(name)
            if after_s is not None:
                self._queue.wake(name, after_s)

    def _go_down(self) -> None:
        log.info("going down: what is under way is finished, then the lease is given back")
        self._stopped.set()
        self._queue.close()
        for worker in self._workers:
            if worker.is_alive():
                worker.join(STOP_S)
        self._election.stop()
        self._world.stop()

    # -------------------------------------------------------------------------------- one release

    def _work(self) -> None:
        while not self._stopped.is_set():
            name = self._queue.take(TAKE_S)
            if name is None:
                continue
            again_s = None
            try:
                if self._election.held():
                    again_s = self._looks.look(name)
            finally:
                if again_s is not None:
                    self._queue.wake(name, again_s)
                self._queue.done(name)
