"""Who ticks: processes that can stop before any effect, go on later, or die there.

A tick that stops half-way stands in a thread of its own; exactly one thread ever runs, so all is deterministic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from meshctl.core.errors import MeshctlError, StoreError
from meshctl.core.model import LiveRouting, Reading, ReadyReplicas, Routing
from meshctl.core.ports import Clock, Stored

Until = int | str | None
"""So many calls, or the name of an effect that is not reached."""


class Crash(BaseException):
    """The process died here.  No ``except Exception`` survives that."""


@dataclass
class Look:
    """What an actor found out since it last loaded the release."""

    stored: Stored | None = None
    live: LiveRouting | None = None
    ready: dict[str, ReadyReplicas | None] = field(default_factory=dict)
    reading: Reading | None = None
    words: list[Any] = field(default_factory=list)
    rendered: list[Routing] = field(default_factory=list)


class Actor:
    """One process.  ``point`` is called before everything that it does to, or asks of, the outside."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.skew = timedelta(0)
        self.look = Look()
        self.seen: Look = self.look
        self.stale_store = self.stale_mesh = False
        self.interrupted = False
        self.writes = 0
        """So many writes to a cluster since its work began."""
        self._clock = clock
        self._until: Until = None
        self._dies = self._killed = False
        self._thread: threading.Thread | None = None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._raised: BaseException | None = None

    def now(self) -> datetime:
        return self._clock.now() + self.skew

    @property
    def asleep(self) -> bool:
        """Whether a tick stands half-way."""
        return self._thread is not None

    def point(self, effect: str) -> None:
        if self._until == effect or self._until == 0:
            if self._dies:
                raise Crash
            self._sleep()
        if isinstance(self._until, int):
            self._until -= 1

    def work(self, job: Callable[[], Any], *, until: Until = None, dies: bool = False) -> BaseException | None:
        """Do a job, or go on with the one that sleeps, for so many calls or up to an effect (``None``: to its end).

        Returns what ended it before its time: `Crash`, or an error of meshctl.
        """
        self._until, self._dies = until, dies
        if self._thread is not None:
            self.interrupted = True
            self._go.release()
            return self._wait()
        self.interrupted = False
        self.writes = 0
        if until is None or dies:
            return self._do(job)
        self._thread = threading.Thread(target=self._in_thread, args=(job,), daemon=True)
        self._thread.start()
        return self._wait()

    def kill(self) -> None:
        """End a tick that sleeps."""
        if self._thread is not None:
            self._killed = True
            self.work(lambda: None)

    # -------------------------------------------------------------------------------- inside

    def _do(self, job: Callable[[], Any]) -> BaseException | None:
        try:
            job()
        except (Crash, MeshctlError) as error:
            return error
        return None

    def _in_thread(self, job: Callable[[], Any]) -> None:
        try:
            self._raised = self._do(job)
        except BaseException as error:
            self._raised = error
        self._thread = None
        self._back.release()

    def _wait(self) -> BaseException | None:
        self._back.acquire()
        raised, self._raised = self._raised, None
        if raised is not None and not isinstance(raised, Crash | MeshctlError):
            raise raised
        return raised

    def _sleep(self) -> None:
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Crash


class ActorStore:
    """The store as one actor reaches it."""

    def __init__(self, actor: Actor, store: Any, ledger: Any) -> None:
        self._actor, self._store, self._ledger = actor, store, ledger
        self.names, self.request = store.names, store.request
        self._before: Stored | None = None

    def load(self, name: str) -> Stored:
        self._actor.point("load")
        stored: Stored = self._store.load(name)
        if self._actor.stale_store and self._before is not None:
            self._actor.stale_store = False
            stored = replace(self._before, release=stored.release)
        self._before = stored
        self._actor.look = Look(stored)
        return stored

    def save(self, name: str, expected_version: int, state: Any, **rest: Any) -> int:
        self._actor.point("save")
        before = self._store.load(name)
        version: int = self._store.save(name, expected_version, state, **rest)
        self._ledger.saved(self._actor, before, expected_version, state, rest)
        return version

    def overwrite(self, name: str, expected_version: int, state: Any, **rest: Any) -> int:
        """A save that does not ask what is there: only for a planted fault."""
        self._actor.point("save")
        before = self._store.load(name)
        version: int = self._store.save(name, before.version, state, **rest)
        self._ledger.saved(self._actor, before, expected_version, state, rest)
        return version


