"""A release in a cluster in memory, by the real adapters: API server, pods, istiod and proxies are played, and requests
are counted by expectation."""

from __future__ import annotations

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.istio.live import live_of
from meshctl.adapters.istio.mesh import IstioMesh
from meshctl.adapters.istio.proxies import ProxyAcknowledgements
from meshctl.adapters.kubernetes.api import Patch
from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE, RELEASE, VIRTUAL_SERVICE
from meshctl.adapters.kubernetes.releases import release_of, wish_of
from meshctl.adapters.kubernetes.rendering import DeploymentRenderer
from meshctl.adapters.kubernetes.store import KubernetesStore
from meshctl.adapters.kubernetes.workloads import KubernetesWorkloads
from meshctl.adapters.memory import Behaviour, FakeClock, FakeMetrics
from meshctl.adapters.templates import TemplateRenderer
from meshctl.app.tick import Ports, tick
from meshctl.core.model import Release
from tests.adapters.api_memory import MemoryApi
from tests.adapters.istiod_memory import MemoryIstiod
from tests.adapters.pods_world import PodsWorld
from tests.cli.scenes import CountingJudge

OLD, NEW = "2.0.0", "2.1.0"


class Weights:
    """What the VirtualServices send where, as `FakeMetrics` asks it of a mesh."""

    def __init__(self, hands: MemoryApi) -> None:
        self._hands = hands
        self.before_change: list = []

    def in_force(self):
        found = {}
        for release in self._hands.list(RELEASE).items:
            meta = release["metadata"]
            service = self._hands.find(VIRTUAL_SERVICE, meta["name"], meta["namespace"])
            rule = self._hands.find(DESTINATION_RULE, meta["name"], meta["namespace"])
            if service is not None:
                found[meta["name"]] = live_of(release_of(release), service, rule).weights
        return found


class ClusterStage:
    """The namespace ``default`` with the Service ``shop`` and Deployments of both versions.

    ``api`` is how the controller sees the cluster, ``hands`` how somebody else does who may do everything.
    """

    def __init__(self, *versions: str, api: MemoryApi | None = None) -> None:
        self.pods = PodsWorld()
        self.hands, self.api = self.pods.hands, api or self.pods.api
        for version in versions or (OLD, NEW):
            self.pods.deploy(version)
        self.pods.settle()
        self.istiod = MemoryIstiod(self.hands)
        self.istiod.by_itself = True
        self.istiod.connect("edge-0.istio-system")
        self.clock = FakeClock(SystemClock().now())
        self.metrics = FakeMetrics(self.clock, Weights(self.hands), rps=600.0)
        self.ports = self.ports_of(self.api)

    def ports_of(self, api, store_api=None) -> Ports:
        """Ports of a controller that sees the cluster by ``api``."""
        plane = ProxyAcknowledgements(lambda: [self.istiod])
        return Ports(
            store=KubernetesStore(store_api or api, "default", self.clock, reads=api),
            mesh=IstioMesh(api, plane, self.clock),
            workloads=KubernetesWorkloads(api, DeploymentRenderer(), look_valid_s=0.0),
            metrics=self.metrics,
            judge=CountingJudge(),
            renderer=TemplateRenderer(),
            clock=self.clock,
        )

    def wish(self, release: Release) -> None:
        """Somebody applies a release."""
        meta = release.metadata
        self.hands.patch(
            RELEASE, meta.name, meta.namespace, wish_of(release), form=Patch.APPLY, manager="kubectl", force=True
        )

    def behave(self, version: str, **fields) -> None:
        self.metrics.behave(version, Behaviour(**fields))

    def ticks(self, number: int = 1, name: str = "shop") -> None:
        """A second passes, pods start and end, the controller looks; so often."""
        for _ in range(number):
            self.clock.advance(1.0)
            self.metrics.count()
            self.pods.settle()
            tick(self.ports, name)

    def until(self, limit: int = 300, **wanted) -> dict:
        """Tick until the status says so."""
        for _ in range(limit):
            status = self.status()
            if all(status.get(key) == value for key, value in wanted.items()):
                return status
            self.ticks()
        raise AssertionError(f"not reached: {wanted}: {self.status()}")

    def status(self, name: str = "shop") -> dict:
        return self.hands.get(RELEASE, name, "default").get("status") or {}

    def weights(self, name: str = "shop") -> dict[str, float]:
        return Weights(self.hands).in_force().get(name, {})
