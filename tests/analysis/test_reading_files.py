"""Measurements from files: each layout, and each mistake named with its place."""

from __future__ import annotations

import os

import numpy as np
import pytest

from meshctl_analysis import histograms, textfiles
from meshctl_analysis.measured import measure_pair
from meshctl_analysis.samples import layout_of, read_rows
from meshctl_analysis.textfiles import InvalidFile


@pytest.fixture
def write(tmp_path):
    def writer(content, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


def rows_of(path):
    chunks = list(read_rows(path, layout_of(path)))
    return (
        np.concatenate([chunk.latency_ms for chunk in chunks]).tolist(),
        np.concatenate([chunk.bad for chunk in chunks]).tolist(),
    )


def problem_of(path):
    with pytest.raises(InvalidFile) as caught:
        measure_pair(path, path)
    return str(caught.value)


# ------------------------------------------------------------------------------------ what is allowed


@pytest.mark.parametrize(
    "content",
    [
        "12.5\n3\n",
        "12.5\n3",
        "latency_ms\n12.5\n3\n",
        "Latency_ms\r\n12.5\r\n3\r\n",
        "\ufeffms\n12.5\n\n3\n\n",
        "\ufeff12.5\n3\n",
        " 1.25e1 \n 3. \n",
        "duration_ms\n+12.5\n03.0\n",
    ],
)
def test_one_column_of_milliseconds_is_read_however_it_is_written(write, content):
    assert rows_of(write(content)) == ([12.5, 3.0], [False, False])


@pytest.mark.parametrize(
    "content",
    ["12.5,200\n3,503\n", "latency_ms,status\n12.5,200\n3,503\n", "code, ms\n200,12.5\n503, 3\n", "12.5,0\n3,14\n"],
)
def test_a_status_column_tells_failed_requests(write, content):
    assert rows_of(write(content)) == ([12.5, 3.0], [False, True])


def test_client_errors_and_harmless_grpc_codes_are_not_failures(write):
    assert rows_of(write("1,404\n1,499\n1,500\n"))[1] == [False, False, True]
    codes = "".join(f"1,{code}\n" for code in range(17))
    assert [code for code, bad in enumerate(rows_of(write(codes))[1]) if bad] == [2, 4, 13, 14, 15]


def test_a_long_file_is_read_in_chunks_without_losing_a_line(write, monkeypatch):
    monkeypatch.setattr(textfiles, "CHUNK_BYTES", 7)
    values = [float(value) for value in range(500)]
    content = "latency_ms,status\n" + "".join(f"{value},200\n" for value in values)
    assert rows_of(write(content))[0] == values


def test_latency_of_failed_requests_is_left_out(write):
    baseline, candidate = measure_pair(write("10,200\n1,500\n20,200\n"), write("10,200\n", "b.csv"))
    assert (baseline.requests, baseline.bad, baseline.good) == (3, 1, 2)
    assert baseline.mean_ms == 15.0
    assert baseline.quantile_ms(0.5) == pytest.approx(10.0, rel=0.0011)
    assert candidate.bad == 0


def test_a_file_in_which_everything_failed_has_no_latency(write):
    measured, _ = measure_pair(write("10,500\n"), write("10,500\n", "b.csv"))
    assert measured.mean_ms is None
    assert measured.quantile_ms(0.5) is None


def test_a_cumulative_histogram_becomes_counts_per_bucket(write):
    path = write("le,count\n10,5\n\n20,9.0\n+Inf,1.1e1\n")
    assert histograms.read_histogram(path) == histograms.Histogram((10.0, 20.0), (5, 4, 2))
    measured, _ = measure_pair(path, path)
    assert measured.requests == 11
    assert not measured.has_status
    assert 10 < measured.quantile_ms(0.6) < 20


def test_an_empty_histogram_is_read_as_no_requests(write):
    measured, _ = measure_pair(*[write("le,count\n10,0\nInf,0\n")] * 2)
    assert (measured.requests, measured.mean_ms) == (0, None)


# ------------------------------------------------------------------------------------ what is refused


def test_a_file_that_is_missing_is_refused(tmp_path):
    assert problem_of(tmp_path / "none.csv").endswith("none.csv: there is no such file")


def test_a_directory_is_refused(tmp_path):
    assert "is a directory" in problem_of(tmp_path)


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in problem_of(tmp_path / "pipe")


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    assert "cannot be read" in problem_of(tmp_path / ("x" * 300))


def test_an_empty_file_is_refused(write):
    assert "is empty; allowed are `latency_ms`" in problem_of(write(""))


def test_a_file_that_begins_with_a_blank_line_is_refused(write):
    assert "line 1: the first line is blank" in problem_of(write("\n1\n"))


@pytest.mark.parametrize("content", ["latency_ms\n", "latency_ms", "latency_ms,status\n\n\n"])
def test_a_file_with_only_a_header_is_refused(write, content):
    assert "has a header but no request below it" in problem_of(write(content))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1\nabc\n", "a.csv, line 2, column latency_ms: 'abc' is not a number; allowed is a latency in milliseconds"),
        ("1\n2\nNaN\n", "line 3, column latency_ms: 'NaN' is not finite"),
        ("NaN\n", "line 1, column latency_ms: 'NaN' is not finite"),
        ("1\n-inf\n", "line 2, column latency_ms: '-inf' is not finite"),
        ("1\n1e999\n", "line 2, column latency_ms: '1e999' is not finite"),
        ("latency_ms\n1\n-0.5\n", "line 3, column latency_ms: '-0.5' is negative"),
        ("1\n1_000\n", "'1_000' is not a number"),
        ("1\n0x10\n", "'0x10' is not a number"),
        ("1\n1 2\n", "'1 2' is not a number"),
        ('1\n"12"\n', "is not a number"),
        ("1\n" + "9" * 50 + "x\n", "'" + "9" * 37 + "...' is not a number"),
        ("1,200\n,200\n", "line 2, column latency_ms: '' is not a number"),
        ("1,200\n2,OK\n", "line 2, column status: 'OK' is not a number; allowed is an HTTP status from 100 to 599"),
        ("1,200\n2,nan\n", "line 2, column status: 'nan' is not finite"),
        ("1,200\n2,600\n", "line 2, column status: '600' is no status"),
        ("1,99\n", "line 1, column status: '99' is no status"),
        ("1,200.5\n", "line 1, column status: '200.5' is no status"),
        ("1,200\n2,0\n", "'0' looks like a gRPC code in a file of HTTP statuses; one file holds one kind"),
        ("1,0\n2,200\n", "'200' looks like a HTTP status in a file of gRPC codes"),
        ("1,200\n2\n", "line 2: found one column; expected latency_ms,status on every line"),
        ("1\n2,200\n", "line 2: found 2 columns; expected latency_ms on every line"),
        ("latency_ms\n2,200\n", "line 2: found 2 columns; expected latency_ms on every line"),
        ("1,2,3\n", "line 1: found 3 columns; allowed are"),
        ("time,latency_ms\n1,2\n", "line 1: 'time' is neither a number nor a known column; allowed are"),
        ("latency_ms,ms\n1,2\n", "line 1: 'ms' appears twice"),
        ("status\n200\n", "line 1: the column latency_ms is missing"),
        ("1;200\n", "line 1: '1;200' is neither a number nor a known column"),
        ("1\n2\x00\n", "line 2: is no text file (it holds control characters)"),
        (b"1\n\xff\xfe\n", "line 2: is no text file (not UTF-8)"),
        (b"\x89PNG\r\n\x1a\n", "line 1: is no text file"),
        (b"1\n" + b"1" * 5000, "a line has more than 4096 bytes"),
        (b"1" * 5000, "line 1: is no text file with one request a line: a line has more than 4096 bytes"),
    ],
)
def test_a_wrong_line_is_named_with_its_place_and_what_is_allowed(write, content, problem):
    assert problem in problem_of(write(content))


