"""The command line: one module per command group, loaded only when its command is used."""

from __future__ import annotations

import sys

from meshctl.cli.root import root


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``meshctl`` and ``kubectl-meshctl``; ends the process with a documented exit code."""
    sys.exit(root(arguments))
