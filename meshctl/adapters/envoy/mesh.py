"""The port `Mesh` on Envoy: rendered objects become route files that Envoy follows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from meshctl.adapters.envoy.bootstrap import discovery
from meshctl.adapters.envoy.files import wait_until, write_json
from meshctl.adapters.envoy.layout import Layout
from meshctl.adapters.envoy.live import LiveRoutes, content_digest, read_routes
from meshctl.adapters.envoy.routes import TOTAL
from meshctl.adapters.envoy.server import EnvoyServer
from meshctl.adapters.envoy.translate import METADATA_KEY, Translation, translate
from meshctl.core.errors import Conflict, InvalidInput, Refused, Unreachable
from meshctl.core.model import LiveRouting, Release
from meshctl.core.ports import NO_ROUTES, Manifest

WARM_S = 5.0
"""How long a raise waits for a healthy replica, in seconds, before it is refused."""

SETTLE_S = 1.0
"""How long to wait for Envoy where it is better but not needed."""


class EnvoyMesh:
    """The routes of releases whose service is a workload of ``server``.

    The live route file is the truth: Envoy follows it by itself, whoever renamed it in.
    """

    def __init__(self, server: EnvoyServer) -> None:
        self._server = server
        self._layout = server.layout
        self._pools = server.pools

    def read(self, release: Release) -> LiveRouting | None:
        """What the route file says; ``in_effect`` only if Envoy answers that it works by just this revision."""
        service = self._service(release)
        live = read_routes(self._layout.routes(service))
        if live is None:
            return None
        weights = {version: weight * 100 / TOTAL for version, weight in live.weights.items()}
        in_effect = self._in_effect(service, live.revision)
        return LiveRouting(weights, live.run, live.aborted, live.revision, in_effect)

    def apply(
        self,
        release: Release,
        objects: Sequence[Manifest],
        *,
        fallback: Sequence[Manifest] = (),
        expected: str | None = None,
    ) -> str:
        """Clusters first, then the way back, then the routes; clusters that nobody needs any more come last.

        Who gets traffic for the first time, or more of it beside a ``fallback``, must have a healthy replica, else
        `Refused` and nothing is changed.  Excepted are aborts and the versions that ``fallback`` leads to: the way
        back is never barred.  The same content again writes nothing.  Raises `InvalidInput` for objects that the
        embedded mesh does not understand, `Unreachable` for a raise while Envoy does not answer, `StoreError` when
        the disk is full, `Conflict` when the routes are not those of revision ``expected`` any more.
        """
        service, label = self._service(release), release.spec.version_label
        wished = translate(objects, service, version_label=label)
        spare = translate(fallback, service, version_label=label) if fallback else None
        live = read_routes(self._layout.routes(service))
        self._expect(service, expected)
        self._pools.add(service, wished.policies | (spare.policies if spare else {}))
        self._warm(service, wished, spare, live)
        count = live.count + 1 if live else 1
        if spare is not None:
            target = self._layout.fallback(service, wished.run)
            write_json(target, _route_file(spare, count + 1, run=wished.run, aborted=True))
        content = _route_file(wished, count, run=wished.run, aborted=wished.aborted)
        revision = str(content["version_info"])
        if live is not None and live.digest == _about(content)["digest"]:
            revision = live.revision
        else:
            write_json(self._layout.routes(service), content, ready=lambda: self._expect(service, expected))
        for old in self._layout.fallbacks(service):
            if spare is None or old != self._layout.fallback(service, wished.run):
                old.unlink(missing_ok=True)
        self._tidy(service, revision, {*wished.policies, *(spare.policies if spare else ())})
        return revision

    def lower(self, release: Release, run: str) -> str | None:
        """Rename the way back over the live routes: one system call, on a full disk and without Envoy too."""
        return lower_routes(self._layout, self._service(release), run)

    def confirm(self, release: Release, revision: str, timeout_s: float) -> bool:
        """Ask Envoy until it works by ``revision``; false when it does not within ``timeout_s`` seconds."""
        service = self._service(release)
        return wait_until(lambda: self._in_effect(service, revision), timeout_s)

    def _expect(self, service: str, revision: str | None) -> None:
        """Waiting for a replica takes seconds, in which others may have written: an abort above all."""
        live = read_routes(self._layout.routes(service)) if revision is not None else None
        if revision is not None and revision != (live.revision if live else NO_ROUTES):
            raise Conflict(
                f"apply the routes of {service}: revision {revision or 'none'} is not live any more",
                hint="Somebody else wrote meanwhile; read them and decide anew.",
            )

    def _service(self, release: Release) -> str:
        service = release.spec.service
        if service not in self._server.workloads:
            raise InvalidInput(
                f"Release/{release.metadata.name}: spec.service: there is no Workload {service!r} here",
                hint=f"Known: {', '.join(sorted(self._server.workloads)) or 'none'}.",
            )
        return service

    def _in_effect(self, service: str, revision: str) -> bool:
        try:
            return self._server.admin.route_version(service) == revision
        except Unreachable:
            return False

    def _warm(self, service: str, wished: Translation, spare: Translation | None, live: LiveRoutes | None) -> None:
        """Make before break: whoever is to get more than now must be able to."""
        before = live.weights if live else {}
        rising = {version for version, weight in wished.weights.items() if weight > before.get(version, 0)}
        if live is not None and spare is not None:
            rising -= {version for version, weight in spare.weights.items() if weight}
        elif live is not None:
            rising -= {version for version, weight in before.items() if weight}
        needed = [] if wished.aborted else sorted(rising)
        if wait_until(
            lambda: all(self._pools.healthy(service, version) for version in needed), WARM_S if needed else 0
        ):
            return
        found = ", ".join(f"{version} {self._pools.healthy(service, version) or 0}" for version in needed)
        raise Refused(
            f"apply the routes of {service}: no healthy replica where traffic is to go ({found}); nothing was changed",
            hint="See what the replicas say in the logs folder beside the state.",
        )

    def _tidy(self, service: str, revision: str, kept: set[str]) -> None:
        """Let users in where there is something to serve; drop clusters once no route leads there."""
        try:
            self._server.reopen()
            if self._pools.superfluous(service, kept) and wait_until(
                lambda: self._in_effect(service, revision), SETTLE_S
            ):
                self._pools.keep(service, kept)
        except Unreachable:
            return


def lower_routes(layout: Layout, service: str, run: str) -> str | None:
    """`EnvoyMesh.lower`, for whoever has nothing but the folder."""
    path = layout.routes(service)
    live = read_routes(path)
    if live is None:
        return None
    if live.run != run:
        raise Conflict(
            f"lower {run} of {service}: the live routes belong to {live.run or 'no run'}",
            hint="A newer run has taken over; read its state first.",
        )
    if live.aborted:
        return live.revision
    spare = layout.fallback(service, run)
    back = read_routes(spare)
    if back is None:
        raise Refused(
            f"lower {run} of {service}: no way back lies beside the live routes ({spare} is missing)",
            hint="The next tick renders the routes anew; or apply the baseline's weight by `set-weight 0`.",
        )
    spare.rename(path)
    return back.revision


def lower_by_name(layout: Layout, release: str) -> str | None:
    """Lower the present run of a release whose records cannot be read; the run's name, ``None`` without routes of
    it.  The name of a run begins with that of its release.  Raises as `lower_routes` does."""
    fallbacks = set(layout.routes("x").parent.glob("*.fallback.*.json"))
    for path in sorted(set(layout.routes("x").parent.glob("*.json")) - fallbacks):
        live = read_routes(path)
        if live is not None and live.run.rpartition("-")[0] == release:
            lower_routes(layout, path.stem, live.run)
            return live.run
    return None


def _about(content: Mapping[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = content["resources"][0]["virtual_hosts"][0]["metadata"]["filter_metadata"][METADATA_KEY]
    return about


def _route_file(wished: Translation, count: int, *, run: str, aborted: bool) -> dict[str, Any]:
    """The route file of a translation.  Its revision is count and digest; it stands inside the routes as well,
    because Envoy ignores a new version of the same content and could then never confirm it."""
    content = discovery("", [copy.deepcopy(wished.routes)])
    about = _about(content)
    about |= {"run": run, "aborted": aborted}
    digest = content_digest(content)
    content["version_info"] = f"{count}-{digest}"
    about |= {"digest": digest, "revision": content["version_info"]}
    return content
