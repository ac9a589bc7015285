"""Joins what all namespaces of a cluster share: Prometheus, istiod, judge, templates, and what the operator allows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from meshctl.adapters.background import Background
from meshctl.adapters.hook_policy import AllowedHooks, parse_policy
from meshctl.adapters.hooks import LiveHooks
from meshctl.adapters.istio.confirm import DataPlane, FirstReadable
from meshctl.adapters.istio.istiods import Istiods
from meshctl.adapters.istio.mesh import IstioMesh
from meshctl.adapters.istio.proxies import ProxyAcknowledgements
from meshctl.adapters.istio.share import ObservedShare
from meshctl.adapters.kubernetes.api import Api
from meshctl.adapters.kubernetes.kinds import POD
from meshctl.adapters.kubernetes.rendering import DeploymentRenderer
from meshctl.adapters.kubernetes.workloads import KubernetesWorkloads
from meshctl.adapters.late_judge import LateJudge
from meshctl.adapters.outward import webhook_of
from meshctl.adapters.prometheus.metrics import PrometheusMetrics
from meshctl.adapters.prometheus.settings import PrometheusSettings
from meshctl.adapters.prometheus.transport import Transport
from meshctl.adapters.secrets import Secrets
from meshctl.adapters.templates import TemplateRenderer
from meshctl.app.tick import Ports
from meshctl.core.errors import Conflict, InvalidInput
from meshctl.core.model import LiveRouting, Release, Routing, SecretRef
from meshctl.core.ports import Clock, Hooks, Manifest, Mesh, NoHooks, NoNotices, Notices, Renderer, Store
from meshctl.core.tenancy import CLUSTER_DOMAIN, Claims
from meshctl.core.timetext import parse_duration

GONE_PHASES = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What the operator says for all namespaces, as text; docs/cluster.md explains each.  Lists are parted by commas,
    pairs are written ``name=value``."""

    prometheus_url: str = ""
    prometheus_token_file: str = ""
    prometheus_username: str = ""
    prometheus_password_file: str = ""
    prometheus_headers: str = ""
    prometheus_ca_file: str = ""
    prometheus_matchers: str = ""
    prometheus_scrape_interval: str = "5s"
    prometheus_reporter: str = "source"
    prometheus_version_label: str = "destination_version"
    prometheus_proxy_labels: str = ""
    prometheus_namespace_label: str = "namespace"
    istiod_url: str = ""
    istiod_token_file: str = ""
    host_suffixes: str = ""
    gateways: str = "*/*"
    cluster_domain: str = CLUSTER_DOMAIN
    hook_hosts: str = ""
    hook_secrets: str = ""
    webhook_url: str = ""
    webhook_secret_file: str = ""
    webhook_secret_env: str = ""
    template_dir: Path | None = None


class Operator:
    """The ports of every namespace, as far as they are shared.

    ``api`` is who acts; its reads may come from caches.  ``may_raise`` says at any moment whether this controller is
    the one that works.  ``stays``: whether it stays long enough to hear what hooks answer.  Raises `InvalidInput` for
    a setting that is wrong.
    """

    def __init__(
        self,
        settings: OperatorSettings,
        api: Api,
        clock: Clock,
        *,
        may_raise: Callable[[], bool] = lambda: True,
        stays: bool = True,
    ) -> None:
        self.claims = Claims(
            tuple(_listed(settings.host_suffixes)),
            tuple(_listed(settings.gateways)),
            settings.cluster_domain,
            _label(settings.prometheus_namespace_label),
        )
        self._policy = parse_policy(settings.hook_hosts, settings.hook_secrets)
        self._clock, self._stays = clock, stays
        self._background, self._secrets = Background(), Secrets()
        prometheus = Transport(prometheus_settings(settings), self._secrets, self._background)
        self._metrics = PrometheusMetrics(prometheus, clock)
        self._istiods = (
            Istiods(settings.istiod_url, api, token_file=settings.istiod_token_file) if settings.istiod_url else None
        )
        mesh = IstioMesh(api, self._data_plane(api), clock, claims=self.claims)
        self._mesh = _WhileLeading(mesh, may_raise)
        self._deployments = DeploymentRenderer(settings.template_dir)
        self._workloads = KubernetesWorkloads(api, self._deployments)
        self.forget = self._workloads.forget
        self._routes = TemplateRenderer(settings.template_dir)
        self._renderer = _OneAtATime(self._routes)
        self._judge = LateJudge()
        self._webhook = webhook_of(
            self._background,
            self._secrets,
            clock,
            url=settings.webhook_url or None,
            secret_file=settings.webhook_secret_file or None,
            secret_env=settings.webhook_secret_env or None,
        )
        self._notices: Notices = self._webhook or NoNotices()

    def ports(self, store: Store) -> Ports:
        """The ports of the namespace whose store this is; kept by whoever asked, since hooks under way are its own."""
        return Ports(
            store=store,
            mesh=self._mesh,
            workloads=self._workloads,
            metrics=self._metrics,
            judge=self._judge,
            renderer=self._renderer,
            clock=self._clock,
            hooks=self._hooks(),
            notices=self._notices,
        )

    def deliveries(self) -> Mapping[str, int]:
        """What became of the webhook's events so far, by outcome; nothing without one."""
        return {} if self._webhook is None else self._webhook.counts()

    def close(self) -> None:
        """Deliver the last events, if that is quick; let go of everything else."""
        if self._webhook is not None:
            self._webhook.flush()
        self._background.stop()
        if self._istiods is not None:
            self._istiods.close()
        self._routes.close()
        self._deployments.close()

    def _hooks(self) -> Hooks:
        if not self._stays:
            return NoHooks()
        return AllowedHooks(LiveHooks(Path("/"), self._background, self._secrets), self._policy)

    def _data_plane(self, api: Api) -> DataPlane:
        """istiod where it lets us see, else what requests do."""
        observed = ObservedShare(self._metrics.counts, self._clock)
        if self._istiods is None:
            return observed

        acknowledged = ProxyAcknowledgements(self._istiods, is_running=partial(proxy_runs, api))
        return FirstReadable(acknowledged, observed)