class ActorMesh:
    """The mesh as one actor reaches it.  A full disk keeps everything from being written but the way back."""

    def __init__(self, actor: Actor, mesh: Any, store: Any, ledger: Any) -> None:
        self._actor, self._mesh, self._store, self._ledger = actor, mesh, store, ledger
        self._before: list[LiveRouting | None] = []

    def read(self, release: Any) -> LiveRouting | None:
        self._actor.point("read")
        live: LiveRouting | None = self._mesh.read(release)
        if self._actor.stale_mesh and self._before:
            self._actor.stale_mesh = False
            live = self._before[-1]
        self._before = [live]
        self._actor.look.live = live
        return live

    def apply(self, release: Any, objects: Any, **rest: Any) -> str:
        self._actor.point("apply")
        if self._store.disk_full:
            raise StoreError("the routes cannot be written: no space left (a fault was asked for)")
        before = self._mesh.written(release)
        revision: str = self._mesh.apply(release, objects, **rest)
        self._ledger.wrote(self._actor, before, self._mesh.written(release), objects)
        return revision

    def lower(self, release: Any, run: str) -> str | None:
        self._actor.point("lower")
        before = self._mesh.written(release)
        revision: str | None = self._mesh.lower(release, run)
        if revision is not None:
            self._ledger.wrote(self._actor, before, self._mesh.written(release), None)
        return revision

    def confirm(self, release: Any, revision: str, timeout_s: float) -> bool:
        self._actor.point("confirm")
        confirmed: bool = self._mesh.confirm(release, revision, timeout_s)
        return confirmed


class ActorWorkloads:
    """The replicas as one actor reaches them."""

    def __init__(self, actor: Actor, workloads: Any, ledger: Any) -> None:
        self._actor, self._workloads, self._ledger = actor, workloads, ledger

    def ready(self, release: Any, version: str) -> ReadyReplicas | None:
        found: ReadyReplicas | None = self._workloads.ready(release, version)
        self._actor.look.ready[version] = found
        return found

    def ensure(self, release: Any, version: str, *, run: int) -> None:
        self._actor.point("ensure")
        self._workloads.ensure(release, version, run=run)

    def retire(self, release: Any, keep: Any, *, run: int) -> None:
        self._actor.point("retire")
        before = self._workloads.running(release)
        self._workloads.retire(release, keep, run=run)
        self._ledger.retired(self._actor, before - self._workloads.running(release))


class ActorMetrics:
    """The metrics as one actor reads them."""

    def __init__(self, actor: Actor, metrics: Any) -> None:
        self._actor, self._metrics = actor, metrics

    def read(self, *args: Any, **rest: Any) -> Reading:
        self._actor.point("read")
        reading: Reading = self._metrics.read(self._actor, *args, **rest)
        self._actor.look.reading = reading
        return reading


class ActorJudge:
    """The judge, and what an actor heard from it."""

    def __init__(self, actor: Actor, judge: Any) -> None:
        self._actor, self._judge = actor, judge

    def learn(self, state: str, analysis: Any, blocks: Any) -> str:
        text: str = self._judge.learn(state, analysis, blocks)
        return text

    def fold(self, state: str, analysis: Any, terms: Any, blocks: Any) -> tuple[str, Any]:
        state, word = self._judge.fold(state, analysis, terms, blocks)
        self._actor.look.words.append((terms, blocks, word))
        return state, word


class ActorHooks:
    """The hooks as one actor asks them."""

    def __init__(self, actor: Actor, hooks: Any, ledger: Any) -> None:
        self._actor, self._hooks, self._ledger = actor, hooks, ledger

    def keep(self, release: Any, calls: Any) -> None:
        self._actor.point("ask")
        self._ledger.asked(self._actor, calls)
        self._hooks.keep(release, calls)

    def answers(self, release: Any) -> Any:
        found = self._hooks.answers(release)
        self._ledger.answered_by_hooks(found)
        return found


class ActorRenderer:
    """The renderer, and what an actor had rendered."""

    def __init__(self, actor: Actor, renderer: Any) -> None:
        self._actor, self._renderer = actor, renderer
        self.digest = renderer.digest

    def render(self, release: Any, routing: Routing) -> Any:
        objects = self._renderer.render(release, routing)
        self._actor.look.rendered.append(routing)
        return objects
