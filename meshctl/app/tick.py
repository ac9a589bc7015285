"""One tick of one release: read, decide, store, act.  Nothing of a run lives outside the store.

The order of effects is the heart of the safety rules: what takes traffic away goes first and waits for nobody,
then the decision is stored with a version check, and only what was stored is raised (rules 1, 2 and 10).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from meshctl.core.decide import decide, weights_of
from meshctl.core.drift import tenths_below
from meshctl.core.errors import Conflict, JudgeError, MeshctlError, Refused, TemplateError
from meshctl.core.model import (
    FULL,
    Block,
    Decision,
    Event,
    Judgement,
    LiveRouting,
    Phase,
    Release,
    ReleaseState,
    Routing,
    Run,
    Seen,
)
from meshctl.core.ports import (
    NO_ROUTES,
    Clock,
    Hooks,
    Judge,
    Mesh,
    MeshRecord,
    Metrics,
    NoHooks,
    NoNotices,
    Notices,
    Renderer,
    Store,
    Stored,
    Workloads,
)

T = TypeVar("T")

PASSES_MAX = 4
"""A raise is confirmed, a lost race repeated, within the same tick; never more often than this."""

CONFIRM_TIMEOUT_S = 0.5

_NO_HOOKS, _NO_NOTICES = NoHooks(), NoNotices()


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world, as `meshctl.wiring` joins it."""

    store: Store
    mesh: Mesh
    workloads: Workloads
    metrics: Metrics
    judge: Judge
    renderer: Renderer
    clock: Clock
    hooks: Hooks = _NO_HOOKS
    notices: Notices = _NO_NOTICES


@dataclass(frozen=True, slots=True)
class TickResult:
    """What one tick did: its last decision (``None`` when every pass lost the race), and what went wrong."""

    decision: Decision | None
    problems: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class _Observation:
    seen: Seen
    blocks: tuple[Block, ...]
    judgement: Judgement | None
    judge_state: str
    cursor: str


def tick(ports: Ports, name: str, *, reapply: bool = False) -> TickResult:
    """Bring one release as far as it goes now.

    ``reapply`` writes the routes even where they look right (after a start of the controller: templates may have
    changed meanwhile).  Raises `StoreError` when the store cannot be written - traffic that had to go down is
    down by then.
    """
    problems: list[str] = []
    events: list[Event] = []
    decision = None
    for _ in range(PASSES_MAX):
        try:
            decision, again = _pass(ports, name, problems, reapply=reapply)
        except Conflict:
            continue
        events += decision.events
        reapply = False
        if not again:
            break
    return TickResult(decision, tuple(dict.fromkeys(problems)), tuple(events))


def _pass(ports: Ports, name: str, problems: list[str], *, reapply: bool) -> tuple[Decision, bool]:
    """Read, decide, lower, store, raise; true when another look is needed at once."""
    stored = ports.store.load(name)
    now = ports.clock.now()
    found = _observe(ports, stored, problems)
    decision = decide(stored.release, stored.state, found.seen, found.judgement, stored.requests, now)
    run, before = decision.state.run, stored.state.run
    if run is not None and (before is None or before.name != run.name):
        found = replace(found, judge_state="", cursor="")
    lowered = _lower(ports, stored.release, decision, found.seen, before, problems)
    _save(ports, stored, decision, found)
    ports.hooks.keep(stored.release, decision.hooks)
    ports.notices.tell(stored.release, decision.events)
    _ensure_workloads(ports, stored.release, decision, problems)
    if lowered is not None:
        _confirm(ports, stored.release, lowered, problems)
        return decision, True
    force = reapply or stored.release.metadata.generation != stored.state.observed_generation
    if _apply(ports, stored.release, decision, found.seen, problems, force=force):
        return decision, True
    _retire_workloads(ports, stored.release, decision, found.seen)
    fresh = run is not None and (before is None or before.name != run.name)
    return decision, fresh or decision.wake_at == now


# ------------------------------------------------------------------------------------------ read


