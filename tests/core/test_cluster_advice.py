"""Advice on a live cluster: each rule on surroundings that give reason for it, and silence where there is none."""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import pytest

from meshctl.core.advice.advise import advise_in_cluster
from meshctl.core.advice.cluster import CLUSTER_RULES
from meshctl.core.advice.surroundings import Surroundings
from meshctl.core.model import Adoption, MeshSpec, Metadata, Ownership, Release, ReleaseSpec

EDGE = "istio-system/edge"
GENERATED = Release(
    Metadata("shop"), ReleaseSpec("2.1.0", "shop", mesh=MeshSpec(hosts=("shop", "shop.example.com"), gateways=(EDGE,)))
)
DELEGATE = replace(GENERATED, spec=replace(GENERATED.spec, mesh=MeshSpec(Ownership.DELEGATE)))
ADOPT = replace(
    GENERATED, spec=replace(GENERATED.spec, mesh=MeshSpec(Ownership.ADOPT, adopt=Adoption("front", ("main",))))
)


def to(subset, weight=None):
    return {"destination": {"host": "shop", "subset": subset}} | ({} if weight is None else {"weight": weight})


def service(name="shop", hosts=("shop", "shop.example.com"), gateways=(EDGE,), http=None, namespace="default", **meta):
    route = [to("v2-0-0", 100), to("v2-1-0", 0)]
    spec = {"http": [{"name": "main", "route": route}] if http is None else http}
    spec |= {"hosts": list(hosts)} if hosts else {}
    spec |= {"gateways": list(gateways)} if gateways else {}
    return {"kind": "VirtualService", "metadata": {"name": name, "namespace": namespace, **meta}, "spec": spec}


def rule(name="shop", versions=("2.0.0", "2.1.0"), **meta):
    subsets = [{"name": f"v{each.replace('.', '-')}", "labels": {"version": each}} for each in versions]
    metadata = {"name": name, "namespace": "default", **meta}
    return {"kind": "DestinationRule", "metadata": metadata, "spec": {"host": "shop", "subsets": subsets}}


def kubernetes_service(selector=None, port="http"):
    spec = {"selector": selector or {"app": "shop"}, "ports": [{"name": port, "port": 80}]}
    return {"kind": "Service", "metadata": {"name": "shop", "namespace": "default"}, "spec": spec}


def namespace(**labels):
    return {"metadata": {"name": "default", "labels": {"kubernetes.io/metadata.name": "default", **labels}}}


def delegating(name="front", **changes):
    return service(name, http=[{"delegate": {"name": "shop", "namespace": "default"}, **changes}])


def managed(manager, part="f:spec"):
    return {"managedFields": [{"manager": manager, "operation": "Update", "fieldsV1": {part: {"f:http": {}}}}]}


INJECTED = {"istio-injection": "enabled"}
SOUND = {
    "generated": (
        GENERATED,
        Surroundings([GENERATED], [service()], [rule()], [kubernetes_service()], [namespace(**INJECTED)]),
    ),
    "delegate": (
        DELEGATE,
        Surroundings(
            [DELEGATE], [service(hosts=(), gateways=()), delegating()], [rule()], [kubernetes_service()], [namespace()]
        ),
    ),
    "adopt": (
        ADOPT,
        Surroundings([ADOPT], [service("front")], [rule("theirs")], [kubernetes_service()], [namespace()]),
    ),
}


def around(kind, **changes):
    release, surroundings = SOUND[kind]
    return release, replace(surroundings, **changes)


def other(name="other", **mesh):
    return Release(Metadata(name), ReleaseSpec("1", name, mesh=MeshSpec(**mesh)))


