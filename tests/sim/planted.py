"""Faults planted on purpose.  Each is what a wrong program would do, built around the right one from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from meshctl.adapters.kubernetes.api import Patch
from meshctl.adapters.kubernetes.kinds import RELEASE, RELEASE_RUN
from meshctl.adapters.kubernetes.releases import REQUEST_PREFIX
from meshctl.app.tick import Ports, tick
from meshctl.core.decide import routing_of, weights_of
from meshctl.core.model import HookAnswer, HookOutcome, OnMetricsOutage, Verdict
from tests.sim.world import Plant


class Around:
    """A port that is another one but for the methods of the class."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def with_ports(**made: Callable[[Any], Any]) -> Plant:
    """Each named port is replaced by what is made of it."""

    def planted(ports: Ports) -> Ports:
        return replace(ports, **{name: make(getattr(ports, name)) for name, make in made.items()})

    return Plant(ports=planted)


# ------------------------------------------------------------------------------------ the order of effects


class _LateStore(Around):
    """Holds a save back until the routes were written."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.held: list[Callable[[], Any]] = []

    def save(self, *args: Any, **rest: Any) -> int:
        self.held.append(lambda: self.inner.save(*args, **rest))
        return 0

    def flush(self) -> None:
        while self.held:
            self.held.pop(0)()


class _EarlyMesh(Around):
    def __init__(self, inner: Any, store: _LateStore) -> None:
        super().__init__(inner)
        self.store = store

    def apply(self, *args: Any, **rest: Any) -> Any:
        revision = self.inner.apply(*args, **rest)
        self.store.flush()
        return revision


def raise_then_store() -> Plant:
    def planted(ports: Ports) -> Ports:
        store = _LateStore(ports.store)
        return replace(ports, store=store, mesh=_EarlyMesh(ports.mesh, store))

    def late_tick(ports: Ports, name: str, **rest: Any) -> Any:
        result = tick(ports, name, **rest)
        ports.store.flush()  # type: ignore[attr-defined]
        return result

    return Plant(ports=planted, tick=late_tick)


class _PatientMesh(Around):
    """Lowers only after the store has taken the decision."""

    def __init__(self, inner: Any, held: list[Callable[[], Any]]) -> None:
        super().__init__(inner)
        self.held = held

    def lower(self, release: Any, run: str) -> Any:
        self.held.append(lambda: self.inner.lower(release, run))
        live = self.inner.read(release)
        return None if live is None else live.revision


class _FirstStore(Around):
    def __init__(self, inner: Any, held: list[Callable[[], Any]]) -> None:
        super().__init__(inner)
        self.held = held

    def load(self, name: str) -> Any:
        self.held.clear()
        return self.inner.load(name)

    def save(self, *args: Any, **rest: Any) -> Any:
        version = self.inner.save(*args, **rest)
        while self.held:
            self.held.pop(0)()
        return version


def store_then_lower() -> Plant:
    def planted(ports: Ports) -> Ports:
        held: list[Callable[[], Any]] = []
        return replace(ports, store=_FirstStore(ports.store, held), mesh=_PatientMesh(ports.mesh, held))

    return Plant(ports=planted)


class _HastyMesh(Around):
    """Ends the replicas of whoever will have nothing, before the routes are written."""

    def __init__(self, inner: Any, workloads: Any) -> None:
        super().__init__(inner)
        self.workloads = workloads

    def apply(self, release: Any, objects: Any, **rest: Any) -> Any:
        service = next(each for each in objects if each["kind"] == "VirtualService")
        places = service["spec"]["http"][-1]["route"]
        keep = [each["destination"]["subset"] for each in places if each.get("weight", 1000)]
        self.workloads.retire(release, keep, run=10**9)
        return self.inner.apply(release, objects, **rest)


def retire_then_route() -> Plant:
    return Plant(ports=lambda ports: replace(ports, mesh=_HastyMesh(ports.mesh, ports.workloads)))


# ------------------------------------------------------------------------------------ what is forgotten or ignored


class _ForgetfulMesh(Around):
    """Takes routes back without leaving the mark: whoever looks later does not see it."""

    def read(self, release: Any) -> Any:
        live = self.inner.read(release)
        return live and replace(live, aborted=False)


class _CarelessStore(Around):
    """Stores over whatever is there."""

    def save(self, name: str, expected_version: int, state: Any, **rest: Any) -> Any:
        return self.inner.overwrite(name, expected_version, state, **rest)


class _BlindMesh(Around):
    """Writes over whatever is there."""

    def apply(self, release: Any, objects: Any, *, fallback: Any = (), expected: Any = None) -> Any:
        return self.inner.apply(release, objects, fallback=fallback)


class _BelievingMesh(Around):
    """Takes what was written for what the data plane does."""

    def read(self, release: Any) -> Any:
        live = self.inner.read(release)
        return live and replace(live, in_effect=True)


class _AnsweringAgain(Around):
    """Forgets which requests were answered."""

    def load(self, name: str) -> Any:
        stored = self.inner.load(name)
        return replace(stored, state=replace(stored.state, acknowledged=()))


# ------------------------------------------------------------------------------------ evidence


class _RipeStages(Around):
    """A judge that takes no failure so far for a pass."""

    def fold(self, *args: Any) -> Any:
        state, word = self.inner.fold(*args)
        return state, replace(word, verdict=Verdict.PASS) if word.verdict is Verdict.UNDECIDED else word


class _SlowCursor(Around):
    """Cuts blocks one reading too early: they reach back into the stage before."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.before: dict[str, str] = {}

    def read(self, release: Any, old: str, new: str, cursor: str, **rest: Any) -> Any:
        reading = self.inner.read(release, old, new, self.before.get(cursor, cursor), **rest)
        self.before[reading.cursor] = cursor
        return reading


