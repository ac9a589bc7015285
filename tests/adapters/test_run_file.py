"""A run as a file: everything is in it, nothing that is secret, and what is not such a file is refused in words."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.run_file import export_text, load_export, run_data, write_export
from meshctl.app.history import dossier_of
from meshctl.app.replay import replay
from meshctl.core.errors import InvalidInput
from meshctl.core.packing import canonical, digest
from meshctl.core.record import Checkpoint
from tests.cli import scenes


@pytest.fixture(scope="module")
def dossier():
    return dossier_of(SCENE.store, "shop-2")


def written(folder, content):
    path = folder / "run.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def opened(dossier):
    """The export as data, the blocks as lists."""
    data = json.loads(export_text(dossier))
    text = gzip.decompress(base64.b64decode(data["record"]["blocks"]["gzip"])).decode()
    data["record"]["blocks"] = [json.loads(line) for line in text.splitlines()]
    return data


def closed(data, *, anew=False):
    """The other way; ``anew`` also computes the digest of the file again."""
    lines = [canonical(each) for each in data["record"]["blocks"]]
    packed = base64.b64encode(gzip.compress("\n".join(lines).encode(), mtime=0)).decode()
    data["record"]["blocks"] = {"count": len(lines), "gzip": packed}
    if anew:
        data["digest"] = digest(canonical({key: value for key, value in data.items() if key != "digest"}))
    return data


def numbers(value, path=()):
    """The place of every number, in lists as well."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(part, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def test_what_was_written_is_read_back_equal(tmp_path, dossier):
    path = tmp_path / "run.json"
    assert write_export(path, dossier) == path.stat().st_size
    assert load_export(path) == (dossier, True)
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_whose_beginning_gave_way_to_a_checkpoint_is_carried_with_it(tmp_path, dossier):
    part = replace(
        dossier, blocks=dossier.blocks[20:], checkpoint=Checkpoint(20, 2, "the judge's state", 1, "sha256:ab")
    )
    write_export(tmp_path / "run.json", part)
    assert load_export(tmp_path / "run.json") == (part, True)
    data = json.loads((tmp_path / "run.json").read_text())
    data["record"]["checkpoint"]["judgeState"] = "another"
    assert load_export(written(tmp_path, data))[1] is False


@pytest.mark.parametrize("name", scenes.ALL)
def test_every_kind_of_run_can_be_carried_to_another_machine(name, tmp_path):
    scene = scenes.ALL[name]()
    run = scene.store.runs("shop")[-1].run.name
    write_export(tmp_path / "run.json", dossier_of(scene.store, run))
    found, whole = load_export(tmp_path / "run.json")
    assert whole
    assert found == dossier_of(scene.store, run)
    assert replay(found, scene.judge).same


def test_equal_runs_give_equal_files(dossier):
    assert export_text(dossier) == export_text(dossier)


def test_the_shape_is_that_of_the_documents(dossier):
    data = json.loads(export_text(dossier))
    assert list(data) == ["apiVersion", "kind", "metadata", "spec", "status", "record", "digest"]
    assert list(data["spec"]) == ["release", "number", "baseline", "candidate", "snapshot"]
    assert list(data["record"]) == ["head", "decisions", "blocks"]
    assert data["spec"]["snapshot"]["version"] == "2.1.0"
    short = run_data("shop", dossier.run, dossier.head)
    assert {key: data[key] for key in ("metadata", "spec", "status")} == {
        key: short[key] for key in ("metadata", "spec", "status")
    }


def with_another_number(dossier, place, change, *, anew):
    changed = opened(dossier)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] += change
    return closed(changed, anew=anew)


SCENE = scenes.promoted()
PLACES = sorted(numbers(opened(dossier_of(SCENE.store, "shop-2"))), key=str)
FIRM = [
    place
    for place in PLACES
    if place[0] == "record" or place[:2] in {("spec", "snapshot"), ("status", "entries"), ("status", "weight")}
]
"""What the decisions stand on or tell themselves."""
CHANGES = st.sampled_from([1, -1, 7, 0.5])


@settings(deadline=None, max_examples=40)
@given(place=st.sampled_from(PLACES), change=CHANGES)
def test_any_number_that_is_changed_in_a_file_is_noticed(tmp_path_factory, dossier, place, change):
    path = written(tmp_path_factory.getbasetemp(), with_another_number(dossier, place, change, anew=False))
    try:
        _, whole = load_export(path)
    except InvalidInput:
        return
    assert not whole


