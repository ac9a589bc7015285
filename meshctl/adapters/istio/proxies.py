"""Confirmation by the proxies themselves: what each has acknowledged to istiod.

One proxy that has been given the wished routes tells the version of the configuration in which they first were seen;
whoever has acknowledged a push of that version or a later one works by them.  istiod pushes only to proxies that a
change concerns, so one that lags behind is looked at: one without these routes is not concerned, and one that has
them, with nothing on its way to it for a while, needed no push.

What holds once holds: versions only grow, and a proxy that connects anew is given the newest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from meshctl.adapters.istio.confirm import Subsets, Wish
from meshctl.adapters.istio.envoyroutes import agrees, served_subsets, subsets_of
from meshctl.adapters.istio.istiod import Acknowledged, Istiod, Proxy, Version
from meshctl.core.errors import Forbidden, Unreachable

PROBES = 8
"""So many proxies are asked for their routes at one look; the others wait for the next."""

SETTLE_S = 1.0
"""How long nothing may be on its way to a proxy that was not pushed to, before it counts."""

FOREIGN_FOR_S = 600.0
"""How long a proxy without a release's routes is taken to be none of its own."""

GONE_FOR_S = 300.0
"""How long a proxy that has lost its connection is asked after."""

NAMED = 3
"""So many proxies are named in a message; the others are counted."""

LOOK_FOR_S = 0.05
"""How long one look at all connections serves every release."""

Key = tuple[str, str]
Routes = frozenset[tuple[str, str, int]]


@dataclass(slots=True)
class _Progress:
    """What is known of one revision: since when we look; the version that has it, by istiod; who was asked in search
    of that; proxies that have it, or do without, and were not pushed to; since when a proxy has been quiet.

    ``overtaken``: other routes had not arrived when these were written, and may still be on their way."""

    revision: str
    since: float
    routes: Routes
    overtaken: bool
    arrived: bool = False
    versions: dict[str, Version] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    quiet: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Look:
    istiod: Istiod
    proxies: list[Proxy]


