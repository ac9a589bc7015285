"""Prometheus: what it reads from which proxy, and questions to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.addresses import PROMETHEUS_URL
from tests.cluster.process import Process
from tests.cluster.proxies import ADMIN_PORT, Proxy
from tests.cluster.telemetry import relabelling


class Prometheus(Process):
    """A real Prometheus that scrapes the given proxies every ``scrape_s`` seconds.

    Gateways and sidecars of clients report as ``source``; some programs want to read ``destination``.  With
    ``source,destination`` everything is read twice, once under each name.
    """

    def __init__(self, folder: Path, proxies: Sequence[Proxy], scrape_s: float, reporter: str = "source") -> None:
        self.url = PROMETHEUS_URL
        config = folder / "prometheus.json"
        config.write_text(json.dumps(_config(proxies, scrape_s, reporter)))
        command = [
            shutil.which("prometheus") or "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            "--web.listen-address=:9090",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ]
        super().__init__("prometheus", command, folder / "prometheus.log", self._is_ready)

    def _is_ready(self) -> bool:
        return httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == 200

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": promql}, trust_env=False).json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def value(self, promql: str) -> float:
        """The one number that a query gives; 0 for nothing at all."""
        result = self.query(promql)
        return float(result[0]["value"][1]) if result else 0.0


def _config(proxies: Sequence[Proxy], scrape_s: float, reporter: str) -> dict[str, Any]:
    targets = [
        {"targets": [f"{proxy.address}:{ADMIN_PORT}"], "labels": {"pod": f"{proxy.workload}-0", **_source(proxy)}}
        for proxy in proxies
    ]
    jobs = [
        {
            "job_name": f"mesh-{number}" if number else "mesh",
            "metrics_path": "/stats/prometheus",
            "params": {"filter": ["istio_request"]},
            "static_configs": targets,
            "metric_relabel_configs": relabelling(name),
        }
        for number, name in enumerate(reporter.split(","))
    ]
    every = f"{int(scrape_s * 1000)}ms"
    return {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": jobs}


def _source(proxy: Proxy) -> dict[str, str]:
    return {
        "source_workload": proxy.workload,
        "source_workload_namespace": proxy.namespace,
        "source_app": proxy.workload,
        "source_version": "unknown",
        "source_principal": "unknown",
        "namespace": proxy.namespace,
    }
