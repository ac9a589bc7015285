"""A service of one file: / greets, /healthz says that it may get requests.  ERRORS (0 to 1) makes it bad."""

import os
import random
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERRORS = float(os.environ.get("ERRORS", "0"))
BODY = f"{os.environ.get('GREETING', 'welcome')}, from {os.environ['VERSION']}\n".encode()


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        bad = self.path != "/healthz" and random.random() < ERRORS  # noqa: S311 - no secret
        self.send_response(500 if bad else 200)
        self.send_header("content-length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer((os.environ["HOST"], 8000), Shop).serve_forever()
