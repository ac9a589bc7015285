"""Advice on workloads, alone and together with the release that runs on them."""

from __future__ import annotations

from datetime import timedelta

from meshctl.core.advice.rule import Found, Rule, rule
from meshctl.core.model import Release, Workload
from meshctl.core.timetext import format_duration

SECRET_WORDS = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "PRIVATE_KEY", "API_KEY", "APIKEY", "CREDENTIAL")

WORKLOAD_RULES: list[Rule[Workload]] = []
TOGETHER_RULES: list[Rule[tuple[Release, Workload]]] = []
"""Their places are those of the release."""


@rule(
    WORKLOAD_RULES,
    "single-replica",
    why="While the one replica restarts nobody answers, and what is its own looks like the version's.",
    do="Run two replicas of each version.",
)
def _single(workload: Workload) -> Found:
    for name, version in workload.spec.versions.items():
        if version.replicas == 1:
            yield ("spec", "versions", name, "replicas"), f"version {name} has one replica"


@rule(
    WORKLOAD_RULES,
    "drain-zero",
    why="A replica that goes away cuts off the requests it is answering.",
    do="Leave drain at 5s, or make it as long as your longest request.",
)
def _no_drain(workload: Workload) -> Found:
    if workload.spec.drain == timedelta(0):
        yield ("spec", "drain"), "replicas are killed at once"


@rule(
    WORKLOAD_RULES,
    "listen-everywhere",
    why="Everybody who reaches this machine reaches the service, without any check of who it is.",
    do="Listen on 127.0.0.1, unless that is wanted.",
)
def _open(workload: Workload) -> Found:
    if workload.spec.listen.rpartition(":")[0] in ("0.0.0.0", "[::]"):  # noqa: S104 - found, not bound
        yield ("spec", "listen"), f"{workload.spec.listen} is every address of this machine"


@rule(
    WORKLOAD_RULES,
    "readiness-overlaps",
    why="The next question is asked before the last one has timed out; a slow replica is found out late.",
    do="Make timeout shorter than interval.",
)
def _overlap(workload: Workload) -> Found:
    readiness = workload.spec.readiness
    if readiness.timeout > readiness.interval:
        asked, limit = format_duration(readiness.interval), format_duration(readiness.timeout)
        yield ("spec", "readiness", "timeout"), f"asked every {asked}, each may take {limit}"


@rule(
    WORKLOAD_RULES,
    "secret-in-env",
    why="What stands in a manifest is stored as it is, in the state file and in version control.",
    do="Have the program read its secret from a file, and name that file here.",
)
def _secret(workload: Workload) -> Found:
    for name, version in workload.spec.versions.items():
        for variable, value in version.env.items():
            path = variable.upper().endswith(("_FILE", "_PATH")) or value.startswith("/")
            if value and not path and any(word in variable.upper() for word in SECRET_WORDS):
                yield ("spec", "versions", name, "env", variable), f"{variable} looks like a secret"


@rule(
    TOGETHER_RULES,
    "fewer-replicas",
    why="At 100 % the new version carries the load of the old one with fewer replicas.",
    do="Give it as many replicas as the versions before it.",
)
def _fewer(both: tuple[Release, Workload]) -> Found:
    release, workload = both
    wished = workload.spec.versions.get(release.spec.version)
    most = max((version.replicas for version in workload.spec.versions.values()), default=0)
    if wished is not None and wished.replicas < most:
        message = f"version {release.spec.version} has {wished.replicas} of {most} replicas"
        yield ("spec", "version"), message


@rule(
    TOGETHER_RULES,
    "drain-shorter-than-timeout",
    why="A request may take longer than a replica that goes away has time for: it is cut off.",
    do="Make the workload's drain at least as long as mesh.timeout.",
)
def _cut_off(both: tuple[Release, Workload]) -> Found:
    release, workload = both
    timeout, drain = release.spec.mesh.timeout, workload.spec.drain
    if timeout is not None and timedelta(0) < drain < timeout:
        message = f"{format_duration(timeout)} are allowed, replicas drain for {format_duration(drain)}"
        yield ("spec", "mesh", "timeout"), message
