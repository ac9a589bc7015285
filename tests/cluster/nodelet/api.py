"""The node's way to the API server: calls, and a watch that outlives it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

Object = dict[str, Any]
AWAY = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
"""What one sees of an API server that is down, hung or on its way up."""
AGAIN_AFTER_S = 0.05
MERGE = "application/merge-patch+json"


class Refused(Exception):
    """An answer of 400 or above."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Client:
    """One connection pool, as the administrator."""

    def __init__(self, server: str, authority: Path, token: str) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        self.authority = authority
        self._session = aiohttp.ClientSession(
            server,
            headers={"authorization": f"Bearer {token}"},
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=10),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def call(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """One call.  Raises `Refused`, or one of `AWAY`."""
        headers = {"content-type": kind} if body is not None else None
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, path, data=data, headers=headers) as answer:
            if answer.status >= 400:
                raise Refused(answer.status, await answer.text())
            content: Object = await answer.json()
            return content

    async def insist(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        """A call that is repeated until the API server answers it, and does not say that it has no time (or, to a
        patch, that another one came between)."""
        later = (429, 500, 503, 504, *((409,) if method == "PATCH" else ()))
        while True:
            try:
                return await self.call(method, path, body, kind)
            except Refused as refusal:
                if refusal.status not in later:
                    raise
            except AWAY:
                pass
            await asyncio.sleep(AGAIN_AFTER_S)

    async def watch(self, path: str) -> AsyncIterator[tuple[str, list[Object]]]:
        """``("all", objects)`` first and after every interruption, then ``(kind of change, [object])``."""
        while True:
            try:
                listing = await self.call("GET", path)
                yield "all", listing["items"]
                version = listing["metadata"]["resourceVersion"]
                query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
                timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
                async with self._session.get(path, params=query, timeout=timeout) as answer:
                    async for line in _lines(answer.content):
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break
                        if event["type"] != "BOOKMARK":
                            yield event["type"], [event["object"]]
            except (Refused, *AWAY, ValueError):
                pass
            await asyncio.sleep(AGAIN_AFTER_S)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length."""
    rest = b""
    async for piece in stream.iter_any():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line:
                yield line
