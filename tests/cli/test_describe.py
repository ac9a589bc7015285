"""``meshctl describe``: a note for the engineer at three in the morning."""

from __future__ import annotations

import shlex

import click
import pytest

from meshctl.cli.describe import WIDTH, description
from meshctl.cli.root import COMMANDS, group
from meshctl.core.errors import Refused
from tests.cli import scenes
from tests.cli.doubles import invoke


def described(name, suffix=" --local"):
    return list(description(scenes.ALL[name]().view, suffix))


@pytest.mark.parametrize("name", scenes.ALL)
def test_a_note_is_readable_in_a_plain_terminal(name):
    lines = described(name)
    assert all(len(line) <= WIDTH for line in lines)
    assert "None" not in "\n".join(lines)
    assert "What comes next" in lines


@pytest.mark.parametrize("name", scenes.ALL)
def test_every_command_that_is_named_exists_and_can_be_parsed(name):
    commands = [line.strip() for line in described(name, " --local='my folder'") if line.startswith("  meshctl ")]
    for text in commands:
        _, verb, *arguments = shlex.split(text)
        assert verb in COMMANDS
        command = group.get_command(None, verb)
        with click.Context(command, resilient_parsing=False) as context:
            command.parse_args(context, list(arguments))
        assert context.params["local"] == "my folder"


def test_the_last_decision_stands_before_the_numbers_and_those_before_the_advice():
    lines = described("regression")
    order = [lines.index(title) for title in ("Why", "Evidence", "What would change it", "What you may do now")]
    assert order == sorted(order)
    assert lines[0] == "shop  ✖ RolledBack (Regression)"


def test_requests_are_told_with_who_when_and_what_became_of_them():
    text = "\n".join(described("paused"))
    assert "pause by anna: accepted" in text
    assert "retry by ben: refused\n      2.1.0 was not rejected" in text


def test_a_request_that_waits_tells_its_reason():
    scene = scenes.progressing()
    scene.ask("pause", reason="lunch")
    assert '      because: "lunch"' in list(description(scene.view))


def test_a_number_is_not_torn_from_its_percent_sign():
    assert not [line for name in scenes.ALL for line in described(name) if line.lstrip(" -").startswith("%")]


def test_earlier_runs_are_told_newest_first():
    lines = described("turned_down")
    after = lines[lines.index("Earlier runs") + 1 :]
    assert [line.split()[0] for line in after] == ["shop-2", "shop-1"]


def test_the_command_prints_the_note_and_names_the_target_in_its_advice(monkeypatch):
    done = invoke(monkeypatch, scenes.manual().store, "describe", "shop", "--local=demo")
    assert done.return_value == 0
    assert "  meshctl promote shop --local=demo\n" in done.stdout
    assert done.stderr == ""


def test_without_a_controller_the_note_says_so(monkeypatch):
    done = invoke(monkeypatch, scenes.manual().store, "describe", "shop", alive=False)
    assert "no controller runs in .meshctl" in done.stderr


def test_an_unknown_release_is_refused(monkeypatch):
    assert isinstance(invoke(monkeypatch, scenes.first().store, "describe", "shap").exception, Refused)
