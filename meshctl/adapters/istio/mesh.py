"""The port `Mesh` on Istio: a VirtualService and a DestinationRule in the API server, and the proxies that follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from meshctl.adapters.istio import adopt, generated
from meshctl.adapters.istio.confirm import DataPlane
from meshctl.adapters.istio.endpoints import check_protocol, ready_pods
from meshctl.adapters.istio.live import Live, live_of
from meshctl.adapters.istio.looking import Eyes, adoption_of
from meshctl.adapters.istio.naming import revision_of
from meshctl.adapters.istio.wayback import WayBack, lower_routes
from meshctl.adapters.istio.wished import Wished, wished_of
from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE, VIRTUAL_SERVICE
from meshctl.core.errors import Conflict, InvalidInput, Refused
from meshctl.core.model import Adoption, LiveRouting, Release
from meshctl.core.ports import NO_ROUTES, Clock, Manifest
from meshctl.core.routes import subset_labels
from meshctl.core.tenancy import Claims, foreign_names

WARM_S = 3.0
"""How long a raise waits for the proxies to know a new subset and its endpoints, in seconds, before it is refused."""

SETTLE_S = 1.5
"""How long the end waits for the routes to be acknowledged, before a subset that nobody names is left for later."""


class IstioMesh:
    """The routes of releases in a cluster.

    ``api`` writes with the controller's rights, so every object is in the release's own namespace, and ``claims``
    bound what a release may name.  ``data_plane`` tells whether the proxies follow.
    """

    def __init__(
        self,
        api: Api,
        data_plane: DataPlane,
        clock: Clock,
        *,
        claims: Claims | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._clock = api, clock
        self._claims = claims or Claims()
        self._eyes = Eyes(api, data_plane, cluster_domain=self._claims.cluster_domain, monotonic=monotonic)
        self._refused: dict[tuple[str, str], str] = {}

    # -------------------------------------------------------------------------------- the port

    def read(self, release: Release) -> LiveRouting | None:
        """What the objects say, and whether every proxy works by just that.

        Weights are those of all routes that are no preview, or of the adopted ones.  What is lacking may also be what
        the last write was refused for, or what the next version needs.  Raises `Refused` for a foreign object of our
        name, `InvalidInput` where adopted routes are not there or not told apart, or where there are no routes and may
        be none, since the release reaches beyond its namespace.
        """
        live = self._eyes.live(release)
        if live is None:
            self._check_names(release)
            return None
        lacks = self._eyes.lacks(release, live)
        wants = "" if lacks else self._refused.get(_key(release)) or self._eyes.wants(release, live)
        return LiveRouting(live.weights, live.run, live.aborted, live.revision, not lacks, lacks or wants)

    def apply(
        self,
        release: Release,
        objects: Sequence[Manifest],
        *,
        fallback: Sequence[Manifest] = (),
        expected: str | None = None,
    ) -> str:
        """Subsets first, once every proxy knows them the routes with the way back, superfluous subsets last.

        Who gets traffic for the first time, or more of it beside a ``fallback``, must have a ready endpoint, else
        `Refused` and no route is changed.  Excepted are aborts and the versions that ``fallback`` leads to.  The same
        content again writes nothing.  Raises `InvalidInput` for a release that reaches beyond its namespace and for
        adopted objects that lack something, `Refused` for foreign ones, `Conflict` when the routes are not those of
        ``expected`` any more.
        """
        try:
            revision = self._apply(release, objects, fallback, expected)
        except (Refused, InvalidInput) as error:
            self._refused[_key(release)] = str(error.args[0])
            raise
        self._refused.pop(_key(release), None)
        return revision

    def lower(self, release: Release, run: str) -> str | None:
        """Go the way back that the routes carry: one JSON patch (`meshctl.adapters.istio.wayback`)."""
        self._refused.pop(_key(release), None)
        return lower_routes(self._api, release, run)

    def confirm(self, release: Release, revision: str, timeout_s: float) -> bool:
        """Ask until every proxy works by ``revision``; false when one does not within ``timeout_s`` seconds, when that
        cannot be seen so soon, or when another revision is live."""

        def lacks() -> str:
            live = self._eyes.live(release)
            if live is None or live.revision != revision:
                return "another revision is live"
            return self._eyes.lacks(release, live)

        return not self._eyes.wait(lacks, timeout_s)

    # -------------------------------------------------------------------------------- writing

    def _apply(
        self, release: Release, objects: Sequence[Manifest], fallback: Sequence[Manifest], expected: str | None
    ) -> str:
        self._check_names(release)
        wished = wished_of(release, objects)
        spare = wished_of(release, fallback) if fallback else None
        live = self._eyes.live(release)
        _expect(release, live, expected)
        rising = [] if wished.aborted else _rising(wished, spare, live)
        if rising and (live is None or any(not live.weights.get(version) for version in rising)):
            check_protocol(self._api, release)
        self._check_endpoints(release, rising)
        adoption = adoption_of(release)
        if adoption is not None:
            return self._adopt(release, adoption, wished, spare, live, rising)
        return self._generate(release, wished, spare, live, rising)

    # -------------------------------------------------------------------------------- checks

    def _check_names(self, release: Release) -> None:
        foreign = foreign_names(release, self._claims)
        if foreign:
            path, message = foreign[0]
            where = ".".join(str(part) for part in path)
            raise InvalidInput(
                f"Release/{release.metadata.name}: {where}: {message}",
                hint="meshctl acts for a release in its own namespace only; nothing was changed.",
            )

    def _check_endpoints(self, release: Release, rising: Sequence[str]) -> None:
        """Make before break: whoever is to get more than now must be able to."""
        found = ready_pods(self._api, release, rising)
        if not all(found.values()):
            counts = ", ".join(f"{version} {count}" for version, count in sorted(found.items()))
            raise Refused(
                f"apply the routes of {release.metadata.name}: no ready pod behind Service {release.spec.service} "
                f"where traffic is to go ({counts}); no route was changed",
                hint=f"The Service must select pods of each version, told apart by {release.spec.version_label}.",
            )

    def _await_subsets(
        self, release: Release, live: Live | None, rule: Object | None, names: Sequence[str], serving: list[str]
    ) -> None:
        if not serving or rule is None:
            return
        lacks = self._eyes.lacks_subsets(release, rule, names, serving, WARM_S, live=live)
        if lacks:
            raise Refused(
                f"apply the routes of {release.metadata.name}: {lacks}; no route was changed",
                hint="A route to a subset that a proxy does not know yet would fail requests; it is tried again.",
            )

    # -------------------------------------------------------------------------------- each ownership

    def _adopt(
        self,
        release: Release,
        adoption: Adoption,
        wished: Wished,
        spare: Wished | None,
        live: Live | None,
        rising: Sequence[str],
    ) -> str:
        """The weights of the named routes, in objects that stay their user's."""
        if live is None:
            label = VIRTUAL_SERVICE.label(adoption.virtual_service, release.metadata.namespace)
            raise InvalidInput(f"{label}: there is none, and spec.mesh.adopt names it")
        adopt.check_first_contact(live, wished)
        missing = adopt.what_is_missing(release, list(wished.weights), live)
        if missing:
            raise InvalidInput(missing)
        subsets = {version: subset for subset, version in live.versions.items()}
        self._await_subsets(
            release, live, live.rule, [subsets[each] for each in wished.weights], [subsets[each] for each in rising]
        )
        owner = generated.owner_of(self._api, release)
        way_back = self._way_back(wished, spare, live, subsets, owner, adoption.routes)
        if _says_already(live, wished, way_back):
            return live.revision
        service = adopt.write_weights(self._api, adoption, live, way_back, aborted=wished.aborted)
        return revision_of(service, live.rule)

    def _generate(
        self, release: Release, wished: Wished, spare: Wished | None, live: Live | None, rising: Sequence[str]
    ) -> str:
        """Both objects, in the order that breaks nothing."""
        service, rule = (live.service, live.rule) if live is not None else (None, None)
        if live is None:
            rule = self._api.find(DESTINATION_RULE, release.metadata.name, release.metadata.namespace)
            generated.check_ours(self._api, DESTINATION_RULE, release, rule)
        problem = self._eyes.root_problem(release) if spare is not None and not wished.aborted else ""
        if problem:
            raise Refused(f"apply the routes of {release.metadata.name}: {problem}", hint="No route was changed.")
        owner = generated.owner_of(self._api, release)
        in_use = self._in_use(release, live)
        rule = self._write(generated.rule_object(wished, owner, rule, keep=in_use), rule)
        mine = list(wished.subsets.values())
        self._await_subsets(release, live, rule, mine, [wished.subsets[each] for each in rising])
        way_back = self._way_back(wished, spare, live, wished.subsets, owner)
        if live is not None and live.way_back is not None and _says_already(live, wished, way_back):
            way_back = live.way_back
        service = self._write(generated.service_object(wished, owner, way_back), service)
        if in_use - set(mine):
            rule = self._tidy(release, generated.rule_object(wished, owner, rule, keep=set()), service, rule)
        return revision_of(service, rule)

    def _in_use(self, release: Release, live: Live | None) -> set[str]:
        """The subsets that proxies may still send requests to: those of the live routes, and while these are not in
        effect everywhere all that are declared."""
        if live is None or live.rule is None:
            return set()
        declared = set(subset_labels(live.rule))
        return declared if self._eyes.lacks(release, live) else declared & live.subsets_in_use

    def _write(self, object: Object, live: Object | None) -> Object:
        if live is not None and generated.says_the_same(live, object):
            return live
        return generated.write(self._api, generated.kind_of(object), object, live)

    def _tidy(self, release: Release, object: Object, service: Object, rule: Object) -> Object:
        """Take superfluous subsets away once every proxy has acknowledged routes that do not name them; else they
        stay until the next write."""
        live = live_of(release, service, rule)
        if self._eyes.wait(lambda: self._eyes.lacks(release, live), SETTLE_S):
            return rule
        tidied = self._write(object, rule)
        self._eyes.confirmed(release, revision_of(service, tidied))
        return tidied

    def _way_back(
        self,
        wished: Wished,
        spare: Wished | None,
        live: Live | None,
        subsets: Mapping[str, str],
        owner: generated.Owner | None,
        routes: Sequence[str] = (),
    ) -> WayBack:
        back = spare if spare is not None else wished
        before = {} if live is None else {_subset_of(each, live): round(w * 10) for each, w in live.weights.items()}
        return WayBack(
            owner=owner.uid if owner is not None else "",
            run=wished.run,
            weights={subsets[version]: weight for version, weight in wished.weights.items()},
            back={subsets[version]: weight for version, weight in back.weights.items()},
            before=before,
            routes=tuple(routes),
            written=self._clock.now(),
        )


