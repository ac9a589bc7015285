"""What the pods of a release must satisfy, where meshctl is to make them.

Only what meshctl itself relies on: what a container may be is the API server's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from meshctl.core.model import PodWorkload, ReleaseSpec
from meshctl.core.names import LABEL_LIMIT
from meshctl.core.versions import VERSION_LIMIT, canonical, effective_version

Found = tuple[tuple[str | int, ...], str]

PODS_LIMIT = 1000
TEMPLATE_LIMIT_BYTES = 16 * 1024
"""A run keeps the template with everything else within 64 KB."""
OURS = "meshctl.dev/"

_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", re.ASCII)


def workload_problems(spec: ReleaseSpec, *, embedded: bool) -> Iterator[Found]:
    """Everything that is wrong with ``spec.workload``; paths begin below ``spec``."""
    workload = spec.workload
    if workload is None:
        return
    if embedded:
        yield (
            ("workload",),
            "needs a cluster; without one the programs of the versions stand in an object of their own, kind: Workload",
        )
        return
    if not 1 <= workload.replicas <= PODS_LIMIT:
        yield ("workload", "replicas"), f"must be from 1 to {PODS_LIMIT}, found {workload.replicas}"
    try:
        text = canonical(workload.template)
    except ValueError as error:
        yield ("workload", "template"), f"cannot be written as JSON: {error}"
        return
    if len(effective_version(spec)) > LABEL_LIMIT:
        word = f"at most {VERSION_LIMIT} characters where pods are given, since the digest of their template is added"
        yield ("version",), f"must have {word}, found {len(spec.version)}"
    if (size := len(text.encode())) > TEMPLATE_LIMIT_BYTES:
        yield (
            ("workload", "template"),
            f"must be at most {TEMPLATE_LIMIT_BYTES // 1024} KiB, found {size / 1024:.1f}",
        )
    for path, message in _template(workload, spec.version_label):
        yield ("workload", "template", *path), message


def _template(workload: PodWorkload, version_label: str) -> Iterator[Found]:
    for key in workload.template:
        if key not in ("metadata", "spec"):
            yield (key,), "is no field of a pod template; allowed: metadata, spec"
    yield from _metadata(workload.template.get("metadata"), version_label)
    yield from _pod(workload.template.get("spec"))


def _metadata(metadata: object, version_label: str) -> Iterator[Found]:
    if not isinstance(metadata, Mapping):
        yield ("metadata",), "must have labels, at least those that the Service selects"
        return
    for key in metadata:
        if key not in ("labels", "annotations"):
            yield ("metadata", key), "may not be given: a pod template has labels and annotations"
    labels = metadata.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        yield ("metadata", "labels"), "must be at least those that the Service selects"
        labels = {}
    for key, value in labels.items():
        if key == version_label or key.startswith(OURS):
            yield ("metadata", "labels", key), "is set by meshctl for each version; leave it out"
        elif not isinstance(value, str) or not _VALUE.fullmatch(value):
            yield ("metadata", "labels", key), f"must be text that a label can hold, found {value!r}"
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, Mapping) or not all(isinstance(value, str) for value in annotations.values()):
        yield ("metadata", "annotations"), "must be a mapping of texts"


def _pod(pod: object) -> Iterator[Found]:
    if not isinstance(pod, Mapping):
        yield ("spec",), "must be a pod's spec, with containers"
        return
    containers = pod.get("containers")
    if not isinstance(containers, Sequence) or isinstance(containers, str) or not containers:
        yield ("spec", "containers"), "must have at least one container"
        return
    for position, container in enumerate(containers):
        name = container.get("name") if isinstance(container, Mapping) else None
        if not isinstance(name, str) or not name:
            yield ("spec", "containers", position), "must be a container with a name"
    if pod.get("restartPolicy", "Always") != "Always":
        yield ("spec", "restartPolicy"), "must be Always, as in every Deployment"
