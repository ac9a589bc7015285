"""The parent of ``meshctl demo``: starts the controller and the load as processes and ends them, come what may."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from types import TracebackType

from meshctl.core.errors import InvalidInput
from meshctl.core.ports import Clock
from meshctl.demo import scenarios
from meshctl.demo.children import Child, Signals
from meshctl.demo.place import Place
from meshctl.demo.play import Options, Play, Stage
from meshctl.demo.result import DemoResult
from meshctl.demo.scenarios import Scenario
from meshctl.demo.view import Show, Target

CONTROLLER_END_S = 20.0


class Demo:
    """A context: inside it the mesh runs; on leaving it every process is gone and the records stay.

    ``with Demo(...) as demo: results = [demo.play(position) for position in range(len(plan))]``
    """

    def __init__(self, target: Target, clock: Clock, plan: Sequence[Scenario], options: Options, show: Show) -> None:
        if not 0 < options.rps <= 5000:
            raise InvalidInput(
                f"cannot run the demo at {options.rps:g} requests a second",
                hint="--rps takes more than 0 and at most 5000; the default is 600",
            )
        self.seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        self._target, self._clock, self._options, self._show = target, clock, options, show
        self._plan = tuple(plan)
        self._place = Place(options.folder)
        self._signals = Signals()
        self._controller: Child | None = None

    def __enter__(self) -> Demo:
        self._signals.__enter__()
        try:
            self._place.take(self._target.clear)
            self._place.put(scenarios.workload(self._plan, self._options.rps, self.seed))
            self._place.put(scenarios.release(scenarios.BASELINE))
            folder = self._place.folder
            self._controller = Child("controller", self._target.controller(folder), folder / "controller.log")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        """End the controller and with it the mesh; a controller that had to be killed leaves work for `clear`."""
        try:
            if self._controller is not None and not self._controller.end(CONTROLLER_END_S):
                self._target.clear(self._place.folder)
        finally:
            self._controller = None
            self._place.leave()
            self._signals.__exit__(None, None, None)

    def play(self, position: int) -> DemoResult:
        """Play the scenario at this place of the plan to its end.  Raises `SystemExit` on a signal."""
        assert self._controller is not None, "a demo plays only inside its with block"
        stage = Stage(self._place, self._target, self._clock, self._controller, self._signals, self._show)
        play = Play(stage, self._plan[position], scenarios.candidate_version(position))
        return play.run(self._options, self.seed + position)
