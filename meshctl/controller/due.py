"""What is to be looked at next, and when: a queue of releases with a due time each, worked off by several threads."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable

Key = str


class DueQueue:
    """Keys with the moment (seconds of ``monotonic``) at which each wants to be looked at.

    A key is due once at a time, the earliest moment counts, and it is never in two hands: who is told of a key that
    is being looked at is heard when that look is over.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._in_hand: set[Key] = set()
        self._closed = False

    def wake(self, key: Key, after_s: float = 0.0) -> None:
        """Have a key looked at within so many seconds, unless it is due before."""
        moment = self._monotonic() + max(after_s, 0.0)
        with self._changed:
            if moment < self._due.get(key, float("inf")):
                self._due[key] = moment
                heapq.heappush(self._heap, (moment, key))
                self._changed.notify()

    def forget(self, key: Key) -> None:
        """Never look at a key again, unless it is woken anew."""
        with self._changed:
            self._due.pop(key, None)

    def take(self, timeout_s: float) -> Key | None:
        """The key that has been due for longest, now in the hands of the caller, who must say `done`.

        ``None`` when there is none for ``timeout_s`` seconds, or at once when the queue is closed.
        """
        deadline = self._monotonic() + timeout_s
        with self._changed:
            while not self._closed:
                now = self._monotonic()
                key, moment = self._next(now)
                if key is not None:
                    del self._due[key]
                    self._in_hand.add(key)
                    return key
                left = min(deadline, moment) - now
                if deadline <= now:
                    return None
                self._changed.wait(left)
        return None

    def done(self, key: Key) -> None:
        """The look at a key is over; what it was woken for meanwhile counts."""
        with self._changed:
            self._in_hand.discard(key)
            if key in self._due:
                heapq.heappush(self._heap, (self._due[key], key))
                self._changed.notify()

    def close(self) -> None:
        """Give nothing out any more, and let go of everybody who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def idle(self) -> bool:
        """Whether nothing is in anybody's hands."""
        with self._changed:
            return not self._in_hand

    def __len__(self) -> int:
        """How many keys have a due time."""
        with self._changed:
            return len(self._due)

    def late_s(self) -> float:
        """For how long the key has waited that waits longest, of those that could be taken."""
        with self._changed:
            now = self._monotonic()
            key, moment = self._next(now)
            return now - moment if key is not None else 0.0

    def _next(self, now: float) -> tuple[Key | None, float]:
        """The key that is due, with its moment; else none, with the moment of the next.  What is out of date, or in
        somebody's hands, is dropped: `done` brings the latter back."""
        while self._heap:
            moment, key = self._heap[0]
            if self._due.get(key) != moment or key in self._in_hand:
                heapq.heappop(self._heap)
            else:
                return (key if moment <= now else None), moment
        return None, float("inf")
