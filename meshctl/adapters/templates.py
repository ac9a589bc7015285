"""Renders the mesh objects of a release from Jinja2 templates and proves that they say what was decided.

The templates are read once; what a running controller uses is what `TemplateRenderer.digest` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meshctl.adapters.template_set import ROUTES, TIME_LIMIT_S, TemplateSet
from meshctl.core.guard import find_lies, gateways, hosts, preview_header, shares
from meshctl.core.model import Release, Retries, Routing
from meshctl.core.ports import Manifest
from meshctl.core.timetext import format_duration


class TemplateRenderer:
    """The `Renderer` port.  Templates in ``user_dir`` win over the packaged ones of the same name."""

    def __init__(self, user_dir: Path | None = None, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._templates = TemplateSet("istio", user_dir, time_limit_s=time_limit_s)

    def render(self, release: Release, routing: Routing) -> Sequence[Manifest]:
        """VirtualService and DestinationRule of a decided routing, proved by the guard."""
        context = template_context(release, routing)
        documents = [each for template in ROUTES for each in self._templates.documents(template, context)]
        objects = [document.data for _, document in documents]
        lies = find_lies(release, routing, objects)
        if lies:
            self._templates.refuse(lies, documents, ROUTES, context, release.metadata.name)
        return objects

    def digest(self) -> str:
        """SHA-256 of all templates that can have a part in what is rendered."""
        return self._templates.digest

    def close(self) -> None:
        """End the child process, if there is one."""
        self._templates.close()


def template_context(release: Release, routing: Routing) -> dict[str, Any]:
    """What a template gets: plain data only.  docs/templates.md explains each name."""
    mesh = release.spec.mesh
    versions = [{"version": share.version, "subset": share.subset, "weight": share.weight} for share in shares(routing)]
    header = preview_header(release)
    previews = [
        {"name": f"preview-{entry['subset']}", "version": entry["version"], "destinations": [{**entry, "weight": 1000}]}
        for entry in versions
    ]
    return {
        "release": {
            "name": release.metadata.name,
            "namespace": release.metadata.namespace,
            "labels": dict(release.metadata.labels),
            "service": release.spec.service,
            "version": release.spec.version,
            "version_label": release.spec.version_label,
            "hosts": list(hosts(release)),
            "gateways": list(gateways(release)),
            "timeout": None if mesh.timeout is None else format_duration(mesh.timeout),
            "retries": None if mesh.retries is None else _retries(mesh.retries),
            "preview_header": header,
        },
        "run": routing.run,
        "aborted": routing.aborted,
        "baseline": versions[0],
        "candidate": versions[1] if len(versions) > 1 else None,
        "subsets": [{"name": entry["subset"], "version": entry["version"]} for entry in versions],
        "routes": [*(previews if header else ()), {"name": "main", "version": None, "destinations": versions}],
    }


def _retries(retries: Retries) -> dict[str, Any]:
    limit = retries.per_try_timeout
    return {
        "attempts": retries.attempts,
        "retry_on": retries.retry_on,
        "per_try_timeout": None if limit is None else format_duration(limit),
    }
