"""A target without a folder: commands act on a store in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from meshctl.cli import target
from meshctl.cli.root import group


@dataclass
class FakeTarget:
    """Stands for `meshctl.cli.target.Target`."""

    store: object
    base: Path = Path(".meshctl")
    alive: bool = True
    embedded: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        self.embedded = SimpleNamespace(place=SimpleNamespace(is_held=lambda: self.alive))


def invoke(monkeypatch: pytest.MonkeyPatch, store, *arguments, alive=True):
    """Run a command against a store in memory; the result has exit code, stdout and stderr."""
    monkeypatch.setattr(target, "resolve", lambda local: Path(local or ".meshctl"))
    monkeypatch.setattr(target, "Target", lambda base: FakeTarget(store, base, alive))
    return CliRunner().invoke(group, list(arguments), standalone_mode=False, catch_exceptions=True)
