"""A kind of our own to try an API server with, a namespace for each test, and a user who may nothing there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from meshctl.adapters.kubernetes import connect
from meshctl.adapters.kubernetes.api import Patch
from meshctl.core.errors import Refused
from tests.adapters.api_contract import WIDGET, Place
from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.cluster.waiting import eventually

_NUMBERS = itertools.count(1)


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Place]:
    """The kind stays for the whole run: one that is made again while it is being deleted is not served for long."""
    cluster.api.apply(_definition())
    namespace = f"api-{os.getpid()}-{next(_NUMBERS)}"
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for manifest in _stranger(namespace):
        cluster.api.apply(manifest, namespace)
    api = connect(str(cluster.kubeconfig))
    stranger = connect(str(cluster.kubeconfig_for(namespace, "stranger")))
    eventually(lambda: api.list(WIDGET).resource_version, 10, "widgets are served", despite=(Refused,))
    yield Place(api, namespace, stranger, f"system:serviceaccount:{namespace}:stranger", lambda: "1")
    for held in api.list(WIDGET, namespace).items:
        api.patch(WIDGET, held["metadata"]["name"], namespace, {"metadata": {"finalizers": None}}, form=Patch.MERGE)
    cluster.api.delete("v1", "Namespace", namespace)


def _definition() -> Object:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = anything | {"properties": {"mode": {"type": "string"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": anything}}
    served = {"name": WIDGET.version, "served": True, "storage": True, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": WIDGET.resource},
        "spec": {
            "group": WIDGET.group,
            "scope": "Namespaced",
            "names": {"kind": WIDGET.name, "plural": WIDGET.plural, "singular": "widget", "listKind": "WidgetList"},
            "versions": [served | {"schema": {"openAPIV3Schema": schema}}],
        },
    }


def _stranger(namespace: str) -> list[Object]:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    subject = {"kind": "ServiceAccount", "name": "stranger", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "stranger"}
    group = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "stranger"}},
        {"apiVersion": group, "kind": "Role", "metadata": {"name": "stranger"}, "rules": rules},
        {
            "apiVersion": group,
            "kind": "RoleBinding",
            "metadata": {"name": "stranger"},
            "subjects": [subject],
            "roleRef": role,
        },
    ]
