"""``meshctl lint``: everything at once, where it stands, what to do, and the exit codes scripts go by."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from meshctl.cli.root import root
from meshctl.core.advice.advise import RULES
from meshctl.core.advice.finding import ERRORS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "lint.md"
EXAMPLE = ROOT / "examples" / "local-shop"

SOUND = """\
apiVersion: meshctl.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  version: "2.1.0"
  service: shop
  analysis: {slo: {maxErrorRate: 0.05}}
"""

BROKEN = """\
apiVersion: meshctl.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  verison: "2.0.0"
  service: 3
  mesh: {timeout: 2x, retries: {attempts: many}}
  strategy:
    canary:
      stages:
      - {weight: 20, gat: auto}
      - {weight: 80.05}
---
apiVersion: meshctl.dev/v1alpha1
kind: Release
metadata: {name: Till}
spec: {version: "2.0.0", service: shop, analysis: {alpha: 3}}
---
kind: Relase
"""


@pytest.fixture
def lint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MESHCTL_LOCAL", raising=False)

    def run(text, *words):
        (tmp_path / "r.yaml").write_text(text)
        code = root(["lint", "-f", "r.yaml", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_sound_release_is_answered_with_0_and_nothing(lint):
    assert lint(SOUND) == (0, "", "meshctl: r.yaml: nothing to complain about\n")


def test_all_errors_of_all_documents_are_told_at_once_with_their_places(lint):
    code, out, _ = lint(BROKEN)
    assert code == 2
    places = {line.partition(": error")[0] for line in out.splitlines() if ": error " in line}
    assert places >= {"r.yaml:5:3", "r.yaml:6:12", "r.yaml:7:19", "r.yaml:7:43", "r.yaml:11:22", "r.yaml:12:18"}
    assert places >= {"r.yaml:16:18", "r.yaml:17:59", "r.yaml:19:7"}
    assert "did you mean 'version'?" in out
    assert "did you mean 'Release'?" in out
    assert "unknown field; did you mean 'gate'?" in out


def test_warnings_end_with_0_and_with_1_when_strict(lint):
    text = SOUND + "  keepWarm: 0s\n"
    code, out, err = lint(text)
    assert code == 0
    assert "r.yaml:8:13: warning keep-warm-zero: spec.keepWarm: nothing is kept to go back to\n    The version" in out
    assert "1 warning" in err
    assert lint(text, "--strict")[0] == 1
    silent = text.replace("{name: shop}", '{name: shop, annotations: {meshctl.dev/lint-ignore: "keep-warm-zero"}}')
    assert lint(silent, "--strict")[:2] == (0, "")


def test_scripts_get_json(lint):
    code, out, _ = lint(SOUND + "  keepWarm: 0s\n", "-o", "json", "--strict")
    data = json.loads(out)
    assert (code, data["kind"], data["errors"], data["warnings"]) == (1, "LintResult", 0, 1)
    found = data["findings"][0]
    assert (found["severity"], found["rule"], found["file"]) == ("warning", "keep-warm-zero", "r.yaml")
    assert (found["line"], found["column"], found["field"]) == (8, 13, "spec.keepWarm")


def test_the_forecast_says_how_long_gates_take_and_which_are_out_of_reach(lint):
    code, out, _ = lint(SOUND, "--rps", "600")
    assert code == 0
    assert re.search(r"note forecast: spec\S*: at 600 requests a second the 1 % stage needs ~2m\d+s for its gate", out)
    assert "gate-out-of-reach" not in out
    code, out, _ = lint(SOUND, "--rps", "5", "--error-rate", "0.01", "--strict")
    assert code == 1
    assert "warning gate-out-of-reach" in out
    assert "and gets 30m" in out


@pytest.mark.parametrize("words", [("--rps", "0"), ("--rps", "nan"), ("--rps", "9", "--error-rate", "1")], ids=str)
def test_a_forecast_of_nothing_is_refused(lint, words):
    assert lint(SOUND, *words)[0] == 2


def test_templates_are_rendered_at_every_weight_and_a_lie_is_found_at_its_line(lint, tmp_path):
    own = tmp_path / "own" / "istio"
    own.mkdir(parents=True)
    text = (ROOT / "templates/istio/virtualservice.yaml.j2").read_text()
    lying = re.sub(
        r"weight: \{\{(.*?)\}\}", r"weight: {{ 500 if candidate and candidate.weight == 500 else \1 + 1 }}", text
    )
    assert lying != text
    (own / "virtualservice.yaml.j2").write_text(lying)
    code, out, _ = lint(SOUND, "--template-dir", "own")
    assert code == 2
    assert re.search(r"own/istio/virtualservice.yaml.j2:\d+:1: error template: renders for release shop", out)
    assert "there is no" not in lint(SOUND, "--template-dir", "own")[2]
    assert lint(SOUND, "--template-dir", "nowhere")[0] == 2


def test_with_a_mesh_named_what_only_a_cluster_can_do_and_a_service_nobody_runs_are_errors(lint):
    text = SOUND + "  mesh: {ownership: delegate}\n"
    assert lint(text)[0] == 0
    code, out, _ = lint(text, "--local")
    assert code == 2
    assert "error invalid: spec.mesh.ownership" in out
    code, out, _ = lint(SOUND, "--local")
    assert code == 2
    assert "there is no Workload 'shop'" in out


def test_what_a_running_mesh_would_refuse_is_told_too(lint, tmp_path):
    example = (EXAMPLE / "workload.yaml").read_text()
    (tmp_path / "both.yaml").write_text(example + "\n---\n" + (EXAMPLE / "release.yaml").read_text())
    assert root(["apply", "-f", "both.yaml", "--local"]) == 0
    assert lint(example, "--local")[0] == 0
    assert lint(SOUND.replace("2.1.0", "9.9"), "--local")[0] == 2


@pytest.mark.parametrize(
    ("content", "rule"), [(b"a: [", "yaml"), (b"a: 1\na: 2\n", "yaml"), (b"\xff\xfe\x00", "unreadable")], ids=str
)
def test_a_file_that_is_none_is_named_and_the_others_are_read(tmp_path, monkeypatch, content, rule):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_bytes(content)
    (tmp_path / "b.yaml").write_text(SOUND + "  keepWarm: 0s\n")
    from meshctl.cli.root import group

    done = CliRunner().invoke(group, ["lint", "-f", "."], standalone_mode=False)
    assert done.return_value == 2
    assert f"error {rule}" in done.stdout
    assert "warning keep-warm-zero" in done.stdout
    assert "there is no such file" in str(
        CliRunner().invoke(group, ["lint", "-f", "no"], standalone_mode=False).exception
    )


def test_the_example_has_nothing_that_it_does_not_know_of(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert root(["lint", "-f", "examples/local-shop", "--strict"]) == 0, capsys.readouterr().out


def test_the_reference_lists_every_rule_as_it_is():
    text = reference()
    if os.environ.get("MESHCTL_REWRITE"):
        REFERENCE.write_text(text, encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == text, "run this test with MESHCTL_REWRITE=1 and look at the diff"


def reference():
    """``docs/lint.md``."""
    head = """\
