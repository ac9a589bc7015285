"""Replicas that die and routes that somebody else edits, under load, on real Envoy."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.e2e.world import NEW, OLD, kill, until

pytestmark = pytest.mark.e2e

LONG = "{weight: 50, minDuration: 10m}, {weight: 100}"
"""One stage at 50 % that nobody passes within a test."""


def at_half(make_mesh, **settings):
    mesh = make_mesh(LONG, **settings)
    mesh.begin()
    mesh.apply(NEW)
    mesh.reaches("Progressing", weight=50.0)
    until(lambda: mesh.users.of(NEW) > 5, what="answers of the candidate")
    return mesh


def set_live_weight(mesh, candidate):
    """Edit the live routes as a person in a hurry does: another file, moved into place."""
    path = mesh.live_routes()
    content = json.loads(path.read_text())
    for route in content["resources"][0]["virtual_hosts"][0]["routes"]:
        if route["metadata"]["filter_metadata"]["meshctl"]["traffic"] == "shared":
            for entry in route["route"]["weighted_clusters"]["clusters"]:
                entry["weight"] = candidate * 10 if "v2-1-0" in entry["name"] else 1000 - candidate * 10
    content["version_info"] += "-by-hand"
    beside = path.with_name("by-hand.new")
    beside.write_text(json.dumps(content))
    beside.rename(path)


def test_a_killed_replica_comes_back_and_only_the_requests_inside_it_fail(make_mesh):
    mesh = at_half(make_mesh)
    (key, victim), *_ = mesh.pids("shop/v2-0-0/").items()
    kill([victim])
    until(lambda: mesh.pids().get(key, victim) != victim, what="the replica to be back")
    served = mesh.users.counts.replicas[f"{OLD}/0"].requests
    until(lambda: mesh.users.counts.replicas[f"{OLD}/0"].requests > served, what="an answer of the replica")
    assert mesh.run_of_store().phase == "Progressing"
    counts = mesh.users.go()
    assert counts.failed_by_mesh == 0, counts.causes
    assert counts.failed == counts.failed_by_workload <= 20
    assert "ended by SIGKILL" in mesh.log


def test_a_candidate_whose_replicas_all_die_has_no_traffic_within_two_seconds(make_mesh):
    mesh = at_half(make_mesh)
    kill(list(mesh.pids("shop/v2-1-0/").values()))
    died = time.monotonic()
    until(lambda: mesh.live_weight(NEW) == 0, 5, "weight 0")
    assert time.monotonic() - died < 2.5
    assert mesh.reaches("RolledBack", "NotReady", weight=0.0)["rejected"] == [NEW]
    assert "no replica of 2.1.0 is ready any more" in mesh.ask("wait", "shop", code=10)
    before = mesh.users.next_counts()
    after = until(lambda: mesh.users.counts.requests > before.requests + 50 and mesh.users.counts)
    assert after.failed == before.failed
    mesh.users.go()


def test_weight_that_a_foreign_hand_added_is_taken_away_within_a_tick(make_mesh):
    mesh = at_half(make_mesh)
    set_live_weight(mesh, 90)
    edited = time.monotonic()
    until(lambda: mesh.live_weight(NEW) == 50, 5, "the weight to be lowered again")
    assert time.monotonic() - edited < 2.5
    until(lambda: "found 2.1.0 at 90 % where 50 % was decided: lowered" in mesh.log, what="a line in the log")
    assert mesh.reaches("Progressing", weight=50.0)
    assert mesh.users.go().failed == 0


def test_weight_that_a_foreign_hand_took_away_stays_away_until_a_person_resumes(make_mesh):
    mesh = at_half(make_mesh)
    set_live_weight(mesh, 20)
    mesh.reaches("Held", "LoweredByOther", weight=20.0)
    assert "somebody lowered 2.1.0 from 50 % to 20 %" in mesh.ask("wait", "shop", code=11)
    assert "resume" in mesh.ask("describe", "shop")
    assert mesh.live_weight(NEW) == 20
    mesh.ask("resume", "shop", "--reason", "it was me")
    mesh.reaches("Progressing", weight=50.0)
    assert mesh.live_weight(NEW) == 50
    assert mesh.users.go().failed == 0


def test_a_candidate_that_fails_is_taken_back_by_the_judge_and_its_version_is_not_tried_again_by_itself(make_mesh):
    mesh = at_half(make_mesh, env={"ERRORS": "0.5"})
    assert "Regression" in mesh.ask("wait", "shop", "--timeout", "30s", code=10)
    assert mesh.live_weight(NEW) == 0
    assert "worse than" in mesh.ask("describe", "shop")
    counts = mesh.users.go()
    assert counts.failed_by_mesh == counts.failed_by_workload == 0
    mesh.controller().send_signal(signal.SIGINT)
    assert mesh.controller().wait(20) == 0
    mesh.up()
    mesh.url()
    assert mesh.status["rejected"] == [NEW]
    assert mesh.run_of_store().name == "shop-2"


def test_an_envoy_that_dies_is_started_again_on_the_same_port_with_the_same_weights(make_mesh):
    mesh = at_half(make_mesh)
    url = mesh.url()
    mesh.users.go()
    kill([mesh.pids("envoy")["envoy"]])
    until(lambda: "Envoy was gone and has been started again" in mesh.log, what="a line in the log")
    assert mesh.url() == url
    assert mesh.live_weight(NEW) == 50
    mesh.reaches("Progressing", weight=50.0)
    os.kill(mesh.controller().pid, 0)
