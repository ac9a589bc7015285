"""Failures of the line to an API server, in words: name, connection, trust, time; and what a proxy answers instead."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from meshctl.adapters.kubernetes.problems import Call
from meshctl.core.errors import MeshctlError, Unreachable

LINE_ERRORS = (HTTPError, ApiException, OSError)
"""What the libraries below raise; the official client wraps failures of TLS into an exception of its own."""

RETRY_AFTER_MAX_S = 60.0

_ELSEWHERE = "is the cluster up, and is this the one you mean? see --context and --kubeconfig"
_TRUST = (
    (
        "certificate has expired",
        "its certificate has expired",
        "it has to be renewed there",
    ),
    (
        "Hostname mismatch|doesn't match|IP address mismatch",
        "its certificate is for another name",
        "use an address that the certificate names, or set tls-server-name in the kubeconfig",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not signed by the authority that the kubeconfig names",
        "the cluster was made anew, or somebody answers in its place: fetch the kubeconfig again",
    ),
    (
        "WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST",
        "it does not speak TLS",
        "is that port the API server's? see the cluster's server in the kubeconfig",
    ),
    (
        "ALERT|HANDSHAKE",
        "it ends the handshake",
        "the client certificate of the kubeconfig may be expired or of another cluster",
    ),
)


def line_error(call: Call, error: Exception, server: str) -> MeshctlError:
    """What happened to a request that got no whole answer."""
    text = str(error)
    match error:
        case ApiException() if "SSLError" in text or "ssl" in text.lower():
            return _untrusted(call, text, server)
        case ApiException():
            return Unreachable(f"{call}: {error.reason}")
        case NameResolutionError():
            return Unreachable(f"{call}: the name in {server} is not known", hint=_ELSEWHERE)
        case ProxyError():
            return Unreachable(f"{call}: the proxy before {server} refuses: {text}")
        case NewConnectionError():
            return Unreachable(f"{call}: nobody answers at {server} ({_cause(error)})", hint=_ELSEWHERE)
        case ConnectTimeoutError():
            return Unreachable(f"{call}: {server} does not answer (connecting timed out)", hint=_ELSEWHERE)
        case ReadTimeoutError():
            return Unreachable(f"{call}: {server} took the request and did not answer in time")
        case _:
            return Unreachable(f"{call}: the connection to {server} broke ({_cause(error)})")


def never_sent(error: Exception) -> bool:
    """Whether the API server certainly never saw the request."""
    return isinstance(error, NewConnectionError | ConnectTimeoutError | ProxyError)


def is_final(error: Exception) -> bool:
    """Whether the next attempt would end the same way: trust does not come by waiting."""
    return isinstance(error, ApiException)


def status_of(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The ``metav1.Status`` of an answer; of anything else its text as the message."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict) and found.get("kind") == "Status":
        return found
    text = body.decode("utf-8", errors="replace").strip()
    if "html" in headers.get("content-type", "") or text[:1] == "<":
        return {"message": "an HTML page, so a proxy or a login page answers in its place"}
    return {"message": text[:300] or "an empty answer"}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until the API server wants to be asked again; ``None`` when it does not say."""
    value = headers.get("retry-after", "")
    return min(float(value), RETRY_AFTER_MAX_S) if value.isdecimal() else None


def _untrusted(call: Call, text: str, server: str) -> MeshctlError:
    for pattern, what, remedy in _TRUST:
        if re.search(pattern, text):
            return Unreachable(f"{call}: {server} cannot be trusted: {what}", hint=remedy)
    return Unreachable(f"{call}: no TLS with {server}: {text}")


def _cause(error: Exception) -> str:
    """The operating system's word on it, without addresses of objects in memory."""
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    strerror = inner.strerror if isinstance(inner, OSError) else None
    return strerror or re.sub(r"<[^>]*>:? ?", "", str(inner)) or type(inner).__name__
