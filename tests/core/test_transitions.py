"""The table of moves: complete, without side doors, and the same as the picture in the docs."""

import re
import runpy
from pathlib import Path

import pytest

from meshctl.core import transitions
from meshctl.core.errors import IllegalTransition
from meshctl.core.model import Phase
from meshctl.core.transitions import TRANSITIONS, Move, after, allowed, mermaid

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"
EVERY_PAIR = [(phase, move) for phase in Phase for move in Move]


def reachable_from(start):
    found, new = {start}, [start]
    while new:
        targets = set(TRANSITIONS[new.pop()].values()) - found
        found |= targets
        new += targets
    return found


def test_every_phase_has_its_row():
    assert set(TRANSITIONS) == set(Phase)


def test_every_phase_is_reached_from_the_beginning():
    assert reachable_from(Phase.PENDING) == set(Phase)


def test_every_move_is_possible_somewhere():
    assert {move for moves in TRANSITIONS.values() for move in moves} == set(Move)


def test_nothing_leads_out_of_rolled_back():
    assert reachable_from(Phase.ROLLED_BACK) == {Phase.ROLLED_BACK}


def test_only_a_rollback_leads_out_of_promoted():
    assert TRANSITIONS[Phase.PROMOTED] == {Move.ROLLBACK: Phase.ROLLED_BACK}


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.ended])
def test_every_active_phase_can_be_aborted_and_superseded(phase):
    assert after(phase, Move.ABORT) is Phase.ROLLED_BACK
    assert after(phase, Move.SUPERSEDE) is Phase.ROLLED_BACK


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.ended])
def test_every_active_phase_can_reach_both_ends(phase):
    assert {Phase.PROMOTED, Phase.ROLLED_BACK} <= reachable_from(phase)


@pytest.mark.parametrize("move", [Move.FAIL, Move.GUARD, Move.NOT_READY, Move.TIME_OUT, Move.SUPERSEDE, Move.ABORT])
def test_a_move_that_takes_back_leads_nowhere_else(move):
    assert {moves[move] for moves in TRANSITIONS.values() if move in moves} == {Phase.ROLLED_BACK}


def test_only_the_first_version_is_promoted_without_progressing():
    promoting = {
        (phase, move) for phase, moves in TRANSITIONS.items() for move in moves if moves[move] is Phase.PROMOTED
    }
    assert promoting == {(Phase.PENDING, Move.FIRST_RELEASE), (Phase.PROGRESSING, Move.COMPLETE)}


def test_stages_are_passed_only_while_progressing():
    assert [phase for phase in Phase if allowed(phase, Move.PASS)] == [Phase.PROGRESSING]


@pytest.mark.parametrize(("phase", "move"), EVERY_PAIR, ids=lambda each: each.name)
def test_a_move_leads_where_the_table_says_or_is_refused_by_name(phase, move):
    if allowed(phase, move):
        assert after(phase, move) is TRANSITIONS[phase][move]
    else:
        with pytest.raises(IllegalTransition, match=f"{phase} .*{move.name}"):
            after(phase, move)


def test_the_module_prints_its_diagram(capsys):
    runpy.run_path(transitions.__file__, run_name="__main__")
    assert capsys.readouterr().out == mermaid()


def test_the_diagram_in_the_docs_is_the_table():
    """After a change: python -m meshctl.core.transitions, and paste."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    found = re.search(r"<!-- states: begin -->\n```mermaid\n(.*?)```\n<!-- states: end -->", text, re.DOTALL)
    assert found is not None
    assert found[1] == mermaid()
