"""``python -m meshctl_analysis baseline.csv candidate.csv``: judge two files.

Exit codes: 0 pass, 10 fail, 11 undecided, 2 wrong usage or input, 1 any other error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .files import InvalidOption, Options, judge_files
from .policy import PolicyError, Tolerance
from .report import json_of, text_of
from .textfiles import InvalidFile

EXIT_CODES = {"pass": 0, "fail": 10, "undecided": 11}
INVALID_INPUT = 2
FORMATS = """\
files: one request a line, `latency_ms` or `latency_ms,status` (header optional; status >= 500 or a bad gRPC code
failed), or a histogram with header `le,count`: bounds in ms, cumulative counts, last line +Inf
exit codes: 0 pass, 10 fail, 11 undecided, 2 wrong usage or input, 1 any other error
"""


def parser() -> argparse.ArgumentParser:
    """The command line, with the product's own numbers as defaults."""
    usual = Options()
    found = argparse.ArgumentParser(
        prog="python -m meshctl_analysis",
        description="Judge whether a candidate is worse than its baseline, from two files of measurements.",
        epilog=FORMATS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("baseline", help="CSV file of the version that serves now")
    found.add_argument("candidate", help="CSV file of the version that is to take over")
    found.add_argument("--engine", choices=("sequential", "classic"), default=usual.engine)
    found.add_argument("--alpha", type=float, default=usual.alpha, help="chance to fail a good one (%(default)s)")
    found.add_argument("--beta", type=float, default=usual.beta, help="chance to pass a bad one (%(default)s)")
    for metric, allowed in (("errors", usual.errors), ("latency", usual.latency)):
        found.add_argument(f"--{metric}-tolerance", type=float, default=allowed.tolerance, help="ratio (%(default)s)")
        found.add_argument(f"--{metric}-margin", type=float, default=allowed.margin, help="ratio (%(default)s)")
        found.add_argument(f"--{metric}-harm", type=float, default=allowed.harm, help="extra share (%(default)s)")
    found.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code.  ``argparse`` itself exits with 2 on wrong usage."""
    given = parser().parse_args(arguments)
    try:
        options = Options(
            engine=given.engine,
            alpha=given.alpha,
            beta=given.beta,
            errors=Tolerance(given.errors_tolerance, given.errors_margin, given.errors_harm),
            latency=Tolerance(given.latency_tolerance, given.latency_margin, given.latency_harm),
        )
        verdict = judge_files(given.baseline, given.candidate, options)
    except (InvalidFile, InvalidOption, PolicyError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return INVALID_INPUT
    print(json_of(verdict) if given.output == "json" else text_of(verdict), end="\n" if given.output == "json" else "")
    return EXIT_CODES[verdict.verdict]


if __name__ == "__main__":
    sys.exit(main())
