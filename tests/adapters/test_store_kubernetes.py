"""What the store of a cluster promises beyond what every store does: its objects, its order of writes, its chain."""

from __future__ import annotations

import itertools
import json
import random
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from meshctl.adapters.kubernetes.api import NotFound, Patch
from meshctl.adapters.kubernetes.kinds import EVENT, RELEASE, RELEASE_RUN
from meshctl.adapters.kubernetes.run_object import Damaged, owner_uid
from meshctl.core.errors import Conflict, Forbidden, InvalidInput, Refused, Unreachable
from meshctl.core.model import Acknowledgement, Phase, Reason, ReleaseState, Verb, Verdict
from meshctl.core.packing import canonical
from meshctl.core.status import STATUS_BYTES_MAX
from tests.adapters.store_cluster import (
    Cluster,
    Crash,
    begin,
    between,
    dying,
    moved,
    save,
    state_of,
    writes_of,
)
from tests.adapters.store_values import JUDGEMENT, NOON, block, event, release, request, run


@pytest.fixture
def cluster():
    return Cluster()


def asked(id_="r1", **fields):
    return request(id_, **fields)


# ------------------------------------------------------------------------------------ objects


def test_a_run_is_an_object_of_its_own_that_goes_with_its_release(cluster):
    begin(cluster.store())
    shop, first = cluster.release(), cluster.run("shop-1")
    assert owner_uid(first) == shop["metadata"]["uid"]
    assert first["metadata"]["labels"] == {"meshctl.dev/release": "shop"}
    assert first["spec"]["release"] == "shop"
    assert (first["spec"]["baseline"], first["spec"]["candidate"]) == ("2.0.0", "2.1.0")
    assert first["status"]["phase"] == "Progressing"
    cluster.api.delete(RELEASE, "shop", "default")
    assert cluster.runs() == []


def test_the_status_tells_what_is_stored_and_stays_small(cluster):
    store = cluster.store()
    begin(store)
    last = event(reason=Reason.REGRESSION)
    ended = moved(state_of(), phase=Phase.ROLLED_BACK, weight=0.0, reason=Reason.REGRESSION, verdict=Verdict.FAIL)
    save(store, replace(ended, rejected=("2.1.0",), observed_generation=1), events=[last])
    status = cluster.status()
    assert (status["phase"], status["reason"], status["run"], status["weight"]) == (
        "RolledBack",
        "Regression",
        "shop-1",
        0.0,
    )
    assert (status["verdict"], status["rejected"], status["observedGeneration"]) == ("fail", ["2.1.0"], 1)
    conditions = {each["type"]: each for each in status["conditions"]}
    assert conditions["Ready"]["status"] == "False"
    assert conditions["Stalled"]["reason"] == "Regression"
    assert conditions["Stalled"]["lastTransitionTime"] == "2026-11-23T12:00:34.300Z"
    assert len(canonical(status).encode()) <= STATUS_BYTES_MAX


def test_a_release_that_nobody_looked_at_yet_says_so_once_it_was_seen(cluster):
    store = cluster.store()
    store.put_release(release())
    store.load("shop")
    assert cluster.status()["phase"] == "Pending"
    assert {each["type"] for each in cluster.status()["conditions"]} == {"Ready", "Reconciling"}
    store.api.calls.clear()
    store.load("shop")
    assert writes_of(store) == []


def test_the_name_of_a_run_is_told_in_full_however_long_it_is(cluster):
    store, name = cluster.store(), "s" * 63
    store.put_release(release(name))
    save(store, state_of(name=name), name=name)
    assert cluster.status(name)["run"] == f"{name}-1"
    assert cluster.store().load(name).state.run.name == f"{name}-1"


# ------------------------------------------------------------------------------------ the order of writes


