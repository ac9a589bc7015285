"""A release names what its namespace may claim, and nothing else, whatever is written into its fields."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.model import Adoption, MeshSpec, Metadata, Ownership, Release, ReleaseSpec
from meshctl.core.tenancy import Claims, foreign_names, full_host

OPEN = Claims(host_suffixes=("example.com",))


def foreign(claims=OPEN, **mesh):
    release = Release(Metadata("shop", "team-a"), ReleaseSpec("2.1.0", "shop", mesh=MeshSpec(**mesh)))
    return [(".".join(map(str, path)), message) for path, message in foreign_names(release, claims)]


@pytest.mark.parametrize(
    ("hosts", "gateways"),
    [
        ((), ("mesh",)),
        (("shop",), ("mesh",)),
        (("shop", "shop-v2"), ("mesh", "edge")),
        (("shop.team-a.svc.cluster.local",), ("mesh", "istio-system/edge")),
        (("example.com", "shop.example.com", "*.example.com"), ("istio-system/edge",)),
    ],
)
def test_own_services_and_allowed_names_at_a_gateway_may_be_named(hosts, gateways):
    assert foreign(hosts=hosts, gateways=gateways) == []


@pytest.mark.parametrize(
    ("host", "gateways", "said"),
    [
        ("*", ("edge",), "would take every request of everybody"),
        ("shop.team-b.svc.cluster.local", ("mesh",), "is not a service of namespace team-a"),
        ("shop.team-b.svc.cluster.local", ("edge",), "write the name alone, or in full: shop.team-a.svc.cluster.local"),
        ("shop.team-b.svc.cluster.local.", ("edge",), "is not a service of namespace team-a"),
        ("a.shop.team-a.svc.cluster.local", ("mesh",), "is not a service of namespace team-a"),
        ("shop.team-b.svc", ("mesh",), "is not a service of namespace team-a"),
        ("*.svc.cluster.local", ("edge",), "is not a service of namespace team-a"),
        ("*.cluster.local", ("edge",), "is not a service of namespace team-a"),
        ("*.local", ("edge",), "is not a service of namespace team-a"),
        ("cluster.local", ("edge",), "is not a service of namespace team-a"),
        ("shop.example.com", ("mesh",), "would be taken from everybody in the mesh"),
        ("shop.example.com", ("edge", "mesh"), "would be taken from everybody in the mesh"),
        ("shop.team-b", ("mesh",), "would be taken from everybody in the mesh"),
        ("shop.team-b", ("edge",), "is not below a host suffix"),
        ("badexample.com", ("edge",), "is not below a host suffix"),
        ("*.com", ("edge",), "allowed: example.com"),
        ("10.0.0.1", ("edge",), "is not below a host suffix"),
    ],
)
def test_other_names_are_refused_with_the_reason(host, gateways, said):
    ((path, message),) = foreign(hosts=(host,), gateways=gateways)
    assert path == "spec.mesh.hosts.0"
    assert said in message


def test_without_an_allowed_suffix_no_name_from_outside_may_be_taken():
    ((_, message),) = foreign(Claims(), hosts=("shop.example.com",), gateways=("edge",))
    assert "(allowed: none)" in message


@pytest.mark.parametrize(
    ("allowed", "gateway", "refused"),
    [
        (("*/*",), "infra/edge", False),
        (("infra/edge",), "infra/edge", False),
        (("infra/*",), "infra/edge", False),
        (("infra/edge",), "infra/other", True),
        ((), "infra/edge", True),
        ((), "edge", False),
        ((), "team-a/edge", False),
    ],
)
def test_gateways_of_other_namespaces_are_the_operators_choice(allowed, gateway, refused):
    assert bool(foreign(Claims(gateways=allowed), gateways=(gateway,))) is refused


def test_objects_to_adopt_and_the_service_are_named_without_a_namespace():
    adopt = Adoption("team-b/shop", ("main",), "team-b/shop")
    found = foreign(ownership=Ownership.ADOPT, adopt=adopt)
    assert [path for path, _ in found] == ["spec.mesh.adopt.virtualService", "spec.mesh.adopt.destinationRule"]
    release = Release(Metadata("shop", "team-a"), ReleaseSpec("2.1.0", "shop.team-b"))
    assert [path for path, _ in foreign_names(release, OPEN)] == [("spec", "service")]


def test_a_short_name_is_a_service_of_the_namespace_that_it_is_written_in():
    assert full_host("Shop", "team-a") == "shop.team-a.svc.cluster.local"
    assert full_host("shop.example.com", "team-a") == "shop.example.com"
    assert full_host("shop", "team-a", "corp.internal") == "shop.team-a.svc.corp.internal"


NAMESPACES = st.sampled_from(["team-a", "team-b", "default", "kube-system", "a"])
LABELS = st.sampled_from(["*", "shop", "team-a", "team-b", "svc", "cluster", "local", "example", "com", "a", "mesh"])
HOSTS = st.lists(LABELS, min_size=1, max_size=6).map(".".join)
GATEWAYS = st.lists(st.sampled_from(["mesh", "edge", "infra/edge"]), min_size=1, max_size=3, unique=True).map(tuple)


def covers(host, name):
    """How Istio matches: a wildcard stands for any beginning."""
    return name == host or (host.startswith("*") and name.endswith(host[1:]))


@given(NAMESPACES, HOSTS, GATEWAYS, NAMESPACES, st.sampled_from(["shop", "a", "svc"]))
def test_no_allowed_host_reaches_a_service_of_another_namespace(namespace, host, gateways, other, service):
    release = Release(
        Metadata("shop", namespace), ReleaseSpec("1", "shop", mesh=MeshSpec(hosts=(host,), gateways=gateways))
    )
    if foreign_names(release, OPEN):
        return
    for name in (f"{service}.{other}.svc.cluster.local", f"{service}.{other}.svc", "api.github.com"):
        reached = covers(full_host(host, namespace), name)
        assert not reached or (other == namespace and name.endswith(".svc.cluster.local")), (host, name)


@given(NAMESPACES, HOSTS, GATEWAYS)
def test_inside_the_mesh_nothing_but_the_own_services_is_caught(namespace, host, gateways):
    release = Release(
        Metadata("shop", namespace), ReleaseSpec("1", "shop", mesh=MeshSpec(hosts=(host,), gateways=gateways))
    )
    if "mesh" in gateways and not foreign_names(release, OPEN):
        assert full_host(host, namespace).endswith(f".{namespace}.svc.cluster.local")


@given(HOSTS, GATEWAYS)
def test_more_claims_never_forbid_what_fewer_allow(host, gateways):
    release = Release(
        Metadata("shop", "team-a"), ReleaseSpec("1", "shop", mesh=MeshSpec(hosts=(host,), gateways=gateways))
    )
    if not foreign_names(release, Claims(gateways=())):
        assert not foreign_names(release, replace(OPEN, gateways=("*/*",)))
