"""Advice on what stands around a release in a live cluster: its routes, those of others, who else writes them.

Each rule looks at one release among everything that could be read; what could not be read gives no advice.
"""

from __future__ import annotations

from meshctl.core.adoption import adopted_routes, missing_for
from meshctl.core.advice.rule import Found, Path, Rule, rule
from meshctl.core.advice.surroundings import Object, Placed, name_of
from meshctl.core.model import Ownership, Release
from meshctl.core.protocols import unmoved_protocol
from meshctl.core.routes import http_routes, mapping, matches_all, metadata, sequence, spec_of, subset_labels
from meshctl.core.tenancy import MESH

CLUSTER_RULES: list[Rule[Placed]] = []

_MESH: Path = ("spec", "mesh")
_ADOPT: Path = (*_MESH, "adopt")

GITOPS_MANAGERS = ("argocd", "argo-cd", "kustomize-controller", "helm-controller", "flux")
"""How the field managers of Argo CD and of Flux begin."""
GITOPS_MARKS = ("argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")
AMBIENT_LABEL, SIDECAR_LABELS = "istio.io/dataplane-mode", ("istio-injection", "istio.io/rev")


# ------------------------------------------------------------------------------------ the service


@rule(
    CLUSTER_RULES,
    "service-missing",
    why="Routes lead to a Service; without one every request to the release's hosts fails.",
    do="Create the Service, or correct spec.service.",
)
def _no_service(placed: Placed) -> Found:
    if placed.around.services and placed.service() is None:
        yield ("spec", "service"), f"there is no Service {placed.release.spec.service} in {placed.namespace}"


@rule(
    CLUSTER_RULES,
    "service-without-http",
    why="Only HTTP requests can be moved and judged: TCP has no requests, gRPC tells failures where no status does.",
    do="Name a port http, or give it appProtocol: http, if that is what it speaks.",
)
def _no_http(placed: Placed) -> Found:
    service = placed.service()
    spoken = unmoved_protocol(service) if service is not None else ""
    if spoken:
        yield ("spec", "service"), f"Service {placed.release.spec.service} speaks {spoken}"


@rule(
    CLUSTER_RULES,
    "service-selects-one-version",
    why="Pods of the other version never stand behind the Service, so its subset stays without endpoints.",
    do="Take the version label out of the Service's selector.",
)
def _one_version(placed: Placed) -> Found:
    service = placed.service()
    label = placed.release.spec.version_label
    if service is not None and label in mapping(spec_of(service).get("selector")):
        yield ("spec", "service"), f"Service {placed.release.spec.service} selects pods by {label}"


@rule(
    CLUSTER_RULES,
    "service-shared",
    why="Two releases that move the same Service take each other's weights and subsets back at every write.",
    do="Leave one Release for each Service.",
)
def _shared_service(placed: Placed) -> Found:
    for other in placed.around.releases_by_service.get((placed.namespace, placed.release.spec.service), ()):
        if other.metadata.name != placed.release.metadata.name:
            yield ("spec", "service"), f"Release {_name(other)} moves Service {other.spec.service} too"


# ------------------------------------------------------------------------------------ hosts


@rule(
    CLUSTER_RULES,
    "host-shared",
    why="Where two VirtualServices take one host at one gateway, the proxies follow only one of them, or merge both in "
    "no promised order.",
    do="Give each release hosts of its own, or put one root VirtualService before them that delegates.",
)
def _shared_host(placed: Placed) -> Found:
    for host, gateway in sorted(placed.entrances()):
        for other in placed.around.releases_by_entrance.get((host, gateway), ()):
            there = Placed(other, placed.around)
            if (there.namespace, there.service_name) != (placed.namespace, placed.service_name):
                yield (*_MESH, "hosts"), f"Release {_name(other)} takes {host} at {gateway} too"


@rule(
    CLUSTER_RULES,
    "routes-shadowed",
    why="For one host at one gateway the proxies follow the oldest VirtualService, or merge several in no promised "
    "order: the weights may move nothing.",
    do="Remove the other VirtualService, let it delegate, or adopt its routes: see docs/ownership.md.",
)
def _shadowed(placed: Placed) -> Found:
    roots = {name_of(root) for root in placed.roots()}
    for host, gateway in sorted(placed.entrances()):
        for other in placed.around.services_by_entrance.get((host, gateway), ()):
            name = name_of(other)
            if name not in roots and name not in placed.around.moved:
                yield (*_MESH, "hosts"), f"VirtualService {'/'.join(name)} takes {host} at {gateway} too"


@rule(
    CLUSTER_RULES,
    "route-unreached",
    why="The first route that matches takes a request, so routes after one that matches all are never reached.",
    do="Put the adopted route before the one that matches all, or adopt that one.",
)
def _unreached(placed: Placed) -> Found:
    adopt, service = placed.release.spec.mesh.adopt, placed.virtual_service()
    if adopt is None or service is None:
        return
    before = ""
    for route in http_routes(service, placed.around.cluster_domain):
        if before and route.name in adopt.routes:
            yield (*_ADOPT, "routes", adopt.routes.index(route.name)), f"{route.label} stands after {before}"
        before = before or (route.label if matches_all(route) else "")


# ------------------------------------------------------------------------------------ what must be there


@rule(
    CLUSTER_RULES,
    "adopted-routes-unclear",
    why="A route that is not there, or that another one shares its name with, is not moved: the run waits.",
    do="Name each adopted route once in the VirtualService, and only routes that have destinations.",
)
def _unclear(placed: Placed) -> Found:
    adopt, service = placed.release.spec.mesh.adopt, placed.virtual_service()
    if adopt is None or not placed.around.virtual_services:
        return
    if service is None:
        yield (*_ADOPT, "virtualService"), f"there is no VirtualService {adopt.virtual_service} in {placed.namespace}"
        return
    for problem in adopted_routes(adopt, service)[1]:
        yield (*_ADOPT, "routes"), f"VirtualService {adopt.virtual_service} {problem}"


