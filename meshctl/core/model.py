"""The values that the rest of meshctl speaks in: a release, its stages, a run, what was seen of the world.

All of them are frozen.  Durations are ``timedelta``, instants are aware ``datetime`` in UTC, weights are
percent with one digit after the point.  Nothing here does input or output or asks for the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

API_VERSION = "meshctl.dev/v1alpha1"
RUN_ANNOTATION = "meshctl.dev/run"
ABORTED_ANNOTATION = "meshctl.dev/aborted"

FULL = 100.0
"""The weight, in percent, of a version that serves everybody."""


class Phase(StrEnum):
    """Where a run stands; ``Promoted`` and ``RolledBack`` are its ends."""

    PENDING = "Pending"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    HELD = "Held"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"

    @property
    def ended(self) -> bool:
        return self in (Phase.PROMOTED, Phase.ROLLED_BACK)


class Reason(StrEnum):
    """Why a run is where it stands, for people and for scripts."""

    FIRST_RELEASE = "FirstRelease"
    EVIDENCE = "Evidence"
    OVERRIDE = "Override"
    REGRESSION = "Regression"
    ABORTED = "Aborted"
    INCONCLUSIVE = "Inconclusive"
    SUPERSEDED = "Superseded"
    NOT_READY = "NotReady"
    GUARD = "Guard"
    METRICS_OUTAGE = "MetricsOutage"
    NOT_IN_EFFECT = "NotInEffect"
    LOWERED_BY_OTHER = "LoweredByOther"
    NO_TRAFFIC = "NoTraffic"
    SHARE_MISMATCH = "ShareMismatch"
    MANUAL_GATE = "ManualGate"
    PAUSED_BY_USER = "PausedByUser"
    WEIGHT_SET = "WeightSet"
    ROLLBACK_REQUESTED = "RollbackRequested"
    HOOK_HOLDS = "HookHolds"
    HOOK_FAILED = "HookFailed"


class Verdict(StrEnum):
    """The judge's word on a stage."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    UNDECIDED = "undecided"


class Verb(StrEnum):
    """What a person may ask of a release."""

    ABORT = "abort"
    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    ROLLBACK = "rollback"
    SET_WEIGHT = "set-weight"


class Gate(StrEnum):
    """Who opens the way out of a stage: the judge or a person."""

    AUTO = "auto"
    MANUAL = "manual"


class OnInconclusive(StrEnum):
    """What happens when a stage's longest time ends without a proof either way."""

    ROLLBACK = "rollback"
    HOLD = "hold"


class OnMetricsOutage(StrEnum):
    """What happens when metrics stay away for longer than ``metricsGrace``."""

    HOLD = "hold"
    ROLLBACK = "rollback"


class HookPoint(StrEnum):
    """When a hook is asked: before the weight of a stage, before leaving a stage, after either end of a run."""

    BEFORE_STAGE = "beforeStage"
    AFTER_STAGE = "afterStage"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"

    @property
    def gates(self) -> bool:
        """Whether the answer decides; after the end of a run it is only recorded."""
        return self in (HookPoint.BEFORE_STAGE, HookPoint.AFTER_STAGE)


class HookOutcome(StrEnum):
    """What came of asking a hook; ``error``: nobody could be asked, or the answer was none."""

    PASS = "pass"  # noqa: S105 - not a password
    HOLD = "hold"
    FAIL = "fail"
    ERROR = "error"


class OnHookError(StrEnum):
    """What counts when a hook cannot be asked."""

    HOLD = "hold"
    FAIL = "fail"
    IGNORE = "ignore"