@settings(deadline=None)
@given(place=st.sampled_from(FIRM), change=CHANGES)
def test_a_number_that_verdicts_stand_on_is_noticed_even_when_the_file_is_sealed_anew(
    tmp_path_factory, dossier, place, change
):
    path = written(tmp_path_factory.getbasetemp(), with_another_number(dossier, place, change, anew=True))
    try:
        found, whole = load_export(path)
    except InvalidInput:
        return
    assert whole
    findings = replay(found, SCENE.judge).findings
    assert findings
    if place[:2] == ("record", "decisions"):
        assert findings[0].decision == place[2] + 1


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is not JSON"),
        (b"\x00\xff\xfe", "is not JSON"),
        (b'{"kind": "ReleaseRun"', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a ReleaseRun"),
        (b'{"kind": "Release"}', "is not a ReleaseRun"),
        (b'{"kind": "ReleaseRun", "apiVersion": "v9"}', "apiVersion: must be meshctl.dev/v1alpha1"),
    ],
)
def test_what_is_no_export_is_refused_in_one_message(tmp_path, content, word):
    with pytest.raises(InvalidInput, match=r"run\.json") as refused:
        load_export(written(tmp_path, content))
    assert word in str(refused.value) or "recursion" in str(refused.value)


@pytest.mark.parametrize(
    ("place", "value", "word"),
    [
        (("spec",), None, "spec: must be a mapping"),
        (("spec", "snapshot"), 3, "spec.snapshot: must be a mapping"),
        (("spec", "number"), "two", "number: must be a whole number"),
        (("status", "phase"), "Gone", "phase"),
        (("status", "extra"), 1, "extra: unknown field"),
        (("record", "decisions"), {}, "record.decisions: must be a list"),
        (("record", "head"), {"decisions": 1.5, "hash": ""}, "decisions: must be a whole number"),
        (("record", "blocks", "gzip"), "%%%", "record.blocks.gzip: is damaged"),
        (("record", "blocks", "gzip"), 7, "record.blocks.gzip: is damaged"),
        (("record", "blocks", "gzip"), "H4sI", "record.blocks.gzip: is cut off"),
        (("record", "blocks", "count"), 3, "its count says 3"),
    ],
)
def test_a_damaged_place_is_named(tmp_path, dossier, place, value, word):
    data = json.loads(export_text(dossier))
    holder = data
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    with pytest.raises(InvalidInput) as refused:
        load_export(written(tmp_path, data))
    assert word in str(refused.value)


@pytest.mark.parametrize(
    "line", [[1, 2], "x", [1, 2, 0, 1.0, [1, 0], [1, 0], ["x"]], [1e99, 2, 0, 1, [1, 0], [1, 0], []]]
)
def test_a_line_that_is_no_block_is_named(tmp_path, dossier, line):
    data = opened(dossier)
    data["record"]["blocks"][4] = line
    with pytest.raises(InvalidInput, match="block 5"):
        load_export(written(tmp_path, closed(data)))


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path, dossier):
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        load_export(tmp_path / "none.json")
    with pytest.raises(InvalidInput, match="cannot be written: No such file"):
        write_export(tmp_path / "none" / "run.json", dossier)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match="cannot be written: Is a directory"):
        write_export(tmp_path / "folder", dossier)


def test_a_pipe_is_written_to_and_not_replaced(tmp_path, dossier):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    small = replace(dossier, blocks=(), decisions=())
    write_export(pipe, small)
    assert json.loads(os.read(reader, 65_536))["kind"] == "ReleaseRun"
    os.close(reader)
    assert pipe.is_fifo()


def test_an_old_file_stays_when_the_new_one_cannot_be_finished(tmp_path, dossier, monkeypatch):
    path = written(tmp_path, {"old": True})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    monkeypatch.setattr(type(path), "rename", lambda self, target: full(0))
    with pytest.raises(InvalidInput, match="No space left"):
        write_export(path, dossier)
    assert json.loads(path.read_text()) == {"old": True}
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_a_number_that_is_none_makes_the_file_another_one(tmp_path, dossier):
    data = copy.deepcopy(json.loads(export_text(dossier)))
    data["record"]["decisions"][2]["judge"]["evidence"]["log"] = float("nan")
    _, whole = load_export(written(tmp_path, data))
    assert not whole
