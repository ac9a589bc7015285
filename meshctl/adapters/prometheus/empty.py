"""Why there are no series of the two versions: what there is instead, in words that say what to change."""

from __future__ import annotations

from meshctl.adapters.prometheus.answers import Number
from meshctl.adapters.prometheus.questions import Questions
from meshctl.adapters.prometheus.selectors import UNKNOWN
from meshctl.adapters.prometheus.telemetry import Subject

_SHOWN_MAX = 3


def why_empty(subject: Subject, questions: Questions, at_ms: int) -> str:
    """One line.  Raises `Trouble` as every question does."""
    settings, spec = subject.settings, subject.release.spec
    metric, version_label = settings.requests_metric, settings.version_label
    found = questions.numbers(f"count by (reporter, {version_label}) ({subject.anybody()})", at_ms)
    place = f"{spec.service}.{subject.release.metadata.namespace}"
    if not found:
        return (
            f"there is no {metric} of {place}: no request was answered yet,"
            " or the proxies in front of it are not scraped"
        )
    reporters = _values(found, "reporter")
    if settings.reporter not in reporters:
        return f"{metric} of {place} is reported by {_list(reporters)} only; reporter is set to {settings.reporter}"
    mine = [each for each in found if each.labels.get("reporter") == settings.reporter]
    versions = [value for value in _values(mine, version_label) if value not in ("", UNKNOWN)]
    wanted = _list(list(filter(None, (subject.baseline, subject.candidate))), "or")
    if not versions:
        return (
            f"{metric} of {place} does not tell versions apart: {version_label} is {UNKNOWN} everywhere."
            f" Do the pods carry the label {spec.version_label}?"
        )
    if subject.baseline in versions or subject.candidate in versions:
        return f"{metric} of {place} was not scraped for over {settings.lookback_s:g} s"
    return f"{metric} of {place} has {version_label} {_list(versions)}, not {wanted}"


def _values(found: list[Number], label: str) -> list[str]:
    return sorted({each.labels.get(label, "") for each in found})


def _list(values: list[str], word: str = "and") -> str:
    shown = [value[:60] for value in values[:_SHOWN_MAX]]
    if len(values) > _SHOWN_MAX:
        return f"{', '.join(shown)} {word} {len(values) - _SHOWN_MAX} more"
    return f" {word} ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
