"""Asks hooks in the background, by HTTP or by a command; the only module that speaks HTTP to strangers.

A stranger may hang, answer without end, send us elsewhere or repeat our secrets: every call has its time and size
limits, redirects are not followed, certificates are checked, and what is recorded of an answer is one short line of
its own message without any secret.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import ssl
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from urllib.parse import urljoin, urlsplit

from meshctl import __version__
from meshctl.adapters.background import Background
from meshctl.adapters.hook_answers import PROXIES, SIZE_LIMIT, Word, question, word_of_exit, word_of_status
from meshctl.adapters.hook_commands import run_command
from meshctl.adapters.secrets import Secrets
from meshctl.adapters.supervision import HOME_VARIABLE
from meshctl.core.errors import MeshctlError, WorkloadError
from meshctl.core.model import HookAnswer, HookCall, HookOutcome, HttpHook, HttpMethod, Release
from meshctl.core.timetext import format_duration

AT_ONCE_MAX = 64
"""So many askings are under way at a time; the others begin as soon as there is room."""

PAUSE_FIRST_S, PAUSE_MAX_S = 0.2, 5.0


class Trouble(Exception):
    """No answer that counts; ``again`` says whether another attempt may help.  The text holds no secret."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


class LiveHooks:
    """The `Hooks` port: a task per asking, on one background thread."""

    def __init__(self, base: Path, background: Background, secrets: Secrets) -> None:
        self._base = base
        self._background = background
        self._secrets = secrets
        self._lock = threading.Lock()
        self._kept: dict[str, dict[tuple[str, int], Future[HookAnswer]]] = {}

    def keep(self, release: Release, calls: Sequence[HookCall]) -> None:
        name = release.metadata.name
        wanted = {(call.key, call.asking): call for call in calls}
        with self._lock:
            known = self._kept.pop(name, {})
            for gone in known.keys() - wanted.keys():
                known.pop(gone).cancel()
            if wanted:
                self._kept[name] = known
            for asking, call in wanted.items():
                if asking not in known and self._under_way() < AT_ONCE_MAX:
                    known[asking] = self._background.start(self._ask(release, call))

    def answers(self, release: Release) -> Sequence[HookAnswer]:
        with self._lock:
            known = self._kept.get(release.metadata.name, {})
            return [each.result() for each in known.values() if each.done() and not each.cancelled()]

    def _under_way(self) -> int:
        return sum(not each.done() for known in self._kept.values() for each in known.values())

    # -------------------------------------------------------------------------------- one asking

    async def _ask(self, release: Release, call: HookCall) -> HookAnswer:
        limit, last = call.hook.timeout, [""]
        try:
            async with asyncio.timeout(limit.total_seconds()):
                told = json.dumps(question(release, call)).encode()
                if call.hook.http is not None:
                    outcome, message = await self._ask_by_http(call, call.hook.http, told, last)
                else:
                    outcome, message = await self._ask_by_command(release, call, told)
        except TimeoutError:
            detail = f"; before that: {last[0]}" if last[0] else ""
            outcome, message = HookOutcome.ERROR, f"no answer within {format_duration(limit)}{detail}"
        except MeshctlError as error:
            outcome, message = HookOutcome.ERROR, str(error)
        except Exception as error:  # whatever it is, the run must hear that there is no answer
            outcome, message = HookOutcome.ERROR, f"a defect of meshctl: {type(error).__name__}"
        return HookAnswer(call.key, call.asking, outcome, self._secrets.printable(message))

    async def _ask_by_http(self, call: HookCall, http: HttpHook, told: bytes, last: list[str]) -> Word:
        headers = {
            name: self._secrets.read(ref, f"hook {call.hook.name}, header {name}") for name, ref in http.headers.items()
        }
        headers |= {"Idempotency-Key": call.key}
        body = b"" if http.method is HttpMethod.GET else told
        limit = http.timeout.total_seconds()
        for attempt in range(call.hook.retries + 1):
            await asyncio.sleep(pause_s(attempt))
            try:
                answer = await exchange(http.method.value, http.url, headers, body, limit)
            except Trouble as trouble:
                last[0] = str(trouble)
                if not trouble.again:
                    break
            else:
                return word_of_status(host_of(http.url), answer.status, answer.body, self._secrets)
        return HookOutcome.ERROR, last[0]

    async def _ask_by_command(self, release: Release, call: HookCall, told: bytes) -> Word:
        own = {
            HOME_VARIABLE: str(self._base.resolve()),
            "MESHCTL_HOOK": call.hook.name,
            "MESHCTL_HOOK_ID": call.key,
            "MESHCTL_RELEASE": release.metadata.name,
            "MESHCTL_CANDIDATE": call.candidate,
            "MESHCTL_BASELINE": call.baseline or "",
            "MESHCTL_WEIGHT": f"{call.weight:g}",
            "MESHCTL_PHASE": call.phase.value,
        }
        try:
            status, output = await run_command(call.hook.command, os.environ | own, told)
        except WorkloadError as error:
            return HookOutcome.ERROR, str(error)
        return word_of_exit(status, output, self._secrets)


