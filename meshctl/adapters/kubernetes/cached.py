"""What stands behind Services, from caches that watches keep filled: a look costs no call then.

`PARTS` says which kinds are needed and what of each object is worth its memory; a `Cache` of each, trimmed so, makes a
`CachedReads`.  One that fell behind is passed over: what it holds may be long untrue, so the API server is asked, and
where it does not answer either nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from meshctl.adapters.kubernetes.api import Api, Listing, Object
from meshctl.adapters.kubernetes.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    HORIZONTAL_POD_AUTOSCALER,
    POD,
    SERVICE,
    Kind,
)
from meshctl.core.podrules import OURS

BEHIND_MAX_S = 1.0
"""A line that is down for longer may have missed the death of a pod (rule 6 allows 2 s in all)."""


class Kept(Protocol):
    """The part of `meshctl.adapters.kubernetes.watching.Cache` that is read here."""

    def get(self, name: str, namespace: str = "") -> Object | None: ...

    def items(self, namespace: str = "") -> Iterator[Object]: ...

    def behind_s(self) -> float: ...


class CachedReads:
    """Reads of the kinds in ``caches``; all others, and those that fell behind, come from ``api``."""

    def __init__(self, api: Api, caches: Mapping[Kind, Kept]) -> None:
        self._api = api
        self._caches = caches

    def find(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        cache = self._fresh(kind)
        return self._api.find(kind, name, namespace) if cache is None else cache.get(name, namespace)

    def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        """``labels`` as ``key=value,...``; a list with ``fields`` is always asked for."""
        cache = None if fields else self._fresh(kind)
        if cache is None:
            return self._api.list(kind, namespace, labels=labels, fields=fields)
        wanted = dict(term.split("=", 1) for term in labels.split(",") if term)
        found = (each for each in cache.items(namespace))
        return Listing([each for each in found if wanted.items() <= _labels(each).items()], "")

    def _fresh(self, kind: Kind) -> Kept | None:
        cache = self._caches.get(kind)
        return cache if cache is not None and cache.behind_s() <= BEHIND_MAX_S else None


def _labels(object: Object) -> Mapping[str, str]:
    return object["metadata"].get("labels") or {}


# ------------------------------------------------------------------------------------ what is worth keeping


def _some(value: Any, *keys: str) -> dict[str, Any]:
    return {key: value[key] for key in keys if key in value} if value else {}


def _trimmed(object: Object, spec: Mapping[str, Any] | None, **more: Any) -> Object:
    """Name and labels, and the given parts."""
    metadata = _some(object["metadata"], "name", "namespace", "uid", "labels", "deletionTimestamp", "resourceVersion")
    return {"metadata": metadata, **({} if spec is None else {"spec": spec}), **more}


def _pod(pod: Object) -> Object:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    kept: dict[str, Any] = {"readinessGates": spec.get("readinessGates") or []}
    for part in ("containers", "initContainers"):
        kept[part] = [_some(each, "name", "restartPolicy", "terminationMessagePolicy") for each in spec.get(part) or ()]
    said = _some(status, "phase", "reason", "message")
    said["conditions"] = [_some(each, "type", "status", "reason", "message") for each in status.get("conditions") or ()]
    for part in ("containerStatuses", "initContainerStatuses"):
        fields = ("name", "ready", "started", "restartCount", "state", "lastState")
        said[part] = [_some(each, *fields) for each in status.get(part) or ()]
    return _trimmed(pod, kept, status=said)


def _deployment(deployment: Object) -> Object:
    spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
    kept = _some(spec, "replicas", "paused", "selector")
    metadata = (spec.get("template") or {}).get("metadata") or {}
    kept["template"] = {"metadata": _some(metadata, "labels")}
    conditions = [_some(each, "type", "status", "reason", "message") for each in status.get("conditions") or ()]
    found = _trimmed(deployment, kept, status={**_some(status, "replicas"), "conditions": conditions})
    annotations = deployment["metadata"].get("annotations") or {}
    found["metadata"]["annotations"] = {key: value for key, value in annotations.items() if key.startswith(OURS)}
    found["metadata"] |= _some(deployment["metadata"], "creationTimestamp")
    return found


def _slice(slice_: Object) -> Object:
    endpoints = slice_.get("endpoints") or ()
    kept = [
        {
            **_some(each, "addresses", "conditions"),
            **({"targetRef": _some(each["targetRef"], "kind", "name")} if each.get("targetRef") else {}),
        }
        for each in endpoints
    ]
    return _trimmed(slice_, None, endpoints=kept)


def _autoscaler(autoscaler: Object) -> Object:
    return _trimmed(autoscaler, _some(autoscaler.get("spec"), "scaleTargetRef", "minReplicas"))


def _service(service: Object) -> Object:
    return _trimmed(service, _some(service.get("spec"), "selector"))


PARTS: Mapping[Kind, Callable[[Object], Object]] = {
    SERVICE: _service,
    ENDPOINT_SLICE: _slice,
    POD: _pod,
    DEPLOYMENT: _deployment,
    HORIZONTAL_POD_AUTOSCALER: _autoscaler,
}
"""Every kind that is looked at, and what of an object a cache of it keeps."""
