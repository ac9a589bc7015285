"""What every store promises, shown on each of them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from meshctl.adapters.kubernetes.store import KubernetesStore
from meshctl.adapters.memory import FakeClock, MemoryStore
from meshctl.adapters.store_sqlite import SqliteStore
from meshctl.core.catalog import RUNS_KEPT
from meshctl.core.errors import Conflict, Refused
from meshctl.core.model import Acknowledgement, Phase, Reason, ReleaseState, StageClock, Verb, Verdict
from meshctl.core.record import Head, faults
from tests.adapters.api_memory import MemoryApi
from tests.adapters.store_values import MESH, NOON, block, event, release, request, run, workload


@pytest.fixture(params=["sqlite", "memory", "kubernetes"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "kubernetes":
        yield KubernetesStore(MemoryApi(), "default", FakeClock(), write_behind_s=0)
        return
    store = SqliteStore(tmp_path)
    yield store
    store.close()


WITHOUT_A_CLUSTER = pytest.mark.parametrize("store", ["sqlite", "memory"], indirect=True)
"""Where pods come from Deployments nobody wishes a Workload."""


def save(store, name="shop", version=None, state=None, **fields):
    stored = store.load(name)
    arguments = {"judge_state": "j", "cursor": "c", "events": [], "blocks": [], "served": [], "mesh": MESH} | fields
    expected = stored.version if version is None else version
    return store.save(name, expected, stored.state if state is None else state, **arguments)


# ------------------------------------------------------------------------------------ wishes


def test_a_new_release_starts_at_generation_one_with_nothing_known(store):
    wished = release()
    stored = store.put_release(replace(wished, metadata=replace(wished.metadata, generation=7)))
    assert stored.metadata.generation == 1
    loaded = store.load("shop")
    assert (loaded.release, loaded.state, loaded.requests) == (stored, ReleaseState(), ())
    assert (loaded.judge_state, loaded.cursor) == ("", "")
    assert store.release("shop") == stored
    assert store.names() == ["shop"]


def test_a_changed_spec_makes_a_new_generation_and_beats_the_running_tick(store):
    store.put_release(release())
    version = store.load("shop").version
    assert store.put_release(release(version="2.2.0")).metadata.generation == 2
    with pytest.raises(Conflict):
        save(store, version=version)
    assert store.load("shop").release.spec.version == "2.2.0"


def test_the_same_wish_again_changes_nothing(store):
    first = store.put_release(release())
    version, revision = store.load("shop").version, store.revision()
    assert store.put_release(release()) == first
    assert (store.load("shop").version, store.revision()) == (version, revision)


def test_new_labels_alone_are_stored_without_a_new_generation_and_without_a_conflict(store):
    store.put_release(release())
    version, wished = store.load("shop").version, release()
    labelled = replace(wished, metadata=replace(wished.metadata, labels={"team": "a"}))
    assert store.put_release(labelled).metadata.generation == 1
    assert store.release("shop").metadata.labels == {"team": "a"}
    save(store, version=version)


def test_a_new_spec_leaves_state_and_requests_alone(store):
    store.put_release(release())
    state = ReleaseState(baseline="2.0.0", run=run(), runs=1)
    save(store, state=state, judge_state="learnt", cursor="here")
    store.request("shop", request())
    store.put_release(release(version="2.2.0"))
    loaded = store.load("shop")
    assert (loaded.state, loaded.requests) == (state, (request(),))
    assert (loaded.judge_state, loaded.cursor) == ("learnt", "here")


@WITHOUT_A_CLUSTER
def test_workloads_follow_the_same_rules(store):
    revision = store.revision()
    assert store.put_workload(workload()).metadata.generation == 1
    assert store.revision() > revision
    assert store.put_workload(workload()).metadata.generation == 1
    changed = store.put_workload(workload(replicas=3))
    assert changed.metadata.generation == 2
    other = store.put_workload(workload("cart"))
    assert store.workload("shop") == changed
    assert store.workloads() == [other, changed]


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.load("shpo"),
        lambda store: store.release("shpo"),
        lambda store: store.runs("shpo"),
        lambda store: store.request("shpo", request()),
        lambda store: store.save(
            "shpo", 1, ReleaseState(), judge_state="", cursor="", events=(), blocks=(), served=(), mesh=MESH
        ),
    ],
)
def test_an_unknown_release_is_refused_with_the_nearest_name(store, ask):
    store.put_release(release())
    with pytest.raises(Refused, match=r"no release is named 'shpo'\n  Did you mean 'shop'\?"):
        ask(store)


@WITHOUT_A_CLUSTER
def test_an_unknown_workload_is_refused_by_name(store):
    store.put_workload(workload())
    with pytest.raises(Refused, match="no workload is named 'x'\n  Known: shop"):
        store.workload("x")


def test_an_unknown_run_is_refused_by_name(store):
    store.put_release(release())
    for ask in (store.decisions, store.blocks, store.checkpoint):
        with pytest.raises(Refused, match="no run is named 'shop-1'\n  There is no run at all yet"):
            ask("shop-1")


# ------------------------------------------------------------------------------------ compare and swap


def test_what_is_saved_is_loaded_to_the_last_digit(store):
    store.put_release(release())
    state = ReleaseState(
        baseline="2.0.0",
        warm="1.9.0",
        warm_until=NOON + timedelta(microseconds=123457),
        rejected=("2.0.5",),
        acknowledged=(Acknowledgement("a", Verb.ABORT, NOON, "anna", False, "ended already"),),
        run=run(
            reason=Reason.NO_TRAFFIC,
            message='ä "quoted"\n',
            weight=0.1,
            clock=StageClock(timedelta(seconds=1.000001), NOON),
            evidence_until=NOON,
        ),
        runs=1,
        observed_generation=3,
    )
    version = save(store, state=state, judge_state="{}\n", cursor="ü")
    loaded = store.load("shop")
    assert (loaded.state, loaded.version, loaded.judge_state, loaded.cursor) == (state, version, "{}\n", "ü")
    assert store.runs("shop")[0].run == state.run


def test_a_save_that_comes_too_late_changes_nothing(store):
    store.put_release(release())
    first = store.load("shop").version
    second = save(store, state=ReleaseState(run=run()))
    store.request("shop", request())
    revision = store.revision()
    late = {"events": [event()], "blocks": [block()], "served": ["r1"], "judge_state": "late", "cursor": "late"}
    told = f"'shop' changed while it was worked on: read at version {first}, now at {second}"
    with pytest.raises(Conflict, match=re.escape(told)):
        save(store, version=first, state=ReleaseState(baseline="late", run=run(number=2)), **late)
    loaded = store.load("shop")
    assert (loaded.state, loaded.judge_state, loaded.requests) == (ReleaseState(run=run()), "j", (request(),))
    assert (store.decisions("shop-1"), store.blocks("shop-1"), store.revision()) == ([], [], revision)
    assert [kept.run.name for kept in store.runs("shop")] == ["shop-1"]


def test_a_save_that_fails_half_way_changes_nothing(store):
    store.put_release(release())
    save(store, state=ReleaseState(run=run()))
    with pytest.raises(AssertionError, match="an event names a run of its release"):
        save(store, state=ReleaseState(run=run(weight=50.0)), blocks=[block()], events=[event("cart-9")])
    assert store.load("shop").state.run.weight == 1.0
    assert store.blocks("shop-1") == []
    save(store, blocks=[block()])


def test_releases_do_not_know_of_each_other(store):
    for name in ("shop", "cart"):
        store.put_release(release(name))
        save(store, name, state=ReleaseState(run=run(name)), blocks=[block()], events=[event(f"{name}-1")])
    store.request("cart", request())
    assert store.names() == ["cart", "shop"]
    assert store.load("shop").requests == ()
    assert [kept.run.name for kept in store.runs("cart")] == ["cart-1"]
    with pytest.raises(AssertionError):
        save(store, "shop", events=[event("cart-1")])


# ------------------------------------------------------------------------------------ requests


def test_requests_wait_in_the_order_they_came_until_they_are_served(store):
    store.put_release(release())
    version = store.load("shop").version
    first, second = request("b", weight=5.5, full=True), request("a", Verb.ABORT, time=NOON - timedelta(hours=1))
    for each in (first, second, replace(first, reason="sent twice")):
        store.request("shop", each)
    assert store.load("shop").requests == (first, second)
    after = save(store, version=version, served=["b", "unheard of"])
    assert version != after == store.load("shop").version
    assert store.load("shop").requests == (second,)


def test_a_request_with_bytes_that_are_not_text_is_stored_all_the_same(store):
    store.put_release(release())
    store.request("shop", request(actor="an\udcffna", reason="\udc80"))
    (stored,) = store.load("shop").requests
    assert (stored.actor, stored.reason) == ("an?na", "?")


# ------------------------------------------------------------------------------------ runs and records


def test_decisions_are_chained_over_saves_and_name_their_blocks(store):
    store.put_release(release())
    save(store, state=ReleaseState(run=run()), events=[event()])
    save(store, blocks=[block(0), block(1)])
    save(store, blocks=[block(2)], events=[event(), event(message="at once")])
    save(store, events=[event()])
    save(store, blocks=[block(3)])
    records, blocks = store.decisions("shop-1"), store.blocks("shop-1")
    assert [record["number"] for record in records] == [1, 2, 3, 4]
    assert [record["inputs"]["blocks"] for record in records] == [0, 3, 3, 0]
    assert blocks == [block(second) for second in range(4)]
    (kept,) = store.runs("shop")
    assert kept.head == Head(4, records[-1]["hash"])
    assert faults(records, head=kept.head, blocks=blocks) == ()


def test_blocks_can_be_read_on_from_where_somebody_has_come(store):
    store.put_release(release())
    save(store, state=ReleaseState(run=run()))
    save(store, blocks=[block(second) for second in range(4)])
    assert store.blocks("shop-1", after=0) == [block(second) for second in range(4)]
    assert store.blocks("shop-1", after=3) == [block(3)]
    assert store.blocks("shop-1", after=4) == store.blocks("shop-1", after=9) == []


def test_blocks_of_a_save_that_begins_a_run_belong_to_the_run_before(store):
    store.put_release(release())
    save(store, state=ReleaseState(run=run()), blocks=[block(0)])
    begun = run(number=2, candidate="2.2.0")
    events = [event(reason=Reason.SUPERSEDED), event("shop-2", phase_to=Phase.PENDING, weight_from=0.0)]
    save(store, state=ReleaseState(run=begun, runs=2), blocks=[block(1)], events=events)
    assert store.blocks("shop-1") == [block(0), block(1)]
    assert store.blocks("shop-2") == []
    assert store.decisions("shop-1")[0]["inputs"]["blocks"] == 2
    (second,) = store.decisions("shop-2")
    assert (second["number"], second["previous"], second["inputs"]["blocks"]) == (1, None, 0)


def test_a_run_that_made_way_is_kept_with_its_end(store):
    store.put_release(release())
    save(store, state=ReleaseState(run=run(), runs=1))
    last = event(reason=Reason.SUPERSEDED, verdict=Verdict.UNDECIDED)
    save(store, state=ReleaseState(run=run(number=2), runs=2), events=[last])
    old, new = (kept.run for kept in store.runs("shop"))
    assert (old.phase, old.reason, old.weight, old.ended_at) == (
        Phase.ROLLED_BACK,
        Reason.SUPERSEDED,
        0.0,
        last.time,
    )
    assert new == run(number=2)


def test_ten_runs_are_kept_with_what_belongs_to_them(store):
    store.put_release(release())
    for number in range(1, RUNS_KEPT + 3):
        save(store, state=ReleaseState(run=run(number=number), runs=number))
        save(store, blocks=[block()], events=[event(f"shop-{number}")])
    assert [kept.run.number for kept in store.runs("shop")] == list(range(3, RUNS_KEPT + 3))
    for ask in (store.decisions, store.blocks):
        assert len(ask("shop-3")) == 1
        with pytest.raises(Refused, match="no run is named 'shop-2'"):
            ask("shop-2")


def test_what_is_handed_out_cannot_change_what_is_kept(store):
    store.put_release(release())
    save(store, state=ReleaseState(run=run()), events=[event()])
    store.decisions("shop-1")[0]["weight"]["to"] = 99.0
    assert faults(store.decisions("shop-1")) == ()


def test_the_revision_grows_with_every_change_and_only_then(store):
    seen = [store.revision()]
    changes = [
        lambda: store.put_release(release()),
        lambda: save(store, state=ReleaseState(run=run())),
        lambda: store.request("shop", request()),
        lambda: store.put_release(release(version="3")),
    ]
    for change in changes:
        change()
        seen.append(store.revision())
    assert seen == sorted(set(seen))
    for look in (store.names, lambda: store.load("shop"), lambda: store.runs("shop")):
        look()
    assert store.revision() == seen[-1]