def test_what_decides_is_written_first_then_the_status_then_requests_go(cluster):
    store = cluster.store()
    begin(store)
    store.request("shop", asked())
    store.api.calls.clear()
    save(store, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)], served=["r1"])
    assert writes_of(store) == [
        "update ReleaseRun shop-1",
        "update Release shop/status",
        "patch Release shop",
        "create Event shop-1",
    ]


def test_a_run_is_created_then_committed_and_only_then_told(cluster):
    store = cluster.store()
    begin(store)
    store.api.calls.clear()
    save(store, state_of(2), events=[event(), event("shop-2")])
    assert writes_of(store)[:3] == [
        "create ReleaseRun shop-2",
        "update ReleaseRun shop-1",
        "update Release shop/status",
    ]
    assert cluster.run("shop-1")["next"]["uid"] == cluster.run("shop-2")["metadata"]["uid"]


@pytest.mark.parametrize("number", range(8))
def test_a_death_between_any_two_writes_leaves_all_or_nothing_and_the_next_one_goes_on(cluster, number):
    store = cluster.store()
    begin(store)
    store.request("shop", asked())
    after = replace(state_of(2), acknowledged=())
    arguments = {"events": [event(), event("shop-2")], "blocks": [block()], "served": ["r1"]}
    dying(store, number)
    with suppress(Crash):
        save(store, after, **arguments)
    found = cluster.store()
    stored = found.load("shop")
    committed = number >= 2
    assert stored.state == (after if committed else state_of())
    assert found.blocks("shop-1") == ([block()] if committed else [])
    assert [each.run.name for each in found.runs("shop")] == ["shop-1", "shop-2"][: 1 + committed]
    if not committed:
        save_until_stored(cluster, after, **arguments)
    cluster.is_whole()
    cluster.store().load("shop")
    assert cluster.status()["run"] == "shop-2"


def save_until_stored(cluster, state, **arguments):
    """Tick after tick, until one finds it stored."""
    for _ in range(3):
        store = cluster.store()
        if store.load("shop").state == state:
            return
        try:
            save(store, state, **arguments)
        except Conflict:
            continue
    assert cluster.store().load("shop").state == state


def test_a_status_that_was_not_written_is_written_by_the_next_look(cluster):
    store = cluster.store()
    begin(store)
    dying(store, 1)
    with pytest.raises(Crash):
        save(store, moved(state_of(), phase=Phase.ROLLED_BACK), events=[event()])
    assert cluster.status()["phase"] == "Progressing"
    cluster.store(projects=False).load("shop")
    assert cluster.status()["phase"] == "Progressing"
    cluster.store().load("shop")
    assert cluster.status()["phase"] == "RolledBack"


def test_an_old_status_never_takes_the_place_of_a_newer_one(cluster):
    slow, quick = cluster.store(), cluster.store()
    begin(slow)

    def overtake():
        save(quick, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)])

    once = []

    def before(call):
        if call.verb == "update" and call.subresource == "status" and not once:
            once.append(True)
            overtake()

    slow.api.before = before
    save(slow, moved(state_of(), weight=10.0), events=[event(phase_to=Phase.PROGRESSING)])
    assert cluster.status()["weight"] == 50.0
    assert slow.load("shop").state.run.weight == 50.0


def test_nothing_that_only_tells_can_fail_a_save(cluster):
    store = cluster.store()
    begin(store)
    store.request("shop", asked())
    for verb, kind in (("create", EVENT), ("patch", RELEASE), ("update", RELEASE)):
        store.api.fail(Unreachable("away"), verb=verb, kind=kind)
    store.api.deny("create", EVENT)
    save(store, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)], served=["r1"])
    assert cluster.store().load("shop").state.run.weight == 50.0


