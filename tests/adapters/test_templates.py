"""Rendering: what was decided is written, and a template that does anything else is named with its line."""

import json
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.template_set import ROUTES as TEMPLATES
from meshctl.adapters.template_set import packaged_templates
from meshctl.adapters.templates import TemplateRenderer, template_context
from meshctl.adapters.yaml12 import write_documents
from meshctl.core.errors import TemplateError
from meshctl.core.guard import find_lies
from meshctl.core.model import (
    CanaryStrategy,
    MeshSpec,
    Metadata,
    Ownership,
    Preview,
    Release,
    ReleaseSpec,
    Retries,
    Routing,
    Strategy,
)

SNAPSHOTS = Path(__file__).parent / "snapshots"
PLAIN = Release(Metadata("shop"), ReleaseSpec("2.1.0", "shop"))
FULL = Release(
    Metadata("shop", namespace="market"),
    ReleaseSpec(
        "2.1.0",
        "shop-backend",
        version_label="example.com/version",
        mesh=MeshSpec(
            hosts=("shop", "shop.example.com"),
            gateways=("mesh", "infra/edge"),
            timeout=timedelta(seconds=2),
            retries=Retries(2, per_try_timeout=timedelta(milliseconds=500)),
        ),
        strategy=Strategy(CanaryStrategy(Preview("X-Meshctl-Preview"))),
    ),
)
DELEGATE = replace(PLAIN, spec=replace(PLAIN.spec, mesh=MeshSpec(Ownership.DELEGATE, timeout=timedelta(seconds=2))))
ROUTING = Routing("2.0.0", "2.1.0", 0.1, "shop-7")
VIRTUAL_SERVICE, DESTINATION_RULE = (packaged_templates() / name for name in TEMPLATES)


@pytest.fixture(scope="module")
def renderer():
    return TemplateRenderer()


def snapshot(name, objects):
    """Compare with the file of this name.  Delete the file to have it written anew, and read the difference."""
    path = SNAPSHOTS / f"{name}.yaml"
    text = write_documents(objects)
    if not path.exists():
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(
    ("name", "release", "routing"),
    [
        ("full_canary", FULL, ROUTING),
        ("full_aborted", FULL, replace(ROUTING, candidate_weight=0.0, aborted=True)),
        ("full_one_version", FULL, Routing("2.1.0", None, 0.0, "shop-7")),
        ("plain_canary", PLAIN, replace(ROUTING, candidate_weight=100.0)),
        ("delegate_canary", DELEGATE, ROUTING),
    ],
)
def test_the_rendered_objects_are_as_reviewed(renderer, name, release, routing):
    snapshot(name, renderer.render(release, routing))


def main_route(objects):
    return objects[0]["spec"]["http"][-1]["route"]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1000))
def test_rendered_weights_are_the_decided_tenths_and_sum_to_a_thousand(tenths):
    objects = RENDERER.render(FULL, replace(ROUTING, candidate_weight=tenths / 10))
    weights = [entry["weight"] for entry in main_route(objects)]
    assert weights == [1000 - tenths, tenths]


RENDERER = TemplateRenderer()
VERSION = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?", fullmatch=True)


@settings(deadline=None)
@given(VERSION, st.sampled_from(["on", "1e3", "0x1F", "2.10", "null", "true"]), st.booleans())
def test_any_version_is_rendered_as_the_text_it_is(baseline, candidate, aborted):
    routing = Routing(f"1{baseline}", candidate, 5.0, "shop-7", aborted)
    objects = RENDERER.render(FULL, routing)
    labels = [subset["labels"] for subset in objects[1]["spec"]["subsets"]]
    assert labels == [{"example.com/version": f"1{baseline}"}, {"example.com/version": candidate}]


def test_text_from_outside_cannot_break_out_of_its_place(renderer):
    odd = 'shop-7"\n  evil: {{ 7 * 7 }} # \u2028'
    objects = renderer.render(PLAIN, replace(ROUTING, run=odd))
    assert objects[0]["metadata"]["annotations"] == {"meshctl.dev/run": odd}


def test_a_pair_is_rendered_and_proved_within_a_few_milliseconds(renderer):
    renderer.render(FULL, ROUTING)
    begun = time.perf_counter()
    for _ in range(50):
        renderer.render(FULL, ROUTING)
    assert (time.perf_counter() - begun) / 50 < 0.010  # the budget is 1 ms; a loaded machine gets ten times that


