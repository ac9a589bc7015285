"""The folder of an embedded mesh: who holds it, and how to have a word with the holder.

``lock`` is held by the controller for life (``flock``: it goes with the process, however that ends);
``control.sock`` carries one JSON line each way.  The socket's owner is the only one who may speak to it (0600).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from meshctl.core.errors import Conflict, InvalidInput, StoreError, Unreachable

WORD_LIMIT_BYTES = 65_536
ANSWER_TIMEOUT_S = 30.0
"""How long a command waits for the controller: a raise is confirmed, replicas are drained in the meantime."""

HEARING_S = 1.0
"""So long may a speaker take to say a word, all of it."""

TAKING_S = 0.5
"""How long to try for a lock that is taken: `Place.is_held` of another process has it for an instant."""


class Place:
    """``base`` is the folder, usually ``.meshctl``; it is made on first use, readable by its owner alone."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._lock_path = base / "lock"
        self._socket_path = base / "control.sock"

    def make(self) -> None:
        """Create the folder.  Raises `InvalidInput` when it is a file, `StoreError` when it cannot be made."""
        try:
            self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InvalidInput(
                f"{self.base} cannot be the folder of a mesh: a file is in the way",
                hint="Name another with --local=DIR.",
            ) from error
        except OSError as error:
            raise StoreError(
                f"cannot create the folder {self.base}: {error.strerror}", hint="Name another with --local=DIR."
            ) from error

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder.  Raises `Conflict` naming the holder when another controller has it."""
        self.make()
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot lock the folder {self.base}: {error.strerror}", hint="Name another with --local=DIR."
            ) from error
        try:
            if not _locked(descriptor, TAKING_S):
                raise self.taken()
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether a controller lives here."""
        try:
            descriptor = os.open(self._lock_path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """The process of the controller that lives here; ``None`` when none does."""
        if not self.is_held():
            return None
        text = self._lock_path.read_text(encoding="ascii").strip()
        return int(text) if text.isdigit() else None

    def taken(self) -> Conflict:
        """The error for whoever wants to be the controller here while another is."""
        return Conflict(
            f"a controller runs in {self.base} already (process {self.holder() or 'unknown'})",
            hint=f"Give it files with: meshctl apply -f DIR --local={self.base}; "
            f"end it with: meshctl local down --local={self.base}",
        )

    def listen(self) -> Ear:
        """Open the control socket; only for the holder of the folder."""
        self._socket_path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short_path(self._socket_path) as path:
            listener.bind(path)
        self._socket_path.chmod(0o600)
        listener.listen(16)
        return Ear(listener, self._socket_path)

    def say(self, word: dict[str, Any], *, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Send one word to the controller and return its answer.  Raises `Unreachable`."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as speaker:
                speaker.settimeout(timeout_s)
                with _short_path(self._socket_path) as path:
                    speaker.connect(path)
                speaker.sendall(json.dumps(word).encode() + b"\n")
                answer = _read_line(speaker, timeout_s)
        except TimeoutError as error:
            raise Unreachable(
                f"the controller in {self.base} (process {self.holder()}) does not answer within {timeout_s:g} s",
                hint=f"If it hangs, end it with: meshctl local down --local={self.base}",
            ) from error
        except OSError as error:
            raise Unreachable(
                f"no controller runs in {self.base}", hint=f"Start one with: meshctl local up --local={self.base}"
            ) from error
        try:
            found: dict[str, Any] = json.loads(answer)
        except ValueError as error:
            raise Unreachable(
                f"the controller in {self.base} hung up without an answer", hint="Its log says why."
            ) from error
        return found


class Ear:
    """The controller's end of the control socket."""

    def __init__(self, listener: socket.socket, path: Path) -> None:
        self._listener = listener
        self._path = path

    def __enter__(self) -> Ear:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def next_word(self, timeout_s: float) -> tuple[dict[str, Any], Answer] | None:
        """Wait for a word, at most so long; ``None`` when nobody spoke or what came was not a word."""
        self._listener.settimeout(max(timeout_s, 0.001))
        try:
            speaker, _ = self._listener.accept()
        except TimeoutError:
            return None
        try:
            word = json.loads(_read_line(speaker, HEARING_S))
        except (OSError, ValueError):
            word = None
        if not isinstance(word, dict):
            speaker.close()
            return None
        return word, Answer(speaker)


class Answer:
    """How a word is answered, once; a speaker who left is no trouble."""

    def __init__(self, speaker: socket.socket) -> None:
        self._speaker = speaker

    def give(self, **fields: object) -> None:
        with contextlib.suppress(OSError), self._speaker:
            self._speaker.sendall(json.dumps(fields).encode() + b"\n")


def _locked(descriptor: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _read_line(stream: socket.socket, within_s: float) -> bytes:
    """A line, or what came until the other side fell silent.  Raises `TimeoutError`."""
    deadline = time.monotonic() + within_s
    received = bytearray()
    while not received.endswith(b"\n") and len(received) < WORD_LIMIT_BYTES:
        stream.settimeout(max(deadline - time.monotonic(), 0.001))
        part = stream.recv(4096)
        if not part:
            break
        received += part
    return bytes(received)


@contextlib.contextmanager
def _short_path(path: Path) -> Iterator[str]:
    """A way to ``path`` that fits into the 107 bytes of a socket address, however deep the folder lies."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
