"""What really happened in a world, kept beside the code under test; the rules are asked against it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from meshctl.adapters.judge import AnalysisJudge
from meshctl.app.history import dossier_of
from meshctl.app.replay import replay
from meshctl.core.hooks import key_of
from meshctl.core.model import HookOutcome, Phase, ReleaseState, Run, Verb, Verdict
from meshctl.core.record import faults
from tests.sim.actors import Actor
from tests.sim.rules import RULES, Asked, Moment, Retired, Saved, Wrote

GIVES_BACK = {Verb.RESUME, Verb.PROMOTE, Verb.SET_WEIGHT, Verb.ROLLBACK, Verb.ABORT}


class Violation(BaseException):
    """A rule was broken.  No code under test may swallow it."""

    def __init__(self, number: int, sentence: str, complaint: str) -> None:
        super().__init__(f"rule {number}: {sentence}\n  {complaint}")
        self.number = number
        self.complaint = complaint


class Ledger:
    def __init__(self, settings: Any, store: Any, mesh: Any, metrics: Any, release: Any, neighbour: Any) -> None:
        self.settings = settings
        self.runs: dict[str, Run] = {}
        self.intents: set[tuple[str, float]] = set()
        self.served_by: set[str] = set()
        self.gone: set[str] = set()
        self.gone_by_store: set[str] = set()
        self.lowered_by_other: set[str] = set()
        self.unrecorded = ""
        self.answered: set[str] = set()
        self.aborts: set[str] = set()
        self.block_ends: dict[str, datetime] = {}
        self.asks_stored: set[tuple[str, int]] = set()
        self.hooks_said: dict[str, set[HookOutcome]] = {}
        self.spans = metrics.spans
        self._store, self._mesh, self._release, self._neighbour = store, mesh, release, neighbour
        self.neighbour_at_first = self.neighbour()

    def check(self, moment: Moment) -> None:
        """Ask every rule.  Raises `Violation`."""
        for number, (sentence, function) in RULES.items():
            for complaint in function(self, moment):
                raise Violation(number, sentence, complaint)

    # -------------------------------------------------------------------------------- what actors do

    def wrote(self, actor: Actor, before: Any, after: Any, objects: Any) -> None:
        self.check(Wrote(actor, before, after, objects))
        if after.aborted and after.run in self.runs:
            self.gone.add(after.run)

    def saved(self, actor: Actor, stored: Any, expected: int, state: ReleaseState, rest: dict[str, Any]) -> None:
        look = actor.look
        moment = Saved(actor, stored, expected, look.stored.state, state, rest, look)  # type: ignore[union-attr]
        run = state.run
        if run is not None and not moment.same_run():
            self.intents.discard((run.name, run.weight))
        self.check(moment)
        self.served_by |= {version for version in (state.baseline, state.warm) if version}
        self.answered |= {word.id for word in state.acknowledged}
        if moment.before.run is not None and rest["blocks"]:
            self.block_ends[moment.before.run.name] = self.spans[rest["blocks"][-1]][1]
        if rest["events"]:
            self.unrecorded = ""
        if run is None:
            return
        self.runs[run.name] = run
        self.asks_stored |= {(key_of(run, ask), ask.asking) for ask in run.hooks}
        self.intents.add((run.name, run.weight))
        if run.phase is Phase.ROLLED_BACK:
            self.gone |= {run.name}
            self.gone_by_store |= {run.name}
        if moment.accepted() & GIVES_BACK or not moment.same_run():
            self.lowered_by_other.clear()

    def requested(self, request: Any) -> None:
        """Somebody asked for something, and it was stored."""
        if request.verb is Verb.ABORT:
            self.aborts.add(request.id)

    def retired(self, actor: Actor, versions: set[str]) -> None:
        if versions:
            state = self._store.load("shop").state
            self.check(Retired(actor, versions, self._mesh.in_force().get("shop", {}), state))

    def asked(self, actor: Actor, calls: Any) -> None:
        for call in calls:
            self.check(Asked(actor, call))

    def answered_by_hooks(self, answers: Any) -> None:
        for answer in answers:
            self.hooks_said.setdefault(answer.key, set()).add(answer.outcome)

    def meddled(self, before: dict[str, float], after: dict[str, float]) -> None:
        """Another hand changed the weights."""
        state = self._store.load("shop").state
        run = state.run
        if run is None:
            return
        now, was = after.get(run.candidate, 0.0), before.get(run.candidate, 0.0)
        if not after and run.name in self.gone - self.gone_by_store:
            # Nobody knows of it any more: the mark went with the routes before anybody could store it.
            self.gone.discard(run.name)
            self.lowered_by_other.add(run.name)
            return
        if not after and run.phase.ended:
            self.lowered_by_other.discard(run.name)
            self.unrecorded = ""
            return
        if now < run.weight and now != run.confirmed:
            self.lowered_by_other |= {run.name} if now < was else set()
        else:
            self.lowered_by_other.discard(run.name)
        if state.baseline and now not in (run.weight, run.confirmed):
            self.unrecorded = str(after)
        else:
            self.unrecorded = ""

    # -------------------------------------------------------------------------------- what rules ask

    def way_back(self, run: str) -> set[str]:
        return {self.runs[run].baseline or ""}

    def requests(self) -> tuple[Any, ...]:
        requests: tuple[Any, ...] = self._store.load("shop").requests
        return requests

    def neighbour(self) -> Any:
        return self._mesh.written(self._neighbour)

    def lowering_is_possible(self, actor: Actor) -> bool:
        """A tick that failed at the store all the same saw the truth and could reach the mesh."""
        fresh = not actor.interrupted and not actor.stale_store and not actor.stale_mesh
        return fresh and not self._mesh.unreachable and self._store.disk_full

    def shown(self, look: Any, run: Run) -> bool:
        """Whether the judge passed the run's present stage on requests of the candidate."""
        for terms, blocks, word in look.words:
            if word.verdict is Verdict.PASS and terms.entry == len(run.entries) - 1:
                return bool(word.candidate.requests if self.settings.real_judge else blocks[-1].candidate.requests)
        return False

    def weights_between(self, version: str, start: datetime, end: datetime) -> set[float]:
        """What a version had between two instants; nothing where another hand was at work."""
        found: set[float] = set()
        until = end
        for force in reversed(self._mesh.forces) if start < end else ():
            if force.at >= end:
                continue
            if force.foreign and (start < force.at or force.unseen):
                return set()
            if force.at < until:
                found.add(force.weights.get(version, 0.0))
                until = force.at
            if force.at <= start:
                break
        return found

    def record_faults(self) -> Iterator[str]:
        """Chains that are broken, and judgements that come out differently when blocks are folded anew."""
        stored = self._store.load("shop")
        newest = stored.state.run.name if stored.state.run is not None else ""
        for kept in self._store.runs("shop"):
            name = kept.run.name
            records, blocks = self._store.decisions(name), self._store.blocks(name)
            checkpoint = self._store.checkpoint(name)
            yield from faults(records, head=kept.head, blocks=blocks, checkpoint=checkpoint)
            if self.settings.real_judge:
                for finding in replay(dossier_of(self._store, name), AnalysisJudge()).findings:
                    yield f"replay of {name}: {finding}"
            elif name == newest and stored.judge_state:
                given, count = int(stored.judge_state), checkpoint.blocks + len(blocks)
                if given != count:
                    yield f"the judge was given {given} blocks of {name}, {count} are stored"
