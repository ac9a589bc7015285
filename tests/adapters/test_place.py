"""The folder of an embedded mesh: one holder, and a way to have a word with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from meshctl.adapters import place
from meshctl.adapters.place import Place
from meshctl.core.errors import Conflict, InvalidInput, StoreError, Unreachable

HOLD = """
import sys, time
from pathlib import Path
from meshctl.adapters.place import Place
with Place(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def serve(ear, *, answer=True):
    """Answer the next word with itself, from a thread."""

    def listen():
        heard = ear.next_word(5.0)
        if heard is not None and answer:
            heard[1].give(ok=True, heard=heard[0])
        elif heard is not None:
            heard[1].give()

    thread = threading.Thread(target=listen)
    thread.start()
    return thread


def test_the_folder_is_made_for_its_owner_alone(tmp_path):
    Place(tmp_path / "a" / "b").make()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_the_way_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=f"{name} cannot be the folder of a mesh: a file is in the way"):
        Place(tmp_path / name).make()
    assert not Place(tmp_path / name).is_held()


def test_a_folder_that_cannot_be_made_is_named():
    with pytest.raises(StoreError, match="cannot create the folder /proc/nothing/here"):
        place.Place(place.Path("/proc/nothing/here")).make()


def test_a_folder_whose_lock_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(StoreError, match="cannot lock the folder"), Place(tmp_path).held():
        pass


def test_the_second_holder_is_told_who_is_the_first(tmp_path, holder):
    with pytest.raises(Conflict, match=rf"already \(process {holder.pid}\)") as caught, Place(tmp_path).held():
        pass
    assert "local down" in str(caught.value)


def test_the_folder_is_free_again_however_its_holder_ended(tmp_path, holder):
    assert Place(tmp_path).is_held()
    assert Place(tmp_path).holder() == holder.pid
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert not Place(tmp_path).is_held()
    assert Place(tmp_path).holder() is None
    with Place(tmp_path).held():
        assert Place(tmp_path).holder() == os.getpid()


def test_somebody_who_only_asks_whether_the_folder_is_held_does_not_keep_a_controller_out(tmp_path):
    asked = Place(tmp_path)
    with Place(tmp_path).held():
        pass
    over = threading.Event()

    def ask():
        while not over.is_set():
            asked.is_held()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(50):
            with Place(tmp_path).held():
                pass
    finally:
        over.set()
        thread.join()


def test_a_word_is_answered(tmp_path):
    with Place(tmp_path).listen() as ear:
        thread = serve(ear)
        assert Place(tmp_path).say({"word": "hello"}) == {"ok": True, "heard": {"word": "hello"}}
        thread.join()


def test_the_socket_is_its_owners_alone_and_goes_with_its_ear(tmp_path):
    with Place(tmp_path).listen():
        assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    assert not (tmp_path / "control.sock").exists()


def test_a_folder_deeper_than_a_socket_address_is_reached_as_well(tmp_path):
    deep = tmp_path.joinpath(*["a-rather-long-name-of-a-folder"] * 6)
    deep.mkdir(parents=True)
    with Place(deep).listen() as ear:
        thread = serve(ear)
        assert Place(deep).say({"word": "hello"})["ok"]
        thread.join()


def test_nobody_there_is_said_with_the_command_that_helps(tmp_path):
    with pytest.raises(Unreachable, match="no controller runs in") as caught:
        Place(tmp_path).say({"word": "hello"})
    assert "local up" in str(caught.value)


def test_the_socket_of_a_killed_controller_is_nobody(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "control.sock"))
    with pytest.raises(Unreachable, match="no controller runs in"):
        Place(tmp_path).say({"word": "hello"})


def test_a_controller_that_hangs_is_told_apart_from_none(tmp_path, holder):
    with Place(tmp_path).listen():
        began = time.monotonic()
        with pytest.raises(Unreachable, match=rf"\(process {holder.pid}\) does not answer within 0.2 s"):
            Place(tmp_path).say({"word": "hello"}, timeout_s=0.2)
        assert time.monotonic() - began < 2


def test_a_controller_that_hangs_up_is_told_apart_too(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen(1)

        def hang_up():
            speaker, _ = listener.accept()
            speaker.recv(4096)
            speaker.sendall(b'{"ok": tr')
            speaker.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Unreachable, match="hung up without an answer"):
            Place(tmp_path).say({"word": "hello"})
        thread.join()


@pytest.mark.parametrize("said", [b"", b"\n", b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"{" * 70_000])
def test_what_is_not_a_word_is_nobody(tmp_path, said):
    with Place(tmp_path).listen() as ear, socket.socket(socket.AF_UNIX) as speaker:
        speaker.connect(str(tmp_path / "control.sock"))
        speaker.settimeout(5)
        sender = threading.Thread(target=lambda: _send(speaker, said))
        sender.start()
        assert ear.next_word(5.0) is None
        sender.join()


def _send(speaker, said):
    try:
        speaker.sendall(said)
        speaker.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_somebody_who_speaks_slowly_does_not_hold_the_controller_up(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "HEARING_S", 0.2)
    with Place(tmp_path).listen() as ear, socket.socket(socket.AF_UNIX) as speaker:
        speaker.connect(str(tmp_path / "control.sock"))
        speaker.sendall(json.dumps({"word": "hello"}).encode())
        began = time.monotonic()
        assert ear.next_word(5.0) is None
        assert time.monotonic() - began < 2


def test_nobody_speaking_takes_no_longer_than_was_allowed(tmp_path):
    with Place(tmp_path).listen() as ear:
        assert ear.next_word(0.01) is None
        assert ear.next_word(0.0) is None


def test_an_answer_to_somebody_who_left_is_no_trouble(tmp_path):
    with Place(tmp_path).listen() as ear:
        with socket.socket(socket.AF_UNIX) as speaker:
            speaker.connect(str(tmp_path / "control.sock"))
            speaker.sendall(b'{"word": "hello"}\n')
        word, answer = ear.next_word(5.0)
        assert word == {"word": "hello"}
        answer.give(ok=True, text="x" * 1_000_000)
