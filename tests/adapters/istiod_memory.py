"""istiod in memory: proxies that are given routes and clusters made from the objects of an API server in memory.

As in the real one (pilot/pkg/xds): a push begins by taking over the objects and a version; every proxy takes over what
was pushed last, and only then those that the change concerns are sent it, and acknowledge it or not.  `sync` does all
of that at once, the methods beside it one step at a time.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from meshctl.adapters.istio.istiod import Acknowledged, Dump, Proxy, Version, parse_version
from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE, ENDPOINT_SLICE, POD, SERVICE, VIRTUAL_SERVICE
from meshctl.core.errors import Unreachable
from meshctl.core.routes import http_routes, metadata, sequence, spec_of, subset_labels
from meshctl.core.tenancy import full_host

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Context:
    """The objects that one push was made from."""

    version: str
    services: tuple[dict[str, Any], ...] = ()
    rules: tuple[dict[str, Any], ...] = ()


@dataclass
class Connection:
    """One proxy.  ``works_by`` is the context of what it has acknowledged last."""

    id: str
    type: str
    sees: Callable[[str], bool]
    context: Context
    sent: str = ""
    acked: str = ""
    error: str = ""
    pending: Context | None = None
    works_by: Context = field(default_factory=lambda: Context(""))


class MemoryIstiod:
    """One replica.  ``stuck``: no proxy is sent anything any more.  ``unreachable``: nobody answers."""

    def __init__(self, api: Any, url: str = "http://istiod.invalid:15014") -> None:
        self.url, self.api = url, api
        self.stuck = self.unreachable = self.by_itself = False
        self.connections: dict[str, Connection] = {}
        self.number = 0
        self.context = Context("")
        self.begin_push()

    def connect(self, id: str, type: str = "router", *, sees: Callable[[str], bool] = lambda host: True) -> Connection:
        """A proxy appears and is given the newest; ``sees`` tells which hosts' routes are its concern."""
        made = self.connections[id] = Connection(id, type, sees, self.context)
        self.send(made)
        self.acknowledge(made)
        return made

    # -------------------------------------------------------------------------------- pushing

    def begin_push(self) -> None:
        """Take over the objects as they are now, under a new version."""
        self.number += 1
        version = f"{(START + timedelta(seconds=self.number // 3)).strftime('%Y-%m-%dT%H:%M:%SZ')}/{self.number}"
        services = tuple(self.api.list(VIRTUAL_SERVICE).items)
        self.context = Context(version, services, tuple(self.api.list(DESTINATION_RULE).items))

    def take_over(self, connection: Connection, *, concerned: bool = True) -> None:
        """The proxy's configuration is made from the newest context from now on; it is sent if concerned."""
        connection.context = self.context
        connection.pending = self.context if concerned else None

    def send(self, connection: Connection) -> None:
        """What is to be sent goes out."""
        pending = connection.pending or connection.context
        connection.pending = None
        connection.sent = f"{pending.version}{uuid.uuid4()}"
        connection.on_its_way = pending  # type: ignore[attr-defined]

    def acknowledge(self, connection: Connection) -> None:
        """The proxy works by what it was sent last."""
        if connection.acked != connection.sent:
            connection.acked, connection.error = connection.sent, ""
            connection.works_by = connection.on_its_way  # type: ignore[attr-defined]

    def sync(self) -> None:
        """Everything that has changed reaches every proxy."""
        if self.stuck or self._current():
            return
        self.begin_push()
        for connection in self.connections.values():
            self.take_over(connection)
            self.send(connection)
            self.acknowledge(connection)

    def _current(self) -> bool:
        now = (tuple(self.api.list(VIRTUAL_SERVICE).items), tuple(self.api.list(DESTINATION_RULE).items))
        return now == (self.context.services, self.context.rules)

    # -------------------------------------------------------------------------------- what Istiod offers

    def proxies(self) -> list[Proxy]:
        self._reach()
        return [_proxy(each) for each in self.connections.values()]

    def routes(self, proxy: str) -> list[dict[str, Any]] | None:
        self._reach()
        found = self.connections.get(proxy)
        return None if found is None else routes_of(found.context, found.sees)

    def dump(self, proxy: str, *, endpoints: bool = False) -> Dump | None:
        self._reach()
        found = self.connections.get(proxy)
        if found is None:
            return None
        clusters = self._clusters(found)
        assignments = [self._assignment(each["name"]) for each in clusters] if endpoints else []
        return Dump(parse_version(found.context.version), routes_of(found.context, found.sees), clusters, assignments)

    def _reach(self) -> None:
        if self.unreachable:
            raise Unreachable(f"istiod at {self.url} does not answer: a fault was asked for")
        if self.by_itself:
            self.sync()

    def _clusters(self, connection: Connection) -> list[dict[str, Any]]:
        found = []
        for service in self.api.list(SERVICE).items:
            host = full_host(service["metadata"]["name"], service["metadata"]["namespace"])
            rules = [rule for rule in connection.context.rules if _host(rule) == host]
            subsets = ["", *(name for rule in rules for name in subset_labels(rule))]
            found += [{"name": f"outbound|80|{subset}|{host}"} for subset in subsets if connection.sees(host)]
        return found

    def _assignment(self, cluster: str) -> dict[str, Any]:
        _, _, subset, host = cluster.split("|")
        name, namespace = host.split(".")[:2]
        rules = [rule for rule in self.context.rules if _host(rule) == host]
        labels = next((subset_labels(rule)[subset] for rule in rules if subset in subset_labels(rule)), {})
        ready = {
            endpoint["targetRef"]["name"]
            for each in self.api.list(ENDPOINT_SLICE, namespace, labels=f"kubernetes.io/service-name={name}").items
            for endpoint in each["endpoints"]
            if endpoint["conditions"]["ready"]
        }
        pods = [
            pod["metadata"]["name"]
            for pod in self.api.list(POD, namespace).items
            if labels.items() <= pod["metadata"]["labels"].items()
        ]
        healthy = [{"healthStatus": "HEALTHY"} for pod in pods if pod in ready]
        return {"clusterName": cluster, "endpoints": [{"lbEndpoints": healthy}]}


