"""Blocks as short exact text, and what a decision says of the blocks it stands on.

A packed block is one line of compact JSON: start and end in microseconds since 1970, stage entry, weight, both
arms (requests, bad, then the latency counts), the bucket bounds, a 1 if it is approximate, and a list of what was
counted of the release's own metrics, if there is any.  Two equal blocks pack to the same text and a packed block
unpacks to an equal one, so a digest of the lines is a digest of the numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from meshctl.core.model import ArmCounts, ArmTotals, Block, CustomCounts, Inputs

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
            _microseconds(block.start),
            _microseconds(block.end),
            block.entry,
            float(block.weight),
            _counts(block.baseline),
            _counts(block.candidate),
            [float(bound) for bound in block.bounds_ms],
            *([1] if block.approximate else []),
            *([[_packed(each) for each in block.custom]] if block.custom else []),
        ]
    )


def unpack(text: str) -> Block:
    """The block of one line.  Raises `ValueError` when the line is not a packed block."""
    try:
        start, end, entry, weight, baseline, candidate, bounds, *marks = json.loads(text)
        approximate, custom = _marked(marks)
        return Block(
            start=_EPOCH + start * _MICROSECOND,
            end=_EPOCH + end * _MICROSECOND,
            entry=entry,
            weight=weight,
            baseline=_arm(baseline),
            candidate=_arm(candidate),
            bounds_ms=tuple(bounds),
            approximate=approximate,
            custom=tuple(_unpacked(*each) for each in custom),
        )
    except (TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"not a packed block: {text[:80]!r}") from error


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _counts(arm: ArmCounts) -> list[int]:
    return [arm.requests, arm.bad, *arm.latency]


def _arm(counts: Sequence[int]) -> ArmCounts:
    return ArmCounts(counts[0], counts[1], tuple(counts[2:]))


def _packed(custom: CustomCounts) -> list[object]:
    bounds = [float(bound) for bound in custom.bounds]
    span = [_microseconds(custom.start), _microseconds(custom.end)]
    return [custom.name, *span, _counts(custom.baseline), _counts(custom.candidate), bounds]


def _unpacked(
    name: str, start: int, end: int, baseline: Sequence[int], candidate: Sequence[int], bounds: Sequence[float]
) -> CustomCounts:
    instants = (_EPOCH + start * _MICROSECOND, _EPOCH + end * _MICROSECOND)
    return CustomCounts(name, *instants, _arm(baseline), _arm(candidate), tuple(bounds))


def _marked(marks: Sequence[object]) -> tuple[bool, Sequence[Sequence[Any]]]:
    """What stands behind the bounds of a packed block: whether it is approximate, what else was counted."""
    custom = marks[-1] if marks and isinstance(marks[-1], list) else []
    rest = list(marks[:-1] if custom else marks)
    if rest not in ([], [1]):
        raise TypeError
    return rest == [1], custom


def digests_of(lines: Sequence[str]) -> Iterator[str]:
    """The digest of no block, of the first, of the first two ... (`Inputs.digest`)."""
    yield digest("")
    running = hashlib.sha256()
    for number, line in enumerate(lines):
        running.update(("\n" if number else "").encode() + line.encode("utf-8", "replace"))
        yield f"sha256:{running.hexdigest()}"


def inputs_of(lines: Sequence[str]) -> Inputs:
    """What packed blocks add up to: from, to, how many, their digest and their sums."""
    start = unpack(lines[0]).start if lines else None
    end = unpack(lines[-1]).end if lines else None
    sums = [0, 0, 0, 0]
    approximate = 0
    for line in lines:
        _, _, _, _, baseline, candidate, _, *marks = json.loads(line)
        approximate += 1 in marks
        for index, count in enumerate((*baseline[:2], *candidate[:2])):
            sums[index] += count
    arms = ArmTotals(requests=sums[0], bad=sums[1]), ArmTotals(requests=sums[2], bad=sums[3])
    return Inputs(start, end, len(lines), digest("\n".join(lines)), *arms, approximate)
