"""Durations and instants as text."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.errors import InvalidInput
from meshctl.core.timetext import format_duration, format_time, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("0", 0),
        ("-2s", -2),
        ("3us", 3e-6),
        ("1m0.25s", 60.25),
    ],
)
def test_go_style_durations_are_read(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1d", "1 h", "1h 30m", "5S", "１s", "1e3s", "--1s", "999999999999h"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(InvalidInput, match=r"duration\n  write a number with its unit"):
        parse_duration(text)


@given(st.timedeltas())
def test_every_duration_is_read_as_it_was_written(value):
    assert parse_duration(format_duration(value)) == value


def test_durations_are_written_for_people():
    assert [format_duration(timedelta(seconds=s)) for s in (0, 60, 90, 5400, 0.25, -1)] == [
        "0s", "1m", "1m30s", "1h30m", "250ms", "-1s",
    ]  # fmt: skip


def test_instants_are_written_in_utc_with_milliseconds():
    zone = timezone(timedelta(hours=2))
    assert format_time(datetime(2026, 11, 23, 9, 40, 12, 300_000, zone)) == "2026-11-23T07:40:12.300Z"
    assert format_time(datetime(2026, 11, 23, 9, 40, 12, 300_007, UTC)) == "2026-11-23T09:40:12.300007Z"
