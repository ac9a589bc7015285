"""A release on Istio in memory: objects in an API server, pods behind its Service, an istiod and its proxies."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.istio.mesh import IstioMesh
from meshctl.adapters.istio.proxies import ProxyAcknowledgements
from meshctl.adapters.kubernetes.api import Patch
from meshctl.adapters.kubernetes.kinds import (
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    RELEASE,
    SERVICE,
    VIRTUAL_SERVICE,
)
from meshctl.adapters.templates import TemplateRenderer
from meshctl.core.model import (
    Adoption,
    CanaryStrategy,
    MeshSpec,
    Metadata,
    Ownership,
    Preview,
    Release,
    ReleaseSpec,
    Routing,
    Strategy,
)
from meshctl.core.names import subset_name
from tests.adapters.api_memory import MemoryApi
from tests.adapters.istiod_memory import MemoryIstiod

OLD, NEW = "2.0.0", "2.1.0"
RENDERER = TemplateRenderer()
PREVIEW = Strategy(CanaryStrategy(Preview("x-meshctl-preview")))
SPECS = {
    Ownership.GENERATED: ReleaseSpec(NEW, "shop", strategy=PREVIEW),
    Ownership.DELEGATE: ReleaseSpec(NEW, "shop", mesh=MeshSpec(Ownership.DELEGATE), strategy=PREVIEW),
    Ownership.ADOPT: ReleaseSpec(
        NEW, "shop", mesh=MeshSpec(Ownership.ADOPT, adopt=Adoption("storefront", ("main", "admin")))
    ),
}


class IstioWorld:
    """``mesh`` with ``api``, ``istiod`` and the proxies ``edge-0.istio-system`` and ``client-0.default``."""

    def __init__(self, ownership: Ownership = Ownership.GENERATED, **changes: Any) -> None:
        self.release = Release(Metadata("shop"), replace(SPECS[ownership], **changes))
        self.api = MemoryApi()
        self.user = self.api.seen_by("anna")
        self.user.create(SERVICE, {"metadata": {"name": "shop", "namespace": "default"}, "spec": {}})
        self.user.create(
            RELEASE, {"metadata": {"name": "shop", "namespace": "default"}, "spec": {"version": NEW, "service": "shop"}}
        )
        self.pods: dict[str, bool] = {}
        for version in (OLD, NEW):
            self.start_pods(version)
        self.istiod = MemoryIstiod(self.user)
        self.istiod.by_itself = True
        self.edge = self.istiod.connect("edge-0.istio-system")
        self.client = self.istiod.connect("client-0.default", "sidecar")
        self.istiods = [self.istiod]
        self.running: set[str] = set()
        self.plane = ProxyAcknowledgements(lambda: self.istiods, is_running=self.running.__contains__)
        self.mesh = IstioMesh(self.api, self.plane, SystemClock())
        if ownership is Ownership.DELEGATE:
            self.user.create(VIRTUAL_SERVICE, root())
        if ownership is Ownership.ADOPT:
            self.user.create(VIRTUAL_SERVICE, storefront())
            self.user.create(DESTINATION_RULE, subsets())

    # -------------------------------------------------------------------------------- what meshctl does

    def objects(self, weight: float, *, run: str = "shop-1", aborted: bool = False) -> Any:
        return RENDERER.render(self.release, Routing(OLD, NEW, weight, run, aborted=aborted))

    def alone(self, version: str, *, run: str = "shop-1") -> Any:
        return RENDERER.render(self.release, Routing(version, None, 0.0, run))

    def apply(self, weight: float, *, run: str = "shop-1", expected: str | None = None) -> str:
        fallback = self.objects(0.0, run=run, aborted=True) if weight else ()
        return self.mesh.apply(self.release, self.objects(weight, run=run), fallback=fallback, expected=expected)

    def begin(self) -> str:
        """The first release: the version that serves, alone."""
        return self.mesh.apply(self.release, self.alone(OLD, run="shop-0"))

    # -------------------------------------------------------------------------------- what is there

    @property
    def service(self) -> Any:
        adopt = self.release.spec.mesh.adopt
        return self.user.get(VIRTUAL_SERVICE, adopt.virtual_service if adopt else "shop", "default")

    @property
    def rule(self) -> Any:
        return self.user.get(DESTINATION_RULE, "storefront" if self.release.spec.mesh.adopt else "shop", "default")

    def weights(self, name: str = "main") -> dict[str, int]:
        """Of one route, by subset, as it stands in the VirtualService."""
        [route] = [each for each in self.service["spec"]["http"] if each.get("name") == name]
        return {each["destination"].get("subset", ""): each.get("weight") for each in route["route"]}

    def start_pods(self, version: str, ready: bool = True) -> None:
        """Two pods of a version behind the Service."""
        for number in range(2):
            name = f"shop-{subset_name(version)}-{number}"
            if name not in self.pods:
                labels = {"app": "shop", "version": version}
                self.user.create(POD, {"metadata": {"name": name, "namespace": "default", "labels": labels}})
            pod = self.user.get(POD, name, "default")
            pod["status"] = {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
            self.user.replace(POD, pod, subresource="status")
            self.pods[name] = ready
        endpoints = [
            {"addresses": ["10.244.0.1"], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name}}
            for name, ready in self.pods.items()
        ]
        meta = {"name": "shop-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "shop"}}
        slice_ = {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints}
        if self.user.find(ENDPOINT_SLICE, "shop-1", "default") is None:
            self.user.create(ENDPOINT_SLICE, slice_)
        else:
            self.user.replace(ENDPOINT_SLICE, slice_)

    # -------------------------------------------------------------------------------- other hands

    def change_service(self, change: Any) -> None:
        """Somebody else edits the VirtualService."""
        service = copy.deepcopy(self.service)
        change(service)
        self.user.replace(VIRTUAL_SERVICE, service)

    def meddle(self, weights: Mapping[str, float], routes: tuple[str, ...] = ()) -> None:
        """Somebody else moves weights, in percent by version."""

        def change(service: Any) -> None:
            for route in service["spec"]["http"]:
                if len(route.get("route", ())) > 1 and (not routes or route.get("name") in routes):
                    for each in route["route"]:
                        version = {subset_name(one): one for one in (OLD, NEW)}.get(each["destination"]["subset"])
                        if version in weights:
                            each["weight"] = round(weights[version] * 10)

        self.change_service(change)

    def remove_annotation(self, name: str) -> None:
        path = f"/metadata/annotations/{name.replace('/', '~1')}"
        meta = self.service["metadata"]
        body = [{"op": "remove", "path": path}]
        self.user.patch(VIRTUAL_SERVICE, meta["name"], "default", body, form=Patch.JSON)


def root(**changes: Any) -> dict[str, Any]:
    """A user's VirtualService that delegates one of its routes."""
    http = [
        {
            "name": "shop",
            "match": [{"uri": {"prefix": "/"}}],
            "delegate": {"name": "shop", "namespace": "default"},
            **changes,
        }
    ]
    spec = {"hosts": ["shop.example.com"], "gateways": ["istio-system/edge"], "http": http}
    return {"metadata": {"name": "front", "namespace": "default"}, "spec": spec}


