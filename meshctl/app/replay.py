"""Derive the verdicts of a run once more from its stored blocks, and prove that its record was not changed.

Every decision names by digest the blocks since the decision before it and the terms that its run was judged by.
Only what these digests confirm is given to the judge; what he then says is held against the record.

Where the beginning of a record gave way to a checkpoint, the judge goes on from the state in it, which the decision it
was made at names by digest; of the decisions up to that one only the chain is proved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshctl.app.comparing import Difference, differences, mended
from meshctl.core.catalog import Dossier
from meshctl.core.errors import MeshctlError
from meshctl.core.model import Judgement, Verdict
from meshctl.core.packing import digests_of, inputs_of, pack
from meshctl.core.ports import Judge
from meshctl.core.record import Checkpoint, checkpoint_faults, hash_of, inputs_as_data, judge_as_data, stamp
from meshctl.core.terms import entries_named, terms_of

Step = Callable[[int, int], None]
"""Told after each block how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was recorded: at which decision (``None``: the run as a whole), which field."""

    decision: int | None
    field: str
    message: str

    def __str__(self) -> str:
        return self.message if self.decision is None else f"decision {self.decision}: {self.message}"


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it.  ``judged`` decisions carried the judge's word and were derived again from ``blocks``."""

    run: str
    decisions: int
    judged: int
    blocks: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not self.findings


def replay(dossier: Dossier, judge: Judge, step: Step = lambda done, total: None) -> Replay:
    """Check chain and digests, fold the blocks in order, compare every decision."""
    player = _Player(dossier, judge, step)
    findings = [Finding(None, "checkpoint", fault) for fault in checkpoint_faults(dossier.decisions, player.since)]
    findings += [finding for position in range(len(dossier.decisions)) for finding in player.decision(position)]
    findings += _end(dossier, player)
    return Replay(
        dossier.run.name, len(dossier.decisions), player.judged, player.folded, tuple(findings), tuple(player.notes)
    )


def damaged(replayed: Replay) -> Replay:
    """The same for a file that is not as it was written."""
    finding = Finding(None, "digest", "the file is not as it was written: its content does not match its digest")
    return replace(replayed, findings=(finding, *replayed.findings))


