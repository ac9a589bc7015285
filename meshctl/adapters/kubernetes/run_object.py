"""A ReleaseRun object: a run, its record, and, while it is the newest, the whole state of its release.

Pure: values in, objects out, and back.  Everything is in one object, so that one compare-and-swap stores a decision.
It is kept below `BYTES_MAX`; what gives way is told in `meshctl.adapters.kubernetes.chronicle`.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from meshctl.adapters import wire
from meshctl.adapters.kubernetes.api import Object
from meshctl.adapters.kubernetes.chronicle import Chronicle, Mark, marked, smaller
from meshctl.adapters.kubernetes.columns import columns_of, lines_of
from meshctl.adapters.kubernetes.kinds import RELEASE, RELEASE_RUN
from meshctl.core.errors import StoreError
from meshctl.core.model import ReleaseState, Run
from meshctl.core.record import WHOLE, Checkpoint, Head

BYTES_MAX = 64 * 1024
RESERVED_BYTES = 2 * 1024
"""What the API server adds: times, uid, who manages which field."""

MARK_WHEN_DECIDING, MARK_ANYWAY = 0.4, 0.65
"""How full an object is when the next place to cut is chosen: at a decision where one comes in time."""

COMPRESSION = 6
"""The highest one saves five percent and takes five times as long."""

UNPACKED_MAX = 16 * 1024 * 1024
FORMAT = 1
RELEASE_LABEL = "meshctl.dev/release"
WORDS_KEPT_BRIEF = 120
"""Characters of an acknowledgement's words where there is no room for all."""

_IDENTITY = ("name", "number", "baseline", "candidate", "spec")


@dataclass(frozen=True, slots=True)
class Owner:
    """The release that a run belongs to."""

    name: str
    namespace: str
    uid: str


