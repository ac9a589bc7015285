"""Somebody between a program and the server it asks: passes everything on, and does harm where a test says so."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_OF_ONE_LINE = frozenset({"connection", "transfer-encoding", "content-length", "host", "keep-alive"})


@dataclass(frozen=True)
class Answer:
    """What the relay says itself, instead of asking."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


Before = Callable[[str, str], "Answer | None"]
"""Method and path (with the query); an answer of the relay's own, or None to pass the request on."""
After = Callable[[str, str, int], None]
"""Method, path and the server's status, before the asker hears of it."""


class Relay:
    """Listens on a free port of loopback.  ``before`` and ``after`` may be exchanged at any time."""

    def __init__(self, target: str, authority: Path | None = None) -> None:
        trust = ssl.create_default_context(cafile=str(authority) if authority is not None else None)
        limits = httpx.Timeout(30, read=None)
        self._client = httpx.Client(base_url=target, verify=trust, trust_env=False, timeout=limits)
        self.before: Before = lambda method, path: None
        self.after: After = lambda method, path, status: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._page())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def honest(self) -> None:
        """Pass everything on again."""
        self.before = lambda method, path: None
        self.after = lambda method, path, status: None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def _page(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Page(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                own = relay.before(self.command, self.path)
                with suppress(OSError, httpx.HTTPError):
                    if own is None:
                        relay._pass_on(self, body)
                    else:
                        self.begin(own.status, own.headers | {"content-length": str(len(own.body))})
                        self.wfile.write(own.body)
                    return
                self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def begin(self, status: int, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return Page

    def _pass_on(self, page: Any, body: bytes) -> None:
        """The server's answer, piece by piece, since a watch has no end."""
        headers = {"accept-encoding": "identity"} | {name.lower(): value for name, value in page.headers.items()}
        headers = {name: value for name, value in headers.items() if name not in _OF_ONE_LINE}
        with self._client.stream(page.command, page.path, content=body, headers=headers) as answer:
            self.after(page.command, page.path, answer.status_code)
            back = {name: value for name, value in answer.headers.items() if name not in _OF_ONE_LINE}
            page.begin(answer.status_code, back | {"transfer-encoding": "chunked"})
            for piece in answer.iter_raw():
                page.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                page.wfile.flush()
            page.wfile.write(b"0\r\n\r\n")
