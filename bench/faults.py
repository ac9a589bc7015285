"""Play the demo scenarios with something going wrong in the middle, and count what users saw of it.

python bench/faults.py                       # every row, about 25 minutes
python bench/faults.py --only good:abort@50  # one row; --list names them all

A fault is done to the processes of a demo that runs as it always does: ``controller`` is kill -9 of the controller
in each stage that the scenario reaches, ``replica`` kill -9 of one replica of each version while the other lives,
``abort@W`` a person's abort at W percent, ``supersede@10`` a newer wish at 10 percent.  The promise is that no
request fails because of meshctl: ``failedByMesh`` is 0 in every row.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from common import record, rows, table

from meshctl.core.model import Run
from meshctl.demo import scenarios, tally
from meshctl.wiring import EmbeddedPlace

WEIGHTS = (1.0, 10.0, 50.0, 80.0, 100.0)
REACHED = {"good": WEIGHTS, "late": (1.0, 10.0, 50.0)}
"""The stages that a scenario reaches; the others are stopped on the first percent."""

NEWER = "1.9.0"
LONGEST_S = 600.0
RPS = 600


def faults_of(scenario: str) -> list[str]:
    """Everything that is done to a scenario, one row each."""
    reached = REACHED.get(scenario, (1.0,))
    aborts = [f"abort@{weight:g}" for weight in reached]
    return ["controller", "replica", *aborts, *(["supersede@10"] if 10.0 in reached else [])]


ROWS = tuple(f"{scenario}:{fault}" for scenario in scenarios.SCENARIOS for fault in faults_of(scenario))


class Demo:
    """One ``meshctl demo`` in a folder of its own, looked at from outside while it runs."""

    def __init__(self, folder: Path, scenario: str, rps: float, seed: int) -> None:
        self.base = folder / "records"
        self._place = EmbeddedPlace(self.base)
        command = [sys.executable, "-m", "meshctl", "demo", "--scenario", scenario, "--once", "-o", "json"]
        command += ["--rps", f"{rps:g}", "--seed", str(seed), "--folder", str(self.base)]
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self) -> Run | None:
        """The present run of the candidate, once there is one."""
        if not (self.base / "state.db").exists():
            return None
        store = self._place.store()
        try:
            run = store.load(scenarios.NAME).state.run if store.names() else None
        finally:
            store.close()  # type: ignore[attr-defined]
        return None if run is None or run.baseline is None else run

    def at(self, weight: float) -> bool:
        """Wait until the candidate's weight is in effect; false when its run ended before."""
        deadline = time.monotonic() + LONGEST_S
        while self.process.poll() is None and time.monotonic() < deadline:
            run = self.run()
            if run is not None and run.phase.ended:
                return False
            if run is not None and run.weight == run.confirmed == weight:
                return True
            time.sleep(0.05)
        return False

    def pids(self) -> dict[str, int]:
        """What runs, by key."""
        found = self._place.status()["processes"]
        return {each["key"]: each["pid"] for each in found if each["state"] == "running"}

    def meshctl(self, *words: str) -> int:
        """The exit code of a command on this mesh."""
        command = [sys.executable, "-m", "meshctl", *words, f"--local={self.base}"]
        return subprocess.run(command, capture_output=True, timeout=60).returncode

    def end(self) -> dict[str, Any] | None:
        """The result, once the demo is over."""
        try:
            said = self.process.communicate(timeout=LONGEST_S)[0].strip().splitlines()
        except subprocess.TimeoutExpired:
            self.interrupt()
            return None
        return json.loads(said[-1]) if said else None

    def interrupt(self) -> None:
        """Ctrl-C: everything ends in good order."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=120)

    def counts(self) -> tally.LoadCounts:
        """What the load generator counted to its end."""
        return tally.read(self.base / f"load-{scenarios.candidate_version(0)}.json") or tally.LoadCounts()


def kill_controllers(demo: Demo, reached: tuple[float, ...]) -> int:
    """Once in each stage; the demo's parent starts the next one."""
    killed = 0
    for weight in reached:
        if not demo.at(weight):
            break
        holder = demo._place.place.holder()
        if holder is not None:
            os.kill(holder, signal.SIGKILL)
            killed += 1
    return killed


def kill_replicas(demo: Demo, reached: tuple[float, ...]) -> int:
    """One of each version, in the last stage where both serve."""
    if not demo.at(max(weight for weight in reached if weight < 100)):
        return 0
    victims = [pid for key, pid in demo.pids().items() if key.startswith(scenarios.NAME) and key.endswith("/0")]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    return len(victims)


def abort_at(weight: float) -> Callable[[Demo], int]:
    """A person's command at this weight."""
    return lambda demo: int(demo.at(weight) and demo.meshctl("abort", scenarios.NAME, "--reason", "a rehearsal") == 0)


def supersede(demo: Demo) -> int:
    """Another version is wished at 10 %; the demo follows its run to the end."""
    if not demo.at(10.0):
        return 0
    objects = demo.base / "objects"
    workload = yaml.safe_load((objects / "workload.yaml").read_text(encoding="utf-8"))
    workload["spec"]["versions"][NEWER] = workload["spec"]["versions"][scenarios.BASELINE]
    newer = objects.with_name("newer")
    newer.mkdir()
    scenarios.write_object(newer / "workload.yaml", workload)
    scenarios.write_object(newer / "release.yaml", scenarios.release(NEWER))
    return int(demo.meshctl("apply", "-f", str(newer)) == 0)


def play(row: str, rps: float, seed: int) -> dict[str, Any]:
    """One demo with one fault; its figures."""
    scenario, _, fault = row.partition(":")
    reached = REACHED.get(scenario, (1.0,))
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(Path(folder), scenario, rps, seed)
        try:
            if fault == "controller":
                done = kill_controllers(demo, reached)
            elif fault == "replica":
                done = kill_replicas(demo, reached)
            elif fault == "supersede@10":
                done = supersede(demo)
            else:
                done = abort_at(float(fault.partition("@")[2]))(demo)
            result = demo.end()
            phase = result["phase"] if result else "?"
            load = result["load"] if result else {"requests": 0, "failed": 0, "failedByMesh": None}
            causes = demo.counts().causes
        finally:
            if demo.process.poll() is None:
                demo.interrupt()
    return {"row": row, "rps": rps, "seed": seed, "done": done, "phase": phase, "load": load, "causes": causes}


HEADER = ("scenario", "fault", "rps", "times done", "outcome", "requests", "failed", "by mesh", "target", "met")


def report() -> str:
    """The table from the newest result of each row."""
    newest = {each["row"]: each for each in rows("faults")}
    body = []
    for row in ROWS:
        if row not in newest:
            continue
        each = newest[row]
        scenario, _, fault = row.partition(":")
        load, own = each["load"], each["load"]["failedByMesh"]
        met = own == 0 and each["done"] > 0
        body.append(
            [
                scenario,
                fault,
                f"{each['rps']:g}",
                each["done"],
                each["phase"],
                load["requests"],
                load["failed"],
                own,
                "by mesh 0",
                "yes" if met else "**no**",
            ]
        )
    return table(HEADER, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=ROWS, metavar="ROW", help="SCENARIO:FAULT")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--rps", type=float, default=RPS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.list:
        print("\n".join(ROWS))
        return
    for row in [options.only] if options.only else ROWS:
        found = play(row, options.rps, options.seed)
        record("faults", found)
        print(json.dumps(found), flush=True)
    print(report())


if __name__ == "__main__":
    main()