def test_the_place_of_a_mistake_is_right_in_later_chunks(write, monkeypatch):
    monkeypatch.setattr(textfiles, "CHUNK_BYTES", 64)
    content = "latency_ms,status\n" + "1.5,200\n" * 700 + "\n1.5,20x\n"
    assert "line 703, column status: '20x'" in problem_of(write(content))


def test_a_mistake_of_kind_is_found_across_chunks(write, monkeypatch):
    monkeypatch.setattr(textfiles, "CHUNK_BYTES", 16)
    assert "line 10, column status: '0' looks like a gRPC code" in problem_of(write("1,200\n" * 9 + "1,0\n"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("le,count\n", "has a header but no bucket below it"),
        ("le,count\n10,5\n", "the last bucket must be `+Inf`"),
        ("le,count\n+Inf,5\n", "has only the `+Inf` bucket"),
        ("le,count\n10,5\n20,4\n+Inf,6\n", "line 3, column count: '4' is less than the 5 before it"),
        ("le,count\n10,5\n10,6\n+Inf,6\n", "line 3, column le: '10' does not exceed the bound before it"),
        ("le,count\n10,5\n+Inf,6\n20,7\n", "line 4: a line after the `+Inf` bucket"),
        ("le,count\n0,5\n+Inf,6\n", "line 2, column le: '0' is no bound"),
        ("le,count\n-Inf,5\n+Inf,6\n", "line 2, column le: '-Inf' is no bound"),
        ("le,count\nten,5\n+Inf,6\n", "line 2, column le: 'ten' is no bound"),
        ("le,count\n10,-5\n+Inf,6\n", "line 2, column count: '-5' is no count"),
        ("le,count\n10,1.5\n+Inf,6\n", "line 2, column count: '1.5' is no count"),
        ("le,count\n10,NaN\n+Inf,6\n", "line 2, column count: 'NaN' is no count"),
        ("le,count\n10\n+Inf,6\n", "line 2: found 1 columns; expected le,count"),
    ],
)
def test_a_wrong_histogram_is_named_with_its_place(write, content, problem):
    assert problem in problem_of(write(content))


