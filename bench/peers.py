"""The same releases under meshctl, Flagger and Argo Rollouts, in one control plane: what did their users see of it?

make bench-peers                                    # builds the peers, then every run that is not there yet
python bench/peers.py --only meshctl:errors         # one controller, one candidate; --list names them all
python bench/peers.py --runs 3 --side-by-side       # the controllers at the same time, one release each

Each run is a namespace of its own with one service (`meshctl.demo.service`, two replicas, 0.1 % errors, median 20 ms)
behind the gateway, and one load generator, which counts on the client's side.  A finished run is kept at once; the
next start goes on with what is missing.  Root, for the network namespace.

Argo Rollouts is better not played beside the others: after an abort it switches the canary Service's selector to and
fro until the pods are gone (argo-rollouts #3078), and istiod, which waits for changes to settle, then pushes anybody's
change up to ten seconds late.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
from common import record, rows
from contenders import CONTENDERS, MANIFESTS, NEW, OLD, SCRAPE_S, Contender
from peers_build import versions
from peers_report import report, sane

from meshctl.demo.tally import LoadCounts
from tests.cluster import build
from tests.cluster.api import Refused
from tests.cluster.cluster import Cluster
from tests.cluster.process import NOT_YET, Process
from tests.cluster.shop import Shop

RPS = 100.0
BASELINE_S = 30.0
"""So long the first version alone has the load before the second one is wished."""
TAIL_S = 10.0
WRONG_S = 300.0
"""A bad version that was promoted goes on failing: it is counted so long after the wish, or to the promotion."""
LONGEST_S = 1800.0
LOOK_S = 0.25


@dataclass(frozen=True)
class Candidate:
    name: str
    told: str
    environment: dict[str, str]
    right: str


USUAL = {"ERRORS": "0.001"}
CANDIDATES = (
    Candidate("errors", "5 % errors", {"ERRORS": "0.05"}, "RolledBack"),
    Candidate("few", "0.5 % errors against 0.1 %", {"ERRORS": "0.005"}, "RolledBack"),
    Candidate("slow", "+25 % latency", USUAL | {"SLOW": "1.25"}, "RolledBack"),
    Candidate("good", "the same as before", USUAL, "Promoted"),
)


class Gateway(threading.Thread):
    """Looks at the gateway's routes four times a second: the weight of each cluster of Envoy, for each host."""

    def __init__(self, admin: str) -> None:
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=admin, trust_env=False, timeout=5)
        self.weights: dict[str, dict[str, float]] = {}

    def run(self) -> None:
        while True:
            with contextlib.suppress(*NOT_YET):
                self.weights = dict(self.look())
            time.sleep(LOOK_S)

    def look(self) -> Any:
        """Each host with the weights of its first route, as they are now."""
        dump = self._client.get("/config_dump", params={"resource": "dynamic_route_configs"}).json()
        for config in dump.get("configs", []):
            for each in config["route_config"].get("virtual_hosts", []):
                route = each.get("routes", [{}])[0].get("route", {})
                parts = route.get("weighted_clusters", {}).get("clusters", [])
                found = {one["name"]: float(one.get("weight", 0)) for one in parts}
                if "cluster" in route:
                    found = {route["cluster"]: 100.0}
                for host in each["domains"]:
                    yield host, found


@dataclass(frozen=True)
class Usage:
    """What the processes of a controller have used."""

    processor_s: float
    peak_mib: float


def usage(process: Process) -> Usage:
    """Of the controller and of whatever it started; the peak counts from `forget_peak`."""
    ticks, kib = 0, 0
    for number in _session(process.pid):
        try:
            fields = Path(f"/proc/{number}/stat").read_text("ascii").rpartition(")")[2].split()
            status = Path(f"/proc/{number}/status").read_text("ascii")
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
        kib += int(status.partition("VmHWM:")[2].split()[0])
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), kib / 1024)


def forget_peak(process: Process) -> None:
    for number in _session(process.pid):
        Path(f"/proc/{number}/clear_refs").write_text("5", encoding="ascii")


