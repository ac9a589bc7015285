"""What Prometheus is told: the promised names, the present values, nothing of releases that are gone."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshctl.controller.metrics import ControllerMetrics, parse_address, serving
from meshctl.core.errors import InvalidInput
from meshctl.core.model import Phase
from tests.controller.parts import Played

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "metrics.md"

PROMISED = {
    "meshctl_release_weight",
    "meshctl_release_phase",
    "meshctl_release_stage",
    "meshctl_analysis_verdict_total",
    "meshctl_analysis_evalue_log",
    "meshctl_analysis_samples",
    "meshctl_reconcile_seconds",
    "meshctl_webhook_events_total",
}
LABELS = {"release", "kind", "phase", "verdict", "evidence", "arm", "le", "outcome"}


@pytest.fixture
def metrics():
    return ControllerMetrics(deliveries=lambda: {"delivered": 3, "failed": 2, "dropped": 1})


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(metrics):
    """Every sample as Prometheus would read it from the wire."""
    with serving(metrics, "0") as url:
        code, text = get(f"{url}/metrics")
    assert code == 200
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[(sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items())))] = sample.value
    return found


def test_a_run_is_told_by_weight_phase_stage_and_evidence(metrics):
    played = Played(metrics)
    played.release()
    played.until(lambda status: status.stage == 2 and status.confirmed == 50)
    played.rounds(5)
    found = samples(metrics)
    status = played.scene.view.status
    judgement = played.scene.store.load("shop").state.run.judgement
    assert found["meshctl_release_weight", "kind=decided", "release=shop"] == status.weight == 50
    assert found["meshctl_release_weight", "kind=confirmed", "release=shop"] == 50
    assert found["meshctl_release_stage", "release=shop"] == 2
    phases = {key[1]: value for key, value in found.items() if key[0] == "meshctl_release_phase"}
    assert phases == {f"phase={phase}": float(phase == "Progressing") for phase in Phase}
    assert found["meshctl_analysis_evalue_log", "evidence=abort", "release=shop"] == judgement.abort_log
    assert found["meshctl_analysis_evalue_log", "evidence=gate", "release=shop"] == judgement.gate_log
    assert found["meshctl_analysis_samples", "arm=candidate", "release=shop"] == judgement.candidate.requests > 0
    assert found["meshctl_analysis_samples", "arm=baseline", "release=shop"] == judgement.baseline.requests > 0
    looks = sum(value for key, value in found.items() if key[0] == "meshctl_analysis_verdict_total")
    assert looks >= 15
    assert found[("meshctl_reconcile_seconds_count",)] > 15


def test_each_look_of_the_judge_is_counted_once(metrics):
    played = Played(metrics)
    played.release()
    played.until(lambda status: status.stage == 0 and status.confirmed == 1)

    def looks():
        return sum(value for key, value in samples(metrics).items() if key[0] == "meshctl_analysis_verdict_total")

    before = looks()
    played.rounds(4)
    assert looks() == before + 4
    played.scene.world.metrics.problem = "Prometheus does not answer"
    played.rounds(3)
    assert looks() == before + 4


def test_evidence_ends_with_the_run_and_a_failure_stays_counted(metrics):
    played = Played(metrics, bad=0.3)
    played.release()
    played.until(lambda status: status.phase is Phase.ROLLED_BACK)
    played.rounds(2)
    found = samples(metrics)
    assert not [key for key in found if key[0] in ("meshctl_analysis_evalue_log", "meshctl_analysis_samples")]
    assert found["meshctl_analysis_verdict_total", "release=shop", "verdict=fail"] == 1
    assert found["meshctl_release_phase", "phase=RolledBack", "release=shop"] == 1
    assert found["meshctl_release_weight", "kind=decided", "release=shop"] == 0


def test_a_release_that_is_gone_vanishes_from_every_family(metrics):
    played = Played(metrics)
    played.rounds(2)
    assert [key for key in samples(metrics) if "release=shop" in key]
    metrics.looked(None, ())
    assert [key for key in samples(metrics) if "release=shop" in key]
    metrics.looked([], ())
    assert not [key for key in samples(metrics) if "release=shop" in key]


def test_the_names_are_the_promised_ones_and_no_label_is_free_text(metrics):
    played = Played(metrics)
    played.release()
    played.until(lambda status: status.stage == 1)
    found = samples(metrics)
    ours = {re.sub("_(bucket|count|sum)$", "", key[0]) for key in found if key[0].startswith("meshctl_")}
    assert ours == PROMISED
    labels = {label.partition("=")[0] for key in found if key[0].startswith("meshctl_") for label in key[1:]}
    assert labels == LABELS


def test_what_became_of_the_webhooks_events_is_counted_where_there_is_one(metrics):
    name = "meshctl_webhook_events_total"
    assert {key[1]: value for key, value in samples(metrics).items() if key[0] == name} == {
        "outcome=delivered": 3,
        "outcome=failed": 2,
        "outcome=dropped": 1,
    }
    assert not [key for key in samples(ControllerMetrics()) if key[0] == name]


def test_health_follows_the_rounds_and_readiness_the_trouble():
    now = [0.0]
    metrics = ControllerMetrics(lambda: now[0])
    with serving(metrics, "127.0.0.1:0") as url:
        assert get(f"{url}/healthz") == (200, "ok\n")
        assert get(f"{url}/readyz") == (503, "starting\n")
        metrics.looked(["shop"], ())
        assert get(f"{url}/readyz") == (200, "ok\n")
        metrics.looked(["shop"], ("Envoy at /secret/path has ended",))
        assert get(f"{url}/healthz")[0] == 200
        assert get(f"{url}/readyz") == (503, "in trouble, the log says why\n")
        now[0] = 31.0
        assert get(f"{url}/healthz") == (503, "no round for 31 s\n")
        assert get(f"{url}/readyz")[0] == 503
        assert get(f"{url}/")[0] == 404
        assert get(f"{url}/metrics/../etc/passwd")[0] == 404
        request = urllib.request.Request(f"{url}/metrics", data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="405") as refused:
            urllib.request.urlopen(request, timeout=10)
        refused.value.close()


def test_an_address_defaults_to_the_loopback_and_a_wrong_one_is_named():
    assert parse_address("9464") == ("127.0.0.1", 9464)
    assert parse_address("localhost:0") == ("127.0.0.1", 0)
    assert parse_address("0.0.0.0:9464") == ("0.0.0.0", 9464)
    assert parse_address("[::1]:9464") == ("::1", 9464)
    for text in ("", ":9464", "here", "host:1", "1.2.3.4:", "70000", "-1", "::1:9464x"):
        with pytest.raises(InvalidInput, match="is no address"):
            parse_address(text)


def test_a_port_that_is_taken_is_refused_before_anything_starts(metrics):
    with serving(metrics, "0") as url:
        port = url.rpartition(":")[2]
        with pytest.raises(InvalidInput, match="cannot listen there"), serving(ControllerMetrics(), port):
            pass


def test_the_reference_lists_every_metric_as_it_is(metrics):
    text = reference(metrics)
    if os.environ.get("MESHCTL_REWRITE"):
        REFERENCE.write_text(text, encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == text, "run this test with MESHCTL_REWRITE=1 and look at the diff"


def reference(metrics):
    """``docs/metrics.md``, from the registry itself."""
    played = Played(metrics)
    played.release()
    played.until(lambda status: status.stage == 1)
    rows = []
    for family in metrics.registry.collect():
        if not family.name.startswith("meshctl_"):
            continue
        labels = sorted({f"`{key}`" for sample in family.samples for key in sample.labels if key != "le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append(f"| `{name}` | {family.type} | {', '.join(labels) or '-'} | {family.documentation} |")
    table = "\n".join(sorted(rows))
    return f"""\
