"""The store of one namespace of a cluster: wishes are Releases, what became of them are ReleaseRuns.

The truth is the chain of run objects (`meshctl.adapters.kubernetes.chain`); the status of a Release is told from it.
What is decided, asked or shown is written at once; blocks and the judge's state in between at most once a minute, and
until then only this object has them: after a crash they are read again from the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from meshctl.adapters import wire
from meshctl.adapters.kubernetes.api import Api, Object
from meshctl.adapters.kubernetes.archive import KubernetesArchive
from meshctl.adapters.kubernetes.chain import Chain
from meshctl.adapters.kubernetes.events import Events
from meshctl.adapters.kubernetes.heads import (
    Heads,
    Known,
    can_wait,
    initial_status,
    is_older,
    known_of,
    overdue,
    status_to_write,
)
from meshctl.adapters.kubernetes.looking import Reads
from meshctl.adapters.kubernetes.releases import release_of, requests_of
from meshctl.adapters.kubernetes.run_object import BYTES_MAX, Standing, run_object
from meshctl.adapters.kubernetes.saving import Save, begun, check, kept_back, new_records, written
from meshctl.adapters.kubernetes.wishes import KubernetesWishes, no_workloads
from meshctl.core.catalog import RUNS_KEPT, conflict
from meshctl.core.errors import Conflict, InvalidInput, MeshctlError
from meshctl.core.model import Block, Event, Release, ReleaseState, Workload
from meshctl.core.packing import pack, unpack
from meshctl.core.ports import Clock, MeshRecord, Stored, Version
from meshctl.core.record import Checkpoint, Record
from meshctl.core.tenancy import Claims
from meshctl.core.validation import validate_release
from meshctl.core.versions import as_deployed

WRITE_BEHIND_S = 60.0


class KubernetesStore:
    """A `Store`, `Wishes` (of releases) and `Archive` in the custom resources of one namespace.

    ``reads`` may be caches; what decides is always read from, or compared by, the API server.  ``projects``: keep the
    status of the releases up to date, as a controller does; whoever only looks has no right to.  ``claims``: what the
    operator allows a release to name (`meshctl.core.tenancy`).  ``force``: `put_release` takes over what others own.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        clock: Clock,
        *,
        reads: Reads | None = None,
        projects: bool = True,
        write_behind_s: float = WRITE_BEHIND_S,
        claims: Claims | None = None,
        instance: str = "",
        force: bool = False,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._api, self._namespace, self._clock = api, namespace, clock
        self._projects, self._claims = projects, claims
        self._write_behind = timedelta(seconds=write_behind_s)
        self._chain = Chain(api, namespace, reads or api, bytes_max)
        self._events = Events(api, namespace, instance)
        self._wishes = KubernetesWishes(api, namespace, clock, reads or api, force=force)
        self._archive = KubernetesArchive(api, namespace, reads or api, self._chain, self._look_up)
        self._heads = Heads()
        self._suspect: set[str] = set()
        self.names = self._wishes.names
        self.request = self._wishes.ask
        self.put_release = self._wishes.put
        self.runs = self._archive.runs
        self.revision = self._archive.revision

    # -------------------------------------------------------------------------------- the tick's port

    def load(self, name: str) -> Stored:
        """One release.  A spec that cannot be followed is told in its status and is not looked at: its run goes on by
        the spec it began with.  Raises `InvalidInput` where there is none to go on by."""
        release, known = self._look_up(name)
        wish, problem = self._wish(release, known)
        if self._projects:
            with suppress(MeshctlError):
                self._project(release, known, problem)
        if wish is None:
            raise InvalidInput(f"Release/{name}: {problem}")
        answered = {each.id for each in known.standing.state.acknowledged}
        requests, _ = requests_of(release, self._clock.now())
        return Stored(
            release=wish,
            state=known.standing.state,
            requests=tuple(each for each in requests if each.id not in answered),
            version=known.token,
            judge_state=known.standing.judge_state,
            cursor=known.standing.cursor,
        )

    def save(
        self,
        name: str,
        expected_version: Version,
        state: ReleaseState,
        *,
        judge_state: str,
        cursor: str,
        events: Sequence[Event],
        blocks: Sequence[Block],
        served: Sequence[str],
        mesh: MeshRecord,
    ) -> Version:
        lines = [pack(block) for block in blocks]
        save = Save(Standing(state, judge_state, cursor), events, lines, served, mesh, self._clock.now())
        known = self._heads.get(name)
        if known is None or known.token != expected_version:
            _, known = self._look_up(name)
        if known.token != expected_version:
            raise conflict(name, expected_version, known.token)
        check(known, save)
        if self._can_wait(known, save):
            return self._heads.put(name, kept_back(known, save)).token
        release = self._wishes.object(name, directly=True)
        meta = release["metadata"]
        if (meta["uid"], meta["generation"]) != (known.owner.uid, known.generation):
            self._lost(name)
            raise conflict(name, expected_version, f"generation {meta['generation']}")
        return self._store(release, known, save).token

    def flush(self) -> None:
        """Write what is not written yet, as before the end of a process.  What cannot be written is read again."""
        for name, known in self._heads.unwritten():
            present = known.present
            assert present is not None
            with suppress(MeshctlError):
                found = self._chain.write(replace(present, writes=present.writes + 1, written=self._clock.now()))
                self._heads.put(name, replace(known, standing=found.standing, head=found, present=found, unwritten=0))

    # -------------------------------------------------------------------------------- wishes

    def release(self, name: str) -> Release:
        try:
            return release_of(self._wishes.object(name))
        except wire.WireError as error:
            raise InvalidInput(f"Release/{name}: {error}") from error

    def put_workload(self, workload: Workload) -> Workload:
        return no_workloads(workload.metadata.name)

    def workload(self, name: str) -> Workload:
        return no_workloads(name)

    def workloads(self) -> Sequence[Workload]:
        return ()

    # -------------------------------------------------------------------------------- archive

    def decisions(self, run: str) -> Sequence[Record]:
        return self._archive.run(run).chronicle.records()

    def blocks(self, run: str, *, after: int = 0) -> Sequence[Block]:
        chronicle = self._archive.run(run).chronicle
        return [unpack(line) for line in chronicle.lines[max(0, after - chronicle.checkpoint.blocks) :]]

    def checkpoint(self, run: str) -> Checkpoint:
        return self._archive.run(run).chronicle.checkpoint

    # -------------------------------------------------------------------------------- reading

    def _look_up(self, name: str) -> tuple[Object, Known]:
        """A release and what is stored of it, with what this store has not written yet."""
        directly = name in self._suspect
        release = self._wishes.object(name, directly=directly)
        before = self._heads.get(name)
        if before is not None and before.owner.uid != release["metadata"]["uid"]:
            before = None
        head = None if before is None else before.head
        object = self._chain.head(release, hint=head.name if head else "", directly=directly)
        self._suspect.discard(name)
        if object is None:
            return release, self._heads.put(name, known_of(release, None))
        version = object["metadata"]["resourceVersion"]
        if before is not None and head is not None and (head.version == version or is_older(version, head.version)):
            known = replace(before, generation=release["metadata"]["generation"])
            return release, known if known == before else self._heads.put(name, known)
        return release, self._heads.put(name, known_of(release, run_object(object)))

    def _wish(self, release: Object, known: Known) -> tuple[Release | None, str]:
        """The wish that is followed, and what is wrong with the one that stands there."""
        try:
            wish = release_of(release)
            problems = validate_release(wish, claims=self._claims)
            if not problems:
                return as_deployed(wish), ""
            problem = "; ".join(f"{wire.format_path(each.path)}: {each.message}" for each in problems)
        except wire.WireError as error:
            problem = str(error)
        run = known.standing.state.run
        if run is None:
            return None, problem
        wish = release_of({**release, "spec": {"version": run.candidate, "service": run.spec.service}})
        observed = replace(wish.metadata, generation=known.standing.state.observed_generation)
        return replace(wish, metadata=observed, spec=run.spec), problem

    # -------------------------------------------------------------------------------- writing

    def _can_wait(self, known: Known, save: Save) -> bool:
        if known.head is None or save.events or save.served or save.standing.state.run is None:
            return False
        if not can_wait(known.standing.state, save.standing.state):
            return False
        return not overdue(known, save.now, self._write_behind)

    def _store(self, release: Object, known: Known, save: Save) -> Known:
        """Write what decides, or raise `Conflict` with nothing written; then what may fail."""
        name, before = known.owner.name, known.head
        run = save.standing.state.run
        try:
            if run is None:
                release = self._chain.write_status(name, initial_status(known, save.standing), release)
                return self._served(release, self._heads.put(name, known_of(release, None)), save)
            if before is None or before.name != run.name:
                after = self._chain.begin(release, begun(known, save))
            else:
                after = self._chain.write(written(known, save))
        except Conflict as error:
            self._lost(name)
            raise conflict(name, known.token, str(error.args[0])) from error
        known = self._served(release, self._heads.put(name, known_of(release, after)), save)
        self._events.tell(release, after, new_records(before, after))
        if before is None or before.name != after.name:
            self._chain.retire(release, after.chronicle.run.number - RUNS_KEPT)
        return known

    def _served(self, release: Object, known: Known, save: Save) -> Known:
        """What follows from a save and is made good by the next one if it fails: the status, then the requests."""
        with suppress(MeshctlError):
            self._project(release, known, self._wish(release, known)[1])
        answered = [*save.served, *(each.id for each in known.standing.state.acknowledged)]
        _, wrong = requests_of(release, save.now)
        for id_, problem in wrong.items():
            self._events.warn(release, "RequestRefused", f"request {id_}: {problem}", save.now)
        with suppress(MeshctlError):
            self._wishes.answered(release, [*answered, *wrong])
        return known

    def _project(self, release: Object, known: Known, problem: str) -> None:
        """Have the status tell what is stored, unless a later state is told there already."""
        wanted = known.status_with(problem) if problem else known.status
        if status_to_write(release, known, wanted) is None:
            return
        if problem:
            self._events.warn(release, "InvalidSpec", problem, self._clock.now())
        self._chain.write_status(known.owner.name, lambda now: status_to_write(now, known, wanted), release)

    def _lost(self, name: str) -> None:
        """Somebody else wrote: what is known is old, and so may be what the caches hold."""
        self._heads.forget(name)
        self._suspect.add(name)
