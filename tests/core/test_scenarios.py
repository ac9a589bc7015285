"""Transcripts of whole releases, in ``scenarios/*.txt``: commands, a line ``----``, and what meshctl says to them.

Write commands and run with ``MESHCTL_REWRITE=1`` to have the answers written; then read the diff.

    serving VERSION               the first version has been released already (nothing is told)
    reach PERCENT                 stages are passed until the candidate has so much (nothing is told)
    apply VERSION                 somebody wishes this version
    set KEY=VALUE ...             the wish's settings: onInconclusive, onMetricsOutage, keepWarm, stages=1,10m,50
    ready VERSION R/W             R of W replicas are ready; `ready VERSION unknown`
    judge WORD [MESSAGE]          what the judge says from now on: pass, fail, guard, undecided, step-down,
                                  NoTraffic, ShareMismatch, or nothing (no metrics)
    hook NAME POINT [KEY=VALUE]   the wish has this hook; onError=hold|fail|ignore, stages=1,10
    answer NAME OUTCOME [MESSAGE] what a hook says whenever it is asked from now on, or nothing
    live PERCENT                  another hand sets the candidate's weight
    mesh ok|down|stuck            the mesh answers, or does not, or takes writes that never take effect
    mark                          the routes were taken back, but the store does not know
    request VERB [WEIGHT] [--full] by WHO [because REASON]
    tick [N] [SECONDS]s           time passes, N times so many seconds (once 1 s)
"""

import os
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from meshctl.core.model import (
    FULL,
    Gate,
    Hook,
    HookOutcome,
    HookPoint,
    OnHookError,
    OnInconclusive,
    OnMetricsOutage,
    Reason,
    Stage,
    Verb,
    Verdict,
)
from tests.core.small_world import START, SmallWorld, judged, release_of

FOLDER = Path(__file__).parent / "scenarios"
REQUEST = re.compile(
    r"(?P<verb>\S+)(?: (?P<weight>[\d.]+))?(?P<full> --full)? by (?P<who>\S+)(?: because (?P<why>.*))?"
)