class _Player:
    """The judge's state as it was after each decision, and what a decision should say by it."""

    def __init__(self, dossier: Dossier, judge: Judge, step: Step) -> None:
        self.dossier, self.judge, self.step = dossier, judge, step
        self.lines = [pack(block) for block in dossier.blocks]
        self.begin = self.end = 0
        """The blocks that the newest decision stood on."""
        self.entries = 0
        self.since = dossier.checkpoint
        self.state = self.since.judge_state
        self.judgement: Judgement | None = None
        self.lost = False
        """What the judge was given is not known any more: nothing further can be derived."""
        self.judged = self.folded = 0
        self.notes = _left_out(self.since)

    def decision(self, position: int) -> list[Finding]:
        """Everything that is wrong with one decision."""
        record, number = self.dossier.decisions[position], self.since.forgotten + position + 1
        whole = _hash(record) == record.get("hash")
        found: list[Difference] = []
        findings: list[Finding] = []
        found += self._terms(record, findings, number)
        if number > self.since.decisions:
            found += self._inputs(record, findings, number)
            found += self._judge(record, findings, number)
        if not whole:
            found = _of_one_field_each([*found, *self._neighbours(position)])
        elif record.get("number") != number or record.get("previous") != self._hash_before(position):
            what = f"it carries the number {record.get('number')} and does not follow what stands before it"
            findings.insert(0, Finding(number, "previous", f"{what}: a decision is missing or moved"))
        digest = [each for each in found if each.field == "judge.stateDigest"]
        if digest == found and digest and whole:
            self.notes.append(f"decision {number}: the judge's state differs in its last bits, no figure does")
            found = []
        findings += [Finding(number, each.field, str(each)) for each in found]
        if not whole and _hash(mended(record, found)) not in (record.get("hash"), self._hash_after(position)):
            findings.append(Finding(number, "", _CHANGED if not found else _CHANGED_TOO))
        return findings

    # -------------------------------------------------------------------------------- what it stood on

    def _terms(self, record: Mapping[str, Any], findings: list[Finding], number: int) -> list[Difference]:
        """By which versions, spec and stages it was judged."""
        run, inputs = self.dossier.run, record.get("inputs")
        named = inputs.get("terms") if isinstance(inputs, Mapping) else None
        if named is None or self.lost:
            return []
        count = entries_named(run, named, self.entries) if isinstance(named, str) else None
        if count is not None:
            self.entries = count
            return []
        for count in range(self.entries, len(run.entries) + 1):
            difference = Difference("inputs.terms", named, terms_of(run, count))
            if _hash(mended(record, [difference])) == record.get("hash"):
                return [difference]
        self.lost = True
        what = "versions, spec or stage terms of the run are not those that it was decided by"
        findings.append(Finding(number, "inputs.terms", f"{what}; nothing is derived from here on"))
        return []

    def _inputs(self, record: Mapping[str, Any], findings: list[Finding], number: int) -> list[Difference]:
        """Which blocks it names; folds those that are new."""
        named = record.get("inputs")
        if not isinstance(named, Mapping) or not self._found(record, named):
            if not self.lost:
                findings.append(Finding(number, "inputs", _blocks_named(named)))
            self.lost = True
            return []
        if not self.lost:
            self._fold(findings, number)
        derived = inputs_as_data(inputs_of(self.lines[self.begin : self.end]))
        given = {key: value for key, value in named.items() if key != "terms"}
        return list(differences(given, derived, "inputs"))

    def _found(self, record: Mapping[str, Any], named: Mapping[str, Any]) -> bool:
        """Whether the blocks are there that a decision names: those that follow, or the same as of the one before,
        with which it then was decided together."""
        count, digest = named.get("blocks"), named.get("digest")
        following = self.lines[self.end :]
        if isinstance(count, int) and 0 <= count <= len(following):
            sums = inputs_of(following[:count])
            if sums.digest == digest:
                return self._go_on(count)
            put_right = mended(record, [Difference("inputs.digest", digest, sums.digest)])
            if _hash(put_right) == record.get("hash"):
                return self._go_on(count)
        if inputs_of(self.lines[self.begin : self.end]).digest == digest:
            return True
        for length, each in enumerate(digests_of(following)) if not self.lost else ():
            if each == digest:
                return self._go_on(length)
        return False

    def _go_on(self, count: int) -> bool:
        self.begin, self.end = self.end, self.end + count
        return True

    # -------------------------------------------------------------------------------- what the judge said

    def _fold(self, findings: list[Finding], number: int) -> None:
        run = self.dossier.run
        for index in range(max(self.begin, self.folded), self.end):
            block = self.dossier.blocks[index]
            try:
                if block.entry < 0:
                    self.state = self.judge.learn(self.state, run.spec.analysis, (block,))
                else:
                    terms = run.entries[block.entry]
                    self.state, self.judgement = self.judge.fold(self.state, run.spec.analysis, terms, (block,))
            except (MeshctlError, ArithmeticError, ValueError, TypeError, IndexError) as error:
                self.lost = True
                told = str(error).splitlines()[0] if str(error) else type(error).__name__
                findings.append(Finding(number, "inputs", f"the judge cannot work with block {index + 1}: {told}"))
                return
            self.folded += 1
            self.step(self.folded, len(self.lines))

    def _judge(self, record: Mapping[str, Any], findings: list[Finding], number: int) -> list[Difference]:
        """The judge's word, where the decision carries one, and his state."""
        recorded = record.get("judge")
        if self.lost or not isinstance(recorded, Mapping):
            return []
        if "evidence" not in recorded:
            return list(differences(recorded, judge_as_data(None, self.state) or {}, "judge"))
        if self.judgement is None:
            return [Difference("judge.evidence", "there", "nothing: no block was judged before")]
        self.judged += 1
        found = list(differences(recorded, judge_as_data(self.judgement, self.state), "judge"))
        # A stage that began in the same tick starts without a verdict.
        if record.get("verdict") not in (self.judgement.verdict, *self._begun(record)):
            found.append(Difference("verdict", record.get("verdict"), self.judgement.verdict.value))
        return found

    def _begun(self, record: Mapping[str, Any]) -> Sequence[str]:
        """What else the verdict may be for a decision that is not the first of its tick."""
        together = [each for each in self.dossier.decisions if each.get("time") == record.get("time")]
        first = not together or together[0] is record
        return () if first else (Verdict.UNDECIDED.value,)

    # -------------------------------------------------------------------------------- what stands beside it

    def _neighbours(self, position: int) -> list[Difference]:
        """What decisions say of each other and the run says of the last; only asked where a hash does not fit."""
        records, run = self.dossier.decisions, self.dossier.run
        record = records[position]
        number = self.since.forgotten + position + 1
        derived: dict[str, Any] = {"number": number, "run": run.name, "previous": self._hash_before(position)}
        after = self._hash_after(position)
        if _hash(record) == after:
            derived["hash"] = after
        given = {key: record.get(key) for key in derived}
        found = list(differences(given, derived))
        before = records[position - 1] if position else {} if self.since.forgotten else _BEGINNING
        following = records[position + 1] if position + 1 < len(records) else None
        for field in ("phase", "weight"):
            own = _part(record, field)
            if before:
                found += differences(own.get("from"), _part(before, field).get("to"), f"{field}.from")
            if following is not None:
                found += differences(own.get("to"), _part(following, field).get("from"), f"{field}.to")
        if following is None:
            found += differences(_part(record, "phase").get("to"), run.phase.value, "phase.to")
            found += differences(_part(record, "weight").get("to"), run.weight, "weight.to")
        return found

    def _hash_before(self, position: int) -> Any:
        """What ``previous`` should be; if just the ``hash`` beside the content before was changed, that content's."""
        if not position:
            return self.since.hash or None
        records = self.dossier.decisions
        own, named = _hash(records[position - 1]), records[position].get("previous")
        return own if own == named else records[position - 1].get("hash")

    def _hash_after(self, position: int) -> Any:
        """The hash of this decision as it is known elsewhere: from the next one, or from the run."""
        records = self.dossier.decisions
        return records[position + 1].get("previous") if position + 1 < len(records) else self.dossier.head.hash


