"""Small files that another process reads while we write them, and waiting for a condition.

Files are written beside their place and renamed into it: a reader, Envoy first of all, sees the old content or
the new one, never a half.  There is no fsync: everything here can be made anew after a crash of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshctl.core.errors import MeshctlError, StoreError

POLL_S = 0.002
"""How often a condition is looked at while waiting for it, in seconds."""


def write_json(path: Path, value: object, *, mode: int = 0o600, ready: Callable[[], None] = lambda: None) -> None:
    """Put ``value`` at ``path`` in one step.  Raises `StoreError`, and leaves the old content, when it cannot.

    ``ready`` is called when nothing but that step is left; what it raises prevents it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(value, stream, sort_keys=True, separators=(",", ":"))
        ready()
        beside.rename(path)
    except MeshctlError:
        beside.unlink(missing_ok=True)
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; what was there stays",
            hint="Make room on the disk or the folder writable; the next tick tries again.",
        ) from error


def read_json(path: Path) -> Any:
    """The value at ``path``; ``None`` when there is no such file.  Raises `ValueError` when it is not JSON."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return json.loads(text)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object at ``path``; an empty one when there is none, or what is there is no JSON object: what a crash
    of the machine left of a file that can be made anew."""
    try:
        found = read_json(path)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def wait_until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = POLL_S) -> bool:
    """Look at ``condition`` until it is true or ``timeout_s`` seconds are over; says which of the two."""
    deadline = time.monotonic() + timeout_s
    while True:
        if condition():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)


def last_lines(path: Path, count: int = 5, *, read_bytes: int = 8192) -> str:
    """The last lines of a log that are not empty; the empty text when there are none."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - read_bytes))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])
