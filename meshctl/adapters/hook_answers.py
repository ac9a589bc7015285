"""What a hook is told, and what its answer means."""

from __future__ import annotations

import json
from typing import Any

from meshctl.adapters.secrets import Secrets
from meshctl.core.model import HookCall, HookOutcome, Release

HOLDING = frozenset({409, 423, 425, 429, 503})
"""Statuses that say "not now"."""

PROXIES = frozenset({502, 504})
"""Statuses by which a proxy says that it did not reach whom it was to ask."""

EX_TEMPFAIL = 75
SIZE_LIMIT = 64 * 1024

_ORDER = (HookOutcome.PASS, HookOutcome.HOLD, HookOutcome.FAIL)
_VERDICTS = {outcome.value: outcome for outcome in _ORDER}

Word = tuple[HookOutcome, str]


def question(release: Release, call: HookCall) -> dict[str, Any]:
    """What a hook gets to know, as plain data."""
    return {
        "id": call.key,
        "asking": call.asking,
        "hook": call.hook.name,
        "at": call.hook.at.value,
        "release": release.metadata.name,
        "namespace": release.metadata.namespace,
        "service": release.spec.service,
        "run": call.run,
        "baseline": call.baseline,
        "candidate": call.candidate,
        "stage": call.stage,
        "entry": call.entry,
        "weight": call.weight,
        "phase": call.phase.value,
        "reason": call.reason.value if call.reason else None,
        "message": call.message,
    }


def word_of_status(host: str, status: int, body: bytes, secrets: Secrets) -> Word:
    """The worse of what the status and the JSON body say; no body, or one that is not JSON, says nothing."""
    by_status = HookOutcome.PASS if status < 300 else HookOutcome.HOLD if status in HOLDING else HookOutcome.FAIL
    found = _json(body)
    message = _message(found, secrets) or ("" if by_status is HookOutcome.PASS else f"{host} answered {status}")
    verdict = found.get("verdict")
    if verdict is None:
        return by_status, message
    by_body = _VERDICTS.get(verdict) if isinstance(verdict, str) else None
    if by_body is None:
        return HookOutcome.ERROR, f"{host} answered a verdict that is none of {', '.join(_VERDICTS)}"
    return max(by_status, by_body, key=_ORDER.index), message


def word_of_exit(status: int, output: bytes, secrets: Secrets) -> Word:
    """0 pass, 75 hold, anything else fail; the last line of the output may be ``{"message": ...}``."""
    lines = output.strip().splitlines() if len(output) <= SIZE_LIMIT else []
    message = _message(_json(lines[-1]) if lines else {}, secrets)
    if status < 0:
        return HookOutcome.ERROR, f"the command was killed by signal {-status}"
    if status == 0:
        return HookOutcome.PASS, message
    outcome = HookOutcome.HOLD if status == EX_TEMPFAIL else HookOutcome.FAIL
    return outcome, message or f"the command ended with {status}"


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _message(found: dict[str, Any], secrets: Secrets) -> str:
    message = found.get("message")
    return secrets.printable(message) if isinstance(message, str) else ""
