"""Where the replicas of istiod are: each knows only the proxies that are connected to it, so all have to be asked."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from meshctl.adapters.istio.istiod import Istiod
from meshctl.adapters.kubernetes.kinds import ENDPOINT_SLICE
from meshctl.adapters.kubernetes.looking import SERVICE_LABEL, Reads
from meshctl.adapters.kubernetes.standing import endpoint_is_ready
from meshctl.core.errors import InvalidInput, Unreachable

KEPT_S = 5.0
"""So long the replicas are taken to be those that were found."""


class Istiods:
    """The debug interface of every replica behind ``url``.

    ``http://istiod.istio-system:15014`` is a Service, whose endpoints are read; any other host, an address for
    instance, is one replica.  ``token_file`` holds a token for istiod (audience ``istio-ca``), which is read anew each
    time; empty: none is shown.
    """

    def __init__(
        self, url: str, reads: Reads, *, token_file: str = "", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._scheme, self._host, self._port = _parsed(url)
        self._reads, self._monotonic = reads, monotonic
        self._token = (lambda: _token(token_file)) if token_file else None
        self._lock = threading.Lock()
        self._clients: dict[str, Istiod] = {}
        self._found: list[Istiod] = []
        self._found_at: float | None = None

    def __call__(self) -> Sequence[Istiod]:
        """All replicas that are ready.  Raises `Unreachable` when there is none, `Forbidden` when the endpoints may
        not be read."""
        with self._lock:
            now = self._monotonic()
            if self._found_at is None or now - self._found_at >= KEPT_S:
                self._found = self._look()
                self._found_at = now
            return self._found

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            for each in self._clients.values():
                each.close()
            self._clients.clear()
            self._found_at = None

    def _look(self) -> list[Istiod]:
        addresses = self._addresses()
        if not addresses:
            raise Unreachable(f"istiod: Service {self._host} has no ready endpoint")
        for gone in self._clients.keys() - set(addresses):
            self._clients.pop(gone).close()
        return [self._client(address) for address in addresses]

    def _addresses(self) -> list[str]:
        service = _service(self._host)
        if service is None:
            return [self._host]
        name, namespace = service
        slices = self._reads.list(ENDPOINT_SLICE, namespace, labels=f"{SERVICE_LABEL}={name}").items
        ready = [each for part in slices for each in part.get("endpoints") or () if endpoint_is_ready(each)]
        return sorted({address for each in ready for address in each.get("addresses") or ()})

    def _client(self, address: str) -> Istiod:
        if address not in self._clients:
            host = f"[{address}]" if ":" in address else address
            self._clients[address] = Istiod(f"{self._scheme}://{host}:{self._port}", token=self._token)
        return self._clients[address]


def _parsed(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https") or parts.path.strip("/"):
        raise InvalidInput(f"istiod_url: {url!r} is no address", hint="Such as http://istiod.istio-system:15014")
    return parts.scheme, host, port or 15014


def _service(host: str) -> tuple[str, str] | None:
    """Name and namespace, where a host is a Service of the cluster."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        parts = host.split(".")
        if len(parts) == 2 or (len(parts) > 2 and parts[2] == "svc"):
            return parts[0], parts[1]
    return None


def _token(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Unreachable(f"istiod: its token cannot be read from {file}: {error.strerror}") from error
