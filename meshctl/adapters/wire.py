"""The values of ``core.model`` as plain data and back: camelCase keys, ``1h30m`` durations, RFC 3339 instants.

``decode`` and ``encode`` are guided by the type hints of the dataclasses.  Each type is compiled once into nested
closures, so a stored run costs microseconds.  (msgspec alone cannot do it: it neither renames the fields of stdlib
dataclasses nor reads Go-style durations, and its messages do not say which field was meant.)

What is written is what is read back: microseconds of instants and durations survive, and floats that JSON has no
sign for are written as protobuf writes them (``"NaN"``, ``"Infinity"``, ``"-Infinity"``).
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import Enum
from functools import cache, lru_cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from meshctl.core.errors import InvalidInput
from meshctl.core.timetext import DURATION_HINT, format_duration, format_time, parse_duration

__all__ = [
    "WireError",
    "camel",
    "decode",
    "encode",
    "format_duration",
    "format_path",
    "format_time",
    "nearest",
    "parse_duration",
]

T = TypeVar("T")
Path = tuple[str | int, ...]
_Decoder = Callable[[Any], Any]
_Encoder = Callable[[Any], Any]

_ODD_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class WireError(InvalidInput):
    """Data that is not what its type says.  ``path`` leads to the place, ``problem`` says what is wrong there.

    ``wanted_text`` is set where text was wanted and something unquoted was found; ``unknown`` names a field that
    does not exist (the last part of ``path``).
    """

    def __init__(self, problem: str, *, hint: str = "", wanted_text: bool = False, unknown: bool = False) -> None:
        super().__init__(problem, hint=hint)
        self.problem = problem
        self.path: Path = ()
        self.wanted_text = wanted_text
        self.unknown = unknown

    def under(self, part: str | int) -> WireError:
        """The same error, seen from one level further out."""
        self.path = (part, *self.path)
        return self

    def __str__(self) -> str:
        where = format_path(self.path)
        text = f"{where}: {self.problem}" if where else self.problem
        return f"{text}\n  {self.hint}" if self.hint else text


def format_path(path: Iterable[str | int]) -> str:
    """``("spec", "stages", 1, "weight")`` as people read it: ``spec.stages[1].weight``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part, re.ASCII):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'weight'?`` or nothing when no known name is near."""
    names = list(known)
    close = get_close_matches(name, names, n=1) or [k for k in names if k.lower() == name.lower()]
    return f"did you mean '{close[0]}'?" if close else ""


def decode(kind: type[T], data: object) -> T:
    """Build a ``kind`` from plain data.  Raises `WireError` that names the first wrong place."""
    return cast(T, _decoder(cast(Hashable, kind))(data))


def encode(value: object) -> Any:
    """A core value as plain data, ready for JSON or YAML.  Fields that are ``None`` by default are left out."""
    return _encoder(cast(Hashable, type(value)))(value)


# ------------------------------------------------------------------------------------ reading


def _found(value: object) -> str:
    if value is None:
        return "found nothing"
    if isinstance(value, bool):
        return f"found {'true' if value else 'false'}"
    if isinstance(value, (int, float)):
        return f"found the number {value}"
    if isinstance(value, str):
        return f"found {value[:60]!r}"
    return "found a mapping" if isinstance(value, Mapping) else "found a list"


def _wrong(wanted: str, value: object, *, hint: str = "") -> WireError:
    return WireError(f"must be {wanted}, {_found(value)}", hint=hint)


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        unquoted = isinstance(value, (bool, int, float))
        hint = "put it in quotes, so that it is read as text" if unquoted else ""
        error = _wrong("text", value, hint=hint)
        error.wanted_text = unquoted
        raise error
    return value


def _read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong("true or false", value)
    return value


def _read_int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong("a whole number", value)
    return value


def _read_float(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, str) and value in _ODD_FLOATS:
        return _ODD_FLOATS[value]
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong("a number", value)
    try:
        return float(value)
    except OverflowError:
        raise WireError("must be a number that a computer can hold, found one too large") from None


@lru_cache(maxsize=4096)
def _read_duration_text(value: str) -> timedelta:
    return parse_duration(value)


def _read_duration(value: Any) -> timedelta:
    if not isinstance(value, str):
        raise _wrong("a duration", value, hint=DURATION_HINT)
    try:
        return _read_duration_text(value)
    except InvalidInput:
        raise _wrong("a duration", value, hint=DURATION_HINT) from None


def _read_time(value: Any) -> datetime:
    hint = "write it as 2026-11-23T07:40:12.300Z"
    if not isinstance(value, str):
        raise _wrong("an instant", value, hint=hint)
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise _wrong("an instant", value, hint=hint) from None
    if instant.tzinfo is None:
        raise WireError(f"must be an instant with its zone, found {value!r}", hint=hint)
    return instant if instant.tzinfo is UTC else instant.astimezone(UTC)


_SCALARS: dict[Any, _Decoder] = {
    str: _read_text,
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    timedelta: _read_duration,
    datetime: _read_time,
}


@cache
def _decoder(hint: Any) -> _Decoder:
    if hint in _SCALARS:
        return _SCALARS[hint]
    if hint in (object, Any):
        return lambda value: value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _optional_decoder(_decoder(_only_member(hint)))
    if origin in (tuple, list, Sequence):
        return _sequence_decoder(_decoder(arguments[0]), tuple if origin is not list else list)
    if origin in (dict, Mapping):
        return _mapping_decoder(_decoder(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_decoder(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass_decoder(cast(type, hint))
    raise TypeError(f"no codec for {hint!r}")


def _only_member(hint: Any) -> Any:
    """``X`` of ``X | None``; no other unions are known."""
    members = [member for member in get_args(hint) if member is not type(None)]
    if len(members) != 1:
        raise TypeError(f"no codec for {hint!r}")
    return members[0]


def _optional_decoder(inner: _Decoder) -> _Decoder:
    return lambda value: None if value is None else inner(value)


def _sequence_decoder(item: _Decoder, build: Callable[[list[Any]], Any]) -> _Decoder:
    def read(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise _wrong("a list", value)
        items = []
        try:
            for entry in value:
                items.append(item(entry))
        except WireError as error:
            raise error.under(len(items)) from None
        return build(items)

    return read


def _mapping_decoder(item: _Decoder) -> _Decoder:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong("a mapping", value)
        result = {}
        for key, entry in value.items():
            if not isinstance(key, str):
                error = _wrong("text", key, hint="put the key in quotes, so that it is read as text")
                raise error
            try:
                result[key] = item(entry)
            except WireError as error:
                raise error.under(key) from None
        return result

    return read


def _enum_decoder(kind: type[Enum]) -> _Decoder:
    members: dict[Any, Enum] = {member.value: member for member in kind}
    allowed = ", ".join(str(value) for value in members)

    def read(value: Any) -> Enum:
        member = members.get(value) if isinstance(value, str) else None
        if member is None:
            guess = nearest(value, [str(known) for known in members]) if isinstance(value, str) else ""
            raise _wrong(f"one of: {allowed}", value, hint=guess)
        return member

    return read


def camel(name: str) -> str:
    """``max_duration`` -> ``maxDuration``."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _fields(kind: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = get_type_hints(kind)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind) if field.init]


