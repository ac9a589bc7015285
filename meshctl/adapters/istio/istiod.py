"""istiod's debug interface: which proxies are connected, what they have acknowledged, what they were given.

Written against the source of Istio 1.31 (pilot/pkg/xds/debug.go).  A push carries the version of the configuration
that it was made from, ``TIME/NUMBER``, and its nonce is that version with a UUID behind it; a proxy acknowledges by
the nonce.  So the nonce that a proxy has acknowledged tells from which configuration on it works.

The interface answers only those who show a token (audience ``istio-ca``) of Istio's own namespace or of one named in
istiod's ``DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES``; from its own loopback anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import httpx
import msgspec

from meshctl.core.errors import Forbidden, Unreachable
from meshctl.core.routes import mapping, sequence

TIMEOUT_S = 2.0
_UUID_LENGTH = 36
_PREFIX = "type.googleapis.com/envoy."
ROUTES = f"{_PREFIX}config.route.v3.RouteConfiguration"
CLUSTERS = f"{_PREFIX}config.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}config.endpoint.v3.ClusterLoadAssignment"


class Version(NamedTuple):
    """Which configuration a push was made from; later ones compare greater, over a restart of istiod too."""

    time: datetime
    number: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One resource type of one proxy.  ``version`` is the newest that it has acknowledged, ``waiting`` that something
    newer is on its way, ``error`` why the proxy refused it."""

    version: Version | None = None
    waiting: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One connected proxy.  A resource type that it does not watch is ``None``."""

    id: str
    type: str
    routes: Acknowledged | None
    clusters: Acknowledged | None
    endpoints: Acknowledged | None


@dataclass(frozen=True, slots=True)
class Dump:
    """All that a proxy was given, as plain data, and the version that it was made from."""

    version: Version | None
    routes: list[Mapping[str, Any]]
    clusters: list[Mapping[str, Any]]
    endpoints: list[Mapping[str, Any]]


class Istiod:
    """One replica of istiod at ``url``; each knows only the proxies that are connected to it."""

    def __init__(self, url: str, *, token: Callable[[], str] | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._client = httpx.Client(timeout=timeout_s, trust_env=False, follow_redirects=False)

    def proxies(self) -> list[Proxy]:
        """Every connected proxy."""
        answer = self._get("syncz")
        return [_proxy(mapping(each)) for each in sequence(answer)]

    def routes(self, proxy: str) -> list[Mapping[str, Any]] | None:
        """The route configurations that a proxy is to have by now; ``None`` when it is not connected any more."""
        answer = self._get("config_dump", proxyID=_connection(proxy), types="rds")
        return None if answer is None else [mapping(each) for each in sequence(mapping(answer).get("configs"))]

    def dump(self, proxy: str, *, endpoints: bool = False) -> Dump | None:
        """Everything that a proxy is to have by now; ``None`` when it is not connected any more."""
        query = {"proxyID": _connection(proxy)} | ({"include_eds": ""} if endpoints else {})
        answer = self._get("config_dump", **query)
        return None if answer is None else _dump(mapping(answer))

    def close(self) -> None:
        """Let go of the connections; who asks after that is told that nobody answers."""
        self._client.close()

    def _get(self, path: str, **query: str) -> Any:
        """Raises `Unreachable` for no answer or a strange one, `Forbidden` where the interface is closed to us."""
        url = f"{self.url}/debug/{path}"
        headers = {"Authorization": f"Bearer {self._token()}"} if self._token is not None else {}
        try:
            answer = self._client.get(url, params=query, headers=headers)
        except (httpx.HTTPError, RuntimeError) as error:
            raise Unreachable(f"istiod at {self.url} does not answer: {str(error) or type(error).__name__}") from error
        if answer.status_code == httpx.codes.NOT_FOUND and query:
            return None
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
            raise Forbidden(
                f"istiod at {self.url} does not let us see its proxies ({answer.status_code})",
                hint="Name meshctl's namespace in istiod's DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES; until then weights "
                "are confirmed by the observed share of requests.",
            )
        try:
            if answer.status_code == httpx.codes.OK:
                return msgspec.json.decode(answer.content)
        except msgspec.DecodeError:
            pass
        raise Unreachable(f"istiod at {self.url} answered {answer.status_code} and no JSON to {path}")


def _connection(proxy: str) -> str:
    """istiod looks for a connection whose name, ``PROXY-NUMBER``, contains what is asked for."""
    return f"{proxy}-"


def parse_version(text: str) -> Version | None:
    """``2026-11-23T20:15:02Z/42``."""
    time, _, number = text.rpartition("/")
    try:
        return Version(datetime.fromisoformat(time), int(number))
    except ValueError:
        return None


def _proxy(entry: Mapping[str, Any]) -> Proxy:
    resources = mapping(entry.get("resources"))

    def of(type_url: str) -> Acknowledged | None:
        found = mapping(resources.get(type_url))
        sent, acked = str(found.get("sent", "")), str(found.get("acked", ""))
        if not sent:
            return None
        return Acknowledged(parse_version(acked[:-_UUID_LENGTH]), sent != acked, str(found.get("lastError", "")))

    return Proxy(str(entry.get("proxy", "")), str(entry.get("proxy_type", "")), of(ROUTES), of(CLUSTERS), of(ENDPOINTS))


def _dump(answer: Mapping[str, Any]) -> Dump:
    """The configurations of Envoy's own dump (envoy.admin.v3), of which only the dynamic ones are istiod's."""
    version, routes, clusters, endpoints = None, [], [], []
    for each in sequence(answer.get("configs")):
        config = mapping(each)
        for entry in sequence(config.get("dynamicRouteConfigs")):
            routes.append(mapping(entry.get("routeConfig")))
        for entry in sequence(config.get("dynamicActiveClusters")):
            clusters.append(mapping(entry.get("cluster")))
        for entry in sequence(config.get("dynamicEndpointConfigs")):
            endpoints.append(mapping(entry.get("endpointConfig")))
        if "dynamicActiveClusters" in config or config.get("versionInfo"):
            version = version or parse_version(str(config.get("versionInfo", "")))
    return Dump(version, routes, clusters, endpoints)