# ------------------------------------------------------------------------------------ HTTP


def pause_s(attempt: int) -> float:
    """How long to wait before an attempt, counted from 0: none, then longer and longer, never in step with others."""
    if attempt == 0:
        return 0.0
    return min(PAUSE_FIRST_S * (1 << (attempt - 1)), PAUSE_MAX_S) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def host_of(url: str) -> str:
    """All of a URL that may be spoken of: path and query can hold secrets too."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or 'nowhere'}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "an address that cannot be read"


async def exchange(method: str, url: str, headers: Mapping[str, str], body: bytes, limit_s: float) -> Answer:
    """One request and its whole answer within ``limit_s`` seconds and 64 KiB.  Raises `Trouble`."""
    host = host_of(url)
    try:
        async with asyncio.timeout(limit_s):
            answer = await _exchange(method, url, headers, body, limit_s)
    except TimeoutError:
        raise Trouble(f"{host} gave no whole answer within {limit_s:g} s") from None
    if answer.status in PROXIES:
        raise Trouble(f"{host} answered {answer.status}: a proxy did not reach it")
    return answer


async def _exchange(method: str, url: str, headers: Mapping[str, str], body: bytes, limit_s: float) -> Answer:
    httpx = _httpx()
    host = host_of(url)
    own = {"User-Agent": f"meshctl/{__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}
    own |= {"Content-Type": "application/json"} if body else {}
    try:
        # No settings from the environment: a proxy or a .netrc would send secrets where nobody declared it.
        async with (
            httpx.AsyncClient(verify=_tls(), trust_env=False, follow_redirects=False, timeout=limit_s) as client,
            client.stream(method, url, headers=own | dict(headers), content=body) as answer,
        ):
            if 300 <= answer.status_code < 400:
                raise _redirect(host, url, answer.headers.get("Location", ""))
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise Trouble(f"{host} answered in an encoding that was not asked for", again=False)
            return Answer(answer.status_code, await _body(host, answer.aiter_raw()))
    except httpx.TimeoutException:
        raise Trouble(f"{host} gave no whole answer within {limit_s:g} s") from None
    except httpx.ConnectError as error:
        raise Trouble(f"{host} cannot be reached: {_cause(error)}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Trouble(f"{host} broke the conversation off ({type(error).__name__})") from None


async def _body(host: str, chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > SIZE_LIMIT:
            raise Trouble(f"{host} answered more than {SIZE_LIMIT // 1024} KiB", again=False)
    return bytes(body)


def _redirect(host: str, url: str, location: str) -> Trouble:
    try:
        target = host_of(urljoin(url, location))
    except ValueError:
        target = "an address that cannot be read"
    return Trouble(f"{host} redirects to {target}; redirects are not followed", again=False)


def _cause(error: BaseException) -> str:
    """The innermost words: an operating system's or TLS's own, which know nothing of what was sent."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


@cache
def _httpx() -> ModuleType:
    """The library, loaded when somebody is called for the first time.  It logs whole URLs and answers: not here."""
    import httpx

    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx


@cache
def _tls() -> ssl.SSLContext:
    """Certificates are checked against those that this machine trusts."""
    return ssl.create_default_context()
