"""Words of people stay words: one line, and nothing in it that a terminal would obey."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.plaintext import plain, plain_json


@given(st.text())
def test_a_plain_text_is_one_line_without_control_characters_and_reads_the_same_twice(text):
    found = plain(text)
    assert not [sign for sign in found if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")]
    assert plain(found) == found
    if text.isprintable():
        assert found == text


def test_an_escape_sequence_is_spelled_out_and_lines_become_one():
    assert plain("red \x1b[31malert\x1b[0m\r\nnext") == "red \\x1b[31malert\\x1b[0m next"
    assert plain("\u202etxt.exe \x9b2J") == "\\u202etxt.exe \\x9b2J"
    assert plain("naïve 👩‍🚒 Ünïcode") == "naïve 👩‍🚒 Ünïcode"


@given(st.text())
def test_json_that_was_made_plain_says_the_same(text):
    found = plain_json(json.dumps(text, ensure_ascii=False))
    assert json.loads(found) == text
    assert not [sign for sign in found if unicodedata.category(sign) == "Cc"]
