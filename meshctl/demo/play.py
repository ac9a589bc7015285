"""One scenario, from the baseline's first load to the end of the candidate's run."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from meshctl.core.errors import Unreachable, WorkloadError
from meshctl.core.model import Phase, Reason, Run
from meshctl.core.ports import Clock
from meshctl.core.progress import SELF_ENDING_HOLDS
from meshctl.demo import scenarios, tally
from meshctl.demo.children import Child, Signals
from meshctl.demo.place import Place
from meshctl.demo.result import DemoResult, LoadPoint, demo_result
from meshctl.demo.scenarios import Scenario
from meshctl.demo.view import Entries, Frame, RunView, Show, Step, Target

LOOK_S = 0.2
START_S = 60.0
LOAD_END_S = 15.0
NEXT_S = 5.0
"""So long after a run that made way for another one does that one take to begin, at most."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    folder: Path = Path(".meshctl/demo")
    rps: float = scenarios.RPS
    seed: int | None = None
    baseline_s: float = scenarios.BASELINE_S
    tail_s: float = 3.0
    """The load goes on so long after the end of a run: what tidying up costs users is counted too."""
    once: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """What is there when a scenario begins: the folder, the mesh, its controller, somebody who looks."""

    place: Place
    target: Target
    clock: Clock
    controller: Child
    signals: Signals
    show: Show


class Play:
    """Plays one scenario, once."""

    def __init__(self, stage: Stage, scenario: Scenario, version: str) -> None:
        self._stage, self._scenario, self._version = stage, scenario, version
        self._folder = stage.place.folder
        self._counts_file = self._folder / f"load-{version}.json"
        self._log = self._folder / "load.log"
        self._began = time.monotonic()
        self._step = Step.STARTING
        self._view: RunView | None = None
        self._load: Child | None = None
        self._points: list[LoadPoint] = []
        self._entries = Entries()

    def run(self, options: Options, seed: int) -> DemoResult:
        """Load on the baseline, then the candidate, to its end; the load generator is ended in any case."""
        address = self._reachable()
        losses = self._losses()
        command = [sys.executable, "-m", "meshctl.demo.load", "--url", address, "--rps", f"{options.rps:g}"]
        command += ["--seed", str(seed), "--out", str(self._counts_file)]
        self._load = Child("load generator", command, self._log)
        try:
            self._step = Step.BASELINE
            self._first_answer()
            self._pass_time(options.baseline_s)
            self._stage.place.put(scenarios.release(self._version))
            self._stage.target.apply(self._folder)
            self._step = Step.RELEASING
            run = self._end_of_run(once=options.once)
            self._step = Step.ENDED
            self._pass_time(options.tail_s)
        finally:
            self._load.end(LOAD_END_S)
        self._look()
        now = self._losses()
        lost = None if losses is None or now is None else now - losses
        return demo_result(self._scenario.name, run, self._entries.confirmed, self._points, lost)

    def _losses(self) -> int | None:
        return self._view.losses if self._view else None

    def _reachable(self) -> str:
        """Wait until the version before the candidate serves; returns the users' URL."""
        deadline = time.monotonic() + START_S
        while True:
            self._look()
            run = self._view.run if self._view else None
            if run is not None and run.phase is Phase.ROLLED_BACK and run.baseline is None:
                raise WorkloadError(
                    f"the demo's first version {run.candidate} did not start: {run.message}",
                    hint=f"what the controller and the replicas said is in {self._folder}",
                )
            address = self._stage.target.address(self._folder)
            if address is not None and run is not None and run.phase.ended:
                return address
            if time.monotonic() > deadline:
                found = f"its run is {run.phase.value}: {run.waits_for or run.message}" if run else "it has no run"
                raise Unreachable(
                    f"the demo's service did not come up within {START_S:g} s: {found}",
                    hint=f"what the controller said is in {self._folder / 'controller.log'}",
                )
            self._stage.signals.wait(LOOK_S)

    def _first_answer(self) -> None:
        deadline = time.monotonic() + START_S
        while not self._points or not self._points[-1].counts.requests:
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"the load generator got no answer within {START_S:g} s", hint=f"what it said is in {self._log}"
                )
            self._stage.signals.wait(LOOK_S)
            self._look()

    def _pass_time(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._stage.signals.wait(min(LOOK_S, left))
            self._look()

    def _end_of_run(self, *, once: bool) -> Run:
        """Follow the candidate's run until it ends, or with ``--once`` until only a person can help it.

        Where somebody wishes yet another version meanwhile, its run is followed.
        """
        deadline, begun, ended_at = time.monotonic() + START_S, False, 0.0
        while True:
            self._stage.signals.wait(LOOK_S)
            self._look()
            run = self._view.run if self._view else None
            begun = begun or (run is not None and run.candidate == self._version)
            if run is not None and begun:
                stuck = run.phase is Phase.HELD and run.reason not in SELF_ENDING_HOLDS
                ended_at = (ended_at or time.monotonic()) if run.phase.ended else 0.0
                makes_way = run.reason is Reason.SUPERSEDED and time.monotonic() < ended_at + NEXT_S
                if (run.phase.ended and not makes_way) or (stuck and once):
                    return run
            elif time.monotonic() > deadline:
                raise Unreachable(
                    f"the controller did not begin a run of version {self._version} within {START_S:g} s",
                    hint=f"what it said is in {self._folder / 'controller.log'}",
                )

    def _look(self) -> None:
        """Keep the processes alive, read run and counts, show them."""
        note = self._stage.controller.revive()
        if self._load is not None and self._step is not Step.ENDED and (code := self._load.died()) is not None:
            raise WorkloadError(
                f"the load generator ended with {code}:\n{self._load.last_words()}",
                hint=f"all it said is in {self._log}",
            )
        with suppress(Unreachable):
            self._view = self._stage.target.follow(self._folder) or self._view
        if self._view is not None and self._view.run.candidate == self._version:
            self._entries.see(self._view)
        counts = tally.read(self._counts_file)
        if counts is not None and (not self._points or counts.monotonic > self._points[-1].counts.monotonic):
            age = timedelta(seconds=time.monotonic() - counts.monotonic)
            self._points.append(LoadPoint(self._stage.clock.now() - age, counts))
        seconds = time.monotonic() - self._began
        run = self._view.run if self._view else None
        self._stage.show(Frame(self._scenario, self._version, self._step, seconds, run, counts, note))
