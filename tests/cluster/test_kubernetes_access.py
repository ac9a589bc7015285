"""A pod's service account, and credentials that a real API server does not accept."""

from __future__ import annotations

import pytest

from meshctl.adapters.kubernetes import connect, in_cluster
from meshctl.adapters.kubernetes.kinds import CONFIG_MAP, SELF_SUBJECT_REVIEW
from meshctl.core.errors import Forbidden, Unreachable
from tests.cluster.addresses import API_SERVICE
from tests.cluster.credentials import Credentials


def test_a_pod_speaks_as_its_service_account_and_may_what_its_role_says(cluster, empty_shop, tmp_path, monkeypatch):
    ns = empty_shop.namespace
    cluster.api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "meshctl"}}, ns)
    (tmp_path / "token").write_text(cluster.api.token_for(ns, "meshctl"))
    (tmp_path / "ca.crt").write_bytes(cluster.plane.credentials.authority.read_bytes())
    (tmp_path / "namespace").write_text(ns)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", API_SERVICE)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    api = in_cluster(tmp_path)
    who = api.create(SELF_SUBJECT_REVIEW, {})["status"]["userInfo"]["username"]
    assert (api.user, api.namespace) == (who, ns) == (f"system:serviceaccount:{ns}:meshctl", ns)
    with pytest.raises(Forbidden) as forbidden:
        api.list(CONFIG_MAP, ns)
    assert str(forbidden.value).splitlines() == [
        f'listing configmaps in namespace {ns}: user "{who}" may not list configmaps',
        f'  missing in a Role in namespace "{ns}": {{apiGroups: [""], resources: ["configmaps"], verbs: ["list"]}}',
    ]


def test_a_token_of_another_cluster_is_not_accepted(cluster, tmp_path):
    path = cluster.plane.credentials.write_kubeconfig(tmp_path / "kubeconfig", "no-such-token")
    with pytest.raises(Forbidden, match=r"does not accept our credentials as user \(401\)"):
        connect(str(path)).list(CONFIG_MAP, "default")


def test_the_authority_of_another_cluster_is_not_trusted(cluster, tmp_path):
    (tmp_path / "other").mkdir()
    other = Credentials(tmp_path / "other")
    other.make()
    path = other.write_kubeconfig(tmp_path / "kubeconfig", "token")
    with pytest.raises(Unreachable, match="is not signed by the authority that the kubeconfig names"):
        connect(str(path)).list(CONFIG_MAP, "default")


def test_what_is_no_object_is_read_as_text(cluster):
    assert connect(str(cluster.kubeconfig)).get_text("/readyz") == "ok"
