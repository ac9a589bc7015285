"""Each rule of advice: an object that gives reason for it, and the objects that do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshctl.adapters.manifests import load_text
from meshctl.adapters.yaml12 import write_documents
from meshctl.core.advice.advise import RULES, advise_release, advise_workload
from meshctl.core.advice.cluster import CLUSTER_RULES
from meshctl.core.model import AnalysisSpec, Metadata, Release, ReleaseSpec, ServiceLevel

SOUND = {"analysis": {"slo": {"maxErrorRate": 0.05}}}
STAGES = ({"weight": 1}, {"weight": 10}, {"weight": 50}, {"weight": 80, "minDuration": "10m"}, {"weight": 100})


def stages(*weights, **last):
    return {"strategy": {"canary": {"stages": [{"weight": weight} | last for weight in weights]}}}


def release(fields=None, *, annotations=None):
    spec = {"version": "2.1.0", "service": "shop"} | SOUND | (fields or {})
    data = {
        "apiVersion": "meshctl.dev/v1alpha1",
        "kind": "Release",
        "metadata": {"name": "shop", "annotations": annotations or {}},
        "spec": spec,
    }
    return load_text(write_documents([data]), embedded=False)[0]


def workload(**fields):
    spec = {"listen": "127.0.0.1:0", "versions": {"2.1.0": {"command": ["shop"], "replicas": 2}}} | fields
    data = {"apiVersion": "meshctl.dev/v1alpha1", "kind": "Workload", "metadata": {"name": "shop"}, "spec": spec}
    return load_text(write_documents([data]))[0]


def version(**fields):
    return {"versions": {"2.1.0": {"command": ["shop"], "replicas": 2} | fields}}


def pods(replicas=2, **container):
    """A release whose pods meshctl makes, with one container that gives no reason for advice but for these fields."""
    ready = {"httpGet": {"path": "/healthz", "port": 8000}}
    sound = {"name": "shop", "image": "registry:5000/shop:2.1.0", "readinessProbe": ready} | container
    pod = {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [sound]}}
    return {"workload": {"replicas": replicas, "template": pod}}


CONTAINER = ("workload", "template", "spec", "containers", 0)

RELEASES = {
    "stage-too-large-first-step": (stages(20, 50, 80, 100), "stages", 0, "weight"),
    "weights-jump": (stages(1, 50, 80, 100), "stages", 1, "weight"),
    "no-stage-before-all": (stages(100, gate="manual"), "stages", 0, "weight"),
    "deciding-gate-manual-only": (stages(1, 10, 50, 80, 100, gate="manual"), "stages", 2, "gate"),
    "no-bake": (stages(1, 10, 50, 100), "stages"),
    "bake-short": (stages(1, 10, 50, 80, 100, minDuration="1m"), "stages", 3, "minDuration"),
    "no-time-to-decide": (stages(4, 60, 100, minDuration="6m", maxDuration="7m"), "stages", 0, "maxDuration"),
    "no-slo": ({"analysis": {}}, "analysis"),
    "slo-unusual": ({"analysis": {"slo": {"maxErrorRate": 0}}}, "analysis", "slo", "maxErrorRate"),
    "alpha-unusual": ({"analysis": {"alpha": 0.2}}, "analysis", "alpha"),
    "margin-wide": (
        {"analysis": {"errors": {"tolerance": 1.1, "margin": 3, "harm": 0}}},
        "analysis",
        "errors",
        "margin",
    ),
    "gauge-decides": (
        {"analysis": {"metrics": [{"name": "queue", "kind": "gauge", "value": 'queue{version="{{version}}"}'}]}},
        "analysis",
        "metrics",
        0,
        "kind",
    ),
    "warm-up-none": ({"analysis": {"warmUp": "none"}}, "analysis", "warmUp"),
    "grace-too-short": (
        {"analysis": {"metricsGrace": "10s", "onMetricsOutage": "rollback"}},
        "analysis",
        "metricsGrace",
    ),
    "hold-without-grace": ({"analysis": {"metricsGrace": "1h"}}, "analysis", "metricsGrace"),
    "hold-needs-a-person": ({"analysis": {"onInconclusive": "hold"}}, "analysis", "onInconclusive"),
    "retry-without-timeout": ({"mesh": {"retries": {"attempts": 2}}}, "mesh", "retries"),
    "retry-beyond-timeout": (
        {"mesh": {"timeout": "2s", "retries": {"attempts": 2, "perTryTimeout": "1s"}}},
        "mesh",
        "timeout",
    ),
    "retry-hides-errors": (
        {"mesh": {"timeout": "2s", "retries": {"attempts": 2, "retryOn": "5xx,connect-failure"}}},
        "mesh",
        "retries",
        "retryOn",
    ),
    "mesh-gateway-missing": ({"mesh": {"gateways": ["edge"]}}, "mesh", "gateways"),
    "hosts-without-service": ({"mesh": {"hosts": ["example.com"]}}, "mesh", "hosts"),
    "needs-cluster": ({"mesh": {"ownership": "delegate"}}, "mesh", "ownership"),
    "version-moves": ({"version": "latest"}, "version"),
    "keep-warm-zero": ({"keepWarm": "0s"}, "keepWarm"),
    "keep-warm-short": ({"keepWarm": "1m"}, "keepWarm"),
    "ready-timeout-short": ({"readyTimeout": "5s"}, "readyTimeout"),
    "single-pod": (pods(replicas=1), "workload", "replicas"),
    "pod-without-readiness": (pods(readinessProbe=None), *CONTAINER),
    "image-moves": (pods(image="registry:5000/shop"), *CONTAINER, "image"),
    "secret-in-pod": (
        pods(env=[{"name": "TOKEN_FILE", "value": "/run/token"}, {"name": "DB_PASSWORD", "value": "hunter2"}]),
        *CONTAINER,
        "env",
        1,
        "value",
    ),
}

WORKLOADS = {
    "single-replica": (version(replicas=1), "versions", "2.1.0", "replicas"),
    "drain-zero": ({"drain": "0s"}, "drain"),
    "listen-everywhere": ({"listen": "0.0.0.0:80"}, "listen"),
    "readiness-overlaps": ({"readiness": {"interval": "1s", "timeout": "2s"}}, "readiness", "timeout"),
    "secret-in-env": (
        version(env={"DB_PASSWORD": "hunter2", "TOKEN_FILE": "/run/token"}),
        "versions",
        "2.1.0",
        "env",
        "DB_PASSWORD",
    ),
}

TOGETHER = {
    "fewer-replicas": (
        {},
        {"versions": {"2.0.0": {"command": ["shop"], "replicas": 4}, "2.1.0": {"command": ["shop"], "replicas": 2}}},
        ("version",),
    ),
    "drain-shorter-than-timeout": ({"mesh": {"timeout": "10s"}}, {"drain": "5s"}, ("mesh", "timeout")),
}

ELSEWHERE = {"gate-out-of-reach", "unknown-rule", *(each.id for each in CLUSTER_RULES)}


def found(advice, rule):
    return [each.path for each in advice if each.rule == rule]


@pytest.mark.parametrize(("rule", "case"), RELEASES.items(), ids=RELEASES)
def test_a_release_that_gives_reason_gets_the_advice_at_its_field(rule, case):
    fields, *path = case
    wished = ["spec", *(("strategy", "canary") if path[0] == "stages" else ()), *path]
    assert found(advise_release(release(fields)), rule) == [tuple(wished)]


@pytest.mark.parametrize(("rule", "case"), WORKLOADS.items(), ids=WORKLOADS)
def test_a_workload_that_gives_reason_gets_the_advice_at_its_field(rule, case):
    fields, *path = case
    assert found(advise_workload(workload(**fields)), rule) == [("spec", *path)]


@pytest.mark.parametrize(("rule", "case"), TOGETHER.items(), ids=TOGETHER)
def test_release_and_workload_are_looked_at_together(rule, case):
    fields, service, path = case
    assert found(advise_release(release(fields), workload(**service)), rule) == [("spec", *path)]
    assert found(advise_release(release(fields)), rule) == []


@pytest.mark.parametrize("image", ["shop:2.1.0", "a.b:5000/c/shop:2.1.0", "shop:latest@sha256:0a", "shop@sha256:0a"])
def test_pods_that_give_no_reason_get_no_advice(image):
    assert [each.rule for each in advise_release(release(pods(image=image)))] == []


@pytest.mark.parametrize("image", ["shop", "shop:latest", "a.b:5000/shop", "shop:main"])
def test_an_image_that_moves_is_named(image):
    assert found(advise_release(release(pods(image=image))), "image-moves") == [("spec", *CONTAINER, "image")]


def test_what_the_defaults_say_needs_no_advice_but_a_limit_of_ones_own():
    bare = Release(Metadata("shop"), ReleaseSpec("2.1.0", "shop"))
    assert [each.rule for each in advise_release(bare)] == ["no-slo"]
    limited = replace(bare, spec=replace(bare.spec, analysis=AnalysisSpec(slo=ServiceLevel(0.05))))
    assert advise_release(limited, workload()) == []
    assert advise_workload(workload()) == []


def test_every_rule_has_a_case_and_says_why_and_what_to_do():
    assert {*RELEASES, *WORKLOADS, *TOGETHER, *ELSEWHERE} == set(RULES)
    for rule in RULES.values():
        assert rule.why.endswith(".")
        assert rule.do.endswith(".")


def test_an_annotation_silences_rules_and_a_misspelt_one_is_named():
    said = advise_release(
        release({"keepWarm": "0s", "analysis": {}}, annotations={"meshctl.dev/lint-ignore": "no-slo, keep-warm-zer"})
    )
    assert {each.rule for each in said} == {"keep-warm-zero", "unknown-rule"}
    word = next(each for each in said if each.rule == "unknown-rule")
    assert "did you mean 'keep-warm-zero'?" in word.message
    assert word.path == ("metadata", "annotations", "meshctl.dev/lint-ignore")


@pytest.mark.parametrize("seconds", [0, 59, 600])
def test_a_sum_of_bakes_counts(seconds):
    bakes = [{"weight": 60, "minDuration": "4m"}, {"weight": 80, "minDuration": f"{max(seconds, 1)}s"}]
    given = release({"strategy": {"canary": {"stages": [*STAGES[:3], *bakes, {"weight": 100}]}}})
    assert bool(found(advise_release(given), "bake-short")) == (
        timedelta(minutes=4, seconds=seconds) < timedelta(minutes=5)
    )
