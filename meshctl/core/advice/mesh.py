"""Advice on routes, the version and the way back."""

from __future__ import annotations

from datetime import timedelta

from meshctl.core.advice.rule import Found, Path, Rule, rule
from meshctl.core.model import Ownership, Release
from meshctl.core.timetext import format_duration

READY_MIN = timedelta(seconds=30)
KEEP_WARM_MIN = timedelta(minutes=10)
MOVING_VERSIONS = ("latest", "main", "master", "stable", "head", "dev", "prod", "production")
HIDING_RETRIES = ("5xx", "gateway-error", "retriable-status-codes", "reset", "retriable-4xx")

MESH_RULES: list[Rule[Release]] = []

_MESH: Path = ("spec", "mesh")


@rule(
    MESH_RULES,
    "retry-without-timeout",
    why="Requests to a version that hangs are repeated without a limit in time; callers pile up behind them.",
    do="Write mesh.timeout, or retries.perTryTimeout.",
)
def _endless_retry(release: Release) -> Found:
    mesh = release.spec.mesh
    if mesh.retries and mesh.retries.attempts and mesh.timeout is None and mesh.retries.per_try_timeout is None:
        yield (*_MESH, "retries"), "nothing limits how long a try may take"


@rule(
    MESH_RULES,
    "retry-beyond-timeout",
    why="The timeout ends the request before the tries are used up: the last ones never happen.",
    do="Make timeout at least attempts + 1 times perTryTimeout.",
)
def _cut_retry(release: Release) -> Found:
    mesh = release.spec.mesh
    each = mesh.retries.per_try_timeout if mesh.retries else None
    if mesh.retries and mesh.timeout and each and each * (mesh.retries.attempts + 1) > mesh.timeout:
        needed = format_duration(each * (mesh.retries.attempts + 1))
        yield (*_MESH, "timeout"), f"all tries need {needed}, allowed are {format_duration(mesh.timeout)}"


@rule(
    MESH_RULES,
    "retry-hides-errors",
    why="The mesh repeats what the candidate answered with an error: users and the judge see fewer of its faults, "
    "and what was half done is done twice.",
    do="Repeat only what never arrived: connect-failure,refused-stream,reset-before-request.",
)
def _hiding_retry(release: Release) -> Found:
    retries = release.spec.mesh.retries
    words = [word.strip() for word in retries.retry_on.split(",")] if retries and retries.attempts else []
    hiding = [word for word in words if word in HIDING_RETRIES]
    if hiding:
        yield (*_MESH, "retries", "retryOn"), f"{', '.join(hiding)} repeats answered requests"


@rule(
    MESH_RULES,
    "mesh-gateway-missing",
    why="Calls from other services inside the mesh go past the weights: they reach both versions at random.",
    do="Add mesh to gateways, unless the service is called from outside only.",
)
def _no_mesh_gateway(release: Release) -> Found:
    if "mesh" not in release.spec.mesh.gateways:
        yield (*_MESH, "gateways"), "only requests through a gateway are routed by weight"


@rule(
    MESH_RULES,
    "hosts-without-service",
    why="Calls inside the mesh use the service's own name and would not be routed by weight.",
    do="Add the service to hosts.",
)
def _hosts(release: Release) -> Found:
    mesh, service = release.spec.mesh, release.spec.service
    named = any(host == "*" or host == service or host.startswith(f"{service}.") for host in mesh.hosts)
    if mesh.hosts and "mesh" in mesh.gateways and not named:
        yield (*_MESH, "hosts"), f"{service} itself is not among the hosts"


@rule(
    MESH_RULES,
    "needs-cluster",
    why="These routes belong to somebody else in a cluster with Istio; the embedded mesh has only its own.",
    do="Write generated for a mesh on one machine; apply --local refuses anything else.",
)
def _cluster(release: Release) -> Found:
    if release.spec.mesh.ownership is not Ownership.GENERATED:
        yield (*_MESH, "ownership"), f"{release.spec.mesh.ownership.value} is for a cluster"


@rule(
    MESH_RULES,
    "version-moves",
    why="A name that means another program tomorrow cannot be rolled back to, nor rejected.",
    do="Name what was built: a number, a date or a commit.",
)
def _moving(release: Release) -> Found:
    if release.spec.version.lower() in MOVING_VERSIONS:
        yield ("spec", "version"), f"{release.spec.version!r} is the name of whatever is newest"


@rule(
    MESH_RULES,
    "keep-warm-zero",
    why="The version before ends with the promotion: rollback then needs a new run, minutes instead of one write.",
    do="Leave keepWarm at 1h.",
)
def _cold(release: Release) -> Found:
    if release.spec.keep_warm == timedelta(0):
        yield ("spec", "keepWarm"), "nothing is kept to go back to"


@rule(
    MESH_RULES,
    "keep-warm-short",
    why="Most faults are noticed later than that, when the version before is gone.",
    do="Leave keepWarm at 1h.",
)
def _cool(release: Release) -> Found:
    if timedelta(0) < release.spec.keep_warm < KEEP_WARM_MIN:
        yield ("spec", "keepWarm"), f"rollback is one write for {format_duration(release.spec.keep_warm)} only"


@rule(
    MESH_RULES,
    "ready-timeout-short",
    why="A slow node or a large image then looks like a bad version, and the run ends NotReady.",
    do="Leave readyTimeout at 10m; it is a limit, not a wait.",
)
def _hasty(release: Release) -> Found:
    if release.spec.ready_timeout < READY_MIN:
        yield ("spec", "readyTimeout"), f"replicas get {format_duration(release.spec.ready_timeout)} to be ready"
