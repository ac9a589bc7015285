"""The commands that change something, and wait: exit codes, words, and what happens when nobody is there."""

from __future__ import annotations

import getpass
import json
import os

import pytest

from meshctl.adapters.place import Place
from meshctl.cli import asking, target_local
from meshctl.cli.root import root
from meshctl.core.model import Gate, Reason, Stage, Verb
from meshctl.wiring import EmbeddedPlace
from tests.cli.doubles import invoke
from tests.cli.scenes import NEW, OLD, Scene
from tests.cli.test_bad_input import GOOD, WORKLOAD

MANUAL = (Stage(10.0, gate=Gate.MANUAL), Stage(100.0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESHCTL_LOCAL", raising=False)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "w.yaml").write_text(WORKLOAD)
    (tmp_path / "files" / "r.yaml").write_text(GOOD)
    return tmp_path


@pytest.fixture
def meshctl(capsys):
    """Run a command; returns exit code, stdout and stderr."""

    def run(*words):
        capsys.readouterr()
        code = root(list(words))
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


# ------------------------------------------------------------------------------------ apply, diff, render


def test_apply_stores_and_says_who_will_act_on_it(folder, meshctl):
    code, out, err = meshctl("apply", "-f", "files", "--local")
    assert (code, out) == (0, "workload/shop created\nrelease/shop created\n")
    assert err == "no controller runs in .meshctl: start one with: meshctl local up\n"
    assert meshctl("apply", "-f", "files", "--local") == (0, "workload/shop unchanged\nrelease/shop unchanged\n", "")


def test_apply_to_another_folder_names_it(folder, meshctl):
    assert "meshctl local up --local=other" in meshctl("apply", "-f", "files", "--local=other")[2]


def test_apply_to_a_controller_that_does_not_answer_stores_everything_and_says_so(folder, meshctl):
    second = GOOD.replace("name: shop", "name: till")
    (folder / "files" / "s.yaml").write_text(second)
    with Place(folder / ".meshctl").held():
        code, out, err = meshctl("apply", "-f", "files", "--local")
    assert code == 14
    assert out.count("created") == 3
    assert "release/shop is stored, but" in err
    assert list(EmbeddedPlace(folder / ".meshctl").store().names()) == ["shop", "till"]


def test_diff_shows_what_apply_would_change_and_changes_nothing(folder, meshctl):
    meshctl("apply", "-f", "files", "--local")
    assert meshctl("diff", "-f", "files", "--local") == (0, "", "")
    (folder / "files" / "r.yaml").write_text(GOOD.replace(OLD, NEW))
    for _ in range(2):
        code, out, _ = meshctl("diff", "-f", "files", "--local")
        assert code == 1
        assert [line for line in out.splitlines() if line[:1] in "+-" and line[1:2] == " "] == [
            "-  version: 2.0.0",
            "+  version: 2.1.0",
        ]


def test_diff_of_something_new_shows_all_of_it(folder, meshctl):
    meshctl("apply", "-f", "files/w.yaml", "--local")
    code, out, _ = meshctl("diff", "-f", "files/r.yaml", "--local")
    assert code == 1
    assert "+kind: Release" in out


def test_render_prints_both_objects_at_the_weight(folder, meshctl):
    code, out, err = meshctl("render", "-f", "files/r.yaml", "--baseline", "1.9.0", "--weight", "0.1")
    assert (code, err) == (0, "")
    assert "kind: VirtualService" in out
    assert "kind: DestinationRule" in out
    assert "weight: 999" in out
    assert not (folder / ".meshctl").exists()


def test_the_folder_comes_from_the_flag_before_the_environment_before_the_settings(folder, meshctl, monkeypatch):
    for name in ("by-flag", "by-variable", "by-file"):
        meshctl("apply", "-f", "files", f"--local={name}")
    (folder / "meshctl.toml").write_text('local = "by-file"\n')
    assert "in by-file" in meshctl("get")[2]
    monkeypatch.setenv("MESHCTL_LOCAL", "by-variable")
    assert "in by-variable" in meshctl("get")[2]
    assert "in by-flag" in meshctl("get", "--local=by-flag")[2]


# ------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize("verb", ["promote", "pause", "resume"])
def test_without_a_controller_a_request_is_kept_for_the_next_one(folder, meshctl, verb):
    meshctl("apply", "-f", "files", "--local")
    code, out, err = meshctl(verb, "shop", "--local", "--reason", "because")
    assert (code, out) == (14, "")
    assert "no controller runs in .meshctl" in err
    assert "The request is stored; the next controller serves it." in err
    (kept,) = EmbeddedPlace(folder / ".meshctl").store().load("shop").requests
    assert (kept.verb, kept.reason, kept.actor) == (Verb(verb), "because", getpass.getuser())


def test_without_a_controller_an_abort_is_carried_out_by_the_command(folder, meshctl):
    meshctl("apply", "-f", "files", "--local")
    code, out, err = meshctl("abort", "shop", "--local")
    assert (code, out) == (16, "")
    assert "shop has had no run yet" in err
    assert EmbeddedPlace(folder / ".meshctl").store().load("shop").requests == ()


def test_a_user_without_a_name_is_known_by_number(monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert asking.actor() == f"uid {os.getuid()}"


# ------------------------------------------------------------------------------------ wait


def waiting(monkeypatch, scene, *words):
    monkeypatch.setattr(target_local, "POLL_S", 0.01)
    return invoke(monkeypatch, scene.store, "wait", "shop", *words)


def test_wait_tells_how_a_run_ended(monkeypatch):
    done = waiting(monkeypatch, Scene())
    assert (done.return_value, done.stdout) == (
        0,
        "shop-1 Promoted FirstRelease: 2.0.0 is ready and the first version\n",
    )


def test_wait_is_not_content_with_the_run_before_the_present_wish(monkeypatch):
    scene = Scene()
    scene.put(NEW)
    done = waiting(monkeypatch, scene, "--timeout", "50ms")
    assert done.return_value == 12
    assert "still on its way after 50ms" in done.stderr


def test_wait_is_not_content_while_a_request_waits_to_be_served(monkeypatch):
    scene = Scene()
    scene.ask("abort")
    assert waiting(monkeypatch, scene, "--timeout", "50ms").return_value == 12
    scene.run(1)
    assert waiting(monkeypatch, scene, "--timeout", "50ms").return_value == 0


def test_wait_for_the_end_is_content_with_a_rollback(monkeypatch):
    scene = Scene(MANUAL)
    scene.put(NEW)
    scene.run(5)
    scene.ask("abort")
    scene.run(2)
    assert waiting(monkeypatch, scene).return_value == 10
    assert waiting(monkeypatch, scene, "--for", "ended").return_value == 0


def test_wait_names_what_a_run_waits_for_when_time_is_up(monkeypatch):
    scene = Scene((Stage(10.0, gate=Gate.MANUAL, min_duration=Stage(1.0).min_duration / 60), Stage(100.0)))
    scene.put(NEW)
    scene.until(lambda view: view.status.reason == Reason.MANUAL_GATE)
    done = waiting(monkeypatch, scene, "--timeout", "20ms")
    assert done.return_value == 12
    assert "waits for a person: promote or abort" in done.stderr


def test_wait_without_a_controller_says_that_nothing_will_move(monkeypatch):
    done = invoke(monkeypatch, Scene().store, "wait", "shop", alive=False)
    assert "no controller runs in" in done.stderr


# ------------------------------------------------------------------------------------ local


def test_status_of_a_mesh_that_is_down_says_so_and_names_no_port(folder, meshctl):
    meshctl("apply", "-f", "files", "--local")
    (folder / ".meshctl" / "endpoints.json").write_text('{"shop": "127.0.0.1:8080"}')
    assert meshctl("local", "status") == (0, "controller  not running\n", "")
    assert json.loads(meshctl("local", "status", "-o", "json")[1]) == {
        "controller": False,
        "pid": None,
        "metrics": None,
        "endpoints": {},
        "processes": [],
    }


def test_logs_are_found_by_the_key_of_a_replica(folder, meshctl):
    meshctl("apply", "-f", "files", "--local")
    logs = folder / ".meshctl" / "logs"
    logs.mkdir()
    (logs / "shop-v2-0-0-1.log").write_text("one\ntwo\nthree\n")
    (logs / "envoy.log").write_text("started\n")
    assert meshctl("local", "logs", "shop/v2-0-0/1", "-n", "2")[1] == "==> shop-v2-0-0-1\ntwo\nthree\n"
    assert meshctl("local", "logs")[1] == "==> envoy\nstarted\n==> shop-v2-0-0-1\none\ntwo\nthree\n"


# ------------------------------------------------------------------------------------ ways out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(13, "Permission denied", "a/file"), 15, "meshctl: a/file: Permission denied\n"),
        (OSError(28, "No space left on device", "a/file"), 1, "meshctl: a/file: No space left on device\n"),
        (OSError("odd"), 1, "meshctl: the system: odd\n"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
    ids=["permission", "disk", "nameless", "Ctrl-C"],
)
def test_what_the_system_refuses_is_one_message(folder, meshctl, monkeypatch, error, code, said):
    def fail(path):
        raise error

    monkeypatch.setattr("meshctl.cli.target.resolve", fail)
    assert meshctl("get", "--local") == (code, "", said)
