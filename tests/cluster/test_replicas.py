"""Replicas on the real control plane: the user's own Deployments, those that meshctl makes, and pods that die."""

from __future__ import annotations

import copy
import queue
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from meshctl.adapters.kubernetes import connect
from meshctl.adapters.kubernetes.cached import PARTS
from meshctl.adapters.kubernetes.kinds import ENDPOINT_SLICE
from meshctl.adapters.kubernetes.lookout import Lookout
from meshctl.adapters.kubernetes.rendering import DeploymentRenderer
from meshctl.adapters.kubernetes.watching import Cache
from meshctl.adapters.kubernetes.workloads import KubernetesWorkloads
from meshctl.adapters.memory import FakeWorld
from meshctl.app.tick import Ports, tick
from meshctl.core.errors import Forbidden, InvalidInput, WorkloadError
from meshctl.core.model import (
    CanaryStrategy,
    Metadata,
    Phase,
    PodWorkload,
    Reason,
    Release,
    ReleaseSpec,
    Stage,
    Strategy,
    Verdict,
)
from meshctl.core.versions import as_deployed, template_digest
from tests.adapters.workloads_contract import WorkloadsContract
from tests.app.tick_world import ScriptedJudge, judged
from tests.cluster.shop import deployment
from tests.cluster.waiting import eventually, patience

RENDERER = DeploymentRenderer()
SOON_S = 30.0
WITHIN_S = 2.0
"""So long may a candidate without a ready pod keep weight (rule 6)."""

RULES = [
    ("", "services", ["get"]),
    ("", "pods", ["list"]),
    ("discovery.k8s.io", "endpointslices", ["list"]),
    ("autoscaling", "horizontalpodautoscalers", ["list"]),
    ("events.k8s.io", "events", ["list"]),
    ("apps", "deployments", ["list", "create", "patch", "delete"]),
]
"""Everything that may be allowed for replicas, so that it is seen here if it is not enough (docs/workloads.md)."""


def pods(version, **changes):
    """A pod template for the Service ``shop``; what its container answers is ``version``."""
    template = copy.deepcopy(deployment(version, 1, {"LATENCY_MS": "5"})["spec"]["template"])
    del template["metadata"]["labels"]["version"]
    template["spec"]["containers"][0] |= changes
    return template


class Replicas:
    """Namespace and Service of a test, and meshctl's replicas in it."""

    ends_replicas = False
    old, new = "2.0.0", "2.1.0"

    def __init__(self, shop, api=None, **options):
        self.shop = shop
        self.api = api or connect(str(shop.cluster.kubeconfig))
        self.workloads = KubernetesWorkloads(self.api, RENDERER, **{"look_valid_s": 0.0, **options})

    def release(self, version):
        return Release(Metadata("shop", self.shop.namespace), ReleaseSpec(version, "shop"))

    def begin(self, version):
        self.shop.deploy(version, 2, wait=False)

    def until(self, version, ready):
        found = None

        def look():
            nonlocal found
            found = self.workloads.ready(self.release(version), version)
            return found is not None and found.ready == ready

        eventually(look, SOON_S, f"{ready} replicas of {version} are ready", detail=lambda: str(found))
        return found

    def kill(self, version):
        self.shop.delete_pods(version)

    def cut(self):
        self.shop.cluster.api_server.kill()

    def deployments(self):
        return self.shop.api.list("apps/v1", "Deployment", self.shop.namespace)

    def deployment(self, version):
        (found,) = [each for each in self.deployments() if each["metadata"]["labels"].get("version") == version]
        return found


class Made(Replicas):
    """The same with pods that meshctl makes."""

    ends_replicas = True

    def __init__(self, shop, **options):
        super().__init__(shop, **options)
        self._wishes = {name: self.wish(name) for name in ("2.0.0", "2.1.0")}
        self.old, self.new = (wish.spec.version for wish in self._wishes.values())

    def wish(self, name, template=None, replicas=2, **spec):
        workload = PodWorkload(template or pods(name), replicas)
        spec = ReleaseSpec(name, "shop", workload=workload, **spec)
        return as_deployed(Release(Metadata("shop", self.shop.namespace), spec))

    def release(self, version):
        known = {wish.spec.version: wish for wish in self._wishes.values()}
        return known.get(version) or self._wishes["2.1.0"]

    def begin(self, version):
        """Nothing: the pods are part of the wish."""