@dataclass(frozen=True, slots=True)
class Link:
    """Another run of the chain.  ``version`` is the state of a predecessor that a run follows, empty elsewhere."""

    name: str
    uid: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Closing:
    """What the save that begins a run adds to the one before: its end, decisions, blocks."""

    run: Run
    decisions: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a release, as the object of its newest run carries it."""

    state: ReleaseState
    judge_state: str
    cursor: str


@dataclass(frozen=True, slots=True)
class RunObject:
    """A ReleaseRun as a value.

    ``writes`` counts how often it was written, ``written`` is when it was last; ``size`` (bytes), ``uid`` and
    ``version`` are those of the object it was read from or written as.
    """

    owner: Owner
    chronicle: Chronicle
    standing: Standing
    writes: int
    written: datetime
    previous: Link | None = None
    following: Link | None = None
    closes: Closing | None = None
    uid: str = ""
    version: str = ""
    size: int = 0

    @property
    def name(self) -> str:
        return self.chronicle.run.name


class Damaged(StoreError):
    """An object that is not what meshctl wrote."""


def closed(before: RunObject, following: Link, closing: Closing, now: datetime) -> RunObject:
    """A run as the one that ``following`` names leaves it behind: whoever computes it gets the same."""
    chronicle = before.chronicle
    decisions = (*chronicle.decisions, *closing.decisions)
    lines = (*chronicle.lines, *closing.lines)
    head = chronicle.head
    if closing.decisions:
        last = json.loads(closing.decisions[-1])
        head = Head(last["number"], last["hash"])
    named = len(lines) if closing.decisions else chronicle.named
    chronicle = replace(chronicle, run=closing.run, decisions=decisions, lines=lines, head=head, named=named)
    return replace(before, chronicle=chronicle, following=following, writes=before.writes + 1, written=now)


def fitted(found: RunObject, *, judge_known: bool = True, bytes_max: int = BYTES_MAX) -> tuple[RunObject, Object]:
    """The run as it is to be written, with its object: smaller than ``bytes_max`` wherever that can be had.

    ``judge_known``: the judge's state in ``found`` is the one after the newest block of this run.
    """
    chronicle, now = found.chronicle, found.written
    state = found.standing.judge_state if judge_known else None
    object = object_of(found)
    if state is not None and chronicle.mark is None and _wants_mark(chronicle, size_of(object) / bytes_max):
        found = replace(found, chronicle=marked(chronicle, state, now))
        object = object_of(found)
    while size_of(object) > bytes_max:
        less = smaller(found.chronicle, state, now)
        if less is None:
            return _brief(found)
        found = replace(found, chronicle=less)
        object = object_of(found)
    return replace(found, size=size_of(object)), object


def size_of(object: Object) -> int:
    """Bytes of an object as it will be stored."""
    return len(json.dumps(object, separators=(",", ":"), ensure_ascii=False).encode()) + RESERVED_BYTES


def _wants_mark(chronicle: Chronicle, full: float) -> bool:
    if not chronicle.lines:
        return False
    at_decision = chronicle.named == len(chronicle.lines)
    return full > (MARK_WHEN_DECIDING if at_decision else MARK_ANYWAY)


def _brief(found: RunObject) -> tuple[RunObject, Object]:
    """The last resort: what people said in older requests, which the decisions hold too."""
    state = found.standing.state
    words = tuple(
        replace(word, actor=word.actor[:WORDS_KEPT_BRIEF], message=word.message[:WORDS_KEPT_BRIEF])
        for word in state.acknowledged
    )
    found = replace(found, standing=replace(found.standing, state=replace(state, acknowledged=words)))
    object = object_of(found)
    return replace(found, size=size_of(object)), object


# ------------------------------------------------------------------------------------ to an object


def object_of(found: RunObject) -> Object:
    """The whole object, ready to be created or, with a ``version``, to replace what is there."""
    run, chronicle, standing = found.chronicle.run, found.chronicle, found.standing
    fields = wire.encode(run)
    spec = {
        "release": found.owner.name,
        "number": run.number,
        "baseline": run.baseline,
        "candidate": run.candidate,
        "snapshot": fields["spec"],
    }
    object: Object = {
        "apiVersion": RELEASE_RUN.api_version,
        "kind": RELEASE_RUN.name,
        "metadata": _metadata(found),
        "spec": {key: value for key, value in spec.items() if value is not None},
        "status": {key: value for key, value in fields.items() if key not in _IDENTITY},
        "record": _record(found, chronicle),
    }
    if found.following is None:
        object["state"] = wire.encode(replace(standing.state, run=None))
        object["record"]["judge"] = _packed([standing.judge_state, standing.cursor])
    for key, link in (("previous", found.previous), ("next", found.following)):
        if link is not None:
            object[key] = {name: value for name, value in wire.encode(link).items() if value}
    if found.closes is not None:
        object["closes"] = {
            "run": wire.encode(found.closes.run),
            "decisions": _packed(found.closes.decisions),
            "blocks": _packed_blocks(found.closes.lines),
        }
    return object


def _metadata(found: RunObject) -> Object:
    owner = found.owner
    metadata: Object = {
        "name": found.name,
        "namespace": owner.namespace,
        "labels": {RELEASE_LABEL: owner.name},
        "ownerReferences": [
            {"apiVersion": RELEASE.api_version, "kind": RELEASE.name, "name": owner.name, "uid": owner.uid}
        ],
    }
    if found.uid:
        metadata["uid"] = found.uid
    if found.version:
        metadata["resourceVersion"] = found.version
    return metadata


def _record(found: RunObject, chronicle: Chronicle) -> Object:
    record: Object = {
        "format": FORMAT,
        "head": wire.encode(chronicle.head),
        "decisions": _packed(chronicle.decisions),
        "blocks": _packed_blocks(chronicle.lines) | {"named": chronicle.named},
        "writes": found.writes,
        "written": wire.format_time(found.written),
    }
    if chronicle.checkpoint != WHOLE:
        record["checkpoint"] = _with_packed_state(wire.encode(chronicle.checkpoint))
    if chronicle.mark is not None:
        record["mark"] = _with_packed_state(wire.encode(chronicle.mark))
    return record


def _with_packed_state(fields: Object) -> Object:
    return fields | {"judgeState": _packed([fields["judgeState"]])}


def _packed(texts: Sequence[str]) -> Object:
    """Texts as JSON, gzip, base64.  The same texts give the same characters."""
    return {"count": len(texts), "gzip": _squeezed(list(texts))}


def _packed_blocks(lines: Sequence[str]) -> Object:
    """Packed blocks by columns."""
    return {"count": len(lines), "gzip": _squeezed(columns_of(lines))}


def _squeezed(data: list[Any]) -> str:
    content = json.dumps(data, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(content, COMPRESSION, mtime=0)).decode()


# ------------------------------------------------------------------------------------ from an object


def run_object(object: Object) -> RunObject:
    """The run that an object holds.  Raises `Damaged` when it is not what meshctl wrote."""
    meta = object["metadata"]
    return _whole(object, lambda: _read(object, meta))


def owner_uid(object: Object) -> str:
    """The uid of the release that a run belongs to; empty when none owns it."""
    owners = object["metadata"].get("ownerReferences") or ()
    return next((each["uid"] for each in owners if each.get("kind") == RELEASE.name), "")


def _whole(object: Object, read: Callable[[], RunObject]) -> RunObject:
    label = RELEASE_RUN.label(object["metadata"]["name"], object["metadata"].get("namespace", ""))
    version = (object.get("record") or {}).get("format")
    if isinstance(version, int) and version > FORMAT:
        raise Damaged(f"{label}: was written by a newer meshctl (format {version})", hint="Use that one, or a newer.")
    try:
        return read()
    except (wire.WireError, LookupError, TypeError, ValueError, binascii.Error, zlib.error, EOFError) as error:
        raise Damaged(
            f"{label}: is not what meshctl wrote: {type(error).__name__}: {error}",
            hint="Nothing was done. Put it back from a backup, or delete its Release and apply it anew.",
        ) from error


def _read(object: Object, meta: Object) -> RunObject:
    spec, record = object["spec"], object["record"]
    fields = {"baseline": None} | object["status"]
    fields |= {name: spec[name] for name in ("number", "baseline", "candidate") if name in spec}
    run = wire.decode(Run, fields | {"name": meta["name"], "spec": spec["snapshot"]})
    blocks = record["blocks"]
    chronicle = Chronicle(
        run,
        wire.decode(Head, record["head"]),
        _unpacked(record["decisions"]),
        _unpacked_blocks(blocks),
        blocks["named"],
        wire.decode(Checkpoint, _with_plain_state(record["checkpoint"])) if "checkpoint" in record else WHOLE,
        wire.decode(Mark, _with_plain_state(record["mark"])) if "mark" in record else None,
    )
    judge_state, cursor = _unpacked(record["judge"]) if "judge" in record else ("", "")
    state = replace(wire.decode(ReleaseState, object.get("state") or {}), run=run)
    return RunObject(
        owner=Owner(spec["release"], meta.get("namespace", ""), owner_uid(object)),
        chronicle=chronicle,
        standing=Standing(state, judge_state, cursor),
        writes=record["writes"],
        written=wire.decode(datetime, record["written"]),
        previous=_link(object.get("previous")),
        following=_link(object.get("next")),
        closes=_closing(object.get("closes")),
        uid=meta.get("uid", ""),
        version=meta.get("resourceVersion", ""),
        size=size_of(object),
    )


def _link(data: Mapping[str, Any] | None) -> Link | None:
    return None if data is None else wire.decode(Link, {"name": "", "uid": ""} | dict(data))


def _closing(data: Mapping[str, Any] | None) -> Closing | None:
    if data is None:
        return None
    return Closing(
        wire.decode(Run, {"baseline": None} | data["run"]),
        _unpacked(data["decisions"]),
        _unpacked_blocks(data["blocks"]),
    )


def _with_plain_state(fields: Object) -> Object:
    return fields | {"judgeState": _unpacked(fields["judgeState"])[0]}


def _unpacked(packed: Mapping[str, Any]) -> tuple[str, ...]:
    return _counted(tuple(_released(packed["gzip"])), packed["count"])


def _unpacked_blocks(packed: Mapping[str, Any]) -> tuple[str, ...]:
    return _counted(tuple(lines_of(_released(packed["gzip"]))), packed["count"])


def _counted(texts: tuple[str, ...], count: int) -> tuple[str, ...]:
    if len(texts) != count:
        raise ValueError(f"a packed part holds {len(texts)} texts, its count says {count}")
    return texts


def _released(text: str) -> list[Any]:
    reader = zlib.decompressobj(wbits=31)
    content = reader.decompress(base64.b64decode(text, validate=True), UNPACKED_MAX)
    if not reader.eof:
        raise ValueError("a packed part is cut off")
    return list(json.loads(content))
