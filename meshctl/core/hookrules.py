"""What the hooks of a release must satisfy.  No message repeats what a URL or a header holds: it may be a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from meshctl.core.model import Hook, HttpHook, SecretRef, Stage
from meshctl.core.timetext import format_duration

Found = tuple[tuple[str | int, ...], str]

HOOKS_LIMIT = 20
RETRIES_LIMIT = 10
URL_LIMIT = 2000
HEADERS_LIMIT = 20
WORDS_LIMIT = 64
WORD_LIMIT = 2000
"""Most characters of one word of a command."""
LONGEST = timedelta(hours=1)
LONGEST_AT_THE_END = timedelta(minutes=5)
"""The next run waits until the hooks at the end of the one before have been asked, so they must be short."""

RESERVED_HEADERS = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "idempotency-key", "accept-encoding"}
)

NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9]{0,99})", re.ASCII)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_URL = re.compile(r"[!-~]+", re.ASCII)


def hook_problems(hooks: Sequence[Hook], stages: Sequence[Stage]) -> Iterator[Found]:
    """Everything that is wrong with the hooks of a release with these stages."""
    if len(hooks) > HOOKS_LIMIT:
        yield (), f"must be at most {HOOKS_LIMIT} hooks, found {len(hooks)}"
    seen: set[str] = set()
    weights = {stage.weight for stage in stages} | {100.0}
    for position, hook in enumerate(hooks):
        if not NAME.fullmatch(hook.name):
            yield (position, "name"), "must be at most 63 lower-case letters, digits and '-', such as smoke-test"
        elif hook.name in seen:
            yield (position, "name"), f"{hook.name!r} stands here twice; answers are known by the name of their hook"
        seen.add(hook.name)
        for path, message in (*_moment(hook, weights), *_target(hook), *_limits(hook)):
            yield (position, *path), message


def _moment(hook: Hook, weights: set[float]) -> Iterator[Found]:
    if hook.stages and not hook.at.gates:
        yield ("stages",), f"belongs to hooks before or after stages, not to those at the {hook.at}"
        return
    for index, weight in enumerate(hook.stages):
        if weight not in weights:
            known = ", ".join(f"{each:g}" for each in sorted(weights))
            yield ("stages", index), f"there is no stage of {weight:g}, so it would never be asked; there are: {known}"


def _target(hook: Hook) -> Iterator[Found]:
    if (hook.http is None) == (not hook.command):
        yield (), "must have exactly one of http and command"
    if hook.http is not None:
        for path, message in _http(hook.http):
            yield ("http", *path), message
    if hook.command and not hook.command[0].strip():
        yield ("command",), "must name a program and its arguments, such as [python3, smoke.py]"
    if len(hook.command) > WORDS_LIMIT:
        yield ("command",), f"must be at most {WORDS_LIMIT} words, found {len(hook.command)}; write a script"
    for index, word in enumerate(hook.command):
        if len(word) > WORD_LIMIT:
            yield ("command", index), f"must have at most {WORD_LIMIT} characters, found {len(word)}; write a script"
        if "\0" in word:
            yield ("command", index), "holds a zero byte, which no program can be given"


def _http(http: HttpHook) -> Iterator[Found]:
    for message in _url(http.url):
        yield ("url",), message
    if len(http.headers) > HEADERS_LIMIT:
        yield ("headers",), f"must be at most {HEADERS_LIMIT}, found {len(http.headers)}"
    for name, ref in http.headers.items():
        if not _HEADER.fullmatch(name):
            yield ("headers",), "holds a name that is not one of a header, such as Authorization"
        elif name.lower() in RESERVED_HEADERS:
            yield ("headers", name), "is set by meshctl; choose another header"
        for message in secret_problems(ref):
            yield ("headers", name), message
    yield from _duration(("timeout",), http.timeout, LONGEST)


def url_problems(url: str) -> list[str]:
    """What is wrong with the URL of a hook or of the webhook."""
    return list(_url(url))


def _url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        yield "cannot be read as a URL"
        return
    if parts.scheme not in ("http", "https") or not host or port == 0:
        yield "must be a URL such as https://checks.example.com/smoke"
    if "@" in parts.netloc:
        yield "must not hold a user or a password; write a header with {env: NAME} or {file: PATH}"
    if parts.fragment:
        yield "must not have a part after '#', which is never sent"
    if not _URL.fullmatch(url) or len(url) > URL_LIMIT:
        yield f"must be at most {URL_LIMIT} printable ASCII characters without blanks"


def secret_problems(ref: SecretRef) -> Iterator[str]:
    """What is wrong with a reference to a secret."""
    if (ref.env is None) == (ref.file is None):
        yield "must be exactly one of {env: NAME} and {file: PATH}"
    elif ref.env is not None and not VARIABLE.fullmatch(ref.env):
        yield "env: is not the name of an environment variable"
    elif ref.file is not None and (not ref.file or "\0" in ref.file):
        yield "file: must be the path of a file"


def _limits(hook: Hook) -> Iterator[Found]:
    yield from _duration(("timeout",), hook.timeout, LONGEST if hook.at.gates else LONGEST_AT_THE_END)
    if not 0 <= hook.retries <= RETRIES_LIMIT:
        yield ("retries",), f"must be from 0 to {RETRIES_LIMIT}, found {hook.retries}"


def _duration(path: tuple[str, ...], value: timedelta, longest: timedelta) -> Iterator[Found]:
    if not timedelta(0) < value <= longest:
        yield (
            path,
            f"must be longer than nothing and at most {format_duration(longest)}, found {format_duration(value)}",
        )
