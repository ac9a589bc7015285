"""What the cluster tier needs from the machine, and in one line what is missing."""

from __future__ import annotations

import shutil
import sys

PACKAGES = {"ip": "iproute2", "prometheus": "prometheus", "openssl": "openssl"}
"""Programs that come from Debian's packages, and from which."""
GO_AT_LEAST = (1, 26)
_CAP_SYS_ADMIN = 21
_CAP_NET_ADMIN = 12


def go_missing() -> str:
    """Why nothing can be built; empty when Go is there."""
    wanted = ".".join(map(str, GO_AT_LEAST))
    return "" if shutil.which("go") else f"Go {wanted} or newer is not on the PATH"


def missing_packages() -> list[str]:
    """Debian's packages that are not installed."""
    return [package for program, package in PACKAGES.items() if not shutil.which(program)]


def namespace_missing() -> str:
    """Why no network namespace can be made; empty when it can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces exist on Linux only"
    held = _capabilities()
    if not all(held >> number & 1 for number in (_CAP_SYS_ADMIN, _CAP_NET_ADMIN)):
        return "no right to make a network namespace (root has it)"
    return ""


def _capabilities() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    return int(line.split()[1], 16)


def main() -> None:
    """One line at the end of ``make test``: the cluster tier was not part of it, and what would run it."""
    reasons = [reason for reason in (go_missing(), namespace_missing()) if reason]
    if reasons:
        print(f"The cluster tier was left out: {'; '.join(reasons)}.")
    else:
        print("The cluster tier is a step of its own: make test-cluster")


if __name__ == "__main__":
    main()
