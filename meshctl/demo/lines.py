"""The demo in plain lines, for a pipe or a log: one for each change, and one every five seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshctl.demo.result import DemoResult, difference
from meshctl.demo.scenarios import DIFFERENCES, Scenario
from meshctl.demo.view import Frame, Step

EVERY_S = 5.0


class Lines:
    """A `Show` that writes lines; one for a whole demo."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._told: tuple[object, ...] = ()
        self._told_at = 0.0

    def __call__(self, frame: Frame) -> None:
        """Write what is new in this frame, if anything."""
        if frame.note:
            self._write(f"{frame.seconds:6.1f}s  {frame.note}")
        run = frame.run if frame.run is not None and frame.run.candidate == frame.version else None
        now: tuple[object, ...] = (frame.scenario.name, frame.step)
        if run is not None:
            now = (frame.scenario.name, run.phase, run.reason, run.weight, run.confirmed)
        if now == self._told and frame.seconds < self._told_at + EVERY_S:
            return
        self._told, self._told_at = now, frame.seconds
        self._write(line(frame))


def line(frame: Frame) -> str:
    """One frame as one line."""
    parts = [f"{frame.seconds:6.1f}s  {frame.scenario.name}"]
    run = frame.run if frame.run is not None and frame.run.candidate == frame.version else None
    if frame.step is Step.STARTING:
        parts.append("the mesh and the baseline start")
    elif run is None:
        parts.append("baseline alone" if frame.step is Step.BASELINE else f"{frame.version} is released")
    elif run.phase.ended:
        parts.append(f"{run.phase.value} ({run.reason.value if run.reason else 'no reason'}): {run.message}")
    elif not run.entries:
        parts.append(f"{run.phase.value}: {run.waits_for or run.message}")
    else:
        confirmed = "" if run.confirmed == run.weight else f" (live {run.confirmed:g} %)"
        parts.append(f"{run.phase.value} at {run.weight:g} %{confirmed}")
    if frame.load is not None:
        parts.append(f"requests {frame.load.requests}  failed {frame.load.failed} (by the mesh {_mesh(frame)})")
    return "  ".join(parts)


def _mesh(frame: Frame) -> int:
    return frame.load.failed_by_mesh if frame.load else 0


def opening(plan: Sequence[Scenario], rps: float, seed: int) -> list[str]:
    """What is going to be shown, and what differs from the product's defaults."""
    lines = [f"The service gets {rps:g} requests a second (seed {seed}).  To come:"]
    lines += [f"  {scenario.name}: the candidate {scenario.candidate}" for scenario in plan]
    lines.append("All thresholds of the judge are the product's own.  Different from the defaults:")
    return [*lines, *(f"  - {one}" for one in DIFFERENCES)]


def summary(result: DemoResult) -> list[str]:
    """What came out of one scenario."""
    run, load = result.run, result.load
    seconds = result.seconds_to_verdict
    took = "" if seconds is None else f" {seconds:.1f} s after its first traffic"
    verb = "as it should" if result.as_expected else "NOT as it should"
    reason = f" ({run.reason.value})" if run.reason else ""
    lines = [f"{result.scenario}: {run.phase.value}{reason}{took}, {verb}.  {run.message}".rstrip()]
    lines.append(
        f"  users: {load.requests} requests, {load.failed} failed, {load.failed_by_mesh} of them by the mesh;"
        f" none left later than {load.max_lag_ms:.0f} ms after it was due"
    )
    lines += [
        f"  at {stage.weight:g} %: {stage.seconds:.1f} s, baseline {stage.baseline.requests} requests"
        f" ({stage.baseline.failed} failed), candidate {stage.candidate.requests} ({stage.candidate.failed} failed)"
        for stage in result.stages
    ]
    measured = difference(result.stages)
    if result.scenario == "good" and measured is not None:
        lines.append(f"  these two arms are meant to be equal; measured: {measured}")
    return lines
