"""The documented commands and the documented example do what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from calibration import demo, error_rates

README = Path(__file__).parents[2] / "analysis" / "README.md"


def test_the_example_of_the_readme_fails_a_candidate_that_fails_requests(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    exec(compile(code, str(README), "exec"), {})
    assert capsys.readouterr().out == (
        "fail - candidate failed 95 of 3000 requests, baseline 3 of 3000: worse than 1.1x the baseline\n"
    )


def test_the_scenarios_of_the_demo_end_as_they_should_and_in_time(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo", "--runs", "3", "--rps", "600", "--seed", "11"])
    demo.main()
    rows = {line.split()[0]: line.split()[2:] for line in capsys.readouterr().out.splitlines()[1:]}
    ends = {scenario: " ".join(row[:2]) for scenario, row in rows.items()}
    assert ends == {"good": "3 promoted"} | dict.fromkeys(("errors", "spike", "slow", "late"), "3 failed")
    seconds, most_failed = {k: float(row[2]) for k, row in rows.items()}, {k: int(row[5]) for k, row in rows.items()}
    assert seconds["good"] <= 110
    assert seconds["slow"] <= 20
    assert (most_failed["good"], most_failed["slow"]) == (0, 0)
    assert most_failed["errors"] <= 12
    assert most_failed["spike"] <= 20
    assert most_failed["late"] <= 110


def test_error_rates_are_printed_beside_their_promise(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["error_rates", "--runs", "1", "--match", "at the margin, 20 rps"])
    error_rates.main()
    (_, row) = capsys.readouterr().out.splitlines()
    assert row.split()[-4:] == ["5", "%", "0.4", "%"]
    assert error_rates.upper_limit(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert error_rates.upper_limit(3, 3) == 1.0
