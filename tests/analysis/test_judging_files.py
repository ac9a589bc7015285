"""Two files in, a verdict out: on the command line, as a function, in words."""

from __future__ import annotations

import json
import math
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri

from meshctl_analysis import __main__ as command
from meshctl_analysis import cutting, report
from meshctl_analysis.effects import Estimate
from meshctl_analysis.files import Evidence, InvalidOption, Options, judge_files
from meshctl_analysis.measured import measure_pair
from meshctl_analysis.policy import PolicyError, Tolerance

SOURCE = Path(command.__file__).parent.parent
BOUNDS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500)
ENGINES = ("sequential", "classic")


def latencies(seed, size, scale=1.0, tail=1.0):
    values = np.random.default_rng(seed).lognormal(math.log(60), 0.8, size) * scale
    return np.where(values > np.quantile(values, 0.98), values * tail, values) if size else values


@pytest.fixture
def raw(tmp_path):
    """Writes a raw file: requests, scale of latency, share of failures (``None``: no status column)."""

    def writer(name, size, *, seed=1, scale=1.0, tail=1.0, bad=None, order=None):
        values = latencies([seed, len(name)], size, scale, tail)
        draw = np.random.default_rng([seed, 7, len(name)])
        lines = [f"{value:.3f}" for value in values]
        if bad is not None:
            failed = draw.random(size) < bad
            lines = [f"{line},{503 if one else 200}" for line, one in zip(lines, failed, strict=True)]
        if order is not None:
            lines.sort(key=order)
        header = "latency_ms" if bad is None else "latency_ms,status"
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return writer


@pytest.fixture
def histogram(tmp_path):
    def writer(name, size, scale=1.0):
        values = latencies([3, len(name)], size, scale)
        lines = [f"{bound},{int((values <= bound).sum())}" for bound in BOUNDS]
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["le,count", *lines, f"+Inf,{size}"]) + "\n")
        return path

    return writer


# ------------------------------------------------------------------------------------ verdicts


@pytest.mark.parametrize("engine", ENGINES)
def test_an_equal_candidate_passes(raw, engine):
    verdict = judge_files(raw("base", 25_000, bad=0.002), raw("equal", 25_000, bad=0.002), Options(engine=engine))
    assert verdict.verdict == "pass"
    assert verdict.judged == ("errors", "latency")
    assert verdict.latency.value == pytest.approx(1, abs=0.03)
    assert verdict.more_requests is None
    assert report.headline(verdict).startswith("PASS: the candidate is shown to be inside the margin: latency 1.0")
    assert report.advice_of(verdict) == ""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_slow_candidate_fails_with_its_factor_and_interval(raw, engine):
    verdict = judge_files(raw("base", 8_000), raw("slow", 8_000, scale=1.23), Options(engine=engine))
    assert verdict.verdict == "fail"
    assert verdict.latency.lower < 1.23 < verdict.latency.upper
    assert report.headline(verdict).startswith("FAIL: the candidate is slower: 1.2")
    assert "(95 % interval 1." in report.headline(verdict)
    assert report.headline(verdict).endswith("tolerated is 1.05x")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_candidate_whose_slowest_requests_are_slower_fails_by_its_tail(raw, engine):
    verdict = judge_files(raw("base", 20_000), raw("tail", 20_000, tail=3), Options(engine=engine))
    assert verdict.verdict == "fail"
    assert "the candidate's slow requests are slower: p99" in report.headline(verdict)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_candidate_that_fails_more_often_fails_by_errors(raw, engine):
    verdict = judge_files(raw("base", 6_000, bad=0.002), raw("errors", 6_000, bad=0.03), Options(engine=engine))
    assert verdict.verdict == "fail"
    assert verdict.evidence.blamed == ("errors",)
    assert "FAIL: the candidate fails more often: " in report.headline(verdict)
    assert "of 6000 against" in report.headline(verdict)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_candidate_that_is_both_names_both(raw, engine):
    verdict = judge_files(raw("base", 8_000, bad=0.002), raw("both", 8_000, bad=0.1, scale=2.0), Options(engine=engine))
    assert verdict.verdict == "fail"
    if engine == "classic":
        assert "fails more often" in report.headline(verdict)
        assert "; the candidate is slower" in report.headline(verdict)


@pytest.mark.parametrize("engine", ENGINES)
def test_between_tolerance_and_margin_nothing_is_proved_and_the_advice_says_so(tmp_path, engine):
    exact = np.exp(math.log(60) + 0.8 * ndtri((np.arange(8_000) + 0.5) / 8_000))
    for name, scale in (("base", 1.0), ("middle", 1.085)):
        (tmp_path / name).write_text("".join(f"{value:.3f}\n" for value in exact * scale))
    verdict = judge_files(tmp_path / "base", tmp_path / "middle", Options(engine=engine))
    assert verdict.verdict == "undecided"
    assert "slower by " in report.headline(verdict)
    assert report.headline(verdict).endswith("neither proved bad nor good")
    assert "lies between what is tolerated and what is ruled out" in report.advice_of(verdict)


