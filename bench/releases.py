"""Thousands of releases in a cluster under one controller: what idle ones cost, and what moving ones do.

python bench/releases.py                    # 10,000 idle, then 500 of them moving; about fifteen minutes, root
python bench/releases.py --count 1000 --moving 100
python bench/releases.py --profile FOLDER   # where the time goes, by py-spy

Real are etcd, the API server and the whole ``meshctl controller`` with the account that ``meshctl install`` gives it;
Prometheus is a stand-in, and nothing is behind the routes (``bench/releases_world.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import releases_world as world  # first: it makes the project importable
from common import record, rows, table

from meshctl.adapters.kubernetes.kinds import RELEASE, RELEASE_RUN
from tests.cluster import netns

COUNT, MOVING = 10_000, 500
SETTLE_S, IDLE_S, MOVING_S = 20.0, 180.0, 360.0
BETWEEN_S = 0.2
HOME = "meshctl-system"
BUDGETS = {
    "syncS": 30.0,
    "idleMiB": 400.0,
    "idleCorePercent": 2.0,
    "idleReads": 0,
    "idleWrites": 0,
    "movingCorePercent": 100.0,
    "etcdMBPerMinute": 10.0,
}
WRITES = ("create", "update", "patch", "delete")


class Controller:
    """``meshctl controller`` in a process of its own."""

    def __init__(self, kubeconfig: Path, prometheus: str, log: Path) -> None:
        self.log = log
        words = [
            "controller",
            "-A",
            f"--kubeconfig={kubeconfig}",
            f"--prometheus-url={prometheus}",
            "--workers=8",
            "--metrics=127.0.0.1:9099",
        ]
        own = {key: value for key, value in os.environ.items() if not key.startswith("MESHCTL_")}
        self.began = time.monotonic()
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "meshctl", *words, "--log-format=json"], env=own, stdout=stream, stderr=stream
            )
        self.pid = self._process.pid

    def until_up(self) -> float:
        """Seconds until all caches are filled."""
        until(lambda: "controller is up" in self.log.read_text("utf-8"), 600, "the controller is up", self._alive)
        return time.monotonic() - self.began

    def processor_s(self) -> float:
        """Seconds of processor so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def mib(self, which: str = "VmRSS") -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    def complaints(self) -> Counter[str]:
        """Warnings and errors that it wrote, without names."""
        lines = [json.loads(line) for line in self.log.read_text("utf-8").splitlines() if line.startswith("{")]
        told = (line["message"] for line in lines if line["level"] in ("warning", "error"))
        return Counter(re.sub(r"[\w-]*/?shop-\d+", "shop", each)[:120] for each in told)

    def _alive(self) -> None:
        if self._process.poll() is not None:
            raise SystemExit(f"the controller ended: {self.log.read_text('utf-8')[-2000:]}")