@pytest.fixture
def made(empty_shop):
    return Made(empty_shop)


class TestOwnDeployments(WorkloadsContract):
    @pytest.fixture
    def world(self, empty_shop):
        return Replicas(empty_shop)


class TestMadeDeployments(WorkloadsContract):
    @pytest.fixture
    def world(self, empty_shop):
        return Made(empty_shop)


# ------------------------------------------------------------------------------------ a candidate that never gets ready


TROUBLE = {
    "a program that dies": (
        {"command": ["/bin/sh", "-c", "exit 3"], "readinessProbe": None},
        "container shop CrashLoopBackOff after",
        "exit code 3",
    ),
    "an image that nobody has": (
        {"command": None, "image": "nowhere/shop:9"},
        "container shop ImagePullBackOff",
        "nowhere/shop:9",
    ),
    "a ConfigMap that is not there": (
        {"envFrom": [{"configMapRef": {"name": "settings-5h2k"}}]},
        "container shop ",
        "settings-5h2k",
    ),
    "a probe that never passes": (
        {"readinessProbe": {"httpGet": {"path": "/nowhere", "port": "http"}}},
        "runs and is not ready",
        "",
    ),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_a_candidate_that_never_gets_ready_says_why(made, name):
    changes, *words = TROUBLE[name]
    release = made.wish("2.1.0", pods("2.1.0", **changes))
    made.workloads.ensure(release, release.spec.version, run=1)
    found = None

    def look():
        nonlocal found
        found = made.workloads.ready(release, release.spec.version)
        return all(word in found.message for word in words) and (found.ready, found.wished) == (0, 2)

    eventually(look, SOON_S, f"none is ready, and the message says {words}", detail=lambda: f"{found}")


def test_a_quota_says_so_itself(made):
    made.shop.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}}
    )

    def in_force():
        status = made.shop.api.get("v1", "ResourceQuota", "small", made.shop.namespace).get("status", {})
        return status.get("hard")

    eventually(in_force, SOON_S, "the quota is in force")
    release = made.release(made.new)
    made.workloads.ensure(release, made.new, run=1)
    eventually(
        lambda: "exceeded quota: small" in made.workloads.ready(release, made.new).message,
        SOON_S,
        "the message names the quota",
        detail=lambda: str(made.workloads.ready(release, made.new)),
    )


def test_a_template_that_the_api_server_refuses_is_told_with_its_field(made):
    template = pods("2.1.0")
    template["spec"]["containers"][0]["ports"] = [{"containerPort": 99999}]
    release = made.wish("2.1.0", template)
    with pytest.raises(InvalidInput, match=r"ports\[0\]\.containerPort"):
        made.workloads.ensure(release, release.spec.version, run=1)
    assert "containerPort" in made.workloads.ready(release, release.spec.version).message


# ------------------------------------------------------------------------------------ who scales


def test_what_a_person_scales_stays_and_a_changed_wish_counts(made):
    release = made.release(made.old)
    made.workloads.ensure(release, made.old, run=1)
    made.until(made.old, 2)
    name = made.deployment(made.old)["metadata"]["name"]
    made.shop.cluster.kubectl("-n", made.shop.namespace, "scale", "deployment", name, "--replicas=4")
    made.workloads.ensure(release, made.old, run=1)
    assert made.until(made.old, 4).complete
    wish = made.wish("2.0.0", replicas=3)
    made.workloads.ensure(wish, made.old, run=1)
    assert made.until(made.old, 3).complete
    revision = made.deployment(made.old)["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    assert revision == "1", "its pods were never rolled"


def test_an_autoscaler_is_respected_above_0_and_sleeps_at_0(made):
    """Its controller needs no metrics to go up to its minimum, and leaves a Deployment at 0 alone."""
    release = made.release(made.old)
    made.workloads.ensure(release, made.old, run=1)
    made.until(made.old, 2)
    name = made.deployment(made.old)["metadata"]["name"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    metrics = [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]
    spec = {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 5, "metrics": metrics}
    head = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "shop"}}
    made.shop.apply({**head, "spec": spec})
    made.workloads.ensure(release, made.old, run=1)
    assert not made.workloads.ready(release, made.old).complete, "its minimum is what is wished"
    assert made.until(made.old, 3).complete
    made.workloads.ensure(release, made.old, run=1)
    assert made.deployment(made.old)["spec"]["replicas"] == 3
    candidate = made.release(made.new)
    made.workloads.ensure(candidate, made.new, run=1)
    assert made.until(made.new, 3).complete, "as large as what serves beside it"
    made.workloads.retire(candidate, [made.new], run=1)

    def sleeps():
        found = made.shop.api.get("autoscaling/v2", "HorizontalPodAutoscaler", "shop", made.shop.namespace)
        reasons = {each["reason"] for each in found.get("status", {}).get("conditions", [])}
        return "ScalingDisabled" in reasons

    eventually(sleeps, 40, "the autoscaler sleeps")
    assert made.deployment(made.old)["spec"]["replicas"] == 0


