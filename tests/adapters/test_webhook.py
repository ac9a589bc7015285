"""Events reach the webhook signed and once, or are counted; nothing waits for it."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from meshctl.adapters.background import Background
from meshctl.adapters.memory import FakeClock
from meshctl.adapters.outward import Outward
from meshctl.adapters.secrets import Secrets
from meshctl.adapters.webhook import QUEUE_MAX, Webhook, WebhookSettings, notice_of
from meshctl.core.errors import InvalidInput
from meshctl.core.model import Actor, Event, Phase, Reason, SecretRef, Verdict
from tests.adapters import loopback
from tests.adapters.loopback import Loopback, answers, in_turn
from tests.core.small_world import START, release_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "hooks.md"
RELEASE = release_of("2.0.0")
SECRET = "a-secret-to-sign-with"
PATIENCE_S = 30.0


def event_of(number=1, message="2.0.0 goes from 1 % to 10 %", *, moved=False):
    return Event(
        time=START,
        run=f"shop-{number}",
        stage=1,
        phase_from=Phase.PROGRESSING,
        phase_to=Phase.ROLLED_BACK if moved else Phase.PROGRESSING,
        reason=Reason.EVIDENCE,
        message=message,
        actor=Actor("judge"),
        weight_from=1.0,
        weight_to=10.0,
        confirmed=1.0,
        verdict=Verdict.PASS,
    )


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    return SecretRef(file=str(file))


@pytest.fixture
def make(secret):
    background = Background()

    def webhook(url, **settings):
        clock = SimpleNamespace(now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
        settings = {"backoff_s": 0.01, "timeout_s": 5.0} | settings
        return Webhook(WebhookSettings(url, secret), background, Secrets(), clock, **settings)

    yield webhook
    background.stop()


def test_every_event_is_posted_in_order_and_signed(make):
    with Loopback(answers(204)) as server:
        webhook = make(server.url)
        webhook.tell(RELEASE, [event_of(1), event_of(2, moved=True)])
        assert webhook.flush(PATIENCE_S)
    assert webhook.counts() == {"delivered": 2, "failed": 0, "dropped": 0}
    one, two = (json.loads(heard.body) for heard in server.heard)
    identity = one.pop("id")
    assert re.fullmatch("[0-9a-f]{32}", identity)
    assert server.heard[0].headers["idempotency-key"] == identity
    assert one == {
        "specversion": "1.0",
        "source": "meshctl/shop",
        "type": "dev.meshctl.release.weight",
        "time": "2026-01-01T00:00:00.000Z",
        "release": "shop",
        "namespace": "default",
        "run": "shop-1",
        "stage": 1,
        "phase": "Progressing",
        "reason": "Evidence",
        "message": "2.0.0 goes from 1 % to 10 %",
        "weight": 10.0,
        "actor": "judge",
    }
    assert (two["type"], two["phase"]) == ("dev.meshctl.release.phase", "RolledBack")
    assert notice_of(RELEASE, event_of(1))["id"] == identity != two["id"]


def snippet():
    """The Python example of the document, as its readers would run it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (found,) = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "def verify" in code]
    names: dict = {}
    exec(found, names)
    return names["verify"]


def test_the_documented_verification_accepts_what_is_sent_and_nothing_else(make):
    with Loopback(answers(204)) as server:
        webhook = make(server.url)
        webhook.tell(RELEASE, [event_of(message="größer \u2192 \ud800")])
        assert webhook.flush(PATIENCE_S)
    (heard,) = server.heard
    verify = snippet()
    stamp, signature = heard.headers["x-meshctl-timestamp"], heard.headers["x-meshctl-signature"]
    now = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    assert stamp == str(now)
    assert verify(SECRET, stamp, signature, heard.body, now + 30)
    assert not verify("another", stamp, signature, heard.body, now)
    assert not verify(SECRET, stamp, signature, heard.body + b" ", now)
    assert not verify(SECRET, str(now + 1), signature, heard.body, now)
    assert not verify(SECRET, stamp, "sha256=00", heard.body, now)
    assert not verify(SECRET, stamp, signature, heard.body, now + 3600), "an old one, sent once more"
    assert not verify(SECRET, "soon", signature, heard.body, now)


