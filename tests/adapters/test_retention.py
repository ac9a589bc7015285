"""Ten runs of a release are kept, with all that belongs to them, and the state file does not grow with the years."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest

from meshctl.adapters.judge import AnalysisJudge
from meshctl.adapters.store_sqlite import SqliteStore
from meshctl.app.history import dossier_of, find_run, promoted_before, run_lines
from meshctl.app.replay import replay
from meshctl.core.catalog import RUNS_KEPT
from meshctl.core.errors import Refused
from meshctl.core.model import Stage, Verdict
from tests.app.tick_world import NEW, NEWER, OLD, TickWorld

QUICK = tuple(
    Stage(weight, min_duration=timedelta(seconds=5), max_duration=timedelta(seconds=100)) for weight in (50.0, 100.0)
)


@pytest.fixture
def world(tmp_path):
    """The world in memory with its records in a real file."""
    found = TickWorld(stages=QUICK, serving=False)
    found.world.store = SqliteStore(tmp_path)
    found.ports = replace(found.ports, store=found.world.store)
    found.wish(OLD)
    found.tick(2)
    found.say(Verdict.PASS)
    yield found
    found.world.store.close()


def release_again(world, times):
    """So many promotions, back and forth between two versions; the run before each is over for long."""
    for _ in range(times):
        before = world.run.number
        world.wish(NEWER if world.state.baseline == NEW else NEW)
        while world.run.number == before or not world.run.phase.ended:
            world.tick()
        world.tick(2, seconds=61)


def counts(path):
    with sqlite3.connect(path) as db:
        tables = ("runs", "decisions", "blocks")
        found = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
        orphans = db.execute("SELECT count(*) FROM blocks WHERE run NOT IN (SELECT name FROM runs)").fetchone()[0]
        orphans += db.execute("SELECT count(*) FROM decisions WHERE run NOT IN (SELECT name FROM runs)").fetchone()[0]
    db.close()
    return found, orphans


def size(folder):
    return sum(path.stat().st_size for path in folder.glob("state.db*"))


def test_older_runs_go_with_their_decisions_and_blocks_and_the_file_stays_as_large_as_it_was(world, tmp_path):
    store = world.world.store
    release_again(world, 12)
    rows, orphans = counts(store.path)
    level = size(tmp_path)
    assert rows["runs"] == RUNS_KEPT
    assert orphans == 0
    release_again(world, 30)
    assert counts(store.path) == (rows, 0)
    assert size(tmp_path) <= level * 1.1
    kept = [line.run.name for line in run_lines(store, "shop")]
    assert kept == [f"shop-{number}" for number in range(43, 33, -1)]
    with pytest.raises(Refused, match="no run is named 'shop-33'"):
        find_run(store, "shop-33")
    with pytest.raises(Refused):
        store.decisions("shop-33")
    assert all(replay(dossier_of(store, name), world.judge).same for name in kept)
    assert promoted_before(store, "shop") == [NEWER, NEW]


def test_a_dossier_is_of_one_moment_while_a_controller_writes(world):
    release_again(world, 1)
    store, calls = world.world.store, []
    read = store.decisions

    class Busy:
        def __getattr__(self, name):
            return getattr(store, name)

        def decisions(self, run):
            found = read(run)
            if len(calls) < 2:
                calls.append(run)
                world.wish(OLD if world.state.baseline == NEW else NEW)
                world.tick()
            return found

    dossier = dossier_of(Busy(), "shop-2")
    assert len(calls) == 2
    assert replay(dossier, world.judge).same


def test_what_is_written_without_end_is_told_as_a_lost_race(world):
    from meshctl.core.errors import Conflict

    store = world.world.store

    class Restless:
        def __getattr__(self, name):
            return getattr(store, name)

        def revision(self):
            self.number = getattr(self, "number", 0) + 1
            return self.number

    with pytest.raises(Conflict, match="shop-1 changed each time it was read"):
        dossier_of(Restless(), "shop-1")


def test_a_whole_run_of_the_real_judge_replays_to_the_last_bit_from_a_real_file(world):
    world.ports = replace(world.ports, judge=AnalysisJudge())
    release_again(world, 1)
    found = replay(dossier_of(world.world.store, "shop-2"), AnalysisJudge())
    assert found.findings == ()
    assert found.notes == ()
    assert found.judged
