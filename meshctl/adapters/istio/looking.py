"""What the mesh has for a release, and whether every proxy works by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from meshctl.adapters.istio import adopt, generated, roots
from meshctl.adapters.istio.confirm import DataPlane, NotSoon, Subsets, Wish
from meshctl.adapters.istio.live import Live, live_of
from meshctl.adapters.istio.naming import find_rule, service_name
from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE, RELEASE, VIRTUAL_SERVICE
from meshctl.core.advice.advise import advise_in_cluster
from meshctl.core.advice.surroundings import Surroundings
from meshctl.core.model import Adoption, Ownership, Release
from meshctl.core.routes import HttpRoute, http_routes
from meshctl.core.tenancy import CLUSTER_DOMAIN, full_host

LOOK_EVERY_S = 0.05
ROOTS_FOR_S = 15.0
"""How long the roots of a delegate are taken to be as they were seen."""
NO_ROOTS_FOR_S = 1.0
WONDER_S = 5.0
"""How long routes may be on their way before a reason is looked for."""

HINDERING = ("routes-shadowed", "route-unreached", "subset-missing")
"""The rules of lint that tell why no request follows routes."""

Key = tuple[str, str]


class Eyes:
    """Reads the objects of releases, and asks the data plane until it has confirmed them."""

    def __init__(
        self,
        api: Api,
        plane: DataPlane,
        *,
        cluster_domain: str = CLUSTER_DOMAIN,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._plane, self._domain, self._monotonic = api, plane, cluster_domain, monotonic
        self._confirmed: dict[Key, str] = {}
        self._roots: dict[Key, tuple[float, list[Object]]] = {}
        self._lacking: dict[Key, tuple[str, float]] = {}
        self._reasons: dict[Key, tuple[float, str]] = {}

    def live(self, release: Release) -> Live | None:
        """The live objects; ``None`` without a VirtualService.  Raises `Refused` for a foreign one of our name,
        `InvalidInput` where adopted routes are not there or not told apart."""
        service = self._api.find(VIRTUAL_SERVICE, service_name(release), release.metadata.namespace)
        if service is None:
            self._confirmed.pop(_key(release), None)
            return None
        adoption = adoption_of(release)
        if adoption is None:
            generated.check_ours(self._api, VIRTUAL_SERVICE, release, service)
        else:
            adopt.check_routes(adoption, service)
        rule = find_rule(self._api, release)
        if adoption is None:
            generated.check_ours(self._api, DESTINATION_RULE, release, rule)
        names = adoption.routes if adoption is not None else ()
        return live_of(release, service, rule, names, owner=self._uid(release))

    def lacks(self, release: Release, live: Live) -> str:
        """What keeps the live routes from being in effect, in words; nothing when they are.

        What was in effect once stays so: a proxy does not go back, and one that is new gets the newest.
        """
        if self._confirmed.get(_key(release)) == live.revision:
            return ""
        if live.undeclared:
            return f"no DestinationRule of {release.spec.service} declares the subset {', '.join(live.undeclared)}"
        problem = self.root_problem(release)
        if problem:
            return problem
        lacks = self._plane.lacks_routes(self._wish(release, live))
        if not lacks:
            self.confirmed(release, live.revision)
            return ""
        return type(lacks)(f"{lacks}{self._perhaps(release, live)}")

    def confirmed(self, release: Release, revision: str) -> None:
        """Take note that a revision is in effect."""
        self._confirmed[_key(release)] = revision
        self._lacking.pop(_key(release), None)
        self._reasons.pop(_key(release), None)

    def wants(self, release: Release, live: Live) -> str:
        """What the user must add before the version that he wishes can get a weight."""
        if adoption_of(release) is None or release.spec.version in live.weights:
            return ""
        return adopt.what_is_missing(release, [release.spec.version], live)

    def root_problem(self, release: Release) -> str:
        """Why no request reaches a delegate; nothing for other releases."""
        if release.spec.mesh.ownership is not Ownership.DELEGATE:
            return ""
        return roots.problem_of(release, self._roots_of(release))

    def lacks_subsets(
        self,
        release: Release,
        rule: Object,
        names: Sequence[str],
        serving: Sequence[str],
        timeout_s: float,
        *,
        live: Live | None = None,
    ) -> str:
        """Wait until every proxy knows the subsets ``names`` and an endpoint of those in ``serving``; what is still
        missing after ``timeout_s``."""
        # Routes are written after the subsets that they name: where nobody knows when these were written, then.
        written = live.way_back.written if live is not None and live.way_back is not None else None
        wish = Subsets(
            release=release,
            revision=str(rule["metadata"]["resourceVersion"]),
            host=self._host(release),
            names=tuple(sorted(names)),
            serving=tuple(sorted(serving)),
            written=generated.written_at(rule) or written,
        )
        return self.wait(lambda: self._plane.lacks_subsets(wish), timeout_s)

    def wait(self, lacks: Callable[[], str], timeout_s: float) -> str:
        """Look until nothing is missing, the time is up, or nothing new can be seen soon; what is missing then.

        Looks take as long as istiod needs; between two of them is at least as much time."""
        deadline = self._monotonic() + timeout_s
        while True:
            began = self._monotonic()
            missing = lacks()
            now = self._monotonic()
            if not missing or isinstance(missing, NotSoon) or now >= deadline:
                return missing
            time.sleep(max(0.0, min(deadline - now, max(LOOK_EVERY_S, now - began))))

    # -------------------------------------------------------------------------------- inside

    def _perhaps(self, release: Release, live: Live) -> str:
        """Why routes that are not in effect for a while may never be: what lint knows of the objects around, of those
        in the same namespace."""
        key, now = _key(release), self._monotonic()
        revision, since = self._lacking.setdefault(key, (live.revision, now))
        if revision != live.revision:
            self._lacking[key] = (live.revision, now)
            return ""
        if now - since < WONDER_S:
            return ""
        known = self._reasons.get(key)
        if known is None or now - known[0] >= ROOTS_FOR_S:
            known = self._reasons[key] = (now, self._reason(release))
        return known[1]

    def _reason(self, release: Release) -> str:
        namespace = release.metadata.namespace
        around = Surroundings(
            releases=[release],
            virtual_services=self._api.list(VIRTUAL_SERVICE, namespace).items,
            destination_rules=self._api.list(DESTINATION_RULE, namespace).items,
            cluster_domain=self._domain,
        )
        found = [advice.message for advice in advise_in_cluster(release, around) if advice.rule in HINDERING]
        return f"; perhaps since {found[0]}" if found else ""

    def _wish(self, release: Release, live: Live) -> Wish:
        way, ownership = live.way_back, release.spec.mesh.ownership
        sources = self._roots_of(release) if ownership is Ownership.DELEGATE else [live.service]
        routes = live.routes if ownership is Ownership.ADOPT else http_routes(live.service)
        return Wish(
            release=release,
            revision=live.revision,
            host=self._host(release),
            services=tuple((each["metadata"]["namespace"], each["metadata"]["name"]) for each in sources),
            delegate=ownership is Ownership.DELEGATE,
            whole=ownership is Ownership.GENERATED,
            routes=_shares(routes),
            weights=live.weights,
            before=_percents(way.before, live.versions) if way is not None else {},
            written=way.written if way is not None else None,
        )

    def _host(self, release: Release) -> str:
        return full_host(release.spec.service, release.metadata.namespace, self._domain)

    def _roots_of(self, release: Release) -> list[Object]:
        known = self._roots.get(_key(release))
        limit_s = ROOTS_FOR_S if known is not None and known[1] else NO_ROOTS_FOR_S
        if known is None or self._monotonic() - known[0] > limit_s:
            known = self._roots[_key(release)] = (self._monotonic(), roots.roots_of(self._api, release))
        return known[1]

    def _uid(self, release: Release) -> str:
        found = self._api.find(RELEASE, release.metadata.name, release.metadata.namespace)
        return str(found["metadata"]["uid"]) if found is not None else ""


def adoption_of(release: Release) -> Adoption | None:
    """What is adopted, where that is how the routes are owned."""
    return release.spec.mesh.adopt if release.spec.mesh.ownership is Ownership.ADOPT else None


def _key(release: Release) -> Key:
    return (release.metadata.namespace, release.metadata.name)


def _shares(routes: Sequence[HttpRoute]) -> dict[str, tuple[dict[str, int], ...]]:
    """What each route says, by its name."""
    found: dict[str, tuple[dict[str, int], ...]] = {}
    for route in routes:
        shares = {destination.subset: destination.weight for destination in route.destinations}
        found[route.name] = (*found.get(route.name, ()), shares)
    return found


def _percents(weights: Mapping[str, int], versions: Mapping[str, str]) -> dict[str, float]:
    return {versions.get(subset, subset): weight / 10 for subset, weight in weights.items()}
