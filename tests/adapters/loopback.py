"""A server on loopback that answers as badly as it is told to, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

Talk = Callable[[socket.socket, "Heard"], None]


@dataclass
class Heard:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Loopback:
    """``talk`` is what it does with every connection, once it has read the request."""

    talk: Talk
    heard: list[Heard] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/checks?token=in-the-query"

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def _accept(self):
        while not self.stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection):
        with connection, suppress(OSError):
            connection.settimeout(5)
            heard = read(connection)
            if heard is not None:
                self.heard.append(heard)
                self.talk(connection, heard)


def read(connection) -> Heard | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    method, path, _ = first.split(" ", 2)
    return Heard(method, path, headers, body)


# ------------------------------------------------------------------------------------ what it may do


def answers(status: int, body: bytes = b"", *headers: str) -> Talk:
    head = [f"HTTP/1.1 {status} whatever", f"Content-Length: {len(body)}", "Connection: close", *headers]

    def talk(connection, heard):
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    return talk


def in_turn(*talks: Talk) -> Talk:
    """Each for one request, the last one for all that follow."""
    left = list(talks)

    def talk(connection, heard):
        (left.pop(0) if len(left) > 1 else left[0])(connection, heard)

    return talk


def hangs(connection, heard):
    """Says nothing until the other side goes."""
    with suppress(OSError):
        connection.recv(1)


def drips(connection, heard):
    """A byte now and then, so that no single wait is long."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    _drip(connection)


def drips_its_head(connection, heard):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    _drip(connection)


def _drip(connection):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        connection.sendall(b"x")
        time.sleep(0.05)


def floods(connection, heard):
    """10 MB of answer."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
    for _ in range(160):
        connection.sendall(b"x" * 62500)


def closes_early(connection, heard):
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"verdict":')


def closes_at_once(connection, heard):
    """Not a word."""
