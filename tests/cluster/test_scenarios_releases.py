"""What may become of a candidate, with requests flowing that are counted on the client's side."""

from __future__ import annotations

import time

import pytest

from tests.cluster.releasing import (
    Scene,
    by_hand,
    controller,
    judged,
    made_pods,
    market,
    scene,
    step,
)
from tests.cluster.waiting import eventually, patience

__all__ = ["controller", "market", "scene"]
RPS = 100
WITHIN_S = 2.0
"""So long may a candidate without a ready pod keep weight (rule 6)."""


def nothing_failed(load):
    counts = load.counts()
    assert counts.failed == 0, counts


def only_the_candidate_failed(load):
    counts = load.counts()
    assert counts.failed_by_mesh == counts.failed_by_workload == 0, counts
    assert counts.version("v1").failed == 0


# ------------------------------------------------------------------------------------ the judge's word


def test_a_candidate_that_starts_failing_at_ten_percent_is_taken_back(scene):
    scene.shop.deploy("v3", ERRORS=0.5, ERRORS_ABOVE_RPS=2.5)
    with scene.shop.load(RPS) as load:
        scene.wish("v3", [step(1), step(10, "auto", "3s"), step(100)])
        scene.has("v3", 1)
        before = load.wait_for(200)
        assert before.failed == 0
        scene.person.says("promote", "shop", "--reason", "the next stage")
        assert scene.ended(10)["reason"] in ("Regression", "Guard")
        load.wait_for(100)
        assert scene.share("v1") == 100
    only_the_candidate_failed(load)
    assert load.counts().version("v3").failed > 0


def test_a_candidate_that_is_slower_is_taken_back_though_it_fails_nothing(scene):
    scene.shop.deploy("v4", SLOW=4)
    with scene.shop.load(RPS) as load:
        scene.wish("v4", judged(10, 50))
        assert scene.ended(10)["reason"] in ("Regression", "Guard")
        load.wait_for(100)
        assert scene.share("v1") == 100
    nothing_failed(load)


# ------------------------------------------------------------------------------------ a person's word


@pytest.mark.parametrize(
    ("weight", "without"), [(1, "dead"), (10, ""), (50, "hung"), (80, ""), (100, "dead")], ids=lambda value: f"{value}"
)
def test_abort_takes_the_candidate_to_nothing_at_any_weight_and_fails_nothing(scene, weight, without):
    """With a controller, without one, and with one that hangs: the command writes the routes itself."""
    with scene.shop.load(RPS) as load:
        if weight == 100:
            scene.wish("v2", [step(10), {**step(100), "minDuration": "10m"}])
            scene.has("v2", 10)
            scene.person.says("promote", "shop", "--full", "--reason", "the last stage")
            scene.has("v2", 100)
        else:
            scene.reach("v2", weight)
        load.wait_for(50)
        if without == "dead":
            scene.controller.end()
        elif without == "hung":
            scene.controller.freeze()
        began = time.monotonic()
        scene.person.run("abort", "shop", "--reason", "support reports empty carts")
        eventually(lambda: scene.share("v1") == 100, 5, "v1 serves alone")
        print(f"at nothing after {time.monotonic() - began:.1f} s, {without or 'with a controller'}")
        load.wait_for(20)
        before = load.counts().version("v2").requests
        load.wait_for(100)
        assert load.counts().version("v2").requests == before
        scene.controller.heal()
        scene.until(phase="RolledBack", reason="Aborted", baseline="v1")
        assert scene.share("v1") == 100
    nothing_failed(load)


def test_a_release_that_supersedes_another_at_ten_percent_fails_nothing(empty_shop, controller):
    """argo-rollouts #4775: the canary subset was pointed to the new ReplicaSet, which had no pods yet, while it still
    had the weight of the old one: a burst of 503 UH."""
    scene = Scene(empty_shop, controller)
    scene.begin("v1", workload=made_pods("v1"))
    with empty_shop.load(RPS) as load:
        scene.reach("v2", 10, workload=made_pods("v2"), keepWarm="1s")
        load.wait_for(100)
        scene.wish("v3", by_hand(10), workload=made_pods("v3"), keepWarm="1s")
        eventually(lambda: scene.share("v2") == 0, 20, "the old candidate has no weight")
        scene.has("v3", 10)
        eventually(lambda: not scene.pods("v2"), 90, "the old candidate's pods have gone")
        load.wait_for(100)
        assert load.counts().version("v3").requests > 0
        scene.abort()
        eventually(lambda: scene.share("v1") == 100, 20, "v1 serves alone")
    nothing_failed(load)


# ------------------------------------------------------------------------------------ its pods


def test_a_candidate_whose_pods_are_deleted_has_no_weight_two_seconds_later(scene):
    scene.shop.deploy("v5")
    with scene.shop.load(RPS) as load:
        scene.reach("v5", 10)
        load.wait_for(50)
        before = load.counts()
        assert before.failed == 0
        began = time.monotonic()
        scene.shop.deploy("v5", 0, wait=False)
        scene.shop.delete_pods("v5", grace_s=0)
        eventually(lambda: scene.share("v5") == 0, WITHIN_S, "the candidate has no weight")
        took_s = time.monotonic() - began
        load.wait_for(30)
        lost = load.counts()
        load.wait_for(300)
        after = load.counts()
        print(f"weight 0 after {took_s:.2f} s, {lost.failed} failed: {lost.causes}")
        assert after.failed == lost.failed, after.causes
        assert lost.failed <= WITHIN_S * RPS * 0.1 * patience() + 5
        scene.until(phase="RolledBack", reason="NotReady")
    assert load.counts().version("v1").failed == 0


def test_a_candidate_that_never_gets_ready_gets_no_request_and_ends(scene):
    scene.shop.deploy("v6", 0, wait=False)
    with scene.shop.load(RPS) as load:
        scene.wish("v6", by_hand(10), readyTimeout="5s")
        scene.ended(10)
        scene.until(phase="RolledBack", reason="NotReady", baseline="v1")
        assert scene.share("v6") == 0
    assert load.counts().version("v6").requests == 0
    nothing_failed(load)
