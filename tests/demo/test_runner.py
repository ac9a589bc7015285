"""The demo's parent with real child processes; in place of the mesh stands one replica of the example service."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
import yaml

from meshctl.core.errors import InvalidInput, Refused, WorkloadError
from meshctl.core.model import Phase, Reason
from meshctl.demo.play import Options
from meshctl.demo.runner import Demo
from meshctl.demo.scenarios import plan
from meshctl.demo.view import RunView, Step
from tests.demo.doubles import SteadyClock, at_stage, run, wait_until


class OneReplica:
    """A `Target` whose controller is a replica that serves users itself, and whose run goes by the looks at it."""

    def __init__(self, ends=Phase.PROMOTED, looks=8, command=None):
        self.clock = SteadyClock()
        self.cleared = self.applied = 0
        self._ends, self._looks, self._command = ends, looks, command
        self._seen = 0

    def controller(self, folder):
        return self._command or [sys.executable, "-m", "meshctl.demo.service"]

    def clear(self, folder):
        self.cleared += 1

    def apply(self, folder):
        self.applied += 1

    def address(self, folder):
        lines = [line for line in (folder / "controller.log").read_text().splitlines() if "listens on" in line]
        return lines[-1].rpartition(" ")[2] if lines else None

    def follow(self, folder):
        now = self.clock.now()
        version = yaml.safe_load((folder / "objects" / "release.yaml").read_text())["spec"]["version"]
        if not self.applied:
            return RunView(now, run(version, phase=Phase.PROMOTED, reason=Reason.FIRST_RELEASE, baseline=None), 0)
        if self._seen == 0:
            self._began = now
        self._seen += 1
        moving = at_stage(0, [1.0], self._began, candidate=version, first_traffic_at=self._began)
        if self._seen < self._looks:
            return RunView(now, moving, 0)
        return RunView(now, replace(moving, phase=self._ends, reason=Reason.EVIDENCE, ended_at=self._began), 0)


def options(tmp_path, **changes):
    values = {"folder": tmp_path / "demo", "rps": 100.0, "seed": 1, "baseline_s": 0.3, "tail_s": 0.2, "once": True}
    return Options(**{**values, **changes})


class Recorder:
    """Keeps every frame, and does something at the first one of a step."""

    def __init__(self, step=None, action=None):
        self.frames, self._step, self._action = [], step, action

    def __call__(self, frame):
        self.frames.append(frame)
        if frame.step is self._step and self._action:
            action, self._action = self._action, None
            action()


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def controller_pid(demo):
    return demo._controller.pid


def test_a_scenario_is_played_from_the_baseline_to_its_end_and_leaves_records_but_no_process(tmp_path):
    target, seen = OneReplica(), Recorder()
    with Demo(target, target.clock, plan("good", once=True), options(tmp_path), seen) as demo:
        pid = controller_pid(demo)
        result = demo.play(0)
    assert gone(pid)
    assert (result.run.phase, result.exit_code, target.applied) == (Phase.PROMOTED, 0, 1)
    assert result.load.final
    assert result.load.sent == result.load.requests > 30
    assert (result.load.failed, [stage.weight for stage in result.stages]) == (0, [1.0])
    assert list(dict.fromkeys(frame.step for frame in seen.frames)) == list(Step)
    assert {found.name for found in (tmp_path / "demo" / "objects").iterdir()} == {"workload.yaml", "release.yaml"}
    assert (tmp_path / "demo" / "controller.log").exists()


def test_a_controller_that_is_killed_is_started_again_within_a_second_and_the_run_goes_on(tmp_path):
    target = OneReplica(looks=15)
    demo = Demo(target, target.clock, plan("good", once=True), options(tmp_path), lambda frame: seen(frame))
    seen = Recorder(Step.RELEASING, lambda: os.kill(controller_pid(demo), signal.SIGKILL))
    with demo:
        first = controller_pid(demo)
        result = demo.play(0)
        assert controller_pid(demo) != first
    killed = next(frame.seconds for frame in seen.frames if frame.step is Step.RELEASING)
    note = next(frame for frame in seen.frames if frame.note)
    assert "the controller ended by signal 9 and was started again" in note.note
    assert note.seconds - killed < 1.0
    assert result.run.phase is Phase.PROMOTED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [Step.STARTING, Step.BASELINE, Step.RELEASING])
def test_a_signal_at_any_moment_ends_every_process(tmp_path, number, step):
    target = OneReplica(looks=10_000)
    seen = Recorder(step, lambda: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    demo = Demo(target, target.clock, plan("good", once=True), options(tmp_path), seen)
    pids = []

    def play():
        with demo:
            pids.append(controller_pid(demo))
            demo.play(0)

    with pytest.raises(SystemExit) as ended:
        play()
    assert ended.value.code == 128 + number
    assert gone(pids[0])
    assert signal.getsignal(number) is before
    with suppress(FileNotFoundError):
        assert '"final":true' in (tmp_path / "demo" / "load-1.1.0.json").read_text()


def test_a_controller_that_dies_again_and_again_is_an_error_with_its_last_words(tmp_path):
    target = OneReplica(command=[sys.executable, "-c", "raise SystemExit('no Envoy here')"])
    demo = Demo(target, target.clock, plan("good", once=True), options(tmp_path), Recorder())
    with pytest.raises(WorkloadError, match="the controller ended 5 times within 30 s") as error, demo:
        demo.play(0)
    assert "no Envoy here" in str(error.value)


def test_once_does_not_wait_for_a_person(tmp_path):
    target = OneReplica(ends=Phase.HELD)
    target_follow = target.follow

    def held(folder):
        view = target_follow(folder)
        if view.run.phase is not Phase.HELD:
            return view
        return replace(view, run=replace(view.run, reason=Reason.LOWERED_BY_OTHER, ended_at=None))

    target.follow = held
    with Demo(target, target.clock, plan("good", once=True), options(tmp_path), Recorder()) as demo:
        result = demo.play(0)
    assert (result.exit_code, result.seconds_to_verdict) == (11, None)


def test_the_next_demo_replaces_the_records_and_ends_what_was_left_running(tmp_path):
    for _ in range(2):
        target = OneReplica()
        with Demo(target, target.clock, plan("good", once=True), options(tmp_path), Recorder()):
            wait_until(lambda: target.address(tmp_path / "demo"), "an address")  # noqa: B023
            assert not (tmp_path / "demo" / "old").exists()
            (tmp_path / "demo" / "old").mkdir()
        assert target.cleared == 1


def test_two_demos_do_not_share_a_folder(tmp_path):
    target = OneReplica()
    first = Demo(target, target.clock, plan("good", once=True), options(tmp_path), Recorder())
    second = Demo(target, target.clock, plan("good", once=True), options(tmp_path), Recorder())
    with first, pytest.raises(Refused, match="another demo is running there"), second:
        pass
    assert target.cleared == 1


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "demo").mkdir()
    precious = tmp_path / "demo" / "state.db"
    precious.write_text("precious")
    target = OneReplica()
    demo = Demo(target, target.clock, plan("good", once=True), options(tmp_path), Recorder())
    with pytest.raises(InvalidInput, match=r"it holds 'state\.db' and was not made by a demo"), demo:
        pass
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("rps", [0, -1, 1e9, float("nan")])
def test_a_rate_that_makes_no_sense_is_refused(tmp_path, rps):
    with pytest.raises(InvalidInput, match="requests a second"):
        Demo(OneReplica(), SteadyClock(), plan("good", once=True), options(tmp_path, rps=rps), Recorder())
