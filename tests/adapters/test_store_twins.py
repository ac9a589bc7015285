"""The stores on disk, in memory and in a cluster do the same, whatever is done to them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshctl.adapters.kubernetes.store import KubernetesStore
from meshctl.adapters.memory import FakeClock, MemoryStore
from meshctl.adapters.store_sqlite import SqliteStore
from meshctl.core.errors import Conflict, MeshctlError
from meshctl.core.model import Phase, ReleaseState
from meshctl.core.ports import Stored
from meshctl.core.record import faults
from tests.adapters.api_memory import MemoryApi
from tests.adapters.store_values import MESH, block, event, release, request, run, workload

NAMES = st.sampled_from(["shop", "cart", "shop-1"])


class Twins(RuleBasedStateMachine):
    """Every step is taken in all; all must answer alike, and every chain must stay whole."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.disk = SqliteStore(Path(self.folder.name))
        cluster = KubernetesStore(MemoryApi(), "default", FakeClock(), write_behind_s=0)
        self.stores = [self.disk, MemoryStore(), cluster]
        self.versions = {}
        self.blocks = 0

    def teardown(self):
        self.disk.close()
        self.folder.cleanup()

    def all(self, act, stores=3):
        """What each answers to ``act(number, store)``; versions and the words of a lost race are each store's own."""
        answers = []
        for number, store in enumerate(self.stores[:stores]):
            try:
                answers.append(act(number, store))
            except Conflict:
                answers.append(Conflict)
            except MeshctlError as error:
                answers.append((type(error), str(error)))
        assert all(self.plain(each) == self.plain(answers[0]) for each in answers)
        return answers

    @staticmethod
    def plain(answer):
        return replace(answer, version=0) if isinstance(answer, Stored) else answer

    @rule(name=NAMES, version=st.sampled_from(["1", "2"]))
    def apply(self, name, version):
        self.all(lambda _, store: store.put_release(release(name, version)))
        if name not in self.versions:
            self.read(name)

    @rule(name=NAMES, replicas=st.integers(1, 2))
    def apply_workload(self, name, replicas):
        self.all(lambda _, store: store.put_workload(workload(name, replicas)), stores=2)
        self.all(lambda _, store: store.workloads(), stores=2)

    @rule(name=NAMES, id_=st.sampled_from("abc"))
    def ask(self, name, id_):
        self.all(lambda _, store: store.request(name, request(id_)))

    @rule(name=NAMES)
    def read(self, name):
        stored = self.all(lambda _, store: store.load(name))
        if isinstance(stored[0], Stored):
            self.versions[name] = [each.version for each in stored]

    @precondition(lambda self: self.versions)
    @rule(
        data=st.data(),
        begin=st.booleans(),
        events=st.integers(0, 2),
        blocks=st.integers(0, 3),
        served=st.lists(st.sampled_from("abc")),
        weight=st.sampled_from([0.0, 1.0, 99.9]),
    )
    def save(self, data, begin, events, blocks, served, weight):
        """With the version that was read last, so late saves happen."""
        name = data.draw(st.sampled_from(sorted(self.versions)))
        before = self.disk.load(name).state
        number = before.runs + (begin or before.run is None)
        state = ReleaseState(baseline=str(weight), run=run(name, number, weight=weight), runs=number)
        new = [block(self.blocks + index) for index in range(blocks)]
        self.blocks += blocks
        told = [event(f"{name}-{number}", phase_to=Phase.PENDING)] * events
        if before.run is not None and number != before.runs:
            told = [event(before.run.name), *told]
        arguments = {"judge_state": str(weight), "cursor": str(number), "events": told, "blocks": new}
        versions = self.versions[name]

        def store_it(index, store):
            versions[index] = store.save(name, versions[index], state, **arguments, served=served, mesh=MESH)

        self.all(store_it)

    @invariant()
    def they_hold_the_same_and_every_chain_is_whole(self):
        for name in self.all(lambda _, store: store.names())[0]:
            self.all(lambda _, store, name=name: store.load(name))
            for kept in self.all(lambda _, store, name=name: store.runs(name))[0]:
                run = kept.run.name
                records = self.all(lambda _, store, run=run: store.decisions(run))[0]
                blocks = self.all(lambda _, store, run=run: store.blocks(run))[0]
                assert faults(records, head=kept.head, blocks=blocks) == ()
        self.all(lambda _, store: store.revision(), stores=2)


Twins.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestTwins = Twins.TestCase
