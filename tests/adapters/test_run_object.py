"""A run is one object of at most 64 KB, whatever happens in it, and what is left of it can be proved."""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.judge import AnalysisJudge
from meshctl.adapters.kubernetes.chronicle import Chronicle, continued
from meshctl.adapters.kubernetes.run_object import (
    BYTES_MAX,
    RESERVED_BYTES,
    Closing,
    Link,
    Owner,
    RunObject,
    Standing,
    closed,
    fitted,
    object_of,
    run_object,
)
from meshctl.adapters.memory import BOUNDS_MS
from meshctl.adapters.run_file import load_export, write_export
from meshctl.app.history import dossier_of
from meshctl.app.replay import replay
from meshctl.core.model import (
    Acknowledgement,
    AnalysisSpec,
    ArmCounts,
    Block,
    Phase,
    ReleaseSpec,
    ReleaseState,
    Run,
    Stage,
    StageTerms,
    Verb,
    WarmUp,
)
from meshctl.core.packing import pack
from meshctl.core.record import WHOLE, faults
from tests.adapters.store_cluster import Cluster, save
from tests.adapters.store_values import MESH, NOON, block, event, release, run
from tests.adapters.test_wire import INSTANTS, anything

COUNTS = st.builds(
    ArmCounts, st.integers(0, 2**53), st.integers(0, 9), st.lists(st.integers(0, 99), max_size=3).map(tuple)
)
BLOCKS = st.builds(
    Block,
    INSTANTS,
    INSTANTS,
    st.integers(-1, 3),
    st.sampled_from([0.1, 1.0, 99.9]),
    COUNTS,
    COUNTS,
    st.sampled_from([(), (1.0,), (0.5, 1000.0)]),
    st.booleans(),
)
OWNER = Owner("shop", "default", "uid-1")
WEIGHTS = (1.0, 10.0, 50.0, 80.0, 100.0)


def bytes_of(object):
    """Without who owns which field: a list of every leaf in memory, a few lines where a schema says what is atomic."""
    metadata = {key: value for key, value in object["metadata"].items() if key != "managedFields"}
    object = {**object, "metadata": metadata}
    return RESERVED_BYTES + len(json.dumps(object, separators=(",", ":")).encode())


def kept(object):
    """What an API server gives back: it knows no difference between 1.0 and 1."""
    if isinstance(object, dict):
        return {key: kept(value) for key, value in object.items()}
    if isinstance(object, list):
        return [kept(value) for value in object]
    return int(object) if isinstance(object, float) and object.is_integer() else object


# ------------------------------------------------------------------------------------ to an object and back


@settings(max_examples=60, deadline=None)
@given(
    state=anything(ReleaseState),
    present=anything(Run),
    texts=st.lists(st.text(max_size=9), max_size=3),
    blocks=st.lists(BLOCKS, max_size=4),
)
def test_every_state_and_run_is_read_back_as_it_was_written(state, present, texts, blocks):
    lines = tuple(map(pack, blocks))
    state = replace(state, run=present)
    found = RunObject(
        owner=OWNER,
        chronicle=Chronicle(present, lines=lines, decisions=tuple(texts), named=1),
        standing=Standing(state, "judge\x00", "cursor é"),
        writes=3,
        written=NOON,
        previous=Link("shop-1", "uid-0", "17"),
        closes=Closing(present, tuple(texts), lines[:2]),
        uid="uid-2",
        version="18",
    )
    object = kept(json.loads(json.dumps(object_of(found))))
    object["metadata"]["name"] = present.name
    read = run_object(object)
    assert replace(read, size=0) == found


def test_the_same_run_is_always_the_same_text():
    found = RunObject(
        OWNER, Chronicle(run(), lines=(pack(block()),)), Standing(ReleaseState(run=run()), "", ""), 1, NOON
    )
    assert object_of(found) == object_of(replace(found))


def test_a_closed_run_lets_go_of_the_state_that_its_successor_carries():
    found = RunObject(OWNER, Chronicle(run()), Standing(ReleaseState(run=run()), "judge", "here"), 1, NOON)
    object = object_of(closed(found, Link("shop-2", "uid-3"), Closing(run(weight=0.0), (), (pack(block()),)), NOON))
    assert "state" not in object
    assert "judge" not in object["record"]
    assert object["next"] == {"name": "shop-2", "uid": "uid-3"}
    assert run_object(object).chronicle.lines == (pack(block()),)


# ------------------------------------------------------------------------------------ 64 KB


def spread(chance, count):
    """Latencies of so many requests, lognormal about 40 ms."""
    counts = [0] * (len(BOUNDS_MS) + 1)
    for _ in range(count):
        counts[bisect_left(BOUNDS_MS, chance.lognormvariate(3.69, 0.5))] += 1
    return ArmCounts(count, 0, tuple(counts))


