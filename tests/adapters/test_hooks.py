"""Hooks are asked by HTTP and by command; whatever the other side does, the answer comes in time and says no secret."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from meshctl.adapters.background import Background
from meshctl.adapters.hooks import LiveHooks
from meshctl.adapters.secrets import Secrets
from meshctl.core.model import Hook, HookCall, HookOutcome, HookPoint, HttpHook, HttpMethod, Phase, SecretRef
from tests.adapters import loopback
from tests.adapters.loopback import Loopback, answers, in_turn
from tests.core.small_world import release_of

ROOT = Path(__file__).parents[2]
RELEASE = release_of("2.0.0")
PATIENCE_S = 30.0
SECRET = "s3cret-t0ken-value"


def call_of(hook, *, asking=1, key="shop-7/2/smoke"):
    return HookCall(
        key=key,
        asking=asking,
        hook=hook,
        run="shop-7",
        entry=2,
        stage=1,
        weight=10.0,
        phase=Phase.PROGRESSING,
        reason=None,
        message="2.0.0 goes from 1 % to 10 %",
        baseline="1.0.0",
        candidate="2.0.0",
    )


def http(url, *, timeout=5.0, whole=10.0, retries=0, headers=None, method=HttpMethod.POST):
    call = HttpHook(url, method, headers or {}, timedelta(seconds=timeout))
    return Hook("smoke", HookPoint.AFTER_STAGE, http=call, timeout=timedelta(seconds=whole), retries=retries)


def command(*argv, whole=10.0):
    return Hook("smoke", HookPoint.AFTER_STAGE, command=argv, timeout=timedelta(seconds=whole))


def python(text, **settings):
    return command(sys.executable, "-c", text, **settings)


@pytest.fixture
def background():
    made = Background()
    yield made
    made.stop()


@pytest.fixture
def hooks(tmp_path, background):
    return LiveHooks(tmp_path, background, Secrets())


def asked(hooks, hook, within_s=PATIENCE_S):
    """Ask, look until there is an answer, let go of it."""
    hooks.keep(RELEASE, [call_of(hook)])
    deadline = time.monotonic() + within_s
    while not (found := hooks.answers(RELEASE)):
        assert time.monotonic() < deadline, "no answer"
        time.sleep(0.01)
    hooks.keep(RELEASE, [])
    assert not hooks.answers(RELEASE)
    (answer,) = found
    assert (answer.key, answer.asking) == ("shop-7/2/smoke", 1)
    return answer.outcome, answer.message


# ------------------------------------------------------------------------------------ HTTP, well behaved


@pytest.mark.parametrize(
    ("talk", "outcome", "message"),
    [
        (answers(200), HookOutcome.PASS, ""),
        (answers(204), HookOutcome.PASS, ""),
        (answers(200, b"fine, thanks"), HookOutcome.PASS, ""),
        (answers(200, b'{"verdict": "pass", "message": "40 of 40"}'), HookOutcome.PASS, "40 of 40"),
        (answers(200, b'{"verdict": "hold", "message": "3 of 40"}'), HookOutcome.HOLD, "3 of 40"),
        (answers(200, b'{"verdict": "fail", "message": "4 of 40 failed"}'), HookOutcome.FAIL, "4 of 40 failed"),
        (answers(200, b'{"verdict": "maybe"}'), HookOutcome.ERROR, "none of pass, hold, fail"),
        (answers(200, b'{"verdict": 7}'), HookOutcome.ERROR, "none of pass, hold, fail"),
        (answers(200, b'{"message": ["not", "text"]}'), HookOutcome.PASS, ""),
        (answers(200, b"[" * 60000), HookOutcome.PASS, ""),
        (answers(409), HookOutcome.HOLD, "answered 409"),
        (answers(425), HookOutcome.HOLD, "answered 425"),
        (answers(429), HookOutcome.HOLD, "answered 429"),
        (answers(503, b'{"message": "warming up"}'), HookOutcome.HOLD, "warming up"),
        (answers(503, b'{"verdict": "fail"}'), HookOutcome.FAIL, "answered 503"),
        (answers(404), HookOutcome.FAIL, "answered 404"),
        (answers(500, b"<html>Internal Server Error</html>"), HookOutcome.FAIL, "answered 500"),
        (answers(500, b'{"verdict": "pass"}'), HookOutcome.FAIL, "answered 500"),
        (answers(502), HookOutcome.ERROR, "a proxy did not reach it"),
        (answers(504), HookOutcome.ERROR, "a proxy did not reach it"),
    ],
)
def test_an_answer_counts_by_the_worse_of_its_status_and_its_verdict(hooks, talk, outcome, message):
    with Loopback(talk) as server:
        found, said = asked(hooks, http(server.url))
    assert found is outcome
    assert message in said
    assert bool(said) == bool(message)


def test_a_hook_is_told_what_it_is_asked_about_under_a_key_that_stays_the_same(hooks, monkeypatch, tmp_path):
    monkeypatch.setenv("HOOK_TOKEN", f"Bearer {SECRET}")
    (tmp_path / "team").write_text("blue\n")
    headers = {"Authorization": SecretRef(env="HOOK_TOKEN"), "X-Team": SecretRef(file=str(tmp_path / "team"))}
    with Loopback(answers(200)) as server:
        asked(hooks, http(server.url, headers=headers))
        (heard,) = server.heard
    assert (heard.method, heard.path) == ("POST", "/checks?token=in-the-query")
    assert heard.headers["idempotency-key"] == "shop-7/2/smoke"
    assert heard.headers["authorization"] == f"Bearer {SECRET}"
    assert heard.headers["x-team"] == "blue"
    assert heard.headers["content-type"] == "application/json"
    told = json.loads(heard.body)
    assert told == {
        "id": "shop-7/2/smoke",
        "asking": 1,
        "hook": "smoke",
        "at": "afterStage",
        "release": "shop",
        "namespace": "default",
        "service": "shop",
        "run": "shop-7",
        "baseline": "1.0.0",
        "candidate": "2.0.0",
        "stage": 1,
        "entry": 2,
        "weight": 10.0,
        "phase": "Progressing",
        "reason": None,
        "message": "2.0.0 goes from 1 % to 10 %",
    }


def test_a_get_carries_no_body(hooks):
    with Loopback(answers(200)) as server:
        asked(hooks, http(server.url, method=HttpMethod.GET))
        (heard,) = server.heard
    assert (heard.method, heard.body) == ("GET", b"")


# ------------------------------------------------------------------------------------ HTTP, ill behaved


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        (loopback.hangs, "gave no whole answer within 0.5 s"),
        (loopback.drips, "gave no whole answer within 0.5 s"),
        (loopback.drips_its_head, "gave no whole answer within 0.5 s"),
        (loopback.floods, "answered more than 64 KiB"),
        (loopback.closes_early, "broke the conversation off"),
        (loopback.closes_at_once, "broke the conversation off"),
        (answers(302, b"", "Location: https://user:pw@evil.example:8443/steal?x=1"), "redirects to evil.example:8443;"),
        (answers(307, b"", "Location: /elsewhere"), "redirects to 127.0.0.1"),
        (answers(301), "redirects to 127.0.0.1"),
        (answers(301, b"", "Location: http://[oops"), "redirects to an address that cannot be read"),
        (answers(200, b"zip", "Content-Encoding: gzip"), "in an encoding that was not asked for"),
        (lambda connection, heard: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "broke the conversation off"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_answer_is_an_error_in_time(hooks, talk, message):
    began = time.monotonic()
    with Loopback(talk) as server:
        outcome, said = asked(hooks, http(server.url, timeout=0.5 if "within" in message else 5.0))
    assert outcome is HookOutcome.ERROR
    assert said.startswith(server.host)
    assert message in said
    assert "in-the-query" not in said
    assert "pw" not in said
    assert time.monotonic() - began < 5


def test_a_redirect_is_not_followed(hooks):
    with Loopback(answers(200)) as elsewhere:
        with Loopback(answers(302, b"", f"Location: {elsewhere.url}")) as server:
            assert asked(hooks, http(server.url, retries=3))[0] is HookOutcome.ERROR
            assert len(server.heard) == 1
        assert not elsewhere.heard


def test_nobody_there_is_an_error_that_says_so(hooks):
    with Loopback(answers(200)) as server:
        url = server.url
    outcome, said = asked(hooks, http(url, retries=1))
    assert outcome is HookOutcome.ERROR
    assert "cannot be reached" in said


def test_who_could_not_be_reached_is_tried_again_and_who_answered_is_not(hooks):
    with Loopback(in_turn(loopback.closes_at_once, answers(502), answers(200))) as server:
        assert asked(hooks, http(server.url, retries=2))[0] is HookOutcome.PASS
        assert [heard.headers["idempotency-key"] for heard in server.heard] == ["shop-7/2/smoke"] * 3
    with Loopback(in_turn(answers(500), answers(200))) as server:
        assert asked(hooks, http(server.url, retries=2))[0] is HookOutcome.FAIL


def test_all_attempts_together_have_a_deadline(hooks):
    with Loopback(loopback.hangs) as server:
        outcome, said = asked(hooks, http(server.url, timeout=0.4, whole=1, retries=10))
    assert outcome is HookOutcome.ERROR
    assert said.startswith("no answer within 1s; before that: 127.0.0.1")


def test_asking_and_looking_take_no_time_while_many_hang(hooks):
    with Loopback(loopback.hangs) as server:
        calls = [call_of(http(server.url, timeout=2), key=f"shop-7/{n}/smoke") for n in range(100)]
        hooks.keep(RELEASE, calls[:1])
        took = []
        for _ in range(50):
            began = time.perf_counter()
            hooks.keep(RELEASE, calls)
            hooks.answers(RELEASE)
            took.append(time.perf_counter() - began)
            time.sleep(0.005)
        assert sorted(took)[25] < 0.005
        hooks.keep(RELEASE, [])


def test_an_asking_begins_once_and_another_one_anew(hooks):
    with Loopback(answers(200)) as server:
        hook = http(server.url)
        for _ in range(3):
            hooks.keep(RELEASE, [call_of(hook)])
        asked(hooks, hook)
        assert len(server.heard) == 1
        hooks.keep(RELEASE, [call_of(hook, asking=2)])
        deadline = time.monotonic() + PATIENCE_S
        while not hooks.answers(RELEASE):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [answer.asking for answer in hooks.answers(RELEASE)] == [2]
        assert len(server.heard) == 2


@contextmanager
def with_tls(folder, talk):
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def encrypted(self, connection, plain=Loopback._serve):
        try:
            wrapped = context.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
            return
        plain(self, wrapped)

    server = type("WithTls", (Loopback,), {"_serve": encrypted})(talk)
    with server:
        yield server


def test_a_certificate_that_nobody_vouches_for_is_refused(hooks, tmp_path):
    with with_tls(tmp_path, answers(200)) as server:
        outcome, said = asked(hooks, http(server.url.replace("http:", "https:"), timeout=5))
    assert outcome is HookOutcome.ERROR
    assert "its certificate is not valid: self-signed certificate" in said
    assert not server.heard


# ------------------------------------------------------------------------------------ commands


@pytest.mark.parametrize(
    ("text", "outcome", "message"),
    [
        ("", HookOutcome.PASS, ""),
        ("print('checking'); print('{\"message\": \"40 of 40\"}')", HookOutcome.PASS, "40 of 40"),
        ("raise SystemExit(75)", HookOutcome.HOLD, "the command ended with 75"),
        ('print(\'{"message": "busy"}\'); raise SystemExit(75)', HookOutcome.HOLD, "busy"),
        ("raise SystemExit(1)", HookOutcome.FAIL, "the command ended with 1"),
        ('print(\'{"message": "4 failed"}\'); raise SystemExit(3)', HookOutcome.FAIL, "4 failed"),
        ("import os; os.kill(os.getpid(), 9)", HookOutcome.ERROR, "the command was killed by signal 9"),
        ("for _ in range(200): print('x' * 62500)", HookOutcome.PASS, ""),
        ("import sys; sys.stderr.write('x' * 9_000_000); raise SystemExit(1)", HookOutcome.FAIL, "ended with 1"),
    ],
)
def test_a_command_answers_by_its_exit_code(hooks, text, outcome, message):
    found, said = asked(hooks, python(text))
    assert found is outcome
    assert message in said
    assert bool(said) == bool(message)


def test_a_command_is_told_by_its_environment_and_its_input_and_has_a_session_of_its_own(hooks, tmp_path):
    text = """
