"""How many replicas a Deployment of meshctl is to have, and who may say so.  Pure.

A version gets all its replicas before its first weight, not a share of them for each stage: whatever comes then - the
next stage, ``promote --full``, ``set-weight``, a rollback - is one write to the routes and never waits for pods.  It
is never smaller than what serves beside it, whoever sized that.

Whoever wrote ``spec.replicas`` last owns it.  meshctl notes what it wrote (``meshctl.dev/replicas``); where the
Deployment says otherwise another hand scales, and is left alone until ``spec.workload.replicas`` itself changes.  With
a HorizontalPodAutoscaler that is always so, except at 0, where an autoscaler does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshctl.adapters.kubernetes.api import Object
from meshctl.adapters.kubernetes.standing import least_of, replicas_of
from meshctl.core.deployments import (
    MANAGED_BY,
    MESHCTL,
    NEEDED_ANNOTATION,
    RELEASE_LABEL,
    REPLICAS_ANNOTATION,
    VERSION_ANNOTATION,
    WISHED_ANNOTATION,
)

KEPT_AT_ZERO = 10
"""So many Deployments at 0 are kept for the way back, as many as runs."""

Operations = list[dict[str, Any]]


def is_ours(deployment: Object, release: str) -> bool:
    """Whether meshctl made a Deployment for this release."""
    labels = deployment["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY) == MESHCTL and labels.get(RELEASE_LABEL) == release


def version_of(deployment: Object) -> str:
    """The version whose pods a Deployment of ours makes."""
    return str((deployment["metadata"].get("annotations") or {}).get(VERSION_ANNOTATION, ""))


def first_replicas(wished: int, autoscaler: Object | None, others: Iterable[Object]) -> int:
    """How many replicas a version begins with: no fewer than its largest sibling has now."""
    return max(wished, least_of(autoscaler), *(replicas_of(each) for each in others), 1)


def scaled_up(
    deployment: Object, wished: int | None, autoscaler: Object | None, others: Iterable[Object]
) -> Operations:
    """The JSON patch by which a needed version gets its replicas; empty when nothing is to be done.

    ``wished``: ``spec.workload.replicas`` as it is now, ``None`` where the release no longer has pods of its own.
    """
    live, written = replicas_of(deployment), _noted(deployment, REPLICAS_ANNOTATION)
    noted = _noted(deployment, WISHED_ANNOTATION)
    wish = wished if wished is not None else noted or 1
    if live == 0 and written == 0:
        return _patch(deployment, first_replicas(wish, autoscaler, others), wish)
    if wish == noted:
        return [] if live >= wish or live != written or autoscaler is not None else _patch(deployment, wish, wish)
    return _patch(deployment, wish, wish) if autoscaler is None else _patch(deployment, live, wish, note=written)


def scaled_to_nothing(deployment: Object) -> Operations:
    """The JSON patch that ends all replicas of a version that nobody needs; empty when there are none."""
    if replicas_of(deployment) == 0:
        return []
    known, path = _noted(deployment, NEEDED_ANNOTATION), f"/metadata/annotations/{_escaped(NEEDED_ANNOTATION)}"
    unneeded = [] if known is None else [{"op": "test", "path": path, "value": str(known)}]
    return [*unneeded, *_patch(deployment, 0, _noted(deployment, WISHED_ANNOTATION) or 1)]


def newest_run_of(deployment: Object) -> int:
    """The number of the newest run that needed a version's pods."""
    return _noted(deployment, NEEDED_ANNOTATION) or 0


def needed_by(deployment: Object, run: int) -> Operations:
    """The JSON patch that notes that a run needs a version's pods; empty when that or a later one is noted."""
    if newest_run_of(deployment) >= run:
        return []
    return [{"op": "add", "path": f"/metadata/annotations/{_escaped(NEEDED_ANNOTATION)}", "value": str(run)}]


def superfluous(deployments: Iterable[Object]) -> list[Object]:
    """Of Deployments at 0 those that are too many, by age; only where the last pod is gone."""
    empty = [each for each in deployments if replicas_of(each) == 0]
    empty.sort(key=lambda each: str(each["metadata"].get("creationTimestamp")), reverse=True)
    return [each for each in empty[KEPT_AT_ZERO:] if not (each.get("status") or {}).get("replicas")]


def _patch(deployment: Object, replicas: int, wished: int, *, note: int | None = None) -> Operations:
    """Replicas and both notes in one write, tested against what was looked at.

    A status that changed meanwhile does not hinder it, as a resource version would.  ``note``: what was written last,
    kept where the replicas stay as another hand has them.
    """
    live, written = replicas_of(deployment), replicas if note is None else note
    return [
        {"op": "test", "path": "/metadata/uid", "value": deployment["metadata"]["uid"]},
        {"op": "test", "path": "/spec/replicas", "value": live},
        {"op": "replace", "path": "/spec/replicas", "value": replicas},
        {"op": "add", "path": f"/metadata/annotations/{_escaped(REPLICAS_ANNOTATION)}", "value": str(written)},
        {"op": "add", "path": f"/metadata/annotations/{_escaped(WISHED_ANNOTATION)}", "value": str(wished)},
    ]


def _noted(deployment: Object, annotation: str) -> int | None:
    text = str((deployment["metadata"].get("annotations") or {}).get(annotation, ""))
    return int(text) if text.isdecimal() and text.isascii() else None


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
