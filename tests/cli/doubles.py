"""A target without a folder: commands act on a store in memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from meshctl.cli import target
from meshctl.cli.root import group
from meshctl.cli.target_local import LocalTarget


def fake_target(store, base: Path = Path(".meshctl"), *, alive=True) -> LocalTarget:
    """The embedded target, with a store in memory and a controller that is there or not."""
    found = LocalTarget(base)
    place = SimpleNamespace(is_held=lambda: alive)
    vars(found).update(store=store, embedded=SimpleNamespace(place=place))
    return found


def invoke(monkeypatch: pytest.MonkeyPatch, store, *arguments, alive=True):
    """Run a command against a store in memory; the result has exit code, stdout and stderr."""
    monkeypatch.setattr(target, "resolve", lambda named: fake_target(store, Path(named.local), alive=alive))
    words = arguments if any(word.startswith("--local") for word in arguments) else (*arguments, "--local")
    return CliRunner().invoke(group, list(words), standalone_mode=False, catch_exceptions=True)
