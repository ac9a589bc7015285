"""The scenarios are data that the rest of meshctl accepts, and differ from the defaults only where they say so."""

from __future__ import annotations

import pytest
import yaml

from meshctl.core.errors import InvalidInput
from meshctl.core.model import Phase
from meshctl.demo import scenarios
from meshctl.demo.scenarios import BASELINE, SCENARIOS, plan, release, workload
from meshctl.demo.service import Behaviour, Settings

SHARES = {1: 0.01, 10: 0.10, 50: 0.50, 80: 0.80, 100: 1.0}


def test_only_the_good_candidate_is_to_be_promoted():
    expected = {name: scenario.expected for name, scenario in SCENARIOS.items()}
    assert expected.pop("good") is Phase.PROMOTED
    assert set(expected) == {"errors", "spike", "slow", "late"}
    assert set(expected.values()) == {Phase.ROLLED_BACK}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_service_understands_every_environment(name):
    settings = Settings.from_environment(SCENARIOS[name].environment(600, seed=3))
    wrong = {"errors": (0.05, 0, 1), "spike": (0.3, 0, 1), "slow": (0, 0, 2), "late": (0.05, 90, 1), "good": (0, 0, 1)}
    assert (settings.errors, settings.errors_above_rps, settings.slow) == wrong[name]
    assert settings.seed == "3"


@pytest.mark.parametrize("rps", [50, 200, 600])
def test_the_late_fault_stays_hidden_up_to_10_percent_and_shows_from_50_percent_on(rps):
    environment = SCENARIOS["late"].environment(rps) | {"ERRORS": "1"}
    failed = {}
    for percent, share in SHARES.items():
        behaviour = Behaviour(Settings.from_environment(environment))
        own = rps * share / scenarios.REPLICAS
        answers = [behaviour.next(number / own)[1] for number in range(max(int(20 * own), 3))]
        failed[percent] = any(answers)
    assert failed == {1: False, 10: False, 50: True, 80: True, 100: True}


def test_baseline_and_good_candidate_are_started_alike():
    versions = workload(plan("good", once=True), 600.0, seed=1)["spec"]["versions"]
    assert versions[BASELINE] == versions["1.1.0"]
    assert versions[BASELINE]["replicas"] == 2


def test_the_release_leaves_the_judge_as_the_product_has_it():
    spec = release("1.1.0")["spec"]
    assert spec["analysis"] == {"warmUp": "none"}
    stages = spec["strategy"]["canary"]["stages"]
    assert [(stage["weight"], stage["minDuration"]) for stage in stages] == [
        (1.0, "8s"),
        (10.0, "8s"),
        (50.0, "10s"),
        (80.0, "15s"),
        (100.0, "3s"),
    ]


def test_the_files_hold_the_objects_unchanged(tmp_path):
    for manifest in (workload(plan(None, once=False), 200.0, seed=5), release(BASELINE)):
        path = tmp_path / "object.yaml"
        scenarios.write_object(path, manifest)
        assert yaml.safe_load(path.read_text()) == manifest
        assert [found.name for found in tmp_path.iterdir()] == ["object.yaml"]


def test_without_a_name_good_and_then_errors_are_shown():
    shown = plan(None, once=False)
    assert [scenario.name for scenario in shown] == ["good", "errors"]
    assert set(workload(shown, 600.0)["spec"]["versions"]) == {"1.0.0", "1.1.0", "1.2.0"}


def test_once_needs_a_scenario():
    with pytest.raises(InvalidInput, match="--scenario with one of: good, errors, spike, slow, late"):
        plan(None, once=True)


def test_an_unknown_scenario_is_answered_with_the_nearest():
    with pytest.raises(InvalidInput, match="did you mean 'errors'"):
        plan("error", once=True)
