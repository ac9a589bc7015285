"""The CustomResourceDefinitions of Release and ReleaseRun, made of the core's dataclasses.

``templates/install/crds.yaml`` is their text.  `Release` has the status subresource: whoever may write a wish may not
write what became of it.  `ReleaseRun` has none: it is a record that meshctl alone writes, each write in one piece, and
what a newer meshctl wrote into it an older schema neither refuses nor drops.

Defaults are not in the schema: an object stays as its writer wrote it, and reading it (`wire.decode`) is the one place
where they are filled in, for files and for a cluster alike.
"""

from __future__ import annotations

from typing import Any

from meshctl.adapters.kubernetes.crd_notes import NOTES
from meshctl.adapters.kubernetes.kinds import CUSTOM_RESOURCE_DEFINITION, RELEASE, RELEASE_RUN, Kind
from meshctl.adapters.kubernetes.openapi import (
    ANYTHING,
    RECORD_TEXT_MAX,
    TIME_MAX,
    Notes,
    Schema,
    record_schema_of,
    schema_of,
)
from meshctl.adapters.manifests import dump_yaml
from meshctl.core import validation
from meshctl.core.model import ReleaseSpec, ReleaseState, Run
from meshctl.core.names import LABEL_LIMIT
from meshctl.core.record import Head
from meshctl.core.status import Condition, Status

CATEGORY = "meshctl"
HEADER = (
    "# The objects that meshctl keeps in a cluster.  Made of meshctl/core by the test of this file, see\n"
    "# tests/adapters/test_crds.py; whoever changes the core's values makes it anew with MESHCTL_REWRITE=1.\n"
)
PACKED_MAX = 262_144
"""Most characters of a packed part; the whole object is kept far below that (`run_object.BYTES_MAX`)."""

_UNDER_WAY = (
    "has(oldSelf.status) && has(oldSelf.status.run) && has(oldSelf.status.phase)"
    " && !(oldSelf.status.phase in ['Promoted', 'RolledBack'])"
)


def definitions() -> list[dict[str, Any]]:
    """Both definitions, as plain data."""
    return [
        _definition(RELEASE, ["rls"], _release(), _RELEASE_COLUMNS),
        _definition(RELEASE_RUN, ["rlsrun"], _run(), _RUN_COLUMNS),
    ]


def text() -> str:
    """Both definitions as YAML."""
    return HEADER + dump_yaml(definitions())


def _definition(kind: Kind, short_names: list[str], schema: Schema, columns: list[dict[str, Any]]) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": columns,
    }
    if kind is RELEASE:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": CUSTOM_RESOURCE_DEFINITION.api_version,
        "kind": CUSTOM_RESOURCE_DEFINITION.name,
        "metadata": {"name": kind.resource, "labels": {"app.kubernetes.io/part-of": "meshctl"}},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": short_names,
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


# ------------------------------------------------------------------------------------ columns


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False, about: str = "") -> dict[str, Any]:
    column = {"name": name, "jsonPath": path, "type": kind} | ({"description": about} if about else {})
    return column | ({"priority": 1} if wide else {})


_AGE = _column("Age", ".metadata.creationTimestamp", "date")
_RELEASE_COLUMNS = [
    _column("Status", ".status.phase"),
    _column("Stage", ".status.stage", "integer", about="counted from 0"),
    _column("Weight", ".status.weight", "number", about="percent of the candidate"),
    _column("Verdict", ".status.verdict", about="the judge's word on this stage"),
    _AGE,
    _column("Wished", ".spec.version", wide=True),
    _column("Baseline", ".status.baseline", wide=True),
    _column("Reason", ".status.reason", wide=True),
    _column("Run", ".status.run", wide=True),
    _column("Confirmed", ".status.confirmed", "number", wide=True, about="percent that the data plane has taken up"),
    _column("Waits For", ".status.waitsFor", wide=True),
]
_RUN_COLUMNS = [
    _column("Release", ".spec.release"),
    _column("Candidate", ".spec.candidate"),
    _column("Status", ".status.phase"),
    _column("Reason", ".status.reason"),
    _column("Weight", ".status.weight", "number"),
    _AGE,
    _column("Baseline", ".spec.baseline", wide=True),
    _column("Verdict", ".status.verdict", wide=True),
    _column("Decisions", ".record.head.decisions", "integer", wide=True),
    _column("Ended", ".status.endedAt", "date", wide=True),
]


# ------------------------------------------------------------------------------------ Release


def _release() -> Schema:
    name = {
        "type": "string",
        "maxLength": LABEL_LIMIT,
        "pattern": f"^{validation.DNS_LABEL.pattern}$",
    }
    return {
        "type": "object",
        "description": 'The wish "service S runs version V".  Its spec never names a weight of the moment.',
        "required": ["spec"],
        "properties": {
            **_identity(),
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": schema_of(ReleaseSpec, NOTES),
            "status": _status(),
        },
        "x-kubernetes-validations": _target_stays(),
    }


