"""Completion as a shell asks for it: in a process of its own, by its own script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from meshctl.adapters.clock import SystemClock
from meshctl.cli.root import COMMANDS
from meshctl.core.model import Metadata, Phase, Release, ReleaseSpec, ReleaseState, Run
from meshctl.core.ports import MeshRecord
from meshctl.wiring import EmbeddedPlace

HEAVY = ("numpy", "scipy", "aiohttp", "rich", "jinja2")

ASK = """\
meshctl() {{ {python} -m meshctl "$@"; }}
source <(meshctl completion bash) || exit 3
COMP_WORDS=({words})
COMP_CWORD={position}
compopt() {{ echo "compopt $*"; }}
_meshctl_completion meshctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def offered(tmp_path):
    """What bash offers for the last of some words, typed in a folder."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    command = bin_ / "meshctl"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m meshctl "$@"\n')
    command.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MESHCTL")}
    environment |= {"PATH": f"{bin_}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "xdg")}

    def ask(*words):
        script = ASK.format(
            python=sys.executable, words=" ".join(f'"{word}"' for word in words), position=len(words) - 1
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        return done.stdout.split()

    return ask


def store_with(base, *names):
    store = EmbeddedPlace(base).store(create=True)
    for name in names:
        store.put_release(Release(Metadata(name), ReleaseSpec("1.0", "shop")))


def run_of(number):
    now, spec = SystemClock().now(), ReleaseSpec("1.0", "shop")
    return Run(f"shop-{number}", number, None, "1.0", spec, (), Phase.PENDING, now, now)


def save(store, state):
    version = store.load("shop").version
    rest = {"events": (), "blocks": (), "served": (), "mesh": MeshRecord()}
    store.save("shop", version, state, judge_state="", cursor="", **rest)


def test_bash_offers_commands_sub_commands_options_and_choices(offered):
    assert offered("meshctl", "pro") == ["promote"]
    assert set(offered("meshctl", "")) == set(COMMANDS)
    assert set(offered("meshctl", "local", "")) == {"up", "down", "status", "logs"}
    assert "--reason" in offered("meshctl", "abort", "--r")
    assert offered("meshctl", "completion", "b") == ["bash"]
    assert offered("meshctl", "demo", "--scenario", "s") == ["spike", "slow"]


def test_bash_offers_the_releases_of_the_folder_that_is_meant(offered, tmp_path):
    store_with(tmp_path / ".meshctl", "shop", "shipping", "till")
    store_with(tmp_path / "other", "elsewhere")
    assert offered("meshctl", "describe", "sh") == ["shipping", "shop"]
    assert offered("meshctl", "abort", "--local=other", "") == ["elsewhere"]
    (tmp_path / "meshctl.toml").write_text('local = "other"\n')
    assert offered("meshctl", "get", "") == ["elsewhere"]


def test_bash_offers_runs_where_a_run_is_meant(offered, tmp_path):
    store_with(tmp_path / ".meshctl", "shop", "till")
    store = EmbeddedPlace(tmp_path / ".meshctl").store()
    for number in (1, 2):
        save(store, ReleaseState(run=run_of(number), runs=number))
    for command in ("replay", "export"):
        assert offered("meshctl", command, "shop-") == ["shop-1", "shop-2"]
        assert offered("meshctl", command, "ti") == []
    assert offered("meshctl", "describe", "sh") == ["shop", "shop-1", "shop-2"]
    assert offered("meshctl", "history", "shop-2") == ["shop-2"]


@pytest.mark.parametrize("words", [("describe", ""), ("replay", ""), ("abort", "--local=nowhere", ""), ("get", "--w")])
def test_where_there_is_nothing_nothing_is_offered_and_nobody_is_shouted_at(offered, tmp_path, words):
    (tmp_path / "meshctl.toml").write_text("no toml")
    assert set(offered("meshctl", *words)) <= {"--watch"}
    assert not (tmp_path / ".meshctl").exists()


def test_a_file_that_is_no_store_offers_nothing(offered, tmp_path):
    (tmp_path / ".meshctl").mkdir()
    (tmp_path / ".meshctl" / "state.db").write_bytes(b"not a database" * 100)
    assert offered("meshctl", "abort", "") == []


def test_to_complete_a_name_no_heavy_library_is_loaded(tmp_path):
    store_with(tmp_path / ".meshctl", "shop")
    script = (
        "import os, sys\n"
        "from meshctl.cli.root import root\n"
        "try:\n    root([])\n"
        f"finally:\n    print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    asked = {"COMP_WORDS": "meshctl abort ", "COMP_CWORD": "2", "_MESHCTL_COMPLETE": "bash_complete"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split("\n")[:2] == ["plain,shop", "[]"]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_script_is_one_that_its_shell_can_read(shell):
    done = subprocess.run(
        [sys.executable, "-m", "meshctl", "completion", shell], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "_MESHCTL_COMPLETE" in done.stdout
    program = shutil.which(shell)
    if program is not None:
        assert subprocess.run([program, "-n"], input=done.stdout, text=True, timeout=60).returncode == 0


def test_a_shell_that_is_not_known_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "meshctl", "completion", "powershell"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "bash" in done.stderr
