"""A store over an API server in memory, and what happens to its writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from meshctl.adapters.kubernetes.kinds import RELEASE, RELEASE_RUN
from meshctl.adapters.kubernetes.store import KubernetesStore
from meshctl.adapters.memory import FakeClock
from meshctl.core.model import Phase, ReleaseState
from meshctl.core.record import faults
from tests.adapters.api_memory import MemoryApi
from tests.adapters.store_values import MESH, release, run

WRITES = ("create", "update", "patch", "delete")


class Crash(BaseException):
    """The process died."""


@dataclass
class Cluster:
    """One API server; ``store()`` is another process each time."""

    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.api = MemoryApi(clock=self.clock)

    def store(self, **options: Any) -> KubernetesStore:
        """A process that has seen nothing yet."""
        api = self.api.seen_by("system:serviceaccount:meshctl:controller")
        found = KubernetesStore(api, "default", self.clock, **({"write_behind_s": 0.0} | options))
        found.api = api  # type: ignore[attr-defined]
        return found

    def release(self, name: str = "shop") -> Any:
        return self.api.get(RELEASE, name, "default")

    def run(self, name: str) -> Any:
        return self.api.get(RELEASE_RUN, name, "default")

    def status(self, name: str = "shop") -> Any:
        return self.release(name).get("status")

    def runs(self) -> list[str]:
        return [each["metadata"]["name"] for each in self.api.list(RELEASE_RUN, "default").items]

    def is_whole(self, name: str = "shop") -> None:
        """Every chain of decisions holds, runs are numbered without a gap, each leads to the next."""
        store = self.store(projects=False)
        kept = store.runs(name)
        numbers = [each.run.number for each in kept]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        for each in kept:
            records, blocks = store.decisions(each.run.name), store.blocks(each.run.name)
            checkpoint = store.checkpoint(each.run.name)
            assert faults(records, head=each.head, blocks=blocks, checkpoint=checkpoint) == ()


def save(store: KubernetesStore, state: ReleaseState | None = None, *, name: str = "shop", **fields: Any) -> Any:
    stored = store.load(name)
    arguments = {"judge_state": "j", "cursor": "c", "events": [], "blocks": [], "served": [], "mesh": MESH} | fields
    expected = arguments.pop("version", stored.version)
    return store.save(name, expected, stored.state if state is None else state, **arguments)


def state_of(number: int = 1, *, name: str = "shop", **fields: Any) -> ReleaseState:
    return ReleaseState(baseline="2.0.0", run=run(name, number, **fields), runs=number)


def moved(state: ReleaseState, **fields: Any) -> ReleaseState:
    assert state.run is not None
    return replace(state, run=replace(state.run, **fields))


def writes_of(store: Any) -> list[str]:
    """What a store wrote, in order: verb, kind, name, and which part of it."""
    return [
        f"{call.verb} {call.kind.name} {call.name.partition('.')[0]}"
        + (f"/{call.subresource}" if call.subresource else "")
        for call in store.api.calls
        if call.verb in WRITES
    ]


def dying(store: Any, number: int) -> None:
    """Have the process die before its write ``number``, counted from 0."""
    left = [number]

    def before(call: Any) -> None:
        if call.verb in WRITES:
            left[0] -= 1
            if left[0] < 0:
                raise Crash

    store.api.before = before


def between(store: Any, verb: str, kind: Any, act: Callable[[], None]) -> None:
    """Have somebody else act just before the first such call of a process."""
    done: list[bool] = []

    def before(call: Any) -> None:
        if call.verb == verb and call.kind is kind and not done:
            done.append(True)
            act()

    store.api.before = before


def begin(store: KubernetesStore) -> None:
    store.put_release(release())
    save(store, state_of())


SOON = timedelta(seconds=1)
ENDED = {"phase": Phase.ROLLED_BACK, "weight": 0.0}
