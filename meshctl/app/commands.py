"""What people do to releases: apply a wish, ask for something, wait for an end."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from meshctl.app.tick import Ports, tick
from meshctl.core.catalog import Wishes
from meshctl.core.decide import needed_of
from meshctl.core.errors import InvalidInput, MeshctlError, Refused, StoreError
from meshctl.core.model import Acknowledgement, Phase, Release, ReleaseState, Request, Verb, Workload
from meshctl.core.ports import Store, Stored, Version
from meshctl.core.progress import SELF_ENDING_HOLDS


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one object: ``created``, ``configured`` or ``unchanged``."""

    kind: str
    name: str
    action: str


class WishStore(Store, Wishes, Protocol):
    """Where wishes are put, and where the state of releases tells what serves."""


def apply(wishes: WishStore, objects: Sequence[Release | Workload], now: datetime) -> Iterator[Applied]:
    """Store wishes, workloads first: a release is of no use before its service is known.

    Raises as `check` does, before anything is stored.
    """
    check(wishes, objects, now)
    for each in sorted(objects, key=lambda wish: isinstance(wish, Release)):
        before = _present(wishes, each)
        after = wishes.put_release(each) if isinstance(each, Release) else wishes.put_workload(each)
        action = "created" if before is None else "unchanged" if before == after else "configured"
        yield Applied(each.kind, each.metadata.name, action)


def check(wishes: WishStore, objects: Sequence[Release | Workload], now: datetime) -> None:
    """Whether these wishes may be stored.

    Raises `Refused` when a version that is in use would become another program and `InvalidInput` when nobody runs
    the service of a release.
    """
    known = {each.metadata.name for each in (*wishes.workloads(), *objects) if isinstance(each, Workload)}
    for each in objects:
        if isinstance(each, Workload):
            _keep_versions(wishes, each, now)
        elif each.spec.service not in known:
            raise InvalidInput(
                f"Release/{each.metadata.name}: spec.service: there is no Workload {each.spec.service!r}",
                hint=f"Known: {', '.join(sorted(known)) or 'none'}. Write one, or put it into the same folder.",
            )


def _keep_versions(wishes: WishStore, workload: Workload, now: datetime) -> None:
    """A version is what it runs: while it serves or is tried, its command and environment do not change."""
    before = _present(wishes, workload)
    if not isinstance(before, Workload):
        return
    stored = [wishes.load(name) for name in wishes.names()]
    in_use = {
        version
        for each in stored
        if each.release.spec.service == workload.metadata.name
        for version in needed_of(each.state, now)
    }
    for version in in_use:
        old, new = before.spec.versions.get(version), workload.spec.versions.get(version)
        if old is not None and (new is None or (old.command, old.env) != (new.command, new.env)):
            what = "is missing" if new is None else "has another command or environment"
            raise Refused(
                f"Workload/{workload.metadata.name}: version {version} is in use and {what} in the new wish",
                hint="Give the changed program a version of its own and release that.",
            )


def _present(wishes: Wishes, wish: Release | Workload) -> Release | Workload | None:
    try:
        if isinstance(wish, Release):
            return wishes.release(wish.metadata.name)
        return wishes.workload(wish.metadata.name)
    except Refused:
        return None


def new_request(verb: Verb, now: datetime, *, actor: str, **fields: Any) -> Request:
    """A request with an id of its own; ``fields`` as `Request` has them."""
    return Request(secrets.token_hex(8), verb, now, actor, **fields)


def acknowledgement(state: ReleaseState, request_id: str) -> Acknowledgement | None:
    """The answer to a request, once there is one."""
    return next((each for each in state.acknowledged if each.id == request_id), None)


def serve_directly(ports: Ports, name: str, request: Request) -> Acknowledgement:
    """Tick once with one more request, stored or not, and return its acknowledgement.

    Used for an abort when no controller lives, and by a controller whose store is full.  Raises `StoreError` that
    says whether an abort is in effect all the same.
    """
    store = _WithRequest(ports.store, name, request)
    try:
        result = tick(replace(ports, store=store), name)
    except StoreError as error:
        raise _unstored(ports, store.seen, name, request, error) from error
    answer = None if result.decision is None else acknowledgement(result.decision.state, request.id)
    answer = store.answer or answer
    if answer is None:
        raise Refused(f"{request.verb} of {name} was not served: others kept writing", hint="Try again.")
    return answer


def _unstored(ports: Ports, seen: Stored | None, name: str, request: Request, error: StoreError) -> StoreError:
    """What is said when a request met a store that failed: only an abort does without."""
    if request.verb is Verb.ABORT and seen is not None and _is_down(ports, seen):
        return StoreError(
            f"abort of {name} is in effect, its candidate is at 0 %, but it could not be stored: {error.args[0]}",
            hint="The routes carry the mark of it: whoever can write the state again finds it there. " + error.hint,
        )
    return StoreError(
        f"{request.verb} of {name} was not done, it could not be stored: {error.args[0]}", hint=error.hint
    )


def _is_down(ports: Ports, seen: Stored) -> bool:
    try:
        live = ports.mesh.read(seen.release)
    except MeshctlError:
        return False
    run = seen.state.run
    return live is None or (run is not None and live.run == run.name and live.aborted)


class _WithRequest:
    """A store that shows one more pending request than it holds, until that was served."""

    def __init__(self, store: Store, name: str, request: Request) -> None:
        self._store = store
        self._name = name
        self._request = request
        self.seen: Stored | None = None
        self.answer: Acknowledgement | None = None
        """As it was stored; a later pass of the same tick may push it out of the state."""
        self.names = store.names
        self.request = store.request

    def save(self, name: str, expected_version: Version, state: ReleaseState, **rest: Any) -> Version:
        version = self._store.save(name, expected_version, state, **rest)
        self.answer = self.answer or acknowledgement(state, self._request.id)
        return version

    def load(self, name: str) -> Stored:
        self.seen = stored = self._store.load(name)
        known = {each.id for each in stored.requests} | {each.id for each in stored.state.acknowledged}
        if name != self._name or self._request.id in known:
            return stored
        return replace(stored, requests=(*stored.requests, self._request))


def is_answered(stored: Stored) -> bool:
    """Whether the state is about the present wish, and no request waits: a spec may have been seen, and its run not
    begun, since the end of the run before is not in effect yet."""
    state, wished = stored.state, stored.release.spec.version
    seen = state.observed_generation == stored.release.metadata.generation
    followed = wished == state.baseline or wished in state.rejected
    followed |= state.run is not None and state.run.candidate == wished
    return seen and followed and not stored.requests


def end_of(state: ReleaseState) -> int | None:
    """The exit code of ``wait`` for this state, ``None`` while it is worth waiting (design: objects.md).

    0 promoted, 10 rolled back, 11 held where only a person can lead on.
    """
    run = state.run
    if run is None:
        return None
    if run.phase is Phase.PROMOTED:
        return 0
    if run.phase is Phase.ROLLED_BACK:
        return 10
    return 11 if run.phase is Phase.HELD and run.reason not in SELF_ENDING_HOLDS else None