MAIN = ("spec", "mesh")
ALL = {"name": "all", "route": [to("v2-0-0")]}
LINE = "- {name: v2-1-0, labels: {version: '2.1.0'}}"
NO_SUBSET = f"DestinationRule theirs has no subset with version: 2.1.0; add to its spec.subsets: {LINE}"
CASES = {
    "service-missing": (
        around("generated", services=[{**kubernetes_service(), "metadata": {"name": "x", "namespace": "default"}}]),
        ("spec", "service"),
        "there is no Service shop in default",
    ),
    "service-without-http": (
        around("generated", services=[kubernetes_service(port="grpc")]),
        ("spec", "service"),
        "Service shop speaks grpc",
    ),
    "service-selects-one-version": (
        around("generated", services=[kubernetes_service({"app": "shop", "version": "2.0.0"})]),
        ("spec", "service"),
        "Service shop selects pods by version",
    ),
    "service-shared": (
        around("generated", releases=[GENERATED, replace(GENERATED, metadata=Metadata("shop-two"))]),
        ("spec", "service"),
        "Release default/shop-two moves Service shop too",
    ),
    "host-shared": (
        around("generated", releases=[GENERATED, other(hosts=("shop.example.com",), gateways=(EDGE,))]),
        (*MAIN, "hosts"),
        "Release default/other takes shop.example.com at istio-system/edge too",
    ),
    "routes-shadowed": (
        around("generated", virtual_services=[service(), service("old", hosts=("shop.default.svc.cluster.local",))]),
        (*MAIN, "hosts"),
        "VirtualService default/old takes shop.default.svc.cluster.local at istio-system/edge too",
    ),
    "route-unreached": (
        around("adopt", virtual_services=[service("front", http=[ALL, *service()["spec"]["http"]])]),
        (*MAIN, "adopt", "routes", 0),
        "spec.http[1] (main) stands after spec.http[0] (all)",
    ),
    "adopted-routes-unclear": (
        around("adopt", virtual_services=[service("front", http=[{"name": "other", "route": [to("v2-0-0")]}])]),
        (*MAIN, "adopt", "routes"),
        "VirtualService front has no route named 'main'; its routes are: other",
    ),
    "subset-missing": (
        around("adopt", destination_rules=[rule("theirs", ("2.0.0",))]),
        (*MAIN, "adopt"),
        NO_SUBSET,
    ),
    "root-missing": (
        around("delegate", virtual_services=[service(hosts=(), gateways=())]),
        (*MAIN, "ownership"),
        "no VirtualService delegates to default/shop",
    ),
    "rules-shadowed": (
        around("generated", destination_rules=[rule(), rule("theirs")]),
        MAIN,
        "DestinationRule default/theirs is for shop too",
    ),
    "written-by-gitops": (
        around("generated", virtual_services=[service(**managed("argocd-controller"))]),
        (*MAIN, "ownership"),
        "VirtualService default/shop is also written by argocd-controller",
    ),
    "ambient-namespace": (
        around(
            "delegate",
            virtual_services=[{**delegating(), "spec": {**delegating()["spec"], "gateways": ["mesh"]}}],
            namespaces=[namespace(**{"istio.io/dataplane-mode": "ambient"})],
        ),
        (*MAIN, "gateways"),
        "namespace default has the label istio.io/dataplane-mode: ambient",
    ),
    "no-sidecars": (
        around("adopt", virtual_services=[service("front", gateways=())], namespaces=[namespace()]),
        (*MAIN, "gateways"),
        "namespace default has neither istio-injection nor istio.io/rev: its own pods have no sidecar",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOUND)
def test_sound_surroundings_need_no_advice(kind):
    assert advise_in_cluster(*SOUND[kind]) == []


@pytest.mark.parametrize("kind", SOUND)
def test_what_could_not_be_read_gives_no_advice(kind):
    release, _ = SOUND[kind]
    assert advise_in_cluster(release, Surroundings([release])) == []


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES)
def test_each_rule_names_field_and_finding(name, case):
    (release, surroundings), path, message = case
    found = [(each.path, each.message) for each in advise_in_cluster(release, surroundings) if each.rule == name]
    assert found == [(path, message)]


def test_every_rule_has_a_case():
    assert set(CASES) == {each.id for each in CLUSTER_RULES}