def test_an_answer_that_was_lost_is_a_lost_race_or_nothing(cluster):
    store = cluster.store()
    begin(store)
    for kind, verb in ((RELEASE_RUN, "update"), (RELEASE_RUN, "create")):
        store.api.fail(Unreachable("the line broke"), kind=kind, verb=verb, after=True)
    with pytest.raises(Unreachable):
        save(store, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)])
    assert store.load("shop").state.run.weight == 50.0
    after = replace(state_of(2))
    with pytest.raises(Unreachable):
        save(store, after, events=[event("shop-2")])
    save_until_stored(cluster, after, events=[event("shop-2")])
    cluster.is_whole()


# ------------------------------------------------------------------------------------ the chain


def test_who_finds_a_run_that_was_created_and_not_committed_commits_it(cluster):
    store, other = cluster.store(), cluster.store()
    begin(store)
    save(store, blocks=[block(0)])
    dying(store, 1)
    with pytest.raises(Crash):
        save(store, state_of(2), events=[event(reason=Reason.SUPERSEDED), event("shop-2")], blocks=[block(1)])
    assert other.load("shop").state.run.name == "shop-1"
    with pytest.raises(Conflict):
        save(other, state_of(2, candidate="9"), events=[event("shop-2", message="another")])
    stored = cluster.store()
    assert stored.load("shop").state == state_of(2)
    assert stored.blocks("shop-1") == [block(0), block(1)]
    assert stored.runs("shop")[0].run.reason is Reason.SUPERSEDED
    cluster.is_whole()


def test_a_run_whose_predecessor_went_on_is_in_the_way_of_nobody(cluster):
    store, other = cluster.store(), cluster.store()
    begin(store)
    dying(store, 1)
    with pytest.raises(Crash):
        save(store, state_of(2), events=[event("shop-2")])
    save(other, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)])
    stale = cluster.run("shop-2")["metadata"]["uid"]
    save(other, state_of(2, candidate="9"), events=[event("shop-2")])
    assert cluster.run("shop-2")["metadata"]["uid"] != stale
    assert cluster.store().load("shop").state.run.candidate == "9"
    cluster.is_whole()


def test_who_loses_the_race_to_begin_a_run_takes_his_own_away(cluster):
    slow, quick = cluster.store(), cluster.store()
    begin(slow)
    between(
        slow,
        "update",
        RELEASE_RUN,
        lambda: save(quick, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)]),
    )
    with pytest.raises(Conflict):
        save(slow, state_of(2), events=[event("shop-2")])
    assert cluster.runs() == ["shop-1"]


@pytest.mark.parametrize("moment", ["create", "update"])
def test_of_two_that_begin_a_run_at_once_one_wins_and_nothing_is_left_over(cluster, moment):
    slow, quick = cluster.store(), cluster.store()
    begin(slow)

    def overtake():
        with suppress(Conflict):
            save(quick, state_of(2, candidate="quick"), events=[event("shop-2")])

    between(slow, moment, RELEASE_RUN, overtake)
    with pytest.raises(Conflict):
        save(slow, state_of(2, candidate="slow"), events=[event("shop-2")])
    assert cluster.runs() == ["shop-1", "shop-2"]
    found = cluster.store().load("shop").state.run
    assert found.candidate == ("quick" if moment == "create" else "slow")
    cluster.is_whole()


def test_the_first_run_is_committed_in_the_status_whoever_else_writes_there(cluster):
    store = cluster.store()
    store.put_release(release())
    label = {"metadata": {"labels": {"a": "b"}}}
    between(store, "update", RELEASE, lambda: cluster.api.patch(RELEASE, "shop", "default", label, form=Patch.MERGE))
    save(store, state_of(), events=[event()])
    assert cluster.status()["run"] == "shop-1"
    assert cluster.release()["metadata"]["labels"] == {"a": "b"}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_death_while_the_first_run_begins_is_made_good(cluster, number):
    store = cluster.store()
    store.put_release(release())
    store.load("shop")
    dying(store, number)
    with pytest.raises(Crash):
        save(store, state_of(), events=[event()])
    assert (cluster.store().load("shop").state.run is None) == (number < 2)
    save_until_stored(cluster, state_of(), events=[event()])
    assert cluster.runs() == ["shop-1"]
    cluster.is_whole()


