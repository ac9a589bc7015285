"""The command line starts light: a person who asks for help waits for nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from meshctl.cli.root import COMMANDS, group

HEAVY = ("numpy", "scipy", "kubernetes", "aiohttp", "prometheus_client")


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "meshctl", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=lambda c: " ".join(c) or "meshctl")
def test_help_loads_no_heavy_library(command):
    script = (
        "import json, sys\n"
        "from meshctl.cli.root import root\n"
        f"code = root({[*command, '--help']!r})\n"
        f"print(json.dumps([code, sorted(name for name in {HEAVY!r} if name in sys.modules)]), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stderr.splitlines()[-1]) == [0, []]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_of_commands_is_no_longer_than_a_line(name):
    assert len(COMMANDS[name][1]) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name):
    command = group.get_command(None, name)
    assert command.name == name
    assert command.help
    assert "Example" in command.help


def test_a_wrong_command_names_the_nearest_one_and_the_exit_code_is_2():
    done = run("promot")
    assert done.returncode == 2
    assert "Did you mean 'promote'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_target_a_command_says_how_to_name_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESHCTL_LOCAL", raising=False)
    done = run("abort", "shop")
    assert done.returncode == 2
    assert "--local" in done.stderr
