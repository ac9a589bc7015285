"""Renders a user's own templates in a child process that the kernel ends when a template takes too long or too much.

Both sides live here: `WorkerEngine` for the parent, ``python -m meshctl.adapters.template_worker`` for the child.
They speak JSON, one line per message.  The child sets its own alarm and memory limit, so that a template that runs
wild ends even when the parent is gone; it gets none of the parent's environment.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from meshctl.adapters.template_engine import Engine, Failure, Origin

MEMORY_LIMIT = 512 * 1024 * 1024
_PATIENCE = 5.0
"""A loaded machine may give a render this many times its processor time before it counts as stuck."""


class WorkerEngine:
    """The engine for templates that are not ours.  Starts its child at the first use and after every failure."""

    def __init__(self, sources: Mapping[str, str], *, time_limit_s: float) -> None:
        self._sources = dict(sources)
        self._time_limit_s = time_limit_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        return str(self._ask("render", template, context))

    def trace(self, template: str, context: Mapping[str, Any]) -> list[Origin]:
        return [Origin(name, line) for name, line in self._ask("trace", template, context)]

    def close(self) -> None:
        with self._lock:
            self._end()

    def _ask(self, verb: str, template: str, context: Mapping[str, Any]) -> Any:
        with self._lock:
            child = self._child or self._start()
            try:
                answer = _exchange(child, [verb, template, context])
            except (BrokenPipeError, EOFError):
                code = self._end()
                raise Failure(template, 0, self._cause(code)) from None
        if "failure" in answer:
            raise Failure(*answer["failure"])
        return answer["result"]

    def _start(self) -> subprocess.Popen[str]:
        package_root = str(Path(__file__).resolve().parent.parent.parent)
        child = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={"PYTHONPATH": package_root, "PYTHONUTF8": "1"},
            cwd="/",
            start_new_session=True,
        )
        self._child = child
        self._finalizer = weakref.finalize(self, _reap, child)
        try:
            _exchange(child, [self._sources, self._time_limit_s])
        except (BrokenPipeError, EOFError):
            code = self._end()
            raise Failure("", 0, f"the process that renders templates did not start (exit {code})") from None
        return child

    def _end(self) -> int | None:
        if self._child is None:
            return None
        child, self._child = self._child, None
        self._finalizer.detach()
        return _reap(child)

    def _cause(self, code: int | None) -> str:
        if code in (-signal.SIGPROF, -signal.SIGALRM):
            return f"did not finish within {self._time_limit_s:g} s; does a loop have an end?"
        return f"ended the process that renders it (exit {code}); does it need too much memory?"


def _exchange(child: subprocess.Popen[str], message: object) -> Any:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(message) + "\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line.endswith("\n"):
        raise EOFError
    return json.loads(line)


def _reap(child: subprocess.Popen[str]) -> int:
    """End a child; one that has ended by itself keeps its own exit code."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    try:
        return child.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


# ------------------------------------------------------------------------------------ the child


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer until the requests end.  The first one brings the templates and the time limit."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sources, time_limit_s = json.loads(requests.readline())
    engine = Engine(sources)
    _answer(answers, {"result": None})
    for line in requests:
        verb, template, context = json.loads(line)
        _alarm(time_limit_s)
        try:
            answer = {"result": _perform(engine, verb, template, context)}
        except Failure as failure:
            answer = {"failure": [failure.template, failure.line, failure.problem[:2000]]}
        _alarm(0)
        _answer(answers, answer)


def _perform(engine: Engine, verb: str, template: str, context: Mapping[str, Any]) -> Any:
    if verb == "render":
        return engine.render(template, context)
    return [[origin.template, origin.line] for origin in engine.trace(template, context)]


def _alarm(limit_s: float) -> None:
    """Let the kernel end this process after so much processor time, or much more real time; 0 calls it off."""
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    signal.setitimer(signal.ITIMER_REAL, limit_s * _PATIENCE)


def _answer(answers: IO[str], answer: object) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
