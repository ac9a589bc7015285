"""Everything that leaves this machine on behalf of a release: hooks that are asked, notices that are sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from meshctl.adapters.background import Background
from meshctl.adapters.hooks import LiveHooks
from meshctl.adapters.secrets import Secrets
from meshctl.adapters.webhook import Webhook, WebhookSettings
from meshctl.core.errors import InvalidInput
from meshctl.core.hookrules import secret_problems
from meshctl.core.model import SecretRef
from meshctl.core.ports import Clock, NoNotices, Notices


class Outward:
    """The ports ``hooks`` and ``notices`` of an embedded folder, on one background thread.

    The rest are the settings of the webhook as people give them.  Raises `InvalidInput` for half or wrong ones.
    """

    def __init__(
        self,
        base: Path,
        clock: Clock,
        *,
        url: str | None = None,
        secret_file: str | None = None,
        secret_env: str | None = None,
    ) -> None:
        self._background, secrets = Background(), Secrets()
        self.hooks = LiveHooks(base, self._background, secrets)
        where = {"url": url, "secret_file": secret_file, "secret_env": secret_env}
        self._webhook = webhook_of(self._background, secrets, clock, **where)
        self.notices: Notices = self._webhook or NoNotices()

    def deliveries(self) -> Mapping[str, int]:
        """What became of the webhook's events so far, by outcome; nothing without one."""
        return {} if self._webhook is None else self._webhook.counts()

    def stop(self) -> None:
        """Deliver the last events, if that is quick; give up what is under way."""
        if self._webhook is not None:
            self._webhook.flush()
        self._background.stop()


def webhook_of(
    background: Background,
    secrets: Secrets,
    clock: Clock,
    *,
    url: str | None = None,
    secret_file: str | None = None,
    secret_env: str | None = None,
) -> Webhook | None:
    """The webhook of these settings; ``None`` where none is wished.  Raises `InvalidInput` for half or wrong ones."""
    settings = _settings(url, secret_file, secret_env)
    return None if settings is None else Webhook(settings, background, secrets, clock)


def _settings(url: str | None, secret_file: str | None, secret_env: str | None) -> WebhookSettings | None:
    secret = SecretRef(env=secret_env or None, file=secret_file or None)
    if not url:
        if secret != SecretRef():
            raise InvalidInput("webhook: a secret is given and no URL", hint="Name where events go: --webhook-url URL")
        return None
    for _ in secret_problems(secret):
        raise InvalidInput(
            "webhook: events are signed, so exactly one place of the secret must be named",
            hint="Say --webhook-secret-file FILE, or --webhook-secret-env NAME.",
        )
    return WebhookSettings(url, secret)
