"""What stands around a release in a live cluster, as plain data, and where it is among these objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from meshctl.core.guard import hosts
from meshctl.core.model import Ownership, Release
from meshctl.core.routes import mapping, metadata, sequence, spec_of
from meshctl.core.tenancy import CLUSTER_DOMAIN, MESH, full_host

Object = Mapping[str, Any]
Name = tuple[str, str]
"""namespace, name"""
Entrance = tuple[str, str]
"""Where requests are taken: the full host, and ``mesh`` or a gateway as ``namespace/name``."""


@dataclass(frozen=True)
class Surroundings:
    """What was read of a cluster, or of the part of it that may be read.  What could not be read is empty."""

    releases: Sequence[Release] = ()
    virtual_services: Sequence[Object] = ()
    destination_rules: Sequence[Object] = ()
    services: Sequence[Object] = ()
    namespaces: Sequence[Object] = ()
    cluster_domain: str = CLUSTER_DOMAIN

    @cached_property
    def services_by_entrance(self) -> Mapping[Entrance, Sequence[Object]]:
        """VirtualServices by where they take requests."""
        found = defaultdict(list)
        for each in self.virtual_services:
            for entrance in self.entrances_of(each):
                found[entrance].append(each)
        return found

    @cached_property
    def releases_by_entrance(self) -> Mapping[Entrance, Sequence[Release]]:
        """Releases by where their routes take requests."""
        found = defaultdict(list)
        for each in self.releases:
            for entrance in Placed(each, self).entrances():
                found[entrance].append(each)
        return found

    @cached_property
    def releases_by_service(self) -> Mapping[Name, Sequence[Release]]:
        """Releases by the Service that they move."""
        return _grouped(((each.metadata.namespace, each.spec.service), each) for each in self.releases)

    @cached_property
    def moved(self) -> set[Name]:
        """The VirtualServices whose weights some release moves."""
        return {(each.metadata.namespace, Placed(each, self).service_name) for each in self.releases}

    @cached_property
    def roots(self) -> Mapping[Name, Sequence[Object]]:
        """VirtualServices by what they delegate to."""
        return _grouped((target, each) for each in self.virtual_services for target in delegates_of(each))

    @cached_property
    def rules_by_host(self) -> Mapping[Name, Sequence[Object]]:
        """DestinationRules by their namespace and the full host."""
        rules = self.destination_rules
        return _grouped(((namespace_of(each), self.full(spec_of(each).get("host"), each)), each) for each in rules)

    @cached_property
    def leading_to(self) -> Mapping[str, Sequence[Object]]:
        """VirtualServices by the full hosts that their routes lead to."""
        found = defaultdict(list)
        for each in self.virtual_services:
            for host in {self.full(host, each) for host in _destination_hosts(each)}:
                found[host].append(each)
        return found

    def named(self, objects: str, namespace: str, name: str) -> Object | None:
        """One object of a field, by its name."""
        return self._names[objects].get((namespace, name))

    @cached_property
    def _names(self) -> Mapping[str, Mapping[Name, Object]]:
        fields = {
            "virtual_services": self.virtual_services,
            "destination_rules": self.destination_rules,
            "services": self.services,
            "namespaces": self.namespaces,
        }
        return {field: {name_of(each): each for each in objects} for field, objects in fields.items()}

    def entrances_of(self, service: Object) -> set[Entrance]:
        """Where a VirtualService takes requests."""
        spec = spec_of(service)
        named, bound = _texts(spec.get("hosts")), _texts(spec.get("gateways")) or [MESH]
        return _entrances(named, bound, namespace_of(service), self.cluster_domain)

    def full(self, host: Any, object: Object) -> str:
        """The full name of a host that stands in an object."""
        return full_host(str(host or ""), namespace_of(object), self.cluster_domain)


@dataclass(frozen=True, slots=True)
class Placed:
    """A release where it stands."""

    release: Release
    around: Surroundings

    @property
    def name(self) -> Name:
        return (self.release.metadata.namespace, self.release.metadata.name)

    @property
    def namespace(self) -> str:
        return self.release.metadata.namespace

    @property
    def service_name(self) -> str:
        """The VirtualService whose weights are moved."""
        adopt = self.release.spec.mesh.adopt
        return adopt.virtual_service if adopt is not None else self.release.metadata.name

    @property
    def host(self) -> str:
        """The full name of its service."""
        return full_host(self.release.spec.service, self.namespace, self.around.cluster_domain)

    def service(self) -> Object | None:
        return self.around.named("services", self.namespace, self.release.spec.service)

    def virtual_service(self) -> Object | None:
        return self.around.named("virtual_services", self.namespace, self.service_name)

    def rules(self) -> Sequence[Object]:
        """Every DestinationRule of its service, in its own namespace."""
        return self.around.rules_by_host.get((self.namespace, self.host), ())

    def generated_rule(self) -> Object | None:
        return self.around.named("destination_rules", self.namespace, self.release.metadata.name)

    def adopted_rule(self) -> Object | None:
        """The one that declares the subsets of adopted routes; ``None`` where it is not clear which."""
        adopt = self.release.spec.mesh.adopt
        if adopt is not None and adopt.destination_rule is not None:
            return self.around.named("destination_rules", self.namespace, adopt.destination_rule)
        rules = self.rules()
        return rules[0] if len(rules) == 1 else None

    def roots(self) -> Sequence[Object]:
        """VirtualServices that delegate to the release's."""
        return self.around.roots.get(self.name, ())

    def entrances(self) -> set[Entrance]:
        """Where its routes take requests."""
        mesh = self.release.spec.mesh
        if mesh.ownership is Ownership.GENERATED:
            return _entrances(hosts(self.release), mesh.gateways, self.namespace, self.around.cluster_domain)
        found = self.roots() if mesh.ownership is Ownership.DELEGATE else [self.virtual_service() or {}]
        return {entrance for each in found for entrance in self.around.entrances_of(each)}

    def labels(self) -> Mapping[str, Any]:
        """The labels of its namespace."""
        found = self.around.named("namespaces", "", self.namespace)
        return mapping(metadata(found).get("labels")) if found is not None else {}


def _entrances(named: Sequence[str], bound: Sequence[str], namespace: str, domain: str) -> set[Entrance]:
    gateways = [each if each == MESH or "/" in each else f"{namespace}/{each}" for each in bound]
    return {(full_host(host, namespace, domain), gateway) for host in named for gateway in gateways}


def delegates_of(service: Object) -> set[Name]:
    """Everything that a VirtualService delegates to."""
    targets = [mapping(mapping(entry).get("delegate")) for entry in sequence(spec_of(service).get("http"))]
    own = namespace_of(service)
    return {(str(each.get("namespace") or own), str(each["name"])) for each in targets if each.get("name")}


def _destination_hosts(service: Object) -> Iterable[Any]:
    for entry in sequence(spec_of(service).get("http")):
        for each in sequence(mapping(entry).get("route")):
            yield mapping(mapping(each).get("destination")).get("host")


def _grouped(pairs: Iterable[tuple[Name, Any]]) -> Mapping[Name, Sequence[Any]]:
    found = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found


def name_of(object: Object) -> Name:
    return (namespace_of(object), str(metadata(object).get("name", "")))


def namespace_of(object: Object) -> str:
    return str(metadata(object).get("namespace", ""))


def _texts(value: Any) -> list[str]:
    return [str(each) for each in sequence(value)]
