"""Istio's standard metrics from plain Envoy.

Istio's proxy writes ``istio_requests_total`` and ``istio_request_duration_milliseconds`` by a filter that plain Envoy
lacks.  Its access logger for statistics counts the same at the same moment, the end of a request, with the response's
code and flags.  istiod hands it out by an EnvoyFilter; which workload answered comes from the endpoint's metadata,
which istiod sends to every Envoy, so a request that reached no endpoint has an ``unknown`` version, as in Istio.
Prometheus only takes the names apart into Istio's labels.
"""

from __future__ import annotations

from typing import Any

from tests.cluster.addresses import SYSTEM

BUCKETS_MS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000)
"""Istio's own bounds; the last one that it has, an hour, is left to +Inf."""
_HTTP = "envoy.filters.network.http_connection_manager"
_HTTP_TYPE = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_STATS_TYPE = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
_TAGS = {
    "mesh_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "mesh_workload": "%UPSTREAM_METADATA(istio:workload)%",
    "request_protocol": "http",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "connection_security_policy": "none",
}


def envoy_filter() -> dict[str, Any]:
    """What makes every gateway and every outbound listener of a sidecar count."""
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "standard-metrics", "namespace": SYSTEM},
        "spec": {"configPatches": [_patch("GATEWAY"), _patch("SIDECAR_OUTBOUND")]},
    }


def _patch(context: str) -> dict[str, Any]:
    manager = {
        "@type": _HTTP_TYPE,
        "access_log": [{"name": "envoy.access_loggers.stats", "typed_config": _stats()}],
        "local_reply_config": {"mappers": [_flags_on_local_replies()]},
    }
    return {
        "applyTo": "NETWORK_FILTER",
        "match": {"context": context, "listener": {"filterChain": {"filter": {"name": _HTTP}}}},
        "patch": {"operation": "MERGE", "value": {"name": _HTTP, "typed_config": manager}},
    }


def _stats() -> dict[str, Any]:
    tags = [{"name": name, "value_format": value} for name, value in _TAGS.items()]
    duration = {
        "stat": {"name": "istio_request_duration_milliseconds", "tags": tags},
        "unit": "Milliseconds",
        "value_format": "%DURATION%",
    }
    counter = {"stat": {"name": "istio_requests_total", "tags": tags}, "value_fixed": 1}
    return {"@type": _STATS_TYPE, "stats_scope": {"prefix": "mesh"}, "counters": [counter], "histograms": [duration]}


def _flags_on_local_replies() -> dict[str, Any]:
    """Answers that Envoy writes itself say why, for the client's count; what a service wrote stays as it is."""
    header = {"header": {"key": "x-envoy-flags", "value": "%RESPONSE_FLAGS%"}}
    every = {"comparison": {"op": "GE", "value": {"default_value": 100, "runtime_key": "test.unset"}}}
    return {"filter": {"status_code_filter": every}, "headers_to_add": [header]}


_SERVICE = r"outbound\|\d+\|[^|]*\|(([^.]+)\.([^.]+)\.svc\..+)"
_WORKLOAD = r"([^;]*);([^;]*);([^;]*);([^;]*);([^;]*)"
_FROM_SERVICE = {"destination_service": 1, "destination_service_name": 2, "destination_service_namespace": 3}
_FROM_WORKLOAD = {
    "destination_workload": 1,
    "destination_workload_namespace": 2,
    "destination_canonical_service": 3,
    "destination_app": 3,
    "destination_canonical_revision": 4,
    "destination_version": 4,
    "destination_cluster": 5,
}


def relabelling(reporter: str) -> list[dict[str, Any]]:
    """Prometheus ``metric_relabel_configs``: Istio's names and labels, and nothing else."""
    rules: list[dict[str, Any]] = [
        {"source_labels": ["__name__"], "regex": "envoy_mesh_istio_.*", "action": "keep"},
        {"source_labels": ["__name__"], "regex": "envoy_mesh_(.*)", "target_label": "__name__"},
    ]
    rules.append({"target_label": "reporter", "replacement": reporter})
    for label in [*_FROM_SERVICE, *_FROM_WORKLOAD]:
        rules.append({"target_label": label, "replacement": "unknown"})
    for source, regex, wanted in (
        ("mesh_cluster", _SERVICE, _FROM_SERVICE),
        ("mesh_workload", _WORKLOAD, _FROM_WORKLOAD),
    ):
        for label, number in wanted.items():
            rules.append(
                {"source_labels": [source], "regex": regex, "target_label": label, "replacement": f"${number}"}
            )
    return [*rules, {"action": "labeldrop", "regex": "mesh_.*"}]
