"""Proxies that count, scrapes that see them, and a store that answers as Prometheus does; time is a number.

Everything is exact: what truly happened is kept beside what was scraped, so a test can say what a block should hold.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from meshctl.adapters.prometheus import PrometheusSettings
from meshctl.adapters.prometheus.answers import Reader
from meshctl.core.model import Metadata, Release, ReleaseSpec

OLD, NEW = "2.0.0", "2.1.0"
RELEASE = Release(Metadata("shop", "prod"), ReleaseSpec(version=NEW, service="shop"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START_MS = 1_800_000_000_000
"""An instant on every grid of whole seconds that divide a minute."""
BOUNDS = ("5", "10", "50", "100")

Labels = frozenset


def labels_of(version=OLD, code=200, flags="-", reporter="source", **more):
    """Istio's labels of one request to the service."""
    found = {
        "reporter": reporter,
        "destination_service": "shop.prod.svc.cluster.local",
        "destination_service_name": "shop",
        "destination_service_namespace": "prod" if version != "unknown" else "unknown",
        "destination_version": version,
        "destination_canonical_revision": version if version != "unknown" else "latest",
        "destination_canonical_service": "shop" if version != "unknown" else "unknown",
        "response_code": str(code),
        "response_flags": flags,
        "grpc_response_status": "",
        "request_protocol": "http",
    }
    return found | {name: str(value) for name, value in more.items()}


@dataclass
class Proxy:
    """One Envoy: cumulative counters since its start, as its own page would show them."""

    pod: str
    events: list = field(default_factory=list)
    """What truly happened: (ms, labels, latency)."""
    restarts: list = field(default_factory=list)

    def request(self, at_ms, latency_ms=20.0, **labels):
        self.events.append((at_ms, Labels(labels_of(**labels).items()), latency_ms))

    def page(self, at_ms):
        """Series and values at an instant."""
        born = max((each for each in self.restarts if each <= at_ms), default=0)
        page = {}
        for time, labels, latency in self.events:
            if born < time <= at_ms:
                add(page, "istio_requests_total", labels)
                for bound in (*BOUNDS, "+Inf"):
                    add(
                        page, "istio_request_duration_milliseconds_bucket", labels, le=bound, by=latency <= float(bound)
                    )
        return page


def add(page, metric, labels, by=1, **more):
    key = labels | {("__name__", metric), *more.items()}
    page[key] = page.get(key, 0) + by


class Store:
    """Samples, each visible from some moment on."""

    def __init__(self):
        self.samples: dict = {}

    def scrape(self, proxy, at_ms, visible_ms=None, **target):
        """What a scrape of the proxy at this instant adds; it can be read from ``visible_ms`` on."""
        found = {"job": "envoy", "instance": f"{proxy.pod}:15090", "namespace": "edge", "pod": proxy.pod} | target
        for labels, value in proxy.page(at_ms).items():
            key = labels | set(found.items())
            self.samples.setdefault(key, {})[at_ms] = (float(value), visible_ms or at_ms)

    def select(self, selector, now_ms):
        metric, matchers = parse(selector)
        for key, samples in self.samples.items():
            labels = dict(key)
            if metric in ("", labels["__name__"]) and all(fits(labels.get(m[0], ""), m[1], m[2]) for m in matchers):
                yield labels, {time: value for time, (value, visible) in samples.items() if visible <= now_ms}


def parse(selector):
    metric, _, rest = selector.removesuffix("}").partition("{")
    found = re.findall(r'(\w+)(=~|!~|!=|=)("(?:[^"\\]|\\.)*")', rest)
    return metric, [(label, operator, json.loads(value)) for label, operator, value in found]


def fits(value, operator, wanted):
    if operator in ("=", "!="):
        return (value == wanted) == (operator == "=")
    return bool(re.fullmatch(wanted, value)) == (operator == "=~")


@dataclass
class Answering:
    """Answers the questions that are asked, from a store, at the present moment of its own clock."""

    store: Store
    now_ms: int = START_MS
    settings: PrometheusSettings = field(default_factory=lambda: PrometheusSettings(url="http://prometheus:9090"))
    reader: Reader = field(default_factory=lambda: Reader("prometheus:9090"))
    asked: list = field(default_factory=list)

    def ask(self, path, parameters, budget):
        query = parameters["query"]
        at_ms = round(float(parameters["time"]) * 1000) if "time" in parameters else self.now_ms
        self.asked.append(query)
        if found := re.fullmatch(r"(.+)\[(\d+)ms\]", query):
            return self.matrix(found[1], at_ms - int(found[2]), at_ms)
        if query.startswith("count by"):
            return self.reporters(query)
        found = re.fullmatch(r"count\((.+)\) or vector\(0\)", query)
        count = self.alive(found[1], at_ms) if found else 0
        return answer("vector", [{"metric": {}, "value": [at_ms / 1000, str(count)]}])

    def time_ms(self, budget):
        return self.now_ms

    def matrix(self, selector, after_ms, until_ms):
        result = []
        for labels, samples in self.store.select(selector, self.now_ms):
            values = [[time / 1000, f"{samples[time]:g}"] for time in sorted(samples) if after_ms <= time <= until_ms]
            if values:
                result.append({"metric": labels, "values": values})
        return answer("matrix", result)

    def reporters(self, query):
        selector = re.search(r"\((\w+\{.*\})\)", query)[1]
        found: dict = {}
        for labels, _ in self.store.select(selector, self.now_ms):
            key = (labels.get("reporter", ""), labels.get("destination_version", ""))
            found[key] = found.get(key, 0) + 1
        return answer(
            "vector",
            [
                {"metric": {"reporter": key[0], "destination_version": key[1]}, "value": [self.now_ms / 1000, f"{n}"]}
                for key, n in found.items()
            ],
        )

    def alive(self, selector, at_ms):
        return sum(
            any(at_ms - 300_000 < time <= at_ms for time in samples)
            for _, samples in self.store.select(selector, self.now_ms)
        )


def answer(kind, result, **more):
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


class FixedClock:
    """Our own clock, some milliseconds ahead of Prometheus's."""

    def __init__(self, prometheus, ahead_ms=0):
        self.prometheus, self.ahead_ms = prometheus, ahead_ms

    def now(self):
        return EPOCH + timedelta(milliseconds=self.prometheus.now_ms + self.ahead_ms)


def scraped_at(proxy_times, at_ms):
    """The last scrape until an instant, or nothing."""
    index = bisect_right(proxy_times, at_ms)
    return proxy_times[index - 1] if index else None
