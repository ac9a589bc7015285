"""A state as JSON text and back, to the last bit.

Dataclasses become lists of their fields in order, integer arrays nested lists, arrays of floats base64 of their bytes
(little endian): compact, and exact.  The text begins with a format number; text of another format is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

from .dispersion import Singles
from .evalues import Counts, Floats

FORMAT = 1

State = TypeVar("State")


class StateError(ValueError):
    """Text that is not a state of this version of the judge."""


def dumps(state: Any) -> str:
    """``state``, a dataclass of dataclasses, arrays, tuples and plain values, as one line of JSON."""
    return json.dumps([FORMAT, _encoded(state)], separators=(",", ":"), allow_nan=False)


def loads(kind: type[State], text: str) -> State:
    """The state of class ``kind`` that ``dumps`` wrote.  Raises ``StateError`` for anything else."""
    try:
        found, raw = json.loads(text)
        if found != FORMAT:
            raise StateError(f"`text` is a state of format {found!r}, this version reads format {FORMAT}")
        state: State = _decoded(kind, raw)
    except (TypeError, KeyError, ValueError, binascii.Error) as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"`text` is not a state of the sequential judge: {error}") from error
    return state


def _encoded(value: Any) -> Any:
    kind: Any = type(value)
    if is_dataclass(kind):
        return [_encoded(getattr(value, name)) for name in _names(kind)]
    if isinstance(value, np.ndarray):
        if value.dtype == np.int64:
            return value.tolist()
        return base64.b64encode(value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()).decode()
    if isinstance(value, tuple):
        return [_encoded(part) for part in value]
    return value


@cache
def _names(kind: Hashable) -> tuple[str, ...]:
    return tuple(part.name for part in fields(cast(Any, kind)))


@cache
def _kinds(kind: Hashable) -> tuple[Any, ...]:
    hints = get_type_hints(cast(Any, kind))
    return tuple(hints[name] for name in _names(kind))


def _decoded(kind: Any, raw: Any) -> Any:
    if raw is None or kind in (int, float, bool, str, NoneType):
        return raw
    if kind == Counts:
        return np.array(raw, dtype=np.int64)
    if kind in (Floats, Singles):
        dtype = "<f8" if kind == Floats else "<f4"
        return np.frombuffer(base64.b64decode(raw, validate=True), dtype).astype(dtype[1:])
    if isinstance(kind, UnionType):
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
        return _decoded(kind, raw)
    if get_origin(kind) is tuple:
        part = get_args(kind)[0]
        return tuple(_decoded(part, item) for item in raw)
    kinds = _kinds(kind)
    if len(kinds) != len(raw):
        raise StateError(f"`text` has {len(raw)} values for {kind.__name__}, expected {len(kinds)}")
    return kind(*(_decoded(part, item) for part, item in zip(kinds, raw, strict=True)))