class HttpMethod(StrEnum):
    """How an HTTP hook is called; ``GET`` carries no body."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"


class Engine(StrEnum):
    """Which statistics decide."""

    SEQUENTIAL = "sequential"
    CLASSIC = "classic"


class MetricKind(StrEnum):
    """What the series of a metric of one's own are: two counters, a histogram's buckets, values of the moment."""

    COUNTER_RATIO = "counter-ratio"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


class WarmUp(StrEnum):
    """How the latency of young candidates is treated (design: statistics-2, 2.1)."""

    AUTO = "auto"
    NONE = "none"


class Ownership(StrEnum):
    """Who owns the mesh objects of a release."""

    GENERATED = "generated"
    DELEGATE = "delegate"
    ADOPT = "adopt"


# ------------------------------------------------------------------------------------ the wish


@dataclass(frozen=True, slots=True)
class Metadata:
    name: str
    namespace: str = "default"
    generation: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retries:
    attempts: int
    retry_on: str = "connect-failure,refused-stream,reset-before-request"
    per_try_timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """Routes that stay somebody else's: only the weights of the named ones change hands.

    ``destination_rule``: the one that declares the subsets; ``None``: the only one of the service.
    """

    virtual_service: str
    routes: tuple[str, ...]
    destination_rule: str | None = None


@dataclass(frozen=True, slots=True)
class MeshSpec:
    """``adopt`` belongs to ``ownership: adopt``, where ``hosts`` and ``gateways`` are the adopted object's own."""

    ownership: Ownership = Ownership.GENERATED
    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ("mesh",)
    timeout: timedelta | None = None
    retries: Retries | None = None
    adopt: Adoption | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """A request whose ``header`` names a version goes to that version, whatever the weights."""

    header: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a canary: a weight in percent, a gate, a least and a most duration."""

    weight: float
    gate: Gate = Gate.AUTO
    min_duration: timedelta = timedelta(seconds=60)
    max_duration: timedelta = timedelta(minutes=30)


DEFAULT_STAGES = (
    Stage(1.0),
    Stage(10.0),
    Stage(50.0, min_duration=timedelta(seconds=120)),
    Stage(80.0, min_duration=timedelta(seconds=600)),
    Stage(100.0),
)


@dataclass(frozen=True, slots=True)
class CanaryStrategy:
    preview: Preview | None = None
    stages: tuple[Stage, ...] = DEFAULT_STAGES


@dataclass(frozen=True, slots=True)
class Strategy:
    """Exactly one of its fields is set."""

    canary: CanaryStrategy | None = None


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a metric allows: ``tolerance`` and ``margin`` are ratios candidate / baseline.

    Beyond ``tolerance`` evidence for an abort accrues; inside ``margin`` plus ``harm`` (extra bad share of
    all requests) the candidate must be shown to be before it is promoted.
    """

    tolerance: float
    margin: float
    harm: float


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """An absolute guard on the candidate alone: the largest share of bad requests that is allowed."""

    max_error_rate: float