class _Impatient(Around):
    """Takes candidates back for an outage of the metrics, whatever the policy says."""

    def load(self, name: str) -> Any:
        stored = self.inner.load(name)
        if stored.state.run is None:
            return stored
        run = stored.state.run
        analysis = replace(run.spec.analysis, on_metrics_outage=OnMetricsOutage.ROLLBACK, metrics_grace=timedelta(0))
        run = replace(run, spec=replace(run.spec, analysis=analysis))
        return replace(stored, state=replace(stored.state, run=run))


class _Trusting(Around):
    """Takes replicas that nobody can see, or that are gone, for ready."""

    def ready(self, release: Any, version: str) -> Any:
        found = self.inner.ready(release, version)
        return replace(found, ready=2) if found is not None else None


class _Oblivious(Around):
    """Ends replicas whatever run needs them by now."""

    def retire(self, release: Any, keep: Any, *, run: int) -> None:
        self.inner.retire(release, keep, run=10**9)


class _Answering(Around):
    """Answers itself for every hook that is kept."""

    def __init__(self, inner: Any, outcome: HookOutcome) -> None:
        super().__init__(inner)
        self.outcome = outcome
        self.kept: Any = ()

    def keep(self, release: Any, calls: Any) -> None:
        self.kept = calls
        self.inner.keep(release, calls)

    def answers(self, release: Any) -> Any:
        self.inner.answers(release)
        return [HookAnswer(call.key, call.asking, self.outcome) for call in self.kept]


def repair(ports: Ports, name: str, **rest: Any) -> Any:
    """A tick that brings the routes to what was decided, upwards too."""
    stored = ports.store.load(name)
    release, run = stored.release, stored.state.run
    routing = routing_of(stored.state, ports.clock.now())
    live = ports.mesh.read(release)
    ours = live is not None and routing is not None and live.run == routing.run
    if ours and run is not None and run.confirmed == run.weight and live.weights != weights_of(routing):
        back = replace(routing, candidate_weight=0.0, aborted=True) if routing.candidate_weight > 0 else None
        fallback = ports.renderer.render(release, back) if back else ()
        ports.mesh.apply(release, ports.renderer.render(release, routing), fallback=fallback)
    return tick(ports, name, **rest)


@dataclass(frozen=True)
class Fault:
    """A planted fault, and the rules that may speak up."""

    plant: Plant
    rules: tuple[int, ...]


FAULTS: dict[str, Fault] = {
    "raise, then store": Fault(raise_then_store(), (1,)),
    "store, then lower": Fault(store_then_lower(), (1, 9)),
    "drop the mark of an abort": Fault(with_ports(mesh=_ForgetfulMesh), (2,)),
    "raise where another hand lowered": Fault(Plant(tick=repair), (9,)),
    "store over whatever is there": Fault(with_ports(store=_CarelessStore), (10,)),
    "write routes over whatever is there": Fault(with_ports(mesh=_BlindMesh), (1, 2, 6, 9)),
    "believe the write instead of the data plane": Fault(with_ports(mesh=_BelievingMesh), (5,)),
    "carry requests out twice": Fault(with_ports(store=_AnsweringAgain), (2, 10)),
    "pass without evidence": Fault(with_ports(judge=_RipeStages), (3,)),
    "judge blocks of the stage before": Fault(with_ports(metrics=_SlowCursor), (5,)),
    "take an outage for a bad candidate": Fault(with_ports(store=_Impatient), (4,)),
    "end replicas before the routes": Fault(retire_then_route(), (6,)),
    "end replicas that a newer run needs": Fault(with_ports(workloads=_Oblivious), (6,)),
    "take silence of a hook for consent": Fault(with_ports(hooks=partial(_Answering, outcome=HookOutcome.PASS)), (3,)),
    "take a hook for failed that is not": Fault(with_ports(hooks=partial(_Answering, outcome=HookOutcome.FAIL)), (4,)),
    "take dead replicas for ready": Fault(with_ports(workloads=_Trusting), (6,)),
}


# ------------------------------------------------------------------------------------ in a cluster


class _CarelessApi(Around):
    """Writes objects over whatever is there."""

    def replace(self, kind: Any, object: Any, **rest: Any) -> Any:
        meta = {key: value for key, value in object["metadata"].items() if key != "resourceVersion"}
        return self.inner.replace(kind, {**object, "metadata": meta}, **rest)


class _HastyApi(Around):
    """Takes requests off before what they led to is stored."""

    def replace(self, kind: Any, object: Any, **rest: Any) -> Any:
        if kind is RELEASE_RUN:
            name, namespace = object["spec"]["release"], object["metadata"]["namespace"]
            asked = self.inner.find(RELEASE, name, namespace)["metadata"].get("annotations") or {}
            gone = dict.fromkeys(key for key in asked if key.startswith(REQUEST_PREFIX))
            if gone:
                self.inner.patch(RELEASE, name, namespace, {"metadata": {"annotations": gone}}, form=Patch.MERGE)
        return self.inner.replace(kind, object, **rest)


CLUSTER_FAULTS: dict[str, Fault] = {
    "write objects over whatever is there": Fault(Plant(api=_CarelessApi), (10,)),
    "take requests off before their answers are stored": Fault(Plant(api=_HastyApi), (10,)),
}
