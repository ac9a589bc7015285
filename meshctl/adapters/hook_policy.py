"""Which hooks of a release may be asked where many users share one controller: what the operator allows, no more.

A namespace's user writes the URL and the names of the secrets, and the controller's account, network and environment
are not his.  So there is no command at all, a host must be one that the operator names, and a secret goes only to the
host that the operator names it for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from meshctl.core.errors import InvalidInput
from meshctl.core.model import HookAnswer, HookCall, HookOutcome, HttpHook, Release, SecretRef
from meshctl.core.ports import Hooks

_HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?")
_USUAL_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HookPolicy:
    """What is allowed.

    ``hosts``: ``checks.example.com`` at the usual ports, ``checks.example.com:8443``, ``*.checks.example.com`` for
    the names below it.  ``secrets``: name of a variable or path of a file -> the hosts that it may be sent to.
    """

    hosts: tuple[str, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()

    def refusal(self, call: HookCall) -> str:
        """Why a hook may not be asked; nothing when it may.  Repeats no more of a URL than its host."""
        if call.hook.http is None:
            return "a hook that is a command runs on one machine only; in a cluster give it http"
        return self._url(call.hook.http) or self._headers(call.hook.http)

    def _url(self, http: HttpHook) -> str:
        parts = urlsplit(http.url)
        host, port = (parts.hostname or "").lower(), parts.port or _USUAL_PORTS.get(parts.scheme, 0)
        if any(_covers(allowed, host, port) for allowed in self.hosts):
            return ""
        named = f"{host}:{parts.port}" if parts.port else host
        known = ", ".join(self.hosts) or "none"
        return f"{named} is not among the hosts that the operator of meshctl allows for hooks (allowed: {known})"

    def _headers(self, http: HttpHook) -> str:
        parts = urlsplit(http.url)
        host, port = (parts.hostname or "").lower(), parts.port or _USUAL_PORTS.get(parts.scheme, 0)
        for header, ref in http.headers.items():
            name = _name(ref)
            if not any(secret == name and _covers(allowed, host, port) for secret, allowed in self.secrets):
                return f"the secret of its header {header} is not one that the operator of meshctl allows for {host}"
        return ""


def parse_policy(hosts: str, secrets: str) -> HookPolicy:
    """The policy of two settings: ``HOST,HOST`` and ``NAME@HOST,/path/of/file@HOST``.  Raises `InvalidInput`."""
    found = [_host(text, "hook_hosts") for text in _listed(hosts)]
    bound = []
    for text in _listed(secrets):
        name, at, host = text.rpartition("@")
        if not at or not name:
            raise InvalidInput(
                f"hook_secrets: {text!r} says not to whom it may be sent",
                hint="Write NAME@HOST for a variable of the environment, /path@HOST for a file.",
            )
        bound.append((name, _host(host, "hook_secrets")))
    return HookPolicy(tuple(found), tuple(bound))


def _listed(text: str) -> Iterable[str]:
    return filter(None, (each.strip() for each in text.split(",")))


def _host(text: str, setting: str) -> str:
    if not _HOST.fullmatch(text):
        raise InvalidInput(
            f"{setting}: {text!r} is no host", hint="Such as checks.example.com, checks.example.com:8443, *.example.com"
        )
    return text.lower()


def _covers(allowed: str, host: str, port: int) -> bool:
    name, colon, number = allowed.rpartition(":") if re.search(r":\d+$", allowed) else (allowed, "", "")
    if not _port_fits(colon, number, port):
        return False
    name = name.strip("[]")
    return host.endswith(name[1:]) and host != name[2:] if name.startswith("*.") else host == name


def _port_fits(colon: str, number: str, port: int) -> bool:
    return port == int(number) if colon else port in _USUAL_PORTS.values()


def _name(ref: SecretRef) -> str:
    return ref.env or ref.file or ""


class AllowedHooks:
    """The `Hooks` port for the hooks that ``policy`` allows; the others are answered by the refusal."""

    def __init__(self, hooks: Hooks, policy: HookPolicy) -> None:
        self._hooks, self._policy = hooks, policy
        self._lock = threading.Lock()
        self._refused: dict[str, tuple[HookAnswer, ...]] = {}

    def keep(self, release: Release, calls: Sequence[HookCall]) -> None:
        refusals = {(call.key, call.asking): self._policy.refusal(call) for call in calls}
        refused = tuple(
            HookAnswer(call.key, call.asking, HookOutcome.ERROR, why)
            for call in calls
            if (why := refusals[call.key, call.asking])
        )
        with self._lock:
            self._refused.pop(release.metadata.name, None)
            if refused:
                self._refused[release.metadata.name] = refused
        self._hooks.keep(release, [call for call in calls if not refusals[call.key, call.asking]])

    def answers(self, release: Release) -> Sequence[HookAnswer]:
        with self._lock:
            refused = self._refused.get(release.metadata.name, ())
        return [*self._hooks.answers(release), *refused]
