"""Looks at manifests as ``apply`` would, but goes on after the first error, and adds advice, rendering, a forecast."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from meshctl.adapters import istioctl
from meshctl.adapters.manifests import (
    Complaint,
    Loaded,
    ManifestError,
    broken_rules,
    decode_document,
    manifest_files,
    read_manifest,
)
from meshctl.adapters.templates import TemplateRenderer
from meshctl.adapters.wire import format_path
from meshctl.adapters.yaml12 import Document, YamlError, read_documents
from meshctl.core.advice.advise import (
    OUT_OF_REACH,
    RULES,
    Advice,
    advise_in_cluster,
    advise_release,
    advise_workload,
    without_ignored,
)
from meshctl.core.advice.finding import Finding, Severity
from meshctl.core.advice.stages import STAGES, canary_of
from meshctl.core.advice.surroundings import Surroundings
from meshctl.core.errors import InvalidInput, Refused, TemplateError
from meshctl.core.model import Gate, Release, Routing, Workload
from meshctl.core.ports import Manifest
from meshctl.core.strategies.canary import stages_of, terms_of
from meshctl.core.timetext import format_duration
from meshctl.core.validation import Problem

FIXES_MAX = 100
ERROR_RATE = 0.001
"""Share of requests that fails anyway, where nobody says another."""

_STAND_INS: tuple[Any, ...] = ("stand-in", 1, ["stand-in"])
"""Tried in turn where something required is missing, to see what else is wrong."""

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What was found, and the objects that apply would take."""

    findings: list[Finding]
    objects: list[Loaded]

    def tried(
        self, check: Callable[[Release], None], around: Callable[[Sequence[Release]], Surroundings], namespace: str
    ) -> Iterator[Finding]:
        """What a cluster says of the releases that are in order by themselves.

        ``check`` asks it whether it would take one, ``around`` tells what would stand around them.  One that names no
        namespace is meant for ``namespace``.
        """
        releases = [(each, _at_home(each, each.value, namespace)) for each in self.objects if _is_release(each)]
        found = around([release for _, release in releases])
        for each, release in releases:
            try:
                check(release)
            except (Refused, InvalidInput) as error:
                yield _error("refused", each.complaint(Problem(("metadata", "name"), error.args[0])), error.hint)
            yield from (_warning(each, advice) for advice in advise_in_cluster(release, found))

    def refusals(self, check: Callable[[list[Release | Workload]], None]) -> Iterator[Finding]:
        """What ``check``, which knows the mesh, refuses of the objects that are in order by themselves."""
        for each in self.objects:
            if isinstance(each.value, Workload):
                try:
                    check([each.value])
                except Refused as error:
                    yield _error("refused", each.complaint(Problem(("metadata", "name"), error.args[0])), error.hint)


def live_findings(around: Surroundings, namespace: str) -> list[Finding]:
    """What is to be said about the releases of a cluster themselves; of one namespace, or (``""``) of all."""
    found = []
    for release in around.releases:
        place = release.metadata.namespace
        if namespace in ("", place):
            name = f"Release/{place}/{release.metadata.name}"
            for advice in [*advise_release(release), *advise_in_cluster(release, around)]:
                rule = RULES[advice.rule]
                field, hint = format_path(advice.path), f"{rule.why} {rule.do}"
                found.append(Finding(Severity.WARNING, rule.id, name, 1, 1, field, advice.message, hint))
    return sorted(found, key=lambda each: (each.file, each.rule, each.field))


def _is_release(loaded: Loaded) -> bool:
    return isinstance(loaded.value, Release)


def _at_home(loaded: Loaded, value: Release | Workload, namespace: str) -> Release:
    assert isinstance(value, Release)
    if "namespace" in loaded.document.data["metadata"]:
        return value
    return replace(value, metadata=replace(value.metadata, namespace=namespace))


