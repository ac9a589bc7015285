"""What Kubernetes' own controllers and the kubelets do, in memory: pods for Deployments, slices for pods.

Nothing happens by itself: `settle` lets everything happen that would.
"""

from __future__ import annotations

import copy
import itertools

from meshctl.adapters.kubernetes.api import Patch
from meshctl.adapters.kubernetes.kinds import DEPLOYMENT, ENDPOINT_SLICE, HORIZONTAL_POD_AUTOSCALER, POD, SERVICE
from meshctl.core.model import Metadata, PodWorkload, Release, ReleaseSpec
from meshctl.core.versions import as_deployed
from tests.adapters.api_memory import MemoryApi

NAMESPACE = "default"
READY = {
    "phase": "Running",
    "conditions": [
        {"type": "PodScheduled", "status": "True"},
        {"type": "ContainersReady", "status": "True"},
        {"type": "Ready", "status": "True"},
    ],
    "containerStatuses": [
        {"name": "shop", "ready": True, "started": True, "state": {"running": {}}, "restartCount": 0}
    ],
}
NOT_READY = {
    "phase": "Running",
    "conditions": [
        {"type": "PodScheduled", "status": "True"},
        {"type": "ContainersReady", "status": "False"},
        {"type": "Ready", "status": "False"},
    ],
    "containerStatuses": [
        {"name": "shop", "ready": False, "started": True, "state": {"running": {}}, "restartCount": 0}
    ],
}


def template(image: str = "shop:2.1.0", **labels: str) -> dict:
    """A pod template for the Service ``shop``."""
    return {
        "metadata": {"labels": {"app": "shop", **labels}},
        "spec": {"containers": [{"name": "shop", "image": image}]},
    }


def own_release(version: str = "2.1.0", name: str = "shop", **spec: object) -> Release:
    """A release of Deployments that the user makes."""
    return Release(Metadata(name), ReleaseSpec(version, "shop", **spec))


def made_release(version: str = "2.1.0", name: str = "shop", replicas: int = 2, pods: dict | None = None) -> Release:
    """A release whose pods meshctl makes, as a store loads it."""
    workload = PodWorkload(pods or template(f"shop:{version}"), replicas)
    return as_deployed(Release(Metadata(name), ReleaseSpec(version, "shop", workload=workload)))


