"""The meaning of a release and a workload: each broken rule is named with its field."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from meshctl.core.model import (
    Adoption,
    AnalysisSpec,
    CanaryStrategy,
    Gate,
    MeshSpec,
    Metadata,
    Ownership,
    Preview,
    Readiness,
    Release,
    ReleaseSpec,
    Retries,
    ServiceLevel,
    Stage,
    Strategy,
    Tolerance,
    Workload,
    WorkloadSpec,
    WorkloadVersion,
)
from meshctl.core.tenancy import Claims
from meshctl.core.validation import validate_release, validate_together, validate_workload

GOOD = Release(Metadata("shop"), ReleaseSpec("2.1.0", "shop"))
RUNS = WorkloadVersion(("python", "-m", "shop"))
SERVED = Workload(Metadata("shop"), WorkloadSpec("127.0.0.1:8080", {"2.0.0": RUNS, "2.1.0": RUNS}))
HOUR = timedelta(hours=1)


def release(**spec):
    return replace(GOOD, spec=replace(GOOD.spec, **spec))


def stages(*values):
    return release(strategy=Strategy(CanaryStrategy(stages=values)))


def analysis(**values):
    return release(analysis=AnalysisSpec(**values))


def mesh(**values):
    return release(mesh=MeshSpec(**values))


def workload(**spec):
    return replace(SERVED, spec=replace(SERVED.spec, **spec))


def one_version(**version):
    return workload(versions={"1": replace(RUNS, **version)})


def only(problems):
    assert len(problems) == 1, problems
    return ".".join(map(str, problems[0].path)), problems[0].message


def test_defaults_are_valid():
    assert validate_release(GOOD, embedded=True) == []
    assert validate_workload(SERVED) == []
    assert validate_together(GOOD, SERVED) == []


CANARY = "spec.strategy.canary"


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        (replace(GOOD, metadata=Metadata("Shop")), "metadata.name", "not a DNS label"),
        (replace(GOOD, metadata=Metadata("shop", namespace="a b")), "metadata.namespace", "not a DNS label"),
        (release(version=""), "spec.version", "must not be empty"),
        (release(version="a" * 64), "spec.version", "at most 63"),
        (release(version="2.1\n"), "spec.version", "cannot be the value of a pod label"),
        (release(version="{{ 7 }}"), "spec.version", "cannot be the value of a pod label"),
        (release(version="2.1.0+b5"), "spec.version", "cannot be the value of a pod label"),
        (release(service="Shop!"), "spec.service", "not a DNS label"),
        (release(version_label="a b"), "spec.versionLabel", "not a label key"),
        (release(version_label="/x"), "spec.versionLabel", "not a label key"),
        (release(strategy=Strategy()), "spec.strategy", "exactly one strategy"),
        (release(keep_warm=timedelta(seconds=-1)), "spec.keepWarm", "longer than nothing"),
        (release(ready_timeout=timedelta(0)), "spec.readyTimeout", "longer than nothing"),
        (release(ready_timeout=timedelta(days=31)), "spec.readyTimeout", r"at most 720h \(30 days\)"),
        (mesh(hosts=("a_b",)), "spec.mesh.hosts.0", "not a host name"),
        (mesh(hosts=("a", "a")), "spec.mesh.hosts.1", "twice"),
        (mesh(hosts=tuple(f"h{number}" for number in range(33))), "spec.mesh.hosts", "at most 32, found 33"),
        (mesh(gateways=tuple(f"g{number}" for number in range(17))), "spec.mesh.gateways", "at most 16, found 17"),
        (mesh(gateways=()), "spec.mesh.gateways", "at least one gateway"),
        (mesh(gateways=("a/b/c",)), "spec.mesh.gateways.0", "not a gateway"),
        (mesh(gateways=("mesh", "mesh")), "spec.mesh.gateways.1", "twice"),
        (mesh(timeout=timedelta(0)), "spec.mesh.timeout", "longer than nothing"),
        (mesh(retries=Retries(11)), "spec.mesh.retries.attempts", "0 to 10"),
        (mesh(retries=Retries(1, retry_on="a;b")), "spec.mesh.retries.retryOn", "parted by commas"),
        (mesh(retries=Retries(1, retry_on="5xx," * 60 + "5xx")), "spec.mesh.retries.retryOn", "parted by commas"),
        (mesh(retries=Retries(1, per_try_timeout=-HOUR)), "spec.mesh.retries.perTryTimeout", "longer than nothing"),
        (release(strategy=Strategy(CanaryStrategy(Preview(":path")))), f"{CANARY}.preview.header", "not a header"),
        (release(strategy=Strategy(CanaryStrategy(Preview("Host")))), f"{CANARY}.preview.header", "not a header"),
        (stages(), f"{CANARY}.stages", "from 1 to 50 stages"),
        (stages(Stage(0), Stage(1), Stage(100)), f"{CANARY}.stages.0.weight", "above 0"),
        (stages(Stage(1), Stage(100.1)), f"{CANARY}.stages.1.weight", "at most 100"),
        (stages(Stage(1), Stage(float("nan")), Stage(100)), f"{CANARY}.stages.1.weight", "above 0"),
        (stages(Stage(0.25), Stage(100)), f"{CANARY}.stages.0.weight", "multiple of 0.1"),
        (stages(Stage(5), Stage(5), Stage(100)), f"{CANARY}.stages.1.weight", "greater than that of the stage before"),
        (stages(Stage(5)), f"{CANARY}.stages.0", "nobody would ever promote"),
        (stages(Stage(80), Stage(100)), f"{CANARY}.stages", "no stage can decide"),
        (stages(Stage(1, min_duration=HOUR), Stage(100)), f"{CANARY}.stages.0.minDuration", "1h is longer than"),
        (analysis(alpha=0.5), "spec.analysis.alpha", "between 0 and 0.5"),
        (analysis(alpha=float("nan")), "spec.analysis.alpha", "between 0 and 0.5"),
        (analysis(errors=Tolerance(0.9, 1.2, 0)), "spec.analysis.errors.tolerance", "at least 1"),
        (analysis(latency=Tolerance(1.2, 1.2, 0)), "spec.analysis.latency.margin", "greater than tolerance"),
        (analysis(latency=Tolerance(1.2, float("inf"), 0)), "spec.analysis.latency.margin", "greater than tolerance"),
        (analysis(errors=Tolerance(1.1, 1.2, 1.5)), "spec.analysis.errors.harm", "from 0 to 1"),
        (analysis(slo=ServiceLevel(5)), "spec.analysis.slo.maxErrorRate", "from 0 to 1"),
        (analysis(metrics_grace=timedelta(0)), "spec.analysis.metricsGrace", "longer than nothing"),
    ],
)
def test_a_broken_rule_of_a_release_is_named(value, path, message):
    found, said = only(validate_release(value))
    assert found == path
    assert re.search(message, said), said


@pytest.mark.parametrize(
    "value",
    [
        stages(Stage(0.1), Stage(100)),
        stages(Stage(50), Stage(80, gate=Gate.MANUAL)),
        stages(Stage(100, gate=Gate.MANUAL)),
        mesh(hosts=("shop", "*.example.com", "*", "shop.default.svc.cluster.local"), gateways=("mesh", "infra/edge")),
        mesh(timeout=timedelta(milliseconds=1), retries=Retries(0)),
        release(version="on"),
        release(version_label="example.com/version"),
        release(keep_warm=timedelta(0)),
        release(strategy=Strategy(CanaryStrategy(Preview("X-Meshctl-Preview")))),
        analysis(slo=ServiceLevel(0.05), errors=Tolerance(1, 1.01, 0)),
    ],
)
def test_what_is_unusual_but_sound_is_accepted(value):
    assert validate_release(value, embedded=True) == []


@pytest.mark.parametrize(
    "value",
    [
        mesh(ownership=Ownership.DELEGATE),
        mesh(ownership=Ownership.ADOPT, adopt=Adoption("shop", ("main",))),
        mesh(ownership=Ownership.ADOPT, adopt=Adoption("shop.v1", ("main", "a b"), "shop")),
    ],
)
def test_ownership_that_needs_a_cluster_is_refused_without_one(value):
    assert validate_release(value) == []
    path, said = only(validate_release(value, embedded=True))
    assert path == "spec.mesh.ownership"
    assert "needs a cluster" in said


ADOPT, DELEGATE = Ownership.ADOPT, Ownership.DELEGATE
MAIN = Adoption("shop", ("main",))


@pytest.mark.parametrize(
    ("value", "field", "said"),
    [
        (mesh(ownership=ADOPT), "mesh.adopt", "must name virtualService and routes"),
        (mesh(adopt=MAIN), "mesh.adopt", "belongs to ownership: adopt, found ownership: generated"),
        (mesh(ownership=DELEGATE, adopt=MAIN), "mesh.adopt", "belongs to ownership: adopt"),
        (mesh(ownership=ADOPT, adopt=MAIN, hosts=("shop",)), "mesh.hosts", "VirtualService shop says it"),
        (mesh(ownership=ADOPT, adopt=MAIN, gateways=("edge",)), "mesh.gateways", "has no effect"),
        (mesh(ownership=ADOPT, adopt=MAIN, timeout=HOUR), "mesh.timeout", "has no effect"),
        (mesh(ownership=ADOPT, adopt=MAIN, retries=Retries(1)), "mesh.retries", "has no effect"),
        (mesh(ownership=DELEGATE, hosts=("shop",)), "mesh.hosts", "the VirtualService that delegates"),
        (mesh(ownership=ADOPT, adopt=Adoption("other/shop", ("main",))), "mesh.adopt.virtualService", "not the name"),
        (mesh(ownership=ADOPT, adopt=Adoption("shop", ("main",), "x/y")), "mesh.adopt.destinationRule", "not the name"),
        (mesh(ownership=ADOPT, adopt=Adoption("shop", ())), "mesh.adopt.routes", "from 1 to 50 routes"),
        (mesh(ownership=ADOPT, adopt=Adoption("shop", ("",))), "mesh.adopt.routes.0", "is not the name of a route"),
        (mesh(ownership=ADOPT, adopt=Adoption("shop", ("a", "a"))), "mesh.adopt.routes.1", "'a' stands here twice"),
    ],
)
def test_what_does_not_fit_the_ownership_of_the_routes_is_named(value, field, said):
    path, found = only(validate_release(value))
    assert path == f"spec.{field}"
    assert said in found


def test_a_preview_needs_a_route_of_its_own_which_adopted_routes_are_not():
    value = replace(
        mesh(ownership=ADOPT, adopt=MAIN),
        spec=replace(mesh(ownership=ADOPT, adopt=MAIN).spec, strategy=Strategy(CanaryStrategy(Preview("x-version")))),
    )
    assert only(validate_release(value))[0] == "spec.strategy.canary.preview"


def test_with_the_claims_of_a_cluster_foreign_names_are_refused():
    value = mesh(hosts=("shop.other.svc.cluster.local",))
    assert validate_release(value) == []
    assert only(validate_release(value, claims=Claims()))[0] == "spec.mesh.hosts.0"


def test_all_broken_rules_are_named_at_once():
    broken = release(version="", keep_warm=timedelta(seconds=-1), analysis=AnalysisSpec(alpha=1))
    assert [".".join(map(str, problem.path)) for problem in validate_release(broken)] == [
        "spec.version",
        "spec.analysis.alpha",
        "spec.keepWarm",
    ]


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        (workload(listen="8080"), "spec.listen", "an address and a port"),
        (workload(listen="127.0.0.1:65536"), "spec.listen", "an address and a port"),
        (workload(listen=":8080"), "spec.listen", "an address and a port"),
        (workload(listen="shop:8080"), "spec.listen", "not an IP address"),
        (workload(listen="::1:8080"), "spec.listen", "stands in brackets"),
        (workload(drain=timedelta(seconds=-1)), "spec.drain", "longer than nothing"),
        (workload(readiness=Readiness(path="healthz")), "spec.readiness.path", "must be a path"),
        (workload(readiness=Readiness(path="/a b")), "spec.readiness.path", "must be a path"),
        (workload(readiness=Readiness(interval=timedelta(0))), "spec.readiness.interval", "longer than nothing"),
        (workload(readiness=Readiness(timeout=timedelta(0))), "spec.readiness.timeout", "longer than nothing"),
        (workload(readiness=Readiness(failures=0)), "spec.readiness.failures", "1 to 100"),
        (workload(versions={}), "spec.versions", "at least one version"),
        (workload(versions={"a b": RUNS}), "spec.versions.a b", "pod label"),
        (workload(versions={"2.1.0": RUNS, "2-1-0": RUNS}), "spec.versions.2-1-0", "cannot be told from '2.1.0'"),
        (one_version(replicas=0), "spec.versions.1.replicas", "1 to 100"),
        (one_version(replicas=101), "spec.versions.1.replicas", "1 to 100"),
        (one_version(command=()), "spec.versions.1.command", "name a program"),
        (one_version(command=(" ",)), "spec.versions.1.command", "name a program"),
        (one_version(command=("a", "b\0")), "spec.versions.1.command.1", "zero byte"),
        (one_version(env={"A-B": ""}), "spec.versions.1.env.A-B", "not the name of an environment variable"),
        (one_version(env={"PORT": "1"}), "spec.versions.1.env.PORT", "is set by meshctl"),
        (one_version(env={"A": "\0"}), "spec.versions.1.env.A", "zero byte"),
    ],
)
def test_a_broken_rule_of_a_workload_is_named(value, path, message):
    found, said = only(validate_workload(value))
    assert found == path
    assert re.search(message, said), said


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:80", "localhost:8080", "[::1]:8080"])
def test_an_address_and_a_port_are_accepted(listen):
    assert validate_workload(workload(listen=listen)) == []


def test_a_version_that_the_workload_does_not_have_names_the_nearest():
    path, said = only(validate_together(release(version="2.1.1"), SERVED))
    assert path == "spec.version"
    assert said == "Workload shop has no version '2.1.1'; did you mean '2.1.0'? it has: '2.0.0', '2.1.0'"


def test_variables_of_the_users_own_are_accepted():
    assert validate_workload(one_version(env={"ERRORS": "0.05", "_A1": ""})) == []
