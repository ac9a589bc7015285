"""``meshctl history``, ``export``, ``replay`` and ``describe RUN``: what an auditor types a month later."""

from __future__ import annotations

import json
import re

import pytest

from meshctl import wiring_records
from meshctl.adapters.judge import AnalysisJudge
from meshctl.core.errors import InvalidInput, Refused, UnknownTarget
from tests.cli import scenes
from tests.cli.doubles import invoke

EVIL = "red \x1b[31malert\x1b[0m\nsecond \x9b2J line \u202e{{ 7*7 }} ${HOME}"


@pytest.fixture(scope="module")
def scene():
    """2.1.0 was taken back, 2.2.0 promoted, then 2.1.0 wished again."""
    return scenes.turned_down()


@pytest.fixture
def run(monkeypatch, scene):
    monkeypatch.setattr(wiring_records, "judge", lambda: scene.judge)

    def go(*words, store=scene.store):
        done = invoke(monkeypatch, store, *words)
        if done.exception is not None:
            raise done.exception
        return done

    return go


# ------------------------------------------------------------------------------------ history


def test_runs_are_listed_with_their_ends_the_newest_first(run):
    rows = [re.split(r" {2,}", line) for line in run("history", "--local").stdout.splitlines()]
    assert rows[0] == ["RUN", "FROM", "TO", "PHASE", "REASON", "REACHED", "DECISIONS", "BEGAN", "TOOK"]
    assert [row[:6] for row in rows[1:]] == [
        ["shop-3", "2.0.0", "2.2.0", "Promoted", "Evidence", "100 %"],
        ["shop-2", "2.0.0", "2.1.0", "RolledBack", "Regression", "1 %"],
        ["shop-1", "-", "2.0.0", "Promoted", "FirstRelease", "-"],
    ]
    assert rows[2][6:] == ["3", "2026-01-01T00:00:04Z", "10s"]


def test_scripts_read_runs_as_objects(run):
    found = json.loads(run("history", "shop", "--local", "-o", "json").stdout)
    assert found["kind"] == "ReleaseRunList"
    assert [each["metadata"]["name"] for each in found["items"]] == ["shop-3", "shop-2", "shop-1"]
    first = found["items"][1]
    assert first["kind"] == "ReleaseRun"
    assert (first["spec"]["candidate"], first["status"]["phase"]) == ("2.1.0", "RolledBack")
    assert first["record"]["head"]["decisions"] == 3
    path = "jsonpath={.items[*].status.reason}"
    assert run("history", "--local", "-o", path).stdout.split() == ["Evidence", "Regression", "FirstRelease"]
    assert run("history", "--local", "-o", "name").stdout.split()[0] == "releaserun/shop-3"
    assert "kind: ReleaseRunList" in run("history", "--local", "-o", "yaml").stdout
    assert "candidate failed" in run("history", "--local", "-o", "wide").stdout


def test_decisions_are_listed_for_a_release_or_for_one_run(run, scene):
    lines = run("history", "shop", "--decisions", "--local").stdout.splitlines()
    assert len(lines) == 1 + 7 + 3 + 2
    assert lines[0].split()[:3] == ["TIME", "RUN", "NR"]
    assert "shop-3" in lines[1]
    one = json.loads(run("history", "shop-2", "--decisions", "--local", "-o", "json").stdout)
    assert [each["number"] for each in one["items"]] == [3, 2, 1]
    assert one["items"][0] == scene.store.decisions("shop-2")[-1]
    assert run("history", "shop-2", "--decisions", "--local", "-o", "name").stdout.split()[0] == "shop-2/3"
    assert len(run("history", "shop", "--decisions", "--local", "-o", "wide").stdout) > 100


