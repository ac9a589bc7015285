"""Joins the records of runs to the judge and to files; beside `meshctl.wiring` the only place that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshctl.core.catalog import Dossier, KeptRun
from meshctl.core.ports import Judge


def judge() -> Judge:
    """The judge that releases are judged by."""
    from meshctl.adapters.judge import AnalysisJudge

    return AnalysisJudge()


def run_data(release: str, kept: KeptRun) -> dict[str, Any]:
    """A run of ``release`` as plain data, without its decisions and blocks."""
    from meshctl.adapters.run_file import run_data as data

    return data(release, kept.run, kept.head)


def export_text(dossier: Dossier) -> str:
    """A run with its decisions and blocks as the text of a file."""
    from meshctl.adapters.run_file import export_text as text

    return text(dossier)


def write_export(path: Path, dossier: Dossier) -> int:
    """A run as a file, written whole or not at all; returns its size.  Raises `InvalidInput`."""
    from meshctl.adapters.run_file import write_export as write

    return write(path, dossier)


def load_export(path: Path) -> tuple[Dossier, bool]:
    """The run in a file, and whether that is as it was written.  Raises `InvalidInput`."""
    from meshctl.adapters.run_file import load_export as load

    return load(path)
