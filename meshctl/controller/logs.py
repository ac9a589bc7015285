"""How the controller speaks: one line per decision, for people or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime

BOUND = ("release", "run", "stage")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with release, run and stage where they are known."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: value for name in BOUND if (value := getattr(record, name, None)) is not None}
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
