"""Advice on pods that meshctl makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshctl.core.advice.mesh import MOVING_VERSIONS
from meshctl.core.advice.rule import Found, Path, Rule, rule
from meshctl.core.advice.workload import SECRET_WORDS
from meshctl.core.model import Release

POD_RULES: list[Rule[Release]] = []
"""They say something of releases with ``spec.workload`` only."""


@rule(
    POD_RULES,
    "single-pod",
    why="While the one pod restarts or moves nobody answers, and a candidate without a ready pod is taken back.",
    do="Run two replicas at least.",
)
def _single(release: Release) -> Found:
    if release.spec.workload is not None and release.spec.workload.replicas == 1:
        yield ("spec", "workload", "replicas"), "each version has one pod"


@rule(
    POD_RULES,
    "pod-without-readiness",
    why="A pod counts as ready as soon as it runs, and gets requests before it can answer them.",
    do="Give the container a readinessProbe that asks what a request needs.",
)
def _unready(release: Release) -> Found:
    containers = [(path, each) for path, each in _containers(release) if path[-2] == "containers"]
    if containers and not any(each.get("readinessProbe") for _, each in containers):
        yield containers[0][0], "no container has a readinessProbe"


@rule(
    POD_RULES,
    "image-moves",
    why="Another image under the same name is no new version: pods that start later run what nobody judged.",
    do="Name the image by a tag that never moves, or by its digest.",
)
def _moving(release: Release) -> Found:
    for path, each in _containers(release):
        image = str(each.get("image") or "")
        tag = image.rpartition("/")[2].partition(":")[2] or "latest"
        if image and "@" not in image and tag.lower() in MOVING_VERSIONS:
            yield (*path, "image"), f"{image} is whatever is newest"


@rule(
    POD_RULES,
    "secret-in-pod",
    why="What stands in a release is stored with every run of it, and readable for all who may read releases.",
    do="Keep it in a Secret and name that: valueFrom.secretKeyRef.",
)
def _secret(release: Release) -> Found:
    for path, each in _containers(release):
        for position, variable in enumerate(each.get("env") or ()):
            if not isinstance(variable, Mapping):
                continue
            name, value = str(variable.get("name", "")).upper(), str(variable.get("value") or "")
            path_of_one = name.endswith(("_FILE", "_PATH")) or value.startswith("/")
            if value and not path_of_one and any(word in name for word in SECRET_WORDS):
                yield (*path, "env", position, "value"), f"{variable['name']} looks like a secret"


def _containers(release: Release) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    workload = release.spec.workload
    pod = workload.template.get("spec") if workload is not None else None
    for part in ("initContainers", "containers"):
        for position, each in enumerate((pod.get(part) or ()) if isinstance(pod, Mapping) else ()):
            if isinstance(each, Mapping):
                yield ("spec", "workload", "template", "spec", part, position), each
