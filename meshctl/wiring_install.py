"""Joins the printing of manifests to the command: needs no library that speaks to a cluster."""

from __future__ import annotations

from typing import Any

from meshctl.adapters.installation import IMAGE, NAMESPACE, Crds, Installation, Mode, manifests


def install_text(*, mode: str, crds: str, namespace: str | None, image: str | None, **options: Any) -> str:
    """The manifests of an installation.  Raises `InvalidInput` for an address that is none."""
    where = {"namespace": namespace or NAMESPACE, "image": image or IMAGE}
    return manifests(Installation(mode=Mode(mode), crds=Crds(crds), **(where | options)))