def test_a_release_without_runs_says_so(run):
    done = run("history", "fresh", "--local", store=scenes.wished().store)
    assert (done.stdout, done.exit_code) == ("", 0)
    assert "there has been no run yet" in done.stderr


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["history", "shpo"], Refused, r"no release is named 'shpo'\n  Did you mean 'shop'"),
        (["history", "shop-9", "--decisions"], Refused, "no release is named 'shop-9'"),
        (["history", "--decisions"], InvalidInput, "of which release or run"),
        (["describe", "shop-9"], Refused, r"no release or run is named 'shop-9'\n  Did you mean 'shop-"),
        (["replay", "shop-9"], Refused, r"no run is named 'shop-9'\n  Did you mean 'shop-"),
        (["replay"], InvalidInput, "replay what"),
        (["export", "shop"], Refused, r"no run is named 'shop'\n  Did you mean 'shop-"),
        (["export", "\x1b[31m"], Refused, r"no run is named '\\x1b\[31m'"),
        (["replay", "--file", "nowhere.json"], InvalidInput, "nowhere.json: cannot be read"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(run, words, error, message):
    with pytest.raises(error, match=message):
        run(*words, "--local")


# ------------------------------------------------------------------------------------ describe RUN


def test_an_earlier_run_is_told_as_of_its_end(run):
    text = run("describe", "shop-2", "--local").stdout
    assert text.startswith("shop-2  ✖ RolledBack (Regression)\n  An earlier run of shop")
    assert "2.1.0 is taken back at 1 %" in text
    assert "Decisions of shop-2" in text
    assert "What you may do now" not in text
    assert "shop-1  - → 2.0.0  Promoted" in text
    assert "shop-3" not in text


def test_the_newest_run_is_told_as_its_release(run):
    assert run("describe", "shop-3", "--local").stdout == run("describe", "shop", "--local").stdout


# ------------------------------------------------------------------------------------ replay and export


def test_a_replay_that_finds_the_same_says_from_what_and_ends_with_0(run):
    done = run("replay", "shop-2", "--local")
    assert re.fullmatch(
        r"shop-2: the same \(3 decisions, 1 of them by figures of the judge, from \d+ blocks\)\n", done.stdout
    )
    assert done.return_value == 0
    assert json.loads(run("replay", "shop-2", "--local", "-o", "json").stdout)["same"] is True


def test_an_export_replays_on_a_machine_without_any_mesh(run, tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    done = run("export", "shop-2", "-o", str(path), "--local")
    assert re.search(r"shop-2 with 3 decisions, \d+ blocks, \d+\.\d KiB\n", done.stderr)
    assert run("export", "shop-2", "--local").stdout == path.read_text()
    monkeypatch.setattr("meshctl.cli.target.resolve", None)
    assert run("replay", "--file", str(path)).return_value == 0
    assert run("replay", "shop-2", "--file", str(path)).return_value == 0
    with pytest.raises(InvalidInput, match="holds the run 'shop-2', not 'shop-3'"):
        run("replay", "shop-3", "--file", str(path))


def test_a_changed_record_is_different_and_says_which_decision_and_field(run, tmp_path):
    path = tmp_path / "run.json"
    data = json.loads(run("export", "shop-2", "--local").stdout)
    data["record"]["decisions"][2]["judge"]["evidence"]["log"] = 1.0
    data["record"]["decisions"][1]["message"] = EVIL
    path.write_text(json.dumps(data))
    done = run("replay", "--file", str(path))
    assert done.return_value == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("shop-2: different")
    assert lines[1].strip().startswith("the file is not as it was written")
    assert "decision 2: its content does not match its hash" in lines[2]
    assert "decision 3: judge.evidence.log is 1.0, it should be " in lines[3]
    found = json.loads(run("replay", "--file", str(path), "-o", "json").stdout)
    assert [each["decision"] for each in found["findings"]] == [None, 2, 3]


def test_of_many_findings_the_first_are_shown(run, tmp_path):
    path = tmp_path / "run.json"
    data = json.loads(run("export", "shop-3", "--local").stdout)
    for record in data["record"]["decisions"]:
        record["inputs"]["baseline"] = {"requests": -1, "bad": -1}
        record["weight"] = {"from": -1.0, "to": -1.0}
    path.write_text(json.dumps(data))
    assert re.search(r"and \d+ more; all of them with -o json", run("replay", "--file", str(path)).stdout)


def test_without_a_target_a_run_is_not_guessed(monkeypatch, tmp_path):
    from click.testing import CliRunner

    from meshctl.cli.root import group

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESHCTL_LOCAL", raising=False)
    done = CliRunner().invoke(group, ["replay", "shop-2"], standalone_mode=False)
    assert isinstance(done.exception, UnknownTarget)


def test_replays_use_the_judge_that_releases_use():
    assert isinstance(wiring_records.judge(), AnalysisJudge)


def test_a_run_that_is_larger_than_one_object_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr("meshctl.cli.history.GOAL_BYTES", 100)
    done = run("export", "shop-2", "-o", str(tmp_path / "run.json"), "--local")
    assert "more than the 64 KiB of one object" in done.stderr


# ------------------------------------------------------------------------------------ odd words


@pytest.mark.parametrize("verb", ["pause", "abort", "promote", "retry"])
def test_no_word_of_a_person_steers_the_terminal(run, verb):
    scene = scenes.progressing()
    scene.ask(verb, actor=EVIL, reason=EVIL)
    waiting = run("describe", "shop", "--local", store=scene.store).output
    scene.run(3)
    kept = json.dumps(scene.store.decisions("shop-2"))
    assert json.dumps(EVIL)[1:-1] in kept or verb == "retry"
    words = [
        ["describe", "shop", "--local"],
        ["get", "shop", "--local", "-o", "wide"],
        ["get", "shop", "--local", "-o", "json"],
        ["get", "shop", "--local", "-o", "yaml"],
        ["get", "shop", "--local", "-o", "jsonpath={.status.message}"],
        ["history", "shop", "--decisions", "--local", "-o", "wide"],
        ["history", "shop", "--decisions", "--local", "-o", "json"],
        ["history", "shop", "--decisions", "--local", "-o", "jsonpath={.items[*].request.reason}"],
        ["history", "--local", "-o", "wide"],
        ["export", "shop-2", "--local"],
        ["replay", "shop-2", "--local"],
    ]
    texts = [waiting, *(run(*each, store=scene.store).output for each in words)]
    for text in texts:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_a_table_has_one_line_per_row_whatever_was_said(run):
    scene = scenes.progressing()
    scene.ask("pause", reason=EVIL)
    scene.run(2)
    lines = run("history", "shop", "--decisions", "--local", store=scene.store).stdout.splitlines()
    assert len(lines) == 1 + len(scene.store.decisions("shop-2")) + len(scene.store.decisions("shop-1"))


def test_a_reason_without_end_is_cut_before_it_is_kept():
    scene = scenes.progressing()
    scene.ask("pause", reason="x" * 100_000)
    scene.run(2)
    assert len(json.dumps(scene.store.decisions("shop-2"))) < 20_000
