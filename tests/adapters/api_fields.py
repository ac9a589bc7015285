"""How an API server changes objects: JSON patch, merge patch, server-side apply with its owners, selectors."""

from __future__ import annotations

import re
from typing import Any

import msgspec

Path = tuple[str, ...]
Owner = tuple[str, str, str]
"""manager, operation (Update or Apply), subresource"""
Owners = dict[Owner, set[Path]]
"""The paths that each owns; a list is one leaf (atomic), as in every custom resource whose schema
does not say otherwise."""

NOT_OWNED = {("apiVersion",), ("kind",)}
SERVER_FIELDS = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")


def copied(value: Any) -> Any:
    """A value of its own, as it comes over a line: whatever is no JSON is an error here already."""
    return msgspec.json.decode(msgspec.json.encode(value))


class PatchFailed(Exception):
    """A test of a JSON patch failed, or one of its paths is not there."""


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch, RFC 7396."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """JSON patch without ``move`` and ``copy``, as the API server has it: unlike RFC 6902, ``replace`` may name a key
    that is not there, and ``test`` for null holds where there is none."""
    document = copied(document)
    for operation in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        parent = document
        try:
            for part in parts[:-1]:
                parent = parent[_index(parent, part)]
            _change(parent, parts[-1], operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PatchFailed(f"{operation['op']} {operation['path']}: {error!r}") from error
    return document


def _index(parent: Any, part: str) -> Any:
    return int(part) if isinstance(parent, list) else part


def _change(parent: Any, part: str, operation: dict[str, Any]) -> None:
    match operation["op"]:
        case "test":
            found = parent.get(part) if isinstance(parent, dict) else parent[int(part)]
            if found != operation["value"]:
                raise PatchFailed(f"testing value {operation['path']} failed")
        case "add" if isinstance(parent, list):
            where = len(parent) if part == "-" else int(part)
            if where > len(parent):
                raise IndexError(where)
            parent.insert(where, copied(operation["value"]))
        case "add":
            parent[part] = copied(operation["value"])
        case "replace":
            if isinstance(parent, list):
                parent[int(part)]
            parent[_index(parent, part)] = copied(operation["value"])
        case "remove":
            del parent[_index(parent, part)]
        case other:
            raise PatchFailed(f"operation {other} is not supported here")


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every leaf of an object by its path: what can have an owner."""
    if path in NOT_OWNED or (len(path) == 2 and path[0] == "metadata" and path[1] in SERVER_FIELDS):
        return {}
    if isinstance(value, dict) and (value or not path):
        found: dict[Path, Any] = {}
        for key, inner in value.items():
            found |= leaves(inner, (*path, key))
        return found
    return {} if path == ("metadata",) else {path: value}


def at(document: Any, path: Path) -> Any:
    """The value at a path, ``None`` when there is none."""
    for part in path:
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    return document


def put(document: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        inner = document.get(part)
        if not isinstance(inner, dict):
            inner = document[part] = {}
        document = inner
    document[path[-1]] = copied(value)


def drop(document: dict[str, Any], path: Path) -> None:
    """Remove the value at a path, and the objects that are empty then; what others put into it stays."""
    inner = document.get(path[0])
    if len(path) == 1 and isinstance(inner, dict) and inner:
        return
    if len(path) == 1:
        document.pop(path[0], None)
    elif isinstance(inner, dict):
        drop(inner, path[1:])
        if not inner:
            del document[path[0]]


def conflicts(live: dict[str, Any], wanted: dict[str, Any], owners: Owners, me: Owner) -> list[tuple[str, Path]]:
    """(manager, path) of every field that somebody else owns with another value."""
    new = leaves(wanted)
    return [
        (owner[0], path)
        for owner, paths in sorted(owners.items())
        if owner != me
        for path in sorted(paths)
        if _displaced(path, live, new)
    ]


def _displaced(path: Path, live: dict[str, Any], new: dict[Path, Any]) -> bool:
    """Whether what is there at a path gets another value, or another shape."""
    there = at(live, path)
    if path in new:
        return there != new[path] and not (new[path] == {} and isinstance(there, dict))
    if any(new.get(path[:length], {}) != {} for length in range(1, len(path))):
        return there is not None
    return any(other[: len(path)] == path for other in new) and not isinstance(there, dict)


def applied(live: dict[str, Any], wanted: dict[str, Any], owners: Owners, me: Owner) -> dict[str, Any]:
    """The object after an apply, and ``owners`` brought up to date: what I no longer name and nobody else owns goes."""
    result, new = copied(live), leaves(wanted)
    others = set().union(*(paths for owner, paths in owners.items() if owner != me))
    for path in owners.get(me, set()) - set(new) - others:
        drop(result, path)
    for owner, paths in owners.items():
        if owner != me:
            paths -= {path for path in paths if _displaced(path, live, new)}
    for path, value in new.items():
        if value != {} or not isinstance(at(live, path), dict):
            put(result, path, value)
    owners[me] = set(new)
    return result


def updated(before: dict[str, Any], after: dict[str, Any], owners: Owners, me: Owner) -> None:
    """Who writes a value owns it from then on, and nobody else does; where nobody owns anything, nobody does then."""
    if not any(owners.values()):
        return
    old, new = leaves(before), leaves(after)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    gone = set(old) - set(new)
    for owner, paths in owners.items():
        paths -= gone
        if owner != me:
            paths -= changed
    owners.setdefault(me, set()).update(changed)


def managed_fields(owners: Owners, api_version: str) -> list[dict[str, Any]]:
    """``metadata.managedFields`` as the API server writes it."""
    entries = []
    for (manager, operation, subresource), paths in sorted(owners.items()):
        if paths:
            fields: dict[str, Any] = {}
            for path in sorted(paths):
                inner = fields
                for part in path:
                    inner = inner.setdefault(f"f:{part}", {})
            entries.append(
                {
                    "manager": manager,
                    "operation": operation,
                    "apiVersion": api_version,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": fields,
                    **({"subresource": subresource} if subresource else {}),
                }
            )
    return entries


def matches(object: dict[str, Any], labels: str, fields: str) -> bool:
    """Whether an object is meant by a label selector and a field selector."""
    have = object["metadata"].get("labels") or {}
    if not all(_label(have, term.strip()) for term in re.split(r",(?![^(]*\))", labels) if term.strip()):
        return False
    for term in filter(None, fields.split(",")):
        path, unequal, value = re.fullmatch(r"([^=!]+)(!=|==|=)(.*)", term).groups()
        if (str(at(object, tuple(path.split("."))) or "") == value) == (unequal == "!="):
            return False
    return True


def _label(have: dict[str, str], term: str) -> bool:
    if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", term):
        key, how, values = found.groups()
        among = have.get(key) in {value.strip() for value in values.split(",")}
        return among == (how == "in")
    if found := re.fullmatch(r"([^=!]+)(!=|==|=)(.*)", term):
        key, how, value = found.groups()
        return (have.get(key) == value) == (how != "!=")
    return term[1:] not in have if term.startswith("!") else term in have
