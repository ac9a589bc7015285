"""Files that are there in whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshctl.adapters.envoy.files import last_lines, read_json, wait_until, write_json
from meshctl.core.errors import StoreError


def test_what_is_written_is_read_back_and_belongs_to_the_owner_alone(tmp_path: Path):
    path = tmp_path / "new" / "file.json"
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_json(tmp_path / "missing.json") is None


def test_a_full_disk_is_a_named_error_and_the_old_content_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file.json"
    write_json(path, "old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(StoreError, match=r"cannot write .*file\.json: No space left on device; what was there stays"):
        write_json(path, "new")
    assert read_json(path) == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_the_last_lines_of_a_log_are_its_last_words(tmp_path: Path):
    log = tmp_path / "log"
    assert last_lines(log) == ""
    log.write_text("a\n" * 10_000 + "b\n\nc\n")
    assert last_lines(log, 2) == "b\nc"


def test_waiting_ends_with_the_condition_or_with_the_time():
    looks: list[int] = []
    assert wait_until(lambda: looks.append(1) or len(looks) == 3, 5.0)
    assert not wait_until(lambda: False, 0.0)