def proxy_runs(api: Api, proxy: str) -> bool:
    """Whether the pod of a proxy, ``NAME.NAMESPACE``, is still there and has not ended."""
    name, _, namespace = proxy.rpartition(".")
    pod = api.find(POD, name, namespace)
    return pod is not None and (pod.get("status") or {}).get("phase") not in GONE_PHASES


def prometheus_settings(settings: OperatorSettings) -> PrometheusSettings:
    """How to speak to Prometheus.  Raises `InvalidInput` that names the setting."""
    if not settings.prometheus_url:
        raise InvalidInput(
            "prometheus_url: is not said, and without metrics nothing is ever promoted",
            hint="Say --prometheus-url URL, MESHCTL_PROMETHEUS_URL or prometheus_url in meshctl.toml; for instance "
            "http://prometheus.istio-system:9090",
        )
    found = PrometheusSettings(
        url=settings.prometheus_url,
        bearer=_file(settings.prometheus_token_file),
        username=settings.prometheus_username,
        password=_file(settings.prometheus_password_file),
        headers=_pairs(settings.prometheus_headers, "prometheus_headers"),
        ca_file=settings.prometheus_ca_file,
        matchers=_pairs(settings.prometheus_matchers, "prometheus_matchers"),
        scrape_interval_s=parse_duration(settings.prometheus_scrape_interval).total_seconds(),
        reporter=settings.prometheus_reporter,
        version_label=settings.prometheus_version_label,
        namespace_label=_label(settings.prometheus_namespace_label),
    )
    labels = tuple(_listed(settings.prometheus_proxy_labels))
    return replace(found, proxy_labels=labels) if labels else found


def _label(name: str) -> str:
    return "" if name == "-" else name


def _file(path: str) -> SecretRef | None:
    return SecretRef(file=path) if path else None


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _pairs(text: str, setting: str) -> dict[str, str]:
    found = {}
    for each in _listed(text):
        name, equals, value = each.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f"{setting}: {each!r} is no pair", hint="Write name=value, several parted by commas.")
        found[name.strip()] = value.strip()
    return found


class _WhileLeading:
    """Routes are written only by the controller that works.  Lowering by the way back is everybody's, at any time."""

    def __init__(self, mesh: Mesh, may_raise: Callable[[], bool]) -> None:
        self._mesh, self._may_raise = mesh, may_raise
        self.lower = mesh.lower
        self.confirm = mesh.confirm

    def read(self, release: Release) -> LiveRouting | None:
        return self._mesh.read(release)

    def apply(
        self,
        release: Release,
        objects: Sequence[Manifest],
        *,
        fallback: Sequence[Manifest] = (),
        expected: str | None = None,
    ) -> str:
        if not self._may_raise():
            raise Conflict("another controller works now", hint="This one has lost the lease and writes no routes.")
        return self._mesh.apply(release, objects, fallback=fallback, expected=expected)


class _OneAtATime:
    """Templates are rendered by one thread at a time: a user's own go through one child process."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer, self._lock = renderer, threading.Lock()
        self.digest = renderer.digest

    def render(self, release: Release, routing: Routing) -> Sequence[Manifest]:
        with self._lock:
            return self._renderer.render(release, routing)
