"""The chain of a release's runs, each an object of its own: where its end is, and how one more run is added to it.

One object is one compare-and-swap; a save that begins a run concerns two.  It first *creates* the new run, which names
the state of its predecessor that it follows, then *commits* it by writing its name into the predecessor, by
compare-and-swap on just that state (before the first run, into the status of the Release).  Until then nobody reads it.
Who finds an object in the place of the run that he wants to add *helps* where its predecessor still is as named, and
then decides anew; else he removes it: the compare-and-swap that would commit it can never succeed again.
``docs/cluster-objects.md`` has the picture and the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum

from meshctl.adapters.kubernetes.api import AlreadyExists, Api, Object
from meshctl.adapters.kubernetes.kinds import RELEASE, RELEASE_RUN, Kind
from meshctl.adapters.kubernetes.looking import Reads
from meshctl.adapters.kubernetes.projection import initial_of, status_data
from meshctl.adapters.kubernetes.run_object import (
    BYTES_MAX,
    RELEASE_LABEL,
    Closing,
    Damaged,
    Link,
    RunObject,
    closed,
    fitted,
    owner_uid,
    run_object,
)
from meshctl.core.errors import Conflict, MeshctlError

COMMITS_MAX = 5
"""So often the status of a Release is read anew when others write other parts of it at the same time."""

CREATIONS_MAX = 3


Ways = Sequence[Callable[[Kind, str, str], Object | None]]
"""Ways to find an object, the cheap one first."""


class Found(Enum):
    """What an object is that stands in the place of the next run."""

    COMMITTED = "part of the chain"
    FOLLOWS = "could be committed"
    STALE = "can never be committed"


def start_of(release: Object) -> str:
    """The state of a release before its first run, for `Link.version`: a changed spec or a save makes it another."""
    _, saves = initial_of(release.get("status") or {})
    return f"{release['metadata']['generation']}/{saves}"


def run_of(release: Object) -> str:
    """The run that a status names; empty before the first."""
    return str((release.get("status") or {}).get("run") or "")


def number_of(object: Object) -> int:
    return int(object["spec"]["number"])


class Chain:
    """The runs of one namespace.  What decides is read from the API server; the rest as ``reads`` offer it."""

    def __init__(self, api: Api, namespace: str, reads: Reads, bytes_max: int = BYTES_MAX) -> None:
        self._api, self._namespace, self._reads, self._bytes_max = api, namespace, reads, bytes_max

    # -------------------------------------------------------------------------------- reading

    def head(self, release: Object, *, hint: str = "", directly: bool = False) -> Object | None:
        """The newest run of a release, ``None`` before the first.

        ``hint``: a run that is known to be part of the chain.  Raises `Damaged` when a run is gone that must be there.
        """
        ways = (self._api.find,) if directly else (self._reads.find, self._api.find)
        object = self._own(release, hint or run_of(release), ways) or self._recovered(release)
        while object is not None and "next" in object:
            object = self._following(object, ways)
        return object

    def _own(self, release: Object, name: str, ways: Ways) -> Object | None:
        for find in ways if name else ():
            found = find(RELEASE_RUN, name, self._namespace)
            if found is not None and owner_uid(found) == release["metadata"]["uid"]:
                return found
        return None

    def _following(self, object: Object, ways: Ways) -> Object:
        name, uid = object["next"]["name"], object["next"]["uid"]
        for find in ways:
            found = find(RELEASE_RUN, name, self._namespace)
            if found is not None and found["metadata"]["uid"] == uid:
                return found
        raise self._gone(name)

    def _recovered(self, release: Object) -> Object | None:
        """The newest run that is certainly part of the chain, where the status does not lead to one: it was never
        written, or lost.  A run is certain once it was written again, or has one after it."""
        runs = [each for each in self.of(release) if "next" in each or each["record"]["writes"] > 1]
        if runs:
            return max(runs, key=number_of)
        if name := run_of(release):
            raise self._gone(name)
        return None

    def _gone(self, name: str) -> Damaged:
        return Damaged(
            f"{RELEASE_RUN.label(name, self._namespace)}: is gone, and with it the state of the release",
            hint="Put it back from a backup, or delete the Release and apply it anew; its traffic stays as it is.",
        )

    def of(self, release: Object) -> list[Object]:
        """Every run object of a release, those included that are not part of the chain."""
        meta = release["metadata"]
        found = self._api.list(RELEASE_RUN, self._namespace, labels=f"{RELEASE_LABEL}={meta['name']}").items
        return [each for each in found if owner_uid(each) == meta["uid"]]

    # -------------------------------------------------------------------------------- adding

    def begin(self, release: Object, after: RunObject) -> RunObject:
        """Add a run after the one that it names; that one becomes what ``closes`` says of it.

        Raises `Conflict` when somebody else added one, or changed the predecessor, or has to be helped first.
        """
        created = self._create(release, after)
        try:
            self._commit(created)
        except Conflict:
            if self._find_out(created) is Found.STALE:
                self._remove(created)
            raise
        return created

    def _create(self, release: Object, after: RunObject) -> RunObject:
        after, object = fitted(after, bytes_max=self._bytes_max)
        for _ in range(CREATIONS_MAX):
            try:
                meta = self._api.create(RELEASE_RUN, object)["metadata"]
            except AlreadyExists:
                self._make_way(release, after.name)
                continue
            return _with_identity(after, meta)
        raise Conflict(f"{RELEASE_RUN.label(after.name, self._namespace)}: others create it again and again")

    def _make_way(self, release: Object, name: str) -> None:
        """Deal with what stands where the next run is to be created.  Raises `Conflict` unless the place is free."""
        object = self._api.find(RELEASE_RUN, name, self._namespace)
        if object is None:
            return
        if owner_uid(object) != release["metadata"]["uid"]:
            self._delete(object)  # of a release of the same name that is gone
            return
        found = run_object(object)
        standing = self._find_out(found)
        if standing is Found.STALE:
            self._delete(object)
            return
        if standing is Found.FOLLOWS:
            self._commit(found)
        raise Conflict(f"{RELEASE_RUN.label(name, self._namespace)}: was begun by somebody else")

    def _find_out(self, found: RunObject) -> Found:
        """What a run is, by what the API server has of its predecessor now."""
        previous = found.previous
        assert previous is not None
        if not previous.name:
            release = self._api.find(RELEASE, found.owner.name, self._namespace)
            if release is None or release["metadata"]["uid"] != found.owner.uid:
                return Found.STALE
            if run_of(release):
                return Found.COMMITTED
            return Found.FOLLOWS if start_of(release) == previous.version else Found.STALE
        object = self._api.find(RELEASE_RUN, previous.name, self._namespace)
        if object is None or object["metadata"]["uid"] != previous.uid:
            return Found.STALE
        if "next" in object:
            return Found.COMMITTED if object["next"]["uid"] == found.uid else Found.STALE
        return Found.FOLLOWS if object["metadata"]["resourceVersion"] == previous.version else Found.STALE

    def _commit(self, found: RunObject) -> None:
        """Make a created run the newest.  Whoever does it writes the same.  Raises `Conflict`."""
        previous = found.previous
        assert previous is not None
        if not previous.name:
            self._commit_first(found, previous)
            return
        object = self._api.get(RELEASE_RUN, previous.name, self._namespace)
        if object["metadata"]["resourceVersion"] != previous.version:
            raise Conflict(f"{found.name}: {previous.name} is not the one any more that it follows")
        before = run_object(object)
        closing = found.closes or Closing(before.chronicle.run, (), ())
        link = Link(found.name, found.uid)
        before = closed(before, link, closing, found.written)
        _, object = fitted(before, judge_known=False, bytes_max=self._bytes_max)
        self._api.replace(RELEASE_RUN, object)

    def _commit_first(self, found: RunObject, previous: Link) -> None:
        def first(release: Object) -> Object:
            same = release["metadata"]["uid"] == found.owner.uid and start_of(release) == previous.version
            if not same or run_of(release):
                raise Conflict(f"{found.name}: its release changed since it was begun")
            return status_data(found.standing.state, writes=found.writes)

        self.write_status(found.owner.name, first)

    def write_status(
        self, name: str, status: Callable[[Object], Object | None], release: Object | None = None
    ) -> Object:
        """Write what ``status`` makes of the present Release (``None``: nothing is to be written), by compare-and-swap.

        Others may write other parts of it meanwhile.  ``release``: as it was read just now, perhaps.
        """
        for _ in range(COMMITS_MAX):
            release = release or self._api.get(RELEASE, name, self._namespace)
            wanted = status(release)
            if wanted is None:
                return release
            try:
                return self._api.replace(RELEASE, {**release, "status": wanted}, subresource="status")
            except Conflict:
                release = None
        raise Conflict(f"{RELEASE.label(name, self._namespace)}: changes faster than its status can be written")

    # -------------------------------------------------------------------------------- changing, removing

    def write(self, found: RunObject) -> RunObject:
        """Store the newest run anew.  Raises `Conflict` when it is not as it was read."""
        found, object = fitted(found, bytes_max=self._bytes_max)
        return _with_identity(found, self._api.replace(RELEASE_RUN, object)["metadata"])

    def retire(self, release: Object, up_to: int) -> None:
        """Let go of the runs with numbers up to ``up_to``; what fails is done when the next run begins."""
        try:
            for object in self.of(release):
                if number_of(object) <= up_to:
                    self._delete(object)
        except MeshctlError:
            return

    def _remove(self, found: RunObject) -> None:
        self._api.delete(RELEASE_RUN, found.name, self._namespace, uid=found.uid)

    def _delete(self, object: Object) -> None:
        meta = object["metadata"]
        self._api.delete(RELEASE_RUN, meta["name"], self._namespace, uid=meta["uid"])


def _with_identity(found: RunObject, meta: Object) -> RunObject:

    return replace(found, uid=meta["uid"], version=meta["resourceVersion"])
