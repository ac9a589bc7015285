"""The API server in memory keeps what every `Api` promises; the real one is asked in `tests/cluster`."""

from __future__ import annotations

import pytest

from meshctl.adapters.kubernetes.kinds import Kind
from meshctl.adapters.kubernetes.problems import Call, error_of
from tests.adapters import api_contract
from tests.adapters.api_contract import *  # noqa: F403 - the suite
from tests.adapters.api_contract import GADGET, WIDGET, Place
from tests.adapters.api_memory import MemoryApi


@pytest.fixture
def place():
    api = MemoryApi(namespaces=("default", "test"))
    api.cluster.unknown.add(GADGET)
    api.cluster.admission = _schema
    stranger = api.seen_by("system:serviceaccount:test:stranger")
    for verb in ("get", "list", "watch", "create", "update", "patch", "delete"):
        stranger.deny(verb, WIDGET)

    def forget() -> str:
        old = api.list(WIDGET).resource_version
        api.create(WIDGET, api_contract.widget("test", "passing"))
        api.forget()
        return old

    return Place(api, "test", stranger, stranger.user, forget)


def _schema(kind: Kind, new: dict, old: dict | None) -> None:
    if kind == WIDGET and not isinstance(new.get("spec", {}).get("mode", ""), str):
        cause = {"field": "spec.mode", "message": "must be of type string"}
        meta = new["metadata"]
        call = Call("create" if old is None else "patch", kind, meta["name"], meta["namespace"])
        raise error_of(call, 422, {"message": "invalid", "details": {"causes": [cause]}})
