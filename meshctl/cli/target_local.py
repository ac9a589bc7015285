"""The embedded mesh of a folder as a target of commands."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshctl.cli.asking import actor, refusal
from meshctl.cli.target import DEFAULT_FOLDER
from meshctl.core.errors import InvalidInput, Refused, StoreError, UnknownTarget, Unreachable
from meshctl.core.model import Release, Request, Verb, Workload

if TYPE_CHECKING:
    from meshctl.app.commands import Applied
    from meshctl.core.advice.finding import Finding
    from meshctl.core.catalog import StateStore
    from meshctl.wiring import EmbeddedPlace

ABORT_TIMEOUT_S = 2.0
"""An abort waits this long for the controller before it does the work itself."""

REQUEST_TIMEOUT_S = 15.0
"""The controller may be in the middle of a tick that waits for the data plane."""

POLL_S = 0.25


@dataclass(frozen=True)
class LocalTarget:
    """An embedded folder: its store, and the way to its controller."""

    base: Path
    everywhere = False

    @cached_property
    def store(self) -> StateStore:
        return self.embedded.store()

    @cached_property
    def embedded(self) -> EmbeddedPlace:
        from meshctl.wiring import EmbeddedPlace

        return EmbeddedPlace(self.base)

    @property
    def suffix(self) -> str:
        base = str(self.base)
        return " --local" if base == DEFAULT_FOLDER else f" --local={shlex.quote(base)}"

    def sources(self) -> Sequence[tuple[str, StateStore]]:
        return [("", self.store)]

    def idle(self) -> str:
        if self.embedded.place.is_held():
            return ""
        return f"no controller runs in {self.base}; nothing moves until: meshctl local up{self.suffix}"

    # -------------------------------------------------------------------------------- wishes

    def wishes(self, path: Path, *, create: bool = False) -> list[Release | Workload]:
        from meshctl.app.commands import check
        from meshctl.wiring import load_wishes

        store = self.embedded.store(create=create)
        found = load_wishes(path, store.workloads())
        check(store, found, self.embedded.now())
        return found

    def present(self, wish: Release | Workload) -> Release | Workload | None:
        name = wish.metadata.name
        try:
            return self.store.release(name) if isinstance(wish, Release) else self.store.workload(name)
        except Refused:
            return None

    def put(self, wishes: Sequence[Release | Workload]) -> Iterator[Applied]:
        from meshctl.app.commands import apply

        return apply(self.store, wishes, self.embedded.now())

    def carry(self, applied: Sequence[Applied]) -> None:
        if applied and not self.embedded.place.is_held():
            named = "" if self.base == Path(DEFAULT_FOLDER) else self.suffix
            click.echo(f"no controller runs in {self.base}: start one with: meshctl local up{named}", err=True)
        for each in applied:
            if each.kind == "Release":
                self._wake(each.name)

    def _wake(self, name: str) -> None:
        try:
            self.embedded.wake(name)
        except Unreachable as unreachable:
            raise Unreachable(
                f"release/{name} is stored, but {unreachable.args[0]}", hint=unreachable.hint
            ) from unreachable

    def look(self, path: Path | None, **options: Any) -> list[Finding]:
        if path is None:
            raise InvalidInput(
                "lint: of which files?", hint="Name them: -f FILE, or a cluster, with -n NAMESPACE or -A"
            )
        from meshctl.app.commands import check
        from meshctl.wiring import inspect_manifests

        try:
            store = self.embedded.store()
        except UnknownTarget:  # not there yet: apply would make it
            return list(inspect_manifests(path, known=(), embedded=True, **options).findings)
        found = inspect_manifests(path, known=store.workloads(), embedded=True, **options)
        now = self.embedded.now()
        return [*found.findings, *found.refusals(lambda wishes: check(store, wishes, now))]

    # -------------------------------------------------------------------------------- requests

    def ask(self, name: str, verb: Verb, **fields: Any) -> str:
        try:
            self.store.release(name)
        except StoreError as error:
            if verb is Verb.ABORT:
                self._lower_blindly(name, error)
            raise
        request = self.embedded.new_request(verb, actor=actor(), **fields)
        stored = self._store(name, request)
        timeout_s = ABORT_TIMEOUT_S if verb is Verb.ABORT else REQUEST_TIMEOUT_S
        try:
            answer = self.embedded.say_request(name, request, timeout_s=timeout_s)
        except Unreachable as unreachable:
            if verb is not Verb.ABORT:
                kept = "The request is stored; the next controller serves it." if stored else "Nothing was stored."
                raise Unreachable(f"{verb} of {name}: {unreachable.args[0]}", hint=kept) from unreachable
            return self._abort_directly(name, request)
        if not answer["ok"]:
            raise refusal(str(answer["message"]), int(answer.get("exitCode", Refused.exit_code)))
        return str(answer["message"])

    def _store(self, name: str, request: Request) -> bool:
        """Store the request; an abort goes on without, for instance on a full disk."""
        try:
            self.store.request(name, request)
        except StoreError:
            if request.verb is not Verb.ABORT:
                raise
            return False
        return True

    def _abort_directly(self, name: str, request: Request) -> str:
        told = self.embedded.serve_directly(name, request)
        if not told.accepted:
            raise Refused(told.message)
        return f"{told.message} (no controller answered; done by this command)"

    def _lower_blindly(self, name: str, error: StoreError) -> None:
        """The state cannot be read: traffic is taken away all the same, and the way back to order is named."""
        run = self.embedded.lower_without_store(name)
        if run is not None:
            raise StoreError(
                f"abort of {name}: the candidate of {run} is at 0 %, but it could not be stored: {error.args[0]}",
                hint=f"The routes carry the mark of it. {error.hint}",
            ) from error

    # -------------------------------------------------------------------------------- following

    def changes(self, name: str | None, *, timeout_s: float | None = None) -> Iterator[None]:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        revision = None
        while True:
            found = self.store.revision()
            if found != revision:
                revision = found
                yield
            if deadline is not None and time.monotonic() >= deadline:
                return
            time.sleep(POLL_S)
