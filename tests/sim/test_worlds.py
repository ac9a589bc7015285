"""Thousands of seeded worlds, in which every safety rule holds after every step and every run ends."""

import pytest

from tests.sim.__main__ import main, told
from tests.sim.rules import RULES
from tests.sim.shrink import shrink
from tests.sim.story import Settings, Story, story_of
from tests.sim.world import Failure, play

BATCH = 250
SCRIPTED = 5000
REAL = 100
CLUSTER = 120
CLUSTER_REAL = 8


@pytest.mark.parametrize("first", range(0, SCRIPTED, BATCH))
def test_every_rule_holds_in_every_world(first):
    for seed in range(first, first + BATCH):
        if play(story_of(seed)) is not None:
            pytest.fail(told(story_of(seed), play))


@pytest.mark.parametrize("first", range(0, REAL, 20))
def test_every_rule_holds_where_the_judge_is_the_real_one(first):
    for seed in range(first, first + 20):
        if play(story_of(seed, real_judge=True)) is not None:
            pytest.fail(told(story_of(seed, real_judge=True), play))


@pytest.mark.parametrize("first", range(0, CLUSTER, 20))
def test_every_rule_holds_on_the_objects_of_a_cluster_whatever_write_is_the_last_one(first):
    for seed in range(first, first + 20):
        if play(story_of(seed, cluster=True)) is not None:
            pytest.fail(told(story_of(seed, cluster=True), play))


def test_every_record_in_a_cluster_replays_by_the_real_judge():
    for seed in range(CLUSTER_REAL):
        if play(story_of(seed, real_judge=True, cluster=True)) is not None:
            pytest.fail(told(story_of(seed, real_judge=True, cluster=True), play))


FOUND = {
    "the mark of an abort goes with the routes before anybody could store it": Story(10_582, Settings(start_s=3.0), (
        ("wish", "v1"), ("tick", "one", False), ("say", "fail"), ("time", 4.0), ("tick", "one", False),
        ("fault", "disk", True), ("time", 4.0), ("tick", "one", False), ("delete",),
    )),
    "one lowers a stranger's weight and sleeps, the other counts": Story(20_048, Settings(start_s=3.0), (
        ("wish", "v1"), ("tick", "one", False), ("time", 4.0), ("part", "one", "retire"),
        ("meddle", "candidate", 33.333), ("tick", "one", False), ("time", 3.0), ("part", "one", "save"),
        ("tick", "two", False),
    )),
    "clocks stand still after they went back": Story(22_570, Settings(start_s=3.0), (
        ("wish", "v1"), ("skew", "all", 20.0), ("tick", "one", False),
        *((("time", 1.0),) * 4), ("time", 10.0), ("time", 2.0), ("time", 2.0), ("time", 1.0),
    )),
    "a promoted version is lowered, given back and lowered again": Story(
        37_532, Settings(stages=((1.0, "auto"), (100.0, "auto"))), (
        ("wish", "v1"), ("tick", "one", False), ("time", 4.0), ("tick", "one", False), ("time", 2.0),
        ("tick", "one", True), ("time", 2.0), ("tick", "one", False), ("meddle", "candidate", 60.0),
        ("tick", "one", False), ("meddle", "candidate", 100.0), ("ask", "resume", "", None, False),
        ("tick", "one", False), ("meddle", "candidate", 33.333),
    )),
    "a version that seemed lowered is given back and lowered": Story(69_424, Settings(), (
        ("part", "cron", "apply"), ("wish", "v2"), ("part", "two", "retire"), ("time", 2.0), ("tick", "one", False),
        ("time", 2.0), ("tick", "one", False), ("time", 1.0), ("stale", "cron", "mesh"), ("time", 1.0),
        ("tick", "one", False), ("tick", "cron", False), ("ask", "resume", "because", None, False),
        ("tick", "one", False), ("meddle", "candidate", 0.1),
    )),
    "a weight is set twice at once": Story(78_570, Settings(), (
        ("wish", "v3"), ("tick", "two", False), ("ask", "set-weight", "because", 5.0, False),
        ("ask", "set-weight", "because", 5.0, False),
    )),
    "a save that is kept back is overtaken by an abort": Story(355, Settings(cluster=True, write_behind_s=60.0), (
        ("wish", "v3"), ("tick", "one", False), ("part", "one", "save"), ("ask", "abort", "because", None, False),
        ("tick", "two", False),
    )),
}  # fmt: skip
"""Worlds that broke a rule once, by the seed that told them then, cut down to what they need."""


@pytest.mark.parametrize("name", FOUND)
def test_a_world_that_broke_a_rule_once_keeps_all_of_them(name):
    assert play(FOUND[name]) is None


def test_there_is_a_rule_for_each_of_the_twelve():
    assert sorted(RULES) == list(range(1, 13))


def test_a_seed_always_tells_the_same_story():
    assert story_of(7) == story_of(7)
    assert story_of(7) != story_of(8)


def test_a_story_that_fails_is_cut_down_to_what_it_needs():
    def play(story):
        kinds = [step[0] for step in story.steps]
        if "wish" in kinds and "time" in kinds[kinds.index("wish") :]:
            return Failure(len(story.steps), "rule 9: ...", 9)
        return None

    shrunk, failure = shrink(story_of(3), play)
    assert [step[0] for step in shrunk.steps] == ["wish", "time"]
    assert failure.rule == 9


def test_one_command_plays_one_world_or_many(capsys):
    assert main(["3"]) == 0
    assert "seed 3: every rule holds" in capsys.readouterr().out
    assert main(["--seeds", "3", "--first", "10"]) == 0
    assert "3 worlds, 0 failed" in capsys.readouterr().out
