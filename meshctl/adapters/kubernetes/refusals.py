"""What the API server says against a wish, in the words of whoever wrote it: his field, what is wrong, what to do.

The API server words one thing in several ways, by who finds it: the schema, a CEL rule (whose words are ours, see
`meshctl.adapters.kubernetes.crd_notes`), server-side apply, strict decoding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from meshctl.adapters.kubernetes.crds import definitions
from meshctl.adapters.kubernetes.openapi import DURATION
from meshctl.adapters.wire import nearest
from meshctl.core.errors import Conflict, InvalidInput, MeshctlError
from meshctl.core.timetext import DURATION_HINT

_OLDER = "the CRDs in this cluster are older than this meshctl: meshctl install | kubectl apply --server-side -f -"
_QUOTES = "put it in quotes, so that it is read as text"
_PARTS = re.compile(r"; (?=\.?(?:spec|metadata|status|<nil>)[\w.\[\]=\"-]*:)|\n\s*")
_OWNED = re.compile(r"conflicts? with \"(?P<manager>[^\"]+)\"[^:]*: (?P<fields>\.[^,;]+)")
_TYPES = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
_TYPES |= {"array": "a list", "object": "a mapping", "list": "a list", "map": "a mapping", "numeric": "a number"}


class Said(NamedTuple):
    """One thing that is wrong: where, what, and what to do about it."""

    field: str
    problem: str
    remedy: str = ""


def explained(error: MeshctlError, what: str) -> MeshctlError:
    """The same error about the object ``what``, for its writer; as it is where the API server's words are unknown."""
    text = str(error.args[0])
    if isinstance(error, Conflict):
        return _of_owners(error, text, what)
    refused = text.partition("the API server refuses it: ")[2]
    found = [said for part in _PARTS.split(refused) for said in _read(part.strip())]
    if not found:
        return error
    remedies = dict.fromkeys(said.remedy for said in found if said.remedy)
    return InvalidInput(
        "\n".join(f"{what}: {said.field}: {said.problem}" for said in found), hint="\n  ".join(remedies)
    )


def _read(part: str) -> Iterator[Said]:
    for form, say in _FORMS:
        if found := form.fullmatch(part):
            said = say(**found.groupdict())
            yield from (said,) if said is not None else ()
            return
    field, _, problem = part.lstrip(".").partition(": ")
    if problem:
        yield Said(field, problem)


def _undeclared(field: str) -> Said:
    field = re.sub(r"\[[^\]]*\]", "[]", field)
    known, last = _fields(field.rpartition(".")[0]), field.rpartition(".")[2]
    if last in known:
        return Said(field, "is not known to this cluster", _OLDER)
    return Said(field, "; ".join(filter(None, ("unknown field", nearest(last, known)))))


def _untyped(field: str, wanted: str, found: str) -> Said:
    found = found.removeprefix("&value.valueUnstructured{Value:").removesuffix("}")
    return Said(field, f"must be {_TYPES.get(wanted, wanted)}, found {found}", _QUOTES if wanted == "string" else "")


def _mistyped(field: str, wanted: str, found: str) -> Said:
    problem = f"must be {_TYPES.get(wanted, wanted)}, found {_TYPES.get(found, found)}"
    return Said(field, problem, _QUOTES if wanted == "string" and found in ("integer", "number", "boolean") else "")


def _misformed(field: str, value: str, pattern: str) -> Said:
    if pattern == DURATION:
        return Said(field, f"must be a duration, found {value}", DURATION_HINT)
    return Said(field, f"does not have the form that is wanted, {pattern}, found {value}")


_FIELD = r"\.?(?P<field>(?:spec|metadata|status)[^:\s]*)"
_FORMS: Sequence[tuple[re.Pattern[str], Callable[..., Said | None]]] = [
    (re.compile(r"<nil>: .*"), lambda: None),
    (re.compile(rf"{_FIELD}: .*type conversion error from .*"), lambda field: None),
    (re.compile(rf"{_FIELD}: field not declared in schema"), _undeclared),
    (re.compile(rf".*unknown field \"{_FIELD}\""), _undeclared),
    (re.compile(rf"{_FIELD}: expected (?P<wanted>\w+), got (?P<found>.*)"), _untyped),
    (
        re.compile(rf"{_FIELD}: Invalid value: .* in body must be of type (?P<wanted>\w+): \"(?P<found>\w+)\""),
        _mistyped,
    ),
    (
        re.compile(rf"{_FIELD}: Invalid value: (?P<value>.*): \S+ in body should match '(?P<pattern>.*)'"),
        _misformed,
    ),
    (
        re.compile(rf"{_FIELD}: Invalid value: (?P<value>.*): \S+ in body (?P<problem>.*)"),
        lambda field, value, problem: Said(field, f"{problem}, found {value}"),
    ),
    (
        re.compile(rf"{_FIELD}: Invalid value: (?P<value>\"[^\"]*\"|[\d.]+): (?P<problem>.*)"),
        lambda field, value, problem: Said(field, f"{problem}, found {value}"),
    ),
    (re.compile(rf"{_FIELD}: (?:Invalid value|Forbidden): (?P<problem>.*)"), Said),
    (re.compile(rf"{_FIELD}: Required value.*"), lambda field: Said(field, "is missing")),
    (
        re.compile(rf"{_FIELD}: Unsupported value: (?P<value>.*): supported values: (?P<known>.*)"),
        lambda field, value, known: Said(field, f"must be one of: {known}, found {value}"),
    ),
    (
        re.compile(rf"{_FIELD}: (?:duplicate entries for key|Duplicate value:?) (?P<key>.*)"),
        lambda field, key: Said(field, f"stands here twice: {key.strip('[]=')}"),
    ),
]


def _fields(path: str) -> list[str]:
    """The fields that a Release can have at a path, by the schema of this meshctl."""
    schema: Any = definitions()[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path.split("."):
        schema = schema.get("properties", {}).get(name.removesuffix("[]"), {})
        schema = schema.get("items", schema)
    return list(schema.get("properties", {}))


def _of_owners(error: Conflict, text: str, what: str) -> MeshctlError:
    """Server-side apply: somebody else owns a field with another value."""
    found = [(each["manager"], each["fields"].strip().lstrip(".")) for each in _OWNED.finditer(text)]
    if not found:
        return error
    lines = [f"{what}: {field}: belongs to {manager}, which gave it another value" for manager, field in found]
    return Conflict(
        "\n".join(lines),
        hint="Change it there (in Git, if that is where it comes from), or take it over with kubectl apply "
        "--server-side --force-conflicts.",
    )
