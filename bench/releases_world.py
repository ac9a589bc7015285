"""The world of ``bench/releases.py``: a real etcd and API server, thousands of objects in it, and a made-up Prometheus.

Nothing is behind the routes: pods are objects without a kubelet, and there is no istiod.  One release is promoted by
the controller itself; the others are copies of its objects, put into etcd.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import re
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from meshctl.adapters.kubernetes.kinds import (  # noqa: E402
    DEPLOYMENT,
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    NAMESPACE,
    POD,
    RELEASE,
    RELEASE_RUN,
    SERVICE,
    VIRTUAL_SERVICE,
    Kind,
)
from tests.cluster import build  # noqa: E402
from tests.cluster.addresses import API_SERVICE, SYSTEM  # noqa: E402
from tests.cluster.api import Api  # noqa: E402
from tests.cluster.control_plane import ETCD_URL, ControlPlane  # noqa: E402
from tests.cluster.credentials import ADMIN_TOKEN  # noqa: E402

Object = dict[str, Any]
OLD, NEW = "1.0.0", "2.0.0"
NAMESPACES = 100
SEED = ("team-seed", "shop-seed")
ACCOUNT = "system:serviceaccount:meshctl-system:meshctl"
PUTS = 100
SCRAPE_S = 5
BOUNDS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000)
"""Those of Istio, in milliseconds."""

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}],
}


# ------------------------------------------------------------------------------------ control plane


class Plane(ControlPlane):
    """etcd and the API server alone; whatever the controller asks is written down, and old states go every minute."""

    def _api_server(self) -> list[str]:
        (self.folder / "policy.json").write_text(json.dumps(POLICY))
        return [
            *super()._api_server(),
            f"--audit-policy-file={self.folder / 'policy.json'}",
            f"--audit-log-path={self.audit}",
            "--etcd-compaction-interval=1m0s",
            "--disable-admission-plugins=ServiceAccount",
        ]

    @property
    def audit(self) -> Path:
        return self.folder / "audit.log"

    def start(self) -> None:
        self.credentials.make()
        self.etcd.start()
        self.api_server.start()
        self.api = Api(self.credentials.authority, ADMIN_TOKEN)
        self.api_server.ready()
        self.kubectl("apply", "--server-side", "--filename", str(self.binaries / build.CRDS))
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})

    def stop(self) -> None:
        self.api_server.kill()
        self.etcd.kill()

    def requests(self, since: datetime) -> Iterator[tuple[str, str, int]]:
        """Verb, resource and status of what the controller asked since then."""
        for line in self.audit.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event["stage"] == "ResponseComplete" and datetime.fromisoformat(event["stageTimestamp"]) >= since:
                place = event["objectRef"]
                resource = "/".join(filter(None, (place["resource"], place.get("subresource"))))
                yield event["verb"], resource, event["responseStatus"]["code"]


def etcd_metrics() -> dict[str, float]:
    """etcd's own figures that have no labels."""
    line = http.client.HTTPConnection(urlsplit(ETCD_URL).netloc, timeout=10)
    line.request("GET", "/metrics")
    text = line.getresponse().read().decode()
    line.close()
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+) ([0-9.e+]+)$", text, re.MULTILINE)}


# ------------------------------------------------------------------------------------ objects


