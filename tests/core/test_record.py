"""The record of a decision has the shape that was agreed, and its chain finds whatever was changed."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.core.model import Actor, Phase, Reason, StageTerms, Verb, Verdict
from meshctl.core.packing import inputs_of, pack
from meshctl.core.ports import MeshRecord
from meshctl.core.record import Checkpoint, Head, append, ended, faults, stamp
from meshctl.core.terms import entries_named, terms_of
from tests.adapters.store_values import JUDGEMENT, MESH, NOON, block, event, request, run

BLOCKS = [block(second, bad=int(second > 30)) for second in range(34)]


def chain():
    """Three saves: nothing was read yet; 20 blocks, two decisions at once; the other 14."""
    lines, records, head = [pack(each) for each in BLOCKS], [], Head()
    for events, span in [([event()], lines[:0]), ([event(), event()], lines[:20]), ([event()], lines[20:])]:
        new, head = append(head, events, inputs_of(span), "state", MESH)
        records += new
    return records, head


def test_a_record_has_the_shape_that_was_agreed():
    (record,), head = append(Head(3, "sha256:before"), [event()], inputs_of([pack(each) for each in BLOCKS]), "s", MESH)
    digest = record["inputs"].pop("digest")
    assert digest.startswith("sha256:")
    assert head == Head(4, record.pop("hash"))
    assert record == {
        "number": 4,
        "run": "shop-1",
        "time": "2026-11-23T12:00:34.300Z",
        "stage": 0,
        "phase": {"from": "Progressing", "to": "RolledBack"},
        "verdict": "fail",
        "reason": "Regression",
        "message": "2.1.0 failed 3 of 68 requests, 2.0.0 0 of 6731: worse than 1.1x the baseline",
        "actor": {"type": "judge"},
        "weight": {"from": 1.0, "to": 0.0, "confirmed": 1.0},
        "inputs": {
            "from": "2026-11-23T12:00:00.000Z",
            "to": "2026-11-23T12:00:34.000Z",
            "blocks": 34,
            "baseline": {"requests": 6732, "bad": 0},
            "candidate": {"requests": 68, "bad": 3},
        },
        "judge": {
            "engine": "sequential",
            "version": "1",
            "evidence": {"log": 9.4, "threshold": 4.828},
            "metrics": {
                "errors": {"log": 9.4, "ratio": {"estimate": None, "lower": 4.1, "upper": None}},
                "latency": {"log": -0.3},
            },
            "gate": {"log": -2.0, "threshold": 1.609},
            "stateDigest": "sha256:" + hashlib.sha256(b"s").hexdigest(),
        },
        "mesh": {"templates": "sha256:0a", "VirtualService/shop": "1812", "DestinationRule/shop": "1790"},
        "request": None,
        "previous": "sha256:before",
    }


def test_the_hash_is_what_any_other_tool_would_compute():
    for record in chain()[0]:
        rest = {key: value for key, value in record.items() if key != "hash"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert record["hash"] == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_a_persons_decision_names_who_what_and_why():
    asked = request(verb=Verb.SET_WEIGHT, weight=5, full=True)
    by_hand = event(actor=Actor("user", "anna"), request=asked, judgement=None, reason=None)
    (record,), _ = append(Head(), [by_hand], inputs_of([]), "", MeshRecord())
    assert record["actor"] == {"type": "user", "claimed": "anna"}
    assert record["request"] == {
        "id": "r1",
        "verb": "set-weight",
        "reason": "looks fine",
        "time": "2026-11-23T12:00:00.000Z",
        "weight": 5.0,
        "full": True,
    }
    assert (record["judge"], record["reason"], record["previous"]) == (None, None, None)
    assert record["mesh"] == {"templates": ""}


def test_a_plain_request_names_neither_weight_nor_full():
    (record,), _ = append(Head(), [event(request=request())], inputs_of([]), "", MESH)
    assert list(record["request"]) == ["id", "verb", "reason", "time"]


def test_without_a_judgement_the_judges_state_is_still_named():
    (record,), _ = append(Head(), [event(judgement=None)], inputs_of([]), "state", MESH)
    assert list(record["judge"]) == ["stateDigest"]


def test_unbounded_numbers_are_null_and_a_stage_without_gate_has_none():
    odd = replace(JUDGEMENT, abort_log=float("-inf"), gate_log=None, gate_threshold_log=None)
    (record,), _ = append(Head(), [event(judgement=odd)], inputs_of([]), "", MESH)
    assert record["judge"]["evidence"] == {"log": None, "threshold": 4.828}
    assert record["judge"]["gate"] is None


def test_instants_are_exact():
    assert stamp(NOON) == "2026-11-23T12:00:00.000Z"
    assert stamp(NOON + timedelta(microseconds=1)) == "2026-11-23T12:00:00.000001Z"


def test_a_whole_chain_has_no_faults():
    records, head = chain()
    assert [record["number"] for record in records] == [1, 2, 3, 4]
    assert faults(records, head=head, blocks=BLOCKS) == ()
    assert faults(json.loads(json.dumps(records)), head=head, blocks=BLOCKS) == ()
    assert faults([], head=Head(), blocks=[]) == ()


def numbers_in(value, path=()):
    if isinstance(value, dict):
        for key, each in value.items():
            yield from numbers_in(each, (*path, key))
    elif isinstance(value, int | float):
        yield path


@settings(deadline=None)
@given(st.data(), st.integers(0, 3), st.integers() | st.floats(allow_nan=False))
def test_any_changed_number_is_found(data, index, other):
    records, head = copy.deepcopy(chain())
    *way, last = data.draw(st.sampled_from(list(numbers_in(records[index]))))
    place = records[index]
    for key in way:
        place = place[key]
    if place[last] == other:
        return
    place[last] = other
    assert any(f"decision {index + 1} of shop-1" in fault for fault in faults(records, head=head))


@given(st.integers(0, 3), st.sampled_from(["message", "reason", "previous", "hash", "run", "time"]))
def test_any_changed_word_is_found(index, key):
    records, head = chain()
    records[index][key] = "other"
    assert faults(records, head=head)


@given(st.integers(0, 3))
def test_a_missing_record_is_found(index):
    records, head = chain()
    del records[index]
    assert faults(records, head=head)


@given(st.permutations(range(4)))
def test_records_in_another_order_are_found(order):
    records, head = chain()
    assert bool(faults([records[index] for index in order], head=head)) == (order != [0, 1, 2, 3])


def test_a_rewritten_record_with_a_right_hash_breaks_the_chain_after_it():
    records, head = chain()
    forged, _ = append(Head(1, records[0]["hash"]), [event(message="forged")], inputs_of([]), "state", MESH)
    records[1] = forged[0]
    assert faults(records, head=head) == ("decision 3 of shop-1: does not follow the record before it",)


def test_a_rewritten_last_record_differs_from_the_head():
    records, head = chain()
    forged, _ = append(Head(3, records[2]["hash"]), [event(message="forged")], inputs_of([]), "state", MESH)
    records[3] = forged[0]
    assert len(faults(records, head=head)) == 1
    assert faults(records) == ()


@given(st.integers(0, 33), st.sampled_from(["baseline", "candidate"]), st.integers(1, 5))
def test_a_changed_count_in_a_block_is_found(index, arm, more):
    records, head = chain()
    blocks = list(BLOCKS)
    before = getattr(blocks[index], arm)
    blocks[index] = replace(blocks[index], **{arm: replace(before, requests=before.requests + more)})
    found = faults(records, head=head, blocks=blocks)
    assert found
    assert all("the blocks it names are not the stored ones" in fault for fault in found)


def test_a_missing_block_is_found_and_blocks_after_the_last_decision_are_no_fault():
    records, head = chain()
    assert faults(records, head=head, blocks=BLOCKS[1:])
    assert faults(records, head=head, blocks=[*BLOCKS, block(99)]) == ()


@pytest.mark.parametrize("inputs", [None, {}, {"blocks": "many"}, []])
def test_a_record_without_inputs_is_a_fault_not_a_crash(inputs):
    records, head = chain()
    records[0]["inputs"] = inputs
    assert len(faults(records, head=head, blocks=BLOCKS)) == 2


def test_a_record_that_json_cannot_hold_is_a_fault_not_a_crash():
    records, _ = chain()
    records[0]["stage"] = float("nan")
    assert faults(records) == ("decision 1 of shop-1: its content does not match its hash",)


def test_a_run_that_made_way_ends_as_its_last_event_says():
    moving = run(waits_for="evidence", confirmed=1.0)
    last = event(reason=Reason.SUPERSEDED, message="2.1.0 makes way for 2.2.0", verdict=Verdict.UNDECIDED)
    gone = ended(moving, last)
    assert (gone.phase, gone.reason, gone.waits_for) == (Phase.ROLLED_BACK, Reason.SUPERSEDED, "")
    assert (gone.weight, gone.changed_at, gone.ended_at) == (0.0, last.time, last.time)
    assert ended(gone, replace(last, time=last.time + timedelta(seconds=9))).ended_at == last.time


def test_a_run_that_had_no_weight_keeps_the_time_of_its_last_change():
    assert ended(run(weight=0.0), event(phase_to=Phase.HELD)).changed_at == NOON


# ------------------------------------------------------------------------------------ the terms


def terms(number, weight):
    return StageTerms(number, weight, 0.05, 0.5, bake=False, comparable=True, max_duration_s=1800.0)


def test_a_record_names_by_what_its_run_was_judged():
    (record,), _ = append(Head(), [event()], inputs_of([pack(each) for each in BLOCKS]), "s", MESH, terms_of(run()))
    assert record["inputs"]["terms"] == terms_of(run())
    assert not faults([record], blocks=BLOCKS)


def test_the_terms_change_with_every_number_of_spec_and_stages_and_with_nothing_else():
    known = replace(run(), entries=(terms(0, 1.0), terms(1, 10.0)))
    assert terms_of(replace(known, phase=Phase.PROMOTED, weight=100.0)) == terms_of(known)
    assert terms_of(replace(known, spec=replace(known.spec, keep_warm=timedelta(seconds=1)))) != terms_of(known)
    assert terms_of(replace(known, entries=(terms(0, 1.0), terms(1, 10.1)))) != terms_of(known)
    assert terms_of(replace(known, candidate="9")) != terms_of(known)


def test_a_number_without_a_fraction_is_the_same_terms_as_text_read_back():
    assert terms_of(replace(run(), entries=(terms(0, 10),))) == terms_of(replace(run(), entries=(terms(0, 10.0),)))


def test_how_many_stages_a_run_had_entered_is_found_by_its_terms():
    known = replace(run(), entries=(terms(0, 1.0), terms(1, 10.0)))
    assert [entries_named(known, terms_of(known, count), 0) for count in range(3)] == [0, 1, 2]
    assert entries_named(known, terms_of(known, 0), 1) is None
    assert entries_named(known, "sha256:other", 0) is None


def test_values_that_have_no_plain_form_are_refused():
    with pytest.raises(TypeError):
        terms_of(replace(run(), baseline=object()))


def test_odd_values_have_a_digest_of_their_own():
    odd = [math.inf, math.nan, NOON, True, {"a": ""}, {"a": 1}]
    assert len({terms_of(replace(run(), baseline=each)) for each in odd}) == len(odd)


@pytest.mark.parametrize(("decisions", "forgotten", "gone"), [(1, 0, 0), (3, 0, 20), (3, 2, 20), (4, 3, 34)])
def test_a_record_whose_beginning_gave_way_to_a_checkpoint_is_whole_from_there(decisions, forgotten, gone):
    records, head = chain()
    before = records[forgotten - 1]["hash"] if forgotten else ""
    checkpoint = Checkpoint(gone, decisions, "state", forgotten, before)
    kept, left = records[forgotten:], BLOCKS[gone:]
    assert faults(kept, head=head, blocks=left, checkpoint=checkpoint) == ()
    wrong = [
        replace(checkpoint, judge_state="another"),
        replace(checkpoint, decisions=9),
        replace(checkpoint, forgotten=forgotten + 1),
        replace(checkpoint, hash="sha256:another"),
    ]
    assert all(faults(kept, head=head, blocks=left, checkpoint=each) for each in wrong)