def test_the_context_is_plain_data(renderer):
    context = template_context(FULL, ROUTING)
    assert json.loads(json.dumps(context)) == context


# ------------------------------------------------------------------------------------ a user's own templates


@pytest.fixture
def own(tmp_path):
    """Write a user's own template and render with it; the child process ends with the test."""
    opened = []

    def make(text, name=TEMPLATES[0], *, release=FULL, routing=ROUTING, time_limit_s=2.0):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        opened.append(TemplateRenderer(tmp_path, time_limit_s=time_limit_s))
        return opened[-1].render(release, routing)

    yield make
    for renderer in opened:
        renderer.close()


def refusal(own, *arguments, **options):
    with pytest.raises(TemplateError) as caught:
        own(*arguments, **options)
    assert caught.value.exit_code == 2
    assert "nothing was applied" in caught.value.hint
    return str(caught.value).partition("\n")[0]


def changed(old, new, path=VIRTUAL_SERVICE):
    text = path.read_text()
    assert old in text
    return text.replace(old, new)


def line_of(text, part):
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_an_own_template_wins_and_the_other_one_stays_ours(own):
    objects = own(changed("    timeout: {{ release.timeout }}", "    timeout: 9s"))
    assert {route["timeout"] for route in objects[0]["spec"]["http"]} == {"9s"}
    assert objects[1] == RENDERER.render(FULL, ROUTING)[1]


def test_own_templates_may_include_each_other(own, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/policy.j2").write_text("  trafficPolicy: {connectionPool: {tcp: {maxConnections: 9}}}\n")
    objects = own(DESTINATION_RULE.read_text() + '{% include "parts/policy.j2" %}', TEMPLATES[1])
    assert objects[1]["spec"]["trafficPolicy"] == {"connectionPool": {"tcp": {"maxConnections": 9}}}


@pytest.mark.parametrize(
    ("old", "new", "line_with", "said"),
    [
        ("weight: {{ destination.weight }}", "weight: 500", "weight: 500", "spec.http[0].route[0].weight: the decided"),
        ("kind: VirtualService", "kind: Secret", "kind: Secret", "found kind 'Secret'"),
        ("{{ release.name | quoted }}", "bank", "name: bank", "metadata.name: must be 'shop'"),
        ("host: {{ release.service | quoted }}", "host: evil", "host: evil", "must be 'shop-backend', found 'evil'"),
        ("meshctl.dev/run: {{ run | quoted }}", "meshctl.dev/run: x-1", "x-1", "must be 'shop-7', found 'x-1'"),
    ],
)
def test_a_lie_names_the_template_line_that_tells_it(own, tmp_path, old, new, line_with, said):
    text = changed(old, new)
    told = refusal(own, text)
    assert told.startswith(f"{tmp_path / TEMPLATES[0]}:{line_of(text, line_with)} (rendered line ")
    assert "renders for release shop what was not decided" in told
    assert said in told


def test_a_missing_subset_is_a_lie(own, tmp_path):
    text = changed("in subsets %}", "in subsets[:1] %}", DESTINATION_RULE)
    told = refusal(own, text, TEMPLATES[1])
    assert "spec.subsets: the subset v2-1-0 of version 2.1.0 is missing" in told
    assert f"{tmp_path / TEMPLATES[1]}:{line_of(text, 'subsets:')} " in told


def test_the_example_of_the_docs_renders(own):
    text = (Path(__file__).parents[2] / "docs/templates.md").read_text()
    example = text.split("```jinja\n")[1].split("```")[0]
    objects = own(example, TEMPLATES[1])
    assert objects[1]["spec"]["trafficPolicy"] == {"connectionPool": {"tcp": {"maxConnections": 200}}}


def test_the_docs_name_every_variable():
    text = (Path(__file__).parents[2] / "docs/templates.md").read_text()
    context = template_context(FULL, ROUTING)
    names = [*context, *(f"release.{name}" for name in context["release"])]
    assert [name for name in names if f"`{name}" not in text and name != "release"] == []


def test_an_object_more_is_a_lie(own):
    told = refusal(own, VIRTUAL_SERVICE.read_text() + "---\nkind: Namespace\n")
    assert "only VirtualService and DestinationRule may be rendered, found kind 'Namespace'" in told


def test_an_object_less_is_a_lie(own):
    assert "no VirtualService was rendered" in refusal(own, "# nothing\n")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\n{% for x in %}\n{% endfor %}", 2, "does not parse"),
        ("a: 1\nb: {{ run", 2, "does not parse"),
        ("a: 1\n\nb: {{ relaese.name }}", 3, "'relaese' is undefined"),
        ("a: {{ release.nmae }}", 1, "has no attribute 'nmae'"),
        ("a: 1\nb: {{ 1 // 0 }}", 2, "ZeroDivisionError"),
        ("a: {{ run | nothing }}", 1, "No filter named 'nothing'"),
        ("a: 1\n{% include '../../etc/passwd' %}", 2, "no template '../../etc/passwd' exists"),
        ("{{ ''.__class__.__mro__ }}", 1, "unsafe"),
        ("{{ release.hosts.append('x') }}", 1, "access to attribute 'append' of 'list' object is unsafe"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1, "calls itself without end"),
        ("a: [1\n", 1, "renders what is not valid YAML"),
        ("a: 1\na: 2\n", 2, "renders what is the key 'a' stands here twice"),
        ("{{ '[' * 2000 }}", 1, "nested deeper"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_named_with_its_line(own, tmp_path, text, line, said):
    told = refusal(own, text)
    assert told.startswith(f"{tmp_path / TEMPLATES[0]}:{line}")
    assert said in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "did not finish within 0.3 s",
        ),
        ("{{ 9 ** (9 ** 9) }}", "did not finish within 0.3 s"),
        ("{% for a in range(99999) %}0123456789{% endfor %}", "renders more than 256 KiB"),
        ("{{ 'a' * 10 ** 10 }}", "needs too much memory"),
        ("{{ range(10 ** 9) }}", "Range too big"),
    ],
)
def test_a_template_without_end_is_ended(own, text, said):
    begun = time.monotonic()
    assert said in refusal(own, text, time_limit_s=0.3)
    assert time.monotonic() - begun < 5