import json, os, sys
told = json.load(sys.stdin)
leader = os.getsid(0) == os.getpid()
words = [told["id"], os.environ["MESHCTL_HOOK_ID"], os.environ["MESHCTL_WEIGHT"], os.environ["MESHCTL_HOME"], leader]
print(json.dumps({"message": " ".join(map(str, words))}))
"""
    outcome, said = asked(hooks, python(text))
    assert outcome is HookOutcome.PASS
    assert said == f"shop-7/2/smoke shop-7/2/smoke 10 {tmp_path} True"


@pytest.mark.parametrize("program", ["no-such-program", "/", str(ROOT / "README.md")])
def test_a_command_that_cannot_be_executed_is_an_error(hooks, program):
    outcome, said = asked(hooks, command(program))
    assert outcome is HookOutcome.ERROR
    assert f"cannot execute {program!r}" in said


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


HANGS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({path!r}, "w").write(f"{{os.getpid()}} {{child.pid}}\\n")
time.sleep(60)
"""


def pids_in(path):
    deadline = time.monotonic() + PATIENCE_S
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return [int(word) for word in path.read_text().split()]


def gone(pids):
    deadline = time.monotonic() + PATIENCE_S
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "something still runs"
        time.sleep(0.01)
    return True


def test_a_command_that_hangs_is_ended_with_its_children(hooks, tmp_path):
    note = tmp_path / "pids"
    outcome, said = asked(hooks, python(HANGS.format(path=str(note)), whole=2))
    assert (outcome, said) == (HookOutcome.ERROR, "no answer within 2s")
    assert gone(pids_in(note))


