"""Secrets are read where they are needed, at the moment they are needed, and never spoken of.

What others say is brought into a form that may be recorded: one line, not long, without any secret that was read.
"""

from __future__ import annotations

import os
from pathlib import Path

from meshctl.core.errors import InvalidInput
from meshctl.core.model import SecretRef

SIZE_LIMIT = 16 * 1024
WORDS_MAX = 200
SHORTEST_HIDDEN = 4
HIDDEN = "***"


class Secrets:
    """Reads secrets by reference and hides everything it ever read."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def read(self, ref: SecretRef, what: str) -> str:
        """The present value, without the line end of a file.  Raises `InvalidInput` that names ``what`` it is for and
        where it was looked for."""
        value = self._from_env(ref.env, what) if ref.env else self._from_file(ref.file or "", what)
        if not value or not value.isprintable() or not value.isascii():
            where = f"environment variable {ref.env}" if ref.env else f"file {ref.file}"
            raise InvalidInput(f"{what}: the {where} must hold one line of printable ASCII text")
        self._known |= {part for part in (value, *value.split()) if len(part) >= SHORTEST_HIDDEN}
        return value

    def hide(self, text: str) -> str:
        """``text`` with every known secret taken out."""
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def printable(self, text: str) -> str:
        """A stranger's words as they may be recorded."""
        line = " ".join("".join(sign if sign.isprintable() else " " for sign in self.hide(text)).split())
        line = self.hide(line)
        return line if len(line) <= WORDS_MAX else line[: WORDS_MAX - 1].rstrip() + "…"

    def _from_env(self, name: str, what: str) -> str:
        value = os.environ.get(name)
        if value is None:
            raise InvalidInput(
                f"{what}: the environment variable {name} is not set",
                hint="Set it where the controller is started.",
            )
        return value

    def _from_file(self, name: str, what: str) -> str:
        try:
            with Path(name).open("rb") as stream:
                data = stream.read(SIZE_LIMIT + 1)
        except OSError as error:
            raise InvalidInput(f"{what}: the file {name} cannot be read: {error.strerror}") from error
        if len(data) > SIZE_LIMIT:
            raise InvalidInput(f"{what}: the file {name} is larger than {SIZE_LIMIT // 1024} KiB")
        return data.decode("utf-8", "replace").rstrip("\r\n")
