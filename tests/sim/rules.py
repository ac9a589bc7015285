"""The twelve safety rules, each a function that names what breaks it.  They are asked after every step.

A rule sees a moment - a write to the routes, a save, a retirement, the end of a tick, the end of the world - and
the ledger of everything that really happened before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from meshctl.core.decide import routing_of, weights_of
from meshctl.core.hooks import hooks_at, way_out
from meshctl.core.model import (
    FULL,
    Hook,
    HookCall,
    HookOutcome,
    LiveRouting,
    OnHookError,
    Phase,
    Reason,
    ReleaseState,
    Run,
    Verb,
    Verdict,
)
from meshctl.core.progress import SELF_ENDING_HOLDS
from tests.sim.actors import Actor, Look


@dataclass(frozen=True)
class Wrote:
    """An actor changed the routes."""

    actor: Actor
    before: LiveRouting | None
    after: LiveRouting
    objects: Any

    def rises(self) -> dict[str, float]:
        """What has more than before, by version."""
        before = self.before.weights if self.before else {}
        return {version: weight for version, weight in self.after.weights.items() if weight > before.get(version, 0.0)}


@dataclass(frozen=True)
class Saved:
    """An actor stored a decision."""

    actor: Actor
    stored: Any
    expected_version: int
    before: ReleaseState
    after: ReleaseState
    rest: dict[str, Any]
    look: Look

    @property
    def run(self) -> Run | None:
        return self.after.run

    def same_run(self) -> bool:
        return self.before.run is not None and self.run is not None and self.before.run.name == self.run.name

    def accepted(self) -> set[Verb]:
        return set(self.carried_out())

    def carried_out(self) -> list[Verb]:
        known = {word.id for word in self.before.acknowledged}
        return [word.verb for word in self.after.acknowledged if word.accepted and word.id not in known]


@dataclass(frozen=True)
class Retired:
    """An actor ended the replicas of some versions."""

    actor: Actor
    versions: set[str]
    in_force: dict[str, float]
    state: ReleaseState
    """As it is stored at that moment, whatever the actor knows."""


@dataclass(frozen=True)
class Asked:
    """An actor asks a hook."""

    actor: Actor
    call: HookCall


@dataclass(frozen=True)
class Ticked:
    """A tick came to its end.  ``clean``: no fault, no crash, nobody between."""

    actor: Actor
    clean: bool
    error: BaseException | None
    state: ReleaseState | None
    live: LiveRouting | None
    in_force: dict[str, float]


@dataclass(frozen=True)
class Ended:
    """Faults have stopped, people did what was asked of them, and nothing moves any more."""

    state: ReleaseState
    in_force: dict[str, float]
    stuck: str


Moment = Wrote | Saved | Retired | Asked | Ticked | Ended
Rule = Callable[[Any, Moment], Iterator[str]]
RULES: dict[int, tuple[str, Rule]] = {}


def rule(number: int, sentence: str) -> Callable[[Rule], Rule]:
    def enlist(function: Rule) -> Rule:
        RULES[number] = (sentence, function)
        return function

    return enlist


@rule(1, "Store first, then raise; lowering never waits for the store.")
def store_first_then_raise(ledger: Any, moment: Moment) -> Iterator[str]:
    if isinstance(moment, Wrote):
        run = ledger.runs.get(moment.after.run)
        for version, weight in moment.rises().items():
            if run is not None and version == run.candidate:
                if (run.name, weight) not in ledger.intents:
                    yield f"{version} rises to {weight:g} % of {run.name}, which was never stored"
            elif version not in ledger.served_by:
                yield f"{version} rises to {weight:g} %: no stored state names it as serving"
    if isinstance(moment, Asked) and (moment.call.key, moment.call.asking) not in ledger.asks_stored:
        yield f"hook {moment.call.key} is asked, which was never stored"
    if isinstance(moment, Ticked) and moment.error is not None and ledger.lowering_is_possible(moment.actor):
        run, look = moment.actor.look.stored.state.run, moment.actor.look
        if run is None or run.phase.ended or moment.live is None or moment.live.run != run.name:
            return
        asked = [each for each in look.stored.requests if each.verb is Verb.ABORT]
        if asked and moment.live.weights.get(run.candidate, 0.0) > 0.0:
            yield f"an abort was asked for, the store fails ({moment.error}), and {run.candidate} still has traffic"


@rule(2, "Abort is absorbing, and wins against a simultaneous promote.")
def abort_is_absorbing(ledger: Any, moment: Moment) -> Iterator[str]:
    if isinstance(moment, Wrote) and moment.after.run in ledger.gone:
        candidate = ledger.runs[moment.after.run].candidate
        if candidate in moment.rises() and candidate not in ledger.way_back(moment.after.run):
            yield f"{candidate} rises again although {moment.after.run} was taken back"
    if isinstance(moment, Saved) and moment.run is not None:
        run, before = moment.run, moment.before.run
        if run.name in ledger.gone_by_store and run.phase is not Phase.ROLLED_BACK:
            yield f"{run.name} was taken back and is {run.phase} now"
        if before is None or before.phase.ended or not moment.same_run():
            return
        live = moment.look.live
        marked = live is not None and live.aborted and live.run == run.name
        answered = {word.id for word in moment.before.acknowledged}
        new = [each for each in moment.look.stored.requests if each.id not in answered]
        aborted = any(each.verb is Verb.ABORT for each in new)
        failed = any(word.verdict is Verdict.FAIL for _, _, word in moment.look.words)
        if (marked or aborted or failed) and run.phase is not Phase.ROLLED_BACK:
            yield f"{run.name} was to be taken back (mark {marked}, abort {aborted}, fail {failed}) and is {run.phase}"


@rule(3, "No evidence, no promotion.")
def no_evidence_no_promotion(ledger: Any, moment: Moment) -> Iterator[str]:
    if not isinstance(moment, Saved) or not moment.same_run() or moment.run is None or moment.before.run is None:
        return
    run, before = moment.run, moment.before.run
    promoted = run.phase is Phase.PROMOTED and not before.phase.ended
    passed = run.stage > before.stage or (run.entries and not before.entries) or (promoted and run.baseline is not None)
    if not passed or before.gate_opened or moment.accepted() & {Verb.PROMOTE, Verb.SET_WEIGHT}:
        return
    for hook, key in gates_of(before):
        ignored = {HookOutcome.ERROR} if hook.on_error is OnHookError.IGNORE else set()
        if not ledger.hooks_said.get(key, set()) & ({HookOutcome.PASS} | ignored):
            yield f"stage {before.stage} of {run.name} was left though hook {key} never let go"
    if before.entries and not ledger.shown(moment.look, before):
        yield f"stage {before.stage} of {run.name} was passed without a pass of the judge on both versions' requests"


@rule(4, "An outage of the metrics is not a bad candidate.")
def an_outage_is_not_a_bad_candidate(ledger: Any, moment: Moment) -> Iterator[str]:
    if not isinstance(moment, Saved) or moment.run is None or moment.before.run is None:
        return
    run = moment.run
    if run.phase is Phase.HELD and not run.waits_for:
        yield f"{run.name} is held and does not say what it waits for"
    if run.phase is not Phase.ROLLED_BACK or moment.before.run.phase.ended or not moment.same_run():
        return
    failed = any(word.verdict is Verdict.FAIL for _, _, word in moment.look.words)
    if run.reason in (Reason.REGRESSION, Reason.GUARD) and not failed:
        yield f"{run.name} is taken back as {run.reason} without a word of the judge"
    if run.reason is Reason.HOOK_FAILED:
        said = {
            (outcome, hook.on_error)
            for hook, key in gates_of(before_of(moment))
            for outcome in ledger.hooks_said.get(key, ())
        }
        failing = {(HookOutcome.FAIL, each) for each in OnHookError} | {(HookOutcome.ERROR, OnHookError.FAIL)}
        if not said & failing:
            yield f"{run.name} is taken back for a hook that never failed"
    if run.reason is Reason.METRICS_OUTAGE and ledger.settings.on_outage == "hold":
        yield f"{run.name} is taken back for an outage where the policy says hold"
    if run.reason is Reason.INCONCLUSIVE and ledger.settings.on_inconclusive == "hold":
        yield f"{run.name} is taken back as undecided where the policy says hold"


@rule(5, "Every block belongs to one stage, one run, one pod set.")
def a_block_belongs_to_one_stage(ledger: Any, moment: Moment) -> Iterator[str]:
    if not isinstance(moment, Saved):
        return
    run = moment.before.run
    for block in moment.rest["blocks"]:
        if run is None:
            yield "a block was stored without a run"
            continue
        if block.entry != len(run.entries) - 1:
            yield f"a block of entry {block.entry} counts for entry {len(run.entries) - 1} of {run.name}"
        if ledger.spans[block][0] < ledger.block_ends.get(run.name, ledger.spans[block][0]):
            yield f"a block of {run.name} begins before the one before it ended: something counts twice"
        found = ledger.weights_between(run.candidate, *ledger.spans[block])
        if block.entry >= 0 and found - {block.weight}:
            yield f"a block of {run.name} at {block.weight:g} % holds traffic of {sorted(found)} %"


@rule(6, "Make before break.")
def make_before_break(ledger: Any, moment: Moment) -> Iterator[str]:
    if isinstance(moment, Wrote):
        run = ledger.runs.get(moment.after.run)
        if run is not None and run.candidate in moment.rises() and not run.phase.ended:
            found = moment.actor.look.ready.get(run.candidate)
            if found is None or found.ready == 0:
                yield f"{run.candidate} rises where its replicas are {found}"
    if isinstance(moment, Retired):
        known = {version for version, weight in moment.in_force.items() if weight}
        look = moment.actor.look.live
        needed = needed_now(moment.state)
        for version in moment.versions & needed:
            yield f"the replicas of {version} are ended, which is needed"
        for version in moment.versions & known:
            if not moment.actor.interrupted or (look is not None and look.weights.get(version)):
                yield f"the replicas of {version} are ended while it has {moment.in_force[version]:g} %"
    if isinstance(moment, Ticked) and moment.clean and moment.state is not None and moment.state.run is not None:
        run = moment.state.run
        found = moment.actor.look.ready.get(run.candidate)
        if not run.phase.ended and found is not None and not found.ready and moment.in_force.get(run.candidate):
            yield f"no replica of {run.candidate} is ready, it has {moment.in_force[run.candidate]:g} %"


@rule(7, "Touch only what is ours.")
def touch_only_what_is_ours(ledger: Any, moment: Moment) -> Iterator[str]:
    if isinstance(moment, Wrote) and moment.objects is not None:
        found = sorted((each["kind"], each["metadata"]["name"]) for each in moment.objects)
        if found != [("DestinationRule", "shop"), ("VirtualService", "shop")]:
            yield f"objects were applied that are not ours: {found}"
    if isinstance(moment, Wrote) and ledger.neighbour() != ledger.neighbour_at_first:
        yield "the routes of another release were changed"


@rule(8, "A template cannot lie.")
def a_template_cannot_lie(ledger: Any, moment: Moment) -> Iterator[str]:
    if not isinstance(moment, Wrote) or moment.objects is None:
        return
    after = moment.after
    if sum(after.weights.values()) != FULL:
        yield f"weights of {sum(after.weights.values()):g} % altogether were applied"
    decided = [(weights_of(each), each.run, each.aborted) for each in moment.actor.look.rendered]
    if (after.weights, after.run, after.aborted) not in decided:
        yield f"{after.weights} of {after.run} was applied, which nobody decided"


@rule(9, "Drift is seen: what is above is lowered at once, what is below is never raised by repair.")
def drift_is_seen(ledger: Any, moment: Moment) -> Iterator[str]:
    if isinstance(moment, Wrote):
        run = ledger.runs.get(moment.after.run)
        if run is not None and run.candidate in moment.rises() and run.name in ledger.lowered_by_other:
            yield f"{run.candidate} was lowered by another hand and rises though nobody asked for it"
    if isinstance(moment, Ticked) and moment.clean and moment.state is not None and moment.live is not None:
        routing = routing_of(moment.state, moment.actor.now())
        if routing is None:
            return
        decided = weights_of(routing)
        for version, weight in moment.live.weights.items():
            if version != routing.baseline and weight > decided.get(version, 0.0):
                yield f"{version} still has {weight:g} % where {decided.get(version, 0.0):g} % is decided"
    if isinstance(moment, Ticked) and moment.clean and ledger.unrecorded:
        yield f"another hand changed the weights to {ledger.unrecorded}, and no record says so"


@rule(10, "One writer: never two steps at once, never a lost abort.")
def one_writer(ledger: Any, moment: Moment) -> Iterator[str]:
    if isinstance(moment, Ended):
        waiting = [each.id for each in ledger.requests() if each.verb is Verb.ABORT]
        if waiting:
            yield f"aborts were never answered: {waiting}"
        if lost := ledger.aborts - ledger.answered:
            yield f"aborts were lost: {sorted(lost)}"
    if not isinstance(moment, Saved):
        return
    if moment.expected_version != moment.stored.version:
        yield f"decided on version {moment.expected_version}, stored over version {moment.stored.version}"
    before, run = moment.stored.state.run, moment.run
    for word in moment.after.acknowledged:
        if word.id not in ledger.answered:
            continue
        if word.id not in {each.id for each in moment.stored.state.acknowledged}:
            yield f"request {word.id} ({word.verb}) was carried out twice"
    if run is None or before is None:
        return
    if moment.after.runs - moment.stored.state.runs > 1:
        yield "two runs began at once"
    if run.name != before.name:
        return
    if len(run.entries) > len(before.entries) + max(1, len(moment.carried_out())):
        yield f"{run.name} took several steps at once"
    jump = run.stage - before.stage > 1
    if jump and not moment.accepted() & {Verb.PROMOTE, Verb.SET_WEIGHT}:
        yield f"{run.name} went from stage {before.stage} to {run.stage}"


@rule(11, "Every decision can be replayed.")
def every_decision_can_be_replayed(ledger: Any, moment: Moment) -> Iterator[str]:
    if isinstance(moment, Saved) and moment.same_run():
        written = sum(event.weight_to != event.weight_from for event in moment.rest["events"])
        assert moment.run is not None
        assert moment.before.run is not None
        decided = moment.run.weight != moment.before.run.weight or moment.run.phase is not moment.before.run.phase
        if decided and not written and not moment.rest["events"]:
            yield f"{moment.run.name} changed without a record"
    if isinstance(moment, Ended):
        yield from ledger.record_faults()


@rule(12, "Liveness: when faults stop, every run ends or says what it waits for.")
def every_run_ends(ledger: Any, moment: Moment) -> Iterator[str]:
    if not isinstance(moment, Ended):
        return
    if moment.stuck:
        yield moment.stuck
    run, live = moment.state.run, moment.in_force
    if run is None or not run.phase.ended or (run.phase is Phase.PROMOTED and run.weight < FULL):
        return
    if live.get(moment.state.baseline or "", 0.0) != FULL:
        yield f"{run.name} is {run.phase}, {moment.state.baseline} serves, and in force is {live}"


def before_of(moment: Saved) -> Run:
    assert moment.before.run is not None
    return moment.before.run


def gates_of(run: Run) -> Iterator[tuple[Hook, str]]:
    """The hooks on the way out of a run's stage, each with the key by which it is asked there."""
    for point, entry, weight in way_out(run):
        for hook in hooks_at(run, point, weight):
            yield hook, f"{run.name}/{entry}/{hook.name}"


def needed_now(state: ReleaseState) -> set[str]:
    """The versions that nobody may end: those that serve, are kept warm, or are tried and have had traffic."""
    run = state.run
    tried = run.candidate if run is not None and run.entries and not run.phase.ended else None
    return {version for version in (state.baseline, state.warm, tried) if version is not None}


def waits_for_a_person(run: Run) -> bool:
    """Whether a run says that only a person can lead on."""
    if run.phase is Phase.HELD:
        return run.reason not in SELF_ENDING_HOLDS
    return run.phase is Phase.PAUSED