def test_after_a_template_without_end_the_next_one_is_rendered(tmp_path):
    path = tmp_path / TEMPLATES[0]
    path.parent.mkdir()
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    path.write_text(f"{{% if run == 'loop' %}}{loop}{{% endif %}}\n{VIRTUAL_SERVICE.read_text()}")
    renderer = TemplateRenderer(tmp_path, time_limit_s=0.3)
    with pytest.raises(TemplateError, match="did not finish"):
        renderer.render(FULL, replace(ROUTING, run="loop"))
    assert renderer.render(FULL, ROUTING) == RENDERER.render(FULL, ROUTING)
    renderer.close()


def test_a_template_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        TemplateError, match=r"cannot read templates from .*/absent: it does not exist\n  --template-dir"
    ):
        TemplateRenderer(tmp_path / "absent")


def test_a_template_folder_without_templates_of_ours_is_refused(tmp_path):
    (tmp_path / "virtualservice.yaml.j2").write_text("")
    with pytest.raises(TemplateError, match=r"has neither istio/virtualservice\.yaml\.j2 nor"):
        TemplateRenderer(tmp_path)


@pytest.mark.parametrize(("data", "said"), [(b"\xff", "is not UTF-8"), (b"#" * 262_145, "is larger than 256 KiB")])
def test_a_template_that_cannot_be_read_is_named(tmp_path, data, said):
    (tmp_path / "istio").mkdir()
    (tmp_path / TEMPLATES[0]).write_bytes(data)
    with pytest.raises(TemplateError, match=said):
        TemplateRenderer(tmp_path)


def test_the_digest_names_the_templates_in_use(tmp_path):
    (tmp_path / "istio").mkdir()
    own = tmp_path / TEMPLATES[0]
    own.write_text(VIRTUAL_SERVICE.read_text())
    assert TemplateRenderer(tmp_path).digest() == TemplateRenderer().digest()
    own.write_text(VIRTUAL_SERVICE.read_text() + "\n")
    assert TemplateRenderer(tmp_path).digest() != TemplateRenderer().digest()
    assert TemplateRenderer().digest().startswith("sha256:")


@given(st.integers(0, 1000))
def test_the_packaged_templates_never_lie(tenths):
    routing = replace(ROUTING, candidate_weight=tenths / 10)
    assert find_lies(PLAIN, routing, RENDERER.render(PLAIN, routing)) == []
