"""Every rule about which phase a run may go to lives here and nowhere else.

A run begins in ``Pending``, waiting for the candidate's replicas.  ``Progressing`` is the only phase in which
weight is ever raised.  ``Paused`` waits for a person who asked for it or who has to open a gate; ``Held`` waits
because something is wrong or unknown.  Both ends are final for the candidate's traffic: from ``Promoted`` only a
rollback leads away, from ``RolledBack`` nothing does - a second try is another run.

The diagram in ``docs/architecture.md`` is generated from this table (``python -m meshctl.core.transitions``).
"""

from __future__ import annotations

from enum import StrEnum

from meshctl.core.errors import IllegalTransition
from meshctl.core.model import Phase


class Move(StrEnum):
    """What can happen to a run."""

    READY = "candidate ready"
    FIRST_RELEASE = "first version ready"
    PASS = "stage passed"  # noqa: S105 - not a password
    STEP = "weight stepped down or back up"
    COMPLETE = "last stage passed"
    FAIL = "regression shown"
    GUARD = "guard broken"
    NOT_READY = "candidate not ready"
    TIME_OUT = "undecided for too long"
    HOOK = "hook failed"
    SUPERSEDE = "another version wished"
    HOLD = "something wrong or unknown"
    RECOVER = "cause gone"
    GATE = "manual gate reached"
    ABORT = "abort"
    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    RESUME_WAITING = "resume before any traffic"
    SET_WEIGHT = "set-weight"
    ROLLBACK = "rollback"


P = Phase

_ENDS_OF_AN_ACTIVE_RUN = {
    Move.FAIL: P.ROLLED_BACK,
    Move.GUARD: P.ROLLED_BACK,
    Move.NOT_READY: P.ROLLED_BACK,
    Move.TIME_OUT: P.ROLLED_BACK,
    Move.HOOK: P.ROLLED_BACK,
    Move.SUPERSEDE: P.ROLLED_BACK,
    Move.ABORT: P.ROLLED_BACK,
}

TRANSITIONS: dict[Phase, dict[Move, Phase]] = {
    P.PENDING: {
        Move.READY: P.PROGRESSING,
        Move.FIRST_RELEASE: P.PROMOTED,
        Move.NOT_READY: P.ROLLED_BACK,
        Move.HOOK: P.ROLLED_BACK,
        Move.SUPERSEDE: P.ROLLED_BACK,
        Move.ABORT: P.ROLLED_BACK,
        Move.PAUSE: P.PAUSED,
    },
    P.PROGRESSING: {
        **_ENDS_OF_AN_ACTIVE_RUN,
        Move.PASS: P.PROGRESSING,
        Move.STEP: P.PROGRESSING,
        Move.COMPLETE: P.PROMOTED,
        Move.HOLD: P.HELD,
        Move.GATE: P.PAUSED,
        Move.PROMOTE: P.PROGRESSING,
        Move.PAUSE: P.PAUSED,
        Move.SET_WEIGHT: P.PAUSED,
    },
    P.PAUSED: {
        **_ENDS_OF_AN_ACTIVE_RUN,
        Move.HOLD: P.HELD,
        Move.PROMOTE: P.PROGRESSING,
        Move.RESUME: P.PROGRESSING,
        Move.RESUME_WAITING: P.PENDING,
        Move.SET_WEIGHT: P.PAUSED,
    },
    P.HELD: {
        **_ENDS_OF_AN_ACTIVE_RUN,
        Move.RECOVER: P.PROGRESSING,
        Move.HOLD: P.HELD,
        Move.PROMOTE: P.PROGRESSING,
        Move.PAUSE: P.PAUSED,
        Move.RESUME: P.PROGRESSING,
        Move.SET_WEIGHT: P.PAUSED,
    },
    P.PROMOTED: {Move.ROLLBACK: P.ROLLED_BACK},
    P.ROLLED_BACK: {},
}


def allowed(phase: Phase, move: Move) -> bool:
    return move in TRANSITIONS[phase]


def after(phase: Phase, move: Move) -> Phase:
    """The phase that follows.  Raises `IllegalTransition` naming the phase and the move if there is none."""
    try:
        return TRANSITIONS[phase][move]
    except KeyError:
        raise IllegalTransition(f"a run in phase {phase} cannot take the move {move.name} ({move})") from None


def mermaid() -> str:
    """The table as a Mermaid state diagram; parallel arrows share one label."""
    lines = ["stateDiagram-v2", "    [*] --> Pending"]
    for phase, moves in TRANSITIONS.items():
        targets: dict[Phase, list[str]] = {}
        for move, target in moves.items():
            targets.setdefault(target, []).append(str(move))
        lines += [f"    {phase} --> {target}: {', '.join(labels)}" for target, labels in targets.items()]
    lines += ["    Promoted --> [*]", "    RolledBack --> [*]"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(mermaid(), end="")