def advice(kind, rule_id, **changes):
    return [each.message for each in advise_in_cluster(*around(kind, **changes)) if each.rule == rule_id]


@pytest.mark.parametrize(
    "meta",
    [
        managed("kustomize-controller"),
        managed("ArgoCD"),
        {"annotations": {"argocd.argoproj.io/tracking-id": "x"}},
        {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}},
    ],
)
def test_argo_cd_and_flux_are_known_by_managers_and_by_marks(meta):
    assert len(advice("adopt", "written-by-gitops", virtual_services=[service("front", **meta)])) == 1
    assert len(advice("generated", "written-by-gitops", destination_rules=[rule(**meta)])) == 1


@pytest.mark.parametrize("meta", [managed("meshctl-controller"), managed("argocd-controller", "f:status"), {}])
def test_other_writers_and_a_status_are_no_gitops(meta):
    assert advice("adopt", "written-by-gitops", virtual_services=[service("front", **meta)]) == []


def test_a_host_at_another_gateway_or_of_another_namespace_is_another_host():
    others = [
        service("a", gateways=("istio-system/inner",)),
        service("b", hosts=("shop",), namespace="bank"),
        service("c", hosts=("*.example.com",)),
    ]
    assert advice("generated", "routes-shadowed", virtual_services=[service(), *others]) == []
    there = other(hosts=("shop.example.com",), gateways=("istio-system/inner",))
    assert advice("generated", "host-shared", releases=[GENERATED, there]) == []


def test_two_releases_may_adopt_different_routes_of_one_object_and_share_a_root():
    second = replace(ADOPT, metadata=Metadata("second"), spec=replace(ADOPT.spec, service="second"))
    assert advice("adopt", "host-shared", releases=[ADOPT, second]) == []
    assert advice("delegate", "routes-shadowed") == []


def test_a_root_that_is_a_delegate_itself_and_a_subset_that_nobody_declares_are_named():
    chained = delegating()
    del chained["spec"]["hosts"]
    assert advice("delegate", "root-missing", virtual_services=[chained]) == [
        "VirtualService default/front delegates to it and is a delegate itself"
    ]
    stranger = service("old", hosts=("old.example.com",), http=[{"name": "x", "route": [to("v1")]}])
    assert advice("generated", "subset-missing", virtual_services=[service(), stranger]) == [
        "VirtualService default/old: spec.http[0] (x) leads to the subset v1, which nobody declares"
    ]


def test_an_adopted_object_that_is_not_there_is_named():
    assert advice("adopt", "adopted-routes-unclear", virtual_services=[service("else")]) == [
        "there is no VirtualService front in default"
    ]


def test_an_annotation_silences_a_rule():
    release, surroundings = CASES["service-shared"][0]
    quiet = replace(
        release, metadata=replace(release.metadata, annotations={"meshctl.dev/lint-ignore": "service-shared"})
    )
    assert "service-shared" not in {each.rule for each in advise_in_cluster(quiet, surroundings)}


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("junk", [None, "text", 7, [], {}, [None], {"http": [None, {"route": [None]}]}])
def test_no_shape_of_an_object_makes_lint_stumble(kind, junk):
    release, surroundings = SOUND[kind]
    for field in ("virtual_services", "destination_rules", "services", "namespaces"):
        objects = [copy.deepcopy(each) for each in getattr(surroundings, field)]
        for each in objects:
            each["spec"] = junk
        advise_in_cluster(release, replace(surroundings, **{field: objects}))


def test_a_large_cluster_is_looked_through_in_seconds():
    releases = [other(f"shop-{number}", hosts=(f"shop-{number}",)) for number in range(5000)]
    services = [service(f"shop-{number}", hosts=(f"shop-{number}",)) for number in range(5000)]
    surroundings = Surroundings(releases, services)
    began = time.process_time()
    found = [each for release in releases for each in advise_in_cluster(release, surroundings)]
    assert found == []
    assert time.process_time() - began < 10
