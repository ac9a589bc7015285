"""Reads what stands around releases in a cluster, as far as the user may, for advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.kinds import (
    DESTINATION_RULE,
    NAMESPACE,
    RELEASE,
    SERVICE,
    VIRTUAL_SERVICE,
    Kind,
)
from meshctl.adapters.kubernetes.releases import release_of
from meshctl.adapters.wire import WireError
from meshctl.core.advice.surroundings import Surroundings
from meshctl.core.errors import Forbidden, Refused
from meshctl.core.model import Release


def read_surroundings(api: Api, namespace: str) -> Surroundings:
    """Releases, routes, Services and namespaces: of the whole cluster where they may be listed, else of ``namespace``.

    What may not be read at all is empty, and gives no advice.  Raises `Unreachable`.
    """
    return Surroundings(
        releases=tuple(_releases(_read(api, RELEASE, namespace))),
        virtual_services=_read(api, VIRTUAL_SERVICE, namespace),
        destination_rules=_read(api, DESTINATION_RULE, namespace),
        services=_read(api, SERVICE, namespace),
        namespaces=_read(api, NAMESPACE, ""),
    )


def with_wishes(around: Surroundings, wishes: Iterable[Release]) -> Surroundings:
    """The same as if these were applied."""
    found = {(each.metadata.namespace, each.metadata.name): each for each in around.releases}
    found |= {(each.metadata.namespace, each.metadata.name): each for each in wishes}
    return replace(around, releases=tuple(found.values()))


def _read(api: Api, kind: Kind, namespace: str) -> Sequence[Object]:
    for place in dict.fromkeys(("", namespace)):
        try:
            return api.list(kind, place).items
        except Forbidden:
            continue
        except Refused:
            return ()
    return ()


def _releases(objects: Sequence[Object]) -> Iterable[Release]:
    """Those that can be read; what is wrong with the others is told by whoever drives them."""
    for each in objects:
        try:
            yield release_of(each)
        except WireError:
            continue
