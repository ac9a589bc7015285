"""Istio's own opinion of mesh objects, by ``istioctl validate``, where that is installed: it needs no cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from meshctl.adapters.yaml12 import write_documents
from meshctl.core.ports import Manifest

TIMEOUT_S = 20.0
_COMPLAINT = re.compile(r"^\s*\*\s*(?P<what>.+)$", re.M)


def complaints(objects: Sequence[Manifest]) -> list[str]:
    """What istioctl refuses of these objects, a line each; nothing where it is not there or does not end in time."""
    program = shutil.which("istioctl")
    if program is None or not objects:
        return []
    try:
        done = subprocess.run(
            [program, "validate", "-f", "-"],
            input=write_documents(dict(each) for each in objects),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode == 0:
        return []
    said = done.stderr + done.stdout
    return [found["what"].strip() for found in _COMPLAINT.finditer(said)] or [" ".join(said.split())[:500]]
