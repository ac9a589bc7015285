"""The three controllers that `peers.py` compares: how each is started, asked for a release, and asked how it went.

What a user would write stands in ``manifests/*.yaml``; the numbers that a careful user would choose, and why, in
`CONTENDERS`.
"""

from __future__ import annotations

import copy
import json
import os
import string
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from peers_build import ARGO_CRDS, FLAGGER_CRDS, PEERS

from tests.cluster.addresses import ISTIOD_DEBUG_URL, PROMETHEUS_URL
from tests.cluster.api import Refused
from tests.cluster.cluster import EDGE, Cluster
from tests.cluster.mesh_world import install_definitions
from tests.cluster.process import Process
from tests.cluster.shop import Shop, deployment
from tests.cluster.waiting import eventually

MANIFESTS = Path(__file__).parent / "manifests"
OLD, NEW = "v1", "v2"
READY_WITHIN_S = 120.0
SCRAPE_S = 5.0
Terms = dict[str, str]
"""What a user of this controller has to choose, and the reason for the choice."""


def pods(version: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The pod template of the service; no label says the version, each controller tells versions apart by itself."""
    template = copy.deepcopy(deployment(version, 2, {"LATENCY_MS": "20", **environment})["spec"]["template"])
    del template["metadata"]["labels"]["version"]
    return template


class Contender:
    """One controller.  ``name`` is that of the row; rows of one ``program`` share a process."""

    manifest = ""
    binary = ""
    crds: tuple[str, ...] = ()

    def __init__(self, name: str, program: str, numbers: Mapping[str, str], terms: Terms) -> None:
        self.name, self.program, self.numbers, self.terms = name, program, dict(numbers), terms

    def lacking(self) -> list[str]:
        """What of it is not built yet."""
        return [name for name in PEERS.lacking() if name == self.binary or name in self.crds]

    def define(self, cluster: Cluster) -> None:
        """Put the definitions of its objects there."""
        for name in self.crds:
            file = str(PEERS.folder() / name)
            cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", file)
            wait = ("wait", "--for=condition=Established", "-f", file)
            # kubectl gives up where there is no condition at all yet.
            eventually(lambda wait=wait: cluster.kubectl(*wait), 60, f"{name} is there", despite=(AssertionError,))

    def process(self, cluster: Cluster) -> Process:
        """The controller, with the administrator's rights, for all namespaces."""
        raise NotImplementedError

    def objects(self, shop: Shop, version: str, environment: Mapping[str, str]) -> list[dict[str, Any]]:
        """Everything that a user applies."""
        text = (MANIFESTS / self.manifest).read_text(encoding="utf-8")
        values = {
            "NAMESPACE": shop.namespace,
            "HOST": shop.edge_host,
            "GATEWAY": EDGE,
            "PROMETHEUS": PROMETHEUS_URL,
            "VERSION": version,
            "TEMPLATE": json.dumps(pods(version, environment)),
            **self.numbers,
        }
        return list(yaml.safe_load_all(string.Template(text).substitute(values)))

    def begin(self, shop: Shop, environment: Mapping[str, str]) -> None:
        """The first version, until it serves everybody."""
        for each in self.objects(shop, OLD, environment):
            shop.apply(each, "user")
        eventually(lambda: self.settled(shop), READY_WITHIN_S, f"{OLD} serves under {self.name}", despite=(Refused,))

    def release(self, shop: Shop, environment: Mapping[str, str]) -> None:
        """Another version is wished."""
        kinds = ("Deployment", "Rollout", "Release")
        for each in self.objects(shop, NEW, environment):
            if each["kind"] in kinds:
                shop.apply(each, "user")

    def settled(self, shop: Shop) -> bool:
        """Whether the first version is under its control."""
        raise NotImplementedError

    def outcome(self, shop: Shop) -> str:
        """``Promoted`` or ``RolledBack`` once the second version's way has ended, else nothing."""
        raise NotImplementedError

    def is_candidate(self, cluster_name: str) -> bool:
        """Whether one of Envoy's clusters is where the candidate's requests go while it is one."""
        raise NotImplementedError


class Meshctl(Contender):
    manifest = "meshctl.yaml"

    def define(self, cluster: Cluster) -> None:
        install_definitions(cluster)
        for kind in ("Release", "ReleaseRun"):
            eventually(lambda kind=kind: _listed(cluster, kind), 30, f"{kind} is served", despite=(Refused,))

    def process(self, cluster: Cluster) -> Process:
        words: list[str | Path] = [
            sys.executable,
            "-m",
            "meshctl",
            "controller",
            "-A",
            f"--istiod-url={ISTIOD_DEBUG_URL}",
        ]
        words += [f"--prometheus-url={PROMETHEUS_URL}", f"--prometheus-scrape-interval={SCRAPE_S:g}s"]
        words += ["--host-suffixes=example"]
        own = {key: value for key, value in os.environ.items() if not key.startswith("MESHCTL_")}
        log = cluster.network.folder / "meshctl.log"
        return Process("meshctl", words, log, lambda: True, own | {"KUBECONFIG": str(cluster.kubeconfig)})

    def _status(self, shop: Shop) -> dict[str, Any]:
        status: dict[str, Any] = shop.api.get("meshctl.dev/v1alpha1", "Release", "shop", shop.namespace).get(
            "status", {}
        )
        return status

    def settled(self, shop: Shop) -> bool:
        status = self._status(shop)
        return status.get("phase") == "Promoted" and bool(shop.gateway_weights())

    def outcome(self, shop: Shop) -> str:
        status = self._status(shop)
        mine = str(status.get("candidate", "")).startswith(f"{NEW}-")
        phase = status.get("phase", "")
        return phase if mine and phase in ("Promoted", "RolledBack") else ""

    def is_candidate(self, cluster_name: str) -> bool:
        return cluster_name.split("|")[2].startswith(NEW)


def _listed(cluster: Cluster, kind: str) -> bool:
    cluster.api.list("meshctl.dev/v1alpha1", kind)
    return True


class Flagger(Contender):
    manifest = "flagger.yaml"
    binary = "flagger"
    crds = FLAGGER_CRDS

    def process(self, cluster: Cluster) -> Process:
        words: list[str | Path] = [PEERS.folder() / self.binary, f"-kubeconfig={cluster.kubeconfig}", "-log-level=info"]
        words += ["-mesh-provider=istio", f"-metrics-server={PROMETHEUS_URL}", "-port=8099"]
        return Process("flagger", words, cluster.network.folder / "flagger.log", lambda: True)

    def _phase(self, shop: Shop) -> str:
        found = shop.api.get("flagger.app/v1beta1", "Canary", "shop", shop.namespace)
        return str(found.get("status", {}).get("phase", ""))

    def settled(self, shop: Shop) -> bool:
        return self._phase(shop) == "Initialized"

    def outcome(self, shop: Shop) -> str:
        return {"Succeeded": "Promoted", "Failed": "RolledBack"}.get(self._phase(shop), "")

    def is_candidate(self, cluster_name: str) -> bool:
        return cluster_name.split("|")[3].startswith("shop-canary.")


class ArgoRollouts(Contender):
    manifest = "argo-rollouts.yaml"
    binary = "rollouts-controller"
    crds = ARGO_CRDS

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self._first: dict[str, str] = {}

    def process(self, cluster: Cluster) -> Process:
        words: list[str | Path] = [PEERS.folder() / self.binary, f"--kubeconfig={cluster.kubeconfig}"]
        words += ["--leader-elect=false", "--loglevel=info"]
        return Process("argo-rollouts", words, cluster.network.folder / "argo-rollouts.log", lambda: True)

    def _status(self, shop: Shop) -> dict[str, Any]:
        found = shop.api.get("argoproj.io/v1alpha1", "Rollout", "shop", shop.namespace)
        status: dict[str, Any] = found.get("status", {})
        seen = status.get("observedGeneration") == str(found["metadata"]["generation"])
        return status if seen else {}

    def settled(self, shop: Shop) -> bool:
        status = self._status(shop)
        self._first[shop.namespace] = status.get("stableRS", "")
        return status.get("phase") == "Healthy" and bool(self._first[shop.namespace])

    def outcome(self, shop: Shop) -> str:
        status = self._status(shop)
        if status.get("abort"):
            return "RolledBack"
        stable = status.get("stableRS", "")
        other = stable not in ("", self._first[shop.namespace])
        return "Promoted" if other and status.get("phase") == "Healthy" else ""

    def is_candidate(self, cluster_name: str) -> bool:
        return cluster_name.split("|")[3].startswith("shop-canary.")


STAGES = "1, 10, 50, 80 and 100 %, each for at least 30 s"
SHARP: Terms = {
    "stages": f"{STAGES}: the same for all three",
    "interval": "30 s, one check in each stage: the same window for both peers, six scrapes",
    "least success rate": "99.5 %: the service usually has 99.9 %; at 1 % of 100 requests/s a check sees 30 requests",
    "most p99": "100 ms: usual is 65 ms, 86 ms as read from Istio's buckets of 50 and 100 ms; 500 ms is documented",
}
DOCUMENTED: Terms = SHARP | {"most p99": "500 ms: as in Flagger's tutorial; Argo Rollouts documents none"}

CONTENDERS: tuple[Contender, ...] = (
    Meshctl(
        "meshctl",
        "meshctl",
        {},
        {
            "stages": f"{STAGES}, longer where the evidence is not there yet",
            "most for a stage": "10 min, then it is taken back; 30 min is the default, five times the peers' whole way",
            "interval": "10 s, the controller's own, which cannot be set; scrapes of 5 s as for all",
            "thresholds": "none: spec.analysis is left out, the candidate is compared with the baseline",
        },
    ),
    Flagger(
        "flagger",
        "flagger",
        {"THRESHOLD": "2", "LEAST_SUCCESS": "99.5", "MOST_P99_MS": "100"},
        SHARP | {"failed checks": "2 roll back: one failed request in 30 fails a check, so one must be allowed"},
    ),
    ArgoRollouts(
        "argo-rollouts",
        "argo-rollouts",
        {"FAILURE_LIMIT": "1", "LEAST_SUCCESS": "0.995", "MOST_P99_MS": "100"},
        SHARP | {"failed checks": "the second one aborts (failureLimit 1), for the same reason"},
    ),
    Flagger(
        "flagger-documented",
        "flagger",
        {"THRESHOLD": "5", "LEAST_SUCCESS": "99", "MOST_P99_MS": "500"},
        DOCUMENTED
        | {"least success rate": "99 %: as in its Istio tutorial", "failed checks": "5: as in its Istio tutorial"},
    ),
    ArgoRollouts(
        "argo-rollouts-documented",
        "argo-rollouts",
        {"FAILURE_LIMIT": "3", "LEAST_SUCCESS": "0.95", "MOST_P99_MS": "500"},
        DOCUMENTED
        | {
            "least success rate": "95 %: as in its page on background analysis",
            "failed checks": "the fourth one aborts (failureLimit 3): as on that page",
        },
    ),
)
