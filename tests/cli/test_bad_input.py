"""What a person gets wrong: one message that says where and what is allowed, a documented code, nothing changed."""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshctl.cli.root import root
from meshctl.wiring import EmbeddedPlace

BUILT_IN = Path(__file__).parents[2] / "templates" / "istio" / "virtualservice.yaml.j2"
WORKLOAD = """\
apiVersion: meshctl.dev/v1alpha1
kind: Workload
metadata: {name: shop}
spec:
  listen: 127.0.0.1:0
  versions:
    "2.0.0": {replicas: 1, command: [sleep, "60"]}
    "2.1.0": {replicas: 1, command: [sleep, "60"]}
"""
HEAD = """\
apiVersion: meshctl.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
"""
GOOD = (
    HEAD
    + """\
  version: "2.0.0"
  service: shop
"""
)


def stages(text):
    return GOOD + f"  strategy: {{canary: {{stages: [{text}]}}}}\n"


RELEASES = {
    "an unknown field": (
        GOOD + "  verzion: x\n",
        r"r\.yaml:7:3: spec\.verzion: unknown field; did you mean 'version'\?.*allowed:.*strategy",
    ),
    "an unknown field deep inside": (
        GOOD + "  mesh: {retries: {attempt: 3}}\n",
        r"r\.yaml:7:\d+: spec\.mesh\.retries\.attempt: unknown field; did you mean 'attempts'\?",
    ),
    "a key that stands there twice": (
        GOOD + "  service: shop\n",
        r"r\.yaml:7:3: the key 'service' stands here twice; it was given on line 6",
    ),
    "on as a version": (
        HEAD + "  version: on\n  service: shop\n",
        r"r\.yaml:5:12: spec\.version: Workload shop has no version 'on'; it has: '2\.0\.0', '2\.1\.0'",
    ),
    "a version without quotes": (
        HEAD + "  version: 2.0\n  service: shop\n",
        r"r\.yaml:5:12: spec\.version: must be text, found 2\.0 without quotes\n  write \"2\.0\"",
    ),
    "a version that nobody declared": (
        GOOD.replace("2.0.0", "2.0.1"),
        r"r\.yaml:5:12: spec\.version: Workload shop has no version '2\.0\.1'; did you mean '2\.0\.0'\?",
    ),
    "a service that nobody runs": (
        GOOD.replace("service: shop", "service: shup"),
        r"Release/shop: spec\.service: there is no Workload 'shup'\n  Known: shop\.",
    ),
    "weights that do not rise": (
        stages("{weight: 10}, {weight: 10}, {weight: 100}"),
        r"r\.yaml:7:\d+: spec\.strategy\.canary\.stages\[1\]\.weight: must be greater than that of the stage before",
    ),
    "a weight finer than a tenth": (
        stages("{weight: 0.25}, {weight: 100}"),
        r"r\.yaml:7:\d+: spec\.strategy\.canary\.stages\[0\]\.weight: must be a multiple of 0\.1, found 0\.25",
    ),
    "a last stage below 100 % that no person opens": (
        stages("{weight: 10}, {weight: 50}"),
        r"r\.yaml:7:\d+: spec\.strategy\.canary\.stages\[1\]: the last stage ends at 50 %.*gate: manual",
    ),
    "a strategy that is not there yet": (
        GOOD + "  strategy: {blueGreen: {swap: auto}}\n",
        r"r\.yaml:7:\d+: spec\.strategy\.blueGreen: .*not supported yet; write canary",
    ),
    "gRPC routes": (
        GOOD + "  grpc: {}\n",
        r"r\.yaml:7:3: spec\.grpc: gRPC and TCP routes are not supported yet",
    ),
    "TCP routes": (
        GOOD + "  mesh: {tcp: [{}]}\n",
        r"r\.yaml:7:\d+: spec\.mesh\.tcp: gRPC and TCP routes are not supported yet",
    ),
    "a duration without a unit": (
        GOOD + "  keepWarm: 60\n",
        r"r\.yaml:7:\d+: spec\.keepWarm: ",
    ),
    "a kind that is not there": (
        GOOD.replace("kind: Release", "kind: Relaese"),
        r"r\.yaml:2:\d+: kind: unknown kind 'Relaese'; did you mean 'Release'\?",
    ),
    "what is not YAML": (
        "spec: [1, 2\n",
        r"r\.yaml:\d+",
    ),
    "an empty file": ("", r"r\.yaml: holds no object"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a mesh in which 2.0.0 is wished and nothing runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESHCTL_LOCAL", raising=False)
    (tmp_path / "w.yaml").write_text(WORKLOAD)
    (tmp_path / "good.yaml").write_text(GOOD)
    store = EmbeddedPlace(tmp_path / ".meshctl").store(create=True)
    assert root(["apply", "-f", "w.yaml", "--local"]) == 0
    assert root(["apply", "-f", "good.yaml", "--local"]) == 0
    store.close()
    return tmp_path


@pytest.fixture
def said(capsys):
    """Run a command; its exit code must be the given one.  Returns what it wrote to stderr."""

    def run(code, *words):
        capsys.readouterr()
        assert root(list(words)) == code
        found = capsys.readouterr()
        assert "Traceback" not in found.err
        assert found.err.strip()
        return found.err

    return run


def wished(folder):
    store = EmbeddedPlace(folder / ".meshctl").store()
    found = store.release("shop"), store.revision()
    store.close()
    return found


@pytest.mark.parametrize("command", [["apply"], ["diff"]], ids=lambda words: words[0])
@pytest.mark.parametrize(("text", "message"), RELEASES.values(), ids=RELEASES)
def test_a_wrong_release_is_refused_with_its_place_and_nothing_is_stored(folder, said, text, message, command):
    (folder / "r.yaml").write_text(text)
    before = wished(folder)
    found = said(2, *command, "-f", "r.yaml", "--local")
    assert re.search(message, found), found
    assert wished(folder) == before


def test_one_wrong_object_keeps_the_right_ones_of_its_folder_out(folder, said):
    (folder / "files").mkdir()
    (folder / "files" / "a.yaml").write_text(GOOD.replace("2.0.0", "2.1.0"))
    (folder / "files" / "b.yaml").write_text(GOOD.replace("name: shop", "name: other") + "  verzion: x\n")
    before = wished(folder)
    assert "b.yaml:7:3" in said(2, "apply", "-f", "files", "--local")
    assert wished(folder) == before


FILES = {
    "a file that is not there": ("nowhere.yaml", r"nowhere\.yaml: there is no such file or folder"),
    "an empty folder": ("empty", r"empty: holds no manifest\n  manifests end in \.yaml or \.yml"),
    "a file that is not text": ("binary.yaml", r"binary\.yaml:1: is not UTF-8 text"),
    "a file that is far too large": ("large.yaml", r"large\.yaml: is larger than 1024 KiB"),
}


@pytest.mark.parametrize(("name", "message"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("command", [["apply", "--local"], ["diff", "--local"], ["render", "--weight", "1"]])
def test_what_cannot_be_read_is_named(folder, said, command, name, message):
    (folder / "empty").mkdir()
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (folder / "large.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    assert re.search(message, said(2, command[0], "-f", name, *command[1:]))


COMMANDS = {
    "a release that is not there": (
        16,
        ["describe", "shpo", "--local"],
        "no release or run is named 'shpo'\n  Did you mean",
    ),
    "abort of a release that is not there": (16, ["abort", "shpo", "--local"], "Did you mean 'shop'"),
    "wait for a release that is not there": (16, ["wait", "shpo", "--local"], "Did you mean 'shop'"),
    "a timeout without a unit": (2, ["wait", "shop", "--local", "--timeout", "10"], "'10' is not a duration"),
    "a timeout in words": (2, ["wait", "shop", "--local", "--timeout", "soon"], "such as 500ms, 60s, 5m or 1h30m"),
    "a timeout of nothing": (2, ["wait", "shop", "--local", "--timeout", "0s"], "must be longer than nothing"),
    "a goal that is not there": (2, ["wait", "shop", "--local", "--for", "good"], "'promoted', 'ended'"),
    "a weight above 100": (2, ["render", "-f", "good.yaml", "--weight", "101"], "must be 0 to 100 in steps of 0.1"),
    "a weight finer than a tenth": (2, ["render", "-f", "good.yaml", "--weight", "0.25"], "in steps of 0.1"),
    "no weight at all": (2, ["render", "-f", "good.yaml", "--weight", "nan"], "must be 0 to 100"),
    "a retry without a reason": (2, ["retry", "shop", "--local"], "Missing option '--reason'"),
    "a command that is not there": (2, ["promot", "shop"], "Did you mean 'promote'"),
    "a log that is not there": (2, ["local", "logs", "shup"], "no log is named 'shup'"),
    "lines that are none": (2, ["local", "logs", "-n", "0"], "'-n'"),
    "a scenario that is not there": (2, ["demo", "--scenario", "bad"], "'good', 'errors', 'spike', 'slow', 'late'"),
    "once without a scenario": (2, ["demo", "--once"], "name it with --scenario\n  One of: good, errors"),
    "no requests a second": (2, ["demo", "--rps", "0"], "more than 0"),
    "a demo in a folder of something else": (2, ["demo", "--folder", "."], "was not made by a demo"),
    "a folder without a mesh": (2, ["get", "--local=nowhere"], "there is no embedded mesh in nowhere\n  Start one"),
    "the logs of a folder without a mesh": (2, ["local", "logs", "--local=nowhere"], "no embedded mesh in nowhere"),
    "the status of a folder without a mesh": (2, ["local", "status", "--local=nowhere"], "no embedded mesh"),
    "the end of a folder without a mesh": (2, ["local", "down", "--local=nowhere"], "no embedded mesh in nowhere"),
    "an Envoy that is not there": (2, ["local", "up", "--envoy", "nowhere"], "--envoy nowhere: no executable file"),
    "an Envoy that is a text": (2, ["local", "up", "--envoy", "w.yaml"], "--envoy w.yaml: no executable file"),
    "templates that are not there": (
        2,
        ["local", "up", "--template-dir", "nowhere"],
        "cannot read templates from nowhere: it does not exist",
    ),
}


@pytest.mark.parametrize(("code", "words", "message"), COMMANDS.values(), ids=COMMANDS)
def test_a_wrong_word_is_answered_with_what_would_be_right(folder, said, code, words, message):
    before = wished(folder)
    assert message in said(code, *words)
    assert wished(folder) == before
    assert not (folder / "nowhere").exists()


@pytest.mark.parametrize(
    "words",
    [["get"], ["local", "up"], ["local", "down"], ["local", "status"], ["apply", "-f", "w.yaml"], ["abort", "shop"]],
    ids=" ".join,
)
def test_a_file_where_the_folder_should_be_is_named(folder, said, words):
    (folder / "file").write_text("mine")
    assert re.search("no embedded mesh in file|file cannot be the folder", said(2, *words, "--local=file"))
    assert (folder / "file").read_text() == "mine"


SETTINGS = {
    "is not TOML": ("local = \n", "meshctl.toml: is not TOML: Invalid value (at line 1, column 9)"),
    "names no folder": ("local = 3\n", "meshctl.toml:1: local: must be text, found 3"),
    "has an unknown setting": ('locla = "x"\n', "meshctl.toml:1: unknown setting 'locla'\n  Did you mean 'local'?"),
    "has a setting like none": (
        'local = "x"\nzoom = 3\n',
        "meshctl.toml:2: unknown setting 'zoom'\n  Allowed: local, context, kubeconfig, namespace, output, color,",
    ),
}


@pytest.mark.parametrize(("text", "message"), SETTINGS.values(), ids=SETTINGS)
def test_a_wrong_settings_file_is_refused(folder, said, text, message):
    (folder / "meshctl.toml").write_text(text)
    assert message in said(2, "get")


def test_settings_that_are_a_folder_are_refused(folder, said):
    (folder / "meshctl.toml").mkdir()
    assert "meshctl.toml: cannot be read: Is a directory" in said(2, "get")


def test_without_a_target_nothing_is_guessed(folder, said):
    assert "no target" in said(2, "abort", "shop")


# ------------------------------------------------------------------------------------ the state file

EVERY = [["get"], ["describe", "shop"], ["abort", "shop"], ["apply", "-f", "good.yaml"], ["local", "up"]]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_a_damaged_state_file_is_named_with_a_way_out(folder, said, words):
    (folder / ".meshctl" / "state.db").write_bytes(os.urandom(8192))
    found = said(1, *words, "--local=.meshctl")
    assert "cannot open .meshctl/state.db: the file is not a SQLite database" in found
    assert ".recover" in found


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_the_state_file_of_a_newer_meshctl_is_left_alone(folder, said, words):
    path = folder / ".meshctl" / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "has format 99, this meshctl knows formats up to" in said(1, *words, "--local=.meshctl")


def test_a_damaged_state_file_keeps_nobody_from_ending_what_runs(folder, capsys):
    (folder / ".meshctl" / "state.db").write_bytes(os.urandom(8192))
    assert root(["local", "down"]) == 0
    assert root(["local", "status"]) == 0
    assert "not running" in capsys.readouterr().out


def _without_the_rights_of_root():
    """The owner's rights only, also for root: a folder without the write bit is then read-only for it as well."""
    bounding_drop, override, search = 24, 1, 2
    libc = ctypes.CDLL(None)
    for capability in (override, search):
        libc.prctl(bounding_drop, capability, 0, 0, 0)


def meshctl(folder, *words, within_s=60, rights=True):
    """As a process of its own, where a command would stay or needs other rights."""
    return subprocess.run(
        [sys.executable, "-m", "meshctl", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=within_s,
        preexec_fn=None if rights else _without_the_rights_of_root,
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["apply", "-f", "w.yaml", "--local=closed/mesh"], 1),
        (["local", "up", "--local=closed/mesh"], 1),
        (["local", "up", "--detach", "--local=closed/mesh"], 1),
        (["get", "--local=hidden/mesh"], 15),
        (["apply", "-f", "unreadable.yaml", "--local"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_may_not_be_read_or_written_is_named_in_one_message(folder, words, code):
    (folder / "unreadable.yaml").write_text(GOOD)
    (folder / "unreadable.yaml").chmod(0)
    (folder / "closed").mkdir(0o500)
    (folder / "hidden").mkdir(0o600)
    (folder / "hidden" / "mesh").mkdir()
    done = meshctl(folder, *words, rights=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("meshctl: ") == 1
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------ what does not start


def test_a_port_in_use_is_named(folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (folder / "w.yaml").write_text(WORKLOAD.replace(":0\n", f":{port}\n"))
        for words in (["local", "up", "-f", "w.yaml"], ["local", "up", "--detach"]):
            done = meshctl(folder, *words)
            assert done.returncode == 2, done.stderr
            assert f"Workload/shop: spec.listen: 127.0.0.1:{port} is in use" in done.stderr
            assert "port 0 takes a free one" in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("program", "message"), [("/bin/false", "it ended with status 1"), ("text", "cannot execute .*Exec format error")]
)
def test_an_envoy_that_does_not_start_is_told_with_its_log(folder, program, message):
    (folder / "text").write_text("this is no program\n")
    (folder / "text").chmod(0o755)
    done = meshctl(folder, "local", "up", "--envoy", program)
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


TEMPLATES = {
    "does not parse": ("{% if %}", r"virtualservice\.yaml\.j2:\d+: does not parse"),
    "names what is not there": ("{{ releese.name }}", r"virtualservice\.yaml\.j2:\d+:.*releese"),
    "does not end": (
        "{% for i in range(9999) %}" * 3 + "{% endfor %}" * 3,
        r"virtualservice\.yaml\.j2: did not finish within 2 s",
    ),
    "renders a lie": (None, r"weight"),
}


@pytest.mark.parametrize(("text", "message"), TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("command", ["render", "local up"])
def test_a_wrong_template_is_refused_before_anything_is_started(folder, command, text, message):
    (folder / "t" / "istio").mkdir(parents=True)
    own = folder / "t" / "istio" / "virtualservice.yaml.j2"
    built_in = BUILT_IN.read_text()
    own.write_text(built_in + text if text else built_in.replace("{{ destination.weight }}", "500"))
    words = {
        "render": ["render", "-f", "good.yaml", "--baseline", "1.0.0", "--weight", "10"],
        "local up": ["local", "up"],
    }[command]
    done = meshctl(folder, *words, "--template-dir", "t")
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / ".meshctl" / "envoy" / "bootstrap.json").exists()


def test_a_program_that_ends_at_once_is_told_with_its_exit_status_and_last_words(folder):
    """Shown by `describe`, by `get` and once by the controller's log."""
    dies = WORKLOAD.replace('[sleep, "60"]', "[sh, -c, 'echo no configuration found; exit 3']")
    (folder / "w.yaml").write_text(dies)
    began = meshctl(folder, "local", "up", "-f", "w.yaml", "--detach")
    assert began.returncode == 0, began.stderr
    try:
        words = "ended with exit status 3: no configuration found"
        deadline = time.monotonic() + 20
        while words not in meshctl(folder, "describe", "shop", "--local").stdout.replace("\n    ", " "):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        waits_for = json.loads(meshctl(folder, "get", "shop", "-o", "json", "--local").stdout)["status"]["waitsFor"]
        assert words in waits_for
        assert (folder / ".meshctl" / "controller.log").read_text().count(words) == 1
    finally:
        assert meshctl(folder, "local", "down").returncode == 0
