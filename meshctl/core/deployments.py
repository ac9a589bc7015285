"""The one Deployment of a version whose pods meshctl makes: what it must be, and proof that a template renders it.

It is written once and never again, except for its number of replicas: another pod template is another version, with
a Deployment of its own.  So neither a release nor a newer meshctl ever rolls the pods that serve.

It has no ownerReferences.  A Release that is deleted, or uninstalled with its CRD, would take the pods that serve
with it; labels say whose a Deployment is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshctl.core.guard import Lie
from meshctl.core.model import PodWorkload, Release
from meshctl.core.names import subset_name
from meshctl.core.podrules import OURS

DEPLOYMENT_API = "apps/v1"
MANAGED_BY, MESHCTL = "app.kubernetes.io/managed-by", "meshctl"
RELEASE_LABEL = f"{OURS}release"
VERSION_ANNOTATION = f"{OURS}version"
REPLICAS_ANNOTATION = f"{OURS}replicas"
"""How many replicas meshctl wrote last; where ``spec.replicas`` says otherwise, another hand scales."""

WISHED_ANNOTATION = f"{OURS}wished-replicas"
"""The ``spec.workload.replicas`` that was carried out last."""

NEEDED_ANNOTATION = f"{OURS}needed-by-run"
"""The number of the newest run that needed the version; who knows only an earlier one does not end its pods."""

NAME_LIMIT = 47
"""With the suffixes of ReplicaSet (at most 11) and pod (5, after at most 58) a pod's name stays within 63."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """The Deployment that was decided; ``template`` is the whole pod template with the labels of meshctl in it."""

    name: str
    namespace: str
    version: str
    labels: dict[str, str]
    annotations: dict[str, str]
    selector: dict[str, str]
    template: dict[str, Any]
    replicas: int


def deployment_name(release: str, version: str) -> str:
    """``shop-v2-1-0-1a2b3c4d``, always the same for the same release and version."""
    name = f"{release}-{subset_name(version)}"
    if len(name) > NAME_LIMIT:
        digest = hashlib.sha256(f"{release}/{version}".encode()).hexdigest()[:10]
        name = f"{name[: NAME_LIMIT - 11].rstrip('-')}-{digest}"
    return name


def plan_deployment(release: Release, workload: PodWorkload, replicas: int) -> DeploymentPlan:
    """The Deployment of the release's own (effective) version with ``replicas`` pods."""
    version, name = release.spec.version, release.metadata.name
    selector = {RELEASE_LABEL: name, release.spec.version_label: version}
    metadata = dict(_mapping(workload.template.get("metadata")))
    metadata["labels"] = {**_mapping(metadata.get("labels")), **selector}
    return DeploymentPlan(
        name=deployment_name(name, version),
        namespace=release.metadata.namespace,
        version=version,
        labels={**selector, MANAGED_BY: MESHCTL},
        annotations={
            VERSION_ANNOTATION: version,
            REPLICAS_ANNOTATION: str(replicas),
            WISHED_ANNOTATION: str(workload.replicas),
        },
        selector=selector,
        template={**workload.template, "metadata": metadata},
        replicas=replicas,
    )


def find_deployment_lies(plan: DeploymentPlan, objects: Sequence[Any]) -> list[Lie]:
    """Everything in rendered ``objects`` that was not decided; empty when they may be written."""
    if len(objects) != 1:
        return [Lie(min(len(objects), 1), (), f"must render exactly one Deployment, found {len(objects)} objects")]
    value = objects[0]
    if not isinstance(value, Mapping) or value.get("kind") != "Deployment":
        found = f"kind {value.get('kind')!r}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
        return [Lie(0, ("kind",), f"only a Deployment may be rendered, found {found}")]
    return [Lie(0, path, message) for path, message in _deployment(plan, value)]


def _deployment(plan: DeploymentPlan, value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    yield from _strangers((), value, ("apiVersion", "kind", "metadata", "spec"))
    if value.get("apiVersion") != DEPLOYMENT_API:
        yield ("apiVersion",), f"must be {DEPLOYMENT_API}, found {value.get('apiVersion')!r}"
    metadata, spec = _mapping(value.get("metadata")), _mapping(value.get("spec"))
    yield from _strangers(("metadata",), metadata, ("name", "namespace", "labels", "annotations"))
    for key, wish in (("name", plan.name), ("namespace", plan.namespace)):
        if metadata.get(key) != wish:
            yield ("metadata", key), f"must be {wish!r}, found {metadata.get(key)!r}"
    for part, wished in (("labels", plan.labels), ("annotations", plan.annotations)):
        found = _mapping(metadata.get(part))
        for key, wish in wished.items():
            if found.get(key) != wish:
                yield ("metadata", part, key), f"must be {wish!r}, found {found.get(key)!r}"
        for key in found:
            if key.startswith(OURS) and key not in wished:
                yield ("metadata", part, key), "was not decided; names of meshctl.dev are meshctl's own"
    yield from _spec(plan, spec)


def _spec(plan: DeploymentPlan, spec: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    known = ("replicas", "selector", "template", "strategy", "minReadySeconds", "revisionHistoryLimit")
    yield from _strangers(("spec",), spec, (*known, "progressDeadlineSeconds"))
    if type(spec.get("replicas")) is not int or spec["replicas"] != plan.replicas:
        yield ("spec", "replicas"), f"must be {plan.replicas}, found {spec.get('replicas')!r}"
    if spec.get("selector") != {"matchLabels": plan.selector}:
        yield ("spec", "selector"), f"must be matchLabels {plan.selector!r}, found {spec.get('selector')!r}"
    yield from _unequal(("spec", "template"), plan.template, spec.get("template"))
    strategy = _mapping(spec.get("strategy"))
    rolling = _mapping(strategy.get("rollingUpdate"))
    if strategy.get("type") != "RollingUpdate" or rolling.get("maxUnavailable") not in (0, "0%"):
        yield (
            ("spec", "strategy"),
            "must be RollingUpdate with maxUnavailable 0, so that a restart of the pods never takes capacity away",
        )


def _unequal(path: Path, wished: Any, found: Any) -> Iterator[tuple[Path, str]]:
    """The first places where what was rendered is not what was decided."""
    if isinstance(wished, Mapping) and isinstance(found, Mapping):
        for key in wished.keys() | found.keys():
            if key not in found or key not in wished:
                word = "is missing" if key in wished else "stands in no wish; the pods of a version are alike for ever"
                yield (*path, key), word
            else:
                yield from _unequal((*path, key), wished[key], found[key])
    elif isinstance(wished, list) and isinstance(found, list) and len(wished) == len(found):
        for position, (one, other) in enumerate(zip(wished, found, strict=True)):
            yield from _unequal((*path, position), one, other)
    elif wished != found or isinstance(wished, bool) != isinstance(found, bool):
        yield path, f"must be {wished!r}, as the release says, found {found!r}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _strangers(path: Path, value: Mapping[str, Any], known: Sequence[str]) -> Iterator[tuple[Path, str]]:
    for key in value:
        if key not in known:
            yield (*path, key), f"may not be rendered; allowed here: {', '.join(known)}"
