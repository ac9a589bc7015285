"""A shop in plain Python, as a service of your own might be: one process is one replica.

meshctl gives every replica HOST, PORT, VERSION and REPLICA.  What makes this one behave well in a mesh is little:
it listens where it is told, /healthz says whether it may get requests, and after SIGTERM it says no there, finishes
what is inside, and exits.  ERRORS (a share from 0 to 1) makes a version bad, to see it stopped.
"""

import os
import random
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERRORS = float(os.environ.get("ERRORS", "0"))
NAME = f"{os.environ['VERSION']}/{os.environ['REPLICA']}"

chance = random.Random()  # noqa: S311 - no secret
leaving = threading.Event()
inside = 0
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        global inside
        if self.path == "/healthz":
            self.answer(503 if leaving.is_set() else 200, "leaving\n" if leaving.is_set() else "ready\n")
            return
        with lock:
            inside += 1
        try:
            time.sleep(chance.uniform(0.02, 0.06))
            if chance.random() < ERRORS:
                self.answer(500, f"{NAME} could not open the shop\n")
            else:
                self.answer(200, f"welcome to the shop, from {NAME}\n")
        finally:
            with lock:
                inside -= 1

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-served-by", NAME)
        if leaving.is_set():
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait({signal.SIGTERM})
    leaving.set()
    quiet_since = time.monotonic()
    while time.monotonic() < quiet_since + 0.5:
        if inside:
            quiet_since = time.monotonic()
        time.sleep(0.02)


if __name__ == "__main__":
    main()
