"""YAML 1.2 in and out, by PyYAML's scanner: ``on``, ``off``, ``yes`` and ``no`` are text, duplicate keys are errors.

Data is built from parser events, so that every value keeps its place in the file, deep nesting ends early and an
alias counts as often as it is used.  Nothing but plain data can come out: tags beyond the core schema are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from meshctl.core.errors import InvalidInput

DEPTH_LIMIT = 64
VALUES_LIMIT = 100_000
MERGE_KEY = "<<"

Path = tuple[str | int, ...]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", re.ASCII)
_WORDS = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_DIGITS_LIMIT = 400


class YamlError(InvalidInput):
    """A text that is not the YAML we read.  ``line`` and ``column`` count from 1."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(f"{line}:{column}: {problem}")
        self.problem = problem
        self.line = line
        self.column = column


@dataclass(slots=True)
class Place:
    """Where a value stands (counted from 1), where its key stands, and how it was written."""

    line: int
    column: int
    key_line: int
    key_column: int
    raw: str = ""


@dataclass(slots=True)
class Document:
    """One document: its data, and the place of every value by its path.  The root has the empty path."""

    data: Any
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """The place of a value, or of the nearest one around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(1, 1, 1, 1)


def read_documents(text: str) -> Iterator[Document]:
    """All documents of a YAML text, one after the other.  Raises `YamlError` at the first wrong place."""
    reader = _Reader(text)
    while (document := reader.document()) is not None:
        yield document


class _Reader:
    """Builds documents from events.  ``size`` counts values, those that an alias repeats included."""

    def __init__(self, text: str) -> None:
        self._events = _events(text)
        self._places: dict[Path, Place] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._size = 0

    def document(self) -> Document | None:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._places, self._anchors, self._size = {}, {}, 0
                data = self._value(next(self._events), (), None)
                return Document(data, self._places)
        return None

    def _value(self, event: Any, path: Path, key: Any) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, key)
        size_before = self._size
        self._count(event, 1)
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        where = (key.line + 1, key.column + 1) if key is not None else (line, column)
        if isinstance(event, yaml.ScalarEvent):
            self._places[path] = Place(line, column, *where, event.value)
            value = _scalar(event)
        else:
            self._places[path] = Place(line, column, *where)
            if len(path) >= DEPTH_LIMIT:
                raise _error(event, f"nested deeper than {DEPTH_LIMIT} levels")
            _check_tag(event, "map" if isinstance(event, yaml.MappingStartEvent) else "seq")
            value = self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._size - size_before)
        return value

    def _mapping(self, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                return result
            key = self._key(event)
            if key in result:
                first = self._places[(*path, key)].key_line
                raise _error(event, f"the key '{key}' stands here twice; it was given on line {first} already")
            result[key] = self._value(next(self._events), (*path, key), event.start_mark)
        return result

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise _error(event, "a key must be text, found a list, a mapping or an alias")
        value = _scalar(event)
        if not isinstance(value, str):
            found = "nothing" if value is None else event.value
            raise _error(event, f'a key must be text, found {found}; put it in quotes: "{event.value}"')
        if value == MERGE_KEY and not event.style:
            raise _error(event, "merge keys (<<) are not part of YAML 1.2; write the fields out")
        return value

    def _sequence(self, path: Path) -> list[Any]:
        result: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                return result
            result.append(self._value(event, (*path, len(result)), None))
        return result

    def _alias(self, event: Any, path: Path, key: Any) -> Any:
        if event.anchor not in self._anchors:
            raise _error(event, f"the alias *{event.anchor} stands for nothing that was finished before it")
        value, size = self._anchors[event.anchor]
        self._count(event, size)
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        where = (key.line + 1, key.column + 1) if key is not None else (line, column)
        self._places[path] = Place(line, column, *where)
        return value

    def _count(self, event: Any, size: int) -> None:
        self._size += size
        if self._size > VALUES_LIMIT:
            raise _error(event, f"more than {VALUES_LIMIT} values, those that aliases repeat included")


def _events(text: str) -> Iterator[Any]:
    loader = None
    try:
        loader = _Loader(text)
        while loader.check_event():
            yield loader.get_event()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"not valid YAML: {said}", line, column) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise YamlError("not valid YAML: a control character stands here", line, column) from error
    finally:
        if loader is not None:
            loader.dispose()


def _error(event: Any, problem: str) -> YamlError:
    return YamlError(problem, event.start_mark.line + 1, event.start_mark.column + 1)


def _check_tag(event: Any, *known: str) -> None:
    if event.tag and event.tag not in ("!", *(_TAG + name for name in known)):
        raise _error(event, f"the tag {event.tag} is not read here; write plain data")


def _scalar(event: Any) -> Any:
    _check_tag(event, "str")
    if event.style or event.tag:
        return event.value
    return resolve(event.value) if len(event.value) < _DIGITS_LIMIT else event.value


def resolve(plain: str) -> Any:
    """What an unquoted word means under the core schema of YAML 1.2."""
    if plain in _WORDS:
        return _WORDS[plain]
    if plain[0] not in "-+.0123456789":
        return plain
    if _INTEGER.fullmatch(plain):
        base = {"0o": 8, "0x": 16}.get(plain[:2], 10)
        return int(plain[2:] if base != 10 else plain, base)
    if _FLOAT.fullmatch(plain):
        return float(plain)
    if _NOT_FINITE.fullmatch(plain):
        return float(plain.replace(".", ""))
    return plain


# ------------------------------------------------------------------------------------ writing


class _ReadableDumper(_Dumper):  # type: ignore[misc]  # its base is chosen at run time
    """Block style without aliases; text that any reader could take for something else gets quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    ambiguous = not isinstance(resolve(text), str) if text else True
    style = "|" if "\n" in text else '"' if ambiguous else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


_ReadableDumper.add_representer(str, _represent_text)


def write_documents(documents: Iterable[Any]) -> str:
    """Plain data as readable YAML, documents parted by ``---``; fields keep their order."""
    parts = (
        yaml.dump(
            document, Dumper=_ReadableDumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=110
        )
        for document in documents
    )
    return "---\n".join(parts)
