"""How the pods behind a Service stand, counted for each version.  Pure: objects go in, numbers and words come out.

A version's pods carry its name in the release's version label, whoever made them.  Ready is what the EndpointSlices
say, since they decide where requests go, and only where the pod says so too: an endpoint whose pod is being deleted,
or that a Service publishes before it is ready (publishNotReadyAddresses), is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshctl.adapters.kubernetes.api import Object
from meshctl.adapters.kubernetes.pod_words import condition, is_ready, say, short
from meshctl.core.model import ReadyReplicas, Release


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is of one release in its namespace.  ``service`` is ``None`` when there is none of its name;
    ``pods`` and ``slices`` are those of the Service, the others all of the namespace."""

    service: Object | None
    slices: Sequence[Object]
    pods: Sequence[Object]
    deployments: Sequence[Object]
    autoscalers: Sequence[Object]


def ready_replicas(
    release: Release, standing: Standing, version: str, heard: Mapping[str, str]
) -> ReadyReplicas | None:
    """Ready and wished replicas of a version, with the reason where they are not complete.

    ``None`` when pods and endpoints do not fit together, as when one was read before a change and the other after it:
    nothing is to be believed of "none is ready" then.  ``heard``: what events say of pods, by name.
    """
    selector, trouble = selector_of(release, standing.service)
    if trouble:
        return ReadyReplicas(0, 0, trouble)
    deployments = deployments_of(release, standing, version)
    pods = pods_of(release, standing, version)
    endpoints = ready_endpoints(standing.slices)
    serving = [pod for pod in pods if is_ready(pod) and name_of(pod) in endpoints]
    wished = sum(wished_of(each, autoscaler_of(standing, each)) for each in deployments)
    if not serving and _do_not_fit(standing, pods, endpoints):
        return None
    found = ReadyReplicas(len(serving), wished)
    if found.complete:
        return found
    return ReadyReplicas(len(serving), wished, _why(release, standing, version, selector, deployments, heard))


def selector_of(release: Release, service: Object | None) -> tuple[dict[str, str], str]:
    """Which pods the Service selects, or what keeps it from selecting any."""
    name, namespace = release.spec.service, release.metadata.namespace
    if service is None:
        return {}, f"there is no Service {name} in namespace {namespace}"
    selector = (service.get("spec") or {}).get("selector") or {}
    if not selector:
        return {}, f"Service {name} has no selector, so its pods cannot be told apart"
    return selector, ""


def deployments_of(release: Release, standing: Standing, version: str) -> list[Object]:
    """The Deployments that make this version's pods for the Service."""
    selector, trouble = selector_of(release, standing.service)
    wished = {**selector, release.spec.version_label: version}
    return [] if trouble else [each for each in standing.deployments if wished.items() <= pod_labels(each).items()]


def pods_of(release: Release, standing: Standing, version: str) -> list[Object]:
    """This version's pods, ready or not, without those that are gone for good."""
    label = release.spec.version_label
    return [
        pod
        for pod in standing.pods
        if (pod["metadata"].get("labels") or {}).get(label) == version
        and (pod.get("status") or {}).get("phase") != "Succeeded"
    ]


def pod_labels(deployment: Object) -> dict[str, str]:
    """The labels that a Deployment gives to its pods."""
    template = (deployment.get("spec") or {}).get("template") or {}
    return (template.get("metadata") or {}).get("labels") or {}


def autoscaler_of(standing: Standing, deployment: Object) -> Object | None:
    """The HorizontalPodAutoscaler that scales a Deployment, if there is one."""
    for each in standing.autoscalers:
        target = (each.get("spec") or {}).get("scaleTargetRef") or {}
        if target.get("kind") == "Deployment" and target.get("name") == name_of(deployment):
            return each
    return None