_CHANGED = (
    "its content does not match its hash; all that can be derived is as it was, so another field was changed: "
    "time, stage, message, actor, weight, mesh or request"
)
_CHANGED_TOO = "its content does not match its hash, even with that put right: more was changed"
_BEGINNING = {"phase": {"to": "Pending"}, "weight": {"to": 0.0}}


def _blocks_named(named: object) -> str:
    which = "the blocks that it names"
    if isinstance(named, Mapping):
        which = f"the {named.get('blocks')} blocks that it names, from {named.get('from')} to {named.get('to')},"
    return f"{which} are not the stored ones; nothing is derived from here on"


def _end(dossier: Dossier, player: _Player) -> list[Finding]:
    """What the run says of itself against its last decision."""
    findings, run, records = [], dossier.run, dossier.decisions
    count, head = dossier.checkpoint.forgotten + len(records), dossier.head
    if head.decisions != count:
        findings.append(
            Finding(None, "head.decisions", f"the run names {head.decisions} decisions, {count} were found")
        )
    last = records[-1] if records else {}
    if head.decisions == count and (head.hash or None) not in (last.get("hash"), _hash(last) if records else None):
        findings.append(Finding(None, "head.hash", "the run's head is not the hash of its last decision"))
    if records and _hash(last) == last.get("hash"):
        own = {"phase": run.phase.value, "weight": run.weight, "endedAt": run.ended_at and stamp(run.ended_at)}
        told = {
            "phase": _part(last, "phase").get("to"),
            "weight": _part(last, "weight").get("to"),
            "endedAt": _ended(records) if not dossier.checkpoint.forgotten or _moves(records) else own["endedAt"],
        }
        findings += [
            Finding(None, f"run.{each.field}", f"the run's {each}, by its decisions") for each in differences(own, told)
        ]
    unnamed = len(dossier.blocks) - player.end
    if unnamed and not player.lost and run.phase.ended:
        findings.append(Finding(None, "blocks", f"{unnamed} blocks at the end stand under no decision"))
    elif unnamed and not player.lost:
        player.notes.append(f"{unnamed} blocks came after the last decision; no verdict stands on them yet")
    return findings


def _left_out(since: Checkpoint) -> list[str]:
    """What a replay cannot prove, because it is not kept any more."""
    if not since.decisions:
        return []
    gone = f"the first {since.blocks} blocks gave way to a checkpoint of the judge's state"
    proved = f"of the decisions up to {since.decisions} only the chain is proved, later ones are derived"
    notes = [f"{gone}: {proved}"]
    if since.forgotten:
        notes.append(f"the first {since.forgotten} decisions are not kept any more; the chain goes on from their hash")
    return notes


def _ended(records: Sequence[Mapping[str, Any]]) -> object:
    """When the run ended, as its decisions tell."""
    ends = {"Promoted", "RolledBack"}
    moves = _moves(records)
    return moves[-1].get("time") if moves and _part(moves[-1], "phase").get("to") in ends else None


def _moves(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in records if _part(each, "phase").get("to") != _part(each, "phase").get("from")]


def _of_one_field_each(found: list[Difference]) -> list[Difference]:
    return list({each.field: each for each in found}.values())


def _part(record: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    part = record.get(field)
    return part if isinstance(part, Mapping) else {}


def _hash(record: Mapping[str, Any]) -> str | None:
    try:
        return hash_of(record)
    except (TypeError, ValueError):
        return None
