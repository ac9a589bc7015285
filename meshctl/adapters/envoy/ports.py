"""Ports on this machine: free ones are chosen, remembered ones are kept while they can be had."""

from __future__ import annotations

import secrets
import socket

from meshctl.core.errors import WorkloadError

LOOPBACK = "127.0.0.1"
REPLICA_PORTS, SERVICE_PORTS = range(20_000, 26_000), range(26_000, 32_000)
"""Below the range the kernel hands out to outgoing connections, so that none of those sits on a port of ours.  The port
of a service is chosen before its routes are there and Envoy listens: no replica may take it meanwhile."""


def can_listen(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody could listen on ``host:port`` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(
    among: range, remembered: int | None = None, host: str = LOOPBACK, *, taken: frozenset[int] = frozenset()
) -> int:
    """``remembered`` if it can be had, else one ``among`` these that is free and not ``taken``.  Raises
    `WorkloadError`."""
    if remembered and remembered not in taken and can_listen(remembered, host):
        return remembered
    start = secrets.randbelow(len(among))
    for step in range(len(among)):
        port = among[(start + step) % len(among)]
        if port not in taken and can_listen(port, host):
            return port
    raise WorkloadError(
        f"looked for a free port on {host} from {among[0]} to {among[-1]}: none", hint="End what holds them."
    )
