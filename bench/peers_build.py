"""Build the controllers that `peers.py` compares with, from pinned Go modules, into a cache of their own.

python bench/peers_build.py       # about four minutes from nothing; wanted by peers.py alone

The pins are ``programs/*/go.mod`` and ``go.sum``; it is done as the control plane of the cluster tier is built.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cluster.build import Group, Shelf
from tests.cluster.needs import go_missing

ARGO, FLAGGER = "github.com/argoproj/argo-rollouts", "github.com/fluxcd/flagger"
ARGO_GROUP = Group("argo-rollouts", {"rollouts-controller": f"{ARGO}/cmd/rollouts-controller"})
FLAGGER_GROUP = Group("flagger", {"flagger": f"{FLAGGER}/cmd/flagger"})
_KINDS = ("analysis-run", "analysis-template", "cluster-analysis-template", "experiment", "rollout")
ARGO_CRDS = tuple(f"{kind}-crd.yaml" for kind in _KINDS)
FLAGGER_CRDS = ("flagger-crd.yaml",)
PEERS = Shelf(
    "peers",
    Path(__file__).parent / "programs",
    (FLAGGER_GROUP, ARGO_GROUP),
    {name: (ARGO_GROUP, ARGO, f"manifests/crds/{name}") for name in ARGO_CRDS}
    | {"flagger-crd.yaml": (FLAGGER_GROUP, FLAGGER, "artifacts/flagger/crd.yaml")},
)


def versions() -> dict[str, str]:
    """The pinned version of each peer's module."""
    found = {}
    for group, module in ((ARGO_GROUP, ARGO), (FLAGGER_GROUP, FLAGGER)):
        pins = (PEERS.modules / group.module / "go.mod").read_text(encoding="utf-8").split()
        found[group.module] = pins[len(pins) - 1 - pins[::-1].index(module) + 1].removeprefix("v")
    return found


def main() -> int:
    started = time.monotonic()
    if PEERS.lacking() and go_missing():
        print(f"cannot build the peers: {go_missing()}", file=sys.stderr)
        return 1
    PEERS.build()
    told = ", ".join(f"{name} {version}" for name, version in versions().items())
    print(f"{told}: {PEERS.folder()}, ready after {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
