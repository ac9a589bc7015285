"""The examples with pods, as they stand: applied by kubectl, released by the real tick on real pods."""

from __future__ import annotations

import copy
import shutil
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from meshctl.adapters.manifests import load_text
from meshctl.adapters.yaml12 import read_documents, write_documents
from meshctl.core.model import Phase, Verdict
from meshctl.core.versions import as_deployed
from tests.app.tick_world import judged
from tests.cluster.test_replicas import Made, Releasing, Replicas

EXAMPLES = Path(__file__).parents[2] / "examples"


def apply(shop, text):
    """What ``kubectl apply`` does, and the Release for whoever ticks."""
    documents = [each.data for each in read_documents(text)]
    others = [each for each in documents if each["kind"] != "Release"]
    shop.cluster.kubectl("-n", shop.namespace, "apply", "-f", "-", given=write_documents(others))
    (wish,) = [each for each in documents if each["kind"] == "Release"]
    (release,) = load_text(write_documents([wish]), embedded=False)
    return as_deployed(replace(release, metadata=replace(release.metadata, namespace=shop.namespace)))


def greeting_of(shop, version):
    """What a pod of a version answers."""
    pod = next(pod for pod in shop.pods(version) if not pod["metadata"].get("deletionTimestamp"))
    with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8000/", timeout=5) as answer:
        return answer.read().decode().strip()


def serve(releasing, release):
    releasing.wish(release)
    version = release.spec.version
    releasing.judge.word = judged(Verdict.PASS)
    releasing.until(lambda: releasing.state.baseline == version and releasing.share(version) == 100.0, "it serves")
    releasing.judge.word = judged(Verdict.UNDECIDED)


@pytest.mark.parametrize("version", ["2.1.0", "2.2.0"])
def test_deployments_of_ones_own_are_released_and_never_touched(empty_shop, version):
    folder = EXAMPLES / "kubernetes-own-deployments"
    releasing = Releasing(Replicas(empty_shop))
    first = "---\n".join((folder / name).read_text() for name in ("service.yaml", "deployment.yaml", "release.yaml"))
    serve(releasing, apply(empty_shop, first))
    assert greeting_of(empty_shop, "2.0.0") == "welcome, from 2.0.0"
    serve(releasing, apply(empty_shop, (folder / "next" / f"{version}.yaml").read_text()))
    releasing.world.clock.advance(3600.0)
    releasing.tick()
    managers = {
        entry["manager"] for each in releasing.made.deployments() for entry in each["metadata"]["managedFields"]
    }
    assert managers == {"kubectl-client-side-apply", "kube-controller-manager"}
    assert [each["spec"]["replicas"] for each in releasing.made.deployments()] == [2, 2]


def test_a_changed_setting_alone_is_a_release_of_its_own(empty_shop, tmp_path):
    folder = tmp_path / "template"
    shutil.copytree(EXAMPLES / "kubernetes-template", folder)
    releasing = Releasing(Made(empty_shop))

    def render():
        return apply(empty_shop, empty_shop.cluster.kubectl("kustomize", str(folder)))

    first = render()
    serve(releasing, first)
    assert greeting_of(empty_shop, first.spec.version) == f"welcome to the shop, from {first.spec.version}"
    settings = folder / "settings.env"
    settings.write_text(settings.read_text().replace("welcome to the shop", "welcome back"))
    second = render()
    assert second.spec.version.partition("-")[0] == first.spec.version.partition("-")[0] == "1.0.0"
    assert second.spec.version != first.spec.version
    serve(releasing, second)
    assert greeting_of(empty_shop, second.spec.version) == f"welcome back, from {second.spec.version}"
    assert greeting_of(empty_shop, first.spec.version).startswith("welcome to the shop"), "the old one is as it was"


def test_a_setting_that_was_never_applied_gets_no_traffic_and_says_its_name(empty_shop):
    releasing = Releasing(Made(empty_shop))
    text = empty_shop.cluster.kubectl("kustomize", str(EXAMPLES / "kubernetes-template"))
    first = apply(empty_shop, text)
    serve(releasing, first)
    template = copy.deepcopy(first.spec.workload.template)
    template["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"] = "shop-settings-nowhere"
    workload = replace(first.spec.workload, template=template)
    broken = as_deployed(replace(first, spec=replace(first.spec, version="1.1.0", workload=workload)))
    releasing.wish(broken)
    releasing.until(lambda: "shop-settings-nowhere" in releasing.state.run.waits_for, "the ConfigMap is named")
    assert releasing.state.run.phase is Phase.PENDING
    assert releasing.share(broken.spec.version) == 0.0
