"""The control plane: etcd, the API server, the controller manager and istiod, all real, as plain processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

from tests.cluster import build
from tests.cluster.addresses import (
    API_SERVICE,
    ISTIOD,
    ISTIOD_DEBUG_URL,
    ISTIOD_SERVICE,
    NODE,
    PROMETHEUS_SERVICE,
    SERVICES,
    SYSTEM,
)
from tests.cluster.api import Api, Object
from tests.cluster.credentials import ADMIN_TOKEN, Credentials
from tests.cluster.process import NOT_YET, Process
from tests.cluster.waiting import eventually

ETCD_URL = "http://127.0.0.1:2379"
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "deployment-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "ttl-after-finished-controller",
)
MESH = """\
# Plain Envoy has no secrets from istiod and none of Istio's own filters.
enableAutoMtls: false
enablePrometheusMerge: false
defaultProviders: {}
# A sidecar in this namespace captures nothing; programs ask for its proxy.
proxyHttpPort: 15081
"""
ISTIOD_SETTINGS = {
    "POD_NAMESPACE": SYSTEM,
    "POD_NAME": "istiod-0",
    "REVISION": "default",
    "ENABLE_LEADER_ELECTION": "false",
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "istiod-default-validator",
}


class ControlPlane:
    """The four programs and the way to them; files and logs are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credentials = Credentials(folder)
        self.binaries = build.cache()
        self.etcd = self._process("etcd", self._etcd(), self._etcd_ready)
        self.api_server = self._process("kube-apiserver", self._api_server(), lambda: self.api.is_ready())
        self.controller_manager = self._process(
            "kube-controller-manager", self._controller_manager(), self._controller_manager_ready
        )
        self.istiod = self._process("pilot-discovery", self._istiod(), self._istiod_ready, ISTIOD_SETTINGS)
        self.api: Api

    def start(self) -> None:
        """Start everything and wait until it serves, istiod's webhook included."""
        self.credentials.make()
        self.etcd.start()
        self.api_server.start()
        self.api = Api(self.credentials.authority, ADMIN_TOKEN)
        self.api_server.ready()
        self.controller_manager.start()
        self.kubectl("apply", "--server-side", "--filename", str(self.binaries / build.CRDS))
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
        for manifest in _services():
            self.api.apply(manifest, SYSTEM)
        self.api.apply(_webhook())
        (self.folder / "mesh.yaml").write_text(MESH)
        self.istiod.start()

    def ready(self, within_s: float = 30.0) -> None:
        """Wait for what `start` did not wait for."""
        self.istiod.ready(within_s)
        self.controller_manager.ready(within_s)
        eventually(self.webhook_guards, within_s, "istiod refuses what is invalid", despite=NOT_YET)

    def webhook_guards(self) -> bool:
        """Whether the webhook is in force: istiod sets ``Fail`` once it has seen itself refuse something."""
        found = self.api.get("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", _WEBHOOK)
        hook = found["webhooks"][0]
        return hook["failurePolicy"] == "Fail" and bool(hook["clientConfig"].get("caBundle"))

    def kubectl(self, *words: str, given: str | None = None) -> str:
        """What kubectl prints, as the cluster's administrator."""
        return self._tool("kubectl", words, given)

    def istioctl(self, *words: str, given: str | None = None) -> str:
        """What istioctl prints."""
        return self._tool("istioctl", words, given)

    def _tool(self, name: str, words: tuple[str, ...], given: str | None) -> str:
        command = [str(self.binaries / name), "--kubeconfig", str(self.credentials.kubeconfig), *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True)
        assert done.returncode == 0, f"{name} {' '.join(words)} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def _process(
        self,
        name: str,
        words: Sequence[str],
        ready: Callable[[], object],
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        log = self.folder / f"{name}.log"
        return Process(name, [self.binaries / name, *words], log, ready, environment)

    def _etcd(self) -> list[str]:
        return [
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={ETCD_URL}",
            f"--advertise-client-urls={ETCD_URL}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--log-level=warn",
        ]

    def _api_server(self) -> list[str]:
        files = self.credentials
        return [
            f"--etcd-servers={ETCD_URL}",
            f"--bind-address={API_SERVICE}",
            "--secure-port=443",
            f"--advertise-address={NODE}",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={files.certificate}",
            f"--tls-private-key-file={files.key}",
            f"--token-auth-file={files.tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={files.token_public_key}",
            f"--service-account-signing-key-file={files.token_key}",
            f"--service-cluster-ip-range={SERVICES}",
            "--enable-admission-plugins=ValidatingAdmissionWebhook",
            "--allow-privileged=true",
            "--profiling=false",
        ]

    def _controller_manager(self) -> list[str]:
        return [
            f"--kubeconfig={self.credentials.kubeconfig}",
            "--leader-elect=false",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--service-account-private-key-file={self.credentials.token_key}",
            f"--root-ca-file={self.credentials.authority}",
            "--bind-address=127.0.0.1",
            "--secure-port=10257",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--horizontal-pod-autoscaler-sync-period=2s",
        ]

    def _istiod(self) -> list[str]:
        return [
            "discovery",
            f"--kubeconfig={self.credentials.kubeconfig}",
            f"--meshConfig={self.folder / 'mesh.yaml'}",
            "--httpAddr=127.0.0.1:15008",
            "--grpcAddr=:15010",
            "--secureGRPCAddr=:15012",
            "--monitoringAddr=:15014",
            f"--httpsAddr={ISTIOD_SERVICE}:443",
        ]

    def _etcd_ready(self) -> bool:
        return bool(httpx.get(f"{ETCD_URL}/health", trust_env=False).json().get("health") == "true")

    def _controller_manager_ready(self) -> bool:
        return httpx.get("https://127.0.0.1:10257/healthz", verify=False, trust_env=False).status_code == 200

    def _istiod_ready(self) -> bool:
        ready = httpx.get("http://127.0.0.1:15008/ready", trust_env=False)
        return ready.status_code == 200 and httpx.get(f"{ISTIOD_DEBUG_URL}/version", trust_env=False).status_code == 200


