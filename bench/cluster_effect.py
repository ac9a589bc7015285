"""From a person's word, and from the evidence, to the weight in Envoy: the controller on the real control plane.

python bench/cluster_effect.py                     # forty promotions and ten failing candidates, about twenty minutes
python bench/cluster_effect.py --only promote      # or: --only evidence

``promote``: from the start of the command ``meshctl promote`` (Python's start included) to the new weight in the
gateway's Envoy.  ``evidence``: from the moment of the scrape with which the judge's verdict is a failure to weight 0 in
Envoy; which scrape that was is found by giving the run's blocks to the judge one by one.  Root, for the network
namespace.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
from common import median, percentile, record, rows, table
from contenders import SCRAPE_S, Meshctl
from peers import Gateway

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.judge import AnalysisJudge
from meshctl.adapters.run_file import load_export
from meshctl.core.model import Verdict
from tests.cluster.addresses import API_URL
from tests.cluster.cluster import EDGE, Cluster
from tests.cluster.installed import Person, administrator
from tests.cluster.process import Process
from tests.cluster.shop import Shop
from tests.cluster.waiting import eventually

RPS = 50.0
TICK_S = 10.0
PROMOTE_BUDGET_S = 1.0
EVIDENCE_BUDGET_S = TICK_S + 1.0
STEPS = tuple(range(10, 100, 10))
LENIENT = {
    "errors": {"tolerance": 1.5, "margin": 4, "harm": 0.5},
    "latency": {"tolerance": 8, "margin": 10, "harm": 0.9},
    "warmUp": "none",
}
"""A person decides in these runs, the judge is to say nothing."""


def now() -> float:
    """Seconds of the machine's clock, as Prometheus and the controller read it."""
    return SystemClock().now().timestamp()


class Scene:
    """The release ``shop``, its controller, and the gateway's view of it."""

    def __init__(self, cluster: Cluster, shop: Shop, controller: Process) -> None:
        self.shop, self.controller = shop, controller
        self.person: Person = administrator(shop)
        self.gateway = Gateway(cluster.gateway.admin)

    def wish(self, version: str, stages: Sequence[Any] = ({"weight": 10},), **spec: Any) -> None:
        """Another version."""
        mesh = {"hosts": [self.shop.edge_host], "gateways": [EDGE]}
        whole = {"version": version, "service": "shop", "mesh": mesh, "keepWarm": "1h", **spec}
        whole["strategy"] = {"canary": {"stages": [*stages, {"weight": 100, "minDuration": "1s"}]}}
        head = {"apiVersion": "meshctl.dev/v1alpha1", "kind": "Release", "metadata": {"name": "shop"}}
        self.shop.apply({**head, "spec": whole})

    def weight(self, version: str) -> float:
        """The weight of a version that the gateway has now, percent."""
        routes = dict(self.gateway.look()).get(self.shop.edge_host, {})
        mine = sum(each for name, each in routes.items() if name.split("|")[2] == version)
        return 100 * mine / (sum(routes.values()) or 1.0)

    def until_weight(self, version: str, weight: float, within_s: float = 120.0) -> float:
        """Wait for it; when it was seen, in seconds of the machine's clock."""

        def look() -> bool:
            return bool(self.weight(version) == weight)

        eventually(look, within_s, f"{version} has {weight:g} %", detail=self.story)
        return now()

    def story(self) -> str:
        return f"{self.person.status()}\n{self.controller.last_words()}"