class Transcript:
    def __init__(self):
        self.world = SmallWorld(release_of("none"))
        self.told = 0

    def do(self, line):
        command, _, rest = line.partition(" ")
        return getattr(self, f"do_{command}")(rest)

    def do_serving(self, version):
        self.do_apply(version)
        self.do_ready(f"{version} 2/2")
        self.world.tick(0.0)
        assert self.world.state.baseline == version
        return []

    def do_reach(self, percent):
        word, self.world.judgement = self.world.judgement, judged(Verdict.PASS)
        for _ in range(200):
            self.world.tick()
            if self.world.run.confirmed == float(percent):
                break
        else:
            raise AssertionError(f"{percent} % was not reached")
        self.world.judgement = word
        return []

    def do_apply(self, version):
        self.world.wish(version)
        return []

    def do_set(self, settings):
        release = self.world.release
        spec, analysis = release.spec, release.spec.analysis
        for setting in settings.split():
            key, _, value = setting.partition("=")
            if key == "onInconclusive":
                analysis = replace(analysis, on_inconclusive=OnInconclusive(value))
            elif key == "onMetricsOutage":
                analysis = replace(analysis, on_metrics_outage=OnMetricsOutage(value))
            elif key == "keepWarm":
                spec = replace(spec, keep_warm=timedelta(seconds=float(value)))
            else:
                stages = tuple(stage_of(each) for each in value.split(","))
                spec = replace(
                    spec, strategy=replace(spec.strategy, canary=replace(spec.strategy.canary, stages=stages))
                )
        self.world.release = replace(release, spec=replace(spec, analysis=analysis))
        return []

    def do_ready(self, rest):
        version, found = rest.split()
        if found == "unknown":
            self.world.replicas[version] = None
        else:
            self.world.ready(version, *map(int, found.split("/")))
        return []

    def do_judge(self, rest):
        word, _, message = rest.partition(" ")
        verdict = Verdict(word) if word in list(Verdict) else Verdict.FAIL if word == "guard" else Verdict.UNDECIDED
        wait = Reason(word) if word in list(Reason) else None
        self.world.judgement = (
            None
            if word == "nothing"
            else judged(verdict, message.strip('"'), guard=word == "guard", wait=wait, step_down=word == "step-down")
        )
        return []

    def do_hook(self, rest):
        name, point, *settings = rest.split()
        found = dict(setting.split("=") for setting in settings)
        weights = tuple(float(weight) for weight in found.get("stages", "").split(",") if weight)
        hook = Hook(
            name, HookPoint(point), weights, command=(name,), on_error=OnHookError(found.get("onError", "hold"))
        )
        spec = self.world.release.spec
        self.world.release = replace(self.world.release, spec=replace(spec, hooks=(*spec.hooks, hook)))
        return []

    def do_answer(self, rest):
        name, outcome, message = (*rest.split(maxsplit=2), "")[:3]
        if outcome == "nothing":
            self.world.hook_words.pop(name, None)
        else:
            self.world.hook_words[name] = (HookOutcome(outcome), message)
        return []

    def do_live(self, percent):
        self.world.meddle(float(percent))
        return []

    def do_mesh(self, how):
        self.world.mesh_problem = "connection refused" if how == "down" else ""
        self.world.stuck = how == "stuck"
        if how == "ok" and self.world.live is not None:
            self.world.live = replace(self.world.live, in_effect=True)
        return []

    def do_mark(self, _):
        self.world.mark()
        return []

    def do_request(self, rest):
        found = REQUEST.fullmatch(rest)
        assert found is not None, f"not a request: {rest}"
        weight = None if found["weight"] is None else float(found["weight"])
        self.world.ask(
            Verb(found["verb"]), actor=found["who"], reason=found["why"] or "", weight=weight, full=bool(found["full"])
        )
        return []

    def do_tick(self, rest):
        words = rest.split()
        times = int(words.pop(0)) if words and not words[0].endswith("s") else 1
        seconds = float(words[0][:-1]) if words else 1.0
        said = []
        for _ in range(times):
            events = self.world.tick(seconds)
            said += [*self.answers(), *(f"{self.time()} {told(event)}" for event in events)]
        return said

    def answers(self):
        """The acknowledgements since the last look."""
        kept = self.world.state.acknowledged
        new, self.told = kept[self.told :], len(kept)
        return [
            f"{self.time()} {word.verb} {'accepted' if word.accepted else 'refused'}: {word.message}" for word in new
        ]

    def time(self):
        return f"{(self.world.now - START).total_seconds():g}s"

    def state(self):
        world, run = self.world, self.world.state.run
        if run is None:
            return "= no run"
        reason = f" ({run.reason})" if run.reason else ""
        words = [f"= {run.name} {run.phase}{reason}: {run.candidate} at {run.weight:g} %"]
        if run.weight != run.confirmed:
            words.append(f"the data plane at {run.confirmed:g} %")
        if run.waits_for:
            words.append(f"waits for {run.waits_for}")
        lines = [", ".join(words)]
        live = world.live
        shares = ", ".join(f"{version} {weight:g} %" for version, weight in live.weights.items()) if live else "none"
        lines.append(f"= routes: {shares}" + (" (aborted)" if live is not None and live.aborted else ""))
        kept = [f"baseline {world.state.baseline}"]
        kept += [f"warm {world.state.warm}"] if world.state.warm else []
        kept += [f"rejected {', '.join(world.state.rejected)}"] if world.state.rejected else []
        return "\n".join([*lines, f"= {'; '.join(kept)}"])


def stage_of(text):
    """``10`` is a stage of 10 %, ``10m`` one with a manual gate."""
    gate = Gate.MANUAL if text.endswith("m") else Gate.AUTO
    weight = float(text.rstrip("m"))
    return Stage(weight, gate, timedelta(seconds=10), timedelta(seconds=100 if weight < FULL else 1800))


def told(event):
    moved = event.phase_to if event.phase_from == event.phase_to else f"{event.phase_from} -> {event.phase_to}"
    reason = f" ({event.reason})" if event.reason else ""
    actor = event.actor.claimed or event.actor.type
    return f"[{actor}] {moved}{reason}: {event.message}"


def played(text):
    """The transcript with the answers that meshctl gives now.  Comments stay where they are."""
    transcript, lines, skipping = Transcript(), [], False
    said: list[str] = []
    for line in text.splitlines():
        if skipping and line:
            continue
        skipping = False
        lines.append(line)
        if line == "----":
            lines += [*said, transcript.state()]
            said, skipping = [], True
        elif line and not line.startswith("#"):
            said += transcript.do(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_a_release_goes_as_its_transcript_says(path):
    written = path.read_text()
    now = played(written)
    if os.environ.get("MESHCTL_REWRITE"):
        path.write_text(now)
    else:
        assert now.splitlines() == written.splitlines()


def test_every_kind_of_ending_and_waiting_has_a_transcript():
    text = "".join(path.read_text() for path in FOLDER.glob("*.txt"))
    missing = [reason for reason in Reason if f"({reason})" not in text]
    assert not missing