def inspect(
    path: Path,
    *,
    known: Sequence[Workload],
    embedded: bool,
    template_dir: Path | None,
    traffic: tuple[float, float | None] | None,
) -> Look:
    """Everything to be said about the manifests of a file or folder.

    ``known`` are the workloads of the mesh they are meant for; with ``embedded``, or a workload among the files, what
    only a cluster can do is an error.  ``traffic`` is requests a second and the share of them that fails anyway, for
    the forecast.  Raises `InvalidInput` when there is nothing to look at.
    """
    findings: list[Finding] = []
    whole: list[Loaded] = []
    mended: list[tuple[Loaded, set[_Path]]] = []
    for file in manifest_files(path):
        for loaded, fixed in _documents(file, findings):
            if fixed:
                mended.append((loaded, fixed))
            else:
                whole.append(loaded)
    embedded = embedded or any(isinstance(each.value, Workload) for each in [*whole, *(one for one, _ in mended)])
    complaints = broken_rules(whole, known, embedded=embedded)
    for loaded, fixed in mended:
        complaints += [each for each in broken_rules([loaded], (), embedded=embedded) if not _beside(each, fixed)]
    findings += [_error("invalid", each) for each in complaints]
    spoilt = {(each.file, line) for each in whole for line in _lines(each, complaints)}
    good = [each for each in whole if (each.file, each.document.place(()).line) not in spoilt]
    workloads = {each.metadata.name: each for each in known}
    named = [*whole, *(loaded for loaded, _ in mended)]
    workloads |= {each.value.metadata.name: each.value for each in named if isinstance(each.value, Workload)}
    if embedded:
        findings += _without_workload(good, workloads)
    renderer = TemplateRenderer(template_dir)
    try:
        for each in good:
            findings += _advice(each, workloads, traffic)
            if isinstance(each.value, Release):
                findings += _rendering(each, each.value, workloads.get(each.value.spec.service), renderer)
    finally:
        renderer.close()
    return Look(sorted(dict.fromkeys(findings), key=_order), good)


def _order(finding: Finding) -> tuple[str, int, int, str]:
    return (finding.file, finding.line, finding.column, finding.rule)


def _error(rule: str, complaint: Complaint, hint: str = "") -> Finding:
    return Finding(Severity.ERROR, rule, *complaint, hint)


def _lines(loaded: Loaded, complaints: Sequence[Complaint]) -> Iterator[int]:
    """The first line of the object's document, once for each complaint that lies in it."""
    inside = {(place.line, place.column) for place in loaded.document.places.values()}
    for each in complaints:
        if each.file == loaded.file and (each.line, each.column) in inside:
            yield loaded.document.place(()).line


# ------------------------------------------------------------------------------------ shapes


def _documents(file: Path, findings: list[Finding]) -> Iterator[tuple[Loaded, set[_Path]]]:
    """Each object of a file, with the places that had to be mended before it could be read."""
    name = str(file)
    try:
        for document in read_documents(read_manifest(file)):
            if document.data is not None:
                yield from _decoded(name, document, findings)
    except YamlError as error:
        findings.append(Finding(Severity.ERROR, "yaml", name, error.line, error.column, "", error.problem))
    except InvalidInput as error:
        what = error.args[0].removeprefix(f"{name}: ")
        findings.append(Finding(Severity.ERROR, "unreadable", name, 1, 1, "", what, error.hint))


def _decoded(name: str, document: Document, findings: list[Finding]) -> Iterator[tuple[Loaded, set[_Path]]]:
    fixed: set[_Path] = set()
    data = copy.deepcopy(document.data)
    tried: dict[_Path, int] = {}
    for _ in range(FIXES_MAX):
        try:
            value = decode_document(name, Document(data, document.places))
        except ManifestError as error:
            if error.path not in tried:
                findings.append(_error("shape", error.complaint, error.hint))
            if not _mend(data, error.path, tried):
                return
            fixed.add(error.path)
        else:
            yield Loaded(value, name, document), fixed
            return


def _mend(data: Any, path: _Path, tried: dict[_Path, int]) -> bool:
    """Take the wrong value out, or put a stand-in where one is missing; false when there is no more to try."""
    if not path or path[0] in ("kind", "apiVersion"):
        return False
    around = data
    for part in path[:-1]:
        around = around[part]
    last = path[-1]
    if path not in tried and isinstance(around, dict) and last in around:
        del around[last]
        tried[path] = 0
        return True
    turn = tried.get(path, 0)
    if turn >= len(_STAND_INS):
        return False
    tried[path] = turn + 1
    around[last] = _STAND_INS[turn]
    return True


def _beside(complaint: Complaint, fixed: set[_Path]) -> bool:
    """Whether a complaint may come from what was mended: it is about that field, one in it, or a neighbour."""
    around = complaint.field.rpartition(".")[0]
    return any(complaint.field.startswith(format_path(path)) or around == format_path(path[:-1]) for path in fixed)


# ------------------------------------------------------------------------------------ whole objects


