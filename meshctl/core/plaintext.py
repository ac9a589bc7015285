"""Words of people as one line that no terminal can take for a command."""

from __future__ import annotations

import re

_SPACES = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, what turns the direction of writing around, and halves of characters."""


def plain(text: str) -> str:
    """``text`` with line breaks as spaces and everything that steers a terminal spelled out: ``\\x1b``."""
    return _COMMANDS.sub(_spelled, _SPACES.sub(" ", text))


def _spelled(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
