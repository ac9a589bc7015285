"""A replay derives what was recorded, whatever happened in the run, and names what was changed."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta

import pytest

from meshctl.app.history import dossier_of, run_lines
from meshctl.app.replay import damaged, replay
from meshctl.core.errors import JudgeError
from meshctl.core.model import Verb, Verdict
from meshctl.core.record import Checkpoint, Head, hash_of
from tests.app.tick_world import NEW, TickWorld
from tests.cli import scenes
from tests.cli.scenes import CountingJudge


@pytest.fixture(scope="module")
def promoted():
    return dossier_of(scenes.promoted().store, "shop-2")


def judge(ratio=1.0):
    found = CountingJudge()
    found.ratio = ratio
    return found


def told(dossier, **more):
    return [str(each) for each in replay(dossier, judge(**more)).findings]


def with_decision(dossier, number, change):
    """The record with one decision changed in place."""
    decisions = [copy.deepcopy(each) for each in dossier.decisions]
    change(decisions[number - 1])
    return replace(dossier, decisions=tuple(decisions))


def chained_anew(dossier, **fields):
    """What somebody leaves who knows how the chain is made."""
    changed = replace(dossier, **fields)
    decisions, before = [], None
    for record in changed.decisions:
        record = {**record, "previous": before}
        record["hash"] = before = hash_of(record)
        decisions.append(record)
    return replace(changed, decisions=tuple(decisions), head=Head(len(decisions), before or ""))


# ------------------------------------------------------------------------------------ the same


@pytest.mark.parametrize("name", scenes.ALL)
def test_every_run_replays_as_it_was(name):
    scene = scenes.ALL[name]()
    for line in run_lines(scene.store):
        dossier = dossier_of(scene.store, line.run.name)
        found = replay(dossier, scene.judge)
        assert found.findings == ()
        assert found.decisions == line.kept.head.decisions
        assert not [note for note in found.notes if "last bits" in note]


def test_all_that_the_judge_said_is_derived_again_and_progress_is_told(promoted):
    steps = []
    found = replay(promoted, judge(), lambda done, of: steps.append((done, of)))
    assert (found.judged, found.blocks) == (5, len(promoted.blocks))
    assert steps == [(number, len(promoted.blocks)) for number in range(1, len(promoted.blocks) + 1)]


@pytest.mark.parametrize("verb", ["promote", "pause", "abort", "set-weight"])
def test_a_persons_decision_carries_the_judges_state_of_its_moment(verb):
    scene = scenes.progressing()
    scene.ask(verb, reason="why not", **({"weight": 20.0} if verb == "set-weight" else {}))
    scene.run(3)
    records = [each for each in scene.store.decisions("shop-2") if each["request"]]
    assert records[0]["actor"] == {"type": "user", "claimed": "anna"}
    assert records[0]["judge"]["stateDigest"]
    assert replay(dossier_of(scene.store, "shop-2"), scene.judge).same


def test_blocks_after_the_last_decision_are_told_and_are_no_difference():
    scene = scenes.progressing()
    found = replay(dossier_of(scene.store, "shop-2"), scene.judge)
    assert found.same
    assert found.notes == ("5 blocks came after the last decision; no verdict stands on them yet",)


def test_history_from_before_the_first_traffic_is_learnt_and_not_judged():
    world = TickWorld()
    world.world.workloads.broken.add(NEW)
    world.wish(NEW)
    world.tick(4)
    world.world.workloads.broken.clear()
    world.tick(12)
    world.ask(Verb.PAUSE)
    world.tick()
    dossier = dossier_of(world.world.store, "shop-2")
    assert {block.entry for block in dossier.blocks} == {-1, 0}
    world.judge.learnt, world.judge.folded = [], []
    assert replay(dossier, world.judge).same
    assert [block.entry for block in world.judge.learnt] == [-1] * len(world.judge.learnt) != []
    assert {entry for entry, _ in world.judge.folded} == {0}


def test_figures_that_differ_by_rounding_alone_are_the_same():
    class Rounding(CountingJudge):
        def _word(self, sums, terms):
            word = super()._word(sums, terms)
            return replace(word, abort_log=word.abort_log + 1e-12)

        def fold(self, state, analysis, terms, blocks):
            state, word = super().fold(state.removesuffix(" "), analysis, terms, blocks)
            return state + " ", word

    scene = scenes.promoted()
    found = replay(dossier_of(scene.store, "shop-2"), Rounding())
    assert found.same
    assert found.notes[0] == "decision 3: the judge's state differs in its last bits, no figure does"


# ------------------------------------------------------------------------------------ another judge


def test_another_judge_is_found_by_what_he_says(promoted):
    found = told(promoted, ratio=1.3)
    assert "decision 3: judge.metrics.latency.ratio.estimate is 1.0, it should be 1.3" in found


def test_another_verdict_is_named(promoted):
    class Strict(CountingJudge):
        def _word(self, sums, terms):
            return replace(super()._word(sums, terms), verdict=Verdict.FAIL)

    assert "decision 3: verdict is pass, it should be fail" in [str(e) for e in replay(promoted, Strict()).findings]


@pytest.mark.parametrize("error", [JudgeError("no such engine"), OverflowError(), ValueError("a\nb")])
def test_a_judge_who_cannot_work_with_a_block_ends_it_with_a_word(promoted, error):
    class Broken(CountingJudge):
        def fold(self, state, analysis, terms, blocks):
            raise error

    (found,) = replay(promoted, Broken()).findings
    assert found.decision == 3
    assert "the judge cannot work with block 2" in found.message
    assert "\n" not in found.message


# ------------------------------------------------------------------------------------ what was changed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("judge.evidence.log", 9.9),
        ("judge.evidence.threshold", 3.0),
        ("judge.gate.log", 0.1),
        ("judge.metrics.errors.log", 2.0),
        ("judge.stateDigest", "sha256:00"),
        ("inputs.blocks", 99),
        ("inputs.blocks", 1),
        ("inputs.blocks", -1),
        ("inputs.blocks", "many"),
        ("inputs.digest", "sha256:00"),
        ("inputs.terms", "sha256:00"),
        ("inputs.from", "2026-01-01T00:00:00.000Z"),
        ("inputs.baseline.requests", 7),
        ("inputs.candidate.bad", 7),
        ("verdict", "fail"),
        ("phase.from", "Held"),
        ("phase.to", "Held"),
        ("weight.from", 2.0),
        ("weight.to", 20.0),
        ("number", 7),
        ("run", "shop-9"),
        ("hash", "sha256:00"),
        ("previous", "sha256:00"),
    ],
)
def test_a_changed_field_is_named_with_its_decision_and_what_it_was(promoted, field, value):
    *parents, last = field.split(".")
    original = {}

    def change(record):
        for parent in parents:
            record = record[parent]
        original["value"], record[last] = record[last], value

    found = replay(with_decision(promoted, 3, change), judge()).findings
    assert [(each.decision, each.field) for each in found] == [(3, field)]
    assert f"{field} is {value}, it should be {original['value']}"[:60] in found[0].message


@pytest.mark.parametrize("number", [1, 4, 7])
@pytest.mark.parametrize(("field", "value"), [("time", "2026-01-01T00:00:00.000Z"), ("message", "fine"), ("stage", 9)])
def test_a_field_that_nothing_else_tells_of_is_found_by_the_hash(promoted, number, field, value):
    found = told(with_decision(promoted, number, lambda record: record.update({field: value})))
    assert found[0].startswith(f"decision {number}: its content does not match its hash; all that can be derived is")


def test_a_changed_block_is_found_by_the_decision_that_names_it(promoted):
    blocks = list(promoted.blocks)
    counts = blocks[40].candidate
    blocks[40] = replace(blocks[40], candidate=replace(counts, bad=counts.bad + 1))
    found = told(replace(promoted, blocks=tuple(blocks)))
    assert len(found) == 1
    assert "are not the stored ones; nothing is derived from here on" in found[0]


def test_changed_terms_are_found_by_the_first_decision_that_they_concern(promoted):
    run = promoted.run
    entries = (run.entries[0], replace(run.entries[1], beta=0.5), *run.entries[2:])
    assert told(replace(promoted, run=replace(run, entries=entries)))[0].startswith("decision 3: versions, spec or")
    spec = replace(run.spec, analysis=replace(run.spec.analysis, alpha=0.02))
    assert told(replace(promoted, run=replace(run, spec=spec)))[0].startswith("decision 1: versions, spec or")


@pytest.mark.parametrize("lost", [1, 4, 7])
def test_a_decision_that_is_missing_is_noticed(promoted, lost):
    kept = tuple(each for each in promoted.decisions if each["number"] != lost)
    found = told(replace(promoted, decisions=kept))
    assert any("missing or moved" in each or "the run names 7 decisions, 6 were found" in each for each in found)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"head": Head(8, "sha256:00")}, "the run names 8 decisions, 7 were found"),
        ({"head": Head(7, "sha256:00")}, "the run's head is not the hash of its last decision"),
    ],
)
def test_a_head_that_was_changed_is_noticed(promoted, fields, word):
    assert word in told(replace(promoted, **fields))


def test_a_run_that_tells_another_end_than_its_decisions_is_noticed(promoted):
    run = promoted.run
    changed = replace(run, weight=50.0, ended_at=run.ended_at + timedelta(seconds=1))
    found = told(replace(promoted, run=changed))
    assert found[0] == "the run's weight is 50.0, it should be 100.0, by its decisions"
    assert found[1].startswith("the run's endedAt is")


def test_blocks_beyond_the_end_of_a_run_are_noticed(promoted):
    last = promoted.blocks[-1]
    more = replace(last, start=last.end, end=last.end + timedelta(seconds=1))
    assert told(replace(promoted, blocks=(*promoted.blocks, more))) == ["1 blocks at the end stand under no decision"]


def test_a_chain_that_was_made_anew_is_found_where_the_judge_says_otherwise(promoted):
    decisions = copy.deepcopy(promoted.decisions)
    decisions[2]["judge"]["evidence"]["log"] = 4.0
    forged = chained_anew(promoted, decisions=decisions)
    assert told(forged) == ["decision 3: judge.evidence.log is 4.0, it should be 0.0"]


def test_two_changes_in_one_decision_are_both_noticed(promoted):
    def change(record):
        record["judge"]["evidence"]["log"] = 4.0
        record["message"] = "all fine"

    found = told(with_decision(promoted, 3, change))
    assert found[0] == "decision 3: judge.evidence.log is 4.0, it should be 0.0"
    assert found[1].endswith("even with that put right: more was changed")


@pytest.mark.parametrize(
    "field", ["inputs", "judge", "phase", "weight", "hash", "number", "run", "verdict", "previous"]
)
@pytest.mark.parametrize("value", [None, [], "x", 1e400, {}])
def test_nonsense_in_a_record_is_a_finding_and_never_a_crash(promoted, field, value):
    assert told(with_decision(promoted, 3, lambda record: record.update({field: value})))


def test_a_record_from_before_terms_were_named_still_replays(promoted):
    decisions = copy.deepcopy(promoted.decisions)
    for record in decisions:
        del record["inputs"]["terms"]
    assert told(chained_anew(promoted, decisions=decisions)) == []


def test_a_run_without_any_decision_is_whole_when_it_names_none(promoted):
    bare = replace(promoted, decisions=(), blocks=(), head=Head())
    assert told(bare) == []


def test_a_file_that_was_changed_is_different_whatever_else_fits(promoted):
    found = damaged(replay(promoted, judge()))
    assert not found.same
    assert found.findings[0].field == "digest"


# ------------------------------------------------------------------------------------ from a checkpoint


def cut(dossier, decisions, forgotten=0):
    """The record as a store keeps it that has no place for its beginning."""
    found, blocks, named = judge(), 0, None
    for record in dossier.decisions[:decisions]:
        inputs = {key: value for key, value in record["inputs"].items() if key != "terms"}
        blocks += inputs["blocks"] if inputs != named else 0
        named = inputs
    state, spec = "", dossier.run.spec.analysis
    for block in dossier.blocks[:blocks]:
        if block.entry < 0:
            state = found.learn(state, spec, (block,))
        else:
            state, _ = found.fold(state, spec, dossier.run.entries[block.entry], (block,))
    gone = dossier.decisions[forgotten - 1]["hash"] if forgotten else ""
    return replace(
        dossier,
        decisions=dossier.decisions[forgotten:],
        blocks=dossier.blocks[blocks:],
        checkpoint=Checkpoint(blocks, decisions, state, forgotten, gone),
    )


@pytest.mark.parametrize(("decisions", "forgotten"), [(2, 0), (3, 2), (5, 1), (6, 5)])
def test_what_a_checkpoint_left_over_is_derived_from_its_state_and_told_as_such(promoted, decisions, forgotten):
    whole, part = replay(promoted, judge()), cut(promoted, decisions, forgotten)
    found = replay(part, judge())
    assert found.findings == ()
    assert found.blocks == len(part.blocks) < whole.blocks
    assert f"up to {decisions} only the chain is proved" in found.notes[0]
    assert any(f"the first {forgotten} decisions are not kept" in note for note in found.notes) == bool(forgotten)


def test_whatever_was_changed_behind_a_checkpoint_is_found(promoted):
    part = cut(promoted, 3, 1)
    block = replace(part.blocks[0], candidate=replace(part.blocks[0].candidate, bad=1))
    changes = [
        replace(part, blocks=(block, *part.blocks[1:])),
        replace(part, decisions=part.decisions[1:]),
        replace(part, decisions=part.decisions[:-1]),
        replace(part, checkpoint=replace(part.checkpoint, judge_state="another")),
        replace(part, checkpoint=replace(part.checkpoint, hash="sha256:another")),
        replace(part, checkpoint=replace(part.checkpoint, decisions=9)),
        replace(part, checkpoint=replace(part.checkpoint, decisions=2)),
        replace(part, checkpoint=replace(part.checkpoint, decisions=4)),
        replace(part, checkpoint=replace(part.checkpoint, forgotten=0)),
        *(with_decision(part, number, lambda record: record.update(message="x")) for number in range(1, 6)),
        *(with_decision(part, number, lambda record: record["weight"].update(to=7.0)) for number in range(1, 6)),
    ]
    assert replay(part, judge()).same
    for changed in changes:
        assert replay(changed, judge()).findings
