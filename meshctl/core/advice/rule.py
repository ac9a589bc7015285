"""One rule of advice: a stable id, why it matters, what to do, and the function that looks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Path = tuple[str | int, ...]
Found = Iterator[tuple[Path, str]]
"""Where something is, and what it is."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule(Generic[T]):
    """``check`` is given a valid object and yields each place that deserves a word."""

    id: str
    why: str
    do: str
    check: Callable[[T], Found]


def rule(book: list[Rule[T]], name: str, *, why: str, do: str) -> Callable[[Callable[[T], Found]], None]:
    """Write the function below into ``book``."""
    return lambda check: book.append(Rule(name, why, do, check))
