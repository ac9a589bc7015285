"""What only the store on disk promises: its file, other processes, and errors that say what to do."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from meshctl.adapters.migrations import MIGRATIONS
from meshctl.adapters.store_sqlite import SqliteStore
from meshctl.core.errors import Conflict, StoreError
from meshctl.core.model import ReleaseState
from meshctl.core.record import faults
from tests.adapters.store_values import MESH, block, event, release, request, run


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path)
    store.put_release(release())
    yield store
    store.close()


def save(store, version, state=None, **fields):
    arguments = {"judge_state": "", "cursor": "", "events": [], "blocks": [], "served": [], "mesh": MESH} | fields
    return store.save("shop", version, state or store.load("shop").state, **arguments)


def sql(path, statement):
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


# ------------------------------------------------------------------------------------ the file


def test_folder_and_file_are_the_owners_alone(tmp_path):
    before = os.umask(0)
    try:
        store = SqliteStore(tmp_path / "deep" / ".meshctl")
        store.put_release(release())
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in store.path.parent.iterdir()}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    store.close()


def test_whoever_only_looks_makes_nothing(tmp_path):
    with pytest.raises(StoreError, match=r"there is no .*state\.db\n  .*local up"):
        SqliteStore(tmp_path / "none", create=False)
    assert list(tmp_path.iterdir()) == []


def test_what_was_saved_is_there_after_a_restart(tmp_path, store):
    save(store, 1, ReleaseState(run=run()), events=[event()], blocks=[block()])
    store.request("shop", request())
    before = store.load("shop"), store.runs("shop"), store.decisions("shop-1"), store.blocks("shop-1")
    store.close()
    with closing(SqliteStore(tmp_path, create=False)) as again:
        assert (again.load("shop"), again.runs("shop"), again.decisions("shop-1"), again.blocks("shop-1")) == before


def test_the_file_is_in_the_mode_that_survives_a_power_cut(store):
    assert sql(store.path, "PRAGMA journal_mode") == [("wal",)]
    assert sql(store.path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    with store._file.reading() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_every_table_is_strict(store):
    tables = sql(
        store.path, "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite%'"
    )
    assert dict(tables) == dict.fromkeys(
        ("revision", "releases", "workloads", "requests", "runs", "decisions", "blocks"), 1
    )


def test_an_empty_file_is_one_that_was_cut_off_and_is_left_alone(tmp_path, store):
    save(store, 1, ReleaseState(run=run()))
    wal = store.path.with_name("state.db-wal")
    before = wal.read_bytes()
    os.truncate(store.path, 0)
    with pytest.raises(StoreError, match=r"cannot open .*state\.db: the file is damaged \(it is empty\)\n  Move it"):
        SqliteStore(tmp_path)
    assert wal.read_bytes() == before


def test_half_a_file_is_found_when_it_is_verified(tmp_path, store):
    for second in range(200):
        save(store, second + 1, ReleaseState(run=run()), blocks=[block(second)])
    store.close()
    os.truncate(store.path, store.path.stat().st_size // 2 // 4096 * 4096)
    with pytest.raises(StoreError, match=r"state\.db: .*damaged"), closing(SqliteStore(tmp_path)) as again:
        again.verify()


# ------------------------------------------------------------------------------------ bad files


def test_a_file_of_a_newer_meshctl_is_refused_and_left_alone(tmp_path, store):
    store.close()
    sql(store.path, "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"state\.db has format 99, this meshctl knows formats up to \d+\n  A newer"):
        SqliteStore(tmp_path)
    assert sql(store.path, "SELECT name FROM releases") == [("shop",)]


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path):
    sql(tmp_path / "state.db", "CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match=r"state\.db is a SQLite file, but not one of meshctl"):
        SqliteStore(tmp_path)
    assert sql(tmp_path / "state.db", "SELECT name FROM sqlite_schema") == [("theirs",)]


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "state.db").write_text("these are my notes\n" * 100)
    with pytest.raises(StoreError, match=r"cannot open .*state\.db: the file is not a SQLite database .*\n  Move it"):
        SqliteStore(tmp_path)


def test_a_damaged_file_is_named_with_what_to_do(tmp_path, store):
    for second in range(200):
        save(store, second + 1, ReleaseState(run=run()), blocks=[block(second)])
    store.close()
    content = bytearray(store.path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    store.path.write_bytes(content)
    with (
        closing(SqliteStore(tmp_path)) as again,
        pytest.raises(StoreError, match=r"cannot read .*damaged.*\n  Move it"),
    ):
        again.load("shop")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE releases SET state = '{'", "the state of 'shop' cannot be read"),
        ("UPDATE releases SET wish = '{}'", "release 'shop' cannot be read: .*missing"),
        ("UPDATE runs SET body = '[]'", "the run of 'shop' cannot be read"),
        ("UPDATE requests SET body = '{\"verb\":1}'", "a request to 'shop' cannot be read"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(store, statement, what):
    save(store, 1, ReleaseState(run=run()))
    store.request("shop", request())
    sql(store.path, statement)
    with pytest.raises(StoreError, match=rf"state\.db: {what}"):
        store.load("shop")


def test_a_decision_or_block_that_makes_no_sense_is_named(store):
    save(store, 1, ReleaseState(run=run()), events=[event()], blocks=[block()])
    sql(store.path, "UPDATE decisions SET body = 'x'")
    sql(store.path, "UPDATE blocks SET body = '[1]'")
    with pytest.raises(StoreError, match="a decision of 'shop-1' cannot be read"):
        store.decisions("shop-1")
    with pytest.raises(StoreError, match="a block of 'shop-1' cannot be read"):
        store.blocks("shop-1")


def test_a_number_changed_in_the_file_is_found(store):
    save(store, 1, ReleaseState(run=run()), events=[event()], blocks=[block()])
    (body,) = sql(store.path, "SELECT body FROM decisions")[0]
    record = json.loads(body)
    record["inputs"]["candidate"]["bad"] += 1
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE decisions SET body = ?", (json.dumps(record),))
    found = faults(store.decisions("shop-1"), head=store.runs("shop")[0].head, blocks=store.blocks("shop-1"))
    assert found == (
        "decision 1 of shop-1: its content does not match its hash",
        "decision 1: the blocks it names are not the stored ones",
    )


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot make .*file/state\.db"):
        SqliteStore(tmp_path / "file")


# ------------------------------------------------------------------------------------ full and locked


def test_on_a_full_disk_nothing_is_stored_and_the_file_is_named(store):
    version = save(store, 1, ReleaseState(run=run()))
    before = store.load("shop")
    with store._file.reading() as db:
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StoreError, match=r"cannot write .*state\.db: the disk is full .*\n  Free some space"):
        save(store, version, judge_state="x" * 100_000, served=["r1"], blocks=[block()], events=[event()])
    assert store.load("shop") == before
    with store._file.reading() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert save(store, version, judge_state="x" * 100_000) == version + 1


def test_a_writer_that_never_ends_is_an_error_that_names_the_file(store):
    with store._file.reading() as db:
        db.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"cannot write .*state\.db: another process has kept it locked"):
            save(store, 1)
        assert store.load("shop").version == 1


# ------------------------------------------------------------------------------------ many writers


def _increment(folder, times):
    with closing(SqliteStore(Path(folder))) as store:
        store.put_release(release())
        for _ in range(times):
            while True:
                stored = store.load("shop")
                runs = stored.state.runs + 1
                state = ReleaseState(run=run(), runs=runs)
                try:
                    save(store, stored.version, state, blocks=[block(runs)], events=[event()])
                    break
                except Conflict:
                    continue
            store.request("shop", request(f"{os.getpid()}-{runs}"))


def test_processes_that_begin_and_write_at_the_same_time_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_increment, args=(str(tmp_path), 20)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    with closing(SqliteStore(tmp_path)) as store:
        stored = store.load("shop")
        assert (stored.state.runs, stored.version, len(stored.requests)) == (80, 81, 80)
        records, blocks, (kept,) = store.decisions("shop-1"), store.blocks("shop-1"), store.runs("shop")
        assert blocks == [block(number) for number in range(1, 81)]
        assert len(records) == 80
        assert faults(records, head=kept.head, blocks=blocks) == ()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["state.db"]


def _save_for_ever(folder):
    with closing(SqliteStore(Path(folder))) as store:
        version = store.load("shop").version
        for second in range(10**9):
            version = save(
                store, version, ReleaseState(run=run(), runs=second), blocks=[block(second)], events=[event()]
            )


def test_a_writer_that_is_killed_leaves_whole_saves_only(tmp_path, store):
    writer = multiprocessing.get_context("spawn").Process(target=_save_for_ever, args=(str(tmp_path),))
    begin = store.revision()
    writer.start()
    while store.revision() < begin + 30:
        assert writer.is_alive()
    writer.kill()
    writer.join()
    with closing(SqliteStore(tmp_path)) as after:
        runs = after.load("shop").state.runs
        records, blocks = after.decisions("shop-1"), after.blocks("shop-1")
        assert (len(records), len(blocks)) == (runs + 1, runs + 1)
        assert faults(records, head=after.runs("shop")[0].head, blocks=blocks) == ()
        save(after, after.load("shop").version)


def test_threads_share_one_store(store):
    def ask(number):
        for index in range(20):
            store.request("shop", request(f"{number}-{index}"))
            store.load("shop")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.load("shop").requests) == 80


def test_a_follower_in_another_connection_sees_changes_by_the_revision(tmp_path, store):
    with closing(SqliteStore(tmp_path, create=False)) as follower:
        seen = follower.revision()
        store.request("shop", request())
        assert follower.revision() > seen
        assert follower.load("shop").requests == (request(),)