def test_retiring_lets_requests_in_flight_end_and_rolls_nothing_else(made):
    made.workloads.ensure(made.release(made.old), made.old, run=1)
    made.until(made.old, 2)
    before = {pod["metadata"]["uid"] for pod in made.shop.pods(made.old)}
    candidate = made.release(made.new)
    made.workloads.ensure(candidate, made.new, run=1)
    made.until(made.new, 2)
    made.workloads.retire(candidate, [made.old, made.new], run=1)
    assert {pod["metadata"]["uid"] for pod in made.shop.pods(made.old)} == before
    made.workloads.retire(candidate, [made.new], run=1)
    made.until(made.old, 0)
    assert {each["metadata"]["name"] for each in made.deployments()} == {
        made.deployment(version)["metadata"]["name"] for version in (made.old, made.new)
    }


# ------------------------------------------------------------------------------------ permissions


def account(shop, rules):
    """A service account that may do just this, and its kubeconfig."""
    group = "rbac.authorization.k8s.io"
    shop.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "worker"}})
    listed = [{"apiGroups": [api], "resources": [name], "verbs": verbs} for api, name, verbs in rules]
    shop.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": "worker"}, "rules": listed})
    subject = {"kind": "ServiceAccount", "name": "worker", "namespace": shop.namespace}
    role = {"apiGroup": group, "kind": "Role", "name": "worker"}
    head = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": {"name": "worker"}}
    shop.apply({**head, "subjects": [subject], "roleRef": role})
    return connect(str(shop.cluster.kubeconfig_for(shop.namespace, "worker")))


def test_the_least_rights_are_enough_for_everything(empty_shop):
    made = Made(empty_shop, api=account(empty_shop, RULES))
    in_force = (Forbidden,)
    eventually(
        lambda: made.workloads.ready(made.release(made.old), made.old), 10, "the role is in force", despite=in_force
    )
    for version in (made.old, made.new):
        made.workloads.ensure(made.release(version), version, run=1)
        made.until(version, 2)
    made.workloads.retire(made.release(made.new), [made.new], run=1)
    made.until(made.old, 0)
    made.shop.apply(deployment("9", 0, {}) | {"metadata": {"name": f"shop-v9-{template_digest(pods('9'))}"}})
    with pytest.raises(WorkloadError, match="was not made by meshctl"):
        made.workloads.ensure(made.wish("9"), made.wish("9").spec.version, run=1)


def test_a_missing_right_is_named_with_the_rule_that_is_missing(empty_shop):
    rules = [rule for rule in RULES if rule[1] != "pods"]
    made = Made(empty_shop, api=account(empty_shop, rules))

    def refused():
        with pytest.raises(Forbidden) as caught:
            made.workloads.ready(made.release(made.new), made.new)
        return 'resources: ["pods"], verbs: ["list"]' in str(caught.value)

    eventually(refused, 10, "listing pods alone is refused")


# ------------------------------------------------------------------------------------ a whole run, with real pods


class Releasing:
    """The real tick and core on real pods; routes, judge and records are in memory."""

    def __init__(self, made, **options):
        self.world, self.judge = FakeWorld.of({}), ScriptedJudge()
        self.made = made
        self.workloads = KubernetesWorkloads(made.api, RENDERER, **options)
        self.ports = Ports(
            store=self.world.store,
            mesh=self.world.mesh,
            workloads=self.workloads,
            metrics=self.world.metrics,
            judge=self.judge,
            renderer=self.world.renderer,
            clock=self.world.clock,
        )
        self.weights = []

    def wish(self, release):
        stages = tuple(Stage(weight, min_duration=timedelta(seconds=1)) for weight in (10.0, 50.0, 100.0))
        strategy = Strategy(CanaryStrategy(stages=stages))
        spec = replace(release.spec, strategy=strategy, keep_warm=timedelta(seconds=5))
        self.world.store.put_release(replace(release, spec=spec))

    @property
    def state(self):
        return self.world.store.load("shop").state

    def share(self, version):
        live = self.world.mesh.read(self.world.store.release("shop"))
        return live.weights.get(version, 0.0) if live is not None else 0.0

    def tick(self):
        self.world.clock.advance(1.0)
        return tick(self.ports, "shop")

    def until(self, condition, what):
        def look():
            self.tick()
            return condition()

        eventually(look, 60, what, detail=lambda: f"{self.state.run}")