def _proxy(connection: Connection) -> Proxy:
    version: Version | None = parse_version(connection.acked[:-36])
    state = Acknowledged(version, connection.sent != connection.acked, connection.error)
    return Proxy(connection.id, connection.type, state, state, state)


def _host(object: dict[str, Any]) -> str:
    return full_host(spec_of(object)["host"], metadata(object)["namespace"])


def routes_of(context: Context, sees: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Envoy's route configuration of a context, delegates merged into their roots."""
    delegates = {
        (metadata(each)["namespace"], metadata(each)["name"]): each
        for each in context.services
        if not spec_of(each).get("hosts")
    }
    hosts = []
    for service in context.services:
        own = metadata(service)["namespace"]
        names = [full_host(host, own) for host in spec_of(service).get("hosts", [])]
        if any(sees(name) for name in names):
            hosts.append({"name": names[0], "domains": names, "routes": list(_routes(service, own, delegates))})
    return [{"name": "http.80", "virtualHosts": hosts}]


def _routes(service: dict[str, Any], own: str, delegates: dict[tuple[str, str], dict[str, Any]]) -> Any:
    for route, entry in zip(http_routes(service), sequence(spec_of(service)["http"]), strict=True):
        target = entry.get("delegate")
        if target is None:
            yield _envoy(service, route, route.name)
            continue
        delegate = delegates.get((target.get("namespace") or own, target["name"]))
        for inner in http_routes(delegate) if delegate is not None else []:
            yield _envoy(service, inner, f"{route.name}-{inner.name}" if route.name else inner.name)


def _envoy(service: dict[str, Any], route: Any, name: str) -> dict[str, Any]:
    meta = metadata(service)
    config = f"/apis/networking.istio.io/v1/namespaces/{meta['namespace']}/virtual-service/{meta['name']}"
    clusters = [
        {"name": f"outbound|80|{each.subset}|{each.host}", "weight": each.weight}
        for each in route.destinations
        if each.weight
    ]
    action: dict[str, Any] = {"weightedClusters": {"clusters": clusters}}
    if len(route.destinations) == 1:
        action = {"cluster": clusters[0]["name"]}
    return {"name": name, "metadata": {"filterMetadata": {"istio": {"config": config}}}, "route": action}
