"""Manifests of users: what is right is read, what is wrong is told once, clearly, with file, line and column."""

from pathlib import Path

import pytest

from meshctl.adapters.manifests import dump_yaml, load_manifests, load_text
from meshctl.core.errors import InvalidInput
from meshctl.core.model import Adoption, Ownership, Release, Workload

ROOT = Path(__file__).parents[2]
RELEASE = """\
apiVersion: meshctl.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  version: "2.1.0"
  service: shop
"""
WORKLOAD = """\
apiVersion: meshctl.dev/v1alpha1
kind: Workload
metadata: {name: shop}
spec:
  listen: 127.0.0.1:8080
  versions:
    "2.0.0": {command: [python, -m, shop]}
    "2.1.0": {command: [python, -m, shop]}
"""


def refusal(text, **options):
    with pytest.raises(InvalidInput) as caught:
        load_text(text, "release.yaml", **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


def with_version(text):
    return RELEASE.replace('"2.1.0"', text)


def test_a_file_holds_several_objects():
    release, workload = load_text(RELEASE + "---\n" + WORKLOAD)
    assert isinstance(release, Release)
    assert isinstance(workload, Workload)
    assert (release.spec.version, list(workload.spec.versions)) == ("2.1.0", ["2.0.0", "2.1.0"])


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    (tmp_path / "b.yaml").write_text(RELEASE)
    (tmp_path / "a.yml").write_text(WORKLOAD)
    (tmp_path / "notes.txt").write_text("not: [read")
    (tmp_path / ".hidden.yaml").write_text("not: [read")
    (tmp_path / "sub").mkdir()
    assert [each.kind for each in load_manifests(tmp_path)] == ["Workload", "Release"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/release.yaml")), ids=lambda path: path.parent.name)
def test_the_releases_of_the_examples_are_sound(path):
    assert load_manifests(path, embedded="kubernetes" not in path.parent.name)


def test_the_folder_of_the_local_example_can_be_given_whole():
    assert {each.kind for each in load_manifests(ROOT / "examples" / "local-shop")} == {"Release", "Workload"}


def test_what_was_dumped_is_read_as_it_was():
    objects = load_text(RELEASE + "---\n" + WORKLOAD)
    assert load_text(dump_yaml(objects)) == objects
    assert dump_yaml(objects).startswith("apiVersion: meshctl.dev/v1alpha1\nkind: Release\nmetadata:\n  name: shop\n")


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "2.1.0", "v1", "1_0", '"2.1"', "2021-01-01"])
def test_a_version_that_is_text_under_yaml_1_2_needs_no_quotes(word):
    (release,) = load_text(with_version(word))
    assert release.spec.version == word.strip('"')


@pytest.mark.parametrize("word", ["2.10", "7", "1e3", "0o7", "true", ".5"])
def test_a_version_that_is_a_number_or_a_boolean_is_told_to_be_quoted(word):
    assert refusal(with_version(word)) == (
        f'release.yaml:5:12: spec.version: must be text, found {word} without quotes\n  write "{word}"'
    )


