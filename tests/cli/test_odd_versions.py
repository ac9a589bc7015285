"""Version names that are none: refused where they are written, in one message, and nothing of them is kept."""

from __future__ import annotations

import json
import re

import pytest

from meshctl.adapters.run_file import export_text
from meshctl.app.history import dossier_of, run_lines
from meshctl.cli.root import root
from meshctl.core.model import Metadata, Workload, WorkloadSpec, WorkloadVersion
from meshctl.wiring import EmbeddedPlace
from tests.cli import scenes
from tests.cli.test_bad_input import GOOD, WORKLOAD

ODD = {
    "300 characters": ("x" * 300, "must have at most 63 characters, as every pod label, found 300"),
    "a newline": ("2.1.0\nkind: Secret", "cannot be the value of a pod label"),
    "template syntax": ("{{ 7 * 7 }}", "cannot be the value of a pod label"),
    "a template statement": ("{% include '/etc/passwd' %}", "cannot be the value of a pod label"),
    "an escape sequence": ("2.1.0\x1b[2J", "cannot be the value of a pod label"),
    "a path": ("../../etc", "cannot be the value of a pod label"),
    "nothing": ("", "must not be empty"),
    "spaces": ("2.1.0 beta", "cannot be the value of a pod label"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESHCTL_LOCAL", raising=False)
    EmbeddedPlace(tmp_path / ".meshctl").store(create=True).close()
    return tmp_path


@pytest.mark.parametrize("command", ["apply", "diff"])
@pytest.mark.parametrize(("version", "message"), ODD.values(), ids=ODD)
def test_a_version_that_no_label_can_hold_is_refused_with_one_message(folder, capsys, command, version, message):
    workload = WORKLOAD.replace('"2.1.0"', json.dumps(version))
    release = GOOD.replace('"2.0.0"', json.dumps(version))
    (folder / "files.yaml").write_text(f"{workload}---\n{release}")
    assert root([command, "-f", "files.yaml", "--local"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert re.search(r"files\.yaml:\d+", said.err)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said.err)
    assert "49" not in said.err
    assert EmbeddedPlace(folder / ".meshctl").store().names() == []


def test_what_the_programs_are_given_is_in_no_record():
    """Environment of a Workload may hold secrets: no run, decision or export knows of it."""
    secret = "s3cr3t-token"
    scene = scenes.pending()
    versions = {
        each: WorkloadVersion(("run", "--key", secret), env={"TOKEN": secret}) for each in ("2.0.0", "2.1.0", "2.2.0")
    }
    scene.store.put_workload(Workload(Metadata("shop"), WorkloadSpec("127.0.0.1:0", versions)))
    scene.world.workloads.broken.clear()
    scene.run(40)
    for line in run_lines(scene.store):
        text = export_text(dossier_of(scene.store, line.run.name))
        assert secret not in text
        assert "TOKEN" not in text
