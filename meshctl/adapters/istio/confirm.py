"""Whether the data plane works by what was written: what is asked, and of whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from meshctl.core.errors import Forbidden
from meshctl.core.model import Release

Shares = Mapping[str, int]
"""Subset -> weight; what is 0 may be left out, and only proportions count."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What every proxy is to do for one release.

    ``host`` is the service's full name.  ``services`` are the VirtualServices (namespace, name) that a proxy names as
    the source of the routes: the release's own, for a delegate its roots; ``delegate`` says that route names begin
    with the root's.  ``routes`` maps the name of each route to its shares by subset, ``whole`` says that there are no
    others in these VirtualServices; ``weights`` and ``before`` are percent by version, now and until ``written``.
    ``revision`` names all of it.
    """

    release: Release
    revision: str
    host: str
    services: tuple[tuple[str, str], ...]
    delegate: bool
    whole: bool
    routes: Mapping[str, tuple[Shares, ...]]
    weights: Mapping[str, float]
    before: Mapping[str, float]
    written: datetime | None

    @property
    def key(self) -> tuple[str, str]:
        return (self.release.metadata.namespace, self.release.metadata.name)


@dataclass(frozen=True, slots=True)
class Subsets:
    """Subsets of a service that every proxy must know before a route names them.  ``serving`` are those that must
    also have an endpoint; ``revision`` is the resource version of the DestinationRule, ``written`` its last write."""

    release: Release
    revision: str
    host: str
    names: tuple[str, ...]
    serving: tuple[str, ...]
    written: datetime | None

    @property
    def key(self) -> tuple[str, str]:
        return (self.release.metadata.namespace, self.release.metadata.name)


class NotSoon(str):
    """What is missing where looking again within a few seconds would show nothing new."""

    __slots__ = ()


class DataPlane(Protocol):
    """The proxies, by some way of seeing them.

    Both methods look once and never wait for longer than one answer; they say in words what is missing and where, and
    nothing when nothing is; by `NotSoon` that nobody should wait for it.  Raise `Forbidden` when this way of seeing is
    closed to us.
    """

    def lacks_routes(self, wish: Wish) -> str:
        """What keeps ``wish`` from being in effect."""
        ...

    def lacks_subsets(self, subsets: Subsets) -> str:
        """What keeps a route to these subsets from being safe."""
        ...


class FirstReadable:
    """Asks the first way of seeing, and the second where the first is closed to us."""

    def __init__(self, first: DataPlane, second: DataPlane) -> None:
        self._first, self._second = first, second

    def lacks_routes(self, wish: Wish) -> str:
        try:
            return self._first.lacks_routes(wish)
        except Forbidden:
            return self._second.lacks_routes(wish)

    def lacks_subsets(self, subsets: Subsets) -> str:
        try:
            return self._first.lacks_subsets(subsets)
        except Forbidden:
            return self._second.lacks_subsets(subsets)
