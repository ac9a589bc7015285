"""Why a release stands where it stands, in plain words with the numbers: a note for whoever is on call.

A `Note` says what is so, why, what would change it, what the person may do and what is planned next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from meshctl.app import words
from meshctl.app.findings import between, findings_of
from meshctl.app.views import DecisionView, ReleaseView
from meshctl.core.model import FULL, Gate, OnInconclusive, OnMetricsOutage, Phase, Reason, Run, Stage, Verb, Verdict
from meshctl.core.status import needs_person

_HOLDS = {
    Reason.METRICS_OUTAGE: "Without metrics nothing can be judged, and an outage of the metrics is not the candidate's "
    "fault: the weight stays where it is.",
    Reason.NO_TRAFFIC: "No requests means no evidence, neither for nor against the candidate.",
    Reason.SHARE_MISMATCH: "The requests do not split as decided, so what is measured is not what was meant to be "
    "measured.  Look for clients that go around the mesh, sticky sessions, or few and long connections.",
    Reason.NOT_IN_EFFECT: "The data plane has not taken up the decided weight; nothing is raised before it has.",
    Reason.LOWERED_BY_OTHER: "Another hand took weight away, and whoever did that may have had a reason: it is never "
    "raised again without a person's word.",
    Reason.INCONCLUSIVE: "The stage's longest time ended without a proof either way.",
    Reason.HOOK_HOLDS: "A hook of the release has not let it go on; it is asked again, at most a minute later.  The "
    "judge goes on meanwhile.",
}

_HELD = {
    Reason.METRICS_OUTAGE: "the metrics are away",
    Reason.NO_TRAFFIC: "there are no requests to judge by",
    Reason.SHARE_MISMATCH: "the requests do not split as decided",
    Reason.NOT_IN_EFFECT: "the data plane does not follow",
    Reason.LOWERED_BY_OTHER: "another hand lowered it, a person must say how it goes on",
    Reason.INCONCLUSIVE: "neither proved bad nor good in time, a person must say how it goes on",
    Reason.HOOK_HOLDS: "a hook has not let it go on yet",
}

_ENDS = {
    Reason.REGRESSION: "The judge has shown that it is worse than tolerated.",
    Reason.GUARD: "It broke the absolute limit that the release sets.",
    Reason.ABORTED: "A person took it back, or the routes were found marked as taken back.",
    Reason.INCONCLUSIVE: "A stage's longest time ended without a proof either way, and the release says to go back "
    "then (analysis.onInconclusive: rollback).  It was not shown to be bad.",
    Reason.SUPERSEDED: "Another version was wished before it got through; it was not shown to be bad.",
    Reason.NOT_READY: "Its replicas did not get ready, or did not stay so.  The judge had no say in this.",
    Reason.METRICS_OUTAGE: "The metrics stayed away for longer than metricsGrace, and the release says to go back then "
    "(analysis.onMetricsOutage: rollback).  It was not shown to be bad.",
    Reason.HOOK_FAILED: "A hook of the release failed it.  The judge had not shown that it is bad.",
    Reason.ROLLBACK_REQUESTED: "It had been promoted; a person went back to the version before it.",
}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the person may do: a verb of the command line, what follows it, what it brings."""

    verb: str
    arguments: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Note:
    """What there is to say about a release; each part is a list of sentences."""

    headline: str
    why: tuple[str, ...]
    evidence: tuple[str, ...]
    change: tuple[str, ...]
    steps: tuple[Step, ...]
    plan: tuple[str, ...]


def note_of(view: ReleaseView) -> Note:
    """The note on one release."""
    run = view.run
    if run is None:
        first = f"{view.release.spec.version} is wished; no controller has looked at it yet."
        return Note(first, (), (), ("A controller that runs: the next tick starts the first run.",), (), ())
    return Note(
        headline=_headline(view, run),
        why=tuple(_why(view, run)),
        evidence=tuple(findings_of(view)),
        change=tuple(_change(view, run)),
        steps=tuple(_steps(view, run)),
        plan=tuple(_plan(view, run)),
    )


# ------------------------------------------------------------------------------------ what is so


