"""The definitions of our kinds say what the core says, and no rule in them can cost the API server too much."""

import dataclasses
import os
import typing
from pathlib import Path

import pytest

from meshctl.adapters.kubernetes.crd_notes import KEYWORDS, LEFT_OUT, RULES
from meshctl.adapters.kubernetes.crd_words import WORDS
from meshctl.adapters.kubernetes.crds import definitions, text
from meshctl.adapters.kubernetes.openapi import Notes, schema_of
from meshctl.adapters.wire import camel
from meshctl.core.model import ReleaseSpec, Run, Stage

FILE = Path(__file__).parents[2] / "templates/install/crds.yaml"
RELEASE, RUN = definitions()


def schema(definition):
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def walk(schema, path=""):
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from walk(schema[word], f"{path}[]")


def classes(kind, found=None):
    """A dataclass and all that its fields are made of, as far as a cluster has them."""
    found = {} if found is None else found
    if kind not in found:
        found[kind] = [field.name for field in dataclasses.fields(kind) if (kind, field.name) not in LEFT_OUT]
        hints = typing.get_type_hints(kind)
        for name in found[kind]:
            for each in (hints[name], *typing.get_args(hints[name])):
                if dataclasses.is_dataclass(each):
                    classes(each, found)
    return found


def test_the_file_that_is_installed_is_what_the_core_says():
    if os.environ.get("MESHCTL_REWRITE"):
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(text(), encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == text(), "run this test with MESHCTL_REWRITE=1 and look at the diff"


@pytest.mark.parametrize("definition", [RELEASE, RUN], ids=["Release", "ReleaseRun"])
def test_every_text_list_and_map_has_a_bound(definition):
    bounds = {"string": ("maxLength", "enum"), "array": ("maxItems",)}
    for path, part in walk(schema(definition)):
        words = bounds.get(part.get("type"), ())
        if "additionalProperties" in part:
            words = ("maxProperties",)
        assert not words or set(words) & set(part), path


def test_every_field_of_a_wish_is_in_the_schema_and_explained():
    known = {(kind, name) for kind, names in classes(ReleaseSpec).items() for name in names}
    assert set(WORDS) == known
    assert {(kind, name.partition(".")[0]) for kind, name in KEYWORDS} <= known
    assert {(kind, name) for kind, name in RULES if name} <= known
    spec = schema(RELEASE)["properties"]["spec"]
    assert set(spec["properties"]) == {camel(name) for name in classes(ReleaseSpec)[ReleaseSpec]}
    assert spec["required"] == ["service", "version"]


def test_a_program_that_would_run_with_the_controllers_own_rights_cannot_be_written():
    hook = schema(RELEASE)["properties"]["spec"]["properties"]["hooks"]["items"]["properties"]
    assert "command" not in hook


def test_a_record_is_never_refused_for_what_a_newer_meshctl_wrote():
    for path, part in walk(schema(RUN)):
        parts = path.split(".")
        if part.get("type") == "object" and len(parts) > 1 and parts[1] != "metadata" and "properties" in part:
            assert part.get("x-kubernetes-preserve-unknown-fields"), path
        assert not {"enum", "pattern", "required"} & set(part), path
    status = schema(RELEASE)["properties"]["status"]
    assert not any("enum" in part for _, part in walk(status))


def test_the_record_of_a_run_has_every_field_of_the_run():
    found = schema(RUN)["properties"]
    fields = set(found["status"]["properties"]) | set(found["spec"]["properties"]) | {"name", "spec"}
    assert {camel(field.name) for field in dataclasses.fields(Run)} <= fields


def test_only_a_release_has_a_status_apart_since_a_record_is_written_in_one_piece():
    release, run = (each["spec"]["versions"][0] for each in (RELEASE, RUN))
    assert release["subresources"] == {"status": {}}
    assert "subresources" not in run


def test_a_list_of_releases_shows_what_matters_and_more_when_asked():
    columns = RELEASE["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == [
        "Status",
        "Stage",
        "Weight",
        "Verdict",
        "Age",
    ]
    assert {column["name"] for column in columns if column.get("priority")} >= {"Baseline", "Reason", "Waits For"}
    for definition in (RELEASE, RUN):
        known = {path for path, _ in walk(schema(definition))}
        for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]:
            assert column["jsonPath"].startswith(".metadata") or column["jsonPath"] in known, column


@dataclasses.dataclass
class Part:
    """A part.

    More about it.
    """

    name: str
    stages: tuple[Stage, ...]
    labels: dict[str, int]
    anything: dict[str, object]
    share: float | None = None


def test_the_schema_of_a_class_follows_its_hints():
    found = schema_of(Part, Notes())
    assert found["description"] == "A part."
    assert found["required"] == ["anything", "labels", "name", "stages"]
    properties = found["properties"]
    assert properties["stages"]["items"]["properties"]["minDuration"]["pattern"]
    assert properties["labels"]["additionalProperties"] == {"type": "integer", "format": "int64"}
    assert properties["anything"] == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert properties["share"] == {"type": "number", "nullable": True}