def replicas_of(deployment: Object) -> int:
    """``spec.replicas``; 1 is what Kubernetes takes where it is not given."""
    replicas = (deployment.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def least_of(autoscaler: Object | None) -> int:
    """``minReplicas``; 0 where nothing scales."""
    if autoscaler is None:
        return 0
    least = (autoscaler.get("spec") or {}).get("minReplicas")
    return 1 if least is None else int(least)


def wished_of(deployment: Object, autoscaler: Object | None) -> int:
    """How many replicas a Deployment is to have.  An autoscaler writes its wish into ``spec.replicas``, goes up to its
    minimum within seconds, and leaves a Deployment at 0 alone."""
    replicas = replicas_of(deployment)
    return max(replicas, least_of(autoscaler)) if replicas else 0


def ready_endpoints(slices: Sequence[Object]) -> set[str]:
    """The names of the pods that requests may be sent to."""
    return {name for name, ready in _endpoints(slices) if ready}


def _endpoints(slices: Sequence[Object]) -> Iterator[tuple[str, bool]]:
    for each in slices:
        for endpoint in each.get("endpoints") or ():
            target = endpoint.get("targetRef") or {}
            if target.get("kind") == "Pod":
                yield target.get("name", ""), endpoint_is_ready(endpoint)


def endpoint_is_ready(endpoint: Mapping[str, Any]) -> bool:
    """Readiness that is not told counts as ready (https://pkg.go.dev/k8s.io/api/discovery/v1#EndpointConditions)."""
    conditions = endpoint.get("conditions") or {}
    return conditions.get("ready") is not False and not conditions.get("terminating")


def _do_not_fit(standing: Standing, pods: Sequence[Object], endpoints: set[str]) -> bool:
    """Whether requests go to a pod that is not listed at all, or to one of this version that ends while another one
    of it is ready."""
    strangers = endpoints - {name_of(pod) for pod in standing.pods}
    replaced = endpoints & {name_of(pod) for pod in pods} and any(is_ready(pod) for pod in pods)
    return bool(strangers or replaced)


# ------------------------------------------------------------------------------------ words


def _why(
    release: Release,
    standing: Standing,
    version: str,
    selector: Mapping[str, str],
    deployments: Sequence[Object],
    heard: Mapping[str, str],
) -> str:
    """Why a version is not complete; the nearest cause first."""
    if not deployments:
        return _no_deployment(release, standing, version, selector)
    said = [words for each in deployments if (words := _deployment_words(each))]
    pods = pods_of(release, standing, version)
    waiting = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    reasons = say(waiting, heard)
    ready = ready_endpoints(standing.slices)
    left_out = [pod for pod in waiting if is_ready(pod) and name_of(pod) not in ready]
    if reasons:
        said.append(reasons)
    elif left_out:
        said.append(
            f"pod {name_of(left_out[0])} is ready, but Service {release.spec.service} has no endpoint for it yet"
        )
    elif not said:
        said = [words for each in deployments if (words := _coming_words(standing, each, len(waiting)))]
    return short("; ".join(said), 600)


def _coming_words(standing: Standing, deployment: Object, pods: int) -> str:
    """What a Deployment waits for that has nothing else to complain of."""
    name, replicas, autoscaler = name_of(deployment), replicas_of(deployment), autoscaler_of(standing, deployment)
    if autoscaler is not None and least_of(autoscaler) > replicas:
        least, by = least_of(autoscaler), name_of(autoscaler)
        return f"HorizontalPodAutoscaler {by} is to scale Deployment {name} from {replicas} to {least}"
    if pods >= replicas:
        return ""
    return f"Deployment {name} has {pods} of {replicas} pods" if pods else f"Deployment {name} has no pods yet"


def _deployment_words(deployment: Object) -> str:
    """What keeps a Deployment from making its pods."""
    name = f"Deployment {name_of(deployment)}"
    if replicas_of(deployment) == 0:
        return f"{name} is scaled to 0"
    failure = condition(deployment, "ReplicaFailure")
    if failure and failure.get("status") == "True":
        return short(f"{name} cannot make pods: {failure.get('message') or failure.get('reason')}", 400)
    if (deployment.get("spec") or {}).get("paused"):
        return f"{name} is paused"
    return ""


def _no_deployment(release: Release, standing: Standing, version: str, selector: Mapping[str, str]) -> str:
    label, service = release.spec.version_label, release.spec.service
    for each in standing.deployments:
        labels = pod_labels(each)
        if labels.get(label) == version:
            lacks = ", ".join(f"{key}={value}" for key, value in selector.items() if labels.get(key) != value)
            return f"Service {service} selects {lacks}, which the pods of Deployment {name_of(each)} do not carry"
    known = {pod_labels(each)[label]: name_of(each) for each in _selected(standing, selector, label)}
    there = ", ".join(f"{other} (Deployment {name})" for other, name in sorted(known.items())[:5])
    found = f"; there are: {there}" if there else ""
    where = f"namespace {release.metadata.namespace}"
    return f"no Deployment in {where} makes pods for Service {service} with the label {label}={version}{found}"


def _selected(standing: Standing, selector: Mapping[str, str], label: str) -> list[Object]:
    return [
        each
        for each in standing.deployments
        if selector.items() <= pod_labels(each).items() and label in pod_labels(each) and replicas_of(each)
    ]


def name_of(object: Object) -> str:
    return str(object["metadata"]["name"])
