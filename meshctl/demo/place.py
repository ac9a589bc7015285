"""The demo's folder: one demo at a time in it, its objects as files, the records of the last demo."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from meshctl.core.errors import InvalidInput, Refused
from meshctl.demo.scenarios import write_object

LOCK = "demo.lock"


class Place:
    """A folder that belongs to this demo from `take` to `leave`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lock: int | None = None

    def take(self, clear: Callable[[Path], None]) -> None:
        """Lock the folder, have ``clear`` end what runs there, and delete the records of the demo before.

        Raises `Refused` when a demo is running there, `InvalidInput` when something else lives there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / LOCK
        others = [path for path in self.folder.iterdir() if path != lock]
        if others and not lock.exists():
            raise InvalidInput(
                f"cannot run the demo in {self.folder}: it holds {others[0].name!r} and was not made by a demo",
                hint="use another folder or empty this one: a demo deletes the records of the demo before it",
            )
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Refused(
                f"cannot run the demo in {self.folder}: another demo is running there",
                hint="end that one with Ctrl-C, or start this one in another directory",
            ) from error
        self._lock = descriptor
        clear(self.folder)
        for path in others:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        (self.folder / "objects").mkdir()

    def leave(self) -> None:
        """Let go of the folder; what is in it stays.  Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def put(self, manifest: Mapping[str, Any]) -> None:
        """Write an object to ``objects/``, one file per kind."""
        write_object(self.folder / "objects" / f"{str(manifest['kind']).lower()}.yaml", manifest)
