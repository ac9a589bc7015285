"""Where Prometheus is, how to speak to it, and what its series mean.  Secrets are named here, never held."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from meshctl.core.errors import InvalidInput
from meshctl.core.model import SecretRef

REPORTERS = ("source", "destination", "waypoint")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

SCRAPER_LABELS = (
    "job",
    "instance",
    "endpoint",
    "container",
    "prometheus",
    "prometheus_replica",
    "replica",
    "__replica__",
    "receive",
    "receive_replica",
    "tenant_id",
)
"""Labels that tell who scraped, not what was scraped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """Raises `InvalidInput` that names the setting.

    ``url`` may have a path (Mimir: ``https://mimir/prometheus``).  At most one of ``bearer`` and ``username`` with
    ``password``; their files are read anew for every request.  ``headers`` are sent as they are
    (``X-Scope-OrgID``), ``secret_headers`` are read like the bearer token.  ``insecure`` gives up the check of
    certificates, and lets credentials go over plain HTTP; it is told loudly.

    ``reporter`` is who counts: the client's proxy (``source``) also sees requests that reached no server.
    ``version_label`` carries the version; ``subset_label``, if there is one, Envoy's cluster name, which also tells
    whom a request was meant for that reached nobody.  ``matchers`` narrow every query (``cluster="prod"``).  With an
    empty ``latency_metric`` errors alone are judged.  ``namespace_label`` confines what releases name themselves to
    series of their own namespace; empty: they may name any.

    ``scrape_interval_s`` is the length of a block.  A block is taken ``settle_s`` after its end, and at most
    ``lateness_s`` later where a scrape is still missing.  Envoy shows durations up to ``histogram_lag_s`` after their
    requests (its ``stats_flush_interval``).  ``lookback_s`` is how far back the sample before a sample is searched for;
    0 is six scrapes, and a minute at least.  More than ``series_max`` series are summed up by Prometheus itself,
    approximately.
    """

    url: str
    bearer: SecretRef | None = None
    username: str = ""
    password: SecretRef | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_headers: Mapping[str, SecretRef] = field(default_factory=dict)
    ca_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    insecure: bool = False
    timeout_s: float = 5.0
    budget_s: float = 10.0
    answer_bytes_max: int = 32 * 2**20

    reporter: str = "source"
    requests_metric: str = "istio_requests_total"
    latency_metric: str = "istio_request_duration_milliseconds_bucket"
    version_label: str = "destination_version"
    subset_label: str = ""
    matchers: Mapping[str, str] = field(default_factory=dict)
    proxy_labels: tuple[str, ...] = ("cluster", "namespace", "pod")
    namespace_label: str = "namespace"
    scraper_labels: tuple[str, ...] = SCRAPER_LABELS

    scrape_interval_s: float = 5.0
    settle_s: float = 1.0
    lateness_s: float = 5.0
    histogram_lag_s: float = 5.0
    lookback_s: float = 0.0
    history_s: float = 300.0
    catch_up_s: float = 600.0
    series_max: int = 5000

    def __post_init__(self) -> None:
        if not self.lookback_s:
            object.__setattr__(self, "lookback_s", max(60.0, 6 * self.scrape_interval_s))
        for name, problem in _problems(self):
            raise InvalidInput(f"prometheus: {name} {problem}")

    @property
    def place(self) -> str:
        """Host and port, all of the address that messages may name."""
        return place_of(self.url)


def place_of(url: str) -> str:
    """Host and port of an address; its path can hold a secret, as other parts can."""
    parts = _split(url)
    return "an address that cannot be read" if parts is None else parts.netloc.rpartition("@")[2]


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _problems(settings: PrometheusSettings) -> Iterator[tuple[str, str]]:
    yield from _address(settings)
    yield from _identity(settings)
    yield from _meaning(settings)
    for name, least, most in (
        ("timeout_s", 0.1, 60.0),
        ("budget_s", 0.1, 120.0),
        ("scrape_interval_s", 1.0, 120.0),
        ("settle_s", 0.0, 120.0),
        ("lateness_s", 0.0, 120.0),
        ("histogram_lag_s", 0.0, 120.0),
        ("lookback_s", 10.0, 3600.0),
        ("history_s", 0.0, 86400.0),
        ("catch_up_s", 10.0, 86400.0),
        ("series_max", 1, 1_000_000),
        ("answer_bytes_max", 1024, 2**30),
    ):
        value = getattr(settings, name)
        if not least <= value <= most:
            yield name, f"must lie between {least:g} and {most:g}, found {value:g}"
    if settings.lookback_s < 3 * settings.scrape_interval_s:
        yield "lookback_s", f"must span three scrapes, {3 * settings.scrape_interval_s:g} s, or more"
    if settings.scrape_interval_s * 1000 != int(settings.scrape_interval_s * 1000):
        yield "scrape_interval_s", "must be whole milliseconds"


def _address(settings: PrometheusSettings) -> Iterator[tuple[str, str]]:
    parts = _split(settings.url)
    if parts is None or parts.scheme not in ("http", "https"):
        yield "url", "must be an address like https://prometheus.monitoring:9090"
        return
    if parts.username is not None or parts.password is not None:
        yield "url", "must hold no user and no password: name them by username and password"
    if parts.query or parts.fragment:
        yield "url", "must end with its path, without ? and #"
    secret = settings.bearer or settings.password or settings.secret_headers
    if parts.scheme == "http" and secret and parts.hostname not in _LOOPBACK and not settings.insecure:
        yield "url", "must be https: where credentials are sent; over http: anybody on the way reads them"


def _identity(settings: PrometheusSettings) -> Iterator[tuple[str, str]]:
    if settings.bearer and (settings.username or settings.password):
        yield "bearer", "and username exclude each other"
    if bool(settings.username) != bool(settings.password):
        yield "username", "and password belong together"
    if not settings.username.isprintable() or ":" in settings.username:
        yield "username", "must be one line without a colon"
    if bool(settings.client_cert_file) != bool(settings.client_key_file):
        yield "client_cert_file", "and client_key_file belong together"
    for name in (*settings.headers, *settings.secret_headers):
        if not _HEADER.fullmatch(name):
            yield "headers", f"has a name that no header can have: {name!r}"
    for name, value in settings.headers.items():
        if not (value.isprintable() and value.isascii()):
            yield "headers", f"has a value for {name} that is not one line of printable ASCII text"


def _meaning(settings: PrometheusSettings) -> Iterator[tuple[str, str]]:
    if settings.reporter not in REPORTERS:
        yield "reporter", f"must be {', '.join(REPORTERS[:-1])} or {REPORTERS[-1]}, found {settings.reporter!r}"
    for name, value in (("requests_metric", settings.requests_metric), ("latency_metric", settings.latency_metric)):
        if not METRIC.fullmatch(value) and (value or name == "requests_metric"):
            yield name, f"must be the name of a metric, found {value!r}"
    labels = (settings.version_label, *settings.matchers, *settings.proxy_labels, *settings.scraper_labels)
    for label in (*labels, *filter(None, (settings.subset_label, settings.namespace_label))):
        if not LABEL.fullmatch(label):
            yield "labels", f"must be names of labels, found {label!r}"
