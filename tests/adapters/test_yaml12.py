"""YAML by the rules of version 1.2, within limits, every value with its place."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.yaml12 import VALUES_LIMIT, YamlError, read_documents, write_documents


def read(text):
    return [document.data for document in read_documents(text)]


def refusal(text):
    with pytest.raises(YamlError) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    "word", ["on", "off", "yes", "no", "On", "OFF", "y", "n", "2021-01-01", "12:30:00", "1_000", "="]
)
def test_words_that_were_special_before_are_text(word):
    assert read(f"a: {word}") == [{"a": word}]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("1e3", 1000.0), ("0o7", 7),
        ("0x1F", 31), ("012", 12), ("2.10", 2.1), ("-.inf", float("-inf")), (".5", 0.5), ("1.2.3", "1.2.3"),
        ('"true"', "true"), ("'1'", "1"), ("!!str 1", "1"), ("-", ["_"]),
    ],
)  # fmt: skip
def test_unquoted_words_mean_what_the_core_schema_says(word, value):
    assert read(f"a: {word}" if word != "-" else "a: [_]") == [{"a": value}]


def test_values_know_their_place():
    (document,) = read_documents("a:\n  - b: 1\n    c: [x, y]\n")
    place = document.place(("a", 0, "c", 1))
    assert (place.line, place.column, place.raw) == (3, 12, "y")
    assert (document.place(("a", 0, "c")).key_line, document.place(("a", 0, "c")).key_column) == (3, 5)
    assert document.place(("a", 0, "no", "such")).line == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "3:1: the key 'a' stands here twice; it was given on line 1 already"),
        ("2.1: a", '1:1: a key must be text, found 2.1; put it in quotes: "2.1"'),
        ("true: a", "a key must be text, found true"),
        ("? [a]\n: b", "a key must be text"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "3:3: merge keys (<<) are not part of YAML 1.2"),
        ("a: !!python/name:os.system x", "the tag tag:yaml.org,2002:python/name:os.system is not read here"),
        ("a: !mine {}", "the tag !mine is not read here"),
        ("a: *x", "1:4: the alias *x stands for nothing"),
        ("a: &x [*x]", "the alias *x stands for nothing"),
        ("a: [1", "not valid YAML: "),
        ("a: b: c", "1:5: not valid YAML: "),
        ("\ta: 1", "not valid YAML: "),
        ("a: \x01", "1:4: not valid YAML: a control character"),
        ("[" * 500, "nested deeper than 64 levels"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(text, said):
    assert said in refusal(text)


def test_deep_nesting_ends_early():
    assert "nested deeper" in refusal("[" * 1_000_000)
    assert "nested deeper" in refusal("- " * 100_000)


def test_aliases_count_as_often_as_they_are_used():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert f"more than {VALUES_LIMIT} values" in refusal("\n".join(lines))


def test_an_alias_within_limits_is_read():
    assert read("a: &x [1]\nb: *x") == [{"a": [1], "b": [1]}]


def test_documents_are_apart():
    assert read("a: 1\n---\n---\nb: 2\n") == [{"a": 1}, None, {"b": 2}]


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=20)
WORDS = st.sampled_from(["on", "1e3", "0o7", "2.10", "true", "null", "~", "", "yes", "1_0", "- a", "#", "a: b", "0x1F"])
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False) | TEXT | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | WORDS, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(WORDS, DATA, min_size=1), min_size=1, max_size=3))
def test_what_is_written_is_read_back_by_us_and_by_readers_of_the_old_rules(documents):
    text = write_documents(documents)
    assert json.dumps(read(text)) == json.dumps(documents)
    old = list(yaml.safe_load_all(text))
    assert json.dumps(old, default=str) == json.dumps(documents)
