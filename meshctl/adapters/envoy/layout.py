"""Which file of the embedded mesh lies where, below the folder ``.meshctl``."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from meshctl.adapters.envoy.files import read_object, write_json

_SOCKET_PATH_LIMIT = 100
"""The kernel allows 107 bytes for the path of a Unix socket."""


class Layout:
    """Paths of one embedded mesh."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.envoy = base.resolve() / "envoy"
        self.bootstrap = self.envoy / "bootstrap.json"
        self.listeners = self.envoy / "listeners.json"
        self.clusters = self.envoy / "clusters.json"
        self.pools = self.envoy / "pools.json"
        self.logs = base / "logs"
        self.endpoints_of_users = base / "endpoints.json"

    def routes(self, service: str) -> Path:
        """The live routes of a service: what Envoy follows."""
        return self.envoy / "routes" / f"{service}.json"

    def fallback(self, service: str, run: str) -> Path:
        """The routes that take ``run``'s candidate to nothing, laid ready beside the live ones."""
        label = re.sub(r"[^A-Za-z0-9_-]", "_", run)[:80]
        digest = hashlib.sha256(run.encode()).hexdigest()[:8]
        return self.envoy / "routes" / f"{service}.fallback.{label}-{digest}.json"

    def fallbacks(self, service: str) -> list[Path]:
        return sorted(self.routes(service).parent.glob(f"{service}.fallback.*.json"))

    def pool(self, cluster: str) -> Path:
        """The endpoints of one cluster."""
        return self.envoy / "endpoints" / f"{cluster}.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def admin_socket(self) -> Path:
        """Envoy's admin socket; in a private folder elsewhere when the path here is too long for a socket."""
        near = self.envoy / "admin.sock"
        if len(str(near).encode()) <= _SOCKET_PATH_LIMIT:
            return near
        note = self.envoy / "admin.json"
        far = read_object(note).get("socket")
        if not isinstance(far, str) or not Path(far).parent.is_dir():
            far = str(Path(tempfile.mkdtemp(prefix="meshctl-")) / "admin.sock")
            write_json(note, {"socket": far})
        return Path(far)

    def remove_admin_socket(self) -> None:
        """Clear away the admin socket of an Envoy that has ended; the private folder stays for the next one."""
        self.admin_socket().unlink(missing_ok=True)
