"""One request to an API server and its answer: limits in time, retries, failures of the line in words.

The official client builds the request (address, trust, credentials) and holds the connections; what is sent and what
comes back are bytes, since its typed models cost a hundred times as much as what they carry.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Any

import stamina
import urllib3
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from meshctl.adapters.kubernetes.line import (
    LINE_ERRORS,
    is_final,
    line_error,
    never_sent,
    retry_after_s,
    status_of,
)
from meshctl.adapters.kubernetes.problems import Call, error_of
from meshctl.core.errors import Forbidden, MeshctlError, Unreachable

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

BUDGET_S = 15.0
"""All attempts of one call and the pauses between them."""

ATTEMPT_S = 10.0
CONNECT_S = 3.0
SILENCE_S = 90.0
"""A watch that says nothing for so long is dead: the API server sends a bookmark every minute."""

BACKOFF_FIRST_S, BACKOFF_MAX_S, BACKOFF_JITTER_S = 0.1, 2.0, 0.2
RENEW_LEAST_S = 5.0
"""Credentials are read anew after a 401, at most this often."""

ANSWER_MAX = 256 * 2**20
"""Bytes; a page of 500 objects at the size that etcd takes at most."""

_CHUNK = 64 * 1024
_BUSY = frozenset({500, 502, 503, 504})

log = logging.getLogger(__name__)


class Again(Enum):
    """What may be tried once more when it is not known whether the API server did it."""

    ANYTHING = 1
    ONLY_IF_NOT_DONE = 2


@dataclass(frozen=True, slots=True)
class Query:
    """One request.  ``body`` is JSON data, ``media`` its type."""

    call: Call
    method: str
    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    body: Any = None
    media: str = "application/json"
    again: Again = Again.ANYTHING


class _Failed(Exception):
    """One attempt failed.  ``not_done``: the API server certainly did not act on it; ``wait_s``: when it may be asked
    again, if it said so."""

    def __init__(
        self, error: MeshctlError, *, again: bool, not_done: bool = False, wait_s: float | None = None
    ) -> None:
        super().__init__(str(error))
        self.error, self.again, self.not_done, self.wait_s = error, again, not_done, wait_s

    def worth(self, again: Again, deadline: float) -> bool | float:
        """Whether to try once more, as stamina asks: no, yes, or yes after so many seconds."""
        if not self.again or (again is Again.ONLY_IF_NOT_DONE and not self.not_done):
            return False
        if monotonic() + (self.wait_s or BACKOFF_FIRST_S) >= deadline:
            return False
        return True if self.wait_s is None else self.wait_s


class Transport:
    """Asks one API server, from any thread.

    ``connect`` makes a client with fresh credentials; it is asked again after a 401.  ``user`` is for messages.
    ``budget_s`` bounds a call with its retries, ``attempt_s`` each of them, ``silence_s`` the wait for the next line
    of a watch.
    """

    def __init__(
        self,
        connect: Callable[[], ApiClient],
        *,
        user: str,
        budget_s: float = BUDGET_S,
        attempt_s: float = ATTEMPT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.user = user
        self._connect, self._budget_s, self._attempt_s, self._silence_s = connect, budget_s, attempt_s, silence_s
        self._lock = threading.Lock()
        self._client = connect()
        self.server: str = self._client.configuration.host
        self._renewed_at = monotonic()
        set_on_retry_hooks([_note])

    def ask(self, query: Query, *, budget_s: float | None = None) -> bytes:
        """The body of a good answer.  Raises as `meshctl.adapters.kubernetes.api` says."""
        deadline = monotonic() + (budget_s or self._budget_s)
        try:
            for attempt in stamina.retry_context(
                on=lambda error: isinstance(error, _Failed) and error.worth(query.again, deadline),
                attempts=None,
                timeout=None,
                wait_initial=BACKOFF_FIRST_S,
                wait_max=BACKOFF_MAX_S,
                wait_jitter=BACKOFF_JITTER_S,
            ):
                with attempt:
                    return self._attempt(query, deadline)
        except _Failed as failed:
            raise failed.error from failed.__cause__
        raise AssertionError("an attempt either returns or raises")

    def stream(self, query: Query) -> Stream:
        """The head of an answer that goes on for long.  One attempt: whoever watches comes again anyway."""
        client = self._client
        try:
            response = self._send(client, query, CONNECT_S, self._silence_s)
            if response.status != 200:
                with _closing(response):
                    raise self._refusal(client, query, response, monotonic() + self._attempt_s)
        except _Failed as failed:
            raise failed.error from failed.__cause__
        return Stream(response, query.call, self.server)

    # ------------------------------------------------------------------------------------------ one attempt

    def _attempt(self, query: Query, deadline: float) -> bytes:
        left_s = max(0.05, min(self._attempt_s, deadline - monotonic()))
        until, client = monotonic() + left_s, self._client
        response = self._send(client, query, min(CONNECT_S, left_s), left_s)
        with _closing(response):
            if not 200 <= response.status < 300:
                raise self._refusal(client, query, response, until)
            return self._body(query.call, response, until)

    def _send(self, client: ApiClient, query: Query, connect_s: float, read_s: float) -> urllib3.BaseHTTPResponse:
        """The answer's head.  Raises `_Failed` where there is none."""
        headers = {"Accept": "application/json"}
        if query.body is not None:
            headers["Content-Type"] = query.media
        try:
            method, url, headers, _, _ = client.param_serialize(
                query.method,
                query.path,
                query_params=list(query.parameters),
                header_params=headers,
                auth_settings=["BearerToken"],
            )
        except Exception as error:
            found: MeshctlError = Forbidden(f"{query.call}: the credentials for {self.server} cannot be read: {error}")
            raise _Failed(found, again=False) from error
        try:
            answer = client.call_api(method, url, headers, body=query.body, _request_timeout=(connect_s, read_s))
        except LINE_ERRORS as error:
            found = line_error(query.call, error, self.server)
            raise _Failed(found, again=not is_final(error), not_done=never_sent(error)) from error
        response: urllib3.BaseHTTPResponse = answer.response
        return response

    def _body(self, call: Call, response: urllib3.BaseHTTPResponse, until: float) -> bytes:
        pieces, size = [], 0
        try:
            while piece := response.read1(_CHUNK):
                pieces.append(piece)
                size += len(piece)
                if size > ANSWER_MAX:
                    raise _Failed(
                        Unreachable(f"{call}: {self.server} answered more than {ANSWER_MAX >> 20} MB"), again=False
                    )
                if monotonic() > until:
                    raise _Failed(Unreachable(f"{call}: the answer of {self.server} did not end in time"), again=True)
        except LINE_ERRORS as error:
            raise _Failed(line_error(call, error, self.server), again=True) from error
        return b"".join(pieces)

    def _refusal(self, client: ApiClient, query: Query, response: urllib3.BaseHTTPResponse, until: float) -> _Failed:
        """What an answer that is not 2xx means, and whether another attempt is worth it."""
        status = status_of(self._body(query.call, response, until), response.headers)
        error = error_of(query.call, response.status, status, server=self.server, user=self.user)
        wait_s = retry_after_s(response.headers)
        match response.status:
            case 401:
                return _Failed(error, again=self._renewed(client), not_done=True, wait_s=0.0)
            case 429:
                return _Failed(error, again=True, not_done=True, wait_s=wait_s)
            case _:
                return _Failed(error, again=isinstance(error, Unreachable) and response.status in _BUSY, wait_s=wait_s)

    def _renewed(self, used: ApiClient) -> bool:
        """Whether there are other credentials than those ``used``; they are read anew, at most so often."""
        with self._lock:
            if self._client is not used:
                return True
            if monotonic() - self._renewed_at < RENEW_LEAST_S:
                return False
            self._renewed_at = monotonic()
            try:
                self._client = self._connect()
            except MeshctlError as error:
                log.warning("the credentials cannot be read anew: %s", error)
                return False
            return True


