"""What of an object is worth its memory in a cache, for the kinds that stand behind a Service.

What is left out here is never read by `meshctl.adapters.kubernetes.workloads` and what belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshctl.adapters.kubernetes.api import Object
from meshctl.adapters.kubernetes.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    HORIZONTAL_POD_AUTOSCALER,
    POD,
    SERVICE,
    Kind,
)
from meshctl.core.podrules import OURS


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
