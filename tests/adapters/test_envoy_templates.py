"""The shipped templates render nothing that the embedded mesh does not understand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshctl.adapters.envoy.translate import translate
from meshctl.adapters.templates import TemplateRenderer
from meshctl.core.model import (
    CanaryStrategy,
    MeshSpec,
    Metadata,
    Preview,
    Release,
    ReleaseSpec,
    Retries,
    Routing,
    Strategy,
)
from tests.adapters.envoy_world import NEW, OLD

FULL_MESH = MeshSpec(
    hosts=("shop", "shop.example.com"),
    timeout=timedelta(seconds=2),
    retries=Retries(2, per_try_timeout=timedelta(milliseconds=700)),
)
PREVIEWED = Strategy(canary=CanaryStrategy(preview=Preview("x-meshctl-preview")))


@pytest.mark.parametrize("mesh", [MeshSpec(), FULL_MESH], ids=["plain", "full"])
@pytest.mark.parametrize("aborted", [False, True])
def test_a_rendered_split_is_translated_as_decided(mesh: MeshSpec, aborted: bool):
    release = Release(Metadata("shop-release"), ReleaseSpec(NEW, "shop", mesh=mesh, strategy=PREVIEWED))
    weight = 0.0 if aborted else 0.1
    rendered = TemplateRenderer().render(release, Routing(OLD, NEW, weight, "shop-7", aborted))
    found = translate(rendered, "shop")
    assert found.weights == {OLD: 1000 - round(weight * 10), NEW: round(weight * 10)}
    assert (found.run, found.aborted) == ("shop-7", aborted)


def test_one_version_alone_is_translated_too():
    release = Release(Metadata("shop"), ReleaseSpec(OLD, "shop"))
    found = translate(TemplateRenderer().render(release, Routing(OLD, None, 0.0, "shop-1")), "shop")
    assert found.weights == {OLD: 1000}


def test_another_version_label_is_followed():
    release = Release(Metadata("shop"), ReleaseSpec(OLD, "shop", version_label="release"))
    rendered = TemplateRenderer().render(release, Routing(OLD, None, 0.0, "shop-1"))
    assert translate(rendered, "shop", version_label="release").weights == {OLD: 1000}