def test_a_first_run_of_an_older_wish_makes_way(cluster):
    store = cluster.store()
    store.put_release(release())
    store.load("shop")
    dying(store, 1)
    with pytest.raises(Crash):
        save(store, state_of(), events=[event()])
    other = cluster.store()
    other.put_release(release(version="2.2.0"))
    save(other, state_of(candidate="2.2.0"), events=[event()])
    assert cluster.store().load("shop").state.run.candidate == "2.2.0"


def test_a_status_that_was_lost_is_told_anew_from_the_runs(cluster):
    store = cluster.store()
    begin(store)
    save(store, state_of(2), events=[event("shop-2")])
    shop = cluster.release()
    cluster.api.replace(RELEASE, {**shop, "status": {}}, subresource="status")
    found = cluster.store().load("shop")
    assert found.state == state_of(2)
    assert cluster.status()["run"] == "shop-2"


def test_runs_of_a_release_that_is_gone_are_nothing_to_one_of_the_same_name(cluster):
    store = cluster.store()
    begin(store)
    cluster.api.delete(RELEASE, "shop", "default", propagation="Orphan")
    store.put_release(release())
    assert store.load("shop").state == ReleaseState()
    assert store.runs("shop") == []
    save(store, state_of(candidate="9"), events=[event()])
    assert cluster.store().load("shop").state.run.candidate == "9"


def test_a_newest_run_that_somebody_deleted_is_told_and_nothing_is_made_up(cluster):
    store = cluster.store()
    begin(store)
    save(store, state_of(2), events=[event("shop-2")])
    cluster.api.delete(RELEASE_RUN, "shop-2", "default")
    for reader in (store, cluster.store()):
        with pytest.raises(Damaged, match="ReleaseRun default/shop-2: is gone, and with it the state"):
            reader.load("shop")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": {"phase": "Elsewhere"}}, "status|phase"),
        ({"record": {"head": {"decisions": "x"}}}, "whole number"),
        ({"record": {"blocks": {"gzip": "!!"}}}, "is not what meshctl wrote"),
        ({"record": {"blocks": {"count": 7}}}, "holds 1 texts, its count says 7"),
        ({"record": None}, "is not what meshctl wrote"),
        ({"record": {"format": 2}}, r"written by a newer meshctl \(format 2\)"),
    ],
)
def test_a_record_that_was_damaged_is_told_by_name(cluster, change, words):
    store = cluster.store()
    begin(store)
    save(store, blocks=[block()])
    cluster.api.patch(RELEASE_RUN, "shop-1", "default", change, form=Patch.MERGE)
    with pytest.raises(Damaged, match=f"ReleaseRun default/shop-1: .*{words}"):
        cluster.store().load("shop")


# ------------------------------------------------------------------------------------ write-behind


def test_figures_alone_are_written_once_a_minute(cluster):
    store = cluster.store(write_behind_s=60.0)
    begin(store)
    store.api.calls.clear()
    for second in range(59):
        cluster.clock.advance(1)
        judged = moved(state_of(), judgement=replace(JUDGEMENT, abort_log=float(second)), evidence_until=NOON)
        save(store, judged, judge_state=f"{second}", cursor=f"{second}", blocks=[block(second)])
    assert writes_of(store) == []
    assert store.load("shop").judge_state == "58"
    assert len(store.blocks("shop-1")) == 59
    assert cluster.store().blocks("shop-1") == []
    cluster.clock.advance(1)
    save(store, blocks=[block(59)])
    assert writes_of(store) == ["update ReleaseRun shop-1"]
    assert len(cluster.store().blocks("shop-1")) == 60


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 50.0},
        {"confirmed": 1.0},
        {"phase": Phase.HELD},
        {"stage": 1},
        {"verdict": Verdict.PASS},
        {"waits_for": "something"},
        {"problem_since": NOON},
    ],
)
def test_whatever_is_decided_or_shown_is_written_at_once(cluster, change):
    store = cluster.store(write_behind_s=60.0)
    begin(store)
    save(store, moved(state_of(), **change))
    assert cluster.store().load("shop").state == moved(state_of(), **change)


