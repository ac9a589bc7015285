"""A real Prometheus of its own, and things for it to scrape that count exactly what a test tells them."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.process import Process

SCRAPE_S = 1.0
BOUNDS_MS = (5.0, 25.0, 100.0)
SERVICE = "shop.prod.svc.cluster.local"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Exporter:
    """Shows Istio's metrics of one proxy, and remembers each time it was looked at."""

    def __init__(self, pod: str, namespace: str = "edge") -> None:
        self.pod, self.namespace, self.port = pod, namespace, free_port()
        self._lock = threading.Lock()
        self._requests: Counter[tuple[tuple[str, str], ...]] = Counter()
        self._slow: Counter[tuple[tuple[tuple[str, str], ...], str]] = Counter()
        self.scrapes = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        exporter = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.page().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Page)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Not to be reached any more; what was counted stays."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def forget(self) -> None:
        """As after a restart."""
        with self._lock:
            self._requests.clear()
            self._slow.clear()

    def requests(
        self,
        version: str,
        count: int = 1,
        *,
        code: int = 200,
        flags: str = "-",
        ms: float = 20.0,
        reporter: str = "source",
    ) -> None:
        """So many requests end now."""
        known = version != "unknown"
        labels = {
            "reporter": reporter,
            "destination_service": SERVICE,
            "destination_version": version,
            "destination_canonical_service": "shop" if known else "unknown",
            "destination_canonical_revision": version if known else "latest",
            "response_code": str(code),
            "response_flags": flags,
        }
        key = tuple(sorted(labels.items()))
        with self._lock:
            self._requests[key] += count
            for bound in (*map(str, BOUNDS_MS), "+Inf"):
                self._slow[key, bound] += count if ms <= float(bound) else 0

    def page(self) -> str:
        with self._lock:
            self.scrapes += 1
            lines = [f"istio_requests_total{{{_written(key)}}} {count}" for key, count in self._requests.items()]
            for (key, bound), count in self._slow.items():
                name = "istio_request_duration_milliseconds_bucket"
                lines.append(f'{name}{{{_written(key)},le="{bound}"}} {count}')
        return "\n".join([*lines, ""])


class AppExporter(Exporter):
    """Shows what a pod of the service counts itself: orders, how long guests wait, how long the queue is."""

    def __init__(self, pod: str, version: str, namespace: str) -> None:
        self.version = version
        self._orders: Counter[str] = Counter()
        self._waited: Counter[str] = Counter()
        self.queue = 10.0
        super().__init__(pod, namespace)

    def orders(self, count: int, *, failed: int = 0) -> None:
        """So many orders end now."""
        with self._lock:
            self._orders["failed"] += failed
            self._orders["ok"] += count - failed

    def waited(self, seconds: float, count: int = 1) -> None:
        """So many guests have waited so long."""
        with self._lock:
            for bound in ("0.1", "0.5", "2", "+Inf"):
                self._waited[bound] += count if seconds <= float(bound) else 0

    def page(self) -> str:
        with self._lock:
            self.scrapes += 1
            version = f'version="{self.version}"'
            lines = [f'orders_total{{{version},result="{each}"}} {count}' for each, count in self._orders.items()]
            lines += [f'waiting_seconds_bucket{{{version},le="{le}"}} {count}' for le, count in self._waited.items()]
            lines.append(f"queue_length{{{version}}} {self.queue}")
        return "\n".join([*lines, ""])


def _written(labels: tuple[tuple[str, str], ...]) -> str:
    def quoted(value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'

    return ",".join(f"{name}={quoted(value)}" for name, value in labels)


class OwnPrometheus(Process):
    """Debian's Prometheus on a free port, which scrapes exporters every second."""

    def __init__(self, folder: Path, exporters: list[Exporter], name: str = "prometheus", **labels: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        targets = [
            {"targets": [f"127.0.0.1:{each.port}"], "labels": {"pod": each.pod, "namespace": each.namespace}}
            for each in exporters
        ]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "external_labels": labels},
            "scrape_configs": [{"job_name": "envoy", "static_configs": targets}],
        }
        (folder / "prometheus.json").write_text(json.dumps(config))
        command = [
            shutil.which("prometheus") or "prometheus",
            f"--config.file={folder / 'prometheus.json'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        super().__init__(name, command, folder / f"{name}.log", self._is_ready)

    def _is_ready(self) -> bool:
        return httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == 200
