"""How long one reading takes at 200 and at 2,000 series, from a real Prometheus on this machine.

python bench/prometheus.py [READINGS]

An exporter shows Istio's series of many proxies. Prometheus scrapes it every second, and one sample before is searched
12 s back: per series that is as much as with scrapes every 5 s and a minute. Every reading gives two blocks.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from common import median, percentile, record  # noqa: E402

from meshctl.adapters.background import Background  # noqa: E402
from meshctl.adapters.clock import SystemClock  # noqa: E402
from meshctl.adapters.prometheus import PrometheusMetrics, PrometheusSettings, Transport  # noqa: E402
from meshctl.adapters.secrets import Secrets  # noqa: E402
from meshctl.core.model import Metadata, Release, ReleaseSpec  # noqa: E402
from tests.cluster.scraped import OwnPrometheus, free_port  # noqa: E402
from tests.cluster.waiting import eventually  # noqa: E402

OLD, NEW = "2.0.0", "2.1.0"
RELEASE = Release(Metadata("shop", "prod"), ReleaseSpec(version=NEW, service="shop"))
BOUNDS = (
    "0.5",
    "1",
    "5",
    "10",
    "25",
    "50",
    "100",
    "250",
    "500",
    "1000",
    "2500",
    "5000",
    "10000",
    "30000",
    "60000",
    "300000",
    "600000",
    "1800000",
    "3600000",
    "+Inf",
)
"""Istio's own."""
CASES = {200: 5, 2000: 48}
"""Series, and of how many proxies: 21 for each version."""


class Fleet:
    """Many proxies on one page; each look shows a few more requests."""

    def __init__(self, proxies: int) -> None:
        self.port, self.pod, self.namespace = free_port(), "all", "edge"
        self.looks = 0
        fleet = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = fleet.page(proxies).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Page)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def page(self, proxies: int) -> str:
        self.looks += 1
        lines = []
        for number in range(proxies):
            for version in (OLD, NEW):
                labels = _labels(f"web-{number:03d}-7c9d5b6f4-x2lq9", version)
                lines.append(f"istio_requests_total{{{labels}}} {self.looks * 100}")
                name = "istio_request_duration_milliseconds_bucket"
                for index, bound in enumerate(BOUNDS):
                    lines.append(f'{name}{{{labels},le="{bound}"}} {self.looks * 5 * (index + 1)}')
        return "\n".join([*lines, ""])


def _labels(source: str, version: str) -> str:
    labels = {
        "reporter": "source",
        "source_pod": source,
        "source_workload": "web",
        "source_workload_namespace": "prod",
        "source_principal": "spiffe://cluster.local/ns/prod/sa/web",
        "source_app": "web",
        "source_version": "v1",
        "source_canonical_service": "web",
        "source_canonical_revision": "v1",
        "source_cluster": "Kubernetes",
        "destination_workload": f"shop-{version.replace('.', '-')}",
        "destination_workload_namespace": "prod",
        "destination_principal": "spiffe://cluster.local/ns/prod/sa/shop",
        "destination_app": "shop",
        "destination_version": version,
        "destination_service": "shop.prod.svc.cluster.local",
        "destination_service_name": "shop",
        "destination_service_namespace": "prod",
        "destination_canonical_service": "shop",
        "destination_canonical_revision": version,
        "destination_cluster": "Kubernetes",
        "request_protocol": "http",
        "response_code": "200",
        "grpc_response_status": "",
        "response_flags": "-",
        "connection_security_policy": "mutual_tls",
    }
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def measure(series: int, proxies: int, readings: int, *, summed: bool) -> dict[str, Any]:
    """Wall time and processor time of a reading with two new blocks."""
    fleet, background = Fleet(proxies), Background()
    with tempfile.TemporaryDirectory() as folder:
        prometheus = OwnPrometheus(Path(folder), [fleet])  # type: ignore[list-item]
        prometheus.start()
        settings = PrometheusSettings(
            url=prometheus.url,
            scrape_interval_s=1.0,
            lookback_s=12.0,
            settle_s=0.3,
            lateness_s=0.5,
            proxy_labels=("source_pod",),
            series_max=1 if summed else 100_000,
        )
        transport = Transport(settings, Secrets(), background)
        try:
            prometheus.ready()
            eventually(lambda: fleet.looks >= 15, 60, "fifteen scrapes")
            return _readings(PrometheusMetrics(transport, SystemClock()), series, proxies, readings, summed=summed)
        finally:
            transport.close()
            prometheus.end()
            background.stop()


def _readings(metrics: PrometheusMetrics, series: int, proxies: int, readings: int, *, summed: bool) -> dict[str, Any]:
    cursor, walls, processor = "", [], []
    while len(walls) < readings:
        time.sleep(2.0)
        wall, used = time.perf_counter(), time.process_time()
        reading = metrics.read(RELEASE, OLD, NEW, cursor, entry=0, weight=10.0)
        wall, used = time.perf_counter() - wall, time.process_time() - used
        cursor = reading.cursor
        if len(reading.blocks) == 2:
            walls.append(wall * 1000)
            processor.append(used * 1000)
        elif reading.problem and not summed:
            raise SystemExit(reading.problem)
    return {
        "what": f"{series} series{', summed up by Prometheus' if summed else ''}",
        "series": proxies * 2 * (1 + len(BOUNDS)),
        "readings": readings,
        "medianMs": round(median(walls), 1),
        "p95Ms": round(percentile(walls, 0.95), 1),
        "processorMs": round(median(processor), 1),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    readings = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for series, proxies in CASES.items():
        for summed in (False, True):
            row = measure(series, proxies, readings, summed=summed)
            record("prometheus", row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
