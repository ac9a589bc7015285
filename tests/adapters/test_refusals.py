"""What an API server says against a wish is told as the user's field, what is wrong with it, and what to do.

The words on the left are those of kube-apiserver 1.36 (`tests/cluster/test_objects.py` asks it again).
"""

from __future__ import annotations

import pytest

from meshctl.adapters.kubernetes.refusals import explained
from meshctl.core.errors import Conflict, InvalidInput

CASES = [
    (
        ".spec.version: expected string, got &value.valueUnstructured{Value:2.1}",
        "spec.version: must be text, found 2.1\n  put it in quotes, so that it is read as text",
    ),
    (
        (
            'spec.version: Invalid value: "integer": spec.version in body must be of type string: "integer"; '
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
            "correct the existing errors to complete validation"
        ),
        "spec.version: must be text, found a whole number\n  put it in quotes, so that it is read as text",
    ),
    (
        (
            "spec.strategy.canary.stages: Invalid value: the weights must increase from stage to stage; "
            "spec.strategy.canary.stages: Invalid value: the last stage must have the weight 100 or gate: manual, "
            "else nobody would ever promote"
        ),
        (
            "spec.strategy.canary.stages: the weights must increase from stage to stage\n"
            "Release/shop: spec.strategy.canary.stages: the last stage must have the weight 100 or gate: manual, "
            "else nobody would ever promote"
        ),
    ),
    (
        "spec.strategy.canary.stages[0].weight: Invalid value: 10.05: must be a multiple of 0.1",
        "spec.strategy.canary.stages[0].weight: must be a multiple of 0.1, found 10.05",
    ),
    (
        (
            'spec.keepWarm: Invalid value: "5 minutes": spec.keepWarm in body should match '
            r"'^(0|\+?([0-9]+(\.[0-9]+)?(h|ms|us|µs|m|s))+)$'; spec.keepWarm: Invalid value: "
            "\"string\": type conversion error from 'string' to 'google.protobuf.Duration' evaluating rule: "
            "must be >= 0s"
        ),
        (
            'spec.keepWarm: must be a duration, found "5 minutes"\n'
            "  write a number with its unit, such as 500ms, 60s, 5m or 1h30m"
        ),
    ),
    (
        "metadata.name: Invalid value: \"Shop.x\": metadata.name in body should match '^[a-z0-9]$'",
        'metadata.name: does not have the form that is wanted, ^[a-z0-9]$, found "Shop.x"',
    ),
    (
        "spec.analysis.alpha: Invalid value: 0.6: spec.analysis.alpha in body should be less than 0.5",
        "spec.analysis.alpha: should be less than 0.5, found 0.6",
    ),
    (
        'spec.analysis.engine: Unsupported value: "best": supported values: "sequential", "classic"',
        'spec.analysis.engine: must be one of: "sequential", "classic", found "best"',
    ),
    ("spec.service: Required value", "spec.service: is missing"),
    ('.spec.mesh.hosts: duplicate entries for key [="a"]', 'spec.mesh.hosts: stands here twice: "a"'),
    (
        ".spec.strategy.canry: field not declared in schema",
        "spec.strategy.canry: unknown field; did you mean 'canary'?",
    ),
    (
        (
            'Release in version "v1alpha1" cannot be handled as a Release: strict decoding error: unknown field '
            '"spec.versoin"'
        ),
        "spec.versoin: unknown field; did you mean 'version'?",
    ),
    (
        '.spec.hooks[name="a"].onError: field not declared in schema',
        (
            "spec.hooks[].onError: is not known to this cluster\n"
            "  the CRDs in this cluster are older than this meshctl: meshctl install | kubectl apply --server-side -f -"
        ),
    ),
    (
        "spec.service: Forbidden: cannot change while a run is under way: abort it, or wait for its end",
        "spec.service: cannot change while a run is under way: abort it, or wait for its end",
    ),
    ("spec.mesh: Something new: 5", "spec.mesh: Something new: 5"),
]


@pytest.mark.parametrize(("said", "told"), CASES, ids=[told.partition(":")[0] for _, told in CASES])
def test_a_refusal_is_told_in_the_words_of_whoever_wrote_the_field(said, told):
    error = InvalidInput(f"patching Release default/shop: the API server refuses it: {said}")
    found = explained(error, "Release/shop")
    assert isinstance(found, InvalidInput)
    assert str(found) == f"Release/shop: {told}"


def test_owners_of_fields_are_named():
    said = (
        'patching Release default/shop: Apply failed with 2 conflicts: conflict with "argocd" using '
        'meshctl.dev/v1alpha1: .spec.version, conflict with "kubectl" using meshctl.dev/v1alpha1: .spec.keepWarm'
    )
    found = explained(Conflict(said), "Release/shop")
    assert isinstance(found, Conflict)
    assert found.args[0] == (
        "Release/shop: spec.version: belongs to argocd, which gave it another value\n"
        "Release/shop: spec.keepWarm: belongs to kubectl, which gave it another value"
    )
    assert "--force-conflicts" in found.hint


@pytest.mark.parametrize("error", [InvalidInput("something else"), Conflict("the object has been modified")])
def test_what_is_not_understood_is_left_as_it_was_said(error):
    assert explained(error, "Release/shop") is error
