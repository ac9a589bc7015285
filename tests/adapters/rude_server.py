"""A real HTTP server that misbehaves as it is told: what stands between us and an API server on a bad day."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Reply = Callable[["Handler"], None]


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Rude:
    """``replies`` are given in order, one per request, then ``otherwise``; ``asked`` holds the requests."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    replies: deque[Reply] = field(default_factory=deque)
    otherwise: Reply | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def reply(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    def kubeconfig(self, folder: Path, *, user: dict[str, Any] | None = None, **cluster: Any) -> str:
        """A kubeconfig with one context, ``rude``, that leads here."""
        return kubeconfig(folder, self.url, user=user, **cluster)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rude: Rude

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        self.rude.asked.append(Asked(self.command, parts.path, dict(parse_qsl(parts.query)), dict(self.headers), body))
        reply = self.rude.replies.popleft() if self.rude.replies else self.rude.otherwise
        assert reply is not None, f"nothing is left to answer {self.command} {self.path} with"
        reply(self)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def head(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.flush()

    def chunk(self, text: bytes) -> None:
        self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        self.wfile.flush()


@contextmanager
def rude_server() -> Iterator[Rude]:
    rude = Rude("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"rude": rude}))
    server.daemon_threads = True
    rude.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield rude
    finally:
        rude.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(folder: Path, url: str, *, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "rude",
        "clusters": [{"name": "rude", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "anna", "user": user or {"token": "t0k3n"}}],
        "contexts": [
            {"name": "rude", "context": {"cluster": "rude", "user": "anna", "namespace": "web"}},
            {"name": "production", "context": {"cluster": "rude", "user": "anna"}},
        ],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


# ------------------------------------------------------------------------------------------ replies


def answer(code: int, body: Any, **headers: str) -> Reply:
    """A whole answer: JSON, or bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {"content_type": "application/json"} if not isinstance(body, bytes) else {}

    def reply(handler: Handler) -> None:
        handler.head(code, content_length=str(len(data)), **{**kind, **headers})
        handler.wfile.write(data)

    return reply


def status(code: int, reason: str = "", message: str = "no", **details: Any) -> Any:
    return {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}


def refusal(code: int, reason: str = "", message: str = "no", **headers: str) -> Reply:
    return answer(code, status(code, reason, message), **headers)


def listing(*names: str, version: int = 10, more: str = "") -> Reply:
    meta = {"resourceVersion": str(version), **({"continue": more} if more else {})}
    return answer(200, {"kind": "List", "metadata": meta, "items": [thing(name, version) for name in names]})


def thing(name: str, version: int, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "web", "resourceVersion": str(version)}, "spec": spec}


def event(type: str, object: dict[str, Any]) -> bytes:
    return json.dumps({"type": type, "object": object}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def stream(*pieces: bytes, end: bool = True, silent: bool = False) -> Reply:
    """An answer in chunks.  Without ``end`` the connection is cut after them; with ``silent`` nothing more comes."""

    def reply(handler: Handler) -> None:
        handler.head(200, content_type="application/json", transfer_encoding="chunked")
        for piece in pieces:
            handler.chunk(piece)
        if silent:
            handler.rude.over.wait(30)
        elif end:
            handler.wfile.write(b"0\r\n\r\n")
            handler.wfile.flush()
            return
        handler.close_connection = True

    return reply


def hang(handler: Handler) -> None:
    """Take the request and say nothing."""
    handler.rude.over.wait(30)
    handler.close_connection = True


def cut(handler: Handler) -> None:
    """End the connection without a word."""
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """Begin an answer and never come to its end, without ever being silent for long."""
    handler.head(200, content_type="application/json", transfer_encoding="chunked")
    handler.close_connection = True
    try:
        while not handler.rude.over.wait(0.02):
            handler.chunk(b" ")
    except OSError:
        return


HTML = answer(200, b"<!doctype html><html><body>Please log in</body></html>", content_type="text/html")