def test_what_was_not_written_is_read_again_after_a_death(cluster):
    store = cluster.store(write_behind_s=60.0)
    begin(store)
    save(store, cursor="later", judge_state="later", blocks=[block()])
    found = cluster.store().load("shop")
    assert (found.cursor, found.judge_state) == ("c", "j")


def test_what_another_wrote_meanwhile_counts_and_the_unwritten_rest_is_dropped(cluster):
    store, other = cluster.store(write_behind_s=60.0), cluster.store()
    begin(store)
    version = save(store, cursor="mine", blocks=[block(1)])
    save(other, moved(state_of(), weight=50.0), cursor="theirs", blocks=[block(2)])
    with pytest.raises(Conflict):
        store.save("shop", version, moved(state_of(), weight=10.0), **ARGUMENTS)
    found = store.load("shop")
    assert (found.cursor, found.state.run.weight) == ("theirs", 50.0)
    assert store.blocks("shop-1") == [block(2)]
    cluster.is_whole()


ARGUMENTS = {"judge_state": "", "cursor": "", "events": [], "blocks": [], "served": [], "mesh": None}


def test_a_decision_takes_along_what_was_not_written(cluster):
    store = cluster.store(write_behind_s=60.0)
    begin(store)
    save(store, blocks=[block(0)])
    save(store, blocks=[block(1)], events=[event(phase_to=Phase.PROGRESSING)])
    (record,) = cluster.store().decisions("shop-1")
    assert record["inputs"]["blocks"] == 2
    save(store, blocks=[block(2)])
    save(store, state_of(2), blocks=[block(3)], events=[event("shop-2")])
    assert cluster.store().blocks("shop-1") == [block(second) for second in range(4)]
    cluster.is_whole()


def test_the_rest_is_written_before_a_process_ends(cluster):
    store = cluster.store(write_behind_s=60.0)
    begin(store)
    save(store, cursor="later", blocks=[block()])
    store.flush()
    assert cluster.store().load("shop").cursor == "later"
    store.api.calls.clear()
    store.flush()
    assert writes_of(store) == []
    save(store, cursor="last")
    save(cluster.store(), moved(state_of(), weight=50.0), cursor="theirs")
    store.flush()
    assert store.load("shop").cursor == "theirs"


def test_a_large_record_is_written_less_often(cluster):
    store = cluster.store(write_behind_s=60.0)
    begin(store)
    chance = random.Random(7)
    many = [block(second, requests=chance.randrange(100, 10**9)) for second in range(2500)]
    save(store, moved(state_of(), weight=50.0), blocks=many)
    store.api.calls.clear()
    cluster.clock.advance(90)
    save(store, cursor="a")
    assert writes_of(store) == []
    cluster.clock.advance(120)
    save(store, cursor="b")
    assert writes_of(store) == ["update ReleaseRun shop-1"]


# ------------------------------------------------------------------------------------ requests


def test_a_request_is_one_annotation_that_never_loses_a_race(cluster):
    store = cluster.store(projects=False)
    store.put_release(release())
    store.api.calls.clear()
    store.request("shop", asked("r1", verb=Verb.ABORT))
    assert writes_of(store) == ["patch Release shop"]
    text = cluster.release()["metadata"]["annotations"]["requests.meshctl.dev/r1"]
    assert json.loads(text) == {
        "verb": "abort",
        "claimedActor": "anna",
        "reason": "looks fine",
        "time": "2026-11-23T12:00:00.000Z",
        "received": "2026-01-01T00:00:00.000Z",
    }