def test_a_command_that_nobody_waits_for_any_more_is_ended(hooks, tmp_path):
    note = tmp_path / "pids"
    hooks.keep(RELEASE, [call_of(python(HANGS.format(path=str(note)), whole=60))])
    pids = pids_in(note)
    hooks.keep(RELEASE, [])
    assert gone(pids)


def test_going_down_ends_what_is_under_way(hooks, background, tmp_path):
    note = tmp_path / "pids"
    hooks.keep(RELEASE, [call_of(python(HANGS.format(path=str(note)), whole=60))])
    pids = pids_in(note)
    background.stop()
    assert gone(pids)


def test_a_command_whose_child_lives_on_has_answered_nevertheless(hooks, tmp_path):
    note = tmp_path / "pids"
    began = time.monotonic()
    assert asked(hooks, python(HANGS.format(path=str(note)).replace("time.sleep(60)\n", ""), whole=30))[0] is (
        HookOutcome.PASS
    )
    assert time.monotonic() - began < 20.0
    for pid in pids_in(note):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


# ------------------------------------------------------------------------------------ secrets


def test_a_secret_that_is_not_there_is_named_by_its_place(hooks, tmp_path, monkeypatch):
    monkeypatch.delenv("HOOK_TOKEN", raising=False)
    many = tmp_path / "many"
    many.write_text("one\ntwo")
    cases = {
        SecretRef(env="HOOK_TOKEN"): "the environment variable HOOK_TOKEN is not set",
        SecretRef(file=str(tmp_path / "none")): "cannot be read",
        SecretRef(file=str(many)): "must hold one line of printable ASCII text",
    }
    with Loopback(answers(200)) as server:
        for ref, message in cases.items():
            outcome, said = asked(hooks, http(server.url, headers={"Authorization": ref}))
            assert outcome is HookOutcome.ERROR
            assert "hook smoke, header Authorization" in said
            assert message in said
        assert not server.heard


