"""One world: the real tick around the real core, the fake adapters, and a story that happens to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from meshctl.adapters.judge import AnalysisJudge
from meshctl.adapters.memory import FakeClock, FakeRenderer, MemoryStore
from meshctl.app.commands import serve_directly
from meshctl.app.tick import Ports, tick
from meshctl.core.errors import IllegalTransition, MeshctlError
from meshctl.core.model import (
    AnalysisSpec,
    CanaryStrategy,
    Gate,
    Hook,
    HookPoint,
    Metadata,
    OnHookError,
    OnInconclusive,
    OnMetricsOutage,
    Release,
    ReleaseSpec,
    Request,
    Routing,
    Run,
    Stage,
    Strategy,
    Verb,
    WarmUp,
)
from meshctl.core.ports import NoHooks
from tests.sim.actors import (
    Actor,
    ActorHooks,
    ActorJudge,
    ActorMesh,
    ActorMetrics,
    ActorRenderer,
    ActorStore,
    ActorWorkloads,
    Crash,
    Until,
)
from tests.sim.cluster import ClusterActorStore, ClusterStore
from tests.sim.ledger import Ledger, Violation
from tests.sim.pieces import (
    BreakableJudge,
    RealMetrics,
    ScriptedJudge,
    SimHooks,
    SimMesh,
    SimMetrics,
    SimRenderer,
    SimWorkloads,
)
from tests.sim.rules import Ended, Ticked, waits_for_a_person
from tests.sim.story import ACTORS, VERSIONS, Settings, Step, Story

NEIGHBOUR = Release(Metadata("other"), ReleaseSpec(version="v0", service="other"))
TICKS_MAX = 150
"""So many ticks after the last fault a run may take until it ends or waits for a person."""

Tick = Callable[..., Any]


@dataclass(frozen=True)
class Plant:
    """What is wrong on purpose: other ports around those of an actor, another tick, another way to the cluster."""

    ports: Callable[[Ports], Ports] = lambda ports: ports
    tick: Tick = tick
    api: Callable[[Any], Any] = lambda api: api


SOUND = Plant()


@dataclass(frozen=True)
class Failure:
    """What went wrong, and after how many steps (the ending counts as one)."""

    step: int
    message: str
    rule: int


class World:
    def __init__(self, settings: Settings, plant: Plant = SOUND) -> None:
        self.settings = settings
        self.clock = FakeClock()
        self.store: Any = ClusterStore(self.clock, settings) if settings.cluster else MemoryStore()
        self.mesh = SimMesh(self.clock)
        self.workloads = SimWorkloads(self.clock, dict.fromkeys(VERSIONS, 2), settings.start_s)
        self.metrics: Any = (
            RealMetrics(self.clock, self.mesh, settings.bad_share)
            if settings.real_judge
            else SimMetrics(self.clock, self.mesh)
        )
        self.judge: Any = BreakableJudge(AnalysisJudge()) if settings.real_judge else ScriptedJudge()
        self.renderer = SimRenderer(real=settings.real_templates)
        self.mesh.apply(NEIGHBOUR, FakeRenderer().render(NEIGHBOUR, Routing("v0", None, 0.0, "other-1")))
        self.wish("v0")
        self.ledger = Ledger(settings, self.store, self.mesh, self.metrics, self.store.release("shop"), NEIGHBOUR)
        self.actors = {name: Actor(name, self.clock) for name in (*ACTORS, "person")}
        self.answers: dict[str, str] = {}
        self.hooks = {name: SimHooks(self.clock, self.answers) for name in ACTORS}
        self.stores = {name: self._store_of(actor, plant) for name, actor in self.actors.items()}
        self._tick = plant.tick
        self._ports = {name: plant.ports(self._ports_of(actor)) for name, actor in self.actors.items()}
        self._asked: list[Request] = []
        self._requests = 0
        while (run := self.store.load("shop").state.run) is None or not run.phase.ended:
            self.clock.advance(1.0)
            self.tick("one")

    def _ports_of(self, actor: Actor) -> Ports:
        return Ports(
            store=self.stores[actor.name],
            mesh=ActorMesh(actor, self.mesh, self.store, self.ledger),
            workloads=ActorWorkloads(actor, self.workloads, self.ledger),
            metrics=ActorMetrics(actor, self.metrics),
            judge=ActorJudge(actor, self.judge),
            renderer=ActorRenderer(actor, self.renderer),
            clock=actor,
            hooks=ActorHooks(actor, self.hooks[actor.name], self.ledger) if actor.name in self.hooks else NoHooks(),
        )

    def _store_of(self, actor: Actor, plant: Plant) -> Any:
        if self.settings.cluster:
            return ClusterActorStore(actor, self.store, self.ledger, plant.api)
        return ActorStore(actor, self.store, self.ledger)

    # -------------------------------------------------------------------------------- steps

    def do(self, step: Step) -> None:
        kind, *rest = step
        getattr(self, str(kind))(*rest)

    def time(self, amount: float) -> None:
        self.clock.advance(amount)

    def tick(self, name: str, reapply: bool = False) -> None:
        """A whole tick, or the rest of the one that sleeps."""
        self._work(name, lambda: self._tick(self._ports[name], "shop", reapply=reapply))

    def part(self, name: str, until: Until) -> None:
        self._work(name, lambda: self._tick(self._ports[name], "shop"), until=until)

    def crash(self, name: str, until: Until) -> None:
        self._work(name, lambda: self._tick(self._ports[name], "shop"), until=until, dies=True)

    def direct(self, verb: str, until: Until) -> None:
        """A person's command serves the request itself, beside whoever else ticks; it may be cut short."""
        request = self._request(verb, "because", None, False)
        job = partial(serve_directly, self._ports["person"], "shop", request)
        self._work("person", job, until=until, dies=until is not None)

    def lost(self, name: str) -> None:
        """The next write of a process is done and its answer gets lost."""
        self.stores[name].api.lose_answer = True

    def say(self, word: str) -> None:
        self.judge.word = word

    def hook(self, name: str, word: str) -> None:
        """What a hook answers from now on."""
        self.answers[name] = word

    def wish(self, version: str) -> None:
        if not self.store.disk_full and not self.store.unreadable:
            self.store.put_release(release_of(self.settings, version))

    def ask(self, verb: str, reason: str, weight: float | None, full: bool) -> None:
        request = self._request(verb, reason, weight, full)
        self._asked.append(request)
        self._store_request(request)

    def again(self, back: int) -> None:
        """A request arrives once more."""
        if self._asked:
            self._store_request(self._asked[-1 - back % len(self._asked)])

    def fault(self, name: str, on: bool) -> None:
        if name == "disk":
            self.store.disk_full = on
        elif name == "unreadable":
            self.store.unreadable = on
        elif name == "away":
            self.mesh.unreachable = on
        elif name == "stuck":
            self.mesh.stuck = on
            if not on:
                self.mesh.settle()
        elif name == "metrics":
            self.metrics.problem = "the scrape failed" if on else None
        elif name == "lie":
            self.metrics.lie = on
        elif name == "judge":
            self.judge.broken = on
        elif name == "template":
            self.renderer.broken = on
        else:
            self.renderer.tamper = on

    def pods(self, version: str, left: int | None) -> None:
        """So many pods of a version are left by another hand; ``None``: nobody knows."""
        self.workloads.unknown.discard(version)
        if left is None:
            self.workloads.unknown.add(version)
        else:
            self.workloads.left[version] = left

    def meddle(self, whom: str, share: float) -> None:
        state, unreadable = self._state(), self.store.unreadable
        routes = self.mesh.written(self._release())
        if routes is None or state.run is None or unreadable:
            return
        version = state.run.candidate if whom == "candidate" else whom
        serving = state.run.baseline if version == state.run.candidate else state.baseline
        if serving is None or serving == version:
            return
        after = {serving: FULL_ - share, version: share}
        self.mesh.meddle("shop", after)
        self.ledger.meddled(routes.weights, after)

    def delete(self) -> None:
        routes = self.mesh.written(self._release())
        if routes is not None and not self.store.unreadable:
            self.mesh.delete("shop")
            self.ledger.meddled(routes.weights, {})

    def skew(self, whom: str, amount: float) -> None:
        """Clocks jump: they are so many seconds off from now on."""
        for name in ACTORS if whom == "all" else (whom,):
            self.actors[name].skew = timedelta(seconds=amount)

    def stale(self, name: str, what: str) -> None:
        """The next reading of an actor is the one it had before."""
        setattr(self.actors[name], f"stale_{what}", True)

    # -------------------------------------------------------------------------------- the end

    def end(self) -> None:
        """Faults stop and sleepers go on; then people do what they are asked for, until nothing moves."""
        for fault in ("disk", "unreadable", "away", "stuck", "metrics", "lie", "judge", "template", "tamper"):
            self.fault(fault, False)
        self.answers.clear()
        self.skew("all", 0.0)
        self.workloads.unknown.clear()
        for version in self.workloads.left:
            self.workloads.left[version] = 2
        for name, actor in self.actors.items():
            if actor.asleep:
                self.tick(name)
            actor.stale_store = actor.stale_mesh = False
        self.say(self.settings.last_word)
        stuck = ""
        for _ in range(6):
            stuck = self._quieten()
            run = self._state().run
            if stuck or run is None or run.phase.ended:
                break
            self._ask_what_it_waits_for(run)
        self.clock.advance(1.0)
        self.tick("two")
        self.ledger.check(Ended(self._state(), self.mesh.in_force().get("shop", {}), stuck))

    def _quieten(self) -> str:
        """Tick until the run ends or waits for a person; words when it does neither."""
        for number in range(TICKS_MAX):
            self.clock.advance(1.0 if number < 10 else 3.0 if number < 50 else 30.0)
            self.tick("one")
            state = self._state()
            run = state.run
            if run is None or waits_for_a_person(run):
                return "" if run is None or run.waits_for else f"{run.name} waits and does not say for what"
            begun = run.candidate == self._release().spec.version or self._release().spec.version == state.baseline
            begun = begun or self._release().spec.version in state.rejected
            if run.phase.ended and run.weight == run.confirmed and begun:
                return ""
        return f"after {TICKS_MAX} ticks {run.name} is {run.phase} ({run.reason}) and waits for {run.waits_for!r}"  # type: ignore[union-attr]

    def _ask_what_it_waits_for(self, run: Run) -> None:
        verb = next((verb for verb in (Verb.PROMOTE, Verb.RESUME) if verb.value in run.waits_for), Verb.ABORT)
        if "promote or abort" in run.waits_for:
            verb = Verb.PROMOTE
        self.ask(verb.value, "as it says", None, False)

    # -------------------------------------------------------------------------------- inside

    def _work(self, name: str, job: Callable[[], Any], *, until: Until = None, dies: bool = False) -> None:
        actor = self.actors[name]
        alone = not any(each.asleep for each in self.actors.values())
        fresh = not actor.stale_store and not actor.stale_mesh
        error = actor.work(job, until=until, dies=dies)
        if isinstance(error, IllegalTransition):
            raise Violation(12, "No defect of our own stops a tick.", str(error))
        if actor.asleep:
            return
        if isinstance(error, Crash) and name in self.hooks:
            self.hooks[name].forget()
        if isinstance(error, Crash) and self.settings.cluster:
            self.stores[name].forget()
        if isinstance(error, Crash) or not (alone and fresh):
            self.ledger.unrecorded = ""
        clean = alone and fresh and error is None and not self._faulty()
        state = None if self.store.unreadable else self._state()
        live = self.mesh.written(self._release())
        if not isinstance(error, Crash) and actor.look.stored is not None:
            in_force = self.mesh.in_force().get("shop", {})
            self.ledger.check(Ticked(actor, clean, error, state, live, in_force))

    def _faulty(self) -> bool:
        store, mesh, renderer = self.store, self.mesh, self.renderer
        return (
            store.disk_full or store.unreadable or mesh.unreachable or mesh.stuck or renderer.broken or renderer.tamper
        )

    def _state(self) -> Any:
        hidden, self.store.unreadable = self.store.unreadable, False
        try:
            return self.store.load("shop").state
        finally:
            self.store.unreadable = hidden

    def _release(self) -> Release:
        hidden, self.store.unreadable = self.store.unreadable, False
        try:
            return self.store.release("shop")
        finally:
            self.store.unreadable = hidden

    def _request(self, verb: str, reason: str, weight: float | None, full: bool) -> Request:
        self._requests += 1
        return Request(f"r{self._requests}-{verb}", Verb(verb), self.clock.now(), "anna", reason, weight, full)

    def _store_request(self, request: Request) -> None:
        try:
            self.store.request("shop", request)
        except MeshctlError:
            return
        self.ledger.requested(request)


