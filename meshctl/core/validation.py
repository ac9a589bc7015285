"""What a release or a workload must satisfy beyond its shape.  Pure: values in, problems out.

Every rule is checked, so that one look tells a person everything.  A path names the field as the manifest does.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import NamedTuple

from meshctl.core.errors import InvalidInput
from meshctl.core.guard import thousandths
from meshctl.core.hookrules import hook_problems
from meshctl.core.meshrules import ownership_problems
from meshctl.core.metricrules import metric_problems
from meshctl.core.model import (
    FULL,
    AnalysisSpec,
    CanaryStrategy,
    Gate,
    MeshSpec,
    Metadata,
    Release,
    Retries,
    Stage,
    Tolerance,
    Workload,
    WorkloadVersion,
)
from meshctl.core.names import LABEL_LIMIT, same_subset
from meshctl.core.podrules import workload_problems
from meshctl.core.tenancy import Claims, foreign_names
from meshctl.core.timetext import format_duration

Path = tuple[str | int, ...]

LONGEST = timedelta(days=30)
DECIDING_WEIGHT = 50.0
"""Above this weight a stage is a bake and has no gate that could promote."""
STAGES_LIMIT = 50
HOSTS_LIMIT = 32
GATEWAYS_LIMIT = 16
NAME_LIMIT = 253
"""Most characters of a host, a gateway or the prefix of a label key, as of every DNS name."""
HEADER_LIMIT = 100
RETRY_ON_LIMIT = 200
REPLICAS_LIMIT = 100
RESERVED_ENVIRONMENT = ("HOST", "PORT", "VERSION", "REPLICA")

DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
HOST = re.compile(r"(?:\*|(?:\*\.)?[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)", re.ASCII)
GATEWAY = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?", re.ASCII)
LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
LABEL_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?", re.ASCII)
HEADER = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)
RETRY_ON = re.compile(r"[a-z0-9-]+(?:, ?[a-z0-9-]+)*", re.ASCII)
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Problem(NamedTuple):
    """One broken rule: where, and what to do about it."""

    path: Path
    message: str


def validate_release(release: Release, *, embedded: bool = False, claims: Claims | None = None) -> list[Problem]:
    """Everything that is wrong with a release.

    ``embedded`` refuses what only a cluster can do; ``claims``, of a cluster's operator, what lies outside of the
    release's namespace (`meshctl.core.tenancy`).
    """
    found = [*_metadata(release.metadata), *_under(("spec",), _release_spec(release, embedded))]
    known = {problem.path for problem in found}
    foreign = foreign_names(release, claims) if claims is not None else ()
    return found + [Problem(path, message) for path, message in foreign if path not in known]


def validate_workload(workload: Workload) -> list[Problem]:
    """Everything that is wrong with a workload."""
    return [*_metadata(workload.metadata), *_under(("spec",), _workload_spec(workload))]


def validate_together(release: Release, workload: Workload) -> list[Problem]:
    """Whether a release can be carried out with the workload of its service."""
    versions = list(workload.spec.versions)
    if release.spec.version in versions:
        return []
    close = get_close_matches(release.spec.version, versions, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    message = (
        f"Workload {workload.metadata.name} has no version {release.spec.version!r}; {guess}"
        f"it has: {', '.join(repr(version) for version in versions)}"
    )
    return [Problem(("spec", "version"), message)]


# ------------------------------------------------------------------------------------ release


def _metadata(metadata: Metadata) -> Iterator[Problem]:
    yield from _dns_label(("metadata", "name"), metadata.name)
    yield from _dns_label(("metadata", "namespace"), metadata.namespace)


def _release_spec(release: Release, embedded: bool) -> Iterator[Problem]:
    spec = release.spec
    yield from _version(("version",), spec.version)
    yield from _dns_label(("service",), spec.service)
    yield from _label_key(("versionLabel",), spec.version_label)
    yield from _under(("mesh",), _mesh(spec.mesh))
    for path, message in ownership_problems(release, embedded=embedded):
        yield Problem(path, message)
    if spec.strategy.canary is None:
        yield Problem(("strategy",), "must name exactly one strategy: canary")
    else:
        yield from _under(("strategy", "canary"), _canary(spec.strategy.canary))
    yield from _under(("analysis",), _analysis(spec.analysis))
    yield from _duration(("keepWarm",), spec.keep_warm, zero=True)
    yield from _duration(("readyTimeout",), spec.ready_timeout)
    stages = spec.strategy.canary.stages if spec.strategy.canary is not None else ()
    for path, message in hook_problems(spec.hooks, stages):
        yield Problem(("hooks", *path), message)
    for path, message in metric_problems(spec.analysis, embedded=embedded):
        yield Problem(("analysis", "metrics", *path), message)
    for path, message in workload_problems(spec, embedded=embedded):
        yield Problem(path, message)


def _mesh(mesh: MeshSpec) -> Iterator[Problem]:
    for name, count, limit in (
        ("hosts", len(mesh.hosts), HOSTS_LIMIT),
        ("gateways", len(mesh.gateways), GATEWAYS_LIMIT),
    ):
        if count > limit:
            yield Problem((name,), f"must be at most {limit}, found {count}")
    for position, host in enumerate(mesh.hosts):
        if not HOST.fullmatch(host) or len(host) > NAME_LIMIT:
            yield Problem(("hosts", position), f"{host!r} is not a host name such as shop or shop.example.com")
        elif host in mesh.hosts[:position]:
            yield Problem(("hosts", position), f"{host!r} stands here twice")
    if not mesh.gateways:
        yield Problem(("gateways",), "must name at least one gateway; 'mesh' means all traffic inside the mesh")
    for position, gateway in enumerate(mesh.gateways):
        if not GATEWAY.fullmatch(gateway) or len(gateway) > NAME_LIMIT:
            yield Problem(("gateways", position), f"{gateway!r} is not a gateway such as mesh, edge or infra/edge")
        elif gateway in mesh.gateways[:position]:
            yield Problem(("gateways", position), f"{gateway!r} stands here twice")
    if mesh.timeout is not None:
        yield from _duration(("timeout",), mesh.timeout)
    if mesh.retries is not None:
        yield from _under(("retries",), _retries(mesh.retries))


def _retries(retries: Retries) -> Iterator[Problem]:
    if not 0 <= retries.attempts <= 10:
        yield Problem(("attempts",), f"must be from 0 to 10, found {retries.attempts}")
    if not RETRY_ON.fullmatch(retries.retry_on) or len(retries.retry_on) > RETRY_ON_LIMIT:
        yield Problem(("retryOn",), f"must be conditions parted by commas, found {retries.retry_on[:80]!r}")
    if retries.per_try_timeout is not None:
        yield from _duration(("perTryTimeout",), retries.per_try_timeout)


def _canary(canary: CanaryStrategy) -> Iterator[Problem]:
    header = canary.preview.header.lower() if canary.preview is not None else None
    if header is not None and (not HEADER.fullmatch(header) or header == "host" or len(header) > HEADER_LIMIT):
        yield Problem(("preview", "header"), f"{header!r} is not a header such as x-meshctl-preview")
    stages = canary.stages
    if not 1 <= len(stages) <= STAGES_LIMIT:
        yield Problem(("stages",), f"must have from 1 to {STAGES_LIMIT} stages, found {len(stages)}")
        return
    previous = 0.0
    for position, stage in enumerate(stages):
        yield from _under(("stages", position), _stage(stage, previous))
        previous = stage.weight
    last = len(stages) - 1
    if stages[last].weight < FULL and stages[last].gate is not Gate.MANUAL:
        yield Problem(
            ("stages", last),
            f"the last stage ends at {stages[last].weight:g} %, so nobody would ever promote; "
            "add a stage of 100 or write gate: manual",
        )
    judged = any(stage.gate is Gate.AUTO and stage.weight <= DECIDING_WEIGHT for stage in stages)
    if not judged and not any(stage.gate is Gate.MANUAL for stage in stages):
        yield Problem(
            ("stages",),
            "no stage can decide: needed is one at or below 50 with gate: auto, where the judge can compare, "
            "or any with gate: manual",
        )


def _stage(stage: Stage, previous: float) -> Iterator[Problem]:
    if not 0 < stage.weight <= FULL:
        yield Problem(("weight",), f"must be above 0 and at most 100, found {stage.weight:g}")
    elif not _renderable(stage.weight):
        yield Problem(("weight",), f"must be a multiple of 0.1, found {stage.weight!r}")
    elif stage.weight <= previous:
        yield Problem(
            ("weight",), f"must be greater than that of the stage before, {previous:g}, found {stage.weight:g}"
        )
    yield from _duration(("minDuration",), stage.min_duration)
    yield from _duration(("maxDuration",), stage.max_duration)
    if stage.min_duration > stage.max_duration:
        least, most = format_duration(stage.min_duration), format_duration(stage.max_duration)
        yield Problem(("minDuration",), f"{least} is longer than maxDuration, {most}")


def _renderable(weight: float) -> bool:
    try:
        thousandths(weight)
    except InvalidInput:
        return False
    return True


def _analysis(analysis: AnalysisSpec) -> Iterator[Problem]:
    if not 0 < analysis.alpha < 0.5:
        yield Problem(("alpha",), f"must lie between 0 and 0.5, found {analysis.alpha:g}")
    yield from _under(("errors",), _tolerance(analysis.errors))
    yield from _under(("latency",), _tolerance(analysis.latency))
    if analysis.slo is not None and not 0 <= analysis.slo.max_error_rate <= 1:
        yield Problem(
            ("slo", "maxErrorRate"), f"is a share of requests, from 0 to 1, found {analysis.slo.max_error_rate:g}"
        )
    yield from _duration(("metricsGrace",), analysis.metrics_grace)


def _tolerance(values: Tolerance) -> Iterator[Problem]:
    if not (math.isfinite(values.tolerance) and values.tolerance >= 1):
        yield Problem(("tolerance",), f"is a ratio candidate / baseline, at least 1, found {values.tolerance:g}")
    elif not (math.isfinite(values.margin) and values.margin > values.tolerance):
        yield Problem(("margin",), f"must be greater than tolerance, {values.tolerance:g}, found {values.margin:g}")
    if not 0 <= values.harm <= 1:
        yield Problem(("harm",), f"is a share of all requests, from 0 to 1, found {values.harm:g}")


# ------------------------------------------------------------------------------------ workload


def _workload_spec(workload: Workload) -> Iterator[Problem]:
    spec = workload.spec
    yield from _listen(("listen",), spec.listen)
    readiness = spec.readiness
    if not re.fullmatch(r"/[!-~]*", readiness.path):
        yield Problem(("readiness", "path"), f"must be a path such as /healthz, found {readiness.path!r}")
    yield from _duration(("readiness", "interval"), readiness.interval)
    yield from _duration(("readiness", "timeout"), readiness.timeout)
    if not 1 <= readiness.failures <= 100:
        yield Problem(("readiness", "failures"), f"must be from 1 to 100, found {readiness.failures}")
    yield from _duration(("drain",), spec.drain, zero=True)
    if not spec.versions:
        yield Problem(("versions",), "must have at least one version")
    named = []
    for name, version in spec.versions.items():
        problems = list(_version(("versions", name), name))
        named += [] if problems else [name]
        yield from problems
        yield from _under(("versions", name), _workload_version(version))
    for first, second in same_subset(named):
        yield Problem(
            ("versions", second), f"cannot be told from {first!r} in the mesh, where both are one subset; rename one"
        )


def _workload_version(version: WorkloadVersion) -> Iterator[Problem]:
    if not 1 <= version.replicas <= REPLICAS_LIMIT:
        yield Problem(("replicas",), f"must be from 1 to {REPLICAS_LIMIT}, found {version.replicas}")
    if not version.command or not version.command[0].strip():
        yield Problem(("command",), "must name a program and its arguments, such as [python, -m, shop]")
    for position, argument in enumerate(version.command):
        if "\0" in argument:
            yield Problem(("command", position), "holds a zero byte, which no program can be given")
    for name, value in version.env.items():
        if not _ENVIRONMENT_NAME.fullmatch(name):
            yield Problem(("env", name), f"{name!r} is not the name of an environment variable")
        elif name in RESERVED_ENVIRONMENT:
            yield Problem(("env", name), "is set by meshctl for each replica; choose another name")
        elif "\0" in value:
            yield Problem(("env", name), "holds a zero byte, which no program can be given")


def _listen(path: Path, listen: str) -> Iterator[Problem]:
    host, colon, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        yield Problem(path, f"must be an address and a port such as 127.0.0.1:8080, found {listen!r}")
        return
    try:
        version = ipaddress.ip_address(bare).version
    except ValueError:
        if bare != "localhost":
            yield Problem(path, f"{host!r} is not an IP address; write 127.0.0.1 for this machine alone")
        return
    if version == 6 and bare == host:
        yield Problem(path, f"an IPv6 address stands in brackets: [{host}]:{port}")


# ------------------------------------------------------------------------------------ shared


def _version(path: Path, version: str) -> Iterator[Problem]:
    """A version is the value of a pod label, so the rules of label values hold for it."""
    if not version:
        yield Problem(path, "must not be empty")
    elif len(version) > LABEL_LIMIT:
        yield Problem(path, f"must have at most {LABEL_LIMIT} characters, as every pod label, found {len(version)}")
    elif not LABEL_NAME.fullmatch(version):
        yield Problem(
            path,
            f"{version!r} cannot be the value of a pod label: letters, digits, '.', '_' and '-' are allowed, "
            "a letter or digit at both ends",
        )


def _dns_label(path: Path, name: str) -> Iterator[Problem]:
    if not DNS_LABEL.fullmatch(name):
        yield Problem(
            path,
            f"{name[:80]!r} is not a DNS label: at most {LABEL_LIMIT} lower-case letters, digits and '-', "
            "a letter or digit at both ends",
        )


def _label_key(path: Path, key: str) -> Iterator[Problem]:
    prefix, slash, name = key.rpartition("/")
    prefixed = not slash or (LABEL_PREFIX.fullmatch(prefix) and len(prefix) <= NAME_LIMIT)
    if not prefixed or not LABEL_NAME.fullmatch(name):
        yield Problem(path, f"{key[:80]!r} is not a label key such as version or example.com/version")


def _duration(path: Path, value: timedelta, *, zero: bool = False) -> Iterator[Problem]:
    if value < timedelta(0) or (value == timedelta(0) and not zero):
        yield Problem(path, f"must be longer than nothing, found {format_duration(value)}")
    elif value > LONGEST:
        yield Problem(path, f"must be at most {format_duration(LONGEST)} (30 days), found {format_duration(value)}")


def _under(path: Path, problems: Iterator[Problem]) -> Sequence[Problem]:
    return [Problem((*path, *problem.path), problem.message) for problem in problems]
