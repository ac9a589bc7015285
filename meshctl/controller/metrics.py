"""What a controller tells Prometheus, and whether it is alive.  Off unless ``--metrics`` is given.

Labels are names of releases, in a cluster with their namespace, and words of ours; never a user, a path or an address.
A release that is no longer there vanishes with everything that was said of it.  docs/metrics.md lists what is served.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, disable_created_metrics, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer

from meshctl.app.tick import TickResult
from meshctl.core.errors import InvalidInput
from meshctl.core.model import FULL, Phase, Run, Verdict

SILENT_AFTER_S = 30.0
"""A controller that has not gone round for so long is not healthy."""

CLIENT_TIMEOUT_S = 10.0
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
LOOPBACK = "127.0.0.1"

disable_created_metrics()  # type: ignore[no-untyped-call]  # as the library has it


@dataclass(slots=True)
class _Known:
    """What is told of one release: its newest run, and how often the judge said what of it."""

    run: Run | None = None
    verdicts: dict[Verdict, int] = field(default_factory=dict)
    counted: tuple[str, object] | None = None


class ControllerMetrics:
    """Observes a controller's ticks and answers Prometheus from another thread.

    ``namespaced``: releases are named ``namespace/release``, and each sample has both as labels.  ``deliveries`` tells
    what became of the webhook's events so far, by outcome; nothing without a webhook.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        namespaced: bool = False,
        deliveries: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.registry = CollectorRegistry()
        self._place = ("namespace", "release") if namespaced else ("release",)
        self._monotonic, self._deliveries = monotonic, deliveries
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._round_at: float | None = None
        self._troubled = False
        self._seconds = Histogram(
            "meshctl_reconcile_seconds",
            "How long one tick of one release took.",
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    # -------------------------------------------------------------------------------- told by the controller

    def ticked(self, name: str, result: TickResult | None, seconds: float) -> None:
        """One release was ticked; ``None`` when that failed."""
        self._seconds.observe(seconds)
        if result is None or result.decision is None:
            return
        run = result.decision.state.run
        with self._lock:
            known = self._known.setdefault(name, _Known())
            known.run = run
            if run is None or run.judgement is None:
                return
            look = (run.name, run.evidence_until)
            if look != known.counted:
                known.counted = look
                verdict = run.judgement.verdict
                known.verdicts[verdict] = known.verdicts.get(verdict, 0) + 1

    def looked(self, names: Sequence[str] | None, problems: Sequence[str]) -> None:
        """One round over all releases has ended; what is not among ``names`` is forgotten, nothing where nobody
        asked for the names."""
        with self._lock:
            self._round_at = self._monotonic()
            self._troubled = bool(problems)
            for gone in self._known.keys() - set(self._known if names is None else names):
                del self._known[gone]

    # -------------------------------------------------------------------------------- asked by others

    def healthy(self) -> tuple[bool, str]:
        """Whether the loop goes round: what a supervisor restarts a controller by."""
        with self._lock:
            silent = None if self._round_at is None else self._monotonic() - self._round_at
        if silent is not None and silent > SILENT_AFTER_S:
            return False, f"no round for {silent:.0f} s"
        return True, "ok"

    def ready(self) -> tuple[bool, str]:
        """Whether releases are looked after: the first round is over, Envoy and the store do their work."""
        with self._lock:
            began, troubled = self._round_at is not None, self._troubled
        if not began:
            return False, "starting"
        alive, word = self.healthy()
        return (False, "in trouble, the log says why") if alive and troubled else (alive, word)

    def describe(self) -> Iterable[Metric]:
        """The families without samples, so that the registry knows their names."""
        return _families(self._place).values()

    def collect(self) -> Iterable[Metric]:
        """All families with what is known now."""
        families = _families(self._place)
        with self._lock:
            for name, known in sorted(self._known.items()):
                _tell(families, tuple(name.split("/")), known)
        for outcome, count in self._deliveries().items():
            families["events"].add_metric((outcome,), count)
        return list(families.values())


def _families(place: tuple[str, ...]) -> dict[str, Any]:
    """Family by its last word."""
    gauges = {
        "weight": ("meshctl_release_weight", "Percent of requests for the run's candidate.", ("kind",)),
        "phase": ("meshctl_release_phase", "1 for the phase that the run is in, 0 for the others.", ("phase",)),
        "stage": ("meshctl_release_stage", "Stage of the run, from 0; absent before the first traffic.", ()),
        "evalue": (
            "meshctl_analysis_evalue_log",
            "Evidence in nats: that the candidate is worse (abort), and of the gate's weakest part (gate).",
            ("evidence",),
        ),
        "samples": ("meshctl_analysis_samples", "Requests that the judge has compared in this stage.", ("arm",)),
    }
    families: dict[str, Any] = {
        key: GaugeMetricFamily(name, text, labels=(*place, *labels)) for key, (name, text, labels) in gauges.items()
    }
    families["verdict"] = CounterMetricFamily(
        "meshctl_analysis_verdict", "Looks of the judge at a release, by what he said.", labels=(*place, "verdict")
    )
    families["events"] = CounterMetricFamily(
        "meshctl_webhook_events",
        "Events of the webhook: delivered, failed after every attempt, dropped from a full queue.",
        labels=("outcome",),
    )
    return families


def _tell(families: dict[str, Any], place: tuple[str, ...], known: _Known) -> None:
    run = known.run
    for verdict in Verdict:
        families["verdict"].add_metric((*place, verdict.value), known.verdicts.get(verdict, 0))
    phase = Phase.PENDING if run is None else run.phase
    for each in Phase:
        families["phase"].add_metric((*place, each.value), float(each is phase))
    if run is None:
        return
    families["weight"].add_metric((*place, "decided"), run.weight)
    families["weight"].add_metric((*place, "confirmed"), run.confirmed)
    if run.entries:
        families["stage"].add_metric(place, run.stage)
    judgement = run.judgement
    if judgement is None or run.phase.ended or not 0.0 < run.weight < FULL:
        return
    families["evalue"].add_metric((*place, "abort"), judgement.abort_log)
    if judgement.gate_log is not None:
        families["evalue"].add_metric((*place, "gate"), judgement.gate_log)
    families["samples"].add_metric((*place, "baseline"), judgement.baseline.requests)
    families["samples"].add_metric((*place, "candidate"), judgement.candidate.requests)


# ------------------------------------------------------------------------------------ serving


def parse_address(text: str) -> tuple[str, int]:
    """``[HOST:]PORT``; without a host the loopback address.  Raises `InvalidInput`."""
    host, colon, port = text.rpartition(":")
    bare = (host[1:-1] if host.startswith("[") and host.endswith("]") else host) or LOOPBACK
    if bare == "localhost":
        bare = LOOPBACK
    try:
        ipaddress.ip_address(bare)
        number = int(port) if port.isascii() and port.isdecimal() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535 or (colon and not host):
        raise InvalidInput(
            f"--metrics {text}: is no address",
            hint="Write a port, such as 9464 (0 is a free one), or an IP address and a port, such as 127.0.0.1:9464.",
        )
    return bare, number


@contextmanager
def serving(metrics: ControllerMetrics, address: str) -> Iterator[str]:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` from a thread of its own; gives the URL.

    Raises `InvalidInput` when the address is none or cannot be had.
    """
    host, port = parse_address(address)

    class Server(ThreadingWSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = make_server(host, port, _application(metrics), Server, _Quiet)
    except OSError as error:
        raise InvalidInput(
            f"--metrics {address}: cannot listen there: {error.strerror}", hint="Port 0 takes a free one."
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(WSGIRequestHandler):
    """Writes no log, and lets go of a client that says nothing."""

    timeout = CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _application(metrics: ControllerMetrics) -> Callable[..., Iterable[bytes]]:
    prometheus = make_wsgi_app(metrics.registry)
    health = {"/healthz": metrics.healthy, "/readyz": metrics.ready}

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD", "")
        if method not in ("GET", "HEAD"):
            status, text = "405 Method Not Allowed", "only GET"
        elif path == "/metrics":
            found: Iterable[bytes] = prometheus(environ, start_response)
            return found
        elif path in health:
            good, text = health[path]()
            status = "200 OK" if good else "503 Service Unavailable"
        else:
            status, text = "404 Not Found", "there are /metrics, /healthz and /readyz"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [] if method == "HEAD" else [f"{text}\n".encode()]

    return answer