def test_a_request_written_by_hand_needs_only_its_verb(cluster):
    store = cluster.store()
    store.put_release(release())
    for key, text in (("a", '{"verb": "abort"}'), ("b", " promote ")):
        body = {"metadata": {"annotations": {f"requests.meshctl.dev/{key}": text}}}
        cluster.api.patch(RELEASE, "shop", "default", body, form=Patch.MERGE)
    first, second = store.load("shop").requests
    assert (first.id, first.verb, first.actor, first.time) == ("a", Verb.ABORT, "unknown", cluster.clock.now())
    assert second.verb is Verb.PROMOTE


def test_what_is_no_request_is_told_and_taken_away_with_the_next_save(cluster):
    store = cluster.store()
    begin(store)
    body = {"metadata": {"annotations": {"requests.meshctl.dev/x": '{"verb": "abrot"}'}}}
    cluster.api.patch(RELEASE, "shop", "default", body, form=Patch.MERGE)
    assert store.load("shop").requests == ()
    save(store, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)])
    assert "annotations" not in cluster.release()["metadata"]
    (told,) = [each for each in cluster.api.list(EVENT, "default").items if each["reason"] == "RequestRefused"]
    assert "request x: verb: must be one of: abort" in told["note"]


def test_a_request_that_was_answered_is_not_heard_again_though_nobody_took_it_away(cluster):
    store = cluster.store()
    begin(store)
    store.request("shop", asked())
    answer = Acknowledgement("r1", Verb.PROMOTE, NOON, "anna", True, "done")
    dying(store, 2)
    with pytest.raises(Crash):
        save(store, replace(state_of(), acknowledged=(answer,)), served=["r1"])
    assert "requests.meshctl.dev/r1" in cluster.release()["metadata"]["annotations"]
    found = cluster.store()
    assert found.load("shop").requests == ()
    save(found, replace(moved(state_of(), weight=50.0), acknowledged=(answer,)))
    assert "annotations" not in cluster.release()["metadata"] or not cluster.release()["metadata"]["annotations"]


def test_requests_cannot_fill_a_release_so_that_an_abort_finds_no_room(cluster):
    store = cluster.store(projects=False)
    store.put_release(release())
    numbers = itertools.count()

    def fill():
        while True:
            store.request("shop", asked(f"r{next(numbers)}", reason="ä" * 2000))

    with pytest.raises(Refused, match="requests wait to be served already"):
        fill()
    store.request("shop", asked("last", verb=Verb.ABORT, reason="ä" * 2000))
    total = sum(len(text.encode()) for text in cluster.release()["metadata"]["annotations"].values())
    assert total < 160 * 1024
    assert store.load("shop").requests[-1].id == "last"


@pytest.mark.parametrize("id_", ["", "a b", "x" * 64, "-a", "a/b"])
def test_an_id_that_no_annotation_can_have_is_refused(cluster, id_):
    store = cluster.store()
    store.put_release(release())
    with pytest.raises(InvalidInput, match="cannot be the id of a request"):
        store.request("shop", asked(id_))


# ------------------------------------------------------------------------------------ wishes


def test_a_wish_owns_only_what_it_says(cluster):
    store = cluster.store(projects=False)
    store.put_release(release())
    assert cluster.release()["spec"] == {"version": "2.1.0", "service": "shop"}
    body = {"metadata": {"annotations": {"a": "b"}}, "spec": {"keepWarm": "2h"}}
    cluster.api.patch(RELEASE, "shop", "default", body, form=Patch.MERGE, manager="somebody")
    stored = store.put_release(release(version="2.2.0"))
    assert (stored.spec.version, stored.spec.keep_warm) == ("2.2.0", timedelta(hours=2))
    assert stored.metadata.annotations == {"a": "b"}


