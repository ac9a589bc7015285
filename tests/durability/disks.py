"""A full disk, in two ways: a limit on file sizes, which works everywhere, and a small disk where root may mount."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


class Limits:
    """Every write to a file fails in the controller and in the commands, by the kernel's limit on file sizes."""

    def __init__(self, base: Path) -> None:
        self.is_full = False

    def fill(self, controller: int | None) -> None:
        """From now on nothing can be written."""
        self.is_full = True
        self._limit(controller, 0)

    def make_room(self, controller: int | None) -> None:
        """As before."""
        self.is_full = False
        self._limit(controller, resource.RLIM_INFINITY)

    def for_commands(self) -> Callable[[], None] | None:
        """What a command does before it begins."""
        return _no_writes if self.is_full else None

    def end(self) -> None:
        """Nothing to clear away."""

    @staticmethod
    def _limit(process: int | None, most: int) -> None:
        if process is not None:
            hard = resource.prlimit(process, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(process, resource.RLIMIT_FSIZE, (hard if most == resource.RLIM_INFINITY else most, hard))


def _no_writes() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


class SmallDisk:
    """The folder of the mesh lies on a disk of 16 MB of its own."""

    def __init__(self, base: Path) -> None:
        base.mkdir(mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(base)], check=True)
        self._base = base

    def fill(self, controller: int | None) -> None:
        """To the last byte."""
        with (self._base / "filler").open("wb", buffering=0) as stream:
            for size in (65_536, 4096, 512, 1):
                try:
                    while True:
                        stream.write(b"x" * size)
                except OSError:
                    continue

    def make_room(self, controller: int | None) -> None:
        """As before."""
        (self._base / "filler").unlink()

    def for_commands(self) -> None:
        """Commands need nothing special."""

    def end(self) -> None:
        """Unmount."""
        subprocess.run(["umount", "-l", str(self._base)], check=True)


def _may_mount() -> bool:
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return os.geteuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0
    except OSError:
        return False


DISKS = [Limits, *([pytest.param(SmallDisk, marks=pytest.mark.long)] if _may_mount() else [])]
