"""Reading a route file back: the routes that Envoy follows are the truth about weights, run and abort."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshctl.adapters.envoy.files import read_json
from meshctl.adapters.envoy.routes import SHARED


@dataclass(frozen=True, slots=True)
class LiveRoutes:
    """What a route file says.  ``weights`` maps version to permille, ``digest`` covers the content: both are taken
    from the routes themselves, since another hand that edits them leaves what they say about themselves."""

    revision: str
    run: str
    aborted: bool
    weights: dict[str, int]
    digest: str

    @property
    def count(self) -> int:
        """How many revisions of this service's routes there have been."""
        head = self.revision.partition("-")[0]
        return int(head) if head.isdigit() else 0


def read_routes(path: Path) -> LiveRoutes | None:
    """The routes at ``path``; ``None`` when there are none, or none that meshctl wrote: they are written anew."""
    try:
        found = read_json(path)
        return None if found is None else _parse(found)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, StopIteration):
        return None


def _parse(found: Any) -> LiveRoutes:
    host = found["resources"][0]["virtual_hosts"][0]
    about = host["metadata"]["filter_metadata"]["meshctl"]
    versions = about["versions"]
    shared = next(
        route for route in host["routes"] if route["metadata"]["filter_metadata"]["meshctl"]["traffic"] == SHARED
    )
    split = {entry["name"]: entry["weight"] for entry in shared["route"]["weighted_clusters"]["clusters"]}
    weights = {version: int(split.get(cluster, 0)) for cluster, version in versions.items()}
    return LiveRoutes(found["version_info"], about["run"], bool(about["aborted"]), weights, content_digest(found))


def content_digest(content: Any) -> str:
    """Digest of a route file but for the names that it gives its own content."""
    bare = copy.deepcopy(content)
    bare["version_info"] = ""
    about = bare["resources"][0]["virtual_hosts"][0]["metadata"]["filter_metadata"]["meshctl"]
    for name in ("digest", "revision"):
        about.pop(name, None)
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()[:16]