@dataclass(frozen=True, slots=True)
class CustomMetric:
    """A metric of one's own beside errors and latency, read from Prometheus for each version.

    ``bad`` and ``total`` (kind counter-ratio), ``buckets`` (histogram) and ``value`` (gauge) are selectors of series
    (`meshctl.core.selectors`).  What is allowed is as for errors and latency; ``None``: as usual for the kind
    (`meshctl.core.metricrules.allowed`).  ``interval``: how often these series are scraped, if not as often as the
    mesh's.  A ``dry_run`` is judged and told, and decides nothing.
    """

    name: str
    kind: MetricKind
    bad: str = ""
    total: str = ""
    buckets: str = ""
    value: str = ""
    tolerance: float | None = None
    margin: float | None = None
    harm: float | None = None
    interval: timedelta | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class AnalysisSpec:
    engine: Engine = Engine.SEQUENTIAL
    alpha: float = 0.01
    errors: Tolerance = Tolerance(1.10, 1.25, 0.001)
    latency: Tolerance = Tolerance(1.05, 1.15, 0.01)
    slo: ServiceLevel | None = None
    warm_up: WarmUp = WarmUp.AUTO
    on_inconclusive: OnInconclusive = OnInconclusive.ROLLBACK
    metrics_grace: timedelta = timedelta(minutes=5)
    on_metrics_outage: OnMetricsOutage = OnMetricsOutage.HOLD
    metrics: tuple[CustomMetric, ...] = ()


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is found when it is needed: exactly one of an environment variable and a file."""

    env: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class HttpHook:
    """``timeout`` bounds one attempt, connection to last byte."""

    url: str
    method: HttpMethod = HttpMethod.POST
    headers: dict[str, SecretRef] = field(default_factory=dict)
    timeout: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Hook:
    """Somebody else who is asked on the way: exactly one of ``http`` and ``command``.

    ``stages`` (weights; empty: all) narrows a hook before or after stages.  ``timeout`` bounds one asking with its
    ``retries``.
    """

    name: str
    at: HookPoint
    stages: tuple[float, ...] = ()
    http: HttpHook | None = None
    command: tuple[str, ...] = ()
    timeout: timedelta = timedelta(seconds=30)
    retries: int = 2
    on_error: OnHookError = OnHookError.HOLD


@dataclass(frozen=True, slots=True)
class PodWorkload:
    """The pods of a release, where meshctl makes them: one Deployment for each version, in a cluster only.

    ``template`` is a PodTemplateSpec as Kubernetes reads it.  It is part of the version (`meshctl.core.versions`);
    ``replicas`` is not.
    """

    template: dict[str, object]
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class ReleaseSpec:
    version: str
    service: str
    version_label: str = "version"
    mesh: MeshSpec = MeshSpec()
    strategy: Strategy = Strategy(canary=CanaryStrategy())
    analysis: AnalysisSpec = AnalysisSpec()
    keep_warm: timedelta = timedelta(hours=1)
    ready_timeout: timedelta = timedelta(minutes=10)
    hooks: tuple[Hook, ...] = ()
    workload: PodWorkload | None = None
    """``None``: the pods come from elsewhere, told apart by ``version_label``."""


@dataclass(frozen=True, slots=True)
class Release:
    """The wish "service S runs version V"; its spec never names a weight of the moment."""

    metadata: Metadata
    spec: ReleaseSpec
    api_version: str = API_VERSION
    kind: str = "Release"


@dataclass(frozen=True, slots=True)
class Readiness:
    """How the embedded mesh finds out whether a replica may get traffic."""

    path: str = "/healthz"
    interval: timedelta = timedelta(seconds=1)
    timeout: timedelta = timedelta(milliseconds=500)
    failures: int = 2


@dataclass(frozen=True, slots=True)
class WorkloadVersion:
    command: tuple[str, ...]
    replicas: int = 1
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    listen: str
    versions: dict[str, WorkloadVersion]
    readiness: Readiness = Readiness()
    drain: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Workload:
    """A service made of local processes, one command per version; exists only embedded."""

    metadata: Metadata
    spec: WorkloadSpec
    api_version: str = API_VERSION
    kind: str = "Workload"


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked of a release: stored first, served by the next tick."""

    id: str
    verb: Verb
    time: datetime
    actor: str = "unknown"
    reason: str = ""
    weight: float | None = None
    full: bool = False
    version: str = ""
    """Where a rollback is to lead, if not to the version before."""


# ------------------------------------------------------------------------------------ the routes


@dataclass(frozen=True, slots=True)
class Routing:
    """What the mesh is to do for one release: who serves, who is tried, and how much of it.

    ``candidate_weight`` is percent; the rest goes to ``baseline``.  ``candidate`` is ``None`` when only one
    version exists in the mesh.  ``aborted`` marks the routes as lowered for good.
    """

    baseline: str
    candidate: str | None
    candidate_weight: float
    run: str
    aborted: bool = False


@dataclass(frozen=True, slots=True)
class LiveRouting:
    """What the mesh was found to do.  ``weights`` maps version to percent; ``in_effect`` says that the data
    plane has taken up exactly this revision, ``lacks`` what keeps it from being so, where that is known."""

    weights: dict[str, float]
    run: str
    aborted: bool
    revision: str
    in_effect: bool
    lacks: str = ""


# ------------------------------------------------------------------------------------ what was seen


