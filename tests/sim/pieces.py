"""The world's own pieces: the fake adapters, with what chance may do to them and what really happened."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from meshctl.adapters.memory import BOUNDS_MS, Behaviour, FakeClock, FakeMesh, FakeMetrics, FakeRenderer, FakeWorkloads
from meshctl.adapters.templates import TemplateRenderer
from meshctl.core.errors import JudgeError, TemplateError
from meshctl.core.guard import find_lies
from meshctl.core.model import (
    FULL,
    ArmCounts,
    Block,
    HookAnswer,
    HookCall,
    HookOutcome,
    LiveRouting,
    Reading,
    ReadyReplicas,
    Reason,
    Release,
    Verdict,
)
from tests.core.small_world import judged

RPS = 100.0


@dataclass(frozen=True, slots=True)
class Force:
    """Weights that came into force, when, by whose hand, and whether nobody could see it."""

    at: datetime
    weights: dict[str, float]
    foreign: bool
    unseen: bool


class SimMesh(FakeMesh):
    """Keeps who changed what, and can lose its routes by another hand."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.forces: list[Force] = []
        self.foreign = False

    def written(self, release: Release) -> LiveRouting | None:
        """What stands in the routes, whoever may reach them."""
        away, self.unreachable = self.unreachable, False
        try:
            return self.read(release)
        finally:
            self.unreachable = away

    def meddle(self, name: str, weights: Any) -> None:
        self.foreign = True
        super().meddle(name, weights)
        self.foreign = False

    def delete(self, name: str) -> None:
        """Somebody deletes the routes."""
        for each in self.before_change:
            each()
        self._written.pop(name, None)
        self._in_force.pop(name, None)
        self.forces.append(Force(self.clock.now(), {}, True, self.unreachable))

    def _take_up(self, name: str) -> None:
        super()._take_up(name)
        weights = dict(self._in_force[name].weights)
        self.forces.append(Force(self.clock.now(), weights, self.foreign, self.unreachable))


class SimWorkloads(FakeWorkloads):
    """Pods come and go by another hand: ``left`` are so many of a version's two."""

    def __init__(self, clock: FakeClock, versions: dict[str, int], start_s: float) -> None:
        super().__init__(clock, versions, start_s)
        self.left: dict[str, int] = {}

    def ready(self, release: Release, version: str) -> ReadyReplicas | None:
        found = super().ready(release, version)
        if found is None or version not in self.left:
            return found
        return replace(found, ready=min(found.ready, self.left[version]))


class SimMetrics:
    """Counts requests by the weights in force, in true time, and stamps blocks with the reader's clock.

    ``lie`` makes it say that the candidate got nothing at all.
    """

    def __init__(self, clock: FakeClock, mesh: SimMesh) -> None:
        self.problem: str | None = None
        self.lie = False
        self.spans: dict[Block, tuple[datetime, datetime]] = {}
        self._clock, self._mesh = clock, mesh
        self._totals: dict[str, float] = {}
        self._to = clock.now()
        mesh.before_change.append(self._count)

    def read(
        self,
        reader: Any,
        release: Any,
        old: str,
        new: str,
        cursor: str,
        *,
        entry: int,
        weight: float,
        counts: bool,
    ) -> Reading:
        if self.problem:
            return Reading((), cursor, self.problem)
        self._count()
        true, now = self._clock.now(), reader.now()
        totals = [self._totals.get(version, 0.0) for version in (old, new)]
        following = json.dumps([true.timestamp(), now.timestamp(), totals])
        if not cursor or not counts:
            return Reading((), following)
        true_start, start, before = json.loads(cursor)
        if start >= now.timestamp():
            return Reading((), following)
        done = [math.floor(a - b + 0.5) for a, b in zip(totals, before, strict=True)]
        arms = ArmCounts(done[0], 0), ArmCounts(0 if self.lie else done[1], 0)
        block = Block(datetime.fromtimestamp(start, UTC), now, entry, weight, *arms)
        self.spans[block] = (datetime.fromtimestamp(true_start, UTC), true)
        return Reading((block,), following)

    def _count(self) -> None:
        seconds = (self._clock.now() - self._to).total_seconds()
        self._to = self._clock.now()
        for version, weight in self._mesh.in_force().get("shop", {}).items():
            self._totals[version] = self._totals.get(version, 0.0) + RPS * seconds * weight / FULL


