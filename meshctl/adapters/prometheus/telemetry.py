"""What Istio's labels mean: who counted, whom a request was for, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from meshctl.adapters.envoy.counters import outcome_of
from meshctl.adapters.prometheus.answers import Series, Trouble
from meshctl.adapters.prometheus.differencing import Arm, Counter, Outcome, Tag
from meshctl.adapters.prometheus.selectors import UNKNOWN, Matcher, Selector, host_of, one_of
from meshctl.adapters.prometheus.settings import PrometheusSettings
from meshctl.core.model import CustomMetric, Release
from meshctl.core.names import subset_name

GRPC_BAD = frozenset({"2", "4", "13", "14", "15"})
"""UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS (design: statistics.md section 2)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The two versions that are compared, and how they are told apart."""

    release: Release
    baseline: str
    candidate: str
    settings: PrometheusSettings
    own: tuple[CustomMetric, ...] = ()
    """Metrics of the release's own that are read beside."""

    def requests(self) -> Selector:
        """The counters of requests."""
        return Selector((self.settings.requests_metric,), self._matchers())

    def everything(self) -> Selector:
        """The counters of requests and the buckets of their durations."""
        metrics = filter(None, (self.settings.requests_metric, self.settings.latency_metric))
        return Selector(tuple(metrics), self._matchers())

    def latencies(self) -> Selector:
        """The buckets of the durations; those of failed requests are not needed."""
        return Selector((self.settings.latency_metric,), (*self._matchers(), Matcher("response_code", "!~", "5..")))

    def anybody(self) -> Selector:
        """Requests to the service, whoever counted them and whichever version answered."""
        return Selector((self.settings.requests_metric,), self._service())

    def any_version(self) -> Selector:
        """Requests to the service, whichever version answered."""
        return Selector((self.settings.requests_metric,), (self._reporter(), *self._service()))

    def _service(self) -> tuple[Matcher, ...]:
        metadata, spec = self.release.metadata, self.release.spec
        service = Matcher("destination_service", "=~", host_of(spec.service, metadata.namespace))
        return (service, *(Matcher(label, "=", value) for label, value in sorted(self.settings.matchers.items())))

    def _reporter(self) -> Matcher:
        return Matcher("reporter", "=", self.settings.reporter)

    def _matchers(self) -> tuple[Matcher, ...]:
        matchers = (self._reporter(), *self._service())
        if self.settings.subset_label:
            return matchers
        versions = dict.fromkeys(filter(None, (self.baseline, self.candidate)))
        return (*matchers, Matcher(self.settings.version_label, "=~", one_of((*versions, UNKNOWN, ""))))

    def arm(self, labels: Mapping[str, str]) -> Arm | None:
        """Whom a request was answered by, or meant for; ``None``: another version."""
        subset = _subset(labels.get(self.settings.subset_label, "")) if self.settings.subset_label else ""
        if subset:
            return self._arms(subset_name).get(subset)
        version = version_of(self.settings, labels)
        return Arm.STRAY if version == UNKNOWN else self._arms(str).get(version)

    def _arms(self, name_of: Callable[[str], str]) -> dict[str, Arm]:
        arms = {Arm.CANDIDATE: self.candidate, Arm.BASELINE: self.baseline}
        return {name_of(version): arm for arm, version in arms.items() if version}


def _subset(cluster: str) -> str:
    """The subset in a cluster's name, ``outbound|80|v2-1-0|shop.default.svc.cluster.local``."""
    parts = cluster.split("|")
    return parts[2] if len(parts) == 4 else ""


def version_of(settings: PrometheusSettings, labels: Mapping[str, str]) -> str:
    """The version that answered; `UNKNOWN` where nobody did.  Where only the endpoint is known, as for a connection
    that failed, Istio tells its canonical revision, which is the version too."""
    version = labels.get(settings.version_label, "")
    if version not in ("", UNKNOWN):
        return version
    revision, service = (labels.get(f"destination_canonical_{name}", UNKNOWN) for name in ("revision", "service"))
    return revision if service != UNKNOWN and revision else UNKNOWN


def outcome(labels: Mapping[str, str]) -> Outcome:
    """What became of a request, as the judge counts; the same for Envoy's own counters."""
    flags = frozenset(labels.get("response_flags", "-").split(","))
    found = Outcome(outcome_of(labels.get("response_code", "0"), flags))
    if found is Outcome.GOOD and labels.get("grpc_response_status", "") in GRPC_BAD:
        return Outcome.BAD
    return found


@dataclass(frozen=True, slots=True)
class Source:
    """Who a series comes from: the proxy, by its pod or else by the address that was scraped, and who scraped it."""

    proxy: str
    scraper: tuple[str, ...]

    @classmethod
    def of(cls, settings: PrometheusSettings, labels: Mapping[str, str]) -> Source:
        """By the labels of a series."""
        get = labels.get
        named = settings.proxy_labels if get("pod") else ("instance",)
        return cls(
            "/".join([get(name, "") for name in named]), tuple([get(name, "") for name in settings.scraper_labels])
        )

    def __str__(self) -> str:
        return " ".join((self.proxy, *self.scraper))