def long_run(cluster, judge, *, decisions_every):
    """Five stages of half an hour, looked at every 30 s by blocks of 5 s, 20 requests a second; yields the store after
    each save."""
    chance = random.Random(7)
    store = cluster.store(write_behind_s=60.0)
    store.put_release(release())
    terms = tuple(
        StageTerms(entry, weight, 0.1 if weight <= 50 else None, 0.5, weight == 80, weight < 100, 1800.0)
        for entry, weight in enumerate(WEIGHTS)
    )
    spec = ReleaseSpec("2.1.0", "shop", analysis=AnalysisSpec(warm_up=WarmUp.NONE))
    present = replace(run(), spec=spec, stages=tuple(map(Stage, WEIGHTS)), entries=terms[:1], judgement=None)
    told = {"phase_from": Phase.PROGRESSING, "phase_to": Phase.PROGRESSING}
    begun = event(judgement=None, **(told | {"phase_from": Phase.PENDING}))
    save(store, ReleaseState(baseline="2.0.0", run=present, runs=1), judge_state="", events=[begun])
    state, at, looks = "", cluster.clock.now(), 0
    for entry, stage in enumerate(terms):
        for _ in range(60):
            cluster.clock.advance(30)
            blocks = []
            for _ in range(6):
                share = round(100 * stage.weight / 100)
                arms = spread(chance, 100 - share), spread(chance, share)
                blocks.append(Block(at, at + timedelta(seconds=5), entry, stage.weight, *arms, BOUNDS_MS))
                at += timedelta(seconds=5)
            state, word = judge.fold(state, spec.analysis, stage, blocks)
            looks += 1
            present = replace(present, judgement=word, evidence_until=at, entries=terms[: entry + 1], stage=entry)
            present = replace(present, weight=stage.weight)
            weight = {"weight_from": stage.weight, "weight_to": stage.weight, "verdict": word.verdict}
            events = [] if looks % decisions_every else [event(time=at, judgement=word, **told, **weight)]
            following = replace(store.load("shop").state, run=present)
            save(store, following, judge_state=state, cursor="here" * 100, events=events, blocks=blocks)
            yield store


def played(*, decisions_every):
    """A long run to its end: the cluster, the size of its largest object, and what is kept of it."""
    cluster, judge, largest = Cluster(), AnalysisJudge(), 0
    for store in long_run(cluster, judge, decisions_every=decisions_every):  # noqa: B007
        largest = max(largest, bytes_of(cluster.run("shop-1")))
    store.flush()
    return largest, dossier_of(cluster.store(projects=False), "shop-1"), judge


def test_the_longest_run_by_default_is_kept_whole_in_one_object():
    largest, dossier, judge = played(decisions_every=30)
    assert largest < 0.7 * BYTES_MAX
    assert (len(dossier.blocks), dossier.checkpoint) == (1800, WHOLE)
    found = replay(dossier, judge)
    assert (found.findings, found.blocks, found.notes) == ((), 1800, ())


def test_a_run_with_hundreds_of_decisions_stays_one_object_and_what_is_left_of_it_replays(tmp_path):
    largest, dossier, judge = played(decisions_every=2)
    assert largest <= BYTES_MAX
    assert len(dossier.blocks) >= 600
    assert len(dossier.decisions) >= 80
    assert dossier.checkpoint.blocks + len(dossier.blocks) == 1800
    assert dossier.checkpoint.forgotten + len(dossier.decisions) == dossier.head.decisions >= 151
    found = replay(dossier, judge)
    assert (found.findings, found.blocks) == ((), len(dossier.blocks))
    assert found.judged > 50
    assert "gave way to a checkpoint of the judge's state" in found.notes[0]
    write_export(tmp_path / "run.json", dossier)
    assert load_export(tmp_path / "run.json") == (dossier, True)
    forged = [replace(dossier.blocks[0], candidate=ArmCounts(1, 1)), *dossier.blocks[1:]]
    assert replay(replace(dossier, blocks=tuple(forged)), judge).findings


def test_a_pause_of_days_is_sealed_by_the_keeper_and_loses_no_digest():
    """Blocks without any decision in between: each one that gives way is named by one made for that."""
    chance = random.Random(7)
    found = RunObject(OWNER, Chronicle(run()), Standing(ReleaseState(run=run()), "", ""), 1, NOON)
    for number in range(24):
        seconds = range(number * 300, number * 300 + 300)
        lines = tuple(pack(block(second, requests=chance.randrange(100, 10**9))) for second in seconds)
        chronicle = continued(found.chronicle, run(), [], lines, f"state {number}", MESH)
        standing = replace(found.standing, judge_state=f"state {number}")
        found, object = fitted(replace(found, chronicle=chronicle, standing=standing))
        assert bytes_of(object) <= BYTES_MAX
        part = found.chronicle
        assert faults(part.records(), head=part.head, checkpoint=part.checkpoint) == ()
    assert found.chronicle.blocks == 7200
    assert found.chronicle.checkpoint.blocks
    assert {record["actor"]["type"] for record in found.chronicle.records()} == {"store"}


def test_words_of_people_give_way_last():
    words = tuple(
        Acknowledgement(f"r{number}", Verb.ABORT, NOON, "ä" * 2000, accepted=False, message="ö" * 2000)
        for number in range(16)
    )
    state = ReleaseState(acknowledged=words, run=run())
    found, object = fitted(RunObject(OWNER, Chronicle(run()), Standing(state, "", ""), 1, NOON))
    assert bytes_of(object) <= BYTES_MAX
    assert [word.id for word in run_object(object).standing.state.acknowledged] == [word.id for word in words]
    assert found.size <= BYTES_MAX