def _key(release: Release) -> tuple[str, str]:
    return (release.metadata.namespace, release.metadata.name)


def _expect(release: Release, live: Live | None, expected: str | None) -> None:
    if expected is not None and expected != (live.revision if live is not None else NO_ROUTES):
        raise Conflict(
            f"apply the routes of {release.metadata.name}: revision {expected or 'none'} is not live any more",
            hint="Somebody else wrote meanwhile; read them and decide anew.",
        )


def _rising(wished: Wished, spare: Wished | None, live: Live | None) -> list[str]:
    """Who gets more than now, the way back excepted: whoever has traffic and is to get it back is never refused."""
    before = live.weights if live is not None else {}
    rising = {version for version, weight in wished.weights.items() if weight / 10 > before.get(version, 0.0)}
    if live is not None and spare is not None:
        rising -= {version for version, weight in spare.weights.items() if weight}
    elif live is not None:
        rising -= {version for version, weight in before.items() if weight}
    return sorted(rising)


def _subset_of(version: str, live: Live) -> str:
    return next((subset for subset, each in live.versions.items() if each == version), version)


def _says_already(live: Live, wished: Wished, way_back: WayBack) -> bool:
    """Whether the live routes say what is to be written, the way back included."""
    have = live.way_back
    if have is None or live.weights != {version: weight / 10 for version, weight in wished.weights.items()}:
        return False
    mine, theirs = ((each.owner, each.run, each.weights, each.back, each.routes) for each in (way_back, have))
    return mine == theirs and live.aborted == wished.aborted
