"""The core, exhaustively but bounded: every order of two requests, two faults and three verdicts.

Worlds that came to the same state by different orders are one world, so all of them are visited in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from datetime import timedelta

import pytest

from meshctl.core.model import Gate, Phase, ReadyReplicas, Stage, Verb, Verdict
from tests.core.small_world import SmallWorld, judged, release_of

OLD, NEW = "1.0.0", "2.0.0"
STAGES = tuple(
    Stage(weight, gate, timedelta(seconds=0), timedelta(seconds=6))
    for weight, gate in ((10.0, Gate.AUTO), (50.0, Gate.MANUAL), (100.0, Gate.AUTO))
)
LEFT = {"request": 2, "fault": 2, "verdict": 3}
REQUESTS = tuple(verb.value for verb in Verb)
FAULTS = ("mesh away", "replicas gone", "lowered by other", "raised by other", "crash after lowering", "no blocks")
VERDICTS = tuple(verdict.value for verdict in Verdict)
MOVES = {"request": REQUESTS, "fault": FAULTS, "verdict": VERDICTS}


def begun() -> SmallWorld:
    """A run whose candidate has its first weight."""
    world = SmallWorld(release_of("0", STAGES, keep_warm_s=1000))
    for version in (OLD, NEW):
        world.wish(version)
        world.ready(version)
        world.tick()
    assert world.run.weight == STAGES[0].weight
    return world


def moved(world: SmallWorld, kind: str, what: str) -> SmallWorld:
    """The world one tick after something happened; what is broken is whole again after it."""
    world = copy(world)
    world.replicas, world.pending, world.history = dict(world.replicas), [], []
    world.judgement = judged(Verdict.UNDECIDED)
    if kind == "request":
        world.ask(Verb(what), reason="because", weight=30.0 if what == "set-weight" else None)
    elif kind == "verdict":
        world.judgement = judged(Verdict(what))
    elif what == "mesh away":
        world.mesh_problem = "connection refused"
    elif what == "replicas gone":
        world.replicas[NEW] = ReadyReplicas(0, 2)
    elif what == "no blocks":
        world.judgement = None
    elif world.live is not None and what == "crash after lowering":
        world.mark()
    elif world.live is not None:
        world.meddle(1.0 if what == "lowered by other" else 90.0)
    before = world.state
    world.tick()
    check(before, world, kind, what)
    world.mesh_problem = ""
    world.ready(NEW)
    return world


def check(before, world: SmallWorld, kind: str, what: str) -> None:
    """What must hold for every step."""
    old, run = before.run, world.run
    share = world.live.weights.get(NEW, 0.0) if world.live is not None else 0.0
    if old.name == run.name and old.phase is Phase.ROLLED_BACK:
        assert run.phase is Phase.ROLLED_BACK
    if run.phase is Phase.ROLLED_BACK and not world.mesh_problem:
        assert share == 0.0
    if not old.phase.ended and (what in ("abort", "fail", "crash after lowering") or what == "replicas gone"):
        heard = what != "fail" or old.weight == old.confirmed
        assert run.phase is Phase.ROLLED_BACK or not heard
    if run.name == old.name and not old.phase.ended and run.phase is Phase.PROMOTED:
        assert what == "pass" or old.gate_opened or what == "promote"
    if what == "lowered by other" and run.name == old.name and run.phase not in (Phase.ROLLED_BACK, Phase.PROMOTED):
        assert share <= max(1.0, old.confirmed)
    if not run.phase.ended:
        assert run.waits_for or run.gate_opened


def visited(world: SmallWorld, left: dict[str, int]) -> Iterator[tuple[SmallWorld, dict[str, int]]]:
    """Every world that can be reached, level by level."""
    level = {key_of(world, left): (world, left)}
    while level:
        following = {}
        for world, left in level.values():
            yield world, left
            possible = [(kind, what) for kind in left if left[kind] for what in MOVES[kind]]
            for kind, what in possible:
                after, rest = moved(world, kind, what), {**left, kind: left[kind] - 1}
                following[key_of(after, rest)] = (after, rest)
        level = following


def key_of(world: SmallWorld, left: dict[str, int]) -> tuple[object, ...]:
    run = world.run
    words = replace(run, message="", waits_for="", judgement=None)
    state = replace(world.state, run=words, acknowledged=())
    return (repr(state), repr(world.live), world.requests, *left.values())


@pytest.fixture(scope="module")
def ends() -> list[SmallWorld]:
    return [world for world, left in visited(begun(), LEFT) if not any(left.values())]


def test_every_order_keeps_the_rules_and_leads_to_every_end(ends):
    assert len(ends) > 100
    assert {world.run.phase for world in ends} >= {Phase.PROMOTED, Phase.ROLLED_BACK, Phase.HELD, Phase.PAUSED}


def test_from_every_state_an_abort_or_a_rollback_leads_back_in_one_step(ends):
    for world in ends:
        run = world.run
        if run.phase is Phase.ROLLED_BACK:
            continue
        verb = "rollback" if run.phase is Phase.PROMOTED else "abort"
        if moved(world, "request", verb).run.phase is not Phase.ROLLED_BACK:
            assert run.phase is Phase.PROMOTED
            assert world.state.warm is None


def test_from_every_state_a_passing_judge_and_a_willing_person_lead_to_the_end(ends):
    for world in ends:
        for _ in range(30):
            if world.run.phase.ended:
                break
            waits = world.run.waits_for
            verb = "promote" if "promote" in waits else "resume" if "resume" in waits else ""
            world = moved(world, "request", verb) if verb else moved(world, "verdict", "pass")
        assert world.run.phase.ended, f"{world.run.phase} {world.run.reason} waits for {world.run.waits_for!r}"
