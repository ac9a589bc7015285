"""A run as one JSON object of kind ``ReleaseRun``, and a file of it that can be replayed on another machine.

The shape is told in ``docs/records.md``.  Blocks are packed lines, gzip, base64.  ``digest`` stands over everything
else in the file, so a number that was changed where no decision names it is found too.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from meshctl.adapters import wire
from meshctl.core.catalog import Dossier
from meshctl.core.errors import InvalidInput
from meshctl.core.model import API_VERSION, Block, Run
from meshctl.core.packing import canonical, digest, pack, unpack
from meshctl.core.plaintext import plain_json
from meshctl.core.record import WHOLE, Checkpoint, Head, Record

KIND = "ReleaseRun"
FILE_BYTES_MAX = 256_000_000
BLOCK_BYTES_MAX = 512_000_000
_IDENTITY = ("name", "number", "baseline", "candidate", "spec")
_HINT = "It must be what `meshctl export RUN -o FILE` wrote."


def run_data(release: str, run: Run, head: Head) -> dict[str, Any]:
    """The run without its decisions and blocks, as ``history -o json`` shows it."""
    fields = wire.encode(run)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": run.name},
        "spec": {
            "release": release,
            "number": run.number,
            "baseline": run.baseline,
            "candidate": run.candidate,
            "snapshot": fields["spec"],
        },
        "status": {key: value for key, value in fields.items() if key not in _IDENTITY},
        "record": {"head": {"decisions": head.decisions, "hash": head.hash}},
    }


def export_text(dossier: Dossier) -> str:
    """Everything about a run as the text of a file."""
    data = run_data(dossier.release, dossier.run, dossier.head)
    lines = [pack(block) for block in dossier.blocks]
    packed = gzip.compress("\n".join(lines).encode(), mtime=0)
    data["record"] |= {
        "decisions": list(dossier.decisions),
        "blocks": {"count": len(lines), "gzip": base64.b64encode(packed).decode()},
    }
    if dossier.checkpoint != WHOLE:
        data["record"]["checkpoint"] = wire.encode(dossier.checkpoint)
    data["digest"] = digest(canonical(data))
    return plain_json(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def write_export(path: Path, dossier: Dossier) -> int:
    """Write the run to a file, as a whole or not at all; returns its size in bytes.  Raises `InvalidInput`."""
    content = export_text(dossier).encode()
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    if path.exists() and not path.is_file():  # a pipe or a device is not to be replaced
        beside = path
    try:
        with beside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            with suppress(OSError):  # a pipe cannot be synced
                os.fsync(stream.fileno())
        if beside != path:
            beside.rename(path)
    except OSError as error:
        if beside != path:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
        raise InvalidInput(f"{path}: cannot be written: {error.strerror}") from error
    return len(content)


def load_export(path: Path) -> tuple[Dossier, bool]:
    """The run in a file, and whether the file is as it was written.

    Raises `InvalidInput` naming file, place and problem when it is no export at all.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise InvalidInput(f"{path}: is larger than {FILE_BYTES_MAX:,} bytes, which no run is", hint=_HINT)
    try:
        return _read(content)
    except wire.WireError as error:
        raise InvalidInput(f"{path}: {error}") from error
    except (_Wrong, RecursionError) as error:
        raise InvalidInput(f"{path}: {error}", hint=_HINT) from error


class _Wrong(Exception):
    """What is in the file is not an export."""


def _read(content: bytes) -> tuple[Dossier, bool]:
    try:
        data = json.loads(content)
    except ValueError as error:
        raise _Wrong(f"is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise _Wrong(f"is not a {KIND}")
    if data.get("apiVersion") != API_VERSION:
        raise _Wrong(f"apiVersion: must be {API_VERSION}, found {data.get('apiVersion')!r}")
    spec, status, record = (_mapping(data, name) for name in ("spec", "status", "record"))
    fields = {name: spec.get(name) for name in ("number", "baseline", "candidate") if spec.get(name) is not None}
    fields |= {"name": _mapping(data, "metadata").get("name"), "spec": _mapping(spec, "snapshot", "spec.")}
    run = wire.decode(Run, {"baseline": None} | {**status} | fields)
    decisions = record.get("decisions")
    if not isinstance(decisions, list) or not all(isinstance(each, dict) for each in decisions):
        raise _Wrong("record.decisions: must be a list of decisions")
    head = wire.decode(Head, _mapping(record, "head", "record."))
    blocks = _blocks(_mapping(record, "blocks", "record."))
    checkpoint = WHOLE
    if "checkpoint" in record:
        checkpoint = wire.decode(Checkpoint, _mapping(record, "checkpoint", "record."))
    found = Dossier(str(spec.get("release")), run, head, tuple(decisions), blocks, checkpoint)
    return found, _digest_of(data) == data.get("digest")


def _digest_of(data: Record) -> str | None:
    try:
        return digest(canonical({key: value for key, value in data.items() if key != "digest"}))
    except ValueError:  # NaN, which Python's reader lets through
        return None


def _blocks(packed: Mapping[str, Any]) -> tuple[Block, ...]:
    try:
        raw = base64.b64decode(packed.get("gzip", ""), validate=True)
        reader = zlib.decompressobj(wbits=31)
        text = reader.decompress(raw, BLOCK_BYTES_MAX).decode()
        whole = reader.eof and not reader.unused_data
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise _Wrong(f"record.blocks.gzip: is damaged: {error}") from error
    if not whole:
        raise _Wrong("record.blocks.gzip: is cut off or goes on after its end")
    lines = text.splitlines()
    if packed.get("count") != len(lines):
        raise _Wrong(f"record.blocks: has {len(lines)} blocks, its count says {packed.get('count')!r}")
    return tuple(_block(number, line) for number, line in enumerate(lines, start=1))


def _block(number: int, line: str) -> Block:
    try:
        block = unpack(line)
        if pack(block) == line:
            return block
        found: object = "not written as meshctl writes it"
    except (ValueError, TypeError) as error:
        found = error
    raise _Wrong(f"record.blocks: block {number}: {found}")


def _mapping(data: Mapping[str, Any], name: str, under: str = "") -> dict[str, Any]:
    found = data.get(name)
    if not isinstance(found, dict):
        raise _Wrong(f"{under}{name}: must be a mapping")
    return found