class Heard(threading.Thread):
    """When the API server told of each request of a person, by the request's key."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        super().__init__(daemon=True)
        context = ssl.create_default_context(cafile=str(cluster.plane.credentials.authority))
        headers = {"authorization": f"Bearer {cluster.api.token}"}
        self._client = httpx.Client(base_url=API_URL, verify=context, headers=headers, timeout=None, trust_env=False)
        self._path = cluster.api.path("meshctl.dev/v1alpha1", "Release", namespace)
        self.times: dict[str, float] = {}

    def run(self) -> None:
        watch = self._client.stream("GET", self._path, params={"watch": "true"})
        with contextlib.suppress(httpx.HTTPError), watch as answer:
            for line in answer.iter_lines():
                for key in json.loads(line)["object"]["metadata"].get("annotations", {}):
                    if key.startswith("requests.meshctl.dev/"):
                        self.times.setdefault(key, now())


def promotions(scene: Scene, wanted: int) -> Iterator[tuple[float, float, float]]:
    """Seconds from the typed command to the new weight, to the request at the API server, and from there."""
    heard = Heard(scene.shop.cluster, scene.shop.namespace)
    heard.start()
    stages = [{"weight": weight, "gate": "manual", "minDuration": "1s", "maxDuration": "1h"} for weight in STEPS]
    log = scene.shop.cluster.network.folder / "promote.log"
    done = 0
    for number in range(wanted):
        version = ("v2", "v1")[number % 2]
        scene.wish(version, stages, analysis=LENIENT)
        for weight, after in zip(STEPS, (*STEPS[1:], 100), strict=True):
            scene.person.until(120, phase="Paused", reason="ManualGate", weight=weight, confirmed=weight)
            began = now()
            command = scene.person.start("promote", "shop", "-n", scene.shop.namespace, "--reason", "measured", log=log)
            arrived = scene.until_weight(version, after)
            code = command.wait(30)
            if code:
                raise SystemExit(f"promote ended with {code}: {log.read_text()[-1000:]}")
            asked = min(one for one in heard.times.values() if one > began)
            yield arrived - began, asked - began, arrived - asked
            done += 1
            if done == wanted:
                return
        scene.person.until(120, phase="Promoted", baseline=version)


def evidence(scene: Scene, wanted: int) -> Iterator[float]:
    """Seconds from the scrape that told it to weight 0 in Envoy, of each failing candidate."""
    stages = [{"weight": 20, "minDuration": "60s", "maxDuration": "10m"}]
    folder = scene.shop.cluster.network.folder
    for number in range(wanted):
        scene.wish("v3", stages, analysis={"warmUp": "none"})
        if number:
            scene.person.says("retry", "shop", "--reason", "once more")
        scene.until_weight("v3", 20)
        zero = scene.until_weight("v3", 0, 300)
        status = scene.person.until(30, phase="RolledBack")
        file = folder / f"evidence-{number}.json"
        file.write_text(scene.person.says("export", str(status["run"])))
        yield zero - crossing(file)


def crossing(file: Path) -> float:
    """When the scrape was made with which the verdict of a run became a failure."""
    dossier, _ = load_export(file)
    judge, state, run = AnalysisJudge(), "", dossier.run
    for block in dossier.blocks:
        if block.entry < 0:
            state = judge.learn(state, run.spec.analysis, (block,))
            continue
        state, judgement = judge.fold(state, run.spec.analysis, run.entries[block.entry], (block,))
        if judgement.verdict is Verdict.FAIL:
            return block.end.timestamp()
    raise SystemExit(f"{run.name} was taken back ({run.reason}), and the judge did not say so: {run.message}")


@contextlib.contextmanager
def scene_of(cluster: Cluster) -> Iterator[Scene]:
    """A namespace with three versions, v1 serving everybody, requests flowing, and a controller."""
    contender = Meshctl("meshctl", "meshctl", {}, {})
    contender.define(cluster)
    controller = contender.process(cluster)
    controller.start()
    shop = Shop(cluster, "effect")
    scene = Scene(cluster, shop, controller)
    try:
        for version, environment in (("v1", {}), ("v2", {}), ("v3", {"ERRORS": "0.3"})):
            shop.deploy(version, wait=False, **environment)
        for version in ("v1", "v2", "v3"):
            shop.wait_ready(version)
        scene.wish("v1")
        scene.person.until(120, phase="Promoted", baseline="v1")
        with shop.load(RPS):
            yield scene
    finally:
        controller.end()
        shop.remove()


def keep(what: str, values: Sequence[float], budget_s: float, load: float) -> None:
    """One line of the results."""
    found = {"medianS": round(median(values), 2), "p95S": round(percentile(values, 0.95), 2)}
    found |= {
        "mostS": round(max(values), 2),
        "times": len(values),
        "budgetS": budget_s,
        "load": round(load, 1),
        "nice": os.nice(0),
    }
    record("cluster_effect", {"what": what, **found})
    print(f"{what}: {found}", flush=True)


def told(values: Iterator[Any], name: str) -> list[Any]:
    """All values, each printed as it comes."""
    found = []
    for each in values:
        found.append(each)
        print(f"{time.strftime('%H:%M:%S')} {name} {len(found)}: {each}", flush=True)
    return found


HEADER = ("what", "times", "median s", "95th percentile s", "longest s", "budget s", "load of the machine", "date")


def report() -> str:
    """The newest figure of each."""
    newest = {each["what"]: each for each in rows("cluster_effect")}
    columns = ("what", "times", "medianS", "p95S", "mostS", "budgetS", "load", "time")
    return table(HEADER, [[each[column] or "-" for column in columns] for each in newest.values()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("promote", "evidence"))
    parser.add_argument("--promotions", type=int, default=40)
    parser.add_argument("--candidates", type=int, default=10)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    cluster = Cluster(SCRAPE_S)
    try:
        cluster.start()
        with scene_of(cluster) as scene:
            if options.only != "evidence":
                found = told(promotions(scene, options.promotions), "promote")
                load = os.getloadavg()[1]
                whole, begin, rest = zip(*found, strict=True)
                keep("`meshctl promote`, typed, to the weight in Envoy", whole, PROMOTE_BUDGET_S, load)
                keep("- of this until the API server has the request", begin, 0, load)
                keep("- of this from there to the weight in Envoy", rest, 0, load)
            if options.only != "promote":
                found = told(evidence(scene, options.candidates), "evidence")
                keep("evidence to weight 0 in Envoy", found, EVIDENCE_BUDGET_S, os.getloadavg()[1])
    finally:
        cluster.stop()
    print(report())


if __name__ == "__main__":
    main()
