"""What Envoy is started with: the bootstrap, one listener per workload, the counters that the judge lives on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any

from meshctl.adapters.envoy.layout import Layout

# fmt: off
BOUNDS_MS = (
    1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0, 12.0, 15.0, 19.0, 23.0, 28.0, 34.0, 40.0, 48.0, 57.0, 68.0, 82.0,
    100.0, 120.0, 150.0, 190.0, 240.0, 300.0, 380.0, 500.0, 700.0, 1000.0, 1500.0, 2500.0, 5000.0, 10000.0, 30000.0,
    60000.0,
)
# fmt: on
"""Upper bounds of the latency buckets in milliseconds, narrow where services live.  Two significant digits at
most: Envoy keeps histograms in such bins, and only then are the counts exact."""

MOST_CONNECTIONS = 50_000
"""From users at the same time, where the machine allows Envoy that many files."""

DESCRIPTORS_FOR_USERS = 0.4
"""The part of Envoy's files that users' connections may take: each may need one to a replica, and the admin socket
must always find one, or metrics and readiness are gone just when it matters."""

STATS_PREFIX = "meshctl"
REQUESTS, DURATION = "requests", "duration"

_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def most_connections() -> int:
    """How many users may be connected at the same time; by the hard limit, which does not differ between shells."""
    _, hard = getrlimit(RLIMIT_NOFILE)
    return MOST_CONNECTIONS if hard == RLIM_INFINITY else min(MOST_CONNECTIONS, int(hard * DESCRIPTORS_FOR_USERS))


def resource(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{kind}", **body}


def discovery(version: str, resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of one discovery file."""
    return {"version_info": version, "resources": list(resources)}


def file_source(path: Path) -> dict[str, Any]:
    """A file that Envoy follows by its renames."""
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def bootstrap(layout: Layout, socket: Path) -> dict[str, Any]:
    """The static part of Envoy's configuration."""
    return {
        "node": {"id": "meshctl", "cluster": "meshctl"},
        "admin": {"address": {"pipe": {"path": str(socket), "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": file_source(layout.listeners),
            "cds_config": file_source(layout.clusters),
        },
        # Histograms are merged when the admin interface is asked, so a reading is as young as its question.
        "stats_flush_on_admin": True,
        "stats_config": {
            "histogram_bucket_settings": [
                {
                    "match": {"prefix": f"{STATS_PREFIX}.{DURATION}"},
                    "buckets": [bound * 1000 for bound in BOUNDS_MS],
                }
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": resource(
                        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        {"max_active_downstream_connections": most_connections()},
                    ),
                }
            ]
        },
    }


def listener(service: str, host: str, port: int, layout: Layout) -> dict[str, Any]:
    """The port on which users reach a service."""
    manager = resource(
        _HTTP,
        {
            "stat_prefix": service,
            "rds": {"route_config_name": service, "config_source": file_source(layout.routes(service))},
            "use_remote_address": True,
            "access_log": _counters(),
            "local_reply_config": {"mappers": [_flags_on_local_replies()]},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": resource("envoy.extensions.filters.http.router.v3.Router", {}),
                }
            ],
        },
    )
    return resource(
        "envoy.config.listener.v3.Listener",
        {
            "name": service,
            "address": {"socket_address": {"address": host, "port_value": port}},
            # Without this a second process could bind the same port and take half of the connections unseen.
            "enable_reuse_port": False,
            "filter_chains": [
                {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
            ],
        },
    )


def _counters() -> list[dict[str, Any]]:
    """Counts at the end of each request, by cluster, kind of traffic, status and response flags; durations too,
    from the first byte of the request to the last of the answer, for answers below 500 only."""
    tags = [
        {"name": "cluster", "value_format": "%UPSTREAM_CLUSTER%"},
        {"name": "traffic", "value_format": "%METADATA(ROUTE:meshctl:traffic)%"},
        {"name": "flags", "value_format": "%RESPONSE_FLAGS%"},
    ]
    code = {"name": "code", "value_format": "%RESPONSE_CODE%"}
    counter = {"stat": {"name": REQUESTS, "tags": [*tags, code]}, "value_fixed": 1}
    histogram = {
        "stat": {"name": DURATION, "tags": tags},
        "unit": "Microseconds",
        "value_format": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
    }
    return [
        _stats_logger({"counters": [counter]}),
        {**_stats_logger({"histograms": [histogram]}), "filter": _status("LE", 499)},
    ]


def _stats_logger(stats: Mapping[str, Any]) -> dict[str, Any]:
    kind = "envoy.extensions.access_loggers.stats.v3.Config"
    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": resource(kind, {"stats_scope": {"prefix": STATS_PREFIX}, **stats}),
    }


def _status(operator: str, code: int) -> dict[str, Any]:
    value = {"default_value": code, "runtime_key": "meshctl.unset"}
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}


def _flags_on_local_replies() -> dict[str, Any]:
    """Answers that Envoy writes itself say why; what a service wrote stays as it is."""
    header = {"header": {"key": "x-envoy-flags", "value": "%RESPONSE_FLAGS%"}}
    return {"filter": _status("GE", 100), "headers_to_add": [header]}