# Metrics

```sh
meshctl local up -f examples/local-shop --metrics 9464
```

serves Prometheus text on `http://127.0.0.1:9464/metrics`. Off by default; the host is the loopback address unless
another is given (`--metrics 0.0.0.0:9464`), port 0 takes a free one and tells it. There is no login: whoever reaches
the port reads the names of your releases. Generated from the registry; `MESHCTL_REWRITE=1 pytest
tests/controller/test_metrics.py` renews it.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
{table}

Beside these `process_*`: memory, processor time and open files of the controller. Labels are names of releases and
words of meshctl, never a user, a path or an address; a release that is no longer there vanishes at once. The evidence
of an abort has to reach ln(1 / (0.8 alpha)), 4.83 for the default alpha of 0.01; that of a gate ln(1 / beta): 3.00 at
the deciding stage, 2.30 at the one before, 1.61 at the others.

| path | 200 | 503 |
| --- | --- | --- |
| `/healthz` | the controller goes round | no round for 30 s: restart it |
| `/readyz` | releases are looked after | it has just started, or Envoy, a replica or the store is in trouble |

## Logs

`meshctl local up --log-format json` writes an object a line to stderr: `time`, `level`, `message`. A line about a
release has `release`, `run` and `stage` as well (null while there is none); one of a decision also `phase`, `reason`,
`weight`, `verdict` and `actor`; one of a defect `error` with its place in the code. There is one line for each
decision, none for a look that decided nothing, and trouble is told once while it lasts.
"""
