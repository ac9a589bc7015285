"""The store on disk and the one in memory do the same, whatever is done to them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshctl.adapters.memory import MemoryStore
from meshctl.adapters.store_sqlite import SqliteStore
from meshctl.core.errors import MeshctlError
from meshctl.core.model import Phase, ReleaseState
from meshctl.core.record import faults
from tests.adapters.store_values import MESH, block, event, release, request, run, workload

NAMES = st.sampled_from(["shop", "cart", "shop-1"])


class Twins(RuleBasedStateMachine):
    """Every step is taken in both; both must answer alike, and every chain must stay whole."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.disk = SqliteStore(Path(self.folder.name))
        self.stores = [self.disk, MemoryStore()]
        self.versions = {}
        self.blocks = 0

    def teardown(self):
        self.disk.close()
        self.folder.cleanup()

    def both(self, act):
        answers = []
        for store in self.stores:
            try:
                answers.append(act(store))
            except MeshctlError as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1]
        return answers[0]

    @rule(name=NAMES, version=st.sampled_from(["1", "2"]))
    def apply(self, name, version):
        self.both(lambda store: store.put_release(release(name, version)))
        self.versions.setdefault(name, 1)

    @rule(name=NAMES, replicas=st.integers(1, 2))
    def apply_workload(self, name, replicas):
        self.both(lambda store: store.put_workload(workload(name, replicas)))
        self.both(lambda store: store.workloads())

    @rule(name=NAMES, id_=st.sampled_from("abc"))
    def ask(self, name, id_):
        self.both(lambda store: store.request(name, request(id_)))

    @rule(name=NAMES)
    def read(self, name):
        stored = self.both(lambda store: store.load(name))
        if not isinstance(stored, tuple):
            self.versions[name] = stored.version

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
        version = self.versions[name]
        answer = self.both(lambda store: store.save(name, version, state, **arguments, served=served, mesh=MESH))
        if isinstance(answer, int):
            self.versions[name] = answer

    @invariant()
    def they_hold_the_same_and_every_chain_is_whole(self):
        for name in self.both(lambda store: store.names()):
            self.both(lambda store, name=name: store.load(name))
            for kept in self.both(lambda store, name=name: store.runs(name)):
                records = self.both(lambda store, kept=kept: store.decisions(kept.run.name))
                blocks = self.both(lambda store, kept=kept: store.blocks(kept.run.name))
                assert faults(records, head=kept.head, blocks=blocks) == ()
        self.both(lambda store: store.revision())


Twins.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestTwins = Twins.TestCase
