"""Back to a version of earlier: in one write while it is warm, else by a run of its own, and never by guessing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshctl.app.history import dossier_of, promoted_before
from meshctl.app.replay import replay
from meshctl.app.returning import prepare_return
from meshctl.core.errors import Refused
from meshctl.core.model import (
    Metadata,
    Phase,
    PodWorkload,
    Request,
    Verb,
    Verdict,
    Workload,
    WorkloadSpec,
    WorkloadVersion,
)
from tests.app.tick_world import NEW, NEWER, OLD, TickWorld

WHY = "the last one without the new cache"


def ask_for(world, version, reason=WHY):
    """What the command does; returns whether the version was warm."""
    store = world.world.store
    warm = prepare_return(store, "shop", version, reason)
    world.asked += 1
    request = Request(f"r{world.asked}", Verb.ROLLBACK, world.world.clock.now(), "anna", reason, version=version)
    store.request("shop", request)
    return warm


@pytest.fixture
def world():
    """1.0.0, 2.0.0 and 3.0.0 were promoted one after the other; 2.0.0 is warm still, 1.0.0 is gone."""
    found = TickWorld()
    versions = {each: WorkloadVersion(("run",)) for each in (OLD, NEW, NEWER)}
    found.world.store.put_workload(Workload(Metadata("shop"), WorkloadSpec("127.0.0.1:0", versions)))
    for version in (NEW, NEWER):
        found.wish(version)
        found.reach(100.0)
        found.say(Verdict.PASS)
        found.tick(10)
        assert found.state.baseline == version
        found.say(Verdict.UNDECIDED)
    return found


def test_the_warm_version_is_a_matter_of_one_write(world):
    assert ask_for(world, NEW, reason="")
    world.tick()
    assert world.share(NEW) == 100.0
    assert world.state.rejected == (NEWER,)
    assert world.world.store.release("shop").spec.version == NEWER


def test_an_older_one_becomes_the_wish_and_goes_through_the_stages(world):
    assert not ask_for(world, OLD)
    world.tick(2)
    assert world.run.candidate == OLD
    assert world.run.number == 4
    assert (world.share(OLD), world.share(NEWER)) == (1.0, 99.0)
    assert world.state.rejected == (NEWER,)
    first = world.world.store.decisions("shop-4")[0]
    assert first["actor"] == {"type": "user", "claimed": "anna"}
    assert first["request"]["version"] == OLD
    last = world.world.store.decisions("shop-3")[-1]
    assert last["message"] == f"back from 3.0.0 to 1.0.0, through the stages of a run of its own ({WHY})"
    world.reach(100.0)
    world.say(Verdict.PASS)
    world.tick(10)
    assert world.state.baseline == OLD
    assert world.world.store.load("shop").state.run.phase is Phase.PROMOTED
    for number in range(1, 5):
        assert replay(dossier_of(world.world.store, f"shop-{number}"), world.judge).findings == ()


def test_what_was_left_is_not_tried_again_when_an_old_file_is_applied(world):
    ask_for(world, OLD)
    world.reach(100.0)
    world.say(Verdict.PASS)
    world.tick(10)
    world.wish(NEWER)
    world.tick(5)
    assert world.share(OLD) == 100.0
    assert world.run.number == 4


def test_a_version_that_was_rejected_meanwhile_may_be_named_again(world):
    world.ask(Verb.ROLLBACK)
    world.tick(3)
    assert world.state.rejected == (NEWER,)
    world.tick(70)
    ask_for(world, OLD)
    world.tick(2)
    assert world.run.candidate == OLD
    world.abort()
    world.tick(2)
    assert OLD in world.state.rejected
    ask_for(world, OLD)
    world.tick(2)
    assert (world.run.candidate, world.run.phase) == (OLD, Phase.PROGRESSING)


def test_asked_twice_it_is_one_run(world):
    ask_for(world, OLD)
    world.tick(2)
    ask_for(world, OLD)
    world.tick(2)
    assert world.run.number == 4
    assert world.state.acknowledged[-1].accepted


@pytest.mark.parametrize(
    ("version", "reason", "message"),
    [
        (NEWER, WHY, "it serves already"),
        ("1.0.1", WHY, r"no kept run promoted it\n  Did you mean '1.0.0'\?"),
        ("x" * 300, WHY, r"no kept run promoted it\n  Promoted earlier: "),
        ("a\n{{b}}", WHY, r"'a\\n\{\{b\}\}': no kept run"),
        (OLD, " ", "not kept warm any more\n.*say why with --reason"),
    ],
)
def test_where_there_is_no_way_back_nothing_is_changed(world, version, reason, message):
    before = world.world.store.revision()
    with pytest.raises(Refused, match=message):
        prepare_return(world.world.store, "shop", version, reason)
    assert world.world.store.revision() == before


def test_a_program_that_is_gone_must_be_put_back_first(world):
    spec = WorkloadSpec("127.0.0.1:0", {NEW: WorkloadVersion(("run",)), NEWER: WorkloadVersion(("run",))})
    world.world.store.put_workload(Workload(Metadata("shop"), spec))
    with pytest.raises(Refused, match=r"has no such version any more\n  It has: 2.0.0, 3.0.0"):
        prepare_return(world.world.store, "shop", OLD, WHY)


def test_while_another_candidate_is_under_way_an_abort_comes_first(world):
    world.wish("4.0.0")
    world.tick(2)
    with pytest.raises(Refused, match=r"while shop-4 brings 4.0.0\n  Use abort"):
        prepare_return(world.world.store, "shop", OLD, WHY)


def test_without_another_promoted_version_it_says_so():
    with pytest.raises(Refused, match="No other version was ever promoted"):
        prepare_return(TickWorld().world.store, "shop", NEW, WHY)


@pytest.mark.parametrize(
    ("version", "message"), [(OLD, "it is not kept warm, and 3.0.0 is wished"), (NEWER, "it serves already")]
)
def test_a_request_that_came_past_the_command_is_refused_by_the_core(world, version, message):
    world.world.store.request("shop", Request("r", Verb.ROLLBACK, world.world.clock.now(), "anna", version=version))
    world.tick()
    assert not world.state.acknowledged[-1].accepted
    assert message in world.state.acknowledged[-1].message


def test_a_request_that_is_late_does_not_stop_another_run(world):
    world.wish("4.0.0")
    world.tick(2)
    store = world.world.store
    release = store.release("shop")
    store.request("shop", Request("r", Verb.ROLLBACK, world.world.clock.now(), "anna", WHY, version=OLD))
    store.put_release(replace(release, spec=replace(release.spec, version=OLD)))
    world.tick()
    assert "is under way: use abort first" in world.state.acknowledged[-1].message


def test_the_versions_that_were_promoted_are_known_newest_first(world):
    assert promoted_before(world.world.store, "shop") == [NEWER, NEW, OLD]


# ------------------------------------------------------------------------------------ pods that meshctl makes


def test_the_pods_of_then_come_back_with_the_replicas_of_now(world):
    pods = {each: PodWorkload({"spec": {"hostname": each}}, replicas=2) for each in (OLD, NEW, NEWER)}
    world.wish(OLD, workload=pods[OLD])
    world.reach(100.0)
    world.say(Verdict.PASS)
    world.tick(10)
    for each in (NEW, NEWER):
        world.wish(each, workload=PodWorkload(pods[each].template, replicas=5))
        world.reach(100.0)
        world.say(Verdict.PASS)
        world.tick(10)
    assert not ask_for(world, OLD)
    assert world.world.store.release("shop").spec.workload == PodWorkload(pods[OLD].template, replicas=5)


def test_pods_that_no_kept_run_knows_must_be_applied_again(world):
    store = world.world.store
    release = store.release("shop")
    store.put_release(replace(release, spec=replace(release.spec, workload=PodWorkload({}))))
    runs = store.runs

    class Forgetful:
        """The store after so many runs that the one which brought the first version is gone."""

        def __getattr__(self, name):
            return getattr(store, name)

        def runs(self, name):
            return [kept for kept in runs(name) if kept.run.candidate != OLD]

    with pytest.raises(Refused, match=r"no longer kept\n  Apply the release as it was then"):
        prepare_return(Forgetful(), "shop", OLD, WHY)
