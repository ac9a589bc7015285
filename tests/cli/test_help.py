"""Help as a manual page: every command with examples that can be typed, every option with a word on it."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from meshctl.cli.root import COMMANDS, SECTIONS, group

USUAL = {"terminal_width": 100, "max_content_width": 100, "help_option_names": ["-h", "--help"]}


def leaves():
    """Every command that does something, with the words that lead to it."""
    root = click.Context(group, info_name="meshctl", **USUAL)
    for name in COMMANDS:
        command = group.get_command(root, name)
        if not isinstance(command, click.Group):
            yield (name,), command
            continue
        context = click.Context(command, parent=root, info_name=name)
        for sub in command.list_commands(context):
            yield (name, sub), command.get_command(context, sub)


LEAVES = dict(leaves())
EACH = pytest.mark.parametrize(("words", "command"), LEAVES.items(), ids=[" ".join(words) for words in LEAVES])


def examples(command):
    """The command lines of the examples, continued lines joined."""
    text = command.help.partition("Example")[2].replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if "meshctl " in line]


@EACH
def test_every_option_and_argument_is_explained(words, command):
    silent = [each.opts[0] for each in command.params if isinstance(each, click.Option) and not each.help]
    assert not silent
    for argument in (each for each in command.params if isinstance(each, click.Argument)):
        assert argument.human_readable_name.strip("[]") in command.help, "the text says what the argument is"


@EACH
def test_every_command_has_examples_that_can_be_typed(words, command):
    found = examples(command)
    assert found, "an example"
    for line in found:
        tail = re.search(r"meshctl (.*)", line.replace("<(", "").replace(")", ""))[1]
        typed = shlex.split(re.split(r"\s[|>]|\s2>|\s&&|\s\|\|", tail)[0], comments=True)
        target, context = group, click.Context(group, info_name="meshctl", **USUAL)
        while isinstance(target, click.Group):
            context = click.Context(target, parent=context, info_name=target.name)
            target, typed = target.get_command(context, typed[0]), typed[1:]
            assert target is not None, line
        target.make_context(target.name, typed, parent=context)


@EACH
def test_the_first_line_says_what_a_command_does_in_one_sentence(words, command):
    first = " ".join(command.help.split("\n\n")[0].split())
    assert first.endswith((".", "Ctrl-C."))
    assert first[0].isupper()


@EACH
def test_help_fits_a_terminal_of_a_hundred_columns(words, command):
    root = click.Context(group, info_name="meshctl", **USUAL)
    text = click.Context(command, parent=root, info_name=" ".join(words)).get_help()
    long = [line for line in text.splitlines() if len(line) > 112]
    assert not long


def test_every_command_stands_in_one_section_of_the_help():
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)
