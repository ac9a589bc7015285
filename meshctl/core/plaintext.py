"""Words of people as one line that no terminal can take for a command."""

from __future__ import annotations

import re

_SPACES = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, what turns the direction of writing around, and halves of characters."""

_BEYOND_JSON = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON lets through as it is."""


def plain(text: str) -> str:
    """``text`` with line breaks as spaces and everything that steers a terminal spelled out: ``\\x1b``."""
    return _COMMANDS.sub(_spelled, _SPACES.sub(" ", text))


def plain_json(text: str) -> str:
    """JSON text that says the same, with everything that steers a terminal spelled out: ``\\u009b``."""
    return _BEYOND_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
