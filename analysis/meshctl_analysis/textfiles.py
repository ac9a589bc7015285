"""Text files line by line: opening them safely, cutting fields, and naming the place of a mistake."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
LONGEST_LINE_BYTES = 1 << 12
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


class InvalidFile(ValueError):
    """A file that cannot be judged.  The message names file, line and column, what was found and what is allowed."""

    def __init__(self, path: Path, problem: str, *, line: int | None = None, column: str | None = None) -> None:
        place = str(path)
        if line is not None:
            place += f", line {line}"
        if column is not None:
            place += f", column {column}"
        super().__init__(f"{place}: {problem}")
        self.path, self.line, self.column = path, line, column


def opened(path: Path) -> BinaryIO:
    """Open a regular file for reading.  Raises `InvalidFile`."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InvalidFile(path, "is a directory; name a CSV file in it")
        if not stat.S_ISREG(mode):
            raise InvalidFile(path, "is not a regular file and may be read only once; save it to a file first")
        return open(path, "rb")
    except FileNotFoundError:
        raise InvalidFile(path, "there is no such file") from None
    except OSError as problem:
        raise InvalidFile(path, f"cannot be read: {problem.strerror}") from problem


def whole_lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file in pieces that end with a line."""
    rest = b""
    while data := file.read(CHUNK_BYTES):
        data = rest + data
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > LONGEST_LINE_BYTES:
            raise InvalidFile(path, "is no text file with one request a line: a line has more than 4096 bytes")
        rest = data[cut:]
        if cut:
            yield data[:cut]
    if rest:
        yield rest


def fields_of(path: Path, raw: bytes, line: int) -> list[str]:
    """The fields of one line, without blanks around them.  Raises `InvalidFile` when it is no text."""
    if len(raw) > LONGEST_LINE_BYTES:
        raise InvalidFile(path, "is no text file with one request a line: a line has more than 4096 bytes", line=line)
    try:
        text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError:
        raise InvalidFile(path, "is no text file (not UTF-8)", line=line) from None
    if any(ord(sign) < 32 and sign not in "\t\r\n" for sign in text):
        raise InvalidFile(path, "is no text file (it holds control characters)", line=line)
    return [field.strip() for field in text.split(",")]


def shown(field: str) -> str:
    return repr(field if len(field) <= 40 else field[:37] + "...")
