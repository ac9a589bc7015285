"""What every target needs to ask for something: who asks, and how a no becomes an exit code."""

from __future__ import annotations

import getpass
import os

from meshctl.core.errors import MeshctlError, Refused


def actor() -> str:
    """Who asks: a claim, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


def refusal(message: str, exit_code: int = Refused.exit_code) -> MeshctlError:
    """The error that carries the answer of whoever refused."""
    error = Refused(message)
    error.exit_code = exit_code
    return error