class Stream:
    """An answer that comes in lines.  Ends at its end; raises `Unreachable` where it is cut or silent for too long."""

    def __init__(self, response: urllib3.BaseHTTPResponse, call: Call, server: str) -> None:
        self._response, self._call, self._server = response, call, server
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        with _closing(self._response):
            while not self._closed.is_set():
                try:
                    piece = self._response.read1(_CHUNK)
                except (*LINE_ERRORS, ValueError) as error:
                    if self._closed.is_set():
                        return
                    raise line_error(self._call, error, self._server) from error
                if not piece:
                    break
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
        if rest and not self._closed.is_set():
            raise Unreachable(f"{self._call}: {self._server} cut the line in the middle of an answer")

    def close(self) -> None:
        """End it from any thread: whoever reads sees the end at once."""
        self._closed.set()
        try:
            self._response.shutdown()
        except (ValueError, RuntimeError, OSError) as error:
            log.debug("a stream was closed after its end: %s", error)


@contextmanager
def _closing(response: urllib3.BaseHTTPResponse) -> Iterator[None]:
    """Give the connection back where the answer was read to its end, drop it where it was not."""
    try:
        yield
    finally:
        response.release_conn()
        response.close()


def _note(details: RetryDetails) -> None:
    log.info("%s; again in %.1f s", details.caused_by, details.wait_for)