class RealMetrics(FakeMetrics):
    """Requests with latencies, for the real judge; ``lie`` as in `SimMetrics`."""

    def __init__(self, clock: FakeClock, mesh: SimMesh, bad_share: float) -> None:
        super().__init__(clock, mesh, rps=400.0)
        self.lie = False
        self.spans: dict[Block, tuple[datetime, datetime]] = {}
        for version in ("v1", "v2"):
            self.behave(version, Behaviour(bad=bad_share))

    def read(self, reader: Any, *args: Any, **rest: Any) -> Reading:  # type: ignore[override]
        reading = super().read(*args, **rest)
        if reading.blocks == ():
            return reading
        block = reading.blocks[0]
        if self.lie:
            block = replace(block, candidate=ArmCounts(0, 0, (0,) * (len(BOUNDS_MS) + 1)))
        self.spans[block] = (block.start, block.end)
        return replace(reading, blocks=(block,))


class SimHooks:
    """Who is asked on the way, as one controller asks: what it has under way dies with it.

    ``words`` says what each hook answers from now on; one that says ``hang`` is given up after its timeout.
    """

    def __init__(self, clock: FakeClock, words: dict[str, str]) -> None:
        self._clock, self._words = clock, words
        self._under_way: dict[tuple[str, int], tuple[HookCall, str, datetime]] = {}

    def keep(self, release: Release, calls: Sequence[HookCall]) -> None:
        now = self._clock.now()
        fresh = {(call.key, call.asking): (call, self._words.get(call.hook.name, "pass"), now) for call in calls}
        self._under_way = {key: self._under_way.get(key, begun) for key, begun in fresh.items()}

    def answers(self, release: Release) -> list[HookAnswer]:
        now, found = self._clock.now(), []
        for (key, asking), (call, word, since) in self._under_way.items():
            if word != "hang":
                found.append(HookAnswer(key, asking, HookOutcome(word)))
            elif now - since >= call.hook.timeout:
                found.append(HookAnswer(key, asking, HookOutcome.ERROR, "no answer in time"))
        return found

    def forget(self) -> None:
        """The controller died."""
        self._under_way.clear()


class ScriptedJudge:
    """Says what it is told; its state counts the blocks it was given."""

    def __init__(self) -> None:
        self.word = "pass"
        self.broken = False

    def learn(self, state: str, analysis: Any, blocks: Sequence[Block]) -> str:
        return self._fed(state, blocks)

    def fold(self, state: str, analysis: Any, terms: Any, blocks: Sequence[Block]) -> tuple[str, Any]:
        state = self._fed(state, blocks)
        if not blocks[-1].candidate.requests:
            return state, word_of("undecided")
        if self.word == "undecided" and not terms.comparable:
            return state, word_of("pass")
        return state, word_of(self.word)

    def _fed(self, state: str, blocks: Sequence[Block]) -> str:
        if self.broken:
            raise JudgeError("the judge does not understand its state (a fault was asked for)")
        return str(int(state or 0) + len(blocks))


@cache
def word_of(word: str) -> Any:
    """The judgement that a word of the script stands for."""
    if word in ("fail", "guard"):
        return judged(Verdict.FAIL, guard=word == "guard")
    if word in ("NoTraffic", "ShareMismatch"):
        return judged(Verdict.UNDECIDED, wait=Reason(word))
    if word == "step-down":
        return judged(Verdict.UNDECIDED, step_down=True)
    return judged(Verdict(word))


class BreakableJudge:
    """The real judge, with a switch."""

    def __init__(self, judge: Any) -> None:
        self._judge = judge
        self.broken = False
        self.word = ""

    def learn(self, *args: Any) -> Any:
        self._break()
        return self._judge.learn(*args)

    def fold(self, *args: Any) -> Any:
        self._break()
        return self._judge.fold(*args)

    def _break(self) -> None:
        if self.broken:
            raise JudgeError("the judge does not understand its state (a fault was asked for)")


class SimRenderer:
    """Renders, plainly or by the real templates; ``broken`` fails, ``tamper`` changes what the template wrote.

    What was tampered with goes through the same guard as every rendered object.
    """

    def __init__(self, *, real: bool) -> None:
        self.broken = self.tamper = False
        self._real = real
        self._inner: Any = templates() if real else FakeRenderer()

    def render(self, release: Release, routing: Any) -> Any:
        if self.broken:
            raise TemplateError("the template does not render (a fault was asked for)")
        objects = self._inner.render(release, routing)
        if not (self.tamper and self._real):
            return objects
        objects = lying(objects)
        lies = find_lies(release, routing, objects)
        if lies:
            raise TemplateError(f"the template renders what was not decided: {lies[0].message}")
        return objects

    def digest(self) -> str:
        text: str = self._inner.digest()
        return text


@cache
def templates() -> TemplateRenderer:
    return TemplateRenderer()


def lying(objects: Any) -> Any:
    """The same objects with everything sent to the last destination."""
    objects = copy.deepcopy(list(objects))
    for each in objects:
        for route in each["spec"].get("http", ()):
            for place in route["route"]:
                place["weight"] = 0
            route["route"][-1]["weight"] = 1000
    return objects


def seconds(amount: float) -> timedelta:
    return timedelta(seconds=amount)
