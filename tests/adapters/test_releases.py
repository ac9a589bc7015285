"""A Release in a cluster means what the same words in a file mean, and what was applied is what is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.kubernetes.api import Patch
from meshctl.adapters.kubernetes.kinds import RELEASE
from meshctl.adapters.kubernetes.releases import release_of, wish_of
from meshctl.adapters.manifests import decode_document, load_text
from meshctl.adapters.yaml12 import read_documents
from meshctl.core.model import Metadata, Release, ReleaseSpec
from tests.adapters.api_memory import MemoryApi
from tests.adapters.test_wire import anything

ROOT = Path(__file__).parents[2]
HEAD = {"apiVersion": "meshctl.dev/v1alpha1", "kind": "Release", "metadata": {"name": "shop"}}
SPECS = [
    {},
    {"keepWarm": "0s", "readyTimeout": "1h30m", "versionLabel": "app.kubernetes.io/version"},
    {"mesh": {}},
    {"mesh": {"hosts": ["shop.example.com"], "timeout": None, "retries": {"attempts": 2}}},
    {"mesh": {"ownership": "adopt", "adopt": {"virtualService": "edge", "routes": ["shop"]}}},
    {"strategy": {"canary": {}}},
    {"strategy": {"canary": {"stages": [{"weight": 10}, {"weight": 50.5, "gate": "manual"}, {"weight": 100}]}}},
    {"strategy": {"canary": {"preview": {"header": "x-version"}, "stages": [{"weight": 1, "maxDuration": "2h"}]}}},
    {"analysis": {"alpha": 0.05, "slo": {"maxErrorRate": 0.05}, "warmUp": "none"}},
    {"analysis": {"errors": {"tolerance": 1.2, "margin": 2, "harm": 0}, "onInconclusive": "hold"}},
    {"hooks": [{"name": "smoke", "at": "afterStage", "http": {"url": "https://x.example"}}]},
    {
        "workload": {
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "shop", "image": "shop:1", "ports": None}]},
            }
        }
    },
]


def kept(data):
    """What an API server gives back: it knows no difference between 1.0 and 1."""
    if isinstance(data, dict):
        return {key: kept(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [kept(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data


def created(spec, **metadata):
    api = MemoryApi()
    head = {**HEAD, "metadata": {"name": "shop", "namespace": "default", **metadata}}
    return api.create(RELEASE, kept({**head, "spec": spec}))


@pytest.mark.parametrize("more", SPECS, ids=str)
def test_an_object_that_says_little_is_the_wish_of_the_file_that_says_as_little(more):
    spec = {"version": "2.1.0", "service": "shop", **more}
    (wish,) = load_text(yaml.safe_dump({**HEAD, "spec": spec}), embedded=False) if _loads(more) else (None,)
    found = release_of(created(spec))
    assert found.spec == (wish.spec if wish else found.spec)
    assert found == release_of(created(wish_of(found)["spec"]))


def _loads(more):
    """Stages that nobody would accept are decoded alike all the same."""
    return "maxDuration" not in str(more)


EXAMPLES = [
    (path.relative_to(ROOT), document)
    for path in sorted(ROOT.glob("examples/**/*.yaml"))
    for document in read_documents(path.read_text())
    if isinstance(document.data, dict) and document.data.get("kind") == "Release"
]


@pytest.mark.parametrize(("path", "document"), EXAMPLES, ids=[str(path) for path, _ in EXAMPLES])
def test_every_example_is_applied_and_read_back_as_it_was_meant(path, document):
    wish = decode_document(str(path), document)
    assert release_of(created(wish_of(wish)["spec"])).spec == wish.spec


@settings(max_examples=200, deadline=None)
@given(spec=anything(ReleaseSpec), labels=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2))
def test_whatever_is_wished_is_what_is_read_back(spec, labels):
    wish = Release(Metadata("shop", labels=labels), spec)
    sent = json.loads(json.dumps(kept(wish_of(wish))))
    sent["metadata"]["generation"] = 1
    assert release_of(sent) == wish


def test_what_belongs_to_others_is_no_part_of_the_wish():
    annotations = {
        "team": "a",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "requests.meshctl.dev/r1": '{"verb": "abort"}',
    }
    object = created({"version": "1", "service": "shop"}, annotations=annotations, labels={"app": "shop"})
    found = release_of(object)
    assert found.metadata == Metadata("shop", "default", 1, {"app": "shop"}, {"team": "a"})


def test_what_is_the_default_is_not_applied_and_what_is_taken_back_goes():
    api = MemoryApi()
    wish = Release(Metadata("shop"), ReleaseSpec("1", "shop"))
    longer = replace(wish, spec=replace(wish.spec, keep_warm=wish.spec.keep_warm * 2))
    for each, expected in ((longer, {"keepWarm": "2h"}), (wish, {})):
        body = wish_of(each)
        api.patch(RELEASE, "shop", "default", body, form=Patch.APPLY, manager="meshctl")
        assert api.get(RELEASE, "shop", "default")["spec"] == {"version": "1", "service": "shop", **expected}
