"""A small client of the API server: enough to put a test's objects there and to look at what became of them."""

from __future__ import annotations

import builtins
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.addresses import API_URL

Object = dict[str, Any]
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class Refused(Exception):
    """The API server said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Api:
    """Calls as one user.  Names of kinds are spelled as in manifests; where they live is asked of the server."""

    def __init__(self, authority: Path, token: str, url: str = API_URL) -> None:
        self.token = token
        verify = ssl.create_default_context(cafile=str(authority))
        headers = {"authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=url, verify=verify, headers=headers, timeout=10, trust_env=False)
        self._places: dict[tuple[str, str], tuple[str, bool]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **query: str) -> Any:
        """One call; the answer's JSON, or its text.  Raises `Refused` for an answer of 400 or above."""
        headers = {"content-type": kind} if body is not None else None
        answer = self._client.request(method, path, json=body, params=query, headers=headers)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        content: Any = answer.json() if is_json else answer.text
        if answer.status_code >= 400:
            raise Refused(answer.status_code, content["message"] if is_json and "message" in content else answer.text)
        return content

    def is_ready(self) -> bool:
        """Whether the API server says it serves."""
        return self._client.get("/readyz").status_code == 200

    def path(self, api_version: str, kind: str, namespace: str = "", name: str = "") -> str:
        """Where an object, or its collection, lives."""
        plural, namespaced = self._place(api_version, kind)
        parts = ["apis" if "/" in api_version else "api", api_version]
        parts += ["namespaces", namespace] if namespaced and namespace else []
        return "/" + "/".join([*parts, plural, *([name] if name else [])])

    def _place(self, api_version: str, kind: str) -> tuple[str, bool]:
        if (api_version, kind) not in self._places:
            listing = self.call("GET", f"/{'apis' if '/' in api_version else 'api'}/{api_version}")
            for one in listing["resources"]:
                if "/" not in one["name"]:
                    self._places[api_version, one["kind"]] = (one["name"], one["namespaced"])
        if (api_version, kind) not in self._places:
            raise Refused(404, f"there is no {kind} in {api_version}")
        return self._places[api_version, kind]

    def _path_of(self, manifest: Mapping[str, Any], namespace: str, *, named: bool = True) -> str:
        metadata = manifest["metadata"]
        place = metadata.get("namespace", namespace)
        return self.path(manifest["apiVersion"], manifest["kind"], place, metadata["name"] if named else "")

    def apply(self, manifest: Mapping[str, Any], namespace: str = "", manager: str = "test") -> Object:
        """Server-side apply, taking over what another manager holds."""
        path = self._path_of(manifest, namespace)
        return self._object("PATCH", path, manifest, kind=_APPLY, fieldManager=manager, force="true")

    def create(self, manifest: Mapping[str, Any], namespace: str = "") -> Object:
        """Create an object that is not there yet."""
        return self._object("POST", self._path_of(manifest, namespace, named=False), manifest)

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object:
        """One object."""
        return self._object("GET", self.path(api_version, kind, namespace, name))

    def list(self, api_version: str, kind: str, namespace: str = "", **query: str) -> builtins.list[Object]:
        """All objects of a kind, of one namespace or of all (``labelSelector="app=shop"`` and the like)."""
        items: builtins.list[Object] = self.call("GET", self.path(api_version, kind, namespace), **query)["items"]
        return items

    def patch(self, api_version: str, kind: str, name: str, namespace: str, change: Any) -> Object:
        """A merge patch."""
        return self._object("PATCH", self.path(api_version, kind, namespace, name), change, kind=_MERGE)

    def delete(self, api_version: str, kind: str, name: str, namespace: str = "", **query: str) -> None:
        """Delete an object; one that is not there is fine."""
        try:
            self.call("DELETE", self.path(api_version, kind, namespace, name), **query)
        except Refused as refusal:
            if refusal.status != 404:
                raise

    def token_for(self, namespace: str, account: str, seconds: int = 3600, audience: str = "") -> str:
        """A real token of a service account, from the TokenRequest API."""
        spec = {"expirationSeconds": seconds, **({"audiences": [audience]} if audience else {})}
        path = f"{self.path('v1', 'ServiceAccount', namespace, account)}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        token: str = self.call("POST", path, body)["status"]["token"]
        return token

    def _object(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **query: str
    ) -> Object:
        answer: Object = self.call(method, path, body, kind=kind, **query)
        return answer
