"""A network namespace of one's own: made, entered by the tests, and gone afterwards, whatever happened.

In the namespace 10.0.0.0/8 is local, so that the addresses of pods and services are real and never leave the machine.
A reaper stands beside the tests, outside the namespace, and holds the end of a pipe: when they are gone, by exit or by
``kill -9``, it ends every process of the namespace and removes it.  Should the reaper die too, the next run cleans up.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.waiting import eventually

PREFIX = "meshctl-cluster-"
_NAMES = Path("/run/netns")
_NEW_NETWORK = 0x40000000


def folder_of(name: str) -> Path:
    """Where the processes of a namespace keep their files and logs."""
    return Path(tempfile.gettempdir()) / name


class Namespace:
    """A network namespace with the calling thread inside it, from `open` to `close`."""

    def __init__(self) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{_started(os.getpid())}"
        self.folder = folder_of(self.name)
        self.inode = 0
        self._home: int | None = None
        self._reaper: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Make it, set a reaper beside it, and enter."""
        clean_up()
        self.folder.mkdir()
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("-n", self.name, "route", "add", "local", "10.0.0.0/8", "dev", "lo")
        self._reaper = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.netns", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.inode = inode_of(self.name)
        self._home = enter(_NAMES / self.name)

    def close(self) -> None:
        """Leave it; every process in it is ended and it is removed."""
        if self._home is not None:
            os.close(enter(self._home))
            self._home = None
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            self._reaper.wait(30)


def enter(namespace: Path | int) -> int:
    """Move the calling thread, and whatever it starts from now on, into a network namespace.

    Takes its file, or an open descriptor, which is closed; returns a descriptor of the namespace that was left.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    descriptor = namespace if isinstance(namespace, int) else os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    library = ctypes.CDLL(None, use_errno=True)
    failed = library.setns(descriptor, _NEW_NETWORK)
    number = ctypes.get_errno()
    os.close(descriptor)
    if failed:
        os.close(before)
        raise OSError(number, f"cannot enter the network namespace {namespace}: {os.strerror(number)}")
    return before


def existing() -> list[str]:
    """The namespaces of this and other runs that are there now."""
    return sorted(path.name for path in _NAMES.glob(f"{PREFIX}*")) if _NAMES.exists() else []


def inode_of(name: str) -> int:
    """The number by which the kernel knows a namespace; 0 when it is not there."""
    try:
        return (_NAMES / name).stat().st_ino
    except FileNotFoundError:
        return 0


def processes_of(inode: int) -> list[int]:
    """Every process in a namespace."""
    return [number for number in _process_numbers() if inode and _inode(number) == inode]


def clean_up() -> None:
    """Remove what runs left behind that are no longer there."""
    for name in existing():
        pid, _, started = name.removeprefix(PREFIX).partition("-")
        if _started(int(pid)) != started:
            remove(name)
    for folder in folder_of("").glob(f"{PREFIX}*"):
        pid, _, started = folder.name.removeprefix(PREFIX).partition("-")
        if _started(int(pid)) != started and "MESHCTL_CLUSTER_KEEP" not in os.environ:
            shutil.rmtree(folder, ignore_errors=True)


def remove(name: str) -> None:
    """End every process of a namespace, remove it and its files (``MESHCTL_CLUSTER_KEEP=1`` keeps the files)."""

    inode = inode_of(name)

    def empty() -> bool:
        left = [number for number in processes_of(inode) if number != os.getpid()]
        for number in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        return not left

    eventually(empty, 20, f"the processes of {name} have ended")
    if (_NAMES / name).exists():
        _ip("netns", "delete", name)
    if "MESHCTL_CLUSTER_KEEP" not in os.environ:
        shutil.rmtree(folder_of(name), ignore_errors=True)


def _process_numbers() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())


def _inode(number: int) -> int:
    try:
        return os.stat(f"/proc/{number}/ns/net").st_ino
    except OSError:
        return 0


def _started(number: int) -> str:
    """When a process began, in the kernel's ticks; empty when it is not there.  A number alone is used again."""
    try:
        return Path(f"/proc/{number}/stat").read_text("ascii").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def main(name: str) -> None:
    """The reaper: wait until nobody holds the other end of the pipe, then remove the namespace."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    remove(name)


if __name__ == "__main__":
    main(sys.argv[1])
