"""`Api` over HTTP: paths and parameters of the Kubernetes API, and what may be tried again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from meshctl.adapters.kubernetes.api import MANAGER, Change, Expired, Listing, NotFound, Object, Patch
from meshctl.adapters.kubernetes.kinds import Kind
from meshctl.adapters.kubernetes.line import status_of
from meshctl.adapters.kubernetes.problems import Call, error_of
from meshctl.adapters.kubernetes.transport import Again, Query, Stream, Transport
from meshctl.core.errors import InvalidInput, MeshctlError, Unreachable

PAGE = 500
"""Objects per answer of a list, as kubectl has it."""

_RELISTS_MAX = 2
"""A list whose pages expire so often is read in one piece."""


class ClusterApi:
    """The `Api` of one API server, as the user whom `Transport` speaks for."""

    def __init__(self, transport: Transport, *, namespace: str) -> None:
        self.namespace = namespace
        self._transport = transport

    @property
    def user(self) -> str:
        return self._transport.user

    @property
    def server(self) -> str:
        return self._transport.server

    # ------------------------------------------------------------------------------------------ reads

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        call = Call("get", kind, name, namespace)
        return self._object(call, self._transport.ask(Query(call, "GET", _path(call))))

    def find(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        try:
            return self.get(kind, name, namespace)
        except NotFound:
            return None

    def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        for _ in range(_RELISTS_MAX):
            try:
                pages = list(self.pages(kind, namespace, labels=labels, fields=fields))
                return Listing([item for page in pages for item in page.items], pages[-1].resource_version)
            except Expired:
                continue
        return next(self._pages(Call("list", kind, namespace=namespace), labels, fields, 0))

    def pages(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Iterator[Listing]:
        return self._pages(Call("list", kind, namespace=namespace), labels, fields, PAGE)

    def _pages(self, call: Call, labels: str, fields: str, limit: int) -> Iterator[Listing]:
        kind = call.kind
        assert kind is not None
        more = ""
        while True:
            asked = (("labelSelector", labels), ("fieldSelector", fields), ("limit", limit), ("continue", more))
            page = self._object(call, self._transport.ask(Query(call, "GET", _path(call), _parameters(*asked))))
            head = {"apiVersion": kind.api_version, "kind": kind.name}
            meta = page.get("metadata") or {}
            yield Listing([head | item for item in page.get("items") or ()], meta.get("resourceVersion", ""))
            more = meta.get("continue", "")
            if not more:
                return

    def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        timeout_s: float,
    ) -> ClusterChanges:
        call = Call("watch", kind, namespace=namespace)
        parameters = _parameters(
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", max(1, round(timeout_s))),
            ("labelSelector", labels),
            ("fieldSelector", fields),
        )
        stream = self._transport.stream(Query(call, "GET", _path(call), parameters))
        return ClusterChanges(stream, call, self.server)

    def server_version(self) -> str:
        call = Call("get", path="/version")
        return str(self._object(call, self._transport.ask(Query(call, "GET", "/version"))).get("gitVersion", ""))

    def get_text(self, path: str, *, query: Mapping[str, str] | None = None, timeout_s: float | None = None) -> str:
        asked = Query(Call("get", path=path), "GET", path, _parameters(*(query or {}).items()))
        return self._transport.ask(asked, budget_s=timeout_s).decode("utf-8", errors="replace")

    # ------------------------------------------------------------------------------------------ writes

    def create(self, kind: Kind, object: Object, *, dry_run: bool = False) -> Object:
        meta = object.get("metadata", {})
        call = Call("create", kind, meta.get("name", ""), meta.get("namespace", ""))
        path = kind.path(_segment(call.namespace))
        parameters = _parameters(*_writing(dry_run=dry_run), ("fieldValidation", "Strict"))
        body = {"apiVersion": kind.api_version, "kind": kind.name, **object}
        query = Query(call, "POST", path, parameters, body, again=Again.ONLY_IF_NOT_DONE)
        return self._object(call, self._transport.ask(query))

    def replace(self, kind: Kind, object: Object, *, subresource: str = "", dry_run: bool = False) -> Object:
        meta = object["metadata"]
        call = Call("update", kind, meta["name"], meta.get("namespace", ""), subresource)
        body = {"apiVersion": kind.api_version, "kind": kind.name, **object}
        again = Again.ANYTHING if meta.get("resourceVersion") else Again.ONLY_IF_NOT_DONE
        query = Query(call, "PUT", _path(call), _parameters(*_writing(dry_run=dry_run)), body, again=again)
        return self._object(call, self._transport.ask(query))

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        form: Patch,
        subresource: str = "",
        manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> Object:
        call = Call("patch", kind, name, namespace, subresource, form)
        parameters = _parameters(
            *_writing(manager, dry_run=dry_run),
            ("force", "true" if force and form is Patch.APPLY else ""),
            ("fieldValidation", "Strict" if form is Patch.APPLY else ""),
        )
        if form is Patch.APPLY:
            body = _named(kind, name, body)
        guarded = not isinstance(body, Mapping) and any(operation["op"] == "test" for operation in body)
        again = Again.ANYTHING if form is not Patch.JSON or guarded else Again.ONLY_IF_NOT_DONE
        query = Query(call, "PATCH", _path(call), parameters, body, media=form.value, again=again)
        return self._object(call, self._transport.ask(query))

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "Background",
    ) -> None:
        call = Call("delete", kind, name, namespace)
        conditions = {"uid": uid, "resourceVersion": resource_version}
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {key: value for key, value in conditions.items() if value},
        }
        try:
            self._transport.ask(Query(call, "DELETE", _path(call), body=body))
        except NotFound:
            return

    def _object(self, call: Call, body: bytes) -> Object:
        """The answer as data.  Raises `Unreachable` when it is none, as behind a proxy with a login page."""
        try:
            found = msgspec.json.decode(body)
        except msgspec.DecodeError:
            found = None
        if isinstance(found, dict):
            return found
        raise Unreachable(
            f"{call}: {self.server} answers, but not as an API server: {status_of(body, {})['message']}",
            hint="see the cluster's server in the kubeconfig, --context and --kubeconfig",
        )


class ClusterChanges:
    """The `Changes` of a watch over HTTP, line by line."""

    def __init__(self, stream: Stream, call: Call, server: str) -> None:
        self._stream, self._call, self._server = stream, call, server
        self._lines = iter(stream)

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        line = next(self._lines)
        try:
            found = msgspec.json.decode(line)
            change = Change(found["type"], found["object"])
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            self.close()
            raise Unreachable(f"{self._call}: {self._server} sent a line that is no event of a watch") from error
        if change.type == "ERROR":
            self.close()
            raise self._error(change.object)
        return change

    def close(self) -> None:
        self._stream.close()

    def _error(self, status: Mapping[str, Any]) -> MeshctlError:
        return error_of(self._call, int(status.get("code") or 500), status, server=self._server)


def _named(kind: Kind, name: str, body: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Object:
    """An object to apply, with what the API server wants to see in it although the path says it too."""
    assert isinstance(body, Mapping), "an object is applied, not a list of operations"
    meta = {"name": name, **body.get("metadata", {})}
    return {"apiVersion": kind.api_version, "kind": kind.name, **body, "metadata": meta}


def _path(call: Call) -> str:
    assert call.kind is not None
    return call.kind.path(_segment(call.namespace), _segment(call.name), call.subresource)


def _segment(name: str) -> str:
    """A name as one part of a path; whatever could lead elsewhere is no name."""
    if name in (".", "..") or "/" in name or "%" in name:
        raise InvalidInput(f"{name!r} cannot be the name of an object in a cluster")
    return quote(name, safe="")


def _writing(manager: str = "", *, dry_run: bool) -> tuple[tuple[str, str], ...]:
    return ("fieldManager", manager or MANAGER), ("dryRun", "All" if dry_run else "")


def _parameters(*pairs: tuple[str, str | int]) -> tuple[tuple[str, str], ...]:
    """Those that have a value."""
    return tuple((name, str(value)) for name, value in pairs if value)
