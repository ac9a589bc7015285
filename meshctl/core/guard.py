"""A template cannot lie: rendered objects, read back as data, against what was decided.

Whatever a template does, its outcome must be one VirtualService and one DestinationRule of the release, whose routes
carry exactly the decided weights over exactly the declared subsets.  What is not about *where* requests go is the
template's own affair: timeouts, retries, header changes, CORS, rewrites, ``trafficPolicy``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshctl.core.errors import InvalidInput
from meshctl.core.model import ABORTED_ANNOTATION, FULL, RUN_ANNOTATION, Ownership, Release, Routing
from meshctl.core.names import subset_name

NETWORKING_API = "networking.istio.io/v1"
KINDS = ("VirtualService", "DestinationRule")
TOTAL = 1000
"""Rendered weights are parts of a thousand: 0.1 % is the finest share."""

_OURS = "meshctl.dev/"
_METADATA = ("name", "namespace", "labels", "annotations")
_ROUTE = ("name", "match", "route", "timeout", "retries", "headers", "corsPolicy", "rewrite")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Lie:
    """One thing that was not decided: in which object, at which path, and what is wrong."""

    index: int
    path: Path
    message: str


@dataclass(frozen=True, slots=True)
class Share:
    """A version's decided part of all requests, in parts of a thousand."""

    version: str
    subset: str
    weight: int


def thousandths(percent: float) -> int:
    """Percent as parts of a thousand.  Raises `InvalidInput` for what is finer than 0.1 % or not a share."""
    weight = round(percent * 10) if 0 <= percent <= FULL else -1
    if weight < 0 or abs(percent * 10 - weight) > 1e-6:
        raise InvalidInput(
            f"a weight of {percent:g} % cannot be rendered",
            hint="weights go from 0 to 100 percent in steps of 0.1",
        )
    return weight


def shares(routing: Routing) -> tuple[Share, ...]:
    """The decided weights, baseline first; they always sum to `TOTAL`."""
    if routing.candidate is None:
        return (Share(routing.baseline, subset_name(routing.baseline), TOTAL),)
    candidate = Share(routing.candidate, subset_name(routing.candidate), thousandths(routing.candidate_weight))
    baseline = Share(routing.baseline, subset_name(routing.baseline), TOTAL - candidate.weight)
    if baseline.subset == candidate.subset:
        raise InvalidInput(
            f"versions {baseline.version!r} and {candidate.version!r} would share the subset {baseline.subset!r}",
            hint="name the new version so that it differs in more than signs and capitals",
        )
    return (baseline, candidate)


def hosts(release: Release) -> tuple[str, ...]:
    """The hosts whose requests are routed; the service's own name when none is given, nothing for a delegate."""
    if release.spec.mesh.ownership is Ownership.DELEGATE:
        return ()
    return release.spec.mesh.hosts or (release.spec.service,)


def gateways(release: Release) -> tuple[str, ...]:
    """Where these requests come in; nothing for a delegate."""
    return () if release.spec.mesh.ownership is Ownership.DELEGATE else release.spec.mesh.gateways


def preview_header(release: Release) -> str | None:
    canary = release.spec.strategy.canary
    return canary.preview.header.lower() if canary is not None and canary.preview is not None else None


def find_lies(release: Release, routing: Routing, objects: Sequence[Any]) -> list[Lie]:
    """Everything in ``objects`` that was not decided; empty when they may be applied."""
    return list(_Guard(release, routing).check(objects))