def destination(version: str, weight: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"destination": {"host": "shop", "subset": subset_name(version)}}
    return found if weight is None else found | {"weight": weight}


def storefront() -> dict[str, Any]:
    """A user's VirtualService with more in it than meshctl would ever write."""
    labels = {"app.kubernetes.io/managed-by": "argocd"}
    http = [
        {"name": "legacy", "match": [{"uri": {"prefix": "/old"}}], "route": [{"destination": {"host": "attic"}}]},
        {
            "name": "admin",
            "match": [{"uri": {"prefix": "/admin"}}],
            "timeout": "60s",
            "route": [destination(OLD, 100), destination(NEW, 0)],
        },
        {
            "name": "main",
            "retries": {"attempts": 3, "perTryTimeout": "2s"},
            "fault": {"delay": {"percentage": {"value": 0.1}, "fixedDelay": "5s"}},
            "mirror": {"host": "shadow"},
            "route": [
                destination(OLD, 100) | {"headers": {"response": {"add": {"x-lane": "old"}}}},
                destination(NEW, 0),
            ],
        },
    ]
    spec = {"hosts": ["shop.example.com", "shop"], "gateways": ["istio-system/edge", "mesh"], "http": http}
    return {"metadata": {"name": "storefront", "namespace": "default", "labels": labels}, "spec": spec}


def subsets() -> dict[str, Any]:
    """A user's DestinationRule that declares both versions."""
    found = [{"name": subset_name(each), "labels": {"version": each}} for each in (OLD, NEW)]
    policy = {"connectionPool": {"tcp": {"maxConnections": 100}}}
    spec = {"host": "shop.default.svc.cluster.local", "trafficPolicy": policy, "subsets": found}
    return {"metadata": {"name": "storefront", "namespace": "default"}, "spec": spec}