FULL_ = 100.0


def release_of(settings: Settings, version: str) -> Release:
    """The wish for a version, by the settings of a world."""
    stages = tuple(
        Stage(weight, Gate(gate), timedelta(seconds=2), timedelta(seconds=40)) for weight, gate in settings.stages
    )
    analysis = AnalysisSpec(
        on_inconclusive=OnInconclusive(settings.on_inconclusive),
        on_metrics_outage=OnMetricsOutage(settings.on_outage),
        metrics_grace=timedelta(seconds=20),
        warm_up=WarmUp.NONE,
    )
    if settings.real_judge:
        stages = tuple(replace(stage, max_duration=timedelta(seconds=300)) for stage in stages)
    spec = ReleaseSpec(
        version=version,
        service="shop",
        strategy=Strategy(canary=CanaryStrategy(stages=stages)),
        analysis=analysis,
        keep_warm=timedelta(seconds=30),
        ready_timeout=timedelta(seconds=30),
        hooks=tuple(
            Hook(name, HookPoint(moment), command=(name,), on_error=OnHookError(on_error))
            for name, moment, on_error in settings.hooks
        ),
    )
    return Release(Metadata("shop"), spec)


def play(story: Story, plant: Plant = SOUND) -> Failure | None:
    """Play a story to its end; what broke, if anything."""
    number, world = -1, None
    try:
        world = World(story.settings, plant)
        for number, step in enumerate(story.steps):  # noqa: B007
            world.do(step)
        number = len(story.steps)
        world.end()
    except Violation as violation:
        return Failure(number, str(violation), violation.number)
    except Exception as error:
        return Failure(number, f"{type(error).__name__}: {error}", 0)
    finally:
        for actor in world.actors.values() if world else ():
            actor.kill()
    return None
