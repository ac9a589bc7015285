"""The simulator is worth what it finds: each planted fault must be caught, and soon."""

import pytest

from tests.sim.planted import CLUSTER_FAULTS, FAULTS
from tests.sim.story import story_of
from tests.sim.world import play

SEEDS_MAX = 1000


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught_by_the_rule_that_it_breaks(name):
    fault = FAULTS[name]
    for seed in range(SEEDS_MAX):
        failure = play(story_of(seed), fault.plant)
        if failure is not None and failure.rule in fault.rules:
            return
    pytest.fail(f"{name}: not caught in {SEEDS_MAX} worlds")


@pytest.mark.parametrize("name", CLUSTER_FAULTS)
def test_a_fault_planted_in_the_store_of_a_cluster_is_caught_too(name):
    fault = CLUSTER_FAULTS[name]
    for seed in range(SEEDS_MAX):
        failure = play(story_of(seed, cluster=True), fault.plant)
        if failure is not None and failure.rule in fault.rules:
            return
    pytest.fail(f"{name}: not caught in {SEEDS_MAX} worlds")
