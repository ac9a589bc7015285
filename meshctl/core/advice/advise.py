"""What an engineer on call would ask about a release: legal, and likely to hurt.  Pure: values in, advice out.

The rules stand in the modules beside this one; the table in docs/lint.md is made from them.  An annotation
``meshctl.dev/lint-ignore: "id, id"`` silences rules for an object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

from meshctl.core.advice.analysis import ANALYSIS_RULES
from meshctl.core.advice.cluster import CLUSTER_RULES
from meshctl.core.advice.mesh import MESH_RULES
from meshctl.core.advice.pods import POD_RULES
from meshctl.core.advice.rule import Path, Rule
from meshctl.core.advice.stages import STAGE_RULES
from meshctl.core.advice.surroundings import Placed, Surroundings
from meshctl.core.advice.workload import TOGETHER_RULES, WORKLOAD_RULES
from meshctl.core.model import Metadata, Release, Workload

IGNORE_ANNOTATION = "meshctl.dev/lint-ignore"

T = TypeVar("T")


class Advice(NamedTuple):
    """One rule that an object gave reason for: where, and what was found there."""

    rule: str
    path: Path
    message: str


UNKNOWN_RULE: Rule[Any] = Rule(
    "unknown-rule",
    "A misspelt name silences nothing, and nobody notices.",
    "Write a name that docs/lint.md has.",
    lambda value: iter(()),
)
OUT_OF_REACH: Rule[Any] = Rule(
    "gate-out-of-reach",
    "The stage ends undecided before the judge can have seen enough, and a good version is taken back.",
    "Give it a longer maxDuration or a larger weight, allow more margin, or open the gate by hand.",
    lambda value: iter(()),
)
"""Found by the forecast, which needs the judge's planner: see `meshctl.adapters.forecast`."""

RULES: Mapping[str, Rule[Any]] = {
    each.id: each
    for book in (
        STAGE_RULES,
        ANALYSIS_RULES,
        MESH_RULES,
        POD_RULES,
        TOGETHER_RULES,
        WORKLOAD_RULES,
        CLUSTER_RULES,
        (OUT_OF_REACH, UNKNOWN_RULE),
    )
    for each in book
}


def advise_release(release: Release, workload: Workload | None = None) -> list[Advice]:
    """Everything worth a word about a valid release, and about it on the workload of its service."""
    found = _look([*STAGE_RULES, *ANALYSIS_RULES, *MESH_RULES, *POD_RULES], release)
    if workload is not None:
        found += _look(TOGETHER_RULES, (release, workload))
    return [*without_ignored(release.metadata, found), *_misspelt(release.metadata)]


def advise_in_cluster(release: Release, around: Surroundings) -> list[Advice]:
    """Everything worth a word about a release among the objects of a live cluster."""
    return without_ignored(release.metadata, _look(CLUSTER_RULES, Placed(release, around)))


def advise_workload(workload: Workload) -> list[Advice]:
    """Everything worth a word about a valid workload."""
    return [*without_ignored(workload.metadata, _look(WORKLOAD_RULES, workload)), *_misspelt(workload.metadata)]


def without_ignored(metadata: Metadata, found: Iterable[Advice]) -> list[Advice]:
    """What is left when the object's annotation has had its say."""
    ignored = set(_ignored(metadata))
    return [advice for advice in found if advice.rule not in ignored]


def _look(book: Iterable[Rule[T]], value: T) -> list[Advice]:
    return [Advice(rule.id, path, message) for rule in book for path, message in rule.check(value)]


def _ignored(metadata: Metadata) -> list[str]:
    return [word.strip() for word in metadata.annotations.get(IGNORE_ANNOTATION, "").split(",") if word.strip()]


def _misspelt(metadata: Metadata) -> Iterator[Advice]:
    for word in _ignored(metadata):
        if word not in RULES:
            near = get_close_matches(word, RULES, n=1)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            path = ("metadata", "annotations", IGNORE_ANNOTATION)
            yield Advice(UNKNOWN_RULE.id, path, f"there is no rule {word!r} to ignore{guess}")