class _Guard:
    def __init__(self, release: Release, routing: Routing) -> None:
        self.release = release
        self.routing = routing
        self.decided = shares(routing)
        self.subsets = {share.subset: share for share in self.decided}
        self.preview = preview_header(release)

    def check(self, objects: Sequence[Any]) -> Iterator[Lie]:
        seen: set[str] = set()
        for index, value in enumerate(objects):
            kind = value.get("kind") if isinstance(value, Mapping) else None
            if kind not in KINDS:
                found = f"kind {kind!r}" if isinstance(value, Mapping) else _name(value)
                yield Lie(index, ("kind",), f"only {' and '.join(KINDS)} may be rendered, found {found}")
                continue
            if kind in seen:
                yield Lie(index, ("kind",), f"a second {kind}; there must be exactly one")
            seen.add(kind)
            check_spec = self.virtual_service if kind == "VirtualService" else self.destination_rule
            yield from _at(index, (), self.head(value))
            yield from _at(index, ("spec",), check_spec(_mapping(value.get("spec"))))
        for kind in KINDS:
            if kind not in seen:
                yield Lie(0, (), f"no {kind} was rendered")

    # -------------------------------------------------------------------------------- both objects

    def head(self, value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        yield from _strangers(value, ("apiVersion", "kind", "metadata", "spec"))
        if value.get("apiVersion") != NETWORKING_API:
            yield ("apiVersion",), f"must be {NETWORKING_API}, found {value.get('apiVersion')!r}"
        metadata = _mapping(value.get("metadata"))
        wished = {"name": self.release.metadata.name, "namespace": self.release.metadata.namespace}
        for key, wish in wished.items():
            if metadata.get(key) != wish:
                yield ("metadata", key), f"must be {wish!r}, the release's own, found {metadata.get(key)!r}"
        yield from _under(("metadata",), _strangers(metadata, _METADATA))
        yield from _under(("metadata", "annotations"), self.annotations(_mapping(metadata.get("annotations"))))

    def annotations(self, found: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        wished = {RUN_ANNOTATION: self.routing.run}
        if self.routing.aborted:
            wished[ABORTED_ANNOTATION] = self.routing.run
        for key, value in wished.items():
            if found.get(key) != value:
                yield (key,), f"must be {value!r}, found {found.get(key)!r}"
        for key in found:
            if key.startswith(_OURS) and key not in wished:
                yield (key,), "was not decided; annotations of meshctl.dev are meshctl's own"

    # -------------------------------------------------------------------------------- VirtualService

    def virtual_service(self, spec: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        wished = {"hosts": hosts(self.release), "gateways": gateways(self.release)}
        if not any(wished.values()):
            for key in wished.keys() & spec.keys():
                yield (key,), "may not be rendered: the VirtualService that delegates to this one says it"
            wished = {}
        yield from _strangers(spec, ("hosts", "gateways", "http", "exportTo"))
        for key, wish in wished.items():
            if _texts(spec.get(key)) != sorted(wish):
                yield (key,), f"must be {', '.join(wish)}, as in the release, found {spec.get(key)!r}"
        routes = spec.get("http")
        if not isinstance(routes, list) or not routes:
            yield ("http",), "must be a list of routes"
            return
        previewed = set()
        for position, route in enumerate(routes):
            path: Path = ("http", position)
            if not isinstance(route, Mapping):
                yield path, f"must be a route, found {_name(route)}"
                continue
            yield from _under(path, _strangers(route, _ROUTE))
            version = self.pinned(route)
            previewed.add(version)
            yield from _under(path, self.destinations(route, version))
            last = position == len(routes) - 1
            if last and route.get("match"):
                yield path, "the last route must have no match, else requests that match nothing get no answer"
            if not last and _matches_all(route.get("match")):
                yield path, "only the last route may have no match; no route after this one is ever reached"
        for share in self.decided if self.preview else ():
            if share.version not in previewed:
                yield ("http",), f"no route sends requests with {self.preview}: {share.version} to {share.subset}"

    def pinned(self, route: Mapping[str, Any]) -> str | None:
        """The version that the preview header asks for in every match of a route."""
        matches = route.get("match")
        if self.preview is None or not isinstance(matches, list) or not matches:
            return None
        asked = {_asked_version(match, self.preview) for match in matches}
        return asked.pop() if len(asked) == 1 else None

    def destinations(self, route: Mapping[str, Any], pinned: str | None) -> Iterator[tuple[Path, str]]:
        """The route's weights: all of them to the version that the preview header names, else the decided ones."""
        found: dict[str, Any] = {}
        entries = route.get("route")
        if not isinstance(entries, list) or not entries:
            yield ("route",), "must be a list of destinations"
            return
        for position, entry in enumerate(entries):
            path: Path = ("route", position)
            entry = _mapping(entry)
            yield from _under(path, _strangers(entry, ("destination", "weight", "headers")))
            destination = _mapping(entry.get("destination"))
            yield from _under((*path, "destination"), _strangers(destination, ("host", "subset", "port")))
            host, subset = destination.get("host"), destination.get("subset")
            if host != self.release.spec.service:
                yield (*path, "destination", "host"), f"must be {self.release.spec.service!r}, found {host!r}"
            if not isinstance(subset, str) or subset not in self.subsets:
                known = " or ".join(self.subsets)
                yield (*path, "destination", "subset"), f"must be {known}, found {subset!r}"
                continue
            if subset in found:
                yield path, f"a second destination for the subset {subset}"
            found[subset] = entry.get("weight")
            yield from self.weight(path, self.subsets[subset], found[subset], pinned)
        for share in self.decided:
            if share.subset not in found and pinned in (None, share.version):
                yield ("route",), f"the subset {share.subset} is missing; its decided weight is {share.weight}"

    def weight(self, path: Path, share: Share, found: Any, pinned: str | None) -> Iterator[tuple[Path, str]]:
        decided = share.weight if pinned is None else TOTAL if pinned == share.version else None
        if decided is None:
            yield path, f"the preview of version {pinned} must not lead to {share.subset}"
        elif type(found) is not int or found != decided:
            yield (*path, "weight"), f"the decided weight of {share.subset} is {decided}, found {found!r}"

    # -------------------------------------------------------------------------------- DestinationRule

    def destination_rule(self, spec: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        yield from _strangers(spec, ("host", "subsets", "trafficPolicy", "exportTo"))
        if spec.get("host") != self.release.spec.service:
            yield ("host",), f"must be {self.release.spec.service!r}, found {spec.get('host')!r}"
        entries = spec.get("subsets")
        seen = set()
        for position, entry in enumerate(entries if isinstance(entries, list) else ()):
            entry, path = _mapping(entry), ("subsets", position)
            yield from _under(path, _strangers(entry, ("name", "labels", "trafficPolicy")))
            name = entry.get("name")
            share = self.subsets.get(name) if isinstance(name, str) else None
            if share is None:
                yield (*path, "name"), f"must be {' or '.join(self.subsets)}, found {name!r}"
                continue
            if share.subset in seen:
                yield path, f"the subset {share.subset} stands here twice"
            seen.add(share.subset)
            labels = {self.release.spec.version_label: share.version}
            if entry.get("labels") != labels:
                yield (*path, "labels"), f"must be {labels!r}, found {entry.get('labels')!r}"
        for share in self.decided:
            if share.subset not in seen:
                yield ("subsets",), f"the subset {share.subset} of version {share.version} is missing"


def _asked_version(match: Any, header: str) -> str | None:
    headers = _mapping(_mapping(match).get("headers"))
    wanted = _mapping(headers.get(header))
    exact = wanted.get("exact")
    return exact if isinstance(exact, str) and len(wanted) == 1 else None


def _matches_all(matches: Any) -> bool:
    return not isinstance(matches, list) or not matches or not all(matches)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: Any) -> list[str] | None:
    return sorted(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _name(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _strangers(value: Mapping[str, Any], known: Sequence[str]) -> Iterator[tuple[Path, str]]:
    for key in value:
        if key not in known:
            yield (key,), f"may not be rendered; allowed here: {', '.join(known)}"


def _under(path: Path, problems: Iterator[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    for inner, message in problems:
        yield (*path, *inner), message


def _at(index: int, path: Path, problems: Iterator[tuple[Path, str]]) -> Iterator[Lie]:
    for inner, message in problems:
        yield Lie(index, (*path, *inner), message)