class Sources:
    """Whom to listen to for each proxy: to one scraper, where several scrape the same.

    Two jobs for one pod, or two Prometheus servers whose series come together, would count everything twice.  It is
    the first one, by name, that was there before ``at_ms`` and went on after it; else the first that was there after
    it; else the first.
    """

    def __init__(self, settings: PrometheusSettings, series: Iterable[Series], at_ms: int) -> None:
        self._settings = settings
        self._known: dict[int, Source] = {}
        ranks: dict[str, tuple[int, tuple[str, ...]]] = {}
        recent = at_ms - 3 * settings.scrape_interval_s * 1000
        for each in series:
            if each.samples:
                newest = max(each.samples)
                went_on = newest > at_ms and any(recent < time <= at_ms for time in each.samples)
                source = self.of(each)
                rank = 0 if went_on else 1 if newest > at_ms else 2
                ranks[source.proxy] = min(ranks.get(source.proxy, (3, ())), (rank, source.scraper))
        self._chosen = {proxy: scraper for proxy, (_, scraper) in ranks.items()}

    def of(self, series: Series) -> Source:
        """Who a series comes from."""
        source = self._known.get(id(series.labels))
        if source is None:
            source = self._known[id(series.labels)] = Source.of(self._settings, series.labels)
        return source

    def listen_to(self, series: Series) -> str | None:
        """The name of the proxy that is counted by a series; ``None`` when it is counted by another one."""
        source = self.of(series)
        return str(source) if self._chosen.get(source.proxy) == source.scraper else None


def request_counters(subject: Subject, series: Sequence[Series], at_ms: int) -> list[Counter]:
    """The counters of requests of both versions and of strays; ``at_ms`` as in `Sources`."""
    sources = Sources(subject.settings, series, at_ms)
    found = []
    for each in series:
        arm, proxy = subject.arm(each.labels), sources.listen_to(each)
        if arm is not None and proxy is not None:
            seen = {time: (value,) for time, value in each.samples.items()}
            found.append(Counter(proxy, (arm, outcome(each.labels)), seen))
    return found


Buckets = dict[float, dict[int, float]]


@dataclass(frozen=True, slots=True)
class Histograms:
    """The histograms of good requests of both versions, by proxy and arm, as they came."""

    found: tuple[tuple[str, Tag, Buckets], ...]
    what: str = "the buckets of the latency"
    unit: str = " ms"

    def bounds_ms(self) -> tuple[float, ...]:
        """The finite bounds that all of them have."""
        common: set[float] | None = None
        for _, _, buckets in self.found:
            common = set(buckets) if common is None else common & set(buckets)
        return tuple(sorted(bound for bound in common or () if 0 < bound < math.inf))

    def counters(self, bounds_ms: Sequence[float]) -> list[Counter]:
        """The same with these bounds; buckets in between are put together, which is exact.

        Raises `Trouble` where a bound is missing.
        """
        wanted = (*bounds_ms, math.inf)
        counters = []
        for name, tag, buckets in self.found:
            newest = max(map(max, filter(None, buckets.values())), default=0)
            missing = [bound for bound in wanted if max(buckets.get(bound, ()), default=-1) < newest]
            if missing:
                raise Trouble(
                    f"{self.what} have changed: none at {missing[0]:g}{self.unit} any more;"
                    " this run cannot be compared further"
                )
            parts = [buckets[bound] for bound in wanted]
            times = set(parts[-1]).intersection(*parts[:-1])
            counters.append(Counter(name, tag, {time: tuple(part[time] for part in parts) for time in times}))
        return counters


def histograms(subject: Subject, series: Sequence[Series], at_ms: int) -> Histograms:
    """The histograms of good requests; ``at_ms`` as in `Sources`.  Raises `Trouble` for a bound that is none."""
    families: dict[int, list[Series]] = {}
    for each in series:
        families.setdefault(id(each.labels), []).append(each)
    sources = Sources(subject.settings, (family[0] for family in families.values()), at_ms)
    found: list[tuple[str, Tag, Buckets]] = []
    for family in families.values():
        labels = family[0].labels
        arm, proxy = subject.arm(labels), sources.listen_to(family[0])
        if arm in (Arm.BASELINE, Arm.CANDIDATE) and proxy is not None and outcome(labels) is Outcome.GOOD:
            buckets = {bound_of(each.bound): each.samples for each in family}
            found.append((proxy, (arm, Outcome.GOOD), buckets))
    return Histograms(tuple(found))


def bound_of(text: str) -> float:
    """The upper bound of a bucket, in the unit of the metric.  Raises `Trouble` where there is none."""
    try:
        return float(text)
    except ValueError:
        raise Trouble(f"a latency bucket has no bound: le={text[:20]!r}") from None