def _headline(view: ReleaseView, run: Run) -> str:
    new, old = run.candidate, run.baseline
    where = _where(view)
    at = words.instant(run.ended_at) if run.ended_at else ""
    if run.phase is Phase.PROMOTED:
        if run.weight < FULL:
            return f"{new} was promoted at {at}, but has only {words.weight(run.weight)}: another hand lowered it."
        if view.turned_down:
            return f"{new} serves everybody, promoted at {at}; {view.turned_down} is wished, but was rejected earlier."
        return f"All is well: {new} serves everybody, promoted at {at}."
    if run.phase is Phase.ROLLED_BACK:
        if run.confirmed > 0:
            return f"{new} is being taken back; the data plane still gives it {words.weight(run.confirmed)}."
        serving = view.status.baseline or old
        safe = f"{serving} serves everybody.  Users are safe." if serving else "no version serves yet."
        return f"{new} was taken back at {at}; {safe}"
    if run.phase is Phase.PENDING:
        return f"{new} has no traffic yet; {f'{old} serves everybody' if old else 'no version serves'}."
    if run.phase is Phase.HELD:
        why = _HELD.get(run.reason, "something is wrong or unknown") if run.reason else "something is unknown"
        return f"{new} is held at {where}: {why}."
    if run.phase is Phase.PAUSED:
        return f"{new} is paused at {where}: a person must say how it goes on."
    if run.weight != run.confirmed:
        return f"{where} is decided for {new}; the data plane still has {words.weight(run.confirmed)}."
    return f"{new} serves {where} and is compared with {old}."


def _where(view: ReleaseView) -> str:
    present = view.present
    if present is None:
        return words.weight(view.status.weight)
    return f"{words.weight(view.status.weight)} (stage {present.number} of {len(view.stages)})"


# ------------------------------------------------------------------------------------ why


def _why(view: ReleaseView, run: Run) -> Iterator[str]:
    last = _last_move(view)
    if last is not None:
        who = last.actor if last.by_person else f"the {last.actor}"
        yield f"Last decision, {words.clock(last.time)} UTC by {who}: {last.message}."
    elif run.message:
        yield f"{run.message}."
    if run.reason is None:
        return
    if run.phase is Phase.HELD and run.reason in _HOLDS:
        yield _HOLDS[run.reason]
    elif run.phase is Phase.ROLLED_BACK and run.reason in _ENDS:
        yield _ENDS[run.reason]
    elif run.phase is Phase.PROMOTED and run.reason is Reason.FIRST_RELEASE:
        yield "It is the first version: there was nothing to compare it with, ready replicas were enough."
    elif run.phase is Phase.PAUSED and run.reason is Reason.MANUAL_GATE:
        yield "The gate of this stage is manual: nobody but a person opens it, whatever the evidence says."


def _last_move(view: ReleaseView) -> DecisionView | None:
    return view.decisions[-1] if view.decisions else None


# ------------------------------------------------------------------------------------ what would change it


def _change(view: ReleaseView, run: Run) -> Iterator[str]:
    if view.pending:
        verbs = ", ".join(request.verb for request in view.pending)
        yield f"Not served yet: {verbs}.  The next tick of a controller does that."
    if view.release.metadata.generation != view.status.observed_generation:
        yield f"The wish ({view.release.spec.version}) is newer than what a controller has seen."
    if run.phase.ended:
        if view.waits_for:
            yield f"It waits for {view.waits_for}; meshctl raises nothing that another hand lowered."
        if view.turned_down:
            yield f"{view.turned_down} is not tried again by itself: only retry or another version starts a run."
        return
    if view.waits_for:
        own = "" if needs_person(run) else "  It goes on by itself then."
        yield f"It waits for {view.waits_for}.{own}"
    if run.phase is Phase.PENDING:
        limit = words.span(run.spec.ready_timeout)
        yield f"If they do not get ready within {limit} (readyTimeout), the run ends; no user has seen {run.candidate}."
    if not run.entries:
        return
    if run.phase is Phase.PROGRESSING and run.weight == run.confirmed:
        yield from _until(view, run)
    if run.phase is Phase.HELD and run.reason is Reason.METRICS_OUTAGE:
        grace = words.span(run.spec.analysis.metrics_grace)
        back = run.spec.analysis.on_metrics_outage is OnMetricsOutage.ROLLBACK
        yield f"After {grace} without metrics it {'is taken back' if back else 'is still held'} (onMetricsOutage)."
    if run.stages[run.stage].weight < FULL and run.reason is not Reason.METRICS_OUTAGE:
        yield "A regression that is shown takes it back at once, at any moment."