def test_a_histogram_with_countless_buckets_is_refused(write, monkeypatch):
    monkeypatch.setattr(histograms, "MOST_BUCKETS", 3)
    content = "le,count\n" + "".join(f"{bound},1\n" for bound in range(1, 9)) + "+Inf,1\n"
    assert "line 5: more than 3 buckets" in problem_of(write(content))


@pytest.mark.parametrize(
    ("baseline", "candidate", "problem"),
    [
        ("1\n", "le,count\n1,1\n+Inf,1\n", "b.csv: holds a histogram, but"),
        ("1,200\n", "1\n", "b.csv, line 1: has one column where a status was expected, as in"),
        ("1\n", "1,200\n", "a.csv, line 1: has one column where a status was expected, as in"),
        ("le,count\n1,1\n+Inf,1\n", "le,count\n2,1\n+Inf,1\n", "b.csv: has other bucket bounds: 2 ms where"),
        ("le,count\n1,1\n+Inf,1\n", "le,count\n1,1\n2,1\n+Inf,1\n", "2 finite bounds where"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(write, baseline, candidate, problem):
    with pytest.raises(InvalidFile) as caught:
        measure_pair(write(baseline), write(candidate, "b.csv"))
    assert problem in str(caught.value)


def test_histograms_with_equal_bounds_fit_together(write):
    first, second = write("le,count\n1,1\n+Inf,1\n"), write("le,count\n1,4\n+Inf,9\n", "b.csv")
    assert [measured.requests for measured in measure_pair(first, second)] == [1, 9]
