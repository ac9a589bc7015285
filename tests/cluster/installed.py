"""meshctl as it is installed: its own manifests, its own least-privilege account, its commands as a person types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.addresses import PROMETHEUS_URL
from tests.cluster.cluster import EDGE, SCRAPE_S, Cluster
from tests.cluster.shop import Shop
from tests.cluster.waiting import eventually

RELEASE = """\
apiVersion: meshctl.dev/v1alpha1
kind: Release
metadata: {{name: shop}}
spec:
  version: {version}
  service: shop
  mesh:
    hosts: [{host}]
    gateways: [{edge}]
  strategy:
    canary:
      stages:
      - {{weight: 10, minDuration: 5s, maxDuration: 10m}}
      - {{weight: 50, minDuration: 5s, maxDuration: 10m}}
      - {{weight: 100, minDuration: 5s}}
  analysis:
    errors: {{tolerance: 1.5, margin: 4, harm: 0.05}}
    latency: {{tolerance: 1.5, margin: 4, harm: 0.3}}
    warmUp: none
  keepWarm: 10m
"""
"""Short stages and wide margins: a test shows that the parts work together, not how sharp the judge is."""

SETTINGS = [
    f"--prometheus-url={PROMETHEUS_URL}",
    f"--prometheus-scrape-interval={SCRAPE_S:g}s",
    "--host-suffixes=example",
]


class Person:
    """Somebody at a terminal, with a kubeconfig."""

    def __init__(self, shop: Shop, kubeconfig: Path) -> None:
        self.shop, self.kubeconfig = shop, kubeconfig

    def run(self, *words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """``meshctl WORDS`` in the shop's namespace, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "meshctl", *words, "-n", self.shop.namespace],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def says(self, *words: str, code: int = 0, **options: Any) -> str:
        """What it prints, when it ends as expected."""
        done = self.run(*words, **options)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """A command that stays."""
        command = [sys.executable, "-m", "meshctl", *words]
        with log.open("ab") as stream:
            return subprocess.Popen(command, env=self._environment(), stdout=stream, stderr=stream)

    def release(self, version: str, **changes: str) -> None:
        """Wish a version."""
        text = RELEASE.format(version=version, host=self.shop.edge_host, edge=EDGE)
        for old, new in changes.items():
            text = text.replace(old, new)
        file = self.shop.cluster.network.folder / f"{self.shop.namespace}.yaml"
        file.write_text(text)
        self.says("apply", "-f", str(file))

    def status(self) -> dict[str, Any]:
        """The status of the release."""
        found = self.shop.api.get("meshctl.dev/v1alpha1", "Release", "shop", self.shop.namespace)
        status: dict[str, Any] = found.get("status", {})
        return status

    def until(self, within_s: float = 120.0, **wanted: Any) -> dict[str, Any]:
        """Wait until the status says so."""

        def reached() -> bool:
            status = self.status()
            return all(status.get(key) == value for key, value in wanted.items())

        eventually(reached, within_s, f"the release is {wanted}", detail=lambda: json.dumps(self.status()))
        return self.status()

    def _environment(self) -> dict[str, str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith("MESHCTL_")}
        return own | {"KUBECONFIG": str(self.kubeconfig), "NO_COLOR": "1"}


def administrator(shop: Shop) -> Person:
    """Who may do everything."""
    return Person(shop, shop.cluster.kubeconfig)


def manifests(*words: str) -> str:
    """What ``meshctl install`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "meshctl", "install", *words], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@contextmanager
def installed(cluster: Cluster, *words: str) -> Iterator[None]:
    """An installation that is there while inside; its definitions stay, others may need them."""
    text = manifests("--crds=without", *words)
    cluster.kubectl("apply", "--server-side", "-f", "-", given=manifests("--crds=only"))
    cluster.kubectl("wait", "--for=condition=Established", "crd/releases.meshctl.dev", "crd/releaseruns.meshctl.dev")
    cluster.kubectl("apply", "--server-side", "-f", "-", given=text)
    try:
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "--wait=true", "-f", "-", given=text)
