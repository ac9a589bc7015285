"""What the documents say is held against what is there: commands, links, the reference of the command line."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from pathlib import Path

import click
import pytest

from meshctl.cli.root import COMMANDS, group
from meshctl.wiring import load_wishes

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", ".meshctl", "node_modules"} & set(path.relative_to(ROOT).parts)
)
REFERENCE = ROOT / "docs" / "cli.md"
USUAL = {"terminal_width": 100, "max_content_width": 100, "help_option_names": ["-h", "--help"]}
"""Every context has them: a command keeps the help option that it was asked for first."""


def _name(path):
    return str(path.relative_to(ROOT))


def _commands(text):
    """Every command line of a fenced block that starts meshctl."""
    for fence in re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL):
        for line in fence.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for part in _split(words):
                if part and part[0].rpartition("/")[2] == "meshctl":
                    yield part[1:]


def _split(words):
    """Words between ``&&``, ``||`` and ``|``."""
    part = []
    for word in words:
        if word in ("&&", "||", "|", "&"):
            yield part
            part = []
        else:
            part.append(word)
    yield part


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_command_in_a_document_can_be_typed_as_it_stands(path):
    for words in _commands(path.read_text(encoding="utf-8")):
        command, context = group, click.Context(group, info_name="meshctl", **USUAL)
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            context = click.Context(command, parent=context, info_name=words[0])
            command = command.get_command(context, words[0])
            assert command is not None, f"there is no command {words[0]!r}"
            words = words[1:]
        command.make_context(command.name, list(words), parent=context)


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_file_of_ours_that_a_command_in_a_document_names_can_be_read(path):
    for words in _commands(path.read_text(encoding="utf-8")):
        for option, value in itertools.pairwise(words):
            if option in ("-f", "--filename") and (ROOT / value).exists():
                assert load_wishes(ROOT / value, ()), value


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_link_to_a_file_leads_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_reference_shows_the_help_of_every_command_as_it_is():
    text = reference()
    if os.environ.get("MESHCTL_REWRITE"):
        REFERENCE.write_text(text, encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == text, "run this test with MESHCTL_REWRITE=1 and look at the diff"


def reference():
    """``docs/cli.md``: the help of each command and sub-command."""
    parts = [
        "# Command line",
        "Generated from the help texts; `MESHCTL_REWRITE=1 pytest tests/test_docs.py` renews it.",
    ]
    root = click.Context(group, info_name="meshctl", **USUAL)
    parts += ["## meshctl", _fenced(root)]
    for name in COMMANDS:
        command = group.get_command(root, name)
        context = click.Context(command, parent=root, info_name=name)
        parts += [f"## meshctl {name}", _fenced(context)]
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                nested = click.Context(command.get_command(context, sub), parent=context, info_name=sub)
                parts += [f"### meshctl {name} {sub}", _fenced(nested)]
    return "\n\n".join(parts) + "\n"


def _fenced(context):
    return f"```text\n{context.get_help()}\n```"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_reference(name):
    assert f"## meshctl {name}\n" in REFERENCE.read_text(encoding="utf-8")