def _status() -> Schema:
    status = record_schema_of(Status, Notes())
    condition = record_schema_of(Condition, Notes())
    del condition["properties"]["since"]
    condition["properties"]["lastTransitionTime"] = {"type": "string", "maxLength": TIME_MAX}
    status["properties"]["conditions"] |= {
        "items": condition | {"required": ["type", "status"]},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    for number in ("weight", "confirmed"):
        status["properties"][number] = {"type": "number"}
    status["properties"]["writes"] = {
        "type": "integer",
        "format": "int64",
        "description": "Which write of the newest run this status is told from.",
    }
    status["properties"]["initial"] = _text(RECORD_TEXT_MAX) | {
        "description": "What is stored of a release that has had no run yet."
    }
    return status | {"description": "What became of the wish.  Written by meshctl only."}


def _target_stays() -> list[Schema]:
    """What a run moves may not become something else under its hands."""
    rules = []
    for path, default in (
        ("service", None),
        ("versionLabel", "'version'"),
        ("mesh.ownership", "'generated'"),
        ("mesh.hosts", "[]"),
        ("mesh.gateways", "['mesh']"),
    ):
        same = f"{_value('self', path, default)} == {_value('oldSelf', path, default)}"
        rules.append(_stays(path, same))
    now, before = (_has(each, "mesh.adopt") for each in ("self", "oldSelf"))
    same = f"({now}) == ({before}) && (!({now} && {before}) || self.spec.mesh.adopt == oldSelf.spec.mesh.adopt)"
    return [*rules, _stays("mesh.adopt", same)]


def _stays(path: str, same: str) -> Schema:
    return {
        "rule": f"!({_UNDER_WAY}) || ({same})",
        "message": "cannot change while a run is under way: abort it, or wait for its end",
        "fieldPath": f".spec.{path}",
        "reason": "FieldValueForbidden",
    }


def _has(root: str, path: str) -> str:
    parts = path.split(".")
    return " && ".join(f"has({root}.spec.{'.'.join(parts[: count + 1])})" for count in range(len(parts)))


def _value(root: str, path: str, default: str | None) -> str:
    value = f"{root}.spec.{path}"
    return value if default is None else f"({_has(root, path)} ? {value} : {default})"


# ------------------------------------------------------------------------------------ ReleaseRun


def _run() -> Schema:
    """Its parts are those of `run_object`."""
    status = record_schema_of(Run, Notes(left_out=frozenset((Run, name) for name in _IDENTITY)))
    state = record_schema_of(ReleaseState, Notes(left_out=frozenset({(ReleaseState, "run")})))
    named = {"name": _text(LABEL_LIMIT * 2), "uid": _text(64)}
    record = {
        "head": record_schema_of(Head, Notes()),
        "decisions": _packed(),
        "blocks": _packed(),
        "judge": _packed(),
        "writes": {"type": "integer", "format": "int64"},
        "written": _text(TIME_MAX),
        "checkpoint": dict(ANYTHING),
        "mark": dict(ANYTHING),
    }
    spec = {
        "release": _text(LABEL_LIMIT),
        "number": {"type": "integer", "format": "int64"},
        "baseline": _text(LABEL_LIMIT),
        "candidate": _text(LABEL_LIMIT),
        "snapshot": record_schema_of(ReleaseSpec, Notes(words=NOTES.words)),
    }
    return {
        "type": "object",
        "description": "The record of a run, its decisions and what they stood on.  Written by meshctl, never by hand.",
        "properties": {
            **_identity(),
            "metadata": {"type": "object"},
            "spec": _whole(spec, "What the run is to do: a snapshot of its release as it began."),
            "status": status | {"x-kubernetes-map-type": "atomic", "description": "Where the run stands."},
            "state": state
            | {"x-kubernetes-map-type": "atomic", "description": "The state of the release, as of its newest run."},
            "record": _whole(record, "The chain of decisions, the blocks they stand on and the judge's state; packed."),
            "previous": _whole(
                {**named, "version": _text(TIME_MAX * 4)}, "The run before, and the state of it that this one follows."
            ),
            "next": _whole(named, "The run that took the place of this one."),
            "closes": dict(ANYTHING)
            | {"description": "What this run's beginning adds to the record of the one before."},
        },
    }


_IDENTITY = ("name", "number", "baseline", "candidate", "spec")


def _identity() -> Schema:
    return {name: {"type": "string", "maxLength": 253} for name in ("apiVersion", "kind")}


def _whole(properties: Schema, about: str) -> Schema:
    """An object that is written in one piece: one line of field management instead of one for each leaf."""
    return {
        "type": "object",
        "description": about,
        "properties": properties,
        "x-kubernetes-map-type": "atomic",
        "x-kubernetes-preserve-unknown-fields": True,
    }


def _packed() -> Schema:
    count = {"type": "integer", "format": "int64"}
    return {
        "type": "object",
        "properties": {"count": count, "gzip": _text(PACKED_MAX)},
        "x-kubernetes-preserve-unknown-fields": True,
    }


def _text(most: int) -> Schema:
    return {"type": "string", "maxLength": most}
