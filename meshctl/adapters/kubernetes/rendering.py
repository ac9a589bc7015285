"""Renders the Deployment of a version from its template and proves that it is the decided one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshctl.adapters.kubernetes.api import Object
from meshctl.adapters.template_set import DEPLOYMENT, TIME_LIMIT_S, TemplateSet
from meshctl.core.deployments import DeploymentPlan, find_deployment_lies
from meshctl.core.model import Release


class DeploymentRenderer:
    """A template of ``user_dir`` named as the packaged one wins."""

    def __init__(self, user_dir: Path | None = None, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._templates = TemplateSet("kubernetes", user_dir, time_limit_s=time_limit_s)

    def render(self, release: Release, plan: DeploymentPlan) -> Object:
        """The Deployment of a plan, proved by the guard.  Raises `TemplateError`."""
        context = deployment_context(release, plan)
        documents = self._templates.documents(DEPLOYMENT, context)
        objects = [document.data for _, document in documents]
        lies = find_deployment_lies(plan, objects)
        if lies:
            self._templates.refuse(lies, documents, [DEPLOYMENT], context, release.metadata.name)
        return dict(objects[0])

    def close(self) -> None:
        """End the child process, if there is one."""
        self._templates.close()


def deployment_context(release: Release, plan: DeploymentPlan) -> dict[str, Any]:
    """What the template gets: plain data only.  docs/templates.md explains each name."""
    return {
        "release": {
            "name": release.metadata.name,
            "namespace": release.metadata.namespace,
            "labels": dict(release.metadata.labels),
            "service": release.spec.service,
            "version": release.spec.version,
            "version_label": release.spec.version_label,
        },
        "name": plan.name,
        "labels": plan.labels,
        "annotations": plan.annotations,
        "selector": plan.selector,
        "replicas": plan.replicas,
        "ready_timeout_s": max(int(release.spec.ready_timeout.total_seconds()), 1),
        "template": plan.template,
    }