def _until(view: ReleaseView, run: Run) -> Iterator[str]:
    stage = run.stages[run.stage]
    if stage.weight == FULL:
        return
    if view.remaining_s is not None and run.verdict is Verdict.PASS:
        yield f"It is shown to be good enough; {following(run)} comes in {words.about(view.remaining_s)}."
        return
    if view.remaining_s is not None:
        good = f"If {run.candidate} is as good as {run.baseline}"
        yield f"{good}, {following(run)} comes in {words.about(view.remaining_s)}; the worse it is, the later."
    zone = " and ".join(between(run))
    if zone:
        yield (
            f"In {zone} it lies between tolerance and margin; if that is its true size, no amount of traffic need ever "
            "decide: make the difference smaller, widen the margin in the spec, or decide yourself."
        )
    if view.moment is not None:
        left = stage.max_duration - run.clock.at(view.moment)
        what = "taken back" if run.spec.analysis.on_inconclusive is OnInconclusive.ROLLBACK else "held for a person"
        if left > timedelta(0):
            yield f"Without a proof either way it is {what} in {words.span(left)} (maxDuration, onInconclusive)."


# ------------------------------------------------------------------------------------ what the person may do

_WHY = '--reason "..."'


def _steps(view: ReleaseView, run: Run) -> Iterator[Step]:
    if run.phase.ended:
        yield from _steps_after(view, run)
        return
    reason, present = run.reason, view.present
    if run.phase is Phase.PAUSED and reason is Reason.MANUAL_GATE:
        yield Step(Verb.PROMOTE, "", f"opens the gate: on to {following(run)}")
    elif needs_person(run):
        yield Step(Verb.RESUME, "", f"goes on at {words.weight(_resumed(run))}" if run.entries else "goes on waiting")
    if present is not None and reason is not Reason.MANUAL_GATE and run.verdict is not Verdict.FAIL:
        yield Step(
            Verb.PROMOTE, _WHY, f"goes on to {following(run)} without waiting for the judge; recorded with your name"
        )
    if run.phase is Phase.PENDING:
        yield Step(Verb.PAUSE, "", "no traffic, even when it is ready, until resume")
    elif run.phase is Phase.PROGRESSING or not needs_person(run):
        yield Step(Verb.PAUSE, "", f"keeps {words.weight(run.weight)} until resume; a regression still takes it back")
    back = f"{run.candidate} to 0 % in one write; {run.baseline} serves everybody"
    yield Step(Verb.ABORT, _WHY, back if run.baseline else f"{run.candidate} is given up; no version serves then")


def _resumed(run: Run) -> float:
    """The weight that a resume leads to: a bake that was stepped down stays so, the judge leads it up again."""
    stepped_down = run.entries[-1].bake and run.reason is not Reason.LOWERED_BY_OTHER
    return run.weight if stepped_down else run.stages[run.stage].weight


def _steps_after(view: ReleaseView, run: Run) -> Iterator[Step]:
    if run.phase is Phase.PROMOTED:
        if run.weight < FULL:
            yield Step(Verb.RESUME, "", f"gives everybody back to {run.candidate}")
        if view.warm is not None:
            until = f" (until {words.instant(view.warm_until)})" if view.warm_until else ""
            yield Step(Verb.ROLLBACK, _WHY, f"back to {view.warm} in one write, while it is kept warm{until}")
        if view.turned_down:
            yield Step(Verb.RETRY, _WHY, f"tries {view.turned_down} again, in a new run from the first stage")
        elif run.baseline is not None:
            yield Step("apply", "-f FILE", f'with version: "{run.baseline}" leads back to it, through all stages')
        return
    if view.turned_down:
        yield Step(Verb.RETRY, _WHY, f"tries {view.turned_down} again, in a new run from the first stage")
        yield Step("apply", "-f FILE", "with another version starts a run of that one")


def following(run: Run) -> str:
    """What the next stage is called."""
    if run.stage + 1 < len(run.stages):
        return words.weight(run.stages[run.stage + 1].weight)
    return "the end of the run"


# ------------------------------------------------------------------------------------ what is planned


def _plan(view: ReleaseView, run: Run) -> Iterator[str]:
    if run.phase is Phase.PROMOTED:
        if view.warm is not None and view.warm_until is not None:
            yield f"{view.warm} is kept warm until {words.instant(view.warm_until)} and then goes."
        else:
            yield "Nothing; the next version starts the next run."
        return
    if run.phase is Phase.ROLLED_BACK:
        yield "Nothing by itself."
        return
    ahead = run.stages[run.stage + 1 :] if run.entries else run.stages
    if run.baseline is None:
        yield f"Once ready, {run.candidate} serves everybody at once: there is no other version."
    elif ahead:
        yield "Then " + ", ".join(_planned(stage) for stage in ahead) + "."
    else:
        yield f"Then {run.candidate} is promoted; {run.baseline} is kept warm for {words.span(run.spec.keep_warm)}."


def _planned(stage: Stage) -> str:
    gate = ", manual gate" if stage.gate is Gate.MANUAL else ""
    return f"{words.weight(stage.weight)} (at least {words.span(stage.min_duration)}{gate})"
