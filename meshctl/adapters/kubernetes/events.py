"""Kubernetes Events (events.k8s.io/v1) for decisions: what ``kubectl describe release`` shows at the end.

An Event's name is made of the decision's hash, so the same decision told twice is one Event.  None is ever worth a
release: whatever goes wrong here is the caller's to pass over.
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.chronicle import KEEPER
from meshctl.adapters.kubernetes.kinds import EVENT, RELEASE, RELEASE_RUN, Kind
from meshctl.adapters.kubernetes.run_object import RunObject
from meshctl.core.errors import MeshctlError
from meshctl.core.model import Phase
from meshctl.core.plaintext import plain
from meshctl.core.record import Record

CONTROLLER = "meshctl.dev/controller"
NOTE_BYTES_MAX = 1024
INSTANCE_MAX = 128
_BAD = {Phase.ROLLED_BACK.value, Phase.HELD.value}
_ACTIONS = {
    Phase.ROLLED_BACK.value: "RollBack",
    Phase.PROMOTED.value: "Promote",
    Phase.HELD.value: "Hold",
    Phase.PAUSED.value: "Pause",
}


class Events:
    """Tells of the decisions of one namespace."""

    def __init__(self, api: Api, namespace: str, instance: str = "") -> None:
        self._api, self._namespace = api, namespace
        self._instance = (instance or socket.gethostname() or "meshctl")[:INSTANCE_MAX]

    def tell(self, release: Object, run: RunObject | None, records: Sequence[Record]) -> None:
        """One Event for each decision that decides something.  Never raises an error of meshctl."""
        for record in records:
            if record["actor"]["type"] != KEEPER.type:
                self._create(self._decision(release, run, record))

    def warn(self, release: Object, reason: str, note: str, now: datetime) -> None:
        """One Event about a release itself; the same words are told once."""
        told = hashlib.sha256(f"{reason} {note}".encode("utf-8", "replace")).hexdigest()
        name = f"{release['metadata']['name']}.{told[:16]}"
        time = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._create(self._event(name, time, "Warning", reason, "Refuse", note, release, None))

    def _create(self, event: Object) -> None:
        with suppress(MeshctlError):
            self._api.create(EVENT, event)

    def _decision(self, release: Object, run: RunObject | None, record: Mapping[str, Any]) -> Object:
        before, after, weight = record["phase"]["from"], record["phase"]["to"], record["weight"]
        moved = weight["from"] != weight["to"]
        action = _ACTIONS.get(after) if before != after else None
        name = f"{record['run']}.{record['hash'].removeprefix('sha256:')[:16]}"
        note = f"{record['message']} ({weight['from']:g} % -> {weight['to']:g} %)" if moved else record["message"]
        kind = "Warning" if after in _BAD and before != after else "Normal"
        return self._event(
            name,
            _micro(record["time"]),
            kind,
            record["reason"] or after,
            action or ("ShiftTraffic" if moved else "Note"),
            note,
            release,
            run,
        )

    def _event(
        self,
        name: str,
        time: str,
        kind: str,
        reason: str,
        action: str,
        note: str,
        release: Object,
        run: RunObject | None,
    ) -> Object:
        event: Object = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"name": name, "namespace": self._namespace},
            "eventTime": time,
            "type": kind,
            "reason": reason,
            "action": action,
            "note": _short(plain(note)),
            "regarding": _reference(RELEASE, release["metadata"]["name"], self._namespace, release["metadata"]["uid"]),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
        }
        if run is not None:
            event["related"] = _reference(RELEASE_RUN, run.name, self._namespace, run.uid)
        return event


def _reference(kind: Kind, name: str, namespace: str, uid: str) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.name, "name": name, "namespace": namespace, "uid": uid}


def _micro(time: str) -> str:
    """A decision's instant with the six digits that an Event's must have."""
    return datetime.fromisoformat(time).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _short(note: str) -> str:
    encoded = note.encode()
    if len(encoded) <= NOTE_BYTES_MAX:
        return note
    return encoded[: NOTE_BYTES_MAX - 3].decode("utf-8", "ignore") + "…"
