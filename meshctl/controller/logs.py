"""How the controller speaks: one line per decision, for people or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime

from meshctl.core.model import Event, Run

BOUND = ("release", "run", "stage")
"""On every line about a release; run and stage are null while there is none."""

DECIDED = ("phase", "reason", "weight", "verdict", "actor")
"""On the line of a decision, beside those."""


def place_of(name: str) -> dict[str, object]:
    """The fields that name a release: in a cluster it is spoken of as ``namespace/release``."""
    namespace, _, release = name.rpartition("/")
    return {"namespace": namespace, "release": release} if namespace else {"release": release}


def bound(name: str, run: Run | None) -> dict[str, object]:
    """The fields of a line about a release as it stands."""
    return place_of(name) | {
        "run": run.name if run else None,
        "stage": run.stage if run and run.entries else None,
    }


def decided(name: str, event: Event) -> dict[str, object]:
    """The fields of the line of a decision."""
    return place_of(name) | {
        "run": event.run,
        "stage": event.stage,
        "phase": event.phase_to.value,
        "reason": event.reason.value if event.reason else None,
        "weight": event.weight_to,
        "verdict": event.verdict.value,
        "actor": event.actor.claimed or event.actor.type,
    }


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with release, run and stage where they are known."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if hasattr(record, "namespace"):
            line["namespace"] = record.namespace
        if hasattr(record, "release"):
            line |= {name: getattr(record, name, None) for name in BOUND}
        line |= {name: value for name in DECIDED if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(form: str) -> None:
    """Log to stderr, ``text`` or ``json``, in UTC as all that meshctl shows."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%Y-%m-%d %H:%M:%SZ")
    text.converter = time.gmtime
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logger = logging.getLogger("meshctl")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
