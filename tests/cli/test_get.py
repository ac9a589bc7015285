"""``meshctl get``: tables, objects, and following."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from meshctl.app.words import clock
from meshctl.cli.tree import change_line, follow, lines, live, render, watching
from meshctl.core.errors import InvalidInput, Refused
from tests.cli import scenes
from tests.cli.doubles import fake_target, invoke
from tests.cli.scenes import NEW, OLD, Scene


def drawn(view, width=100, height=None, **options):
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, **options)
    console.print(render(view, height=height))
    return console.file.getvalue()


# ------------------------------------------------------------------------------------ once


def test_all_releases_are_listed_and_stderr_is_silent(monkeypatch):
    done = invoke(monkeypatch, scenes.wished().store, "get")
    assert done.return_value == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "fresh", "shop"]
    assert done.stderr == ""


def test_one_release_as_json_is_an_object_and_all_are_a_list(monkeypatch):
    store = scenes.progressing().store
    assert json.loads(invoke(monkeypatch, store, "get", "shop", "-o", "json").stdout)["kind"] == "Release"
    assert json.loads(invoke(monkeypatch, store, "get", "-o", "json").stdout)["kind"] == "ReleaseList"


def test_names_can_be_piped(monkeypatch):
    assert invoke(monkeypatch, scenes.wished().store, "get", "-o", "name").stdout == "release/fresh\nrelease/shop\n"


def test_an_unknown_name_is_refused_with_the_nearest_one(monkeypatch):
    done = invoke(monkeypatch, scenes.first().store, "get", "shap")
    assert isinstance(done.exception, Refused)
    assert "shop" in str(done.exception)


def test_without_a_controller_a_word_on_stderr_says_that_nothing_moves(monkeypatch):
    done = invoke(monkeypatch, scenes.progressing().store, "get", "-o", "json", alive=False)
    assert "nothing moves until: meshctl local up --local" in done.stderr
    assert json.loads(done.stdout)


def test_no_releases_is_a_word_not_a_table_of_nothing(monkeypatch):
    store = Scene().store.__class__()
    done = invoke(monkeypatch, store, "get")
    assert (done.return_value, done.stdout) == (0, "")
    assert "meshctl apply" in done.stderr
    assert json.loads(invoke(monkeypatch, store, "get", "-o", "json").stdout)["items"] == []


def test_following_cannot_be_json(monkeypatch):
    done = invoke(monkeypatch, scenes.first().store, "get", "shop", "-w", "-o", "json")
    assert isinstance(done.exception, InvalidInput)


# ------------------------------------------------------------------------------------ lines


def played(seconds, **behaviour):
    scene = Scene()
    yield scene.view
    scene.put(NEW)
    if behaviour:
        scene.behave(**behaviour)
    for _ in range(seconds):
        yield scene.run(1).view


def test_on_a_pipe_there_is_one_line_per_decision_and_each_only_once():
    file = io.StringIO()
    live(played(70), Console(file=file, width=80))
    found = file.getvalue().splitlines()
    assert [line.split(" message=")[0] for line in found] == [
        "2026-01-01T00:00:01.000Z shop phase=Promoted stage=- weight=100 reason=FirstRelease",
        "2026-01-01T00:00:04.000Z shop phase=Pending stage=- weight=0 reason=-",
        "2026-01-01T00:00:04.000Z shop phase=Progressing stage=1/5 weight=1 reason=-",
        "2026-01-01T00:00:34.000Z shop phase=Progressing stage=2/5 weight=10 reason=Evidence",
        "2026-01-01T00:00:42.000Z shop phase=Progressing stage=3/5 weight=50 reason=Evidence",
        "2026-01-01T00:00:52.000Z shop phase=Progressing stage=4/5 weight=80 reason=Evidence",
        "2026-01-01T00:01:07.000Z shop phase=Progressing stage=5/5 weight=100 reason=Evidence",
        "2026-01-01T00:01:10.000Z shop phase=Promoted stage=5/5 weight=100 reason=Evidence",
    ]
    assert "\x1b" not in file.getvalue()


def test_decisions_between_two_looks_are_not_lost():
    scene = Scene()
    before = scene.view
    scene.put(NEW)
    found = list(lines([[before], [scene.run(45).view]]))
    assert len(found) == 5
    assert "weight=10 " in found[3]


def test_a_message_stays_on_its_line():
    scene = scenes.progressing()
    scene.ask("pause", reason='two\nlines and a "quote"')
    line = change_line(scene.run(1).view)
    assert "\n" not in line
    assert json.loads(line.split("message=")[1]) == 'paused at 50 % (two lines and a "quote")'


def test_a_release_without_decisions_has_a_line_too():
    assert change_line(
        scenes.wished().view.__class__(
            release=scenes.first().view.release, status=scenes.first().view.status, run=None, moment=None
        )
    ).startswith("- shop phase=Promoted")


def test_a_terminal_that_cannot_go_back_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    file = io.StringIO()
    live([scenes.first().view], Console(file=file, force_terminal=True))
    assert file.getvalue().startswith("2026-01-01T00:00:01.000Z shop")


def test_watching_looks_again_only_after_a_change(monkeypatch):
    scene = Scene()
    monkeypatch.setattr("time.sleep", lambda seconds: scene.put(NEW))
    looks = watching(fake_target(scene.store).changes("shop"), lambda: scene.view)
    assert next(looks).release.spec.version == OLD
    assert next(looks).release.spec.version == NEW
    pauses = []

    def still(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", still)
    looks = watching(fake_target(scene.store).changes("shop"), lambda: scene.view)
    next(looks)
    with pytest.raises(KeyboardInterrupt):
        next(looks)
    assert pauses == [0.25] * 3


def test_ctrl_c_ends_the_following_quietly(monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    done = invoke(monkeypatch, scenes.progressing().store, "get", "shop", "-w")
    assert done.return_value == 0
    assert "phase=Progressing" in done.stdout


# ------------------------------------------------------------------------------------ the picture


@pytest.mark.parametrize("width", [140, 100, 80, 60, 40])
@pytest.mark.parametrize("name", scenes.ALL)
def test_the_picture_fits_every_width_and_cuts_no_word_of_a_stage(name, width):
    view = scenes.ALL[name]().view
    text = drawn(view, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert view.status.phase.value in text


@pytest.mark.parametrize("height", [23, 15, 12])
@pytest.mark.parametrize("name", ["progressing", "held", "regression"])
def test_a_live_picture_gives_way_to_a_low_terminal(name, height):
    text = drawn(scenes.ALL[name]().view, 80, height)
    assert len(text.splitlines()) <= max(height, 14)
    assert "worse" in text


def test_the_picture_tells_versions_stages_evidence_and_decisions():
    text = drawn(scenes.progressing().view)
    for words in ("◆ 2.1.0", "● 2.0.0", "✔    1 %  done", "▶   50 %  now", "○   80 %  ahead", "not worse", "Waits for"):
        assert words in text
    assert clock(scenes.progressing().view.decisions[-1].time) in text


def test_without_colours_every_sign_has_its_word():
    for name in scenes.ALL:
        text = drawn(scenes.ALL[name]().view, no_color=True, force_terminal=True, color_system="truecolor")
        assert "\x1b[3" not in text


def test_where_only_ascii_can_be_shown_only_ascii_is(monkeypatch):
    class Old(io.StringIO):
        encoding = "ascii"

    for name in scenes.ALL:
        console = Console(file=Old(), width=90, highlight=False)
        console.print(render(scenes.ALL[name]().view))
        assert console.file.getvalue().isascii(), name


def test_a_version_name_is_not_read_as_markup():
    scene = Scene()
    scene.ask("pause", reason="[red]not a colour[/red]")
    scene.put(NEW)
    scene.run(3)
    scene.ask("pause", reason="[red]not a colour[/red]")
    assert "[red]not a colour[/red]" in drawn(scene.run(1).view)


def test_a_terminal_is_repainted_and_keeps_the_last_picture():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=40, color_system=None, _environ={})
    live(played(8, bad=0.3), console)
    assert file.getvalue().count("shop  ") >= 3
    assert "RolledBack Regression" in file.getvalue()


def test_many_releases_are_followed_as_a_table():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=40, color_system=None, _environ={})
    follow([[scenes.first().view]], console, lambda views: "drawn")
    assert "drawn" in file.getvalue()