class ProxyAcknowledgements:
    """A `DataPlane` that reads istiod's debug interface.

    ``istiods`` tells all replicas: a proxy is connected to one of them.  ``is_running`` tells whether the pod
    ``NAME.NAMESPACE`` of a proxy that is connected to none any more still runs: then it works by what it had.  Where
    that may not be read it is taken to be gone.
    """

    def __init__(
        self,
        istiods: Callable[[], Sequence[Istiod]],
        *,
        is_running: Callable[[str], bool] = lambda proxy: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._istiods, self._is_running, self._monotonic = istiods, is_running, monotonic
        self._routes: dict[Key, _Progress] = {}
        self._subsets: dict[Key, _Progress] = {}
        self._foreign: dict[Key, dict[str, float]] = {}
        self._own: dict[Key, str] = {}
        self._last: set[str] = set()
        self._gone: dict[str, float] = {}
        self._lock = threading.Lock()
        self._looks: tuple[float, list[_Look]] | None = None

    # -------------------------------------------------------------------------------- routes

    def lacks_routes(self, wish: Wish) -> str:
        """Raises `Forbidden` when istiod does not let us see its proxies."""
        progress = self._progress(self._routes, wish.key, wish.revision, _significant(wish))
        if progress.arrived:
            return ""
        if progress.overtaken and self._monotonic() - progress.since < SETTLE_S:
            return "the routes written just before may still be on their way"
        try:
            looks = self._look()
            lacking, concerned = [], 0
            for look in looks:
                text, count = self._lacks_at(look, wish, progress)
                lacking += [text] if text else []
                concerned += count
            lacking += self._lost(wish.key)
        except Unreachable as error:
            return str(error)
        if lacking:
            return "; ".join(lacking)
        connected = sum(len(look.proxies) for look in looks)
        if not concerned:
            names = " or ".join("/".join(each) for each in wish.services) or "its VirtualService"
            return f"none of the {connected} connected proxies has the routes of {names}"
        progress.arrived = True
        progress.settled.clear()
        progress.quiet.clear()
        self._forget()
        return ""

    def _lacks_at(self, look: _Look, wish: Wish, progress: _Progress) -> tuple[str, int]:
        """What is missing at one replica of istiod, and how many of its proxies are concerned."""
        watching = [proxy for proxy in look.proxies if proxy.routes is not None]
        concerned = [proxy for proxy in watching if not self._is_foreign(wish.key, proxy)]
        version = progress.versions.get(look.istiod.url)
        if version is None:
            version, text = self._first_version(look.istiod, concerned, wish, progress)
            if version is None:
                return text, 0
            progress.versions[look.istiod.url] = version
        late = [proxy for proxy in concerned if not _has(proxy.routes, version) and proxy.id not in progress.settled]
        refusing = [f"{proxy.id} refuses the routes: {error}" for proxy in late if (error := _error(proxy.routes))]
        if refusing:
            return "; ".join(refusing[:NAMED]), len(concerned)
        for proxy in self._to_be_asked(late, progress):
            self._ask(look.istiod, proxy, wish, progress)
        late = [proxy for proxy in late if proxy.id not in progress.settled]
        return (f"not acknowledged by {_names(late)}" if late else ""), len(concerned)

    def _first_version(
        self, istiod: Istiod, concerned: Sequence[Proxy], wish: Wish, progress: _Progress
    ) -> tuple[Version | None, str]:
        """The version that a proxy's present configuration was made from, once it has the wished routes."""
        own = self._own.get(wish.key)
        ordered = sorted(
            concerned, key=lambda each: (each.id != own, each.id in progress.asked, *_gateways_first(each))
        )
        for proxy in ordered[:PROBES]:
            progress.asked.add(proxy.id)
            agreed = self._agreement(istiod, proxy, wish)
            if agreed is None:
                continue
            self._own[wish.key] = proxy.id
            dump = istiod.dump(proxy.id) if agreed else None
            if dump is not None and dump.version is not None and agrees(dump.routes, wish):
                return dump.version, ""
            return None, f"{proxy.id} has not been given the routes yet"
        left = [proxy for proxy in concerned if proxy.id not in progress.asked]
        if not left:
            progress.asked.clear()
        return None, f"{len(left)} more proxies are to be looked at" if left else ""

    def _to_be_asked(self, late: Sequence[Proxy], progress: _Progress) -> list[Proxy]:
        """Those never asked, then those that have been quiet for long enough; a few at a time."""
        now = self._monotonic()
        due = [proxy for proxy in late if now - progress.quiet.get(proxy.id, now - SETTLE_S) >= SETTLE_S]
        return sorted(due, key=lambda proxy: proxy.id in progress.quiet)[:PROBES]

    def _ask(self, istiod: Istiod, proxy: Proxy, wish: Wish, progress: _Progress) -> None:
        """Settle a proxy that lags behind: it has the routes, or none of them, and nothing is on its way to it."""
        agreed = self._agreement(istiod, proxy, wish)
        if agreed is False or proxy.routes is None or proxy.routes.waiting:
            progress.quiet.pop(proxy.id, None)
            return
        if self._monotonic() - progress.quiet.setdefault(proxy.id, self._monotonic()) >= SETTLE_S:
            progress.settled.add(proxy.id)
            if agreed is None:
                self._foreign.setdefault(wish.key, {})[proxy.id] = self._monotonic()

    @staticmethod
    def _agreement(istiod: Istiod, proxy: Proxy, wish: Wish) -> bool | None:
        routes = istiod.routes(proxy.id)
        return agrees(routes, wish) if routes is not None else None

    # -------------------------------------------------------------------------------- subsets

    def lacks_subsets(self, subsets: Subsets) -> str:
        """Raises `Forbidden` when istiod does not let us see its proxies."""
        asked = f"{subsets.revision} {','.join(subsets.serving)}"
        progress = self._progress(self._subsets, subsets.key, asked)
        if progress.arrived:
            return ""
        try:
            lacking = [self._lacks_subsets_at(look, subsets, progress) for look in self._look()]
        except Unreachable as error:
            return str(error)
        progress.arrived = not any(lacking)
        return "; ".join(text for text in lacking if text)

    def _lacks_subsets_at(self, look: _Look, subsets: Subsets, progress: _Progress) -> str:
        watching = [proxy for proxy in look.proxies if proxy.clusters is not None]
        url = look.istiod.url
        if url not in progress.versions:
            version, text = self._version_of_subsets(look.istiod, watching, subsets)
            if version is None and (text or self._monotonic() - progress.since < SETTLE_S):
                return text or f"no proxy knows {subsets.host} yet"
            if version is None:
                return ""
            progress.versions[url] = version
            progress.quiet.clear()
        late = [p for p in watching if not self._has_subsets(p, progress.versions[url], progress)]
        return f"the subsets {', '.join(subsets.names)} are not acknowledged by {_names(late)}" if late else ""

    def _version_of_subsets(
        self, istiod: Istiod, watching: Sequence[Proxy], subsets: Subsets
    ) -> tuple[Version | None, str]:
        """The version in which a proxy that knows the service has all subsets, those that serve with endpoints."""
        own = self._own.get(subsets.key)
        for proxy in sorted(watching, key=lambda each: (each.id != own, *_gateways_first(each)))[:PROBES]:
            dump = istiod.dump(proxy.id, endpoints=bool(subsets.serving))
            known = subsets_of([str(each.get("name", "")) for each in dump.clusters], subsets.host) if dump else None
            if dump is None or known is None:
                continue
            absent = set(subsets.names) - known
            if absent:
                return None, f"{proxy.id} has not been given the subset {', '.join(sorted(absent))} yet"
            idle = set(subsets.serving) - served_subsets(dump.endpoints, subsets.host)
            if idle:
                return None, f"{proxy.id} has no healthy endpoint of {', '.join(sorted(idle))} yet"
            return dump.version, ""
        return None, ""

    def _has_subsets(self, proxy: Proxy, version: Version, progress: _Progress) -> bool:
        """Clusters of that version with nothing on its way to their endpoints, or no push for a while."""
        if proxy.id in progress.settled:
            return True
        waiting = [each for each in (proxy.clusters, proxy.endpoints) if each is not None and each.waiting]
        if waiting:
            progress.quiet.pop(proxy.id, None)
            return False
        quiet_s = self._monotonic() - progress.quiet.setdefault(proxy.id, self._monotonic())
        if _has(proxy.clusters, version) or quiet_s >= SETTLE_S:
            progress.settled.add(proxy.id)
            return True
        return False

    # -------------------------------------------------------------------------------- who is there

    def _look(self) -> list[_Look]:
        """Every replica with its proxies, seen just now; who was there before and is not any more is remembered."""
        with self._lock:
            if self._looks is None or self._monotonic() - self._looks[0] >= LOOK_FOR_S:
                self._looks = None
                self._looks = (self._monotonic(), self._look_anew())
            return self._looks[1]

    def _look_anew(self) -> list[_Look]:
        istiods = self._istiods()
        if not istiods:
            raise Unreachable("no istiod is there to be asked what the proxies have acknowledged")
        looks = [_Look(istiod, istiod.proxies()) for istiod in istiods]
        present = {proxy.id for look in looks for proxy in look.proxies}
        now = self._monotonic()
        self._gone |= dict.fromkeys(self._last - present, now)
        self._gone = {id: since for id, since in self._gone.items() if id not in present and now - since < GONE_FOR_S}
        self._last = present
        return looks

    def _lost(self, key: Key) -> Iterator[str]:
        for proxy in list(self._gone):
            with suppress(Forbidden):
                if proxy not in self._foreign.get(key, ()) and self._is_running(proxy):
                    yield f"{proxy} runs and is connected to no istiod, so it works by what it had"

    def _is_foreign(self, key: Key, proxy: Proxy) -> bool:
        since = self._foreign.get(key, {}).get(proxy.id)
        return since is not None and self._monotonic() - since < FOREIGN_FOR_S

    def _forget(self) -> None:
        """Let go of what was known for long enough, of releases that nobody writes any more too."""
        limit = self._monotonic() - FOREIGN_FOR_S
        for key, known in list(self._foreign.items()):
            kept = {proxy: since for proxy, since in known.items() if since > limit}
            if kept:
                self._foreign[key] = kept
            else:
                self._foreign.pop(key, None)

    def _progress(self, book: dict[Key, _Progress], key: Key, revision: str, routes: Routes = frozenset()) -> _Progress:
        found = book.get(key)
        if found is None or found.revision != revision:
            overtaken = found is not None and not found.arrived and found.routes != routes
            found = book[key] = _Progress(revision, self._monotonic(), routes, overtaken)
        return found


def _significant(wish: Wish) -> Routes:
    """What of the wished routes a proxy can tell: a share of nothing it cannot."""
    return frozenset(
        (name, subset, weight)
        for name, several in wish.routes.items()
        for shares in several
        for subset, weight in shares.items()
        if weight
    )


def _has(acknowledged: Acknowledged | None, version: Version) -> bool:
    return acknowledged is not None and acknowledged.version is not None and acknowledged.version >= version


def _error(acknowledged: Acknowledged | None) -> str:
    return acknowledged.error if acknowledged is not None and acknowledged.waiting else ""


def _gateways_first(proxy: Proxy) -> tuple[bool, str]:
    return (proxy.type != "router", proxy.id)


def _names(proxies: Sequence[Proxy]) -> str:
    named = ", ".join(proxy.id for proxy in proxies[:NAMED])
    return f"{named} and {len(proxies) - NAMED} more" if len(proxies) > NAMED else named
