"""The name of a version in the mesh: a DNS label that says which version it is.

``2.1.0`` becomes the subset ``v2-1-0``.  A subset is never called "stable" or "canary": such a name changes its
meaning with every release, and whoever reads the mesh by it reads it wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from meshctl.core.errors import InvalidInput

LABEL_LIMIT = 63
_DIGEST_LENGTH = 10


def subset_name(version: str) -> str:
    """The subset of a version, at most 63 characters, always the same for the same version."""
    slug = re.sub(r"[^a-z0-9]+", "-", version.lower()).strip("-")
    if not slug:
        raise InvalidInput(
            f"version {version!r} has neither a letter nor a digit, so no subset can be named after it",
            hint='name the version with letters and digits, such as "2.1.0"',
        )
    if not re.match(r"v[0-9]", slug):
        slug = f"v{slug}" if slug[0].isdigit() else f"v-{slug}"
    if len(slug) > LABEL_LIMIT:
        digest = hashlib.sha256(version.encode()).hexdigest()[:_DIGEST_LENGTH]
        slug = f"{slug[: LABEL_LIMIT - _DIGEST_LENGTH - 1].rstrip('-')}-{digest}"
    return slug


def same_subset(versions: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of different versions that would share one subset: (the earlier one, the later one)."""
    first: dict[str, str] = {}
    clashes = []
    for version in dict.fromkeys(versions):
        name = subset_name(version)
        if name in first:
            clashes.append((first[name], version))
        first.setdefault(name, version)
    return clashes