class Line:
    """One connection to the API server, as its administrator; quicker than a client that can do more."""

    def __init__(self, authority: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        self._line = http.client.HTTPSConnection(API_SERVICE, context=context, timeout=60)

    def call(self, method: str, path: str, body: Object | None = None, *, refused: tuple[int, ...] = (409,)) -> Object:
        """The answer, a ``Status`` where it was ``refused`` with one of these codes."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": kind}
        try:
            self._line.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = self._line.getresponse()
        except ConnectionError:  # it was not used for a while
            self._line.close()
            self._line.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = self._line.getresponse()
        content = answer.read()
        if answer.status >= 400 and answer.status not in refused:
            raise SystemExit(f"{method} {path}: {answer.status} {content.decode()[:500]}")
        found: Object = json.loads(content)
        return found

    def create(self, kind: Kind, object: Object, namespace: str) -> Object:
        return self.call("POST", kind.path(namespace), object)

    def set_status(self, kind: Kind, object: Object, namespace: str, status: Object) -> None:
        path = kind.path(namespace, object["metadata"]["name"], "status")
        self.call("PATCH", path, {"status": status})


def place(number: int) -> tuple[str, str]:
    """Namespace and name of a release."""
    return f"team-{number % NAMESPACES:02}", f"shop-{number:05}"


def release(namespace: str, name: str, version: str) -> Object:
    """A wish whose first stage lasts for longer than anybody measures."""
    stages = [{"weight": 10, "minDuration": "24h", "maxDuration": "48h"}, {"weight": 100}]
    spec = {"version": version, "service": name, "strategy": {"canary": {"stages": stages}}}
    spec["analysis"] = {"warmUp": "none"}
    return {
        "apiVersion": RELEASE.api_version,
        "kind": "Release",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def behind(line: Line, namespace: str, name: str) -> None:
    """A Service, and for each of the two versions a Deployment of one ready pod."""
    spec = {"selector": {"app": name}, "clusterIP": "None", "ports": [{"name": "http", "port": 80}]}
    line.create(SERVICE, {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}, namespace)
    for version in (OLD, NEW):
        labels, stem = {"app": name, "version": version}, f"{name}-{version[0]}"
        container = {"name": "shop", "image": "registry.example/shop", "ports": [{"containerPort": 8080}]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        deployment = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        line.create(DEPLOYMENT, {"metadata": {"name": stem}, "spec": deployment}, namespace)
        pod = {"metadata": {"name": f"{stem}-pod", "labels": labels}, "spec": template["spec"]}
        ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady", "PodScheduled")]
        line.set_status(
            POD,
            line.create(POD, pod, namespace),
            namespace,
            {"phase": "Running", "podIP": "10.244.0.7", "conditions": ready},
        )
        target = {"kind": "Pod", "name": f"{stem}-pod", "namespace": namespace}
        slice_ = {
            "metadata": {"name": stem, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.244.0.7"], "conditions": {"ready": True}, "targetRef": target}],
        }
        line.create(ENDPOINT_SLICE, slice_, namespace)


KINDS = (SERVICE, RELEASE, RELEASE_RUN, VIRTUAL_SERVICE, DESTINATION_RULE, DEPLOYMENT, POD, ENDPOINT_SLICE)
Pattern = dict[str, Object]
"""Objects as the API server gives them, by the key under which etcd has them."""


def pattern_of(line: Line) -> Pattern:
    """Everything that there is of the one release that was really promoted."""
    namespace, name = SEED
    names = {
        SERVICE: (name,),
        RELEASE: (name,),
        RELEASE_RUN: (f"{name}-1",),
        VIRTUAL_SERVICE: (name,),
        DESTINATION_RULE: (name,),
        DEPLOYMENT: (f"{name}-1", f"{name}-2"),
        POD: (f"{name}-1-pod", f"{name}-2-pod"),
        ENDPOINT_SLICE: (f"{name}-1", f"{name}-2"),
    }
    return {
        _key(kind, namespace, each): line.call("GET", kind.path(namespace, each))
        for kind, found in names.items()
        for each in found
    }


def _key(kind: Kind, namespace: str, name: str) -> str:
    """Where the API server keeps an object in etcd."""
    own = "." in kind.group and not kind.group.endswith("k8s.io")
    plural = "services/specs" if kind == SERVICE else kind.plural
    return f"/registry/{kind.group + '/' if own else ''}{plural}/{namespace}/{name}"


def copies(pattern: Pattern, numbers: range) -> Iterator[tuple[str, str]]:
    """Keys and values of releases like the pattern."""
    for object in pattern.values():
        object["metadata"].pop("resourceVersion", None)
    text = json.dumps(pattern)
    uids = sorted({object["metadata"]["uid"] for object in pattern.values()})
    for number in numbers:
        namespace, name = place(number)
        copy = text.replace(SEED[0], namespace).replace(SEED[1], name)
        for uid in uids:
            copy = copy.replace(uid, str(uuid.uuid4()))
        yield from ((key, json.dumps(object)) for key, object in json.loads(copy).items())


def put(found: Iterator[tuple[str, str]]) -> None:
    """Put objects into etcd as the API server would have stored them, only sooner; it hears of them all the same."""
    line = http.client.HTTPConnection(urlsplit(ETCD_URL).netloc, timeout=60)
    while part := list(islice(found, PUTS)):
        operations = [{"requestPut": {"key": _encoded(key), "value": _encoded(value)}} for key, value in part]
        line.request("POST", "/v3/kv/txn", json.dumps({"success": operations}))
        answer = line.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"etcd: {content.decode()[:500]}")
    line.close()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def fill(pattern: Pattern, authority: Path, count: int) -> None:
    """So many idle releases."""
    line = Line(authority)
    for number in range(min(NAMESPACES, count)):
        line.create(NAMESPACE, {"metadata": {"name": place(number)[0]}}, "")
    put(copies(pattern, range(count)))
    for kind in KINDS:
        _heard_of(line, kind)


def _heard_of(line: Line, kind: Kind) -> None:
    """Wait until the API server's own cache has everything that etcd has."""
    namespace, _ = place(0)
    found = line.call("GET", f"{kind.path(namespace)}?limit=1")
    version, name = found["metadata"]["resourceVersion"], found["items"][0]["metadata"]["name"]
    path = f"{kind.path(namespace, name)}?resourceVersion={version}"
    while line.call("GET", path, refused=(504,))["kind"] == "Status":
        time.sleep(1.0)


def move(line: Line, number: int) -> None:
    """Wish the other version, whose pod is there."""
    namespace, name = place(number)
    line.call("PATCH", RELEASE.path(namespace, name), {"spec": {"version": NEW}})


# ------------------------------------------------------------------------------------ Prometheus


class FakePrometheus:
    """Answers for every service alike but with figures of its own: ninety requests a second to the old version, ten to
    the new one."""

    STEPS = 4000

    def __init__(self) -> None:
        self.asked = 0
        chance = numpy.random.default_rng(7)
        self._zero = int(_clock_s()) // SCRAPE_S * SCRAPE_S
        self._lines = {OLD: self._counters(chance, 90), NEW: self._counters(chance, 10)}
        fake = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = fake.answer(parse_qs(urlsplit(self.path).query)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Not every question."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _counters(self, chance: numpy.random.Generator, rate: float) -> list[list[str]]:
        """Requests, then those of each bucket and +Inf, after so many scrapes."""
        counts = chance.poisson(rate * SCRAPE_S, self.STEPS)
        reached = [_share_below(bound) for bound in (*BOUNDS, math.inf)]
        shares = [upper - lower for lower, upper in pairwise([0.0, *reached])]
        within = numpy.array([chance.multinomial(count, shares) for count in counts]).cumsum(axis=1)
        columns = numpy.column_stack([counts, within]).cumsum(axis=0)
        return [[f'"{value}"' for value in column] for column in columns.T.tolist()]

    def answer(self, question: dict[str, list[str]]) -> str:
        self.asked += 1
        query = question["query"][0]
        now = float(question["time"][0]) if "time" in question else _clock_s()
        if query == "vector(0)" or query.startswith("count("):
            return self._vector(now, 0 if query == "vector(0)" else 2 * (len(BOUNDS) + 2))
        service = re.search(r'destination_service=~"([^"[]+)\[\.\]([^"[]+)\[', query)
        span = re.search(r"\[(\d+)ms\]$", query)
        if service is None or span is None:
            return '{"status":"success","data":{"resultType":"vector","result":[]}}'
        name, namespace = service[1].replace("\\", ""), service[2].replace("\\", "")
        first = int((now - int(span[1]) / 1000 - self._zero) // SCRAPE_S) + 1
        steps = range(max(first, -600), int((now - self._zero) // SCRAPE_S) + 1)
        rows = [row for version in (OLD, NEW) for row in self._rows(namespace, name, version, steps)]
        if "request_duration" not in query:
            rows = [row for row in rows if "istio_requests_total" in row]
        return f'{{"status":"success","data":{{"resultType":"matrix","result":[{",".join(rows)}]}}}}'

    def _rows(self, namespace: str, name: str, version: str, steps: range) -> Iterator[str]:
        offset = 700 + hash(name) % 1000
        labels = json.dumps(_labels(namespace, name, version))[1:-1]
        times = [self._zero + step * SCRAPE_S for step in steps]
        names = ['"__name__":"istio_requests_total"']
        bucket = '"__name__":"istio_request_duration_milliseconds_bucket","le"'
        names += [f'{bucket}:"{bound}"' for bound in (*BOUNDS, "+Inf")]
        for head, values in zip(names, self._lines[version], strict=True):
            found = values[steps.start + offset : steps.stop + offset]
            samples = ",".join(f"[{at},{value}]" for at, value in zip(times, found, strict=True))
            yield f'{{"metric":{{{head},{labels}}},"values":[{samples}]}}'

    @staticmethod
    def _vector(now: float, value: int) -> str:
        row = f'{{"metric":{{}},"value":[{now:.3f},"{value}"]}}'
        return f'{{"status":"success","data":{{"resultType":"vector","result":[{row}]}}}}'


def _clock_s() -> float:
    return time.time()  # noqa: TID251 - a stand-in for the outside world


def _share_below(bound_ms: float) -> float:
    """Of latencies that are lognormal about 40 ms."""
    return 0.5 * (1 + math.erf((math.log(bound_ms) - 3.7) / (0.6 * math.sqrt(2)))) if bound_ms < math.inf else 1.0


def _labels(namespace: str, name: str, version: str) -> dict[str, str]:
    return {
        "reporter": "source",
        "namespace": "edge",
        "pod": "edge-7c9d5b6f4-x2lq9",
        "instance": "10.244.0.9:15090",
        "job": "envoy",
        "source_workload": "edge",
        "source_workload_namespace": "edge",
        "destination_workload": f"{name}-{version[0]}",
        "destination_workload_namespace": namespace,
        "destination_version": version,
        "destination_service": f"{name}.{namespace}.svc.cluster.local",
        "destination_service_name": name,
        "destination_service_namespace": namespace,
        "destination_canonical_service": name,
        "destination_canonical_revision": version,
        "request_protocol": "http",
        "response_code": "200",
        "grpc_response_status": "",
        "response_flags": "-",
        "connection_security_policy": "mutual_tls",
    }
