"""Questions over HTTP: every one bounded in time and size, tried again within one budget, without a secret in words.

It runs on a background thread, since only there a limit in time holds against an answer that comes drop by drop.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING

from meshctl import __version__
from meshctl.adapters.background import Background
from meshctl.adapters.prometheus.answers import Reader, TooMuch, Trouble
from meshctl.adapters.prometheus.settings import PrometheusSettings, place_of
from meshctl.adapters.secrets import Secrets
from meshctl.core.errors import InvalidInput
from meshctl.core.model import SecretRef

if TYPE_CHECKING:
    import httpx

QUERY = "/api/v1/query"
CLOCK_KEPT_S = 30.0

ATTEMPTS_MAX = 4
ATTEMPT_LEAST_S = 0.2
"""With less time left there is no further attempt; what the last one came to is told."""
PAUSE_FIRST_S, PAUSE_MAX_S, PAUSE_JITTER_S = 0.1, 1.0, 0.2
REFUSAL_BYTES_MAX = 64 * 1024
"""So much of a refusal is read for its words."""

_MISUSE = frozenset({400, 422})
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ahead:
    """By how much Prometheus's clock was ahead of the steady one, and when that was."""

    since: float
    seconds: float


class Budget:
    """The time that one reading may take, all its questions and attempts together."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, monotonic() + seconds

    @property
    def left_s(self) -> float:
        """What is left; 0 when it is used up."""
        return max(self._until - monotonic(), 0.0)

    @property
    def seconds(self) -> float:
        """All of it."""
        return self._seconds


class Transport:
    """Asks one Prometheus, from any thread.  Connections are kept; certificates that change are read anew."""

    def __init__(self, settings: PrometheusSettings, secrets: Secrets, background: Background) -> None:
        self.settings = settings
        self.reader = Reader(settings.place, secrets.printable)
        self._secrets, self._background = secrets, background
        self._client: httpx.AsyncClient | None = None
        self._made_for: list[object] = []
        self._ahead: _Ahead | None = None
        if settings.insecure:
            log.warning("Prometheus at %s is asked insecurely: its certificate is not checked", settings.place)

    def ask(self, path: str, parameters: Mapping[str, str], budget: Budget) -> bytes:
        """The body of a good answer.  Raises `Trouble`."""
        return self._background.start(self._ask(path, parameters, budget)).result()

    def time_ms(self, budget: Budget) -> int:
        """What time it is for Prometheus; asked twice a minute, and counted on by a clock that nobody sets.  Never
        early, at most late by the time that the question took.  Raises `Trouble`."""
        known = self._ahead
        if known is None or monotonic() - known.since > CLOCK_KEPT_S:
            sent = monotonic()
            numbers = self.reader.numbers(self.ask(QUERY, {"query": "vector(0)"}, budget))
            if len(numbers) != 1:
                raise Trouble(f"{self.reader.place} does not say what time it is")
            known = self._ahead = _Ahead(sent, numbers[0].time_ms / 1000 - sent)
        return round((monotonic() + known.seconds) * 1000)

    def close(self) -> None:
        """Let go of all connections; the next question makes new ones."""
        self._background.start(self._close()).result()

    # -------------------------------------------------------------------------------- attempts

    async def _ask(self, path: str, parameters: Mapping[str, str], budget: Budget) -> bytes:
        import stamina

        attempts = stamina.retry_context(
            on=lambda error: _worth(error, budget),
            attempts=ATTEMPTS_MAX,
            timeout=None,
            wait_initial=PAUSE_FIRST_S,
            wait_max=PAUSE_MAX_S,
            wait_jitter=PAUSE_JITTER_S,
        )
        last: Trouble | None = None
        async for attempt in attempts:
            with attempt:
                if last is not None and budget.left_s < ATTEMPT_LEAST_S:
                    raise Trouble(str(last))
                try:
                    return await self._attempt(path, parameters, budget)
                except Trouble as trouble:
                    last = trouble
                    raise
        raise AssertionError("an attempt either returns or raises")

    async def _attempt(self, path: str, parameters: Mapping[str, str], budget: Budget) -> bytes:
        limit = min(self.settings.timeout_s, budget.left_s)
        if limit <= 0:
            raise Trouble(f"{self.reader.place} was not asked: the {budget.seconds:g} s of this reading are used up")
        try:
            async with asyncio.timeout(limit):
                return await self._exchange(path, {**parameters, "timeout": f"{limit:.3f}"})
        except TimeoutError:
            allowed = self.settings.timeout_s
            raise Trouble(f"{self.reader.place} gave no whole answer within {allowed:g} s", again=True) from None

    async def _exchange(self, path: str, parameters: Mapping[str, str]) -> bytes:
        httpx, place = _httpx(), self.reader.place
        client, headers = await self._ready(), self._headers()
        url = self.settings.url.rstrip("/") + path
        try:
            async with client.stream("GET", url, params=dict(parameters), headers=headers) as response:
                if response.status_code != 200:
                    raise await self._refusal(response)
                return await self._body(response)
        except httpx.TimeoutException:
            raise Trouble(f"{place} gave no answer in time", again=True) from None
        except httpx.ConnectError as error:
            raise Trouble(f"{place} cannot be reached: {_cause(error)}", again=not _is_tls(error)) from None
        except httpx.HTTPError as error:
            raise Trouble(f"{place} broke the conversation off ({type(error).__name__})", again=True) from None

    async def _body(self, response: httpx.Response) -> bytes:
        limit, body = self.settings.answer_bytes_max, bytearray()
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Trouble(f"{self.reader.place} answered in an encoding that was not asked for")
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > limit:
                raise TooMuch(
                    f"{self.reader.place} answered more than {limit / 2**20:g} MiB: too many series, or too long a time"
                )
        return bytes(body)

    async def _refusal(self, response: httpx.Response) -> Trouble:
        """What an answer other than 200 means, and whether another attempt is worth it."""
        status, place = response.status_code, self.reader.place
        if 300 <= status < 400:
            target = place_of(response.headers.get("Location", ""))
            return Trouble(f"{place} redirects to {target}, perhaps to a login; redirects are not followed")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > REFUSAL_BYTES_MAX:
                break
        told = self.reader.refusal(bytes(body))
        words = f": {told}" if told else ""
        if status in (401, 403):
            return Trouble(f"{place} refuses us ({status}): check the token, the user or the tenant{words}")
        if status in _MISUSE and told:
            return Trouble(f"{place} refuses the question ({status}){words}")
        if status == 404:
            return Trouble(f"{place} has no API of Prometheus there (404): check the path of the address{words}")
        wait = response.headers.get("Retry-After", "")
        return Trouble(
            f"{place} answered {status}{words}",
            again=status in _BUSY,
            wait_s=float(wait) if wait.isdecimal() else None,
        )

    # -------------------------------------------------------------------------------- who we are, whom we trust

    def _headers(self) -> dict[str, str]:
        settings = self.settings
        headers = {
            "User-Agent": f"meshctl/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **settings.headers,
        }
        for name, ref in settings.secret_headers.items():
            headers[name] = self._secret(ref, f"header {name}")
        if settings.bearer is not None:
            headers["Authorization"] = f"Bearer {self._secret(settings.bearer, 'bearer token')}"
        if settings.password is not None:
            pair = f"{settings.username}:{self._secret(settings.password, 'password')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers

    def _secret(self, ref: SecretRef, what: str) -> str:
        try:
            return self._secrets.read(ref, f"prometheus, {what}")
        except InvalidInput as error:
            raise Trouble(str(error)) from None

    async def _ready(self) -> httpx.AsyncClient:
        """The client for the certificates as they are; only ever used on the background thread."""
        made_for = _stamps(self.settings)
        if self._client is None or made_for != self._made_for:
            # No settings from the environment: a proxy or a .netrc would send secrets where nobody declared it.
            client = _httpx().AsyncClient(
                verify=_trust(self.settings), trust_env=False, follow_redirects=False, timeout=None
            )
            before, self._client, self._made_for = self._client, client, made_for
            if before is not None:
                await before.aclose()
        return self._client

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _worth(error: Exception, budget: Budget) -> bool | float:
    """Whether to try once more, as stamina asks: no, yes, or yes after so many seconds."""
    if not isinstance(error, Trouble) or not error.again:
        return False
    wait = error.wait_s or PAUSE_FIRST_S
    if wait >= budget.left_s:
        return False
    return True if error.wait_s is None else error.wait_s


def _stamps(settings: PrometheusSettings) -> list[object]:
    """What changes when a certificate is renewed."""
    files = (settings.ca_file, settings.client_cert_file, settings.client_key_file)
    return [Path(name).stat().st_mtime_ns if name and Path(name).exists() else None for name in files]


def _trust(settings: PrometheusSettings) -> ssl.SSLContext:
    """Whose certificates count, and our own.  Raises `Trouble` for files that cannot be used."""
    what = f"the CA file {settings.ca_file}"
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        what = f"the client certificate {settings.client_cert_file}"
        if settings.client_cert_file:
            context.load_cert_chain(settings.client_cert_file, settings.client_key_file)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise Trouble(f"prometheus: {what} cannot be used: {told}") from None
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_tls(error: BaseException) -> bool:
    return isinstance(_innermost(error), ssl.SSLError)


def _cause(error: BaseException) -> str:
    """The innermost words: an operating system's or TLS's own, which know nothing of what was sent."""
    inner = _innermost(error)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {inner.verify_message}"
    return (inner.strerror if isinstance(inner, OSError) else None) or type(inner).__name__


def _innermost(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


@cache
def _httpx() -> ModuleType:
    """The library, loaded with the first question.  It logs whole addresses: not here."""
    import httpx

    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx
