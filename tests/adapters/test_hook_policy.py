"""In a cluster a hook reaches only what the operator allows, whatever a release says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from meshctl.adapters.background import Background
from meshctl.adapters.hook_policy import AllowedHooks, HookPolicy, parse_policy
from meshctl.adapters.hooks import LiveHooks
from meshctl.adapters.secrets import Secrets
from meshctl.core.errors import InvalidInput
from meshctl.core.model import HookOutcome, SecretRef
from tests.adapters.loopback import Loopback, answers
from tests.adapters.test_hooks import PATIENCE_S, RELEASE, call_of, command, http

POLICY = parse_policy(
    "checks.example.com, ci.example.com:8443,*.smoke.example.com,[::1]:9000",
    "TOKEN@checks.example.com,/run/secrets/ci@ci.example.com:8443",
)


def refusal(url, **headers):
    refs = {name.replace("_", "-"): ref for name, ref in headers.items()}
    return POLICY.refusal(call_of(http(url, headers=refs)))


@pytest.mark.parametrize(
    "url",
    [
        "https://checks.example.com/smoke?key=1",
        "http://checks.example.com/",
        "http://CHECKS.example.com:80/",
        "https://ci.example.com:8443/x",
        "https://a.smoke.example.com/",
        "http://[::1]:9000/",
    ],
)
def test_what_the_operator_allows_is_asked(url):
    assert refusal(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:9464/metrics",
        "http://kubernetes.default.svc/api",
        "https://checks.example.com:8443/",
        "https://ci.example.com/",
        "https://checks.example.com.evil.org/",
        "https://evilchecks.example.com/",
        "https://smoke.example.com/",
        "https://evilsmoke.example.com/",
        "http://checks.example.com@evil.org/",
        "http://[::1]/",
        "http://0x7f000001/",
    ],
)
def test_every_other_host_and_port_is_refused_without_repeating_the_path(url):
    said = refusal(url)
    assert "not among the hosts" in said
    assert "meta-data" not in said


def test_a_command_is_never_run():
    assert "in a cluster give it http" in POLICY.refusal(call_of(command("env")))
    assert HookPolicy().refusal(call_of(http("https://checks.example.com/")))


def test_a_secret_goes_only_to_the_host_it_is_named_for():
    token, file = SecretRef(env="TOKEN"), SecretRef(file="/run/secrets/ci")
    assert refusal("https://checks.example.com/", Authorization=token) == ""
    assert refusal("https://ci.example.com:8443/", Authorization=file) == ""
    for url, ref in (
        ("https://ci.example.com:8443/", token),
        ("https://checks.example.com/", file),
        ("https://checks.example.com/", SecretRef(env="MESHCTL_WEBHOOK_URL")),
        ("https://checks.example.com/", SecretRef(file="/var/run/secrets/kubernetes.io/serviceaccount/token")),
        ("https://checks.example.com/", SecretRef(file="/run/secrets/../secrets/ci")),
    ):
        assert "the secret of its header Authorization" in refusal(url, Authorization=ref)


@pytest.mark.parametrize(
    ("hosts", "secrets"),
    [("https://checks.example.com", ""), ("a b", ""), ("*", ""), ("", "TOKEN"), ("", "@host"), ("", "TOKEN@a/b")],
)
def test_a_setting_that_is_none_is_refused(hosts, secrets):
    with pytest.raises(InvalidInput, match="hook_"):
        parse_policy(hosts, secrets)


def test_nothing_said_allows_nothing():
    assert parse_policy("", "") == HookPolicy()


def test_the_refused_are_answered_and_never_asked_the_others_are():
    with Loopback(answers(200, b"{}")) as server:
        policy = parse_policy(f"127.0.0.1:{server.port}", "")
        background = Background()
        try:
            hooks = AllowedHooks(LiveHooks(Path("/"), background, Secrets()), policy)
            good = call_of(http(server.url), key="shop-7/2/good")
            bad = call_of(http("http://127.0.0.1:1/"), key="shop-7/2/bad")
            hooks.keep(RELEASE, [good, bad])
            deadline = time.monotonic() + PATIENCE_S
            while len(hooks.answers(RELEASE)) < 2:
                assert time.monotonic() < deadline, "no answer"
                time.sleep(0.01)
            outcomes = {answer.key: answer.outcome for answer in hooks.answers(RELEASE)}
            assert outcomes == {good.key: HookOutcome.PASS, bad.key: HookOutcome.ERROR}
            hooks.keep(RELEASE, [])
            assert hooks.answers(RELEASE) == []
        finally:
            background.stop()