def test_a_field_that_another_manager_owns_is_told_with_its_owner(cluster):
    store = cluster.store(projects=False)
    body = {"apiVersion": "meshctl.dev/v1alpha1", "kind": "Release", "metadata": {"name": "shop"}}
    body["spec"] = {"version": "1", "service": "shop"}
    cluster.api.patch(RELEASE, "shop", "default", body, form=Patch.APPLY, manager="argocd-controller")
    with pytest.raises(Conflict, match=r"Release/shop: spec\.version: belongs to argocd-controller"):
        store.put_release(release())
    forced = cluster.store(force=True)
    assert forced.put_release(release()).spec.version == "2.1.0"


def test_a_wish_of_another_namespace_is_refused(cluster):
    wish = release()
    wish = replace(wish, metadata=replace(wish.metadata, namespace="prod"))
    with pytest.raises(InvalidInput, match=r"metadata\.namespace: is prod, the target is default"):
        cluster.store().put_release(wish)


def test_a_cluster_has_no_workloads(cluster):
    store = cluster.store()
    assert store.workloads() == ()
    with pytest.raises(Refused, match="a Workload exists without a cluster only"):
        store.workload("shop")


def edit(cluster, **spec):
    cluster.api.patch(RELEASE, "shop", "default", {"spec": spec}, form=Patch.MERGE)


def test_a_spec_that_cannot_be_followed_is_told_and_the_run_goes_on_as_it_began(cluster):
    store = cluster.store()
    begin(store)
    edit(cluster, version="2.2.0", keepWarm="-1h")
    found = store.load("shop")
    assert found.release.spec == found.state.run.spec
    assert found.release.metadata.generation == found.state.observed_generation
    (stalled,) = [each for each in cluster.status()["conditions"] if each["type"] == "Stalled"]
    assert stalled["reason"] == "InvalidSpec"
    assert "spec.keepWarm: must be longer than nothing" in stalled["message"]
    (told,) = [each for each in cluster.api.list(EVENT, "default").items if each["reason"] == "InvalidSpec"]
    assert told["type"] == "Warning"
    save(store, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)])
    assert "InvalidSpec" in [each["reason"] for each in cluster.status()["conditions"]]
    edit(cluster, keepWarm="1h")
    assert store.load("shop").release.spec.version == "2.2.0"
    assert "InvalidSpec" not in [each["reason"] for each in cluster.status()["conditions"]]


def test_a_first_spec_that_cannot_be_followed_begins_nothing(cluster):
    store = cluster.store()
    store.put_release(release())
    edit(cluster, unheardOf=1)
    with pytest.raises(InvalidInput, match=r"Release/shop: spec\.unheardOf: unknown field"):
        store.load("shop")
    assert cluster.status()["reason"] == "InvalidSpec"
    assert cluster.status()["phase"] == "Pending"


# ------------------------------------------------------------------------------------ events


def test_every_decision_is_an_event_on_its_release(cluster):
    store = cluster.store(instance="controller-0")
    begin(store)
    save(store, moved(state_of(), phase=Phase.ROLLED_BACK, weight=0.0), events=[event()])
    (told,) = cluster.api.list(EVENT, "default").items
    shop = cluster.release()["metadata"]
    assert told["regarding"] == {
        "apiVersion": "meshctl.dev/v1alpha1",
        "kind": "Release",
        "name": "shop",
        "namespace": "default",
        "uid": shop["uid"],
    }
    assert told["related"]["name"] == "shop-1"
    assert (told["type"], told["reason"], told["action"]) == ("Warning", "Regression", "RollBack")
    assert told["note"] == f"{event().message} (1 % -> 0 %)"
    assert told["eventTime"] == "2026-11-23T12:00:34.300000Z"
    assert (told["reportingController"], told["reportingInstance"]) == ("meshctl.dev/controller", "controller-0")


