"""The examples of docs/ownership.md, on Istio in memory."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.istio.mesh import IstioMesh
from meshctl.adapters.istio.proxies import ProxyAcknowledgements
from meshctl.adapters.kubernetes.kinds import (
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    NAMESPACE,
    POD,
    SERVICE,
    VIRTUAL_SERVICE,
)
from meshctl.adapters.templates import TemplateRenderer
from meshctl.adapters.wire import decode
from meshctl.core.model import Metadata, Ownership, Release, ReleaseSpec, Routing
from meshctl.core.tenancy import Claims
from meshctl.core.validation import validate_release
from tests.adapters.api_memory import MemoryApi
from tests.adapters.istiod_memory import MemoryIstiod

TEXT = (Path(__file__).parents[2] / "docs" / "ownership.md").read_text()
FENCES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
KINDS = {kind.name: kind for kind in (VIRTUAL_SERVICE, DESTINATION_RULE)}


def releases() -> dict[Ownership, Release]:
    found = {}
    for fence in FENCES:
        for document in yaml.safe_load_all(fence):
            if "version" in document.get("spec", {}):
                spec = decode(ReleaseSpec, document["spec"])
                found[spec.mesh.ownership] = Release(Metadata("shop", "market"), spec)
    return found


def users_objects():
    documents = [document for fence in FENCES for document in yaml.safe_load_all(fence)]
    return [document for document in documents if document.get("kind") in KINDS]


def test_every_ownership_has_an_example_that_is_valid():
    found = releases()
    assert set(found) == set(Ownership)
    for release in found.values():
        assert validate_release(release, claims=Claims()) == []


@pytest.mark.parametrize("ownership", list(Ownership))
def test_the_example_is_in_effect_as_it_stands(ownership):
    api = MemoryApi(namespace="market")
    api.create(NAMESPACE, {"metadata": {"name": "market"}})
    api.create(SERVICE, {"metadata": {"name": "shop", "namespace": "market"}, "spec": {}})
    for document in users_objects():
        api.create(KINDS[document["kind"]], document)
    if ownership is not Ownership.ADOPT:
        api.delete(DESTINATION_RULE, "shop", "market")
        api.delete(VIRTUAL_SERVICE, "storefront", "market")
    istiod = MemoryIstiod(api)
    istiod.by_itself = True
    istiod.connect("edge-0.istio-system")
    mesh = IstioMesh(api, ProxyAcknowledgements(lambda: [istiod]), SystemClock())
    release = releases()[ownership]
    release = replace(release, spec=replace(release.spec, version="2.0.0"))
    served = Routing("2.0.0", None, 0.0, "shop-0")
    if ownership is not Ownership.ADOPT:
        serving(api)
    revision = mesh.apply(release, TemplateRenderer().render(release, served))
    assert mesh.confirm(release, revision, 5.0)
    assert mesh.read(release).weights["2.0.0"] == 100.0


def serving(api) -> None:
    """One ready pod of the version that serves."""
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    labels = {"app": "shop", "version": "2.0.0"}
    api.create(POD, {"metadata": {"name": "shop-0", "namespace": "market", "labels": labels}})
    pod = api.get(POD, "shop-0", "market")
    api.replace(POD, {**pod, "status": ready}, subresource="status")
    meta = {"name": "shop-1", "namespace": "market", "labels": {"kubernetes.io/service-name": "shop"}}
    endpoint = {
        "addresses": ["10.244.0.1"],
        "conditions": {"ready": True},
        "targetRef": {"kind": "Pod", "name": "shop-0"},
    }
    api.create(ENDPOINT_SLICE, {"metadata": meta, "addressType": "IPv4", "endpoints": [endpoint]})
