"""Structural schemas (OpenAPI v3, as CustomResourceDefinitions want them) of the core's dataclasses.

Each string, list and map gets a bound: without one the API server cannot tell beforehand what a CEL rule may cost, and
refuses it.  What the types cannot say - bounds, patterns, rules - is given by class and field (`Notes`).
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from meshctl.adapters.wire import camel

Schema = dict[str, Any]

TEXT_MAX = 253
ITEMS_MAX = 64
RECORD_TEXT_MAX = 65_536
RECORD_ITEMS_MAX = 4096
"""Bounds of records: far beyond what is ever written, since a record that is refused is a run that stands."""
DURATION = r"^(0|\+?([0-9]+(\.[0-9]+)?(h|ms|us|µs|m|s))+)$"
"""A duration as `meshctl.core.timetext` reads it, without those below zero."""
DURATION_MAX = 32
TIME_MAX = 40
ANYTHING: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_UNKNOWN: Schema = {"x-kubernetes-preserve-unknown-fields": True}


@dataclass(frozen=True)
class Notes:
    """What is known of fields beyond their types.

    ``keywords``: schema keywords for a field, or with ``items`` for what its list or map holds.  ``rules``: CEL rules
    of a class, or of a field of it.  ``words``: descriptions of fields.  ``left_out``: fields that a cluster has not.
    """

    keywords: Mapping[tuple[type, str], Schema] = field(default_factory=dict)
    rules: Mapping[tuple[type, str], list[Schema]] = field(default_factory=dict)
    words: Mapping[tuple[type, str], str] = field(default_factory=dict)
    left_out: frozenset[tuple[type, str]] = frozenset()


def schema_of(kind: type, notes: Notes) -> Schema:
    """The schema of what people write: closed, with everything that they must and may not write."""
    return _Writer(notes, is_open=False).value(kind)


def record_schema_of(kind: type, notes: Notes) -> Schema:
    """The schema of what meshctl itself wrote: it describes, and refuses and drops nothing, whatever version wrote."""
    return _Writer(notes, is_open=True).value(kind)


class _Writer:
    def __init__(self, notes: Notes, *, is_open: bool) -> None:
        self._notes, self._open = notes, is_open

    def value(self, hint: Any) -> Schema:
        origin, arguments = get_origin(hint), get_args(hint)
        most = RECORD_ITEMS_MAX if self._open else ITEMS_MAX
        if origin in (Union, types.UnionType):
            return self.value(next(each for each in arguments if each is not type(None)))
        if origin in (tuple, list):
            return {"type": "array", "maxItems": most, "items": self.value(arguments[0])}
        if origin is dict and arguments[1] in (object, Any):
            return dict(ANYTHING)
        if origin is dict:
            return {"type": "object", "maxProperties": most, "additionalProperties": self.value(arguments[1])}
        if inspect.isclass(hint) and issubclass(hint, Enum):
            return self._scalar(str) if self._open else _enum(hint)
        if dataclasses.is_dataclass(hint):
            return self._object(hint)  # type: ignore[arg-type]
        return self._scalar(hint)

    def _scalar(self, hint: Any) -> Schema:
        if hint is str:
            return {"type": "string", "maxLength": RECORD_TEXT_MAX if self._open else TEXT_MAX}
        if hint is float and self._open:  # infinity and NaN are written as text
            return dict(_UNKNOWN)
        if hint is timedelta:
            return {"type": "string", "maxLength": DURATION_MAX} | ({} if self._open else {"pattern": DURATION})
        if hint is datetime:
            return {"type": "string", "maxLength": TIME_MAX}
        plain = {bool: "boolean", int: "integer", float: "number"}
        return {"type": plain[hint]} | ({"format": "int64"} if hint is int else {})

    def _object(self, kind: type) -> Schema:
        hints, properties, required = get_type_hints(kind), {}, []
        for each in dataclasses.fields(kind):
            if (kind, each.name) in self._notes.left_out:
                continue
            properties[camel(each.name)] = self._field(kind, each, hints[each.name])
            if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
                required.append(camel(each.name))
        schema: Schema = {"type": "object", "properties": properties}
        if said := _first_paragraph(kind):
            schema["description"] = said
        if self._open:
            return schema | {"x-kubernetes-preserve-unknown-fields": True}
        if required:
            schema["required"] = sorted(required)
        return self._with_rules(schema, kind, "")

    def _field(self, kind: type, each: dataclasses.Field[Any], hint: Any) -> Schema:
        schema = self.value(hint)
        for place, word in ((schema, each.name), (schema.get("items"), f"{each.name}.items")):
            if place is not None and not self._open:
                place |= self._notes.keywords.get((kind, word), {})
        if each.default is None:
            schema["nullable"] = True
        if said := self._notes.words.get((kind, each.name)):
            schema["description"] = said
        return schema if self._open else self._with_rules(schema, kind, each.name)

    def _with_rules(self, schema: Schema, kind: type, name: str) -> Schema:
        rules = self._notes.rules.get((kind, name))
        return schema | {"x-kubernetes-validations": rules} if rules else schema


def _enum(kind: type[Enum]) -> Schema:
    return {"type": "string", "enum": [member.value for member in kind]}


def _first_paragraph(kind: type) -> str:
    """What a class says of itself; dataclasses without a word of their own have one made by Python."""
    text = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ").replace("``", "")
    return "" if text.startswith(f"{kind.__name__}(") else text