_WEBHOOK = "istiod-default-validator"


def _webhook() -> Object:
    """As Istio's own chart has it; istiod fills in its authority and sets ``Fail``."""
    groups = ["security.istio.io", "networking.istio.io", "telemetry.istio.io", "extensions.istio.io"]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": _WEBHOOK, "labels": {"app": "istiod", "istio": "istiod", "istio.io/rev": "default"}},
        "webhooks": [
            {
                "name": "validation.istio.io",
                "clientConfig": {"service": {"name": "istiod", "namespace": SYSTEM, "path": "/validate"}},
                "rules": [
                    {
                        "operations": ["CREATE", "UPDATE"],
                        "apiGroups": groups,
                        "apiVersions": ["*"],
                        "resources": ["*"],
                    }
                ],
                "failurePolicy": "Ignore",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


def _services() -> list[Object]:
    """istiod and Prometheus under the names that they have in a cluster, with their endpoints."""
    istiod = {"grpc-xds": (15010, 15010), "https-dns": (15012, 15012), "https-webhook": (443, 443)}
    istiod["http-monitoring"] = (15014, 15014)
    prometheus = {"http": (9090, 9090)}
    return [
        *_service("istiod", ISTIOD_SERVICE, ISTIOD, istiod),
        *_service("prometheus", PROMETHEUS_SERVICE, PROMETHEUS_SERVICE.replace("10.96", "10.0"), prometheus),
    ]


def _service(name: str, address: str, endpoint: str, ports: dict[str, tuple[int, int]]) -> list[Object]:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name, "istio": name}},
        "spec": {
            "clusterIP": address,
            "ports": [{"name": port, "port": ours, "targetPort": theirs} for port, (ours, theirs) in ports.items()],
        },
    }
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-by-hand", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": theirs, "protocol": "TCP"} for port, (_, theirs) in ports.items()],
        "endpoints": [{"addresses": [endpoint], "conditions": {"ready": True}}],
    }
    return [service, slice_]
