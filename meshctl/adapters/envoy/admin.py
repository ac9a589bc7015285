"""Envoy's admin interface on its Unix socket: what runs, what is healthy, what it counted."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

from meshctl.core.errors import Unreachable

TIMEOUT_S = 1.0


class _UnixConnection(http.client.HTTPConnection):
    """One connection per question: on a Unix socket it costs less than looking after a pool."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("envoy", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Admin:
    """Asks the Envoy behind one socket.  Every method raises `Unreachable` when it does not answer."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, target: str, *, timeout_s: float = TIMEOUT_S) -> str:
        """The body of the answer to ``GET target``."""
        connection = _UnixConnection(self.path, timeout_s)
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            body = answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"asked Envoy for {target.partition('?')[0]} on {self.path}: {error!r}",
                hint="Start the embedded mesh with `meshctl local up`, or look into logs/envoy.log beside it.",
            ) from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise Unreachable(f"Envoy answered {target.partition('?')[0]} with {answer.status}: {body.strip()[:200]}")
        return body

    def get_json(self, target: str, *, timeout_s: float = TIMEOUT_S) -> Any:
        """The same, as data."""
        try:
            return json.loads(self.get(target, timeout_s=timeout_s))
        except ValueError as error:
            raise Unreachable(f"Envoy's answer to {target.partition('?')[0]} is not JSON: {error}") from error

    def live(self) -> bool:
        """Whether Envoy answers and has finished its start; never raises."""
        try:
            return self.get("/ready").strip() == "LIVE"
        except Unreachable:
            return False

    def route_version(self, service: str) -> str:
        """The ``version_info`` of the routes that Envoy works by; empty before the first ones."""
        text = self.get(f"/stats?type=TextReadouts&filter={quote(f'^http.{service}.rds.{service}.version_text$')}")
        return text.partition(":")[2].strip().strip('"')

    def health(self, prefix: str) -> dict[str, dict[int, bool]]:
        """Per cluster whose name starts with ``prefix``: may the endpoint on this port get requests?

        A cluster that is still being warmed is not among them.
        """
        answer = self.get_json("/clusters?format=json")
        return {
            cluster["name"]: {
                host["address"]["socket_address"]["port_value"]: _healthy(host.get("health_status", {}))
                for host in cluster.get("host_statuses", ())
            }
            for cluster in answer.get("cluster_statuses", ())
            if cluster["name"].startswith(prefix)
        }

    def listeners(self) -> set[str]:
        """The names of the listeners that accept connections."""
        return {entry["name"] for entry in self.get_json("/listeners?format=json").get("listener_statuses", ())}

    def refused_listener(self, name: str) -> str:
        """Why Envoy refused a listener; empty when it did not."""
        dump = self.get_json("/config_dump?resource=dynamic_listeners")
        for entry in dump.get("configs", ()):
            if entry.get("name") == name and "error_state" in entry:
                return str(entry["error_state"].get("details", "no details"))
        return ""


def _healthy(status: dict[str, object]) -> bool:
    return status.get("eds_health_status") == "HEALTHY" and not any(
        value is True for key, value in status.items() if key.startswith(("failed_", "pending_"))
    )