def _unknown(key: object, known: Iterable[str]) -> WireError:
    guess = nearest(str(key), known)
    allowed = f"allowed: {', '.join(sorted(known))}"
    return WireError("; ".join(filter(None, ("unknown field", f"{guess}  {allowed}".strip()))), unknown=True)


def _dataclass_decoder(kind: type) -> _Decoder:
    fields: dict[str, tuple[str, _Decoder]] = {}
    required: set[str] = set()
    nothing: set[str] = set()
    compiled = False

    def compile_fields() -> None:  # late, so that types may refer to each other
        nonlocal compiled
        for field, hint in _fields(kind):
            fields[camel(field.name)] = (field.name, _decoder(hint))
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                # An API server drops a null that its schema does not speak of.
                (nothing if type(None) in get_args(hint) else required).add(field.name)
        compiled = True

    def read(value: Any) -> Any:
        if not compiled:
            compile_fields()
        if not isinstance(value, Mapping):
            raise _wrong("a mapping", value, hint=f"its fields are: {', '.join(sorted(fields))}")
        arguments: dict[str, Any] = {}
        for key, entry in value.items():
            known = fields.get(key)
            if known is None:
                raise _unknown(key, fields).under(str(key))
            try:
                arguments[known[0]] = known[1](entry)
            except WireError as error:
                raise error.under(key) from None
        if not required <= arguments.keys():
            missing = sorted(camel(name) for name in required - arguments.keys())
            raise WireError("is missing").under(missing[0])
        return kind(**(dict.fromkeys(nothing) | arguments))

    return read


# ------------------------------------------------------------------------------------ writing


def _same(value: Any) -> Any:
    return value


def _write_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


@cache
def _encoder(hint: Any) -> _Encoder:
    if hint in (str, bool, int, type(None)):
        return _same
    if hint is float:
        return _write_float
    if hint is timedelta:
        return format_duration
    if hint is datetime:
        return format_time
    if hint in (object, Any):
        return encode
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = _encoder(_only_member(hint))
        return inner if inner is _same else lambda value: None if value is None else inner(value)
    if origin in (tuple, list, Sequence):
        item = _encoder(arguments[0])
        return list if item is _same else lambda value: [item(entry) for entry in value]
    if origin in (dict, Mapping):
        entry_encoder = _encoder(arguments[1])
        if entry_encoder is _same:
            return dict
        return lambda value: {key: entry_encoder(entry) for key, entry in value.items()}
    if hint in (tuple, list):
        return lambda value: [encode(entry) for entry in value]
    if hint is dict:
        return lambda value: {key: encode(entry) for key, entry in value.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda value: value.value
    if dataclasses.is_dataclass(hint):
        return _dataclass_encoder(cast(type, hint))
    raise TypeError(f"no codec for {hint!r}")


def _dataclass_encoder(kind: type) -> _Encoder:
    plan: list[tuple[str, str, _Encoder | None, bool]] = []
    compiled = False

    def compile_fields() -> None:
        nonlocal compiled
        for field, hint in _fields(kind):
            inner = _encoder(hint)
            plan.append((field.name, camel(field.name), None if inner is _same else inner, field.default is None))
        compiled = True

    def write(value: Any) -> dict[str, Any]:
        if not compiled:
            compile_fields()
        result = {}
        for name, key, inner, omit in plan:
            entry = getattr(value, name)
            if entry is None and omit:
                continue
            result[key] = entry if inner is None else inner(entry)
        return result

    return write
