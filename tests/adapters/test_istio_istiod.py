"""istiod's debug interface: what it answers is read, and every way of not answering is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from meshctl.adapters.istio.istiod import Acknowledged, Istiod, Proxy, Version, parse_version
from meshctl.core.errors import Forbidden, Unreachable

AT = datetime(2026, 11, 23, 20, 15, 2, tzinfo=UTC)
UUID = "1558c118-c995-4b44-9be0-181f77a0aba0"


class Answers:
    """A server that answers what it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.by_path: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, dict[str, list[str]], str | None]] = []
        self.silent = threading.Event()

    def say(self, path: str, value: object, status: int = 200) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.by_path[f"/debug/{path}"] = (status, body)


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def url(answers) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            query = parse_qs(parts.query, keep_blank_values=True)
            answers.asked.append((parts.path, query, self.headers.get("Authorization")))
            if parts.path == "/debug/silent":
                answers.silent.wait(5)
            status, body = answers.by_path.get(parts.path, (404, b"not here"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    answers.silent.set()
    server.shutdown()
    server.server_close()
    thread.join()


def resource(kind: str) -> str:
    return f"type.googleapis.com/envoy.config.{kind}"


def test_what_proxies_have_acknowledged_is_read_from_their_nonces(answers, url):
    new, old = f"2026-11-23T20:15:02Z/42{UUID}", f"2026-11-23T20:15:02Z/41{UUID}"
    answers.say(
        "syncz",
        [
            {
                "proxy": "edge-0.istio-system",
                "proxy_type": "router",
                "resources": {
                    resource("route.v3.RouteConfiguration"): {"sent": new, "acked": new},
                    resource("cluster.v3.Cluster"): {"sent": new, "acked": old, "lastError": "no such filter"},
                    resource("endpoint.v3.ClusterLoadAssignment"): {"sent": new},
                },
            },
            {"proxy": "tunnel-1.default", "proxy_type": "ztunnel"},
        ],
    )
    assert Istiod(url).proxies() == [
        Proxy(
            "edge-0.istio-system",
            "router",
            Acknowledged(Version(AT, 42)),
            Acknowledged(Version(AT, 41), True, "no such filter"),
            Acknowledged(None, True),
        ),
        Proxy("tunnel-1.default", "ztunnel", None, None, None),
    ]


def test_versions_grow_with_time_and_number_and_strange_ones_are_none():
    later = datetime(2026, 11, 23, 20, 15, 3, tzinfo=UTC)
    assert Version(AT, 9) < Version(AT, 10) < Version(later, 1)
    assert parse_version("2026-11-23T20:15:02Z/42") == Version(AT, 42)
    assert [parse_version(text) for text in ("", "42", "x/42", "2026-11-23T20:15:02Z/x")] == [None] * 4


def test_a_proxys_configuration_is_asked_for_by_its_whole_name(answers, url):
    answers.say("config_dump", {"configs": [{"name": "http.80"}]})
    assert Istiod(url, token=lambda: "secret").routes("edge-0.istio-system") == [{"name": "http.80"}]
    query = {"proxyID": ["edge-0.istio-system-"], "types": ["rds"]}
    assert answers.asked == [("/debug/config_dump", query, "Bearer secret")]


def test_a_dump_has_its_version_routes_clusters_and_endpoints(answers, url):
    version = "2026-11-23T20:15:02Z/42"
    answers.say(
        "config_dump",
        {
            "configs": [
                {"@type": "bootstrap"},
                {"versionInfo": version, "dynamicActiveClusters": [{"cluster": {"name": "a"}}]},
                {"dynamicEndpointConfigs": [{"endpointConfig": {"clusterName": "a"}}]},
                {"dynamicRouteConfigs": [{"versionInfo": version, "routeConfig": {"name": "http.80"}}]},
            ]
        },
    )
    dump = Istiod(url).dump("edge-0.istio-system", endpoints=True)
    assert dump is not None
    assert (dump.version, dump.routes, dump.clusters) == (Version(AT, 42), [{"name": "http.80"}], [{"name": "a"}])
    assert dump.endpoints == [{"clusterName": "a"}]
    assert "include_eds" in answers.asked[0][1]


def test_a_proxy_that_is_not_connected_any_more_has_no_configuration(answers, url):
    answers.say("config_dump", b"Proxy not connected to this Pilot instance.", 404)
    assert Istiod(url).routes("edge-0.istio-system") is None
    assert Istiod(url).dump("edge-0.istio-system") is None


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_closed_interface_is_told_with_its_remedy(answers, url, status):
    answers.say("syncz", b"", status)
    with pytest.raises(Forbidden, match="DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES"):
        Istiod(url).proxies()


@pytest.mark.parametrize(("body", "status"), [(b"<html>", 200), (b"[]", 500), (b"", 302)])
def test_an_answer_that_is_none_is_no_answer(answers, url, body, status):
    answers.say("syncz", body, status)
    with pytest.raises(Unreachable, match="answered"):
        Istiod(url).proxies()


def test_silence_and_a_closed_port_do_not_hold_anybody_up(answers, url):
    answers.by_path["/debug/silent"] = (200, b"[]")
    with pytest.raises(Unreachable, match="does not answer"):
        Istiod(url, timeout_s=0.1)._get("silent")
    with pytest.raises(Unreachable, match="does not answer"):
        Istiod("http://127.0.0.1:1").proxies()


def test_who_asks_over_a_connection_that_was_let_go_is_told_so(url):
    istiod = Istiod(url)
    istiod.close()
    with pytest.raises(Unreachable, match="does not answer"):
        istiod.proxies()