@rule(
    CLUSTER_RULES,
    "subset-missing",
    why="A version without a subset or a destination cannot get a weight, and a route to a subset that is not declared "
    "fails every request.",
    do="Add the lines, with weight 0 for the destination.",
)
def _no_subset(placed: Placed) -> Found:
    adopt, service = placed.release.spec.mesh.adopt, placed.virtual_service()
    if adopt is not None:
        if service is not None and placed.around.destination_rules:
            wanted = [placed.release.spec.version]
            for problem in missing_for(placed.release, wanted, service, placed.adopted_rule()):
                yield _ADOPT, problem
        return
    declared = {name for each in placed.rules() for name in subset_labels(each)}
    for other in placed.around.leading_to.get(placed.host, ()) if placed.rules() else ():
        for route in http_routes(other, placed.around.cluster_domain):
            for each in route.destinations:
                if each.host == placed.host and each.subset and each.subset not in declared:
                    yield (
                        _MESH,
                        f"{_label(other)}: {route.label} leads to the subset {each.subset}, which nobody declares",
                    )


@rule(
    CLUSTER_RULES,
    "root-missing",
    why="Nobody reaches a delegate that no VirtualService delegates to, and Istio follows one level only.",
    do="Add to a route of the VirtualService that has the hosts: delegate: {name, namespace}, without route beside it.",
)
def _no_root(placed: Placed) -> Found:
    if placed.release.spec.mesh.ownership is not Ownership.DELEGATE or not placed.around.virtual_services:
        return
    roots = placed.roots()
    if not roots:
        yield (*_MESH, "ownership"), f"no VirtualService delegates to {placed.namespace}/{placed.service_name}"
    for root in roots:
        if not spec_of(root).get("hosts"):
            yield (*_MESH, "ownership"), f"{_label(root)} delegates to it and is a delegate itself"


@rule(
    CLUSTER_RULES,
    "rules-shadowed",
    why="Istio merges the DestinationRules of one host, but follows the trafficPolicy of the oldest alone.",
    do="Leave one DestinationRule for each host; meshctl's own takes a trafficPolicy by a template of yours.",
)
def _other_rules(placed: Placed) -> Found:
    if placed.release.spec.mesh.ownership is Ownership.ADOPT:
        return
    for each in placed.rules():
        if metadata(each).get("name") != placed.release.metadata.name:
            yield _MESH, f"{_label(each)} is for {placed.release.spec.service} too"


# ------------------------------------------------------------------------------------ other hands


@rule(
    CLUSTER_RULES,
    "written-by-gitops",
    why="Argo CD or Flux takes the weights back to what Git says at every sync, and meshctl lowers or holds.",
    do="Generated objects do not belong in Git. For adopted ones let Argo CD ignore .spec.http[].route[].weight with "
    "RespectIgnoreDifferences, or Flux the object with kustomize.toolkit.fluxcd.io/ssa: IfNotPresent.",
)
def _gitops(placed: Placed) -> Found:
    adopt = placed.release.spec.mesh.adopt
    path = (*_ADOPT, "virtualService") if adopt is not None else (*_MESH, "ownership")
    objects = [placed.virtual_service()]
    objects += [placed.generated_rule()] if adopt is None else []
    for each in objects:
        who = _gitops_of(each) if each is not None else ""
        if each is not None and who:
            yield path, f"{_label(each)} is also written by {who}"


def _gitops_of(object: Object) -> str:
    for entry in sequence(metadata(object).get("managedFields")):
        manager = str(mapping(entry).get("manager", ""))
        owns = "f:spec" in mapping(mapping(entry).get("fieldsV1"))
        if owns and manager.lower().startswith(GITOPS_MANAGERS):
            return manager
    marks = [*mapping(metadata(object).get("labels")), *mapping(metadata(object).get("annotations"))]
    return next((mark for mark in marks if mark.startswith(GITOPS_MARKS)), "")


@rule(
    CLUSTER_RULES,
    "ambient-namespace",
    why="In ambient mode VirtualServices work at waypoints only, as an alpha feature, and not beside an HTTPRoute.",
    do="Run the service with sidecars, or behind a gateway that has the weights.",
)
def _ambient(placed: Placed) -> Found:
    labels = placed.labels()
    if labels.get(AMBIENT_LABEL) == "ambient" and MESH in {gateway for _, gateway in placed.entrances()}:
        yield (*_MESH, "gateways"), f"namespace {placed.namespace} has the label {AMBIENT_LABEL}: ambient"


@rule(
    CLUSTER_RULES,
    "no-sidecars",
    why="A client without a sidecar goes past the weights: it reaches the pods of both versions at random.",
    do="Label the namespaces of the clients istio-injection=enabled, or take mesh out of gateways.",
)
def _no_sidecars(placed: Placed) -> Found:
    labels = placed.labels()
    known = labels and labels.get(AMBIENT_LABEL) != "ambient"
    injected = labels.get("istio-injection") == "enabled" or bool(labels.get("istio.io/rev"))
    if known and not injected and MESH in {gateway for _, gateway in placed.entrances()}:
        names = " nor ".join(SIDECAR_LABELS)
        yield (*_MESH, "gateways"), f"namespace {placed.namespace} has neither {names}: its own pods have no sidecar"


# ------------------------------------------------------------------------------------ shared


def _name(release: Release) -> str:
    return f"{release.metadata.namespace}/{release.metadata.name}"


def _label(object: Object) -> str:
    return f"{object.get('kind') or 'object'} {'/'.join(name_of(object))}"
