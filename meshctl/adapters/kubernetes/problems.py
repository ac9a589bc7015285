"""What the API server's refusals mean, in words for whoever reads them: what was tried, on what, what was found.

The shape of an answer is that of ``metav1.Status``: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshctl.adapters.kubernetes.api import AlreadyExists, Expired, NotFound, Patch
from meshctl.adapters.kubernetes.kinds import NAMESPACE, Kind
from meshctl.core.errors import Conflict, Forbidden, InvalidInput, MeshctlError, Refused, Unreachable

_DOING = {
    "get": "reading",
    "list": "listing",
    "watch": "watching",
    "create": "creating",
    "update": "writing",
    "patch": "patching",
    "delete": "deleting",
}
_DENIED = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
"""How every authorizer of the API server words a refusal (staging/src/k8s.io/apiserver, responsewriters/errors.go)."""

_UNTYPED = "failed to create typed patch object"
"""A server-side apply with a value of the wrong type is answered with 500, not 422."""

MESSAGE_MAX = 600
"""So much of the API server's own text is repeated; a schema's refusals can be pages long."""

_CRDS = {
    "meshctl.dev": "the CRDs of meshctl are not installed in this cluster: meshctl install | kubectl apply -f -",
    "networking.istio.io": "Istio (1.22 or newer, with its CRDs) is not installed in this cluster, or this is another "
    "cluster than you think: see --context",
}


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of the API server; ``path`` stands alone where no object is meant."""

    verb: str
    kind: Kind | None = None
    name: str = ""
    namespace: str = ""
    subresource: str = ""
    form: Patch | None = None
    path: str = ""

    def __str__(self) -> str:
        doing = _DOING.get(self.verb, self.verb)
        if self.kind is None:
            return f"{doing} {self.path}"
        part = f"{self.subresource} of " if self.subresource else ""
        return f"{doing} {part}{self.kind.label(self.name, self.namespace)}"


def error_of(call: Call, code: int, status: Mapping[str, Any], *, server: str = "", user: str = "") -> MeshctlError:
    """The error that an answer with HTTP ``code`` and ``status`` (a ``metav1.Status``, or ``{"message": text}``)
    means."""
    message = str(status.get("message") or f"the API server answered {code}")[:MESSAGE_MAX]
    details = status.get("details") or {}
    match code:
        case 401:
            return _unauthenticated(call, server, user)
        case 403:
            return _forbidden(call, message)
        case 404:
            return _not_found(call, status, message)
        case 409 if status.get("reason") == "AlreadyExists":
            return AlreadyExists(f"{call}: it exists already")
        case 409:
            return Conflict(f"{call}: {message}", hint=_causes(details))
        case 410:
            return Expired(f"{call}: {message}")
        case 504 if "Too large resource version" in message:
            return Expired(f"{call}: {message}")
        case 422 if call.form is Patch.JSON and not details.get("causes"):
            return Conflict(f"{call}: the object is not what the patch tests for")
        case 400 | 413 | 415 | 422:
            return InvalidInput(f"{call}: the API server refuses it: {_causes(details) or message}")
        case 405:
            return Refused(f"{call}: the API server does not offer that: {message}")
        case 500 if _UNTYPED in message:
            return InvalidInput(f"{call}: the API server refuses it: {message.partition(': ')[2] or message}")
        case 429 | 500 | 502 | 503 | 504:
            return Unreachable(f"{call}: {server or 'the API server'} answered {code}: {message}")
        case _:
            return Unreachable(
                f"{call}: {server or 'the API server'} answered {code}, which no API server says here: {message}",
                hint="is that address a Kubernetes API server? see --context and --kubeconfig",
            )


def _unauthenticated(call: Call, server: str, user: str) -> MeshctlError:
    who = f" as {user}" if user else ""
    return Forbidden(
        f"{call}: {server or 'the API server'} does not accept our credentials{who} (401)",
        hint="the token or certificate is expired or of another cluster: log in again, or name another --context",
    )


def _forbidden(call: Call, message: str) -> MeshctlError:
    found = _DENIED.search(message)
    if found is None:
        return Forbidden(f"{call}: {message}")
    where = f'a Role in namespace "{found["namespace"]}"' if found["namespace"] else "a ClusterRole"
    rule = f'{{apiGroups: ["{found["group"]}"], resources: ["{found["resource"]}"], verbs: ["{found["verb"]}"]}}'
    return Forbidden(
        f'{call}: user "{found["user"]}" may not {found["verb"]} {found["resource"]}',
        hint=f"missing in {where}: {rule}",
    )


def _not_found(call: Call, status: Mapping[str, Any], message: str) -> MeshctlError:
    """An object that is not there has a name in the answer's details; a kind that is not there has none."""
    details = status.get("details") or {}
    if call.kind is None:
        return NotFound(f"{call}: {message}")
    if details.get("kind") == NAMESPACE.plural and call.kind is not NAMESPACE:
        return NotFound(f'{call}: there is no namespace "{details.get("name")}"')
    if details.get("name") and status.get("reason") == "NotFound":
        return NotFound(f"{call}: there is none")
    hint = _CRDS.get(call.kind.group, f"this cluster has no {call.kind.resource} in version {call.kind.version}")
    return Refused(
        f"{call}: the API server does not know the kind {call.kind.name} ({call.kind.api_version})", hint=hint
    )


def _causes(details: Mapping[str, Any]) -> str:
    """``field: message`` of each cause, as the API server gives them."""
    causes = details.get("causes") or ()
    lines = [
        f"{cause['field']}: {cause.get('message')}" if cause.get("field") else str(cause.get("message"))
        for cause in causes
    ]
    return "; ".join(lines)[:MESSAGE_MAX]
