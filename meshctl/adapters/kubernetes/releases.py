"""A Release object and the requests on it, as values of the core and back.

Defaults are filled in here, by the same decoding as for files: an object that was written with kubectl and says little
is the same wish as the file that says as little.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from meshctl.adapters import wire
from meshctl.adapters.kubernetes.api import Object
from meshctl.adapters.kubernetes.kinds import RELEASE
from meshctl.core.catalog import printable
from meshctl.core.errors import InvalidInput
from meshctl.core.model import Release, Request

REQUEST_PREFIX = "requests.meshctl.dev/"
_NOT_THE_USERS = ("kubectl.kubernetes.io/last-applied-configuration",)
_REQUEST_ID = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)


def release_of(object: Object) -> Release:
    """The wish of an object.  Raises `WireError` naming the first field that is wrong."""
    meta = object["metadata"]
    annotations = {
        key: value
        for key, value in (meta.get("annotations") or {}).items()
        if key not in _NOT_THE_USERS and not key.startswith(REQUEST_PREFIX)
    }
    data = {
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "generation": meta["generation"],
            "labels": meta.get("labels") or {},
            "annotations": annotations,
        },
        "spec": object.get("spec") or {},
    }
    return wire.decode(Release, data)


def wish_of(release: Release) -> Object:
    """What is applied for a wish: only what it says beyond the defaults, so that it owns no more than that."""
    metadata: Object = {"name": release.metadata.name, "namespace": release.metadata.namespace}
    for name in ("labels", "annotations"):
        if given := getattr(release.metadata, name):
            metadata[name] = dict(given)
    return {
        "apiVersion": RELEASE.api_version,
        "kind": RELEASE.name,
        "metadata": metadata,
        "spec": _said(release.spec),
    }


def _said(value: Any) -> Any:
    """A value as plain data without the fields that have their default."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            wire.camel(each.name): _said(getattr(value, each.name))
            for each in dataclasses.fields(value)
            if getattr(value, each.name) != _default(each)
        }
    if isinstance(value, tuple | list):
        return [_said(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _said(each) for key, each in value.items()}
    return wire.encode(value)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


# ------------------------------------------------------------------------------------ requests


def request_key(request_id: str) -> str:
    """The annotation of a request.  Raises `InvalidInput` for an id that no annotation can have."""
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidInput(
            f"{request_id[:80]!r} cannot be the id of a request: at most 63 letters, digits, '.', '_' and '-'"
        )
    return REQUEST_PREFIX + request_id


def request_text(request: Request, received: datetime) -> str:
    """What the annotation of a request says.  ``received`` puts requests in order."""
    request = printable(request)
    said = {
        "verb": request.verb.value,
        "claimedActor": request.actor,
        "reason": request.reason,
        "time": wire.format_time(request.time),
        "weight": request.weight,
        "full": request.full or None,
        "version": request.version,
        "received": wire.format_time(received),
    }
    return json.dumps({key: value for key, value in said.items() if value not in (None, "")}, ensure_ascii=False)


def requests_of(object: Object, now: datetime) -> tuple[list[Request], dict[str, str]]:
    """The requests on an object, in the order they came, and by id what is wrong with those that are none.

    Only the verb is needed, so that a person can write one by hand; such a request counts as of ``now``.
    """
    found: list[tuple[datetime, str, Request]] = []
    wrong: dict[str, str] = {}
    for key, text in (object["metadata"].get("annotations") or {}).items():
        if not key.startswith(REQUEST_PREFIX):
            continue
        id_ = key.removeprefix(REQUEST_PREFIX)
        try:
            received, request = _request(id_, text, now)
        except (wire.WireError, ValueError) as error:
            wrong[id_] = str(error)
        else:
            found.append((received, id_, request))
    return [request for _, _, request in sorted(found, key=lambda each: each[:2])], wrong


def _request(id_: str, text: str, now: datetime) -> tuple[datetime, Request]:
    data = json.loads(text) if text.lstrip().startswith("{") else {"verb": text.strip()}
    data = {"time": wire.format_time(now)} | data
    received = wire.decode(datetime, data.pop("received", data["time"]))
    if "claimedActor" in data:
        data["actor"] = data.pop("claimedActor")
    return received, wire.decode(Request, data | {"id": id_})
