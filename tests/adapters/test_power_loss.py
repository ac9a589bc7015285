"""Power loss: whatever part of the writes reached the disk, the store opens at a save that was whole.

What SQLite has synced is there after a power cut; of what it wrote later any beginning may be.  So a copy taken at
one instant is one possible disk, and so is every copy whose WAL is cut off somewhere behind what was synced.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import shutil
import signal
import struct
from contextlib import closing
from pathlib import Path

import pytest

from meshctl.adapters.store_sqlite import SqliteStore
from meshctl.core.errors import StoreError
from meshctl.core.model import ReleaseState
from meshctl.core.record import faults
from tests.adapters.store_values import MESH, block, event, release, request, run

WAL_HEAD, FRAME_HEAD, PAGE = 32, 24, 4096
FRAME = FRAME_HEAD + PAGE


def save(store, number, **fields):
    """The ``number``-th save: everything in it says its number, so that a mixture of two would be seen."""
    arguments = {"judge_state": f"{number}", "cursor": f"{number}", "served": [], "mesh": MESH} | fields
    state = ReleaseState(run=run(), runs=number)
    return store.save("shop", number, state, events=[event()], blocks=[block(number)], **arguments)


def whole(folder):
    """The number of the save that a copy opens at, after checking that nothing of it is missing or newer."""
    with closing(SqliteStore(folder, create=False)) as store:
        store.verify()
        stored = store.load("shop")
        number = stored.version - 1
        if number:
            assert (stored.state.runs, stored.judge_state, stored.cursor) == (number, f"{number}", f"{number}")
            records, blocks = store.decisions("shop-1"), store.blocks("shop-1")
            assert (len(records), len(blocks)) == (number, number)
            assert faults(records, head=store.runs("shop")[0].head, blocks=blocks) == ()
        store.request("shop", request())
        return number


def copy(folder, to, cut=None):
    """``state.db`` and its WAL, of that the first ``cut`` bytes; never the index, which does not survive a crash."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    shutil.copy(folder / "state.db", to)
    wal = (folder / "state.db-wal").read_bytes() if (folder / "state.db-wal").exists() else b""
    (to / "state.db-wal").write_bytes(wal[:cut])
    return to


def _write_for_ever(folder):
    with closing(SqliteStore(Path(folder))) as store:
        number = store.load("shop").version
        while True:
            number = save(store, number)


def test_every_instant_of_a_busy_writer_is_a_whole_state(tmp_path):
    """The writer is stopped for the time of each copy: an instant, checkpoints of the WAL included."""
    folder = tmp_path / "live"
    with closing(SqliteStore(folder)) as store:
        store.put_release(release())
        writer = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(str(folder),))
        writer.start()
        seen = []
        try:
            small = (folder / "state.db").stat().st_size
            while len(seen) < 12 or (tmp_path / "copy" / "state.db").stat().st_size == small:
                at = store.load("shop").version
                while store.load("shop").version <= at + (len(seen) % 3) * 10:
                    assert writer.is_alive()
                os.kill(writer.pid, signal.SIGSTOP)
                try:
                    copy(folder, tmp_path / "copy")
                finally:
                    os.kill(writer.pid, signal.SIGCONT)
                seen.append(whole(tmp_path / "copy"))
                assert seen[-1] >= at - 1, "what was told to be stored is stored"
        finally:
            writer.kill()
            writer.join()
    assert seen == sorted(seen)
    assert seen[-1] > 20


def test_a_wal_that_ends_anywhere_opens_at_the_last_save_that_is_whole(tmp_path):
    """Cut at each page boundary, and in the middle of pages; a cut never costs more than the save it went through."""
    folder = tmp_path / "live"
    ends = [0]
    with closing(SqliteStore(folder)) as store:
        store.put_release(release())
        ends.append(_wal_bytes(folder))
        for number in range(1, 13):
            save(store, number)
            ends.append(_wal_bytes(folder))
        assert ends == sorted(set(ends)), "every save adds to the WAL, none was checkpointed meanwhile"
        boundaries = range(ends[1], ends[-1] + 1, FRAME)
        for end in (*boundaries, *(end + FRAME // 2 for end in boundaries[:-1:3])):
            found = whole(copy(folder, tmp_path / "copy", end))
            assert found == max(number for number, last in enumerate(ends[1:]) if last <= end)


def test_a_page_of_the_wal_that_was_never_written_ends_what_is_believed(tmp_path):
    """A disk that writes in another order leaves zeros or old bytes before a later page."""
    folder = tmp_path / "live"
    with closing(SqliteStore(folder)) as store:
        store.put_release(release())
        save(store, 1)
        first = _wal_bytes(folder)
        save(store, 2)
        save(store, 3)
        copied = copy(folder, tmp_path / "copy")
        wal = bytearray((copied / "state.db-wal").read_bytes())
        wal[first + FRAME_HEAD : first + FRAME] = bytes(PAGE)
        (copied / "state.db-wal").write_bytes(wal)
        assert whole(copied) == 1


def _wal_bytes(folder):
    return (folder / "state.db-wal").stat().st_size


# ------------------------------------------------------------------------------------ nothing is told before it is so

SYNCS = {"x86_64": (74, 75), "aarch64": (82, 83)}
"""Numbers of the system calls fsync and fdatasync."""


def _refuse_to_sync():
    """From now on fsync and fdatasync fail in this process (EIO), by a filter of the kernel."""
    numbers = SYNCS[platform.machine()]
    load, equal, answer = 0x20, 0x15, 0x06
    error = 0x00050000 | 5
    program = [
        (load, 0, 0, 0),
        (equal, 1, 0, numbers[0]),
        (equal, 0, 1, numbers[1]),
        (answer, 0, 0, error),
        (answer, 0, 0, 0x7FFF0000),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp = 38, 22
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(seccomp, 2, ctypes.byref(filter_)) == 0, ctypes.get_errno()


def _save_without_sync(folder, said):
    with closing(SqliteStore(Path(folder))) as store:
        save(store, 1)
        _refuse_to_sync()
        for what, action in (
            ("save", lambda: save(store, 2)),
            ("request", lambda: store.request("shop", request())),
            ("wish", lambda: store.put_release(release(version="9.9.9"))),
        ):
            try:
                action()
                said.put(f"{what} was told to be stored")
            except StoreError as error:
                said.put(f"{what}: {error}")
        said.put(store.load("shop").version)


@pytest.mark.skipif(platform.machine() not in SYNCS, reason="the numbers of its system calls are not known here")
def test_nothing_is_told_to_be_stored_before_the_disk_has_it(tmp_path):
    """Each write waits for its fsync.  (What was told to have failed may yet be found by the next one: never part of
    it, and never the other way round.)"""
    with closing(SqliteStore(tmp_path)) as store:
        store.put_release(release())
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    writer = context.Process(target=_save_without_sync, args=(str(tmp_path), said))
    writer.start()
    found = [said.get(timeout=30) for _ in range(4)]
    writer.join()
    for line, what in zip(found, ("save", "request", "wish"), strict=False):
        assert line.startswith(f"{what}: cannot write"), line
        assert "the disk failed or is full" in line
    assert found[3] == 2
    with closing(SqliteStore(tmp_path, create=False)) as store:
        assert store.load("shop").state.runs == 1
        assert faults(store.decisions("shop-1"), head=store.runs("shop")[0].head, blocks=store.blocks("shop-1")) == ()