def test_what_did_not_arrive_is_sent_again_and_counted_once_it_is_given_up(make, caplog):
    with caplog.at_level("INFO"):
        with Loopback(in_turn(loopback.closes_at_once, answers(503), answers(204))) as server:
            webhook = make(server.url)
            webhook.tell(RELEASE, [event_of()])
            assert webhook.flush(PATIENCE_S)
            assert (webhook.delivered, webhook.failed, len(server.heard)) == (1, 0, 3)
            assert len({heard.headers["idempotency-key"] for heard in server.heard}) == 1
        assert not [record for record in caplog.records if record.name.startswith("meshctl")]
        with Loopback(in_turn(*[answers(404)] * 3, answers(204))) as server:
            webhook = make(server.url)
            webhook.tell(RELEASE, [event_of(number) for number in range(5)])
            assert webhook.flush(PATIENCE_S)
            assert (webhook.delivered, webhook.failed, len(server.heard)) == (2, 3, 5)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("meshctl")]
    assert said == [
        f"webhook: events are not delivered: {server.host} answered 404",
        "webhook: events are delivered again; 3 were not",
    ]


def test_a_webhook_that_hangs_delays_nobody_and_its_queue_is_bounded(make):
    with Loopback(loopback.hangs) as server:
        webhook = make(server.url, timeout_s=60.0)
        took = []
        for number in range(QUEUE_MAX + 50):
            began = time.perf_counter()
            webhook.tell(RELEASE, [event_of(number)])
            took.append(time.perf_counter() - began)
        assert sorted(took)[len(took) // 2] < 0.002
        assert 48 <= webhook.dropped <= 50
        assert not webhook.flush(0.05)


@pytest.mark.parametrize(
    "talk",
    [
        answers(302, b"", f"Location: https://{SECRET}.example/"),
        answers(400, SECRET.encode()),
        loopback.floods,
        loopback.closes_early,
    ],
)
def test_no_word_about_a_failure_holds_a_secret(make, talk, caplog):
    with caplog.at_level(0), Loopback(talk) as server:
        webhook = make(server.url)
        webhook.tell(RELEASE, [event_of()])
        assert webhook.flush(PATIENCE_S)
    assert webhook.failed == 1
    assert SECRET not in caplog.text
    assert "in-the-query" not in caplog.text


def test_a_secret_that_got_into_a_message_does_not_leave(make):
    with Loopback(answers(204)) as server:
        webhook = make(server.url)
        webhook.tell(RELEASE, [event_of(message=f"aborted (the key is {SECRET})")])
        assert webhook.flush(PATIENCE_S)
    assert json.loads(server.heard[0].body)["message"] == "aborted (the key is ***)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "https://example.com/"}, "exactly one place of the secret"),
        ({"url": "https://example.com/", "secret_env": "A", "secret_file": "b"}, "exactly one place of the secret"),
        ({"secret_env": "A"}, "a secret is given and no URL"),
        ({"url": "https://example.com/", "secret_env": "NOT_THERE"}, "NOT_THERE is not set"),
        ({"url": "https://example.com/", "secret_file": "/not/there"}, "/not/there cannot be read"),
        ({"url": "https://anna:pw@example.com/", "secret_file": "SECRET"}, "must not hold a user"),
        ({"url": "ftp://example.com/", "secret_file": "SECRET"}, "must be a URL"),
        ({"url": "https://example.com:99999/", "secret_file": "SECRET"}, "cannot be read as a URL"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_starts(tmp_path, secret, settings, message):
    settings = {key: secret.file if value == "SECRET" else value for key, value in settings.items()}
    with pytest.raises(InvalidInput, match=re.escape(message)) as caught:
        Outward(tmp_path, FakeClock(), **settings)
    assert "pw" not in str(caught.value)


def test_without_settings_nobody_is_told(tmp_path):
    outward = Outward(tmp_path, FakeClock())
    outward.notices.tell(RELEASE, [event_of()])
    outward.stop()
