"""A release with people at every gate: what they type, what they are told, what their users see."""

from __future__ import annotations

import json

import pytest

from tests.e2e.world import NEW, OLD, until

pytestmark = pytest.mark.e2e


def test_a_release_with_manual_gates_goes_on_only_when_a_person_says_so_and_users_notice_nothing(mesh):
    """
    Given a shop whose first version serves under load
    When a second version is applied, its gates are opened, it is paused, resumed and promoted
    Then each command answers with its code, and no request failed
    """
    mesh.begin()
    assert f"shop listens on {mesh.url().rstrip('/')}" in mesh.log
    assert mesh.status["reason"] == "FirstRelease"
    assert "shop" in mesh.run("local", "status").stdout

    mesh.apply(NEW)
    at_gate = mesh.reaches("Paused", "ManualGate", weight=10.0)
    assert at_gate["run"] == "shop-2"
    assert at_gate["waitsFor"] == "a person: promote or abort"
    until(lambda: mesh.users.of(NEW), what="an answer of the candidate")
    assert "promote" in mesh.ask("describe", "shop")
    assert "still on its way" in mesh.ask("wait", "shop", "--timeout", "300ms", code=12)
    assert "manual gate" in mesh.ask("resume", "shop", code=16)

    assert NEW in mesh.ask("promote", "shop")
    mesh.reaches("Progressing", weight=50.0)
    assert "say why with --reason" in mesh.ask("promote", "shop", code=16)
    mesh.ask("pause", "shop", "--reason", "lunch")
    assert mesh.status["reason"] == "PausedByUser"
    assert "paused already" in mesh.ask("pause", "shop", code=16)
    mesh.ask("resume", "shop")
    mesh.ask("promote", "shop", "--reason", "seen enough")
    assert "Promoted" in mesh.ask("wait", "shop", "--timeout", "30s")
    assert mesh.live_weight(NEW) == 100

    assert "use rollback" in mesh.ask("abort", "shop", code=16)
    assert "was not rejected" in mesh.ask("retry", "shop", "--reason", "why not", code=16)
    assert mesh.get()["status"]["baseline"] == NEW
    said = mesh.ask("describe", "shop")
    assert "seen enough" in said
    counts = mesh.users.go()
    assert (counts.failed, counts.causes) == (0, {})
    assert counts.version(OLD).requests
    assert counts.version(NEW).requests


def test_an_abort_takes_the_candidate_to_nothing_at_once_and_only_retry_tries_it_again(mesh):
    mesh.begin()
    mesh.apply(NEW)
    mesh.reaches("Paused", "ManualGate", weight=10.0)
    mesh.ask("promote", "shop")
    mesh.reaches("Paused", "ManualGate", weight=50.0)

    assert "empty carts" in mesh.ask("abort", "shop", "--reason", "empty carts")
    assert mesh.live_weight(NEW) == 0
    mesh.users.next_counts()
    after = mesh.users.next_counts().version(NEW).requests
    until(lambda: mesh.users.counts.version(OLD).requests > 0 and mesh.users.next_counts())
    assert mesh.users.of(NEW) == after
    assert "Aborted" in mesh.ask("wait", "shop", code=10)
    assert "Aborted" in mesh.ask("wait", "shop", "--for", "ended")
    assert mesh.status["rejected"] == [NEW]
    assert "its candidate has no traffic" in mesh.ask("abort", "shop", code=16)
    assert "use retry" in mesh.ask("promote", "shop", code=16)

    assert "Missing option '--reason'" in mesh.ask("retry", "shop", code=2)
    mesh.ask("retry", "shop", "--reason", "the carts are full again")
    assert mesh.reaches("Paused", "ManualGate", weight=10.0)["run"] == "shop-3"
    assert mesh.users.go().failed == 0


def test_one_release_as_json_is_the_object_with_its_status(mesh):
    mesh.begin()
    found = mesh.get()
    assert (found["apiVersion"], found["kind"]) == ("meshctl.dev/v1alpha1", "Release")
    assert found["metadata"]["name"] == "shop"
    assert found["spec"]["version"] == OLD
    assert {"phase", "reason", "baseline", "run", "weight", "confirmed", "observedGeneration"} <= set(found["status"])
    every = json.loads(mesh.run("get", "-o", "json", "--local").stdout)
    assert [item["metadata"]["name"] for item in every["items"]] == ["shop"]
