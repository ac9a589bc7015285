"""A story is what happens in one world: settings and a list of steps.  A seed makes one, always the same.

Steps are plain tuples, so that a story can be printed, cut down and played again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

VERSIONS = ("v0", "v1", "v2", "v3")
ACTORS = ("one", "two", "cron")
EFFECTS = ("load", "read", "save", "ask", "ensure", "apply", "lower", "confirm", "retire")
FAULTS = ("disk", "unreadable", "away", "stuck", "metrics", "metrics", "lie", "judge", "template", "tamper")

Step = tuple[object, ...]


@dataclass(frozen=True)
class Settings:
    """What does not change within a world."""

    stages: tuple[tuple[float, str], ...] = ((10.0, "auto"), (50.0, "auto"), (100.0, "auto"))
    on_inconclusive: str = "rollback"
    on_outage: str = "hold"
    start_s: float = 0.0
    last_word: str = "pass"
    real_templates: bool = False
    real_judge: bool = False
    bad_share: float = 0.0
    """Real judge only: how many requests the candidates fail."""
    hooks: tuple[tuple[str, str, str], ...] = ()
    """Name, moment and ``onError`` of every hook."""
    cluster: bool = False
    """The store is the one of a cluster, on an API server in memory."""
    write_behind_s: float = 0.0
    bytes_max: int = 65_536


@dataclass(frozen=True)
class Story:
    seed: int
    settings: Settings
    steps: tuple[Step, ...]


STAGES = (
    ((10.0, "auto"), (50.0, "auto"), (100.0, "auto")),
    ((1.0, "auto"), (100.0, "auto")),
    ((10.0, "auto"), (50.0, "manual"), (100.0, "auto")),
    ((50.0, "auto"), (80.0, "auto"), (100.0, "auto")),
    ((0.1, "manual"), (20.0, "auto")),
)
HOOKS = (
    (("smoke", "afterStage", "hold"), ("gate", "beforeStage", "fail"), ("sorry", "rollback", "hold")),
    (("gate", "beforeStage", "hold"), ("smoke", "afterStage", "ignore"), ("bell", "promotion", "fail")),
)
WORDS = ("pass",) * 6 + ("undecided", "undecided", "fail", "guard", "NoTraffic", "ShareMismatch", "step-down")
VERBS = ("abort", "abort", "promote", "promote", "pause", "resume", "resume", "retry", "rollback", "set-weight")
MOODS: dict[str, dict[str, int]] = {
    "calm": {"say": 3, "ask": 2, "wish": 1},
    "crashes": {"crash": 10, "say": 2, "ask": 3, "fault": 1, "wish": 1, "time": 1},
    "crowd": {"race": 8, "late": 2, "part": 8, "tick": 4, "say": 2, "ask": 4, "stale": 2, "wish": 1, "crash": 2},
    "broken": {"fault": 10, "say": 2, "ask": 2, "pods": 3, "wish": 1, "skew": 1, "time": 3},
    "hands": {"meddle": 8, "pods": 3, "ask": 4, "say": 2, "delete": 1, "crash": 2, "wish": 1},
    "emergency": {"need": 4, "cut": 6, "full": 4, "say": 4, "crash": 3, "tick": 2, "ask": 1},
    "dark": {"dark": 4, "time": 4, "say": 1, "ask": 1, "crash": 1},
    "hooks": {"hook": 9, "crash": 4, "part": 2, "tick": 3, "say": 2, "ask": 3, "wish": 1, "fault": 1, "time": 2},
    "clocks": {"skew": 6, "time": 4, "say": 2, "ask": 2, "fault": 2, "tick": 2},
    "everything": {
        "part": 4, "crash": 4, "fault": 4, "say": 3, "ask": 4, "meddle": 2, "pods": 2, "skew": 1,
        "stale": 1, "wish": 2, "again": 2, "direct": 2, "delete": 1, "tick": 3, "time": 1, "hook": 2,
    },
}  # fmt: skip


def story_of(seed: int, *, real_judge: bool = False, cluster: bool = False) -> Story:
    """The story that a seed tells; in a ``cluster`` the same one, with more ways to die and to be too late."""
    story = _story_of(seed, real_judge=real_judge)
    return _in_a_cluster(story) if cluster else story


def _in_a_cluster(story: Story) -> Story:
    """Processes stop before any write to the API server, answers get lost, records are small, writes wait."""
    chance = random.Random(f"cluster {story.seed}")
    *stages, (weight, gate) = story.settings.stages
    settings = replace(
        story.settings,
        stages=(*stages, (weight, gate if weight == 100.0 else "manual")),
        cluster=True,
        write_behind_s=chance.choice((0.0, 5.0, 60.0)),
        bytes_max=chance.choice((65_536, 65_536, 9_000)),
    )
    steps: list[Step] = []
    for step in story.steps:
        kind, *rest = step
        if kind in ("crash", "part") and chance.random() < 0.5:
            step = (kind, rest[0], f"write {chance.randint(1, 7)}")
        elif kind == "direct" and rest[1] == "save":
            step = (kind, rest[0], f"write {chance.randint(1, 4)}")
        elif kind == "tick" and chance.random() < 0.1:
            steps.append(("lost", rest[0]))
        steps.append(step)
    return replace(story, settings=settings, steps=tuple(steps))


def _story_of(seed: int, *, real_judge: bool) -> Story:
    chance = random.Random(seed)
    settings = Settings(
        stages=chance.choice(STAGES),
        on_inconclusive=chance.choice(("rollback", "hold")),
        on_outage=chance.choice(("hold", "hold", "rollback")),
        start_s=chance.choice((0.0, 0.0, 3.0)),
        last_word=chance.choice(("pass", "pass", "undecided", "fail", "pass")),
        real_templates=chance.random() < 0.03,
        real_judge=real_judge,
        bad_share=chance.choice((0.0, 0.0, 0.05, 0.3)) if real_judge else 0.0,
    )
    name = chance.choice(list(MOODS))
    mood = MOODS[name]
    if name == "hooks" or chance.random() < 0.1:
        settings = replace(settings, hooks=chance.choice(HOOKS))
    steps: list[Step] = [("wish", "v1")]
    for _ in range(chance.randint(8, 22)):
        if chance.random() < 0.6:
            kind = chance.choices(list(mood), list(mood.values()))[0]
            steps += _BUNDLES[kind](chance) if kind in _BUNDLES else (_MAKERS[kind](chance),)
        steps.append(("time", chance.choice((1.0, 1.0, 1.0, 2.0, 4.0))))
        steps.append(("tick", "one", chance.random() < 0.03))
    return Story(seed, settings, tuple(steps))


def _ask(chance: random.Random) -> Step:
    verb = chance.choice(VERBS)
    reason = "because" if chance.random() < 0.8 else ""
    weight = chance.choice((0.0, 5.0, 30.0, 60.0, 99.9, 12.34)) if verb == "set-weight" else None
    return ("ask", verb, reason, weight, verb == "promote" and chance.random() < 0.3)


_MAKERS: dict[str, Callable[[random.Random], Step]] = {
    "say": lambda chance: ("say", chance.choice(WORDS)),
    "ask": _ask,
    "again": lambda chance: ("again", chance.randrange(3)),
    "direct": lambda chance: ("direct", chance.choice(("abort", "abort", "pause", "resume", "promote")), None),
    "cut": lambda chance: ("direct", "abort", chance.choice((None, "save", "apply", "confirm"))),
    "dark": lambda chance: ("fault", "metrics", chance.random() < 0.7),
    "full": lambda chance: ("fault", "disk", chance.random() < 0.6),
    "wish": lambda chance: ("wish", chance.choice(VERSIONS)),
    "crash": lambda chance: ("crash", chance.choice(("one", "one", *ACTORS)), _until(chance)),
    "part": lambda chance: ("part", chance.choice(ACTORS), _until(chance)),
    "tick": lambda chance: ("tick", chance.choice(ACTORS), chance.random() < 0.2),
    "fault": lambda chance: ("fault", chance.choice(FAULTS), chance.random() < 0.6),
    "pods": lambda chance: ("pods", chance.choice(VERSIONS[:3]), chance.choice((0, 0, 1, 2, 2, None))),
    "meddle": lambda chance: ("meddle", chance.choice(("candidate", "candidate", "v3")), _share(chance)),
    "delete": lambda chance: ("delete",),
    "skew": lambda chance: (
        "skew",
        chance.choice(("all", *ACTORS)),
        chance.choice((-60.0, -5.0, 0.0, 5.0, 20.0, 90.0)),
    ),
    "stale": lambda chance: ("stale", chance.choice(ACTORS), chance.choice(("store", "mesh"))),
    "hook": lambda chance: (
        "hook",
        chance.choice(("smoke", "smoke", "gate", "gate", "sorry", "bell")),
        chance.choice(("pass", "pass", "hold", "hold", "fail", "error", "hang")),
    ),
    "time": lambda chance: ("time", chance.choice((10.0, 20.0, 35.0, 70.0))),
}


def _race(chance: random.Random) -> tuple[Step, ...]:
    """Somebody comes between what a controller saw and what it does about it."""
    between: Step = chance.choice(
        (
            ("ask", "abort", "because", None, False),
            ("direct", "abort", None),
            ("wish", chance.choice(VERSIONS)),
            ("ask", "set-weight", "because", 5.0, False),
            ("meddle", "candidate", _share(chance)),
        )
    )
    asleep: Step = ("part", "one", chance.choice(("apply", "apply", "save", "lower", "retire")))
    return (("say", "pass"), ("time", 3.0), asleep, between, ("tick", "two", False))


def _late(chance: random.Random) -> tuple[Step, ...]:
    """Somebody falls asleep before it ends the replicas of a version that is then tried again."""
    second: tuple[Step, ...] = (("time", 1.0), ("tick", "two", False))
    back: tuple[Step, ...] = (("ask", "abort", "because", None, False), ("time", 1.0), ("tick", "two", False))
    again: Step = ("ask", "retry", "because", None, False)
    return (*back, ("time", 35.0), ("part", "one", "retire"), again, ("say", "pass"), *second, *second)


def _need(chance: random.Random) -> tuple[Step, ...]:
    """An abort whose storing finds no space."""
    abort: Step = ("ask", "abort", "because", None, False)
    return (abort, ("fault", "disk", True), ("tick", "one", False), ("fault", "disk", False))


_BUNDLES: dict[str, Callable[[random.Random], tuple[Step, ...]]] = {
    "race": _race,
    "late": _late,
    "need": _need,
}


def _until(chance: random.Random) -> int | str:
    """A process stops where it hurts, or anywhere."""
    return chance.choice((*EFFECTS, *EFFECTS, chance.randrange(1, 22)))


def _share(chance: random.Random) -> float:
    return chance.choice((0.0, 0.1, 5.0, 33.333, 60.0, 100.0))