def _without_workload(good: Sequence[Loaded], workloads: dict[str, Workload]) -> Iterator[Finding]:
    for each in good:
        if isinstance(each.value, Release) and each.value.spec.service not in workloads:
            service = each.value.spec.service
            complaint = each.complaint(Problem(("spec", "service"), f"there is no Workload {service!r}"))
            known = ", ".join(sorted(workloads)) or "none"
            yield _error("invalid", complaint, f"Known: {known}. Write one, or put it into the same folder.")


def _advice(
    each: Loaded, workloads: dict[str, Workload], traffic: tuple[float, float | None] | None
) -> Iterator[Finding]:
    value = each.value
    if isinstance(value, Workload):
        yield from (_warning(each, advice) for advice in advise_workload(value))
        return
    found = advise_release(value, workloads.get(value.spec.service))
    yield from (_warning(each, advice) for advice in found)
    if traffic is not None:
        yield from _forecast(each, value, traffic)


def _warning(each: Loaded, advice: Advice) -> Finding:
    rule = RULES[advice.rule]
    complaint = each.complaint(Problem(advice.path, advice.message))
    return Finding(Severity.WARNING, rule.id, *complaint, f"{rule.why} {rule.do}")


def _forecast(each: Loaded, release: Release, traffic: tuple[float, float | None]) -> Iterator[Finding]:
    """How long each gate takes at this traffic, and all of it together, for a version as good as the old one."""
    from meshctl.adapters.judge import gate_seconds

    analysis, stages = release.spec.analysis, stages_of(canary_of(release))
    rps, error_rate = traffic[0], ERROR_RATE if traffic[1] is None else traffic[1]
    pace = f"at {rps:g} requests a second"
    total, unreachable = 0.0, []
    for index, stage in enumerate(stages):
        terms = terms_of(stages, index, index)
        seconds = gate_seconds(analysis, terms, requests_per_second=rps, error_rate=error_rate)
        total += max(seconds, stage.min_duration.total_seconds())
        path: _Path = (*STAGES, index)
        if terms.beta is None or stage.gate is Gate.MANUAL:
            continue
        if seconds > stage.max_duration.total_seconds():
            limit = format_duration(stage.max_duration)
            message = f"{pace} the {stage.weight:g} % stage needs ~{_about(seconds)} for its gate, and gets {limit}"
            unreachable.append(Advice(OUT_OF_REACH.id, path, message))
        else:
            message = f"{pace} the {stage.weight:g} % stage needs ~{_about(seconds)} for its gate"
            yield _note(each, path, message)
    usual = f"({error_rate * 100:g} % fail anyway)"
    yield _note(each, STAGES, f"{pace} {usual} a version as good as the old one is at 100 % after ~{_about(total)}")
    yield from (_warning(each, advice) for advice in without_ignored(release.metadata, unreachable))


def _note(each: Loaded, path: _Path, message: str) -> Finding:
    return Finding(Severity.NOTE, "forecast", *each.complaint(Problem(path, message)))


def _about(seconds: float) -> str:
    """A duration with no more digits than a forecast deserves."""
    if not math.isfinite(seconds) or seconds > 365 * 86400:
        return "for ever"
    step = 1 if seconds < 60 else 10 if seconds < 600 else 60
    return format_duration(timedelta(seconds=max(step, round(seconds / step) * step)))


def _rendering(
    each: Loaded, release: Release, workload: Workload | None, renderer: TemplateRenderer
) -> Iterator[Finding]:
    """What the templates make of the release: served alone, at each stage, taken back; and what Istio says of that."""
    wished, run = release.spec.version, f"{release.metadata.name}-1"
    others = [version for version in (workload.spec.versions if workload else ()) if version != wished]
    baseline = others[0] if others else f"{wished[:50]}-before"
    routings = [Routing(wished, None, 0.0, run)]
    routings += [Routing(baseline, wished, stage.weight, run) for stage in canary_of(release).stages]
    routings += [replace(routings[-1], candidate_weight=0.0, aborted=True)]
    rendered: list[Manifest] = []
    for routing in routings:
        try:
            rendered = [*rendered, *renderer.render(release, routing)]
        except TemplateError as error:
            place = re.match(
                r"(?P<file>.+?):(?P<line>\d+)(?: \(rendered line \d+\))?: (?P<what>.*)", error.args[0], re.S
            )
            if place is None:
                complaint = each.complaint(Problem((), error.args[0]))
            else:
                complaint = Complaint(place["file"], int(place["line"]), 1, "", place["what"])
            yield _error("template", complaint, error.hint)
    for said in istioctl.complaints(rendered):
        yield _error("istioctl", each.complaint(Problem((), said)))