# What lint looks for

`meshctl lint -f FILE` tells everything at once, each line with file, line, column and the name of a rule. The names
stay as they are. Generated from the rules; `MESHCTL_REWRITE=1 pytest tests/cli/test_lint.py` renews it.

```sh
meshctl lint -f examples/local-shop --rps 50 --strict
```

An annotation of the object silences warnings that do not fit it; a comment beside it should say why:

```yaml
metadata: {name: shop, annotations: {meshctl.dev/lint-ignore: "bake-short, no-slo"}}
```

## Errors: apply refuses it

| rule | meaning |
| --- | --- |
"""
    errors = "\n".join(f"| `{name}` | {text} |" for name, text in ERRORS.items())
    warnings = "\n".join(f"| `{rule.id}` | {rule.why} | {rule.do} |" for rule in RULES.values())
    return f"""{head}{errors}

## Warnings: legal, and likely to hurt

| rule | why | what to do |
| --- | --- | --- |
{warnings}

## Notes

`forecast`, with `--rps R`: how long each gate takes at this traffic for a version as good as the old one, by errors
alone (of latency nothing is known beforehand). Nine of ten such versions pass sooner. `--error-rate P` is the share
of requests that fails anyway: the more fail, the longer it takes to see that no more fail.
"""


@pytest.fixture
def istioctl(tmp_path, monkeypatch):
    """A program of that name, that takes what it is given and says what it is told to."""

    def put(script):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "istioctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return put


def test_istioctl_is_asked_where_it_is_installed(lint, istioctl, tmp_path):
    istioctl(f'[ "$*" = "validate -f -" ] && cat > {tmp_path}/asked; echo "validation succeed"')
    assert lint(SOUND)[:2] == (0, "")
    asked = (tmp_path / "asked").read_text()
    assert asked.count("kind: VirtualService") == asked.count("kind: DestinationRule") > 3
    istioctl('printf "Error: 1 error occurred:\\n\\t* VirtualService/default/shop: bad timeout\\n\\n" >&2; exit 1')
    code, out, _ = lint(SOUND)
    assert code == 2
    assert out == "r.yaml:1:1: error istioctl: VirtualService/default/shop: bad timeout\n"
    istioctl("echo boom >&2; exit 3")
    assert "error istioctl: boom" in lint(SOUND)[1]
