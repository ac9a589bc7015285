"""What operators see of a controller at work: /metrics, health, structured logs."""

from __future__ import annotations

import json
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.world import NEW, until

pytestmark = pytest.mark.e2e


def scraped(url):
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_controller_at_work_serves_metrics_and_health_and_logs_json(mesh):
    """
    Given a controller with --metrics 0 and --log-format json
    When a release waits at its gate under load, and is aborted
    Then Prometheus sees weight, phase, stage and samples, and each log line names release, run and stage
    """
    mesh.begin("--metrics", "0", "--log-format", "json")
    url = json.loads(mesh.run("local", "status", "-o", "json").stdout)["metrics"]
    assert url.startswith("http://127.0.0.1:")
    assert f"metrics are on {url}/metrics" in mesh.log
    for path in ("healthz", "readyz"):
        with urllib.request.urlopen(f"{url}/{path}", timeout=10) as answer:
            assert answer.status == 200

    mesh.apply(NEW)
    mesh.reaches("Paused", "ManualGate", weight=10.0)
    until(lambda: scraped(url).get(("meshctl_release_phase", "Paused", "shop")) == 1, what="the phase")
    found = until(
        lambda: (seen := scraped(url)).get(("meshctl_analysis_samples", "candidate", "shop")) and seen, what="samples"
    )
    assert found["meshctl_release_weight", "confirmed", "shop"] == 10
    assert found["meshctl_release_stage", "shop"] == 0
    assert found["meshctl_reconcile_seconds_count",] > 2
    assert ("meshctl_analysis_evalue_log", "abort", "shop") in found

    mesh.ask("abort", "shop", "--reason", "enough seen")
    until(lambda: scraped(url)["meshctl_release_phase", "RolledBack", "shop"] == 1, what="the end")
    assert mesh.users.go().failed == 0
    mesh.run("local", "down")
    with pytest.raises(OSError, match=r"refused|reset"):
        scraped(url)
    assert not (mesh.base / "metrics.url").exists()

    lines = [json.loads(line) for line in mesh.log.splitlines() if line.startswith("{")]
    about = [line for line in lines if line["message"].startswith("shop: ")]
    assert {"shop-1", "shop-2"} <= {line["run"] for line in about}
    assert all({"release", "run", "stage", "time", "level"} <= line.keys() for line in about)
    messages = [line["message"] for line in about]
    assert len(messages) == len(set(messages))
    assert any("enough seen" in message for message in messages)
