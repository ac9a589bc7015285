"""A state as JSON text and back, to the last bit.

Dataclasses become lists of their fields in order, integer arrays nested lists, arrays of floats base64 of their bytes
(little endian): compact, and exact.  The text begins with a format number; text of another format is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Hashable
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
        state: State = _decoder(cast(Any, kind))(raw)
    except (TypeError, KeyError, ValueError, binascii.Error) as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"`text` is not a state of this judge: {error}") from error
    return state


def _encoded(value: Any) -> Any:
    if value is None or isinstance(value, (float, int, str)):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype == np.int64:
            return value.tolist()
        return base64.b64encode(value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()).decode()
    if isinstance(value, tuple):
        return [_encoded(part) for part in value]
    return [_encoded(getattr(value, name)) for name in _names(cast(Any, type(value)))]


@cache
def _names(kind: Hashable) -> tuple[str, ...]:
    return tuple(part.name for part in fields(cast(Any, kind)))


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """What turns plain JSON values into a value of the annotated ``kind``."""
    if kind == Counts:
        return lambda raw: np.array(raw, dtype=np.int64)
    if kind in (Floats, Singles):
        dtype = "<f8" if kind == Floats else "<f4"
        return lambda raw: np.frombuffer(base64.b64decode(raw, validate=True), dtype).astype(dtype[1:])
    if isinstance(kind, UnionType):
        (inner,) = (_decoder(part) for part in get_args(kind) if part is not NoneType)
        return lambda raw: None if raw is None else inner(raw)
    if get_origin(kind) is tuple:
        part = _decoder(get_args(kind)[0])
        return lambda raw: tuple([part(item) for item in raw])
    if is_dataclass(kind):
        return _dataclass_decoder(kind)
    return lambda raw: raw


def _dataclass_decoder(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    decoders = tuple(_decoder(hints[name]) for name in _names(kind))

    def decode(raw: Any) -> Any:
        if len(raw) != len(decoders):
            raise StateError(f"`text` has {len(raw)} values for {kind.__name__}, expected {len(decoders)}")
        return kind(*[decoder(item) for decoder, item in zip(decoders, raw, strict=True)])

    return decode
