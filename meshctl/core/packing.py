"""Blocks as short exact text, and what a decision says of the blocks it stands on.

A packed block is one line of compact JSON: start and end in microseconds since 1970, stage entry, weight, both
arms (requests, bad, then the latency counts), the bucket bounds.  Two equal blocks pack to the same text and a
packed block unpacks to an equal one, so a digest of the lines is a digest of the numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from meshctl.core.model import ArmCounts, ArmTotals, Block, Inputs

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def canonical(value: object) -> str:
    """Compact JSON with sorted keys; the same value gives the same text.  NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    """SHA-256 of a text as ``sha256:HEX``.  A character that UTF-8 cannot carry counts as a question mark."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def pack(block: Block) -> str:
    """One line of text for one block."""
    return canonical(
        [
            (block.start - _EPOCH) // _MICROSECOND,
            (block.end - _EPOCH) // _MICROSECOND,
            block.entry,
            float(block.weight),
            [block.baseline.requests, block.baseline.bad, *block.baseline.latency],
            [block.candidate.requests, block.candidate.bad, *block.candidate.latency],
            [float(bound) for bound in block.bounds_ms],
        ]
    )


def unpack(text: str) -> Block:
    """The block of one line.  Raises `ValueError` when the line is not a packed block."""
    try:
        start, end, entry, weight, baseline, candidate, bounds = json.loads(text)
        return Block(
            start=_EPOCH + start * _MICROSECOND,
            end=_EPOCH + end * _MICROSECOND,
            entry=entry,
            weight=weight,
            baseline=ArmCounts(baseline[0], baseline[1], tuple(baseline[2:])),
            candidate=ArmCounts(candidate[0], candidate[1], tuple(candidate[2:])),
            bounds_ms=tuple(bounds),
        )
    except (TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"not a packed block: {text[:80]!r}") from error


def inputs_of(blocks: Sequence[Block]) -> Inputs:
    """From, to, how many, their digest and their sums."""
    return Inputs(
        start=blocks[0].start if blocks else None,
        end=blocks[-1].end if blocks else None,
        blocks=len(blocks),
        digest=digest("\n".join(pack(block) for block in blocks)),
        baseline=_totals(block.baseline for block in blocks),
        candidate=_totals(block.candidate for block in blocks),
    )


def _totals(arms: Iterable[ArmCounts]) -> ArmTotals:
    requests = bad = 0
    for arm in arms:
        requests += arm.requests
        bad += arm.bad
    return ArmTotals(requests=requests, bad=bad)