def _observe(ports: Ports, stored: Stored, problems: list[str]) -> _Observation:
    release, state = stored.release, stored.state
    live, mesh_problem = _read_mesh(ports.mesh, release)
    if mesh_problem:
        problems.append(mesh_problem)
    versions = _versions(release, state)
    replicas = {each: _attempt(partial(ports.workloads.ready, release, each), problems) for each in versions}
    answers = tuple(ports.hooks.answers(release))
    seen = Seen(live=live, replicas=replicas, mesh_problem=mesh_problem, hooks=answers)
    run = state.run
    if run is None or run.phase.ended or run.baseline is None:
        return _Observation(seen, (), None, stored.judge_state, stored.cursor)
    entry = len(run.entries) - 1
    counts = _counts(run, seen)
    judged_by = replace(release, spec=run.spec)
    reading = ports.metrics.read(
        judged_by, run.baseline, run.candidate, stored.cursor, entry=entry, weight=run.confirmed, counts=counts
    )
    seen = replace(seen, metrics_silence=timedelta(seconds=reading.silence_s))
    if reading.problem:
        problems.append(reading.problem)
        seen = replace(seen, metrics_problem=reading.problem)
    blocks = reading.blocks if counts else ()
    # What could not be cut off now must not be part of a later block: counting starts anew.
    cursor = reading.cursor if counts or not reading.problem else ""
    try:
        return _judge(ports.judge, run, seen, blocks, stored.judge_state, cursor)
    except JudgeError as error:
        problems.append(str(error))
        return _Observation(replace(seen, metrics_problem=str(error)), (), None, stored.judge_state, cursor)


def _judge(
    judge: Judge, run: Run, seen: Seen, blocks: tuple[Block, ...], judge_state: str, cursor: str
) -> _Observation:
    if not blocks:
        return _Observation(seen, (), None, judge_state, cursor)
    analysis = run.spec.analysis
    if not run.entries:
        return _Observation(seen, blocks, None, judge.learn(judge_state, analysis, blocks), cursor)
    judge_state, judgement = judge.fold(judge_state, analysis, run.entries[-1], blocks)
    seen = replace(seen, newest_block_end=blocks[-1].end)
    return _Observation(seen, blocks, judgement, judge_state, cursor)


def _counts(run: Run, seen: Seen) -> bool:
    """Whether what the metrics say belongs to the run's present stage: only while its weight is in effect by the
    same routes as before, as far as the mesh can be asked."""
    if not run.entries:
        return True
    if run.weight != run.confirmed:
        return False
    if seen.mesh_problem:
        return True
    live = seen.live
    if live is None or not live.in_effect or live.revision != run.revision:
        return False
    return live.weights.get(run.candidate, 0.0) == run.weight


def _versions(release: Release, state: ReleaseState) -> Sequence[str]:
    versions = [state.baseline, state.warm, release.spec.version]
    if state.run is not None:
        versions += [state.run.candidate]
    return [version for version in dict.fromkeys(versions) if version is not None]


def _read_mesh(mesh: Mesh, release: Release) -> tuple[LiveRouting | None, str]:
    try:
        return mesh.read(release), ""
    except MeshctlError as error:
        return None, str(error)


# ------------------------------------------------------------------------------------------ act


def _lower(
    ports: Ports, release: Release, decision: Decision, seen: Seen, before: Run | None, problems: list[str]
) -> str | None:
    """Take traffic away where the decision says less than what is live; before the store, on a full disk too.

    Returns the revision that was written, if any.  Only routes that name the run which was loaded are touched: a
    controller that slept must store, and so find out, before it writes over a newer run.
    """
    live = seen.live
    if decision.routing is None or before is None:
        return None
    if live is None:
        _lower_blindly(ports, release, decision.routing, seen)
        return None
    routing = _without_raise(decision.routing, before, live)
    if (
        routing is None
        or live.run != before.name
        or not (_above(live, routing) or _to_be_marked(live, routing, before))
    ):
        return None
    return _attempt(lambda: _way_down(ports, release, decision.state, routing, live, before, problems), problems)


def _to_be_marked(live: LiveRouting, routing: Routing, before: Run) -> bool:
    """A raise that was stored and not made yet may be in the hands of a controller that sleeps: the mark of the
    abort, which changes the revision, is what keeps it from being made."""
    return routing.aborted and not live.aborted and before.weight != before.confirmed


def _without_raise(routing: Routing, before: Run, live: LiveRouting) -> Routing | None:
    """The decided routes without what is a raise of the run's candidate in them: that waits for the store."""
    share = live.weights.get(before.candidate, 0.0)
    if routing.baseline == before.candidate:
        return routing if share == FULL else None
    if routing.candidate is None or share >= routing.candidate_weight:
        return routing
    return replace(routing, candidate_weight=tenths_below(share))


def _way_down(
    ports: Ports,
    release: Release,
    state: ReleaseState,
    routing: Routing,
    live: LiveRouting,
    before: Run,
    problems: list[str],
) -> str | None:
    """By what lies ready if it goes to nothing for good, else by the template; each stands in for the other."""
    if routing.aborted and not live.aborted:
        try:
            return ports.mesh.lower(release, before.name)
        except Refused as error:
            problems.append(str(error))
    try:
        return _write(ports, release, state, routing, live)
    except TemplateError as error:
        problems.append(str(error))
        # For a promoted version `lower` would be its rollback, which nobody decided.
        return None if before.phase is Phase.PROMOTED else ports.mesh.lower(release, before.name)