def until(look: Callable[[], object], within_s: float, what: str, check: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + within_s
    while not look():
        check()
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {within_s:g} s: {what}")
        time.sleep(0.05)


def pass_by(seconds: float, each: Callable[[], None] = lambda: None) -> None:
    """Let time go by; ``each`` is called every second."""
    for _ in range(round(seconds)):
        time.sleep(1.0)
        each()


@dataclass
class Stage:
    """Where everything happens."""

    plane: world.Plane
    prometheus: world.FakePrometheus
    kubeconfig: Path
    profile: Path | None

    @property
    def authority(self) -> Path:
        return self.plane.credentials.authority

    def controller(self, name: str) -> Controller:
        return Controller(self.kubeconfig, self.prometheus.url, self.plane.folder / f"{name}.log")

    def profiled(self, controller: Controller, name: str, seconds: int = 60) -> subprocess.Popen[bytes] | None:
        spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
        if self.profile is None or spy is None:
            return None
        self.profile.mkdir(exist_ok=True)
        words = [
            "record",
            "--pid",
            str(controller.pid),
            "--duration",
            str(seconds),
            "--rate",
            "50",
            "--gil",
            "--format",
            "raw",
        ]
        file = self.profile / f"{name}.txt"
        return subprocess.Popen([spy, *words, "--output", str(file)], stdout=subprocess.DEVNULL)


def installed(folder: Path) -> Stage:
    """A control plane with meshctl's definitions and its account."""
    plane = world.Plane(folder)
    plane.start()
    prometheus = world.FakePrometheus()
    for words in (["--crds=only"], ["--crds=without", f"--prometheus-url={prometheus.url}"]):
        done = subprocess.run([sys.executable, "-m", "meshctl", "install", *words], capture_output=True, check=True)
        plane.kubectl("apply", "--server-side", "-f", "-", given=done.stdout.decode())
    plane.kubectl("wait", "--for=condition=Established", "crd/releases.meshctl.dev", "crd/releaseruns.meshctl.dev")
    token = plane.api.token_for(HOME, "meshctl", 6 * 3600)
    kubeconfig = plane.credentials.write_kubeconfig(folder / "controller", token, HOME)
    return Stage(plane, prometheus, kubeconfig, None)


def pattern(stage: Stage) -> world.Pattern:
    """A release that the controller itself has promoted: its objects."""
    namespace, name = world.SEED
    line = world.Line(stage.authority)
    line.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    world.behind(line, namespace, name)
    line.create(RELEASE, world.release(namespace, name, world.OLD), namespace)
    controller = stage.controller("first")
    path = RELEASE.path(namespace, name)

    def settled() -> bool:
        status = line.call("GET", path).get("status") or {}
        return status.get("phase") == "Promoted" and status.get("weight") == status.get("confirmed")

    until(settled, 120, "the first release is promoted", controller._alive)
    pass_by(3)
    controller.end()
    return world.pattern_of(line)


def asked(stage: Stage, since: datetime) -> dict[str, dict[str, int]]:
    """Requests of the controller since then: reads, writes, and those of its lease, by verb and resource."""
    found: dict[str, Counter[str]] = {"reads": Counter(), "writes": Counter(), "lease": Counter(), "watches": Counter()}
    for verb, resource, status in stage.plane.requests(since):
        group = "watches" if verb == "watch" else "writes" if verb in WRITES else "reads"
        refused = f" {status}" if status >= 400 else ""
        found["lease" if resource == "leases" else group][f"{verb} {resource}{refused}"] += 1
    return {name: dict(each.most_common()) for name, each in found.items()}


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - beside the times of the API server's audit log


def idle(stage: Stage, count: int, seconds: float) -> dict[str, Any]:
    """A controller starts where nothing is to be done, and nothing happens."""
    controller = stage.controller("idle")
    spy = stage.profiled(controller, "sync", 20)
    sync_s = controller.until_up()
    sync_processor_s, began = controller.processor_s(), now()
    if spy is not None:
        spy.wait()
    pass_by(SETTLE_S)
    start = asked(stage, began)
    began, processor = now(), controller.processor_s()
    spy = stage.profiled(controller, "idle")
    pass_by(seconds)
    used = controller.processor_s() - processor
    if spy is not None:
        spy.wait()
    found = asked(stage, began)
    row = {
        "idle": count,
        "syncS": round(sync_s, 1),
        "syncProcessorS": round(sync_processor_s, 1),
        "idleMiB": round(controller.mib(), 1),
        "idlePeakMiB": round(controller.mib("VmHWM"), 1),
        "idleSeconds": seconds,
        "idleCorePercent": round(used / seconds * 100, 2),
        "idleReads": sum(found["reads"].values()),
        "idleWrites": sum(found["writes"].values()),
        "idleRequests": found,
        "startRequests": start,
        "load": round(os.getloadavg()[0], 1),
    }
    controller.end()
    print(row, controller.complaints(), flush=True)
    return row


def moving(stage: Stage, count: int, seconds: float) -> dict[str, Any]:
    """So many releases in their first stage, each looked at every ten seconds."""
    controller = stage.controller("moving")
    controller.until_up()
    line = world.Line(stage.authority)
    for number in range(
        count
    ):  # not all at once: their ticks shall be spread over the ten seconds, as they are in life
        world.move(line, number)
        time.sleep(BETWEEN_S)

    def status(number: int) -> dict[str, Any]:
        namespace, name = world.place(number)
        found: dict[str, Any] = line.call("GET", RELEASE.path(namespace, name)).get("status") or {}
        return found

    def on_their_way() -> bool:
        time.sleep(2.0)
        left = [each for each in map(status, range(count)) if (each.get("phase"), each.get("confirmed")) != WAY]
        print(f"\r{count - len(left)} of {count} are at 10 %", end="", file=sys.stderr, flush=True)
        return not left

    began = time.monotonic()
    until(on_their_way, 1200, f"{count} releases get 10 %", controller._alive)
    row: dict[str, Any] = {"moving": count, "allMovingS": round(time.monotonic() - began, 1)}
    print(file=sys.stderr)
    pass_by(60)
    row |= figures(stage, controller, seconds)
    sizes = [len(json.dumps(run_of(line, number))) for number in range(0, count, max(count // 50, 1))]
    row |= {"runKiB": round(sum(sizes) / len(sizes) / 1024, 1), "runKiBMost": round(max(sizes) / 1024, 1)}
    row["stillMoving"] = sum((each.get("phase"), each.get("confirmed")) == WAY for each in map(status, range(count)))
    controller.end()
    print(row, controller.complaints(), flush=True)
    return row


WAY = ("Progressing", 10)


def run_of(line: world.Line, number: int) -> world.Object:
    namespace, name = world.place(number)
    return line.call("GET", RELEASE_RUN.path(namespace, f"{name}-2"))


def figures(stage: Stage, controller: Controller, seconds: float) -> dict[str, Any]:
    """What the controller and etcd do in so much time."""
    levels: list[float] = []
    before, began, processor, questions = world.etcd_metrics(), now(), controller.processor_s(), stage.prometheus.asked
    spy = stage.profiled(controller, "moving")
    pass_by(seconds, lambda: levels.append(world.etcd_metrics()["etcd_mvcc_db_total_size_in_use_in_bytes"] / 1e6))
    after, used = world.etcd_metrics(), controller.processor_s() - processor
    if spy is not None:
        spy.wait()
    found, minutes = asked(stage, began), seconds / 60
    compacted = [later for earlier, later in pairwise(levels) if later < earlier - 0.5]
    return {
        "movingSeconds": seconds,
        "movingCorePercent": round(used / seconds * 100, 1),
        "movingMiB": round(controller.mib(), 1),
        "movingPeakMiB": round(controller.mib("VmHWM"), 1),
        "etcdMBPerMinute": round(written(after, before) / 1e6 / minutes, 2),
        "etcdInUseMB": [round(each, 1) for each in (levels[0], max(levels), levels[-1])],
        "etcdAfterCompactionsMB": [round(each, 1) for each in compacted],
        "looksPerS": round(found["reads"].get("get releaseruns", 0) / seconds, 1),
        "questionsPerS": round((stage.prometheus.asked - questions) / seconds, 1),
        "movingRequests": found,
        "movingLoad": round(os.getloadavg()[0], 1),
    }


def written(after: dict[str, float], before: dict[str, float]) -> float:
    return after["etcd_disk_wal_write_bytes_total"] - before["etcd_disk_wal_write_bytes_total"]


def report() -> str:
    """Each figure of the newest run that has it, beside its budget."""
    what = {
        "syncS": ("{idle} idle: first sync ({syncProcessorS} s of processor)", "s"),
        "idleMiB": ("{idle} idle: resident memory", "MiB"),
        "idleCorePercent": ("{idle} idle: processor over {idleSeconds:g} s", "% of a core"),
        "idleReads": ("{idle} idle: reads of the API server, watches and lease aside", ""),
        "idleWrites": ("{idle} idle: writes, lease aside", ""),
        "movingCorePercent": (
            "{moving} of {idle} moving: processor over {movingSeconds:g} s, {looks:.0f} looks a second",
            "% of a core",
        ),
        "etcdMBPerMinute": ("{moving} moving, records of {runKiB} KiB: written by etcd (its log)", "MB a minute"),
    }
    body = []
    for key, (text, unit) in what.items():
        for row in [each for each in rows("releases") if key in each][-1:]:
            if "movingRequests" in row:
                row["looks"] = row["movingRequests"]["reads"]["get releaseruns"] / row["movingSeconds"]
            load = row["movingLoad" if "moving" in text else "load"]
            body.append((text.format(**row), f"{row[key]} {unit}", f"{BUDGETS[key]:g} {unit}", load, row["time"]))
    return table(("what", "measured", "budget", "load of the machine", "date"), body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--moving", type=int, default=MOVING)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_S)
    parser.add_argument("--moving-seconds", type=float, default=MOVING_S)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    network = netns.Namespace()
    network.open()
    try:
        stage = installed(network.folder)
        stage.profile = options.profile
        found = pattern(stage)
        began = time.monotonic()
        world.fill(found, stage.authority, options.count)
        print(f"{options.count} releases are there after {time.monotonic() - began:.0f} s", flush=True)
        row = idle(stage, options.count, options.idle_seconds)
        if options.moving:
            row |= moving(stage, options.moving, options.moving_seconds)
        if not options.no_record:
            record("releases", row)
        stage.plane.stop()
    finally:
        network.close()


if __name__ == "__main__":
    main()
