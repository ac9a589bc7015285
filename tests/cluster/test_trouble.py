"""What a person gets wrong about a real API server: one message, the documented exit code, nothing changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.cluster import build
from tests.cluster.installed import Person, administrator, manifests


@pytest.fixture(scope="module")
def definitions(cluster):
    cluster.kubectl("apply", "--server-side", "-f", "-", given=manifests("--crds=only"))
    cluster.kubectl("wait", "--for=condition=Established", "crd/releases.meshctl.dev", "crd/releaseruns.meshctl.dev")


@pytest.fixture
def changed(cluster, empty_shop):
    """A person whose kubeconfig is not quite right."""

    def make(**changes):
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        config["clusters"][0]["cluster"] |= changes.get("cluster", {})
        config["users"][0]["user"] |= changes.get("user", {})
        path = cluster.network.folder / f"{empty_shop.namespace}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return Person(empty_shop, path)

    return make


def refused(person, code, *words):
    done = person.run(*words)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("meshctl: ") == 1
    return done.stderr


WORDS = (["get"], ["promote", "shop"], ["abort", "shop"])


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_who_may_not_is_told_which_rule_is_missing(definitions, empty_shop, words):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    empty_shop.apply(account)
    person = Person(empty_shop, empty_shop.cluster.kubeconfig_for(empty_shop.namespace, "nobody"))
    said = refused(person, 15, *words)
    assert f"system:serviceaccount:{empty_shop.namespace}:nobody" in said
    assert 'apiGroups: ["meshctl.dev"], resources: ["releases"]' in said


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_token_that_is_none_any_more_is_named_as_such(definitions, changed, words):
    said = refused(changed(user={"token": "expired"}), 15, *words)
    assert "does not accept our credentials" in said
    assert "log in again" in said


def test_an_address_where_nobody_listens_is_told_within_the_patience_of_a_person(definitions, changed):
    said = refused(changed(cluster={"server": "https://10.96.0.99:6443"}), 14, "get")
    assert "10.96.0.99:6443" in said


def test_a_certificate_of_somebody_else_is_told(definitions, changed, cluster):
    person = changed(cluster={"server": "https://127.0.0.1:15014"})
    assert "127.0.0.1:15014" in refused(person, 14, "get")


def test_a_context_that_is_not_there_is_named_with_those_that_are(definitions, empty_shop):
    said = refused(administrator(empty_shop), 2, "get", "--context", "prod")
    assert 'there is no context "prod"' in said
    assert "known: " in said


def test_a_schema_refusal_is_told_by_field_before_anything_is_stored(definitions, empty_shop, tmp_path):
    file = tmp_path / "release.yaml"
    stages = ", ".join(f"{{weight: {weight}}}" for weight in range(1, 60))
    head = "apiVersion: meshctl.dev/v1alpha1\nkind: Release\nmetadata: {name: shop}\nspec:\n  version: v1\n"
    file.write_text(f"{head}  service: shop\n  strategy: {{canary: {{stages: [{stages}]}}}}\n")
    said = refused(administrator(empty_shop), 2, "apply", "-f", str(file))
    assert "spec.strategy.canary.stages" in said
    assert empty_shop.api.list("meshctl.dev/v1alpha1", "Release", empty_shop.namespace) == []


def test_what_the_built_in_templates_render_istio_itself_finds_valid(tmp_path, cluster, definitions):
    file = tmp_path / "release.yaml"
    head = "apiVersion: meshctl.dev/v1alpha1\nkind: Release\nmetadata: {name: shop}\nspec:\n  version: v1\n"
    mesh = "  mesh: {hosts: [shop], timeout: 2s, retries: {attempts: 2, perTryTimeout: 1s}}\n"
    canary = "  strategy: {canary: {preview: {header: x-preview}}}\n"
    file.write_text(f"{head}  service: shop\n{mesh}{canary}")
    environment = os.environ | {"PATH": f"{build.cache()}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "meshctl", "lint", "-f", str(file), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert json.loads(done.stdout)["errors"] == 0, done.stdout