@pytest.mark.parametrize(
    "talk",
    [
        answers(200, json.dumps({"message": f"got {SECRET} and Bearer {SECRET}!"}).encode()),
        answers(500, SECRET.encode()),
        answers(302, b"", f"Location: https://{SECRET}@{SECRET}.example/{SECRET}"),
        answers(200, json.dumps({"verdict": SECRET}).encode()),
        answers(200, json.dumps({"verdict": "hold", "message": "x" * 190 + SECRET}).encode()),
        lambda connection, heard: connection.sendall(f"{SECRET}\r\n\r\n".encode()),
        lambda connection, heard: connection.sendall(f"HTTP/1.1 200 {SECRET}\r\n{SECRET} {SECRET}\r\n\r\n".encode()),
    ],
)
def test_a_secret_that_is_said_back_is_not_recorded(hooks, talk, monkeypatch, caplog):
    monkeypatch.setenv("HOOK_TOKEN", f"Bearer {SECRET}")
    headers = {"Authorization": SecretRef(env="HOOK_TOKEN")}
    with caplog.at_level(0), Loopback(talk) as server:
        _, said = asked(hooks, http(server.url, headers=headers))
        assert server.heard
    assert SECRET[:8] not in said
    assert SECRET not in caplog.text


def test_a_stranger_s_words_become_one_short_line():
    said = Secrets().printable("one\x1b[31m\ntwo\t\ud800  three\u202e " + "x" * 500)
    assert said.startswith("one [31m two three xxx")
    assert len(said) == 200
    assert said.isprintable()


def test_http_is_spoken_in_three_modules_and_to_strangers_in_one_of_them():
    users = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("meshctl/**/*.py")
        if re.search(r"^\s*(import|from) httpx", path.read_text(), re.MULTILINE)
    }
    ours = {"meshctl/adapters/istio/istiod.py", "meshctl/adapters/prometheus/transport.py"}
    assert users == {"meshctl/adapters/hooks.py"} | ours
