"""What lint says: one line of a file, how serious it is, which rule, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from meshctl.core.model import Release, Workload


class Severity(StrEnum):
    """``error``: apply refuses it.  ``warning``: legal, and likely to hurt.  ``note``: good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """``line`` and ``column`` count from 1; ``field`` is the path within the object, ``hint`` what to do."""

    severity: Severity
    rule: str
    file: str
    line: int
    column: int
    field: str
    message: str
    hint: str = ""


class Look(Protocol):
    """A look at manifests: what was found, and what a mesh would say besides."""

    @property
    def findings(self) -> Sequence[Finding]: ...

    def refusals(self, check: Callable[[list[Release | Workload]], None]) -> Iterable[Finding]:
        """What ``check``, which knows the mesh, refuses of the objects that are in order by themselves."""
        ...


ERRORS = {
    "unreadable": "A file cannot be read as UTF-8 text.",
    "yaml": "A file is not YAML 1.2, or repeats a key.",
    "shape": "A field does not exist, is missing, or holds what it cannot hold.",
    "invalid": "A value is not possible, alone or beside the others.",
    "template": "A template fails, or renders something else than was decided.",
    "istioctl": "istioctl, where it is installed, refuses what the templates render.",
    "refused": "The mesh that is named refuses it: a version in use would change, the API server's schema says no.",
}
"""What apply refuses, by rule."""
