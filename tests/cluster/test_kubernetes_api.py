"""The real API server keeps what every `Api` promises, reached as a user reaches it: by a kubeconfig."""

from __future__ import annotations

import itertools
import os

import pytest

from meshctl.adapters.kubernetes import connect
from tests.adapters.api_contract import *  # noqa: F403 - the suite
from tests.adapters.api_contract import WIDGET, Place
from tests.cluster.waiting import eventually

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def widgets(cluster):
    cluster.api.apply(_definition())
    yield
    cluster.api.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{WIDGET.plural}.{WIDGET.group}")


@pytest.fixture
def place(cluster, widgets):
    namespace = f"api-{os.getpid()}-{next(_NUMBERS)}"
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for manifest in _stranger(namespace):
        cluster.api.apply(manifest, namespace)
    api = connect(str(cluster.kubeconfig))
    stranger = connect(str(cluster.kubeconfig_for(namespace, "stranger")))
    eventually(lambda: api.list(WIDGET).resource_version, 10, "widgets are served", despite=(Refused,))  # noqa: F405
    yield Place(api, namespace, stranger, f"system:serviceaccount:{namespace}:stranger", lambda: "1")
    cluster.api.delete("v1", "Namespace", namespace)


def _definition():
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


def _stranger(namespace):
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
