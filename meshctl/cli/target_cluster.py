"""A namespace of a cluster, or all of them, as a target of commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshctl.cli.asking import actor, refusal
from meshctl.cli.target import need_cluster_libraries
from meshctl.core.errors import Forbidden, InvalidInput, MeshctlError, Refused, Unreachable
from meshctl.core.model import Acknowledgement, Release, Request, Verb, Workload
from meshctl.core.requests import check_abort

if TYPE_CHECKING:
    from meshctl.app.commands import Applied
    from meshctl.core.advice.finding import Finding
    from meshctl.core.catalog import StateStore
    from meshctl.wiring_cluster import ClusterPlace

REQUEST_TIMEOUT_S = 90.0
"""Where a CronJob drives releases it begins once a minute."""

ABORT_TIMEOUT_S = 10.0
"""The traffic is away by then; so long an abort waits to tell what the record says."""


class ClusterTarget:
    """What ``--context``, ``--kubeconfig``, ``-n`` and ``-A`` name."""

    def __init__(self, *, context: str | None, kubeconfig: str | None, namespace: str | None, everywhere: bool) -> None:
        self._context, self._kubeconfig, self._namespace = context, kubeconfig, namespace
        self.everywhere = everywhere
        if everywhere and namespace:
            raise InvalidInput(f"-A and -n {namespace} are named at once", hint="Leave out one of them.")

    @cached_property
    def place(self) -> ClusterPlace:
        need_cluster_libraries()
        from meshctl.wiring_cluster import ClusterPlace

        return ClusterPlace.connect(kubeconfig=self._kubeconfig, context=self._context, namespace=self._namespace)

    @property
    def store(self) -> StateStore:
        return self.place.store()

    @property
    def suffix(self) -> str:
        named = [("--kubeconfig", self._kubeconfig), ("--context", self._context), ("-n", self._namespace)]
        words = "".join(f" {flag} {shlex.quote(value)}" for flag, value in named if value)
        return words or (" -A" if self.everywhere else "")

    def sources(self) -> Sequence[tuple[str, StateStore]]:
        names = self.place.namespaces() if self.everywhere else [self.place.namespace]
        return [(name, self.place.store(name)) for name in names]

    def idle(self) -> str:
        """Nothing: whether somebody drives releases only they themselves tell."""
        return ""

    # -------------------------------------------------------------------------------- wishes

    def wishes(self, path: Path, *, create: bool = False) -> list[Release | Workload]:
        return list(self.place.wishes(path))

    def present(self, wish: Release | Workload) -> Release | Workload | None:
        try:
            return self.place.store(wish.metadata.namespace).release(wish.metadata.name)
        except Refused:
            return None

    def put(self, wishes: Sequence[Release | Workload]) -> Iterator[Applied]:
        from meshctl.app.commands import Applied

        for wish in wishes:
            assert isinstance(wish, Release)
            before = self.present(wish)
            after = self.place.store(wish.metadata.namespace).put_release(wish)
            action = "created" if before is None else "unchanged" if before == after else "configured"
            yield Applied(wish.kind, wish.metadata.name, action)

    def carry(self, applied: Sequence[Applied]) -> None:
        """Nothing: whoever drives releases watches them."""

    def look(self, path: Path | None, **options: Any) -> list[Finding]:
        return self.place.look(path, everywhere=self.everywhere, **options)

    # -------------------------------------------------------------------------------- requests

    def ask(self, name: str, verb: Verb, **fields: Any) -> str:
        store = self.place.store()
        stored = store.load(name)
        run = stored.state.run
        if verb is Verb.ABORT and run is not None:
            check_abort(run)
        request = self.place.new_request(verb, actor=actor(), **fields)
        lowered = self.place.lower(stored) if verb is Verb.ABORT else ""
        self._store(name, request, lowered)
        answer = self._answer(name, request, ABORT_TIMEOUT_S if lowered else REQUEST_TIMEOUT_S)
        if answer is None and lowered:
            return f"{lowered}; the request is stored, whoever drives the releases writes it down"
        if answer is None:
            raise Unreachable(
                f"{verb} of {name}: nobody served it within {REQUEST_TIMEOUT_S:g} s",
                hint="The request is stored and will be served once a controller or the CronJob of meshctl runs.",
            )
        if not answer.accepted:
            raise refusal(answer.message)
        return answer.message

    def _store(self, name: str, request: Request, lowered: str) -> None:
        try:
            self.place.store().request(name, request)
        except MeshctlError as error:
            if lowered:
                kind = Forbidden if isinstance(error, Forbidden) else Unreachable
                raise kind(
                    f"{lowered}, but the request could not be stored: {error.args[0]}", hint=error.hint
                ) from error
            raise

    def _answer(self, name: str, request: Request, timeout_s: float) -> Acknowledgement | None:
        from meshctl.app.commands import acknowledgement

        for _ in self.changes(name, timeout_s=timeout_s):
            answer = acknowledgement(self.place.store().load(name).state, request.id)
            if answer is not None:
                return answer
        return None

    def changes(self, name: str | None, *, timeout_s: float | None = None) -> Iterator[None]:
        return self.place.changes(name, everywhere=self.everywhere, timeout_s=timeout_s)