@pytest.mark.parametrize("engine", ENGINES)
def test_few_requests_are_undecided_and_the_advice_says_how_many_more(raw, engine):
    verdict = judge_files(raw("base", 300, bad=0.0), raw("equal", 300, bad=0.0), Options(engine=engine))
    assert verdict.verdict == "undecided"
    assert "too few requests" in report.headline(verdict)
    assert 1_000 < verdict.more_requests < 1_000_000
    assert report.advice_of(verdict).startswith("Collect about ")


def test_the_number_of_requests_that_the_advice_names_is_about_enough(raw):
    thin = judge_files(raw("base", 200), raw("equal", 200))
    assert thin.verdict == "undecided"
    enough = (thin.more_requests + 400) // 2
    passed = sum(
        judge_files(raw("base", enough, seed=seed), raw("equal", enough, seed=seed)).verdict == "pass"
        for seed in range(20)
    )
    assert passed >= 14


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("base", "candidate"), [(1, 1), (1, 20_000), (20_000, 1), (5, 5)])
def test_a_handful_of_requests_is_undecided_never_an_error(raw, engine, base, candidate):
    verdict = judge_files(raw("base", base), raw("equal", candidate), Options(engine=engine))
    assert verdict.verdict == "undecided"
    assert report.text_of(verdict)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("bad_base", "bad_slow"), [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_files_in_which_everything_failed_never_pass(raw, engine, bad_base, bad_slow):
    verdict = judge_files(raw("base", 3_000, bad=bad_base), raw("equal", 3_000, bad=bad_slow), Options(engine=engine))
    assert verdict.verdict == ("fail" if bad_slow > bad_base else "undecided")
    assert ("no good request" in report.headline(verdict)) == (verdict.verdict == "undecided")
    assert report.text_of(verdict)
    assert json.loads(report.json_of(verdict))["verdict"] == verdict.verdict


@pytest.mark.parametrize("engine", ENGINES)
def test_histograms_are_judged_like_raw_latencies(histogram, engine):
    options = Options(engine=engine)
    assert judge_files(histogram("base", 20_000), histogram("equal", 20_000), options).verdict == "pass"
    slow = judge_files(histogram("base", 20_000), histogram("slow", 20_000, 1.2), options)
    assert slow.verdict == "fail"
    assert slow.latency.value == pytest.approx(1.2, abs=0.03)
    assert slow.judged == ("latency",)


def test_an_empty_histogram_is_undecided(histogram):
    verdict = judge_files(histogram("base", 0), histogram("equal", 0))
    assert verdict.verdict == "undecided"
    assert "holds no requests" in report.headline(verdict)
    assert "Nothing can be planned" in report.advice_of(verdict)
    assert "unknown" in report.text_of(verdict)


def test_a_histogram_whose_bounds_say_nothing_is_undecided_and_cannot_be_planned(tmp_path):
    (tmp_path / "blind").write_text("le,count\n10,0\n+Inf,5000\n")
    verdict = judge_files(tmp_path / "blind", tmp_path / "blind")
    assert (verdict.verdict, verdict.more_requests) == ("undecided", None)


def test_the_order_of_lines_makes_no_difference(raw):
    def verdict_of(order):
        paths = raw("base", 5_000, bad=0.01, order=order), raw("equal", 5_000, bad=0.01, order=order)
        return json.loads(report.json_of(judge_files(*paths)))

    plain, ordered = verdict_of(None), verdict_of(lambda line: float(line.split(",")[0]))
    for arm in ("baseline", "candidate"):
        assert plain[arm].pop("mean_ms") == pytest.approx(ordered[arm].pop("mean_ms"))
    assert plain == ordered


@pytest.mark.parametrize("engine", ENGINES)
def test_whole_milliseconds_with_many_ties_are_judged(tmp_path, engine):
    def write(name, scale):
        values = np.ceil(latencies([9, len(name)], 10_000) / 20 * scale)
        path = tmp_path / name
        path.write_text("\n".join(f"{value:.0f}" for value in values))
        return path

    options = Options(engine=engine)
    assert judge_files(write("base", 1.0), write("equal", 1.0), options).verdict == "pass"
    assert judge_files(write("base", 1.0), write("slow", 2.0), options).verdict == "fail"


@pytest.mark.parametrize("engine", ENGINES)
def test_constant_latency_is_judged(tmp_path, engine):
    for name, value in (("base", 10), ("equal", 10), ("slow", 12)):
        (tmp_path / name).write_text(f"{value}\n" * 5_000)
    options = Options(engine=engine)
    assert judge_files(tmp_path / "base", tmp_path / "equal", options).verdict == "pass"
    assert judge_files(tmp_path / "base", tmp_path / "slow", options).verdict == "fail"


def test_latencies_of_zero_are_allowed(tmp_path):
    (tmp_path / "zero").write_text("0\n" * 5_000)
    assert judge_files(tmp_path / "zero", tmp_path / "zero").verdict == "pass"


# ------------------------------------------------------------------------------------ the promises, measured


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_files_do_not_fail_and_files_at_the_margin_do_not_pass(raw, engine):
    options, runs = Options(engine=engine, errors=Tolerance(1.1, 1.25, 0.01)), 20
    equal = [
        judge_files(raw("base", 1500, seed=seed, bad=0.01), raw("equal", 1500, seed=seed, bad=0.01), options)
        for seed in range(runs)
    ]
    assert sum(verdict.verdict == "fail" for verdict in equal) <= 1
    edge = [
        judge_files(raw("base", 1500, seed=seed, bad=0.01), raw("margin", 1500, seed=seed, bad=0.0225), options)
        for seed in range(runs)
    ]
    assert sum(verdict.verdict == "pass" for verdict in edge) <= 4


# ------------------------------------------------------------------------------------ cutting


def test_dealing_into_blocks_loses_no_request(raw):
    base, slow = measure_pair(raw("base", 5_000, bad=0.1), raw("equal", 3_000, bad=0.2))
    pieces = cutting.cut(base, slow)
    everything = [*pieces.history, *pieces.blocks]
    assert sum(block.baseline.requests for block in everything) == 5_000
    assert sum(block.candidate.requests for block in everything) == 3_000
    assert sum(block.baseline.bad for block in everything) == base.bad
    assert sum(block.candidate.bad for block in everything) == slow.bad
    assert sum(sum(block.candidate.latency) for block in everything) == slow.good
    assert 300 < sum(block.baseline.requests for block in pieces.history) < 700
    assert sum(block.candidate.requests for block in pieces.history) == 0
    assert len(pieces.blocks) == cutting.BLOCKS


def test_bounds_are_the_baselines_quantiles(raw):
    base, slow = measure_pair(raw("base", 50_000), raw("equal", 50))
    bounds = cutting.cut(base, slow).bounds_ms
    assert len(bounds) == 24
    values = latencies([1, 4], 50_000)
    shares = [float((values <= bound).mean()) for bound in bounds]
    assert shares == pytest.approx(cutting.BOUND_SHARES, abs=0.025)


# ------------------------------------------------------------------------------------ words


def test_the_text_holds_headline_table_and_evidence(raw):
    text = report.text_of(judge_files(raw("base", 8_000, bad=0.002), raw("slow", 8_000, scale=1.23, bad=0.002)))
    lines = text.splitlines()
    assert lines[0].startswith("FAIL: the candidate is slower")
    assert any(line.split() == ["requests", "8", "000", "8", "000"] for line in lines)
    assert any(line.startswith("failed") and "%" in line for line in lines)
    assert any(line.startswith("p99 ms") for line in lines)
    assert any(line.startswith("sequential engine, alpha 0.01, beta 0.05") for line in lines)
    assert any(line.startswith("against the candidate: ") for line in lines)
    assert any(line.startswith("Mann-Whitney, one look: p") for line in lines)
    assert any(line.startswith("Fisher, one look: p") for line in lines)


def test_rare_sentences_are_sentences_too(raw):
    found = judge_files(raw("base", 300, bad=0.01), raw("equal", 300, bad=0.01))
    jointly = replace(found, verdict="fail", evidence=Evidence(9.0, 5.0, (), (), 3.0))
    assert "errors and latency together are worse than tolerated: latency" in report.headline(jointly)
    assert "for the candidate" not in report.text_of(jointly)
    zone = replace(found, latency=Estimate(1.0, 0.9, 1.1), errors=Estimate(1.2, 1.1, 1.3))
    assert "fails more often, 1.20x (95 % interval 1.10 to 1.30): neither proved bad nor good" in report.headline(zone)
    enough = replace(found, latency=Estimate(1.0, 0.9, 1.1), more_requests=0)
    assert "There are enough requests" in report.advice_of(enough)
    assert "too few" not in report.headline(enough)


# ------------------------------------------------------------------------------------ the command


def test_the_command_prints_the_text_and_exits_by_the_verdict(raw, capsys):
    base = str(raw("base", 8_000))
    assert command.main([base, str(raw("slow", 8_000, scale=1.3))]) == 10
    assert capsys.readouterr().out.startswith("FAIL: ")
    assert command.main([base, str(raw("equal", 8_000))]) == 0
    assert capsys.readouterr().out.startswith("PASS: ")
    assert command.main([base, str(raw("equal", 30)), "--engine", "classic"]) == 11
    assert capsys.readouterr().out.startswith("UNDECIDED: ")


def test_json_output_is_one_document_with_verdict_effect_and_evidence(raw, capsys):
    assert command.main([str(raw("base", 8_000)), str(raw("slow", 8_000, scale=1.3)), "-o", "json"]) == 10
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["verdict"], found["judged"]) == ("FileVerdict", "fail", ["latency"])
    assert found["message"].startswith("FAIL: ")
    assert found["latency"]["lower"] > 1.2
    assert found["evidence"]["log"] >= found["evidence"]["threshold_log"]
    assert found["options"]["alpha"] == 0.01
    assert found["errors"] is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--alpha", "2"], "error: `alpha` must be between 0 and 1"),
        (["--beta", "0"], "error: `beta` must be between 0 and 1"),
        (["--latency-tolerance", "0.5"], "error: `tolerance` must be at least 1"),
        (["--errors-harm", "nan"], "error: `harm` must be between 0 and 1"),
    ],
)
def test_wrong_options_exit_with_2_and_one_line(raw, capsys, arguments, problem):
    base = str(raw("base", 10))
    assert command.main([base, base, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(problem)
    assert captured.err.count("\n") == 1


def test_an_unknown_option_value_is_refused_by_the_parser(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["a", "b", "--engine", "oracle"])
    assert ended.value.code == 2
    assert "invalid choice: 'oracle'" in capsys.readouterr().err


def test_an_unknown_engine_is_refused_by_the_options():
    with pytest.raises(InvalidOption, match="`engine` must be 'sequential' or 'classic'"):
        Options(engine="oracle")
    with pytest.raises(PolicyError, match="`alpha`"):
        Options(alpha=0.0)


def test_a_missing_file_exits_with_2_and_one_line(raw, capsys):
    assert command.main([str(raw("base", 10)), "none.csv"]) == 2
    assert capsys.readouterr().err == "error: none.csv: there is no such file\n"


def run(arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=SOURCE, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_module_runs_as_a_program_without_a_traceback(raw, tmp_path):
    broken = tmp_path / "broken.csv"
    broken.write_text("latency_ms\n1\nslow\n")
    ended = run(["-m", "meshctl_analysis", str(raw("base", 10)), str(broken)])
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.endswith("such as 12.5\n")
    assert "line 3, column latency_ms: 'slow' is not a number" in ended.stderr


def test_the_program_ends_with_the_commands_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["meshctl_analysis", "none.csv", "none.csv"])
    monkeypatch.delitem(sys.modules, "meshctl_analysis.__main__")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("meshctl_analysis", run_name="__main__")
    assert ended.value.code == 2
    assert "there is no such file" in capsys.readouterr().err


def test_no_module_loads_scipy_stats_when_it_is_imported():
    script = (
        "import importlib, pkgutil, sys, meshctl_analysis\n"
        "for module in pkgutil.iter_modules(meshctl_analysis.__path__):\n"
        "    importlib.import_module(f'meshctl_analysis.{module.name}')\n"
        "assert 'meshctl_analysis.classic' in sys.modules\n"
        "assert 'meshctl' not in sys.modules\n"
        "sys.exit('scipy.stats' in sys.modules)"
    )
    ended = run(["-c", script])
    assert (ended.returncode, ended.stderr) == (0, "")


def test_judging_large_files_needs_no_scipy_stats(raw):
    paths = [str(raw("base", 500)), str(raw("equal", 500))]
    script = (
        "import sys\n"
        "from meshctl_analysis.files import judge_files\n"
        f"judge_files(*{paths!r})\n"
        "sys.exit('scipy.stats' in sys.modules)"
    )
    assert run(["-c", script]).returncode == 0


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Ten times the rows may cost a buffer or two, not their own size (14 MB of text, 16 MB of numbers)."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from meshctl_analysis.files import judge_files\n"
        "judge_files(sys.argv[1], sys.argv[1])\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0])"
    )
    peaks = []
    for rows in (200_000, 2_000_000):
        path = tmp_path / f"{rows}.csv"
        path.write_text("12.345\n23.456\n34.567\n45.678\n" * (rows // 4))
        ended = run(["-c", script, str(path)])
        assert ended.returncode == 0, ended.stderr
        peaks.append(int(ended.stdout) // 1024)
    assert peaks[1] < 300
    assert peaks[1] - peaks[0] < 8
