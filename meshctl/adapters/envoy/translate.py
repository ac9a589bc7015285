"""Istio's words into Envoy's: a rendered VirtualService and DestinationRule become routes and cluster policies.

Pure.  What is not understood is refused by name (`InvalidInput`); nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshctl.adapters.envoy.fields import Place, items, mapping, text, texts
from meshctl.adapters.envoy.policy import cluster_policy
from meshctl.adapters.envoy.routes import TOTAL, Destinations, check_host, http_route
from meshctl.core.errors import InvalidInput
from meshctl.core.model import ABORTED_ANNOTATION, RUN_ANNOTATION

MESH_API = "networking.istio.io/v1"
METADATA_KEY = "meshctl"
"""Under this key of Envoy's filter metadata stands what a route file says about itself."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What one service's mesh objects mean to Envoy.

    ``routes`` is a RouteConfiguration, ``policies`` maps each version that has a subset to a cluster fragment,
    ``weights`` maps each version of the split routes to its permille.
    """

    service: str
    routes: dict[str, Any]
    policies: dict[str, dict[str, Any]]
    weights: dict[str, int]
    run: str
    aborted: bool


def cluster_name(service: str, subset: str) -> str:
    """Envoy's name for one version of a service; neither part contains a dot."""
    return f"{service}.{subset}"


def translate(objects: Sequence[Mapping[str, object]], service: str, *, version_label: str = "version") -> Translation:
    """Routes and policies of ``service`` from exactly one VirtualService and one DestinationRule."""
    rule = _only(objects, "DestinationRule")
    virtual = _only(objects, "VirtualService")
    if len(objects) != 2:
        kinds = ", ".join(str(entry.get("kind")) for entry in objects)
        raise InvalidInput(
            f"routes of {service}: expected one VirtualService and one DestinationRule, found {kinds}",
            hint="The embedded mesh takes these two objects and nothing else.",
        )
    versions, policies = _destination_rule(rule, service, version_label)
    return _virtual_service(virtual, service, versions, policies)


def _only(objects: Sequence[Mapping[str, object]], kind: str) -> Mapping[str, object]:
    found = [entry for entry in objects if entry.get("kind") == kind]
    if len(found) != 1:
        raise InvalidInput(f"expected exactly one {kind}, found {len(found)}")
    return found[0]


def _open(manifest: Mapping[str, object], kind: str) -> tuple[Place, object, dict[str, str]]:
    """Place, spec and annotations of an object whose head is as it should be."""
    place = Place(kind)
    mapping(manifest, place, ("apiVersion", "kind", "metadata", "spec"))
    metadata = mapping(manifest.get("metadata"), place.at("metadata"), ("name", "namespace", "labels", "annotations"))
    place = Place(f"{kind}/{text(metadata.get('name'), place.at('metadata.name'))}")
    if manifest.get("apiVersion") != MESH_API:
        place.at("apiVersion").refuse(f"expected {MESH_API}, found {manifest.get('apiVersion')!r}")
    annotations = texts(metadata.get("annotations") or {}, place.at("metadata.annotations"))
    return place.at("spec"), manifest.get("spec"), annotations


def _destination_rule(
    rule: Mapping[str, object], service: str, version_label: str
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    place, value, _ = _open(rule, "DestinationRule")
    spec = mapping(value, place, ("host", "subsets", "trafficPolicy"))
    check_host(text(spec.get("host"), place.at("host")), service, place.at("host"))
    common = spec.get("trafficPolicy") or {}
    versions: dict[str, str] = {}
    policies: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(items(spec.get("subsets"), place.at("subsets"))):
        here = place.at("subsets").index(number)
        subset = mapping(entry, here, ("name", "labels", "trafficPolicy"))
        name = text(subset.get("name"), here.at("name"))
        labels = texts(mapping(subset.get("labels"), here.at("labels"), (version_label,)), here.at("labels"))
        if version_label not in labels:
            here.at("labels").refuse(f"the label {version_label!r} is missing, which tells the versions apart")
        if name in versions or labels[version_label] in policies:
            here.refuse(f"subset {name!r} or its version {labels[version_label]!r} is there twice")
        versions[name] = labels[version_label]
        own = subset.get("trafficPolicy")
        at = here.at("trafficPolicy") if own else place.at("trafficPolicy")
        policies[labels[version_label]] = cluster_policy(own or common, at)
    return versions, policies


def _virtual_service(
    virtual: Mapping[str, object], service: str, versions: dict[str, str], policies: dict[str, dict[str, Any]]
) -> Translation:
    place, value, annotations = _open(virtual, "VirtualService")
    for protocol in ("tcp", "tls"):
        if isinstance(value, Mapping) and protocol in value:
            place.at(protocol).refuse(
                f"{protocol.upper()} routes are not possible in the embedded mesh", "Use spec.http, or a cluster."
            )
    spec = mapping(value, place, ("hosts", "gateways", "http"))
    hosts = [text(host, place.at("hosts")) for host in items(spec.get("hosts"), place.at("hosts"))]
    for gateway in items(spec.get("gateways", ()), place.at("gateways")):
        text(gateway, place.at("gateways"))
    subsets = {name: cluster_name(service, name) for name in versions}
    known = Destinations(service, subsets)
    routes = [
        http_route(entry, place.at("http").index(number), known)
        for number, entry in enumerate(items(spec.get("http"), place.at("http")))
    ]
    if not routes:
        place.at("http").refuse("there is no route")
    split = [route.weights for route in routes if route.shared]
    if not split or any(weights != split[0] for weights in split):
        place.at("http").refuse(
            f"expected one split of the traffic, found {len(split)} routes for everybody with different weights"
            if split
            else "no route is for everybody: each one has a match"
        )
    run, aborted = annotations.get(RUN_ANNOTATION, ""), ABORTED_ANNOTATION in annotations
    about = {
        "service": service,
        "run": run,
        "aborted": aborted,
        "versions": {subsets[name]: version for name, version in versions.items()},
        "weights": {versions[name]: weight for name, weight in split[0].items()},
    }
    configuration = {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": service,
        "virtual_hosts": [
            {
                "name": service,
                # Users of the embedded mesh call 127.0.0.1:PORT, so any Host must match.
                "domains": [*dict.fromkeys(host for host in hosts if host != "*"), "*"],
                "metadata": {"filter_metadata": {METADATA_KEY: about}},
                "routes": [route.envoy for route in routes],
            }
        ],
    }
    weights = dict.fromkeys(policies, 0) | {versions[name]: weight for name, weight in split[0].items()}
    assert sum(weights.values()) == TOTAL
    return Translation(service, configuration, policies, weights, run, aborted)
