"""A DestinationRule's traffic policy, in Envoy's words: a fragment of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshctl.adapters.envoy.fields import Place, integer, mapping, seconds, text

UNLIMITED = 2**32 - 1
"""Istio's circuit breakers let everything through unless they are set; Envoy's own start at 1024, retries at 3."""

_BALANCERS = {
    "LEAST_REQUEST": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
    "UNSPECIFIED": "LEAST_REQUEST",
}


def cluster_policy(value: object, place: Place) -> dict[str, Any]:
    """The fragment for a ``trafficPolicy``; an empty one gives Istio's defaults."""
    policy = mapping(value, place, ("connectionPool", "loadBalancer", "outlierDetection"))
    cluster: dict[str, Any] = {"connect_timeout": "1s", "lb_policy": "LEAST_REQUEST"}
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), UNLIMITED)
    if "loadBalancer" in policy:
        cluster["lb_policy"] = _balancer(policy["loadBalancer"], place.at("loadBalancer"))
    if "connectionPool" in policy:
        _connection_pool(policy["connectionPool"], place.at("connectionPool"), cluster, limits)
    if "outlierDetection" in policy:
        cluster["outlier_detection"] = _outliers(policy["outlierDetection"], place.at("outlierDetection"))
    cluster["circuit_breakers"] = {"thresholds": [limits]}
    return cluster


def _balancer(value: object, place: Place) -> str:
    simple = text(mapping(value, place, ("simple",)).get("simple"), place.at("simple"))
    if simple not in _BALANCERS:
        place.at("simple").refuse(f"unknown balancer {simple!r}", f"Known: {', '.join(sorted(_BALANCERS))}.")
    return _BALANCERS[simple]


def _connection_pool(value: object, place: Place, cluster: dict[str, Any], limits: dict[str, int]) -> None:
    pool = mapping(value, place, ("tcp", "http"))
    tcp_place, http_place = place.at("tcp"), place.at("http")
    tcp = mapping(pool.get("tcp", {}), tcp_place, ("maxConnections", "connectTimeout"))
    http = mapping(
        pool.get("http", {}),
        http_place,
        ("http1MaxPendingRequests", "http2MaxRequests", "maxRetries", "maxRequestsPerConnection", "idleTimeout"),
    )
    _limits(tcp, tcp_place, {"maxConnections": "max_connections"}, limits)
    _limits(
        http,
        http_place,
        {
            "http1MaxPendingRequests": "max_pending_requests",
            "http2MaxRequests": "max_requests",
            "maxRetries": "max_retries",
        },
        limits,
    )
    if "connectTimeout" in tcp:
        cluster["connect_timeout"] = seconds(tcp["connectTimeout"], tcp_place.at("connectTimeout"))
    common: dict[str, Any] = {}
    if "idleTimeout" in http:
        common["idle_timeout"] = seconds(http["idleTimeout"], http_place.at("idleTimeout"))
    if "maxRequestsPerConnection" in http:
        key = "maxRequestsPerConnection"
        common["max_requests_per_connection"] = integer(http[key], http_place.at(key), least=1)
    if common:
        name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        cluster["typed_extension_protocol_options"] = {
            name: {
                "@type": f"type.googleapis.com/{name}",
                "common_http_protocol_options": common,
                "explicit_http_config": {"http_protocol_options": {}},
            }
        }


def _limits(found: Mapping[str, object], place: Place, names: Mapping[str, str], limits: dict[str, int]) -> None:
    for ours, theirs in names.items():
        if ours in found:
            limits[theirs] = integer(found[ours], place.at(ours), least=1)


def _outliers(value: object, place: Place) -> dict[str, Any]:
    whole = {"consecutive5xxErrors": "consecutive_5xx", "consecutiveGatewayErrors": "consecutive_gateway_failure"}
    times = {"interval": "interval", "baseEjectionTime": "base_ejection_time"}
    found = mapping(value, place, (*whole, *times, "maxEjectionPercent"))
    outliers: dict[str, Any] = {}
    for ours, theirs in whole.items():
        if ours in found:
            outliers[theirs] = integer(found[ours], place.at(ours))
    for ours, theirs in times.items():
        if ours in found:
            outliers[theirs] = seconds(found[ours], place.at(ours))
    if "consecutiveGatewayErrors" in found:
        outliers["enforcing_consecutive_gateway_failure"] = 100
    if "maxEjectionPercent" in found:
        key = "maxEjectionPercent"
        outliers["max_ejection_percent"] = integer(found[key], place.at(key), most=100)
    return outliers