def test_capacity_is_there_before_every_weight_and_the_old_version_ends_after_keep_warm(made):
    releasing = Releasing(made)
    releasing.judge.word = judged(Verdict.PASS)
    releasing.wish(made.release(made.old))
    releasing.until(lambda: releasing.state.baseline == made.old and releasing.share(made.old) == 100.0, "2.0.0 serves")
    releasing.wish(made.release(made.new))
    seen = []

    def note():
        weight = releasing.share(made.new)
        ready = made.workloads.ready(made.release(made.new), made.new)
        if weight > 0.0:
            seen.append((weight, ready.ready))
        return releasing.state.baseline == made.new

    releasing.until(note, "2.1.0 is promoted")
    assert {weight for weight, _ in seen} >= {10.0, 50.0}
    assert all(ready == 2 for _, ready in seen)
    assert made.deployment(made.old)["spec"]["replicas"] == 2, "kept warm"
    releasing.until(lambda: made.deployment(made.old)["spec"]["replicas"] == 0, "the old version ends after keepWarm")
    assert made.workloads.ready(made.release(made.new), made.new).complete


def test_a_candidate_whose_pods_die_loses_its_weight_within_two_seconds(made):
    """Watches tell of the pods; nobody waits for the next tick."""
    slices = Cache(made.api, ENDPOINT_SLICE, made.shop.namespace, trim=PARTS[ENDPOINT_SLICE])
    words = queue.Queue()
    releasing = Releasing(made)
    lookout = Lookout(lambda namespace, release: words.put(release), releasing.workloads.forget)
    lookout.follow(slices)
    slices.tell(lookout.changed)
    slices.start()
    try:
        assert slices.wait_until_synced(SOON_S)
        releasing.wish(made.release(made.old))
        releasing.until(lambda: releasing.share(made.old) == 100.0, "2.0.0 serves")
        releasing.wish(made.release(made.new))
        releasing.until(lambda: releasing.share(made.new) == 10.0, "2.1.0 has 10 %")
        lookout.move({(made.shop.namespace, "shop"): ("shop",)})
        while not words.empty():
            words.get()
        made.shop.delete_pods(made.new)
        deleted = time.monotonic()
        while releasing.share(made.new) > 0.0:
            words.get(timeout=WITHIN_S * patience())
            releasing.tick()
        took_s = time.monotonic() - deleted
    finally:
        slices.stop()
    assert took_s < WITHIN_S * patience()
    run = releasing.state.run
    assert (run.phase, run.reason) == (Phase.ROLLED_BACK, Reason.NOT_READY)
    assert f"no replica of {made.new} is ready any more" in run.message


def test_a_candidate_that_never_gets_ready_is_taken_back_with_its_words_and_gets_no_weight(made):
    releasing = Releasing(made)
    releasing.wish(made.release(made.old))
    releasing.until(lambda: releasing.share(made.old) == 100.0, "2.0.0 serves")
    broken = made.wish("2.1.0", pods("2.1.0", command=["/bin/sh", "-c", "exit 3"]), ready_timeout=timedelta(seconds=60))
    releasing.wish(broken)
    crashing = "CrashLoopBackOff"
    releasing.until(lambda: crashing in releasing.state.run.waits_for, "it waits and says for what")
    releasing.world.clock.advance(60.0)
    releasing.until(lambda: releasing.state.run.phase.ended, "the run has ended")
    run = releasing.state.run
    assert (run.phase, run.reason) == (Phase.ROLLED_BACK, Reason.NOT_READY)
    assert "exit code 3" in run.message
    assert releasing.share(broken.spec.version) == 0.0
    releasing.world.clock.advance(40.0)
    releasing.until(lambda: made.deployment(broken.spec.version)["spec"]["replicas"] == 0, "its pods end")
    assert releasing.share(made.old) == 100.0
