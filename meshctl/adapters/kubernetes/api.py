"""What everything in a cluster is built on: objects as plain data, read, written and watched.

`Api` is a Protocol with two implementations that pass one suite: `meshctl.adapters.kubernetes.client.ClusterApi`,
which speaks to an API server, and the one in memory that tests use.  Both may be used by several threads at once.

What a method raises, unless it says more:

- `Forbidden`: who we are is not accepted (401), or may not do this (403; the message names the missing rule);
- `NotFound`: there is no such object; `Refused`: the cluster does not know the kind at all (no CRDs, no Istio);
- `Conflict`: a version, a precondition, a test of a JSON patch or the ownership of a field stands against it;
- `InvalidInput`: the API server's schema or an admission webhook refuses the object, with its words;
- `Unreachable`: no connection, no trust, no answer in time, 5xx, or 429 for longer than the budget of the call.
  Whether a write that ended so was done is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

from meshctl.adapters.kubernetes.kinds import Kind
from meshctl.core.errors import Conflict, MeshctlError, Refused

Object = dict[str, Any]
"""One object as the API server has it: ``apiVersion``, ``kind``, ``metadata``, ``spec`` ..."""

MANAGER = "meshctl"
"""The field manager of every write that names none."""

ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"


class NotFound(Refused):
    """There is no such object."""


class AlreadyExists(Conflict):
    """An object of that name is there already."""


class Expired(MeshctlError):
    """The resource version is older than what the API server remembers (410): list again."""


class Patch(Enum):
    """The form of a patch; the value is its media type."""

    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one moment.  ``resource_version``: where a watch goes on."""

    items: list[Object]
    resource_version: str


class Change(NamedTuple):
    """One line of a watch: ``ADDED``, ``MODIFIED``, ``DELETED`` with the object, or ``BOOKMARK`` with nothing but a
    resource version."""

    type: str
    object: Object


class Changes(Protocol):
    """A watch under way: an iterator of `Change` that ends when the API server ends it, or when it is closed."""

    def __iter__(self) -> Iterator[Change]: ...

    def __next__(self) -> Change: ...

    def close(self) -> None:
        """End it, from any thread; whoever waits for the next change sees the end."""
        ...


class Api(Protocol):
    """A cluster, seen by one user."""

    @property
    def namespace(self) -> str:
        """The namespace that is meant where none is named."""
        ...

    @property
    def user(self) -> str:
        """Who we are, as far as the configuration tells; never asked over the network."""
        ...

    @property
    def server(self) -> str:
        """The API server's address, for messages."""
        ...

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """One object.  Raises `NotFound`."""
        ...

    def find(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """One object, or ``None`` when there is none of that name."""
        ...

    def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        """All objects of a kind, in every namespace when none is named; read in pages of one moment."""
        ...

    def pages(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Iterator[Listing]:
        """The same piece by piece, for kinds of which there are many.

        Raises `Expired` where the API server forgets the moment before the last piece: begin anew.
        """
        ...

    def create(self, kind: Kind, object: Object, *, dry_run: bool = False) -> Object:
        """Raises `AlreadyExists`."""
        ...

    def replace(self, kind: Kind, object: Object, *, subresource: str = "", dry_run: bool = False) -> Object:
        """Write a whole object; where it carries ``metadata.resourceVersion`` only if that is still the stored one."""
        ...

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        form: Patch,
        subresource: str = "",
        manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> Object:
        """Change parts of an object, and return all of it.

        A JSON patch that cannot be applied - a ``test`` fails, a path is not there - is a `Conflict`: the object is
        not what its writer thought.  (Unlike RFC 6902, ``replace`` may name a key that is not there.)
        Server-side apply (`Patch.APPLY`) creates what is not there, even where the body names a resource version; a
        field that another manager owns with another value is a `Conflict` unless ``force``.
        """
        ...

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "Background",
    ) -> None:
        """Have an object go, with what it owns; that it is not there is fine.

        With ``uid`` or ``resource_version`` only the object that carries it, else `Conflict`.
        """
        ...

    def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        timeout_s: float,
    ) -> Changes:
        """Every change after ``resource_version``, until the API server ends it after about ``timeout_s``.

        The version of a `list` misses nothing; an empty one or ``0`` begins with all that is there, as ``ADDED``.
        Raises, here or from the iterator, `Expired` when that version is forgotten, `Unreachable` when the line
        breaks or stays silent for longer than it may; whatever was yielded until then is good.
        """
        ...

    def server_version(self) -> str:
        """``v1.36.3``; the cheapest proof that somebody answers."""
        ...

    def get_text(self, path: str, *, query: Mapping[str, str] | None = None, timeout_s: float | None = None) -> str:
        """What stands at a path of the API server that is no object, such as the proxy to a pod's own port."""
        ...