def _session(leader: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                if os.getsid(int(entry)) == leader:
                    found.append(int(entry))
            except ProcessLookupError:
                continue
    return found


class Watch:
    """What happens from the wish on: the candidate's weight at the gateway, and who answered last."""

    def __init__(self, contender: Contender, shop: Shop, gateway: Gateway, counts: Callable[[], LoadCounts]) -> None:
        self._contender, self._shop, self._gateway, self._counts = contender, shop, gateway, counts
        self.before = counts()
        self.began = time.monotonic()
        self.weights: list[tuple[float, float]] = []
        self.last: dict[str, float] = {}
        self._seen = {OLD: 0, NEW: 0}
        self.failed_at: dict[int, int] = {}
        self.load: list[float] = []

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    def look(self) -> LoadCounts:
        """One look, at most a quarter of a second old."""
        now, counts = self.elapsed_s, self._counts()
        routes = self._gateway.weights.get(self._shop.edge_host, {})
        total = sum(routes.values()) or 1.0
        weight = 100 * sum(each for name, each in routes.items() if self._contender.is_candidate(name)) / total
        if not self.weights or self.weights[-1][1] != weight:
            self.weights.append((round(now, 1), round(weight, 2)))
        for version in self._seen:
            if (requests := counts.version(version).requests) != self._seen[version]:
                self._seen[version], self.last[version] = requests, now
        minute = int(now // 60)
        self.failed_at.setdefault(minute, counts.version(NEW).failed)
        self.load.append(os.getloadavg()[0])
        return counts


def follow(watch: Watch, contender: Contender, shop: Shop, candidate: Candidate, say: Callable[[str], None]) -> str:
    """Look until the way of the candidate has ended, and a while longer; how it ended."""
    outcome, ended_s, told = "", 0.0, None
    while watch.elapsed_s < LONGEST_S:
        counts = watch.look()
        if watch.weights[-1] != told:
            told = watch.weights[-1]
            say(f"{told[1]:g} % at {told[0]:.0f} s, {counts.version(NEW).failed} failed")
        if not outcome:
            with contextlib.suppress(Refused, *NOT_YET):
                outcome = contender.outcome(shop)
        if not outcome or (outcome == "RolledBack" and watch.weights[-1][1]):
            ended_s = watch.elapsed_s
        elif watch.elapsed_s > ended_s + TAIL_S and (
            outcome == candidate.right or outcome == "RolledBack" or watch.elapsed_s > WRONG_S
        ):
            break
        time.sleep(LOOK_S)
    return outcome or "none"


def play(
    cluster: Cluster,
    process: Process,
    gateway: Gateway,
    contender: Contender,
    candidate: Candidate,
    number: int,
    rps: float,
) -> dict[str, Any]:
    """One release in a namespace of its own; its figures."""
    name = f"{contender.name}-{candidate.name}-{number}"

    def say(words: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {name}: {words}", flush=True)

    shop = Shop(cluster, f"{name}-{next(_NUMBERS)}")
    try:
        contender.begin(shop, USUAL)
        load = shop.start_load(rps, seed=number)
        time.sleep(BASELINE_S)
        forget_peak(process)
        used = usage(process)
        watch = Watch(contender, shop, gateway, load.counts)
        contender.release(shop, candidate.environment)
        outcome = follow(watch, contender, shop, candidate, say)
        now_used, took_s = usage(process), watch.elapsed_s
        counts = load.stop()
    finally:
        shop.remove()
    found = figures(watch, counts, outcome)
    found |= {"processorS": round(now_used.processor_s - used.processor_s, 2), "peakMiB": round(now_used.peak_mib, 1)}
    found |= {"tookS": round(took_s, 1), "right": outcome == candidate.right}
    say(f"{outcome} ({'right' if found['right'] else 'WRONG'}), {found['failed']}")
    return found


_NUMBERS = count(1)


def figures(watch: Watch, counts: LoadCounts, outcome: str) -> dict[str, Any]:
    """What users saw from the wish on."""
    before = watch.before
    arms = {version: counts.version(version).plus(before.version(version), -1) for version in (OLD, NEW)}
    causes = {cause: many - before.causes.get(cause, 0) for cause, many in counts.causes.items()}
    failed = {version: arm.failed for version, arm in arms.items()}
    failed["mesh"] = counts.failed_by_mesh - before.failed_by_mesh
    failed["died"] = counts.failed_by_workload - before.failed_by_workload
    loser = OLD if outcome == "Promoted" else NEW
    return {
        "outcome": outcome,
        "failed": failed,
        "causes": {cause: many for cause, many in causes.items() if many},
        "requests": {version: arm.requests for version, arm in arms.items()},
        "aloneS": round(watch.last.get(loser, 0.0), 1) if outcome != "none" else None,
        "weights": watch.weights,
        "failedAtMinute": list(watch.failed_at.values()),
        "lateMs": round(counts.max_lag_ms),
        "loadAverage": {"mean": round(sum(watch.load) / len(watch.load), 1), "most": round(max(watch.load), 1)},
    }


class Bench:
    """The control plane with the controllers that are wanted, and the runs that are missing."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.contenders = [each for each in CONTENDERS if self._wanted(each)]
        self.failures: list[str] = []

    def _wanted(self, contender: Contender, candidate: str = "") -> bool:
        only = self.options.only
        names = [each.partition(":") for each in only]
        return (not only) or any(
            name == contender.name and (not candidate or one in ("", candidate)) for name, _, one in names
        )

    def missing(self) -> list[tuple[Contender, Candidate, int]]:
        """In the order in which they are played: every controller and candidate once before any twice."""
        kept = sane(rows("peers"))
        wanted = []
        for number in range(1, self.options.runs + 1):
            for candidate in CANDIDATES:
                for contender in self.contenders:
                    mine = [r for r in kept if (r["contender"], r["candidate"]) == (contender.name, candidate.name)]
                    mine = [r for r in mine if r["setup"] == setup(contender, self.options.rps)]
                    if self._wanted(contender, candidate.name) and len(mine) < number:
                        wanted.append((contender, candidate, number))
        return wanted

    def run(self) -> None:
        missing = self.missing()
        print(f"{len(missing)} runs are missing", flush=True)
        if not missing:
            return
        cluster = Cluster(SCRAPE_S, reporter="source,destination")
        try:
            cluster.start()
            gateway = Gateway(cluster.gateway.admin)
            gateway.start()
            programs = {contender.program: contender for contender, _, _ in missing}
            processes = {}
            for program, contender in programs.items():
                contender.define(cluster)
                processes[program] = contender.process(cluster)
                processes[program].start()
            queues = [[each for each in missing if each[0].program == program] for program in programs]
            if not self.options.side_by_side:
                queues = [missing]
            workers = [
                threading.Thread(target=self._work, args=(cluster, processes, gateway, queue, len(queues)), daemon=True)
                for queue in queues
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            for process in processes.values():
                process.end()
        finally:
            cluster.stop()

    def _work(
        self,
        cluster: Cluster,
        processes: dict[str, Process],
        gateway: Gateway,
        queue: list[tuple[Contender, Candidate, int]],
        beside: int,
    ) -> None:
        for contender, candidate, number in queue:
            process = processes[contender.program]
            try:
                process.ready()
                found = play(cluster, process, gateway, contender, candidate, number, self.options.rps)
            except (AssertionError, Refused, subprocess.SubprocessError, *NOT_YET) as error:
                self.failures.append(f"{contender.name}:{candidate.name}: {error}")
                print(f"{self.failures[-1]}\n{process.last_words()}", flush=True)
                continue
            head = {"contender": contender.name, "candidate": candidate.name, "number": number}
            head |= {"setup": setup(contender, self.options.rps), "rps": self.options.rps, "atOnce": beside}
            head |= {"nice": os.nice(0)}
            with _WRITING:
                record(
                    "peers",
                    {**head, "version": versions().get(contender.program, ""), **found, "terms": contender.terms},
                )


_WRITING = threading.Lock()


def setup(contender: Contender, rps: float) -> str:
    """What makes runs comparable: what the user wrote, the numbers in it, and the load."""
    text = (MANIFESTS / contender.manifest).read_bytes()
    return json.dumps({"rps": rps, **contender.numbers, "manifest": hashlib.sha256(text).hexdigest()[:8]})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="CONTROLLER[:CANDIDATE]", help="may be repeated")
    parser.add_argument("--runs", type=int, default=3, help="of each controller and candidate (default: %(default)d)")
    parser.add_argument("--rps", type=float, default=RPS, help="requests a second (default: %(default)g)")
    parser.add_argument("--side-by-side", action="store_true", help="the controllers at the same time")
    parser.add_argument("--list", action="store_true", help="name what can be played, and end")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    names = [f"{contender.name}:{candidate.name}" for contender in CONTENDERS for candidate in CANDIDATES]
    if options.list:
        print("\n".join(names))
        return 0
    if unknown := [each for each in options.only if each not in names and each not in {c.name for c in CONTENDERS}]:
        parser.error(f"there is no {', '.join(unknown)}; --list names what there is")
    bench = Bench(options)
    lacking = [name for contender in bench.contenders for name in contender.lacking()]
    if build.not_built() or lacking:
        parser.error(build.not_built() or f"not built: {', '.join(lacking)} (python bench/peers_build.py)")
    bench.run()
    print(report())
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
