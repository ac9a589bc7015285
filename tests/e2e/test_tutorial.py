"""The tutorial, typed from top to bottom by somebody who reads carefully: each command, and what it prints."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.world import MARK, ROOT, kill, processes_of

pytestmark = pytest.mark.e2e

TUTORIAL = ROOT / "docs" / "tutorial.md"
PORT = "8080"
LIMIT_S = 240
"""Far above what it takes, for machines that do something else besides."""


class Step(NamedTuple):
    """A fence of commands, and the lines that they are said to print."""

    heading: str
    commands: str
    expected: list[str]


def steps():
    found, heading = [], ""
    for match in re.finditer(r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", TUTORIAL.read_text(), re.M | re.S):
        title, language, text = match.groups()
        if title:
            heading = title
        elif language == "sh":
            found.append(Step(heading, text, []))
        elif language == "text":
            found[-1].expected.extend(text.splitlines())
    return found


def pattern(line):
    """``…`` stands for anything, a run of spaces for any other."""
    parts = [re.sub(r"(?:\\ )+", r"\\s+", re.escape(part.strip())) for part in line.split("…")]
    return re.compile(".*".join(parts))


def assert_prints(step, said):
    """The expected lines stand among the printed ones, in order."""
    lines = iter(said.splitlines())
    for line in step.expected:
        wanted = pattern(line)
        assert any(wanted.search(each) for each in lines), f"{step.heading}: {line!r} is not in:\n{said}"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns(".meshctl", "__pycache__"))
    yield tmp_path
    subprocess.run([sys.executable, "-m", "meshctl", "local", "down"], cwd=tmp_path, capture_output=True, timeout=60)
    left = processes_of(tmp_path)
    kill(left)
    assert not left


def test_the_tutorial_does_what_it_says(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    workload = folder / "examples" / "local-shop" / "workload.yaml"
    workload.write_text(workload.read_text().replace(PORT, port))
    told = steps()
    script = "".join(f"{{\n{step.commands.replace(PORT, port)}}} > {n}.out 2>&1\n" for n, step in enumerate(told))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MESHCTL")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(folder / "xdg"),
        MARK.rstrip("="): str(folder),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "analysis")]),
    }
    began = time.monotonic()
    subprocess.run(["bash", "--norc", "-c", script], cwd=folder, env=environment, timeout=LIMIT_S, check=True)
    for number, step in enumerate(told):
        said = (folder / f"{number}.out").read_text()
        assert "Traceback" not in said, said
        assert_prints(step, said)
    print(f"the tutorial took {time.monotonic() - began:.0f} s")


def test_every_step_of_the_tutorial_says_what_it_prints():
    told = steps()
    assert len(told) > 10
    silent = [step.commands for step in told if not step.expected]
    assert all(commands.rstrip().endswith("&") for commands in silent)
    words = " ".join(step.commands for step in told)
    for verb in ("up", "lint", "apply", "get", "describe", "abort", "retry", "promote", "rollback", "wait", "down"):
        assert re.search(rf"meshctl (?:local )?{verb}\b", words), verb
