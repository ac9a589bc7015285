"""What commands print: columns, names, and objects that scripts may rely on."""

from __future__ import annotations

import json

import pytest
import yaml

from meshctl.adapters.wire import encode
from meshctl.app.queries import release_view, release_views
from meshctl.cli.output import console, encoded, picked, release_data, release_list, table
from meshctl.core.errors import InvalidInput
from meshctl.core.model import MeshSpec, Metadata, Release, ReleaseSpec
from tests.cli import scenes
from tests.cli.scenes import NEW


def test_a_table_has_one_line_per_release_and_no_empty_cell():
    store = scenes.wished().store
    lines = table(release_views(store)).splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "PHASE", "VERSION", "STAGE", "WEIGHT", "VERDICT", "REASON"],
        ["fresh", "Pending", "2.1.0", "-", "0", "%", "-", "-"],
        ["shop", "Promoted", "2.0.0", "-", "100", "%", "-", "FirstRelease"],
    ]


def test_a_wide_table_tells_the_evidence_and_what_is_waited_for_last():
    line = table([scenes.zone().view], wide=True).splitlines()[1]
    assert "0%/12%" in line
    assert line.endswith("evidence that 2.1.0 is not worse than the margin")


def test_an_object_has_the_wish_and_the_status_under_one_head():
    data = release_data(scenes.progressing().view)
    assert list(data) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert (data["apiVersion"], data["kind"]) == ("meshctl.dev/v1alpha1", "Release")
    assert data["spec"]["version"] == NEW
    assert data["status"]["phase"] == "Progressing"
    assert data["status"]["stage"] == 2


def test_the_wish_is_printed_exactly_as_the_codec_writes_it():
    odd = {"team": "on", "build": "1e3", "when": "2026-11-23", "empty": "", "time": "12:30:45", "null": "null"}
    spec = ReleaseSpec("1.10", "yes", mesh=MeshSpec(hosts=("no", "0o7", "~")))
    store = scenes.Scene().store
    store.put_release(Release(Metadata("off", labels=odd, annotations=odd), spec))
    wish = encode(store.release("off"))
    data = release_data(release_view(store, "off"))
    assert {key: data[key] for key in wish} == wish


def test_a_list_is_one_object():
    data = release_list([release_data(view) for view in release_views(scenes.wished().store)])
    assert (data["kind"], len(data["items"])) == ("ReleaseList", 2)


@pytest.mark.parametrize("scene", scenes.ALL)
def test_json_and_yaml_say_the_same(scene):
    data = release_data(scenes.ALL[scene]().view)
    assert json.loads(encoded(data, "json")) == data
    assert yaml.safe_load(encoded(data, "yaml")) == data


def test_no_colour_where_none_is_wanted(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert console().no_color


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("{.status.phase}", "Held\n"),
        ("$.status.phase", "Held\n"),
        (".status.weight", "10.5\n"),
        ("{.items[*].name}", "a b\n"),
        ("{.nowhere}", "\n"),
    ],
)
def test_a_jsonpath_picks_values_as_kubectl_would(path, found):
    data = {"status": {"phase": "Held", "weight": 10.5}, "items": [{"name": "a"}, {"name": "b"}]}
    assert picked(data, path) == found


def test_a_jsonpath_that_is_none_is_refused_with_an_example():
    with pytest.raises(InvalidInput, match="For instance"):
        picked({}, "{.status[}")
