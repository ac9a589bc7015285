"""Back to a version that was promoted earlier.

While it is kept warm one write is enough.  Without its replicas no single write is safe and nothing is known of how
it does today, so it becomes the wish, and a run of its own leads there through the stages.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Protocol

from meshctl.app.history import promoted_before
from meshctl.core.catalog import Archive, Wishes
from meshctl.core.errors import Refused
from meshctl.core.model import Release, ReleaseSpec, Run
from meshctl.core.ports import Store
from meshctl.core.versions import returned


class Shelf(Store, Wishes, Archive, Protocol):
    """Wishes, state and records."""


def prepare_return(shelf: Shelf, name: str, version: str, reason: str) -> bool:
    """Have ``version`` wished if it is not warm; true when it is, and a request is all it takes.

    Raises `Refused`, before anything is changed, where there is no way back to it.
    """
    stored = shelf.load(name)
    state, run = stored.state, stored.state.run
    if state.baseline == version:
        raise Refused(f"cannot roll back {name} to {version}: it serves already", hint=_under_way(run))
    if state.warm == version:
        return True
    if run is not None and not run.phase.ended and run.candidate != version:
        raise Refused(f"cannot roll back {name} while {run.name} brings {run.candidate}", hint=_under_way(run))
    known = [each for each in promoted_before(shelf, name) if each != state.baseline]
    if version not in known:
        raise Refused(f"cannot roll back {name} to {version!r}: no kept run promoted it", hint=_near(version, known))
    if not reason.strip():
        raise Refused(
            f"cannot roll back {name} to {version} in one write: it is not kept warm any more",
            hint="A run of its own can lead back to it through the stages; that is recorded: say why with --reason.",
        )
    _need_program(shelf, stored.release, version)
    shelf.put_release(replace(stored.release, spec=_spec_of_then(shelf, stored.release, version)))
    return False


def _spec_of_then(shelf: Shelf, release: Release, version: str) -> ReleaseSpec:
    """The wish with the version of then and, where meshctl makes the pods, with the pods of then."""
    runs = [kept.run for kept in shelf.runs(release.metadata.name) if kept.run.candidate == version]
    if runs:
        return returned(release.spec, runs[-1].spec)
    if release.spec.workload is not None:
        raise Refused(
            f"cannot roll back {release.metadata.name} to {version}: the run that brought its pods is no longer kept",
            hint="Apply the release as it was then: version and spec.workload.template.",
        )
    return replace(release.spec, version=version)


def _need_program(shelf: Shelf, release: Release, version: str) -> None:
    """Without a cluster: the programs of the versions stand in a Workload."""
    workload = next((each for each in shelf.workloads() if each.metadata.name == release.spec.service), None)
    if workload is not None and version not in workload.spec.versions:
        raise Refused(
            f"cannot roll back {release.metadata.name} to {version}: Workload {release.spec.service} has no such "
            "version any more",
            hint=f"It has: {', '.join(workload.spec.versions)}.  Put its program back first, with apply.",
        )


def _under_way(run: Run | None) -> str:
    return "" if run is None or run.phase.ended else "Use abort to take the candidate of the present run back."


def _near(version: str, known: list[str]) -> str:
    near = difflib.get_close_matches(version, known, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Promoted earlier: {', '.join(known)}." if known else "No other version was ever promoted."