def _lower_blindly(ports: Ports, release: Release, routing: Routing, seen: Seen) -> None:
    """Routes that cannot be read can perhaps still be written; what came of it the next look tells."""
    if seen.mesh_problem and routing.aborted:
        with suppress(MeshctlError):
            ports.mesh.lower(release, routing.run)


def _attempt(action: Callable[[], T], problems: list[str]) -> T | None:
    """Trouble is told and does not keep anything from being stored; a lost race is not trouble."""
    try:
        return action()
    except Conflict:
        raise
    except MeshctlError as error:
        problems.append(str(error))
        return None


def _above(live: LiveRouting, routing: Routing) -> bool:
    """Whether any version but the serving one has more than was decided."""
    decided = weights_of(routing)
    return any(
        weight > decided.get(version, 0.0) for version, weight in live.weights.items() if version != routing.baseline
    )


def _save(ports: Ports, stored: Stored, decision: Decision, found: _Observation) -> None:
    run = decision.state.run
    idle = run is None or run.phase.ended
    if idle and decision.state == stored.state and not decision.served and not decision.events:
        return
    live = found.seen.live
    ports.store.save(
        stored.release.metadata.name,
        stored.version,
        decision.state,
        judge_state=found.judge_state,
        cursor=found.cursor,
        events=decision.events,
        blocks=found.blocks,
        served=decision.served,
        mesh=MeshRecord(ports.renderer.digest(), {} if live is None else {"routes": live.revision}),
    )


def _apply(ports: Ports, release: Release, decision: Decision, seen: Seen, problems: list[str], *, force: bool) -> bool:
    """Write what was stored, if the mesh says otherwise; true when another look is worth while at once."""
    routing, live = decision.routing, seen.live
    if routing is None or seen.mesh_problem or (live is not None and _as_decided(live, routing) and not force):
        return False
    if live is None and not _can_serve(seen, routing.baseline):
        return False
    try:
        revision = _attempt(lambda: _write(ports, release, decision.state, routing, live), problems)
    except Conflict:
        return True
    return revision is not None and _confirm(ports, release, revision, problems)


def _confirm(ports: Ports, release: Release, revision: str, problems: list[str]) -> bool:
    return bool(_attempt(lambda: ports.mesh.confirm(release, revision, CONFIRM_TIMEOUT_S), problems))


def _can_serve(seen: Seen, version: str) -> bool:
    """Routes of a service that has none yet are written only once its replicas can answer (rule 6)."""
    replicas = seen.ready(version)
    return replicas is not None and replicas.ready > 0


def _as_decided(live: LiveRouting, routing: Routing) -> bool:
    return live.weights == weights_of(routing) and live.run == routing.run and live.aborted == routing.aborted


def _write(ports: Ports, release: Release, state: ReleaseState, routing: Routing, live: LiveRouting | None) -> str:
    """Render and apply with the way back laid ready.  Raises `Conflict` when the routes are not those any more
    that the decision was made on."""
    objects = ports.renderer.render(release, routing)
    back = _way_back(state, routing)
    fallback = ports.renderer.render(release, back) if back is not None else ()
    return ports.mesh.apply(release, objects, fallback=fallback, expected=live.revision if live else NO_ROUTES)


def _way_back(state: ReleaseState, routing: Routing) -> Routing | None:
    """Where `lower` leads: from a candidate to the baseline, from a promoted version to the one kept warm."""
    run = state.run
    if run is not None and run.phase is Phase.PROMOTED and state.warm is not None:
        return Routing(state.warm, routing.baseline, 0.0, routing.run, aborted=True)
    if routing.candidate_weight > 0.0:
        return replace(routing, candidate_weight=0.0, aborted=True)
    return None


def _ensure_workloads(ports: Ports, release: Release, decision: Decision, problems: list[str]) -> None:
    for version in decision.needed:
        _attempt(partial(ports.workloads.ensure, release, version, run=decision.state.runs), problems)


def _retire_workloads(ports: Ports, release: Release, decision: Decision, seen: Seen) -> None:
    """Old replicas go only when the data plane no longer knows their version (rule 6)."""
    live = seen.live
    if seen.mesh_problem or (live is not None and not live.in_effect):
        return
    if live is None or set(live.weights) <= set(decision.needed):
        ports.workloads.retire(release, decision.needed, run=decision.state.runs)
