"""A release on the real control plane, driven by its mesh alone: routes are written and lowered, nothing is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.istio.confirm import DataPlane
from meshctl.adapters.istio.istiod import Istiod
from meshctl.adapters.istio.mesh import IstioMesh
from meshctl.adapters.istio.proxies import ProxyAcknowledgements
from meshctl.adapters.kubernetes import crds
from meshctl.adapters.kubernetes.access import connect
from meshctl.adapters.templates import TemplateRenderer
from meshctl.core.model import (
    Adoption,
    LiveRouting,
    MeshSpec,
    Metadata,
    Ownership,
    Release,
    ReleaseSpec,
    Routing,
)
from meshctl.core.tenancy import Claims
from tests.cluster.addresses import ISTIOD_DEBUG_URL
from tests.cluster.cluster import EDGE, Cluster
from tests.cluster.shop import Shop, destination_rule
from tests.cluster.waiting import patience

ISTIO = "networking.istio.io/v1"
OLD, NEW = "v1", "v2"
RENDERER = TemplateRenderer()
CONFIRM_S = 10.0


def install_definitions(cluster: Cluster) -> None:
    """The CRDs, which stay: others may need them."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=crds.text())
    cluster.kubectl("wait", "--for=condition=Established", "crd/releases.meshctl.dev")


class MeshWorld:
    """The release ``shop`` of one ownership in the namespace of a `Shop`."""

    def __init__(self, shop: Shop, ownership: Ownership, plane: DataPlane | None = None) -> None:
        self.shop, self.api = shop, connect(str(shop.cluster.kubeconfig))
        self.release = Release(Metadata("shop", shop.namespace), ReleaseSpec(NEW, "shop", mesh=self._mesh(ownership)))
        shop.apply(
            {
                "apiVersion": "meshctl.dev/v1alpha1",
                "kind": "Release",
                "metadata": {"name": "shop"},
                "spec": {"version": NEW, "service": "shop"},
            }
        )
        self.istiods = [Istiod(ISTIOD_DEBUG_URL)]
        self.running: set[str] = set()
        self.plane = plane or ProxyAcknowledgements(lambda: self.istiods, is_running=self.running.__contains__)
        self.mesh = IstioMesh(self.api, self.plane, SystemClock(), claims=Claims(host_suffixes=("example",)))
        if ownership is Ownership.DELEGATE:
            shop.apply(front(shop))
        if ownership is Ownership.ADOPT:
            shop.apply(destination_rule(shop.host, [OLD, NEW]), manager="argocd-controller")
            shop.apply(storefront(shop), manager="argocd-controller")

    def close(self) -> None:
        for istiod in self.istiods:
            istiod.close()

    def _mesh(self, ownership: Ownership) -> MeshSpec:
        if ownership is Ownership.GENERATED:
            return MeshSpec(hosts=("shop", self.shop.edge_host), gateways=(EDGE,))
        adopt = Adoption("storefront", ("main", "slow")) if ownership is Ownership.ADOPT else None
        return MeshSpec(ownership, adopt=adopt)

    # -------------------------------------------------------------------------------- what meshctl does

    def render(self, routing: Routing) -> Sequence[Any]:
        return RENDERER.render(self.release, routing)

    def begin(self) -> str:
        """The version that serves, alone; then the other one at nothing.  The revision in effect."""
        self.arrive(self.mesh.apply(self.release, self.render(Routing(OLD, None, 0.0, "shop-0"))))
        return self.move(0.0)

    def apply(self, weight: float, *, old: str = OLD, new: str = NEW, run: str = "shop-1") -> str:
        back = self.render(Routing(old, new, 0.0, run, aborted=True)) if weight else ()
        return self.mesh.apply(self.release, self.render(Routing(old, new, weight, run)), fallback=back)

    def move(self, weight: float, **names: str) -> str:
        """`apply`, and wait until it is in effect."""
        return self.arrive(self.apply(weight, **names))

    def arrive(self, revision: str) -> str:
        assert self.mesh.confirm(self.release, revision, CONFIRM_S * patience()), self.live()
        return revision

    def lower(self, run: str = "shop-1") -> str:
        revision = self.mesh.lower(self.release, run)
        assert revision is not None
        return revision

    def live(self) -> LiveRouting:
        found = self.mesh.read(self.release)
        assert found is not None
        return found

    # -------------------------------------------------------------------------------- what is there

    @property
    def name(self) -> str:
        adopt = self.release.spec.mesh.adopt
        return adopt.virtual_service if adopt is not None else "shop"

    @property
    def service(self) -> dict[str, Any]:
        return self.shop.api.get(ISTIO, "VirtualService", self.name, self.shop.namespace)

    def edit_service(self, operations: Sequence[Mapping[str, Any]]) -> None:
        """Somebody else's JSON patch."""
        text = str([dict(each) for each in operations]).replace("'", '"')
        self.shop.cluster.kubectl(
            "patch", "virtualservice", self.name, "-n", self.shop.namespace, "--type=json", "-p", text
        )

    def in_envoys(self) -> tuple[dict[str, int], dict[str, int]]:
        """The shares that gateway and sidecar have now, in thousandths, without what is 0."""
        return _thousandths(self.shop.gateway_weights()), _thousandths(self.shop.sidecar_weights())


def _thousandths(weights: Mapping[str, int]) -> dict[str, int]:
    total = sum(weights.values())
    return {version: round(weight * 1000 / total) for version, weight in weights.items() if weight}


def front(shop: Shop) -> dict[str, Any]:
    """A root of the user's, which delegates everything to ``shop``."""
    http = [{"name": "front", "delegate": {"name": "shop", "namespace": shop.namespace}}]
    spec = {"hosts": [shop.edge_host, shop.host], "gateways": [EDGE, "mesh"], "http": http}
    return {"apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "front"}, "spec": spec}


def storefront(shop: Shop) -> dict[str, Any]:
    """A VirtualService of the user's, with three routes, two of which are to be adopted."""

    def split() -> list[dict[str, Any]]:
        return [
            {"destination": {"host": shop.host, "subset": OLD}, "weight": 100},
            {"destination": {"host": shop.host, "subset": NEW}, "weight": 0},
        ]

    http = [
        {"name": "main", "match": [{"uri": {"exact": "/"}}], "timeout": "3s", "route": split()},
        {"name": "slow", "match": [{"uri": {"prefix": "/slow"}}], "retries": {"attempts": 1}, "route": split()},
        {"name": "rest", "corsPolicy": {"maxAge": "60s"}, "route": split()[:1]},
    ]
    spec = {"hosts": [shop.edge_host, shop.host], "gateways": [EDGE, "mesh"], "http": http}
    return {"apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "storefront"}, "spec": spec}