@dataclass(frozen=True, slots=True)
class ReadyReplicas:
    """How many replicas of a version are ready for traffic, of how many wished."""

    ready: int
    wished: int
    message: str = ""

    @property
    def complete(self) -> bool:
        return self.wished > 0 and self.ready >= self.wished


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """What one version did in a block; ``latency`` counts good requests per bucket, the last one +Inf."""

    requests: int
    bad: int
    latency: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomCounts:
    """What both versions did by one metric of a release's own, from ``start`` to ``end``.

    A counter-ratio counts in ``requests`` and ``bad``; other kinds count values per bucket of ``bounds`` in
    ``latency``, in the metric's unit.  Its scrapes are other ones, so it may begin before the block that holds it.
    """

    name: str
    start: datetime
    end: datetime
    baseline: ArmCounts
    candidate: ArmCounts
    bounds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """What both versions did between two readings of the metrics.

    A block belongs to one run and one stage entry (``entry`` counts the stages entered by the run; -1 is the
    time before the candidate's first traffic).  ``weight`` is the candidate's confirmed percent.
    """

    start: datetime
    end: datetime
    entry: int
    weight: float
    baseline: ArmCounts
    candidate: ArmCounts
    bounds_ms: tuple[float, ...] = ()
    approximate: bool = False
    """The source summed up more series than can be followed one by one, so counts may be a little off."""
    custom: tuple[CustomCounts, ...] = ()
    """What was counted of the release's own metrics, as far as it was complete by the end of the block."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer of the metrics: the new blocks, in order (none at the first reading after ``cursor`` was empty),
    where to go on, and what was wrong, if anything.

    ``silence_s``: so long after the end of a block there may be no newer one and nothing is wrong with the source.
    """

    blocks: tuple[Block, ...]
    cursor: str
    problem: str | None = None
    silence_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What a hook said, by the key and the number of the asking."""

    key: str
    asking: int
    outcome: HookOutcome
    message: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything a tick found out about the world before it decides.  ``None`` means *unknown*."""

    live: LiveRouting | None
    """``None`` with an empty ``mesh_problem``: there are no routes of this release."""
    replicas: dict[str, ReadyReplicas | None]
    mesh_problem: str = ""
    metrics_problem: str = ""
    newest_block_end: datetime | None = None
    metrics_silence: timedelta = timedelta(0)
    """How old the newest block may become with a source that is in order."""
    hooks: tuple[HookAnswer, ...] = ()
    """What hooks have answered since they were asked."""

    def ready(self, version: str) -> ReadyReplicas | None:
        return self.replicas.get(version)


# ------------------------------------------------------------------------------------ the judge's word


@dataclass(frozen=True, slots=True)
class StageTerms:
    """What the judge must know of one stage entry (design: objects.md, "Gates").

    ``entry`` counts stage entries of the run from 0.  ``beta`` is the gate's error probability, ``margin_share``
    is w' of the harm budget; ``bake`` stages and the last one have no gate (``beta`` is ``None``).
    ``comparable`` is false at 100 %, where only guards are left.
    """

    entry: int
    weight: float
    beta: float | None
    margin_share: float
    bake: bool
    comparable: bool
    max_duration_s: float


@dataclass(frozen=True, slots=True)
class ArmTotals:
    requests: int = 0
    bad: int = 0
    mean_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class MetricEvidence:
    """Log evidence that one metric is worse than its tolerance, with the interval of the ratio
    candidate / baseline (``None``: unbounded).

    The rest is told of a release's own metrics only: the weakest part of the gate, what was counted of both versions,
    the verdict if there were no other metric, and whether it is a dry run, which decides nothing.
    """

    log: float
    ratio: float | None = None
    lower: float | None = None
    upper: float | None = None
    gate_log: float | None = None
    baseline: ArmTotals | None = None
    candidate: ArmTotals | None = None
    alone: Verdict | None = None
    dry_run: bool | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judge's word after the newest block, with everything that is needed to explain and to repeat it.

    All evidence is in nats: the abort evidence against ``abort_threshold_log``, the gate's weakest part against
    ``gate_threshold_log`` (``None`` where the stage has no gate).  ``remaining_s`` estimates how long until the
    gate can pass for a candidate equal to the baseline.  ``wait`` names why the judge wants time to stand
    still (``NoTraffic``, ``ShareMismatch``); ``step_down`` asks for the informative share in a bake.
    """

    verdict: Verdict
    message: str
    reasons: tuple[str, ...]
    engine: str
    engine_version: str
    abort_log: float
    abort_threshold_log: float
    metrics: dict[str, MetricEvidence]
    gate_log: float | None
    gate_threshold_log: float | None
    baseline: ArmTotals
    candidate: ArmTotals
    guard: bool = False
    wait: Reason | None = None
    step_down: bool = False
    remaining_s: float | None = None


# ------------------------------------------------------------------------------------ the run


@dataclass(frozen=True, slots=True)
class StageClock:
    """A clock that stands while a run is paused or held: ``elapsed`` up to ``running_since``, then on."""

    elapsed: timedelta = timedelta(0)
    running_since: datetime | None = None

    def at(self, now: datetime) -> timedelta:
        if self.running_since is None:
            return self.elapsed
        return self.elapsed + max(now - self.running_since, timedelta(0))

    def stopped(self, now: datetime) -> StageClock:
        return StageClock(self.at(now), None)

    def started(self, now: datetime) -> StageClock:
        return self if self.running_since is not None else StageClock(self.elapsed, now)


@dataclass(frozen=True, slots=True)
class HookAsk:
    """A hook that is to be asked at one stage entry of a run, and what it said last.

    It is stored before anybody is asked.  ``asking`` counts; the present one begins at ``due``.  Once ``settled``
    nobody is asked again.
    """

    name: str
    point: HookPoint
    entry: int
    due: datetime
    asking: int = 1
    outcome: HookOutcome | None = None
    message: str = ""
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt to bring one candidate through all stages."""

    name: str
    number: int
    baseline: str | None
    candidate: str
    spec: ReleaseSpec
    stages: tuple[Stage, ...]
    phase: Phase
    started_at: datetime
    changed_at: datetime
    """When ``weight`` was decided last."""
    reason: Reason | None = None
    message: str = ""
    waits_for: str = ""
    stage: int = 0
    entries: tuple[StageTerms, ...] = ()
    """The terms of every stage entered so far; a block names one of them."""
    weight: float = 0.0
    """The candidate's decided weight, percent."""
    confirmed: float = 0.0
    """The weight that the data plane was last seen to have taken.  A raise to ``weight`` starts only from here."""
    written: float = 0.0
    """What the routes said at the last look, in effect or not: what is less now was taken away by another hand."""
    revision: str = ""
    """The revision of the routes by which the data plane was last seen to work: a block holds what happened by it."""
    clock: StageClock = StageClock()
    problem_since: datetime | None = None
    """When the present hold began."""
    evidence_until: datetime | None = None
    """End of the newest block; metrics are stale when it lies too far back."""
    verdict: Verdict = Verdict.UNDECIDED
    first_traffic_at: datetime | None = None
    ended_at: datetime | None = None
    judgement: Judgement | None = None
    """The judge's newest word, for people who look."""
    gate_opened: bool = False
    """A person opened the gate of the present stage (``promote``)."""
    hooks: tuple[HookAsk, ...] = ()
    """The hooks asked on the way out of the present stage, or after the end of the run."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What became of a request."""

    id: str
    verb: Verb
    time: datetime
    actor: str
    accepted: bool
    message: str