class PodsWorld:
    """The namespace ``default`` with the Service ``shop``.  ``api`` is how meshctl sees it.

    ``status`` is the status of the pods of a version from the next `settle` on (`READY` where it names none); a
    version in ``refused`` gets no pods, with these words of admission; a Service without ``endpoints`` has no slices.
    """

    def __init__(self, *, service: bool = True) -> None:
        self.api = MemoryApi()
        self.hands = self.api.seen_by("somebody else")
        self.status: dict[str, dict] = {}
        self.refused: dict[str, str] = {}
        self.endpoints = True
        self._numbers = itertools.count(1)
        if service:
            self.hands.create(SERVICE, {**_head("shop"), "spec": {"selector": {"app": "shop"}}})

    # ------------------------------------------------------------------------------------ other hands

    def deploy(self, version: str, replicas: int = 2, name: str = "", **labels: str) -> dict:
        """A Deployment of the user's own."""
        name = name or f"shop-{version.replace('.', '-')}"
        pods = template(f"shop:{version}", **{"version": version, **labels})
        selector = {"matchLabels": {"deployment": name}}
        pods["metadata"]["labels"]["deployment"] = name
        return self.hands.create(
            DEPLOYMENT, {**_head(name), "spec": {"replicas": replicas, "selector": selector, "template": pods}}
        )

    def scale(self, name: str, replicas: int) -> None:
        """As ``kubectl scale`` and an autoscaler do."""
        self.hands.patch(
            DEPLOYMENT, name, NAMESPACE, {"spec": {"replicas": replicas}}, form=Patch.MERGE, manager="kubectl"
        )

    def autoscale(self, name: str, least: int = 1) -> None:
        """A HorizontalPodAutoscaler for a Deployment."""
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        spec = {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": 20}
        self.hands.create(HORIZONTAL_POD_AUTOSCALER, {**_head(name), "spec": spec})

    def end_pods(self, version: str) -> None:
        """Delete the pods of a version; they are replaced at the next `settle`."""
        for pod in self.pods(version):
            self.hands.delete(POD, pod["metadata"]["name"], NAMESPACE)
        self._publish()

    # ------------------------------------------------------------------------------------ what happens

    def settle(self) -> None:
        """Let the controllers and the kubelet do all that there is to do."""
        for deployment in self.deployments():
            self._reconcile(deployment)
        owners = {each["metadata"]["uid"] for each in self.deployments()}
        for pod in self.pods():
            if pod["metadata"]["ownerReferences"][0]["uid"] not in owners:
                self.hands.delete(POD, pod["metadata"]["name"], NAMESPACE)
        self._publish()

    def deployments(self) -> list[dict]:
        return self.hands.list(DEPLOYMENT, NAMESPACE).items

    def deployment(self, version: str) -> dict:
        """The one Deployment of a version."""
        (found,) = [each for each in self.deployments() if _labels(each["spec"]["template"]).get("version") == version]
        return found

    def replicas(self, version: str) -> int:
        return self.deployment(version)["spec"]["replicas"]

    def pods(self, version: str = "") -> list[dict]:
        found = self.hands.list(POD, NAMESPACE).items
        return [pod for pod in found if not version or _labels(pod).get("version") == version]

    def writes(self) -> list[str]:
        """What meshctl wrote, in order, as ``verb name``; forgotten then."""
        made = [call for call in self.api.calls if call.verb not in ("get", "list", "watch")]
        self.api.calls.clear()
        return [f"{call.verb} {call.name}" for call in made]

    def _reconcile(self, deployment: dict) -> None:
        metadata, spec = deployment["metadata"], deployment["spec"]
        mine = [pod for pod in self.pods() if pod["metadata"]["ownerReferences"][0]["uid"] == metadata["uid"]]
        version = _labels(spec["template"]).get("version", "")
        for pod in mine[spec["replicas"] :]:
            self.hands.delete(POD, pod["metadata"]["name"], NAMESPACE)
        missing = spec["replicas"] - len(mine)
        words = self.refused.get(version, "")
        status = {"replicas": min(len(mine), spec["replicas"])}
        if words and missing > 0:
            failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words}
            status["conditions"] = [failure]
        else:
            status |= {"replicas": spec["replicas"], "conditions": []}
            for _ in range(missing):
                self._start(metadata, spec["template"])
        for pod in self.pods(version):
            self._tell(POD, pod["metadata"]["name"], self.status.get(version, READY))
        self._tell(DEPLOYMENT, metadata["name"], status)

    def _start(self, owner: dict, pods: dict) -> None:
        name = f"{owner['name']}-{next(self._numbers)}"
        head = copy.deepcopy(pods)
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner["name"], "uid": owner["uid"]}
        head["metadata"] |= {"name": name, "namespace": NAMESPACE, "ownerReferences": [reference]}
        self.hands.create(POD, head)

    def _tell(self, kind, name: str, status: dict) -> None:
        live = self.hands.get(kind, name, NAMESPACE)
        self.hands.replace(kind, {**live, "status": copy.deepcopy(status)}, subresource="status")

    def _publish(self) -> None:
        """One EndpointSlice for the Service, as the endpoint slice controller keeps it."""
        endpoints = []
        for pod in self.pods() if self.endpoints else ():
            if _labels(pod).get("app") == "shop":
                conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", ())}
                endpoints.append(
                    {
                        "addresses": [f"10.0.0.{pod['metadata']['name'].rpartition('-')[2]}"],
                        "conditions": {"ready": conditions.get("Ready") == "True", "terminating": False},
                        "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]},
                    }
                )
        slice_ = {**_head("shop-1"), "addressType": "IPv4", "endpoints": endpoints}
        slice_["metadata"]["labels"] = {"kubernetes.io/service-name": "shop"}
        found = self.hands.find(ENDPOINT_SLICE, "shop-1", NAMESPACE)
        if found is None:
            self.hands.create(ENDPOINT_SLICE, slice_)
        else:
            self.hands.replace(ENDPOINT_SLICE, slice_)


def _head(name: str) -> dict:
    return {"metadata": {"name": name, "namespace": NAMESPACE}}


def _labels(object: dict) -> dict:
    return object.get("metadata", {}).get("labels") or {}
