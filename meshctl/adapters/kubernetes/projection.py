"""The status of a Release: what its newest run stored, as people and other tools read it.

A projection, never read back for a decision, with two exceptions that the chain of runs needs
(`meshctl.adapters.kubernetes.chain`): ``run`` names where to begin, and ``initial`` holds the state of a release that
has had no run yet.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from meshctl.adapters import wire
from meshctl.adapters.kubernetes.chronicle import Chronicle
from meshctl.adapters.kubernetes.run_object import Standing
from meshctl.core.model import ReleaseState
from meshctl.core.record import Record
from meshctl.core.status import as_data, status_of

PROBLEM_MAX = 300
_INVALID = "InvalidSpec"


def status_data(
    state: ReleaseState, *, writes: int = 0, since: datetime | None = None, problem: str = ""
) -> dict[str, Any]:
    """The whole status.  ``writes`` of the newest run says of which state of it this is the status; ``problem`` is
    what keeps the present spec from being followed."""
    data = as_data(status_of(state, since=since))
    if state.run is not None:
        data |= {"run": state.run.name, "writes": writes}
    if problem:
        _tell_problem(data, problem, begun=state.run is not None)
    return data


def _tell_problem(data: dict[str, Any], problem: str, *, begun: bool) -> None:
    """The spec cannot be followed: what runs goes on as it began, and nothing new begins."""
    text = problem if len(problem) <= PROBLEM_MAX else problem[: PROBLEM_MAX - 1] + "…"
    others = [each for each in data["conditions"] if each["type"] not in ("Stalled", "Reconciling")]
    data["conditions"] = [*others, {"type": "Stalled", "status": "True", "reason": _INVALID, "message": text}]
    if not begun:
        data |= {"reason": _INVALID, "message": text}


def same(status: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two statuses tell the same; which write they are of does not matter."""
    return _without(status) == _without(other)


def _without(status: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in status.items() if key not in ("writes", "initial")}


def is_newer(status: dict[str, Any], run: str, writes: int) -> bool:
    """Whether a status is of a later state than that of a run after so many writes."""
    return (_number(status.get("run") or ""), status.get("writes") or 0) > (_number(run), writes)


def _number(run: str) -> int:
    digits = run.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def phase_since(chronicle: Chronicle) -> datetime | None:
    """When the phase of a run changed last, as far as its decisions tell."""
    for record in reversed(chronicle.records()):
        if _moved(record):
            return wire.decode(datetime, record["time"])
    return None


def _moved(record: Record) -> bool:
    return bool(record["phase"]["from"] != record["phase"]["to"])


# ------------------------------------------------------------------------------------ before the first run


def initial_text(standing: Standing, saves: int) -> str:
    """All that is stored of a release that has had no run yet."""
    fields = {
        "saves": saves,
        "state": wire.encode(standing.state),
        "judgeState": standing.judge_state,
        "cursor": standing.cursor,
    }
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def initial_of(status: dict[str, Any]) -> tuple[Standing, int]:
    """The state of a release that has had no run yet, and how often it was saved.  Raises `WireError`."""
    text = status.get("initial")
    if not text:
        return Standing(ReleaseState(), "", ""), 0
    fields = json.loads(text)
    state = wire.decode(ReleaseState, fields["state"])
    return Standing(state, fields["judgeState"], fields["cursor"]), int(fields["saves"])