@dataclass(frozen=True, slots=True)
class ReleaseState:
    """All that is stored about a release beside the wish.

    ``baseline`` is the last promoted version (``None`` before the first), ``warm`` the one before it while it is
    kept ready until ``warm_until``, ``rejected`` versions, the newest last, are not tried again by themselves.
    """

    baseline: str | None = None
    warm: str | None = None
    warm_until: datetime | None = None
    rejected: tuple[str, ...] = ()
    acknowledged: tuple[Acknowledgement, ...] = ()
    run: Run | None = None
    runs: int = 0
    observed_generation: int = 0


# ------------------------------------------------------------------------------------ decisions


@dataclass(frozen=True, slots=True)
class HookCall:
    """One asking of one hook, with what it is told.  ``key`` is the same for every asking at this stage entry."""

    key: str
    asking: int
    hook: Hook
    run: str
    entry: int
    stage: int
    weight: float
    phase: Phase
    reason: Reason | None
    message: str
    baseline: str | None
    candidate: str


@dataclass(frozen=True, slots=True)
class Actor:
    type: str
    claimed: str = ""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Which blocks a decision stands on: from, to, how many, their digest and their sums; how many of them are
    approximate."""

    start: datetime | None
    end: datetime | None
    blocks: int
    digest: str
    baseline: ArmTotals
    candidate: ArmTotals
    approximate: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something the core decided, in words and numbers; it becomes a record, a log line, a Kubernetes Event."""

    time: datetime
    run: str
    stage: int
    phase_from: Phase
    phase_to: Phase
    reason: Reason | None
    message: str
    actor: Actor
    weight_from: float
    weight_to: float
    confirmed: float
    verdict: Verdict
    judgement: Judgement | None = None
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a tick has to do.

    Store ``state`` with ``events`` and remove the requests in ``served``; bring the mesh to ``routing`` (``None``:
    leave it alone); have the versions in ``needed`` running and no others; come back at ``wake_at``.  Once all that is
    stored, have exactly the ``hooks`` asked.
    """

    state: ReleaseState
    events: tuple[Event, ...]
    served: tuple[str, ...]
    routing: Routing | None
    needed: tuple[str, ...]
    wake_at: datetime | None
    hooks: tuple[HookCall, ...] = ()