STAGES = RELEASE + "  strategy:\n    canary:\n      stages:\n      - {weight: 1}\n      - {wieght: 10}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "release.yaml: holds no object"),
        ("---\n---\n", "release.yaml: holds no object"),
        ("- a\n", "release.yaml:1:1: a manifest is a mapping with apiVersion, kind, metadata and spec"),
        ("hello\n", "release.yaml:1:1: a manifest is a mapping"),
        ("a: 1\n", "release.yaml:1:1: kind: is missing; write one of: Release, Workload"),
        (RELEASE.replace("Release", "Relaese"), "kind: unknown kind 'Relaese'; did you mean 'Release'? known are"),
        (RELEASE.replace("Release", "Deployment"), "kind: unknown kind 'Deployment'; known are: Release, Workload"),
        (RELEASE.replace("Release", "[a]"), "2:7: kind: unknown kind ['a']"),
        (RELEASE.replace("Release", "FlagRelease"), "kind: FlagRelease is not supported yet"),
        (RELEASE.replace("Release", "ReleaseRun"), "kind: ReleaseRun is the record of a run; meshctl writes it"),
        (RELEASE.replace("v1alpha1", "v1"), "1:13: apiVersion: found 'meshctl.dev/v1'; write meshctl.dev/v1alpha1"),
        (RELEASE.replace("apiVersion: meshctl.dev/v1alpha1", "a: 1"), "apiVersion: is missing; write meshctl.dev"),
        (RELEASE + "  version: '3'\n", "7:3: the key 'version' stands here twice; it was given on line 5 already"),
        (RELEASE + "\t", "not valid YAML"),
        (RELEASE.replace("  service: shop\n", ""), "5:3: spec.service: is missing"),
        (RELEASE + "  mesh:\n", "7:8: spec.mesh: must be a mapping, found nothing\n  its fields are: adopt, gateways"),
        (RELEASE + "  keepWarm: 60\n", "7:13: spec.keepWarm: must be a duration, found the number 60\n  write a"),
        (STAGES, "11:10: spec.strategy.canary.stages[1].wieght: unknown field; did you mean 'weight'?  allowed"),
        (RELEASE + "  strategy: {blueGreen: {}}\n", "7:14: spec.strategy.blueGreen: the strategy blueGreen is"),
        (RELEASE + "  strategy: {rolling: {}}\n", "the strategy rolling is not supported yet; write canary"),
        (RELEASE + "  strategy: {}\n", "7:13: spec.strategy: must name exactly one strategy: canary"),
        (RELEASE + "  mesh: {tcp: {}}\n", "7:10: spec.mesh.tcp: gRPC and TCP routes are not supported yet"),
        (RELEASE + "  mesh: {grpc: []}\n", "spec.mesh.grpc: gRPC and TCP routes are not supported yet"),
        (RELEASE + "  protocol: gRPC\n", "spec.protocol: gRPC and TCP routes are not supported yet"),
        (RELEASE + "  protocol: http\n", "spec.protocol: unknown field"),
        (RELEASE + "status: {}\n", "7:1: status: is written by meshctl; take it out of the manifest"),
        (RELEASE + "  mesh: {ownership: adopt}\n", "7:21: spec.mesh.ownership: 'adopt' needs a cluster with Istio"),
        (RELEASE + "  analysis: {alpha: .inf}\n", "7:21: spec.analysis.alpha: must lie between 0 and 0.5, found inf"),
        (RELEASE + "  strategy: {canary: {stages: [{weight: 5}, {weight: 5}, {weight: 100}]}}\n",
         "7:54: spec.strategy.canary.stages[1].weight: must be greater than that of the stage before, 5, found 5"),
        (WORKLOAD.replace('"2.1.0"', "2.1"), '8:5: a key must be text, found 2.1; put it in quotes: "2.1"'),
        (WORKLOAD.replace('"2.1.0"', '"2-0-0"'), "8:14: spec.versions.2-0-0: cannot be told from '2.0.0' in the mesh"),
        (WORKLOAD.replace("]}", "], env: {ERRORS: 0.05}}", 1),
         '7:58: spec.versions["2.0.0"].env.ERRORS: must be text, found 0.05 without quotes\n  write "0.05"'),
        (with_version("9.9.9") + "---\n" + WORKLOAD,
         "5:12: spec.version: Workload shop has no version '9.9.9'; it has: '2.0.0', '2.1.0'"),
        (RELEASE + "---\n" + RELEASE, "10:18: metadata.name: Release shop is written twice; the other one is at rel"),
        (RELEASE.replace("{name: shop}", "&a [*a]"), "the alias *a stands for nothing"),
        ("x" * (1024 * 1024 + 1), "release.yaml: is larger than 1024 KiB"),
        ("[" * 1000, "nested deeper than 64 levels"),
        ("--- {}\n" * 1001, "release.yaml:1:5: kind: is missing"),
        ("---\n" * 1002, "release.yaml: holds more than 1000 documents"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text, said):
    assert said in refusal(text)


def test_every_broken_rule_is_told_at_once():
    text = RELEASE.replace("shop}", "Shop}") + "  keepWarm: -1s\n"
    assert [line.split(": ")[0] for line in refusal(text).splitlines()] == ["release.yaml:3:18", "release.yaml:7:13"]


def test_a_release_is_checked_against_a_workload_that_is_known_already():
    known = [each for each in load_text(WORKLOAD) if isinstance(each, Workload)]
    assert load_text(RELEASE, known_workloads=known)
    assert "has no version '9.9.9'" in refusal(with_version("9.9.9"), known_workloads=known)


def test_in_a_cluster_other_ownership_is_sound():
    text = RELEASE + "  mesh: {ownership: adopt, adopt: {virtualService: shop, routes: [main, admin]}}\n"
    (release,) = load_text(text, embedded=False)
    assert isinstance(release, Release)
    assert release.spec.mesh.ownership is Ownership.ADOPT
    assert release.spec.mesh.adopt == Adoption("shop", ("main", "admin"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no such file or folder"),
        (lambda path: path.mkdir(), "holds no manifest\n  manifests end in .yaml or .yml"),
        (lambda path: path.write_bytes(b"a: 1\nb: \xff\n"), ":2: is not UTF-8 text"),
        (lambda path: path.write_bytes(b"#" * (1024 * 1024 + 1)), "is larger than 1024 KiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, make, said):
    path = tmp_path / "shop.yaml"
    make(path)
    with pytest.raises(InvalidInput) as caught:
        load_manifests(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_byte_order_mark_is_no_trouble(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + RELEASE.encode())
    assert load_manifests(tmp_path)
