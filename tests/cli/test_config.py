"""Settings: who wins, who is named as the origin, and what is wrong with a file."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import click
import pytest

from meshctl.cli import config
from meshctl.cli.root import group, root

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "config.md"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder to stand in, and a user's own file beside it."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MESHCTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    own = tmp_path / "xdg" / "meshctl" / "config.toml"
    own.parent.mkdir(parents=True)
    return own


@pytest.fixture
def view(home, capsys):
    def run(*words, before=()):
        code = root([*before, "config", "view", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def origins(view, *words, before=()):
    return {key: (each["value"], each["origin"]) for key, each in json.loads(view(*words, before=before)[1]).items()}


def test_flag_beats_environment_beats_folder_beats_user_beats_default(view, home, monkeypatch):
    asked = ("--show-origin", "-o", "json")
    assert origins(view, *asked)["local"] == (None, "default")
    home.write_text('# mine\nlocal = "of-user"\nlog_format = "json"\n')
    assert origins(view, *asked)["local"] == ("of-user", f"{home}:2")
    Path("meshctl.toml").write_text('local = "of-folder"\n')
    assert origins(view, *asked)["local"] == ("of-folder", "meshctl.toml:1")
    monkeypatch.setenv("MESHCTL_LOCAL", "of-variable")
    assert origins(view, *asked)["local"] == ("of-variable", "environment MESHCTL_LOCAL")
    assert origins(view, *asked, "--local=of-flag")["local"] == ("of-flag", "flag --local")
    assert origins(view, *asked)["log_format"] == ("json", f"{home}:3")
    assert origins(view, *asked, before=("--no-color",))["color"] == ("never", "flag --no-color")
    assert origins(view, *asked)["output"] == ("table", "default")


def test_people_get_columns_with_the_origin_only_when_asked(view):
    Path("meshctl.toml").write_text("rps = 50\n")
    _, out, _ = view()
    assert re.search(r"^rps +50$", out, re.M)
    assert re.search(r"^local +-$", out, re.M)
    assert re.search(r"^rps +50 +meshctl.toml:1$", view("--show-origin")[1], re.M)
    assert json.loads(view("-o", "json")[1])["rps"] == 50


WRONG = {
    "unknown": (
        "\n\ntemplate-dri = 1\n",
        "meshctl.toml:3: unknown setting 'template-dri'\n  Did you mean 'template_dir'?",
    ),
    "a table": ("[metrics]\nport = 1\n", "meshctl.toml:1: metrics: must be text, found {'port': 1}"),
    "unknown table": ("[demo]\nrps = 1\n", "meshctl.toml:1: unknown setting 'demo'\n  Allowed: local,"),
    "wrong kind": ('rps = "many"\n', "meshctl.toml:1: rps: must be a number, found 'many'"),
    "a truth": ("rps = true\n", "meshctl.toml:1: rps: must be a number, found True"),
    "not among the allowed": ('output = "jsn"\n', "meshctl.toml:1: output: there is no 'jsn'\n  Did you mean 'json'?"),
    "empty": ('local = ""\n', "meshctl.toml:1: local: must be text, found ''"),
    "twice": ('local = "a"\nlocal = "b"\n', "meshctl.toml: is not TOML"),
    "no text": ("local = '\udcff'\n", "meshctl.toml: is not UTF-8 text"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_its_line_and_the_nearest_name(view, text, message):
    Path("meshctl.toml").write_bytes(text.encode(errors="surrogateescape"))
    code, _, err = view()
    assert code == 2
    assert message in err


def test_a_wrong_variable_is_refused_and_a_misspelt_one_named(view, monkeypatch):
    monkeypatch.setenv("MESHCTL_RPS", "many")
    assert "MESHCTL_RPS: rps: must be a number" in view()[2]
    monkeypatch.setenv("MESHCTL_RPS", "")
    monkeypatch.setenv("MESHCTL_LOCL", "x")
    code, _, err = view()
    assert code == 0
    assert "MESHCTL_LOCL is no setting; did you mean MESHCTL_LOCAL?" in err


def test_a_broken_file_keeps_nobody_from_help_nor_from_an_abort_that_names_its_folder(home, capsys):
    Path("meshctl.toml").write_text("no toml at all")
    assert root(["local", "up", "--help"]) == 0
    assert root(["get", "--help"]) == 0
    assert root(["abort", "shop", "--local=x"]) == 2
    assert "there is no embedded mesh in x" in capsys.readouterr().err
    assert root(["get", "--local=x"]) == 2
    assert "is not TOML" in capsys.readouterr().err


def test_options_take_their_defaults_from_settings_and_a_flag_beats_them(home, tmp_path, capsys):
    text = 'apiVersion: meshctl.dev/v1alpha1\nkind: Release\nmetadata: {name: a}\nspec: {version: "1", service: a}\n'
    (tmp_path / "r.yaml").write_text(text)
    home.write_text('template_dir = "nowhere"\n')
    render = ["render", "-f", "r.yaml", "--weight", "1"]
    assert root(render) == 2
    assert "nowhere" in capsys.readouterr().err
    (tmp_path / "meshctl.toml").write_text('template_dir = "elsewhere"\n')
    assert root(["lint", "-f", "r.yaml"]) == 2
    assert "elsewhere" in capsys.readouterr().err
    assert root([*render, "--template-dir", str(ROOT / "templates")]) == 0


def test_paths_may_begin_at_home_and_secrets_stay_hidden(home, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    assert config.BY_KEY["envoy"].read("~/envoy", "") == "/home/anna/envoy"
    token = config.Setting("token", "", secret=True)
    assert token.shown("hunter2") == "***"
    assert token.shown(None) is None
    assert config.BY_KEY["metrics"].shown("https://anna:hunter2@host:1") == "https://***@host:1"
    with pytest.raises(Exception, match=r"must be text, found \*\*\*") as caught:
        token.read(42, "f")
    assert "42" not in str(caught.value)


def test_every_setting_gives_its_default_to_an_option_that_exists():
    for setting in config.SETTINGS:
        for words in setting.used_by:
            command, context = group, None
            for word in words:
                context = click.Context(command, parent=context, help_option_names=["-h", "--help"])
                command = command.get_command(context, word)
            assert setting.key in {parameter.name for parameter in command.params}, words


def test_the_reference_lists_every_setting_as_it_is():
    text = reference()
    if os.environ.get("MESHCTL_REWRITE"):
        REFERENCE.write_text(text, encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == text, "run this test with MESHCTL_REWRITE=1 and look at the diff"


def reference():
    """``docs/config.md``."""

    def row(setting):
        used = ", ".join(f"`{' '.join(words)}`" for words in setting.used_by) or "every command that has it"
        allowed = f" One of: {', '.join(setting.allowed)}." if setting.allowed else ""
        default = f"{setting.default}" if setting.default is not None else "-"
        return f"| `{setting.key}` | `{setting.variable}` | {default} | {setting.help}{allowed} | {used} |"

    rows = "\n".join(row(setting) for setting in config.SETTINGS)
    return f"""\
# Settings

The first that names a value wins: the flag of the command, the variable, `meshctl.toml` in the folder you stand in,
your own `~/.config/meshctl/config.toml` (in `XDG_CONFIG_HOME` when that is set), the default. Generated;
`MESHCTL_REWRITE=1 pytest tests/cli/test_config.py` renews it.

```toml
# meshctl.toml
local = ".meshctl"
template_dir = "templates"
rps = 120
```

```sh
meshctl config view --show-origin
```

shows what is in force and who said so; secrets as `***`. An unknown key is an error with file, line and the nearest
name. Nothing is read before a command needs it: a broken file keeps nobody from `meshctl abort shop --local=DIR`.

| key | variable | default | what it does | default of the option in |
| --- | --- | --- | --- | --- |
{rows}
"""
