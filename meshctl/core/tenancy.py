"""What a release may name: nothing that a user of its namespace could not claim for himself.

meshctl writes with rights that its users need not have.  So no field of a Release may lead out of its namespace:
hosts are those of the namespace's own services, else names outside of the mesh that the operator has allowed, and
these only at a gateway; inside the mesh such a route would catch everybody's calls to that name.

How Istio reads names (pkg/config/host, ``ResolveShortnameToFQDN``): one without a dot is a service of the namespace
that the object is in; every other one stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from meshctl.core.metricrules import FIELDS
from meshctl.core.model import CustomMetric, Ownership, Release
from meshctl.core.selectors import read_series

CLUSTER_DOMAIN = "cluster.local"
MESH = "mesh"
"""The gateway that means every sidecar."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Claims:
    """What the operator allows beyond a namespace's own names.

    ``host_suffixes``: ``example.com`` allows it and every name below it.  ``gateways``: ``namespace/name`` with ``*``
    for any; who may bind to a Gateway its own ``hosts`` say too, and that is Istio's usual way, so all are allowed.
    ``namespace_label``: the label by which metrics say what namespace they are of; a release reads those of its own
    only.  Empty: every series is open to everybody.
    """

    host_suffixes: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ("*/*",)
    cluster_domain: str = CLUSTER_DOMAIN
    namespace_label: str = "namespace"


def full_host(host: str, namespace: str, cluster_domain: str = CLUSTER_DOMAIN) -> str:
    """The name that Istio takes a host for, in an object of ``namespace``."""
    return host.lower() if "." in host or host.startswith("*") else f"{host.lower()}.{namespace}.svc.{cluster_domain}"


def foreign_names(release: Release, claims: Claims) -> list[tuple[Path, str]]:
    """Each field of a release that names what its namespace cannot claim, and what could stand there."""
    return [(("spec", *path), message) for path, message in _foreign(release, claims)]


def _foreign(release: Release, claims: Claims) -> Iterator[tuple[Path, str]]:
    spec, namespace = release.spec, release.metadata.namespace
    if not _is_plain(spec.service):
        yield ("service",), f"{spec.service!r} must be a Service of namespace {namespace}, by its name alone"
    mesh = spec.mesh
    for position, host in enumerate(mesh.hosts):
        problem = _foreign_host(host.lower().rstrip("."), release, claims)
        if problem:
            yield ("mesh", "hosts", position), problem
    for position, gateway in enumerate(mesh.gateways):
        if gateway != MESH and not _may_bind(gateway, namespace, claims):
            yield ("mesh", "gateways", position), f"the gateway {gateway} is not open to namespace {namespace} here"
    if mesh.ownership is Ownership.ADOPT and mesh.adopt is not None:
        names = {"virtualService": mesh.adopt.virtual_service, "destinationRule": mesh.adopt.destination_rule}
        for field, name in names.items():
            if name is not None and "/" in name:
                yield (
                    ("mesh", "adopt", field),
                    f"{name!r} must be an object of namespace {namespace}, by its name alone",
                )
    for position, metric in enumerate(spec.analysis.metrics):
        for field, problem in _foreign_series(metric, namespace, claims):
            yield ("analysis", "metrics", position, field), problem


def _foreign_series(metric: CustomMetric, namespace: str, claims: Claims) -> Iterator[tuple[str, str]]:
    """Each selector that asks for series of another namespace; whatever it asks for, it is given its own ones only."""
    for field in FIELDS[metric.kind]:
        try:
            series = read_series(getattr(metric, field))
        except ValueError:
            continue
        for match in series.matches:
            own = match.operator == "=" and match.value in (namespace, "{{namespace}}")
            if match.label == claims.namespace_label and not own:
                found = f"{match.label}{match.operator}{match.value!r}"
                yield field, f"{found}: only series of namespace {namespace} are open; leave the label out, it is added"


def _foreign_host(host: str, release: Release, claims: Claims) -> str:
    """Why a host may not be named; empty when it may."""
    namespace = release.metadata.namespace
    inside = f"svc.{claims.cluster_domain}"
    if host == "*":
        return "'*' would take every request of everybody; name the hosts"
    if _is_plain(host) or _is_own(host, f"{namespace}.{inside}"):
        return ""
    if _reaches(host, claims.cluster_domain) or host == "svc" or host.endswith(".svc"):
        return (
            f"{host!r} is not a service of namespace {namespace}; "
            f"write the name alone, or in full: {release.spec.service}.{namespace}.{inside}"
        )
    if MESH in release.spec.mesh.gateways:
        return (
            f"{host!r} is a name from outside and would be taken from everybody in the mesh; "
            "give such a release the gateways that it comes in by, without 'mesh'"
        )
    if not any(_is_under(host, suffix) for suffix in claims.host_suffixes):
        known = ", ".join(claims.host_suffixes) or "none"
        return f"{host!r} is not below a host suffix that the operator of meshctl allows here (allowed: {known})"
    return ""


def _is_plain(name: str) -> bool:
    return bool(name) and not set(name) & set("./*:")


def _is_own(host: str, domain: str) -> bool:
    label, dot, rest = host.partition(".")
    return bool(dot and label) and rest == domain


def _reaches(host: str, cluster_domain: str) -> bool:
    """Whether a host is a name of the cluster, or a wildcard that covers some."""
    bare = host.removeprefix("*.")
    wild = host != bare
    return (
        bare == cluster_domain
        or bare.endswith(f".{cluster_domain}")
        or (wild and f".{cluster_domain}".endswith(f".{bare}"))
    )


def _is_under(host: str, suffix: str) -> bool:
    bare, suffix = host.removeprefix("*."), suffix.lower().strip(".")
    return bool(suffix) and (bare == suffix or bare.endswith(f".{suffix}"))


def _may_bind(gateway: str, namespace: str, claims: Claims) -> bool:
    whole = gateway if "/" in gateway else f"{namespace}/{gateway}"
    return whole.partition("/")[0] == namespace or any(fnmatchcase(whole, each) for each in claims.gateways)