def test_an_event_is_short_and_cannot_steer_a_terminal(cluster):
    store = cluster.store()
    begin(store)
    save(store, moved(state_of(), weight=5.0), events=[event(message="\x1b[31m" + "ä" * 2000)])
    (told,) = cluster.api.list(EVENT, "default").items
    assert len(told["note"].encode()) <= 1024
    assert told["note"].startswith("\\x1b[31m")


# ------------------------------------------------------------------------------------ caches and rights


class Lagging:
    """A cache that says what was there a while ago."""

    def __init__(self, api):
        self.api, self.old, self.lags = api, {}, False

    def find(self, kind, name, namespace=""):
        if not self.lags or (kind, name) not in self.old:
            self.old[kind, name] = self.api.find(kind, name, namespace)
        return self.old[kind, name]

    def list(self, kind, namespace="", *, labels="", fields=""):
        return self.api.list(kind, namespace, labels=labels, fields=fields)


def test_a_cache_that_lags_behind_our_own_writes_does_not_turn_back_time(cluster):
    cache = Lagging(cluster.api)
    store = cluster.store(reads=cache)
    begin(store)
    store.load("shop")
    cache.lags = True
    save(store, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)])
    assert store.load("shop").state.run.weight == 50.0
    assert cluster.status()["weight"] == 50.0


def test_what_was_decided_on_an_old_cache_is_not_stored_and_the_next_look_is_direct(cluster):
    cache = Lagging(cluster.api)
    store, other = cluster.store(reads=cache), cluster.store()
    begin(store)
    store.load("shop")
    cache.lags = True
    save(other, moved(state_of(), weight=50.0), events=[event(phase_to=Phase.PROGRESSING)])
    with pytest.raises(Conflict):
        save(store, moved(state_of(), weight=10.0), events=[event(phase_to=Phase.PROGRESSING)])
    assert store.load("shop").state.run.weight == 50.0
    other.put_release(release(version="2.2.0"))
    with pytest.raises(Conflict):
        save(store, moved(state_of(), weight=10.0), events=[event(phase_to=Phase.PROGRESSING)])
    assert store.load("shop").release.spec.version == "2.2.0"


def test_who_may_only_read_can_look_at_everything(cluster):
    begin(cluster.store())
    store = cluster.store(projects=False)
    for verb in ("create", "update", "patch", "delete"):
        for kind in (RELEASE, RELEASE_RUN, EVENT):
            store.api.deny(verb, kind)
    assert store.load("shop").state == state_of()
    assert [each.run.name for each in store.runs("shop")] == ["shop-1"]
    with pytest.raises(Forbidden):
        store.request("shop", asked())


def test_the_revision_also_grows_when_a_record_that_was_read_is_written_alone(cluster):
    store, reader = cluster.store(), cluster.store(projects=False)
    begin(store)
    reader.runs("shop")
    before = reader.revision()
    save(store, blocks=[block()])
    reader.blocks("shop-1")
    assert reader.revision() > before
    assert reader.revision() == reader.revision()


def test_a_release_that_goes_while_it_is_worked_on_is_a_lost_race_or_unknown(cluster):
    store = cluster.store()
    begin(store)
    version = store.load("shop").version
    cluster.api.delete(RELEASE, "shop", "default")
    with pytest.raises(Refused, match="no release is named 'shop'"):
        store.save("shop", version, moved(state_of(), weight=50.0), **ARGUMENTS)
    store.put_release(release())
    with pytest.raises(Conflict):
        store.save("shop", version, moved(state_of(), weight=50.0), **ARGUMENTS)
    with pytest.raises(NotFound):
        cluster.run("shop-1")


def test_a_run_that_was_not_committed_is_no_record(cluster):
    store = cluster.store()
    begin(store)
    dying(store, 1)
    with pytest.raises(Crash):
        save(store, state_of(2), events=[event("shop-2")])
    found = cluster.store()
    with pytest.raises(Refused, match="no run is named 'shop-2'"):
        found.decisions("shop-2")
    assert [each.run for each in found.runs("shop")] == [run()]
