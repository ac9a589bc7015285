"""The version of a release whose pods meshctl makes: the name that was wished and what its pods are.

``2.1.0`` with a pod template becomes ``2.1.0-1a2b3c4d``, the last part a digest of the template.  So whatever changes
the pods is a new version with a run of its own, a changed ConfigMap included where its name is part of the template
(as kustomize generates it), and one version's pods are alike for ever.  ``replicas`` is no part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from meshctl.core.model import Release, ReleaseSpec
from meshctl.core.names import LABEL_LIMIT

_DIGEST_LENGTH = 8
VERSION_LIMIT = LABEL_LIMIT - _DIGEST_LENGTH - 1
"""So many characters of a wished version leave room for the digest in a pod label."""


def canonical(template: Mapping[str, object]) -> str:
    """A pod template as text that is equal for templates that mean the same: no order of keys, no spaces, no nulls
    (Kubernetes reads them as absent), whole numbers without a point.  Raises `ValueError` for what JSON cannot say."""
    return json.dumps(_settled(template), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def template_digest(template: Mapping[str, object]) -> str:
    """Eight hexadecimal digits of the SHA-256 of the canonical template."""
    return hashlib.sha256(canonical(template).encode()).hexdigest()[:_DIGEST_LENGTH]


def effective_version(spec: ReleaseSpec) -> str:
    """The version that pods, subsets, runs and records of this wish are named by.

    A version that ends in the digest of its own template stays as it is, so this may be asked twice.
    """
    if spec.workload is None:
        return spec.version
    suffix = f"-{template_digest(spec.workload.template)}"
    return spec.version if spec.version.endswith(suffix) else f"{spec.version}{suffix}"


def as_deployed(release: Release) -> Release:
    """A release with its effective version for the wished one: what a store loads.

    All of meshctl behind the store knows only this version.  What a store *writes* is the wish as it was given.
    """
    version = effective_version(release.spec)
    if version == release.spec.version:
        return release
    return replace(release, spec=replace(release.spec, version=version))


def returned(spec: ReleaseSpec, earlier: ReleaseSpec) -> ReleaseSpec:
    """A wish as it must be to lead back to the version of an ``earlier`` run: its version and its pods."""
    workload = spec.workload
    if earlier.workload is not None and workload is not None:
        workload = replace(earlier.workload, replicas=workload.replicas)
    else:
        workload = earlier.workload
    return replace(spec, version=earlier.version, workload=workload)


def _settled(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _settled(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, (list, tuple)):
        return [_settled(entry) for entry in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
