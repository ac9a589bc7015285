"""The port `Workloads` in a cluster: pods of the user's own Deployments, or of one Deployment that meshctl makes for
each version.

Which of both it is, each version says by itself: a Deployment that meshctl made for the release carries its labels,
every other one is the user's and is only looked at.  So a release may change from one to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshctl.adapters.kubernetes.api import AlreadyExists, Api, Object, Patch
from meshctl.adapters.kubernetes.kinds import DEPLOYMENT
from meshctl.adapters.kubernetes.looking import LOOK_VALID_S, Looker
from meshctl.adapters.kubernetes.rendering import DeploymentRenderer
from meshctl.adapters.kubernetes.scaling import (
    Operations,
    first_replicas,
    is_ours,
    needed_by,
    newest_run_of,
    scaled_to_nothing,
    scaled_up,
    superfluous,
    version_of,
)
from meshctl.adapters.kubernetes.standing import (
    Standing,
    autoscaler_of,
    deployments_of,
    ready_replicas,
    replicas_of,
    selector_of,
)
from meshctl.core.deployments import DeploymentPlan, deployment_name, plan_deployment
from meshctl.core.errors import InvalidInput, MeshctlError, WorkloadError
from meshctl.core.model import PodWorkload, ReadyReplicas, Release


class KubernetesWorkloads:
    """One namespace or many, by what ``api`` may do.  Its reads may come from caches that hold no more than
    `meshctl.adapters.kubernetes.cached.PARTS` keeps; one look serves for ``look_valid_s``."""

    def __init__(self, api: Api, renderer: DeploymentRenderer, *, look_valid_s: float = LOOK_VALID_S) -> None:
        self._api = api
        self._renderer = renderer
        self._looker = Looker(api, valid_s=look_valid_s)
        self._failed: dict[tuple[str, str], str] = {}

    def ready(self, release: Release, version: str) -> ReadyReplicas | None:
        """Replicas that the Service's endpoints offer, of those wished, with what keeps the others.

        ``None`` when two looks do not fit together.  Raises `Unreachable` and `Forbidden` when nothing can be known.
        """
        standing = self._looker.look(release)
        found = ready_replicas(release, standing, version, {})
        if found is None or found.complete:
            return found
        if heard := self._looker.heard(release, standing, version):
            found = ready_replicas(release, standing, version, heard)
        if found is not None and self._is_to_be_made(release, standing, version):
            found = self._not_made_yet(release, found, standing)
        return found

    def ensure(self, release: Release, version: str, *, run: int = 0) -> None:
        """Have a version's pods wished for, and noted for which run.  The user's own Deployments are left as they are.

        Raises `InvalidInput` for a version that nobody makes, `TemplateError`, `WorkloadError` for a name that is
        taken, `Conflict` when somebody scaled just now, and what the API server says of a Deployment it refuses.
        """
        standing = self._looker.look(release)
        ours = _ours(release, standing, version)
        if ours is not None:
            others = _siblings(release, standing, version)
            wished = release.spec.workload.replicas if release.spec.workload is not None else None
            operations = scaled_up(ours, wished, autoscaler_of(standing, ours), others)
            self._patch(release, ours, [*operations, *needed_by(ours, run)])
        elif self._is_to_be_made(release, standing, version):
            self._make(release, standing)
        elif not deployments_of(release, standing, version):
            found = ready_replicas(release, standing, version, {})
            words = found.message if found is not None else "its pods are not known"
            raise InvalidInput(f"Release {release.metadata.name}: {version} has no pods: {words}")

    def retire(self, release: Release, keep: Sequence[str], *, run: int = 0) -> None:
        """Scale the Deployments that meshctl made for other versions to 0, and delete the oldest of those at 0.

        Those that a later run than ``run`` needs are left alone, told by their note.  Only once the first of
        ``keep``, which serves, is complete: without routes of ours every pod that the Service selects may be the
        one that serves.
        """
        standing = self._looker.look(release)
        ours = [each for each in standing.deployments if is_ours(each, release.metadata.name)]
        left = [each for each in ours if version_of(each) not in keep and newest_run_of(each) <= run]
        if not left or not keep:
            return
        serving = ready_replicas(release, standing, keep[0], {})
        if serving is None or not serving.complete:
            return
        for each in left:
            self._patch(release, each, scaled_to_nothing(each))
        for each in superfluous(left):
            metadata = each["metadata"]
            self._api.delete(DEPLOYMENT, metadata["name"], metadata["namespace"], uid=metadata["uid"])
            self._forget(release)

    def forget(self, namespace: str, service: str) -> None:
        """Look again at what is behind a Service, however short ago the last look was: something changed there."""
        self._looker.forget(namespace, service)

    # ------------------------------------------------------------------------------------ one Deployment

    def _is_to_be_made(self, release: Release, standing: Standing, version: str) -> bool:
        """Whether meshctl is to make this version's pods and nobody does yet."""
        wished = release.spec.workload is not None and version == release.spec.version
        made = _ours(release, standing, version) is not None or bool(deployments_of(release, standing, version))
        return wished and not made

    def _not_made_yet(self, release: Release, found: ReadyReplicas, standing: Standing) -> ReadyReplicas:
        """What to say of a Deployment that is still to be made: what came of the last attempt."""
        assert release.spec.workload is not None
        wished = release.spec.workload.replicas
        if selector_of(release, standing.service)[1]:
            return replace(found, wished=wished)
        name = deployment_name(release.metadata.name, release.spec.version)
        words = self._failed.get((release.metadata.namespace, name)) or f"Deployment {name} is about to be made"
        return replace(found, wished=wished, message=words)

    def _make(self, release: Release, standing: Standing) -> None:
        workload, version = release.spec.workload, release.spec.version
        assert workload is not None
        key = (release.metadata.namespace, deployment_name(release.metadata.name, version))
        replicas = first_replicas(workload.replicas, None, _siblings(release, standing, version))
        try:
            self._create(release, workload, replicas)
        except MeshctlError as error:
            self._failed[key] = str(error)
            raise
        finally:
            self._forget(release)
        self._failed.pop(key, None)

    def _create(self, release: Release, workload: PodWorkload, replicas: int) -> None:
        plan = plan_deployment(release, workload, replicas)
        rendered = self._renderer.render(release, plan)
        try:
            self._api.create(DEPLOYMENT, rendered)
        except AlreadyExists:
            found = self._api.list(DEPLOYMENT, plan.namespace, fields=f"metadata.name={plan.name}").items
            if any(_is_as_planned(each, release, plan) for each in found):
                return
            raise WorkloadError(
                f"Deployment {plan.namespace}/{plan.name} exists and was not made by meshctl for "
                f"Release {release.metadata.name} with these labels",
                hint="rename or delete it, or give the release another version",
            ) from None

    def _patch(self, release: Release, deployment: Object, operations: Operations) -> None:
        if not operations:
            return
        metadata = deployment["metadata"]
        try:
            self._api.patch(DEPLOYMENT, metadata["name"], metadata["namespace"], operations, form=Patch.JSON)
        finally:
            self._forget(release)

    def _forget(self, release: Release) -> None:
        self.forget(release.metadata.namespace, release.spec.service)


def _ours(release: Release, standing: Standing, version: str) -> Object | None:
    """The Deployment that meshctl made for a version of this release."""
    made = (each for each in standing.deployments if is_ours(each, release.metadata.name))
    return next((each for each in made if version_of(each) == version), None)


def _siblings(release: Release, standing: Standing, version: str) -> list[Object]:
    """The running Deployments of the Service's other versions."""
    selector, _ = selector_of(release, standing.service)
    label = release.spec.version_label
    found = []
    for each in standing.deployments:
        labels = each["spec"]["template"]["metadata"].get("labels") or {}
        if selector and selector.items() <= labels.items() and labels.get(label) not in (None, version):
            found += [each] if replicas_of(each) else []
    return found


def _is_as_planned(deployment: Object, release: Release, plan: DeploymentPlan) -> bool:
    ours = is_ours(deployment, release.metadata.name) and version_of(deployment) == plan.version
    return ours and deployment["spec"]["selector"] == {"matchLabels": plan.selector}
