"""What is installed may do what is done and nothing else, and runs as little as it can."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from meshctl.adapters.installation import Crds, Installation, Mode, manifests
from meshctl.adapters.kubernetes.cached import PARTS
from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE, RELEASE, VIRTUAL_SERVICE, Kind
from meshctl.adapters.kubernetes.lease import LeaseLock
from meshctl.adapters.kubernetes.watching import Cache
from meshctl.app.tick import tick
from meshctl.core.catalog import RUNS_KEPT
from meshctl.core.errors import InvalidInput
from meshctl.core.model import (
    CanaryStrategy,
    Metadata,
    Ownership,
    PodWorkload,
    Release,
    ReleaseSpec,
    Request,
    Stage,
    Strategy,
    Verb,
)
from meshctl.core.versions import as_deployed
from meshctl.wiring_operator import proxy_runs
from tests.adapters.api_memory import MemoryApi
from tests.adapters.cluster_stage import ClusterStage
from tests.adapters.istio_world import IstioWorld
from tests.adapters.pods_world import NOT_READY, template

ROOT = Path(__file__).parents[2]
BASES = ROOT / "templates" / "kustomize"
SETTINGS = {
    "MESHCTL_PROMETHEUS_URL": "http://prometheus.istio-system:9090",
    "MESHCTL_ISTIOD_URL": "http://istiod.istio-system:15014",
}
PLAIN = Installation(settings=SETTINGS)
EVERY = [
    replace(PLAIN, mode=mode, namespaced=namespaced, namespace="shop" if namespaced else "meshctl-system")
    for mode in Mode
    for namespaced in (False, True)
]
NAMED = pytest.mark.parametrize("installation", EVERY, ids=lambda each: f"{each.mode}-{each.namespace}")


def documents(installation):
    return [each for each in yaml.safe_load_all(manifests(replace(installation, crds=Crds.WITHOUT))) if each]


def of_kind(installation, *kinds):
    return [each for each in documents(installation) if each["kind"] in kinds]


def rights(installation, name) -> set[tuple[str, str, str]]:
    """(verb, group, resource) that the role of this name gives."""
    found = [each for each in of_kind(installation, "Role", "ClusterRole") if each["metadata"]["name"] == name]
    return {
        (verb, group, resource)
        for role in found
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def given(installation):
    """What the service account may do."""
    bound = {each["roleRef"]["name"] for each in of_kind(installation, "RoleBinding", "ClusterRoleBinding")}
    return {right for name in bound for right in rights(installation, name)}


# ------------------------------------------------------------------------------------ what is done


class Shop:
    """A release whose pods meshctl makes, driven through everything that a release can go through."""

    def __init__(self, *, watches: bool) -> None:
        self.stage = ClusterStage("0.0.1")
        self._watch((RELEASE, VIRTUAL_SERVICE, DESTINATION_RULE, *PARTS) if watches else (RELEASE,))
        self.number = 0

    def _watch(self, kinds: Sequence[Kind]) -> None:
        for kind in kinds:
            cache = Cache(self.stage.api, kind)
            cache.start()
            assert cache.wait_until_synced(10)
            cache.stop()

    def release(self, version: str) -> None:
        stages = (Stage(10.0, min_duration=timedelta(seconds=1)), Stage(100.0, min_duration=timedelta(seconds=1)))
        spec = ReleaseSpec(
            version,
            "shop",
            strategy=Strategy(CanaryStrategy(stages=stages)),
            workload=PodWorkload(template(f"shop:{version}"), 2),
            keep_warm=timedelta(0),
        )
        self.stage.wish(Release(Metadata("shop"), spec))
        deployed = as_deployed(Release(Metadata("shop"), spec)).spec.version
        self.stage.pods.status[deployed] = NOT_READY
        self.stage.ticks(3)
        del self.stage.pods.status[deployed]
        self.stage.until(phase="Promoted", baseline=deployed)
        self.stage.ticks(2)

    def ask(self, verb: Verb) -> None:
        self.number += 1
        request = Request(f"r{self.number}", verb, self.stage.clock.now(), "anna", "because")
        self.stage.ports.store.request("shop", request)
        self.stage.ticks(2)


def everything(*, watches: bool) -> set[tuple[str, str, str]]:
    shop = Shop(watches=watches)
    for number in range(RUNS_KEPT + 3):
        shop.release(f"1.{number}.0")
    shop.ask(Verb.PAUSE)
    api, clock = shop.stage.api, shop.stage.clock
    if watches:
        lock = LeaseLock(api, "meshctl", "default", "one", clock=clock, monotonic=lambda: 0.0)
        for _ in range(2):
            assert lock.attempt()
    tick(shop.stage.ports, "shop")
    assert not proxy_runs(api, "edge-0.istio-system")
    return {*done(api), *(each for ownership in Ownership for each in moved(ownership))}


def moved(ownership: Ownership) -> Iterator[tuple[str, str, str]]:
    """Routes that are moved up and lowered again, in each ownership."""
    world = IstioWorld(ownership)
    world.begin()
    world.apply(10.0)
    world.mesh.read(world.release)
    world.mesh.lower(world.release, "shop-1")
    yield from done(world.api)


def done(api: MemoryApi) -> Iterator[tuple[str, str, str]]:
    """Every call as RBAC names it."""
    for call in api.calls:
        if call.kind is not None:
            resource = f"{call.kind.plural}/{call.subresource}" if call.subresource else call.kind.plural
            yield call.verb, call.kind.group, resource


@pytest.fixture(scope="module")
def used():
    """By mode: what the adapters ask of the API server over the life of a release."""
    return {Mode.CRONJOB: everything(watches=False), Mode.CONTROLLER: everything(watches=True)}


@NAMED
def test_the_account_may_do_exactly_what_is_done(installation, used):
    assert given(installation) == used[installation.mode]


# ------------------------------------------------------------------------------------ what is printed


@NAMED
def test_nothing_is_given_by_wildcard_and_nobody_may_read_secrets_or_change_rights(installation):
    for verb, group, resource in given(installation):
        assert "*" not in (verb, group, resource)
        assert resource not in ("secrets", "configmaps", "pods/exec", "pods/proxy", "serviceaccounts/token")
        assert group != "rbac.authorization.k8s.io"


@NAMED
def test_people_never_write_what_only_meshctl_writes(installation):
    for name in ("meshctl-view", "meshctl-edit", "meshctl-abort"):
        for verb, _, resource in rights(installation, name):
            assert resource != "releases/status"
            assert resource != "releaseruns" or verb in ("get", "list", "watch")


def test_an_installation_for_one_namespace_holds_nothing_beyond_it():
    for installation in (each for each in EVERY if each.namespaced):
        for document in documents(installation):
            assert document["metadata"]["namespace"] == "shop", document["kind"]
            assert document["kind"] not in ("ClusterRole", "ClusterRoleBinding", "Namespace")
        (pod,) = pods(installation)
        assert "-A" not in pod["containers"][0]["args"]


def pods(installation):
    for each in of_kind(installation, "Deployment", "CronJob"):
        spec = each["spec"] if each["kind"] == "Deployment" else each["spec"]["jobTemplate"]["spec"]
        yield spec["template"]["spec"]


@NAMED
def test_its_pods_pass_the_restricted_standard_and_write_nowhere(installation):
    (pod,) = pods(installation)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["enableServiceLinks"] is False
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert context == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"] == "512Mi"
    assert {next(iter(set(each) - {"name"})) for each in pod.get("volumes", ())} <= {"projected"}


def test_a_cron_job_never_overlaps_with_itself_and_ends_what_hangs():
    for installation in (each for each in EVERY if each.mode is Mode.CRONJOB):
        (job,) = of_kind(installation, "CronJob")
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        assert job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 120
        (pod,) = pods(installation)
        assert pod["restartPolicy"] == "Never"
        assert pod["containers"][0]["args"][0] == "tick"


def test_one_of_two_controllers_survives_a_drained_node_and_a_single_one_holds_no_node_up():
    assert of_kind(PLAIN, "PodDisruptionBudget")[0]["spec"]["minAvailable"] == 1
    assert of_kind(replace(PLAIN, replicas=1), "PodDisruptionBudget") == []


def test_only_ports_that_the_settings_need_are_open():
    def open_ports(**settings):
        (policy,) = of_kind(replace(PLAIN, settings=SETTINGS | settings), "NetworkPolicy")
        return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}

    assert open_ports() == {53, 443, 6443, 9090, 15014}
    assert open_ports(MESHCTL_PROMETHEUS_URL="https://thanos.example.com") == {53, 443, 6443, 15014}
    assert open_ports(MESHCTL_HOOK_HOSTS="a.example.com:8443,b.example.com") == {53, 80, 443, 6443, 8443, 9090, 15014}
    with pytest.raises(InvalidInput, match="MESHCTL_PROMETHEUS_URL: 'prometheus' is no address"):
        open_ports(MESHCTL_PROMETHEUS_URL="prometheus")


def test_whatever_a_setting_holds_stays_one_value():
    evil = 'x", "y: {z}\n- name: EVIL # \'{{ 7 * 7 }}'
    installation = Installation(
        image=evil, namespace="shop", namespaced=True, settings={"MESHCTL_PROMETHEUS_HEADERS": evil}
    )
    (pod,) = pods(installation)
    assert pod["containers"][0]["image"] == evil
    assert {"name": "MESHCTL_PROMETHEUS_HEADERS", "value": evil} in pod["containers"][0]["env"]


def test_the_definitions_are_printed_alone_or_left_out():
    only = [each["kind"] for each in yaml.safe_load_all(manifests(replace(PLAIN, crds=Crds.ONLY)))]
    assert only == ["CustomResourceDefinition"] * 2
    kinds = [each["kind"] for each in yaml.safe_load_all(manifests(PLAIN))]
    assert kinds[:3] == ["CustomResourceDefinition", "CustomResourceDefinition", "Namespace"]


# ------------------------------------------------------------------------------------ the command and the bases


def printed(*words):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MESHCTL_")}
    return subprocess.run(
        [sys.executable, "-m", "meshctl", "install", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        cwd="/",
    )


def test_a_namespace_must_be_named_where_only_one_is_meant():
    done = printed("--namespaced")
    assert (done.returncode, done.stdout) == (2, "")
    assert "for which namespace?" in done.stderr


@pytest.mark.parametrize("mode", ["controller", "cronjob"])
def test_the_kustomize_base_is_what_install_prints(mode):
    text = printed("--mode", mode, "--crds", "without").stdout
    kustomization = (
        f"# Generated by: meshctl install --mode {mode} --crds without\n"
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../../install, install.yaml]\n"
    )
    for name, wanted in {"install.yaml": text, "kustomization.yaml": kustomization}.items():
        file = BASES / mode / name
        if os.environ.get("MESHCTL_REWRITE"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted, encoding="utf-8")
        assert file.read_text(encoding="utf-8") == wanted, "run this test with MESHCTL_REWRITE=1 and look at the diff"
