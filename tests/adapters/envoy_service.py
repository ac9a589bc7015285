"""A service for the tests: answers with its version; ERRORS, DELAY_S, BROKEN_READINESS and EXIT steer it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys

VERSION = os.environ["VERSION"]
ERRORS = float(os.environ.get("ERRORS", "0"))
DELAY_S = float(os.environ.get("DELAY_S", "0"))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            status = 200
            if path == "/healthz":
                status = 503 if "BROKEN_READINESS" in os.environ else 200
            else:
                await asyncio.sleep(DELAY_S)
                status = 500 if random.random() < ERRORS else 200
            body = VERSION.encode()
            writer.write(
                f"HTTP/1.1 {status} Whatever\r\ncontent-length: {len(body)}\r\n"
                f"x-served-by: {VERSION}/{os.environ['REPLICA']}\r\n\r\n".encode()
                + body
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    if "EXIT" in os.environ:
        print("this version cannot find its configuration", flush=True)
        sys.exit(int(os.environ["EXIT"]))
    server = await asyncio.start_server(serve, os.environ["HOST"], int(os.environ["PORT"]))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
    print("serving", flush=True)
    async with server:
        try:
            await server.serve_forever()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)


asyncio.run(main())
