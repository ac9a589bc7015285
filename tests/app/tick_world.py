"""The in-memory world with a judge that says what it is told, and the ways to break it at any effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from meshctl.adapters.memory import FakeWorld
from meshctl.app.tick import Ports, TickResult, tick
from meshctl.core.errors import TemplateError
from meshctl.core.model import (
    CanaryStrategy,
    Judgement,
    Metadata,
    Release,
    ReleaseSpec,
    Request,
    Run,
    Stage,
    Strategy,
    Verb,
    Verdict,
)
from tests.core.small_world import judged

OLD, NEW, NEWER = "1.0.0", "2.0.0", "3.0.0"
STAGES = tuple(
    Stage(weight, min_duration=timedelta(seconds=5), max_duration=timedelta(seconds=100))
    for weight in (1.0, 10.0, 50.0, 100.0)
)


class Crash(Exception):
    """The process died here."""


class ScriptedJudge:
    """Says ``word`` after every block; its state is the list of entries it was given blocks of."""

    def __init__(self):
        self.word: Judgement = judged(Verdict.UNDECIDED)
        self.learnt: list[Any] = []
        self.folded: list[tuple[int, Any]] = []

    def learn(self, state, analysis, blocks):
        self.learnt += blocks
        return f"{state}-"

    def fold(self, state, analysis, terms, blocks):
        self.folded += [(terms.entry, block) for block in blocks]
        return f"{state}{terms.entry}", self.word


class BreakableRenderer:
    """Renders, unless ``broken`` says no to a routing."""

    def __init__(self, inner):
        self._inner = inner
        self.broken: Callable[[Any], bool] = lambda routing: False

    def render(self, release, routing):
        if self.broken(routing):
            raise TemplateError("the template does not render")
        return self._inner.render(release, routing)

    def digest(self):
        return self._inner.digest()


class Watched:
    """A port whose writing calls are written down, and before or after any of which the process can die."""

    def __init__(self, inner, name, effects, log):
        self._inner, self._name, self._effects, self._log = inner, name, effects, log

    def __getattr__(self, name):
        method = getattr(self._inner, name)
        if name not in self._effects:
            return method

        def called(*args, **kwargs):
            self._log.happen(f"{self._name}.{name}", "before")
            result = method(*args, **kwargs)
            self._log.happen(f"{self._name}.{name}", "after")
            return result

        return called


class Log:
    """What happened, in order; hooks run at moments of the form ``("store.save", "before")``."""

    def __init__(self):
        self.effects: list[str] = []
        self.hooks: list[Callable[[str, str], None]] = []

    def happen(self, effect, moment):
        for hook in self.hooks:
            hook(effect, moment)
        if moment == "after":
            self.effects.append(effect)


class TickWorld:
    """Release ``shop`` in a `FakeWorld`, ticked by hand; every version has two replicas that are ready at once."""

    def __init__(self, *, stages=STAGES, start_s=0.0, serving=True):
        self.world = FakeWorld.of({OLD: 2, NEW: 2, NEWER: 2}, start_s=start_s)
        self.judge, self.renderer, self.log = ScriptedJudge(), BreakableRenderer(self.world.renderer), Log()
        self.ports = Ports(
            store=Watched(self.world.store, "store", {"save"}, self.log),
            mesh=Watched(self.world.mesh, "mesh", {"apply", "lower"}, self.log),
            workloads=Watched(self.world.workloads, "workloads", {"retire"}, self.log),
            metrics=self.world.metrics,
            judge=self.judge,
            renderer=self.renderer,
            clock=self.world.clock,
        )
        self.stages = stages
        self.asked = 0
        if serving:
            self.wish(OLD)
            self.tick(2)
            assert self.state.baseline == OLD

    # -------------------------------------------------------------------------------- hands

    def wish(self, version, **changes):
        strategy = Strategy(canary=CanaryStrategy(stages=self.stages))
        spec = ReleaseSpec(version=version, service="shop", strategy=strategy, keep_warm=timedelta(seconds=60))
        self.world.store.put_release(Release(Metadata("shop"), replace(spec, **changes)))

    def ask(self, verb, *, reason="", weight=None, full=False):
        self.asked += 1
        request = Request(f"r{self.asked}", verb, self.world.clock.now(), "anna", reason, weight, full)
        self.world.store.request("shop", request)
        return request

    def abort(self):
        return self.ask(Verb.ABORT)

    def tick(self, times=1, *, seconds=1.0) -> TickResult:
        for _ in range(times):
            self.world.clock.advance(seconds)
            result = tick(self.ports, "shop")
        return result

    def say(self, verdict, **more):
        self.judge.word = judged(verdict, **more)

    def reach(self, weight):
        """Pass stages until the candidate has so much."""
        word = self.judge.word
        self.say(Verdict.PASS)
        for _ in range(60):
            self.tick()
            if self.run.confirmed == weight:
                break
        else:
            raise AssertionError(f"{weight} % was not reached")
        self.judge.word = word
        self.log.effects.clear()

    # -------------------------------------------------------------------------------- looks

    @property
    def state(self):
        return self.world.store.load("shop").state

    @property
    def run(self) -> Run:
        run = self.state.run
        assert run is not None
        return run

    @property
    def live(self):
        """Percent by version in the data plane."""
        return self.world.mesh.in_force().get("shop", {})

    @property
    def routes(self):
        return self.world.mesh.read(self.world.store.release("shop"))

    @property
    def running(self):
        return self.world.workloads.running(self.world.store.release("shop"))

    def share(self, version=NEW):
        return self.live.get(version, 0.0)
