"""Where the cluster is and who we are there: a kubeconfig and its context, or the service account of a pod.

Reading them is the official client's work, helpers for logging in and renewed tokens included; here it is asked, and
what it finds wrong is said in words.  `connect` and `in_cluster` speak to nobody yet.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from meshctl import __version__
from meshctl.adapters.wire import nearest
from meshctl.core.errors import Forbidden, InvalidInput, UnknownTarget

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

    from meshctl.adapters.kubernetes.client import ClusterApi

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds the token, the authority and the namespace of its service account."""

CONNECTIONS_MAX = 32
"""Kept open; more threads than these still work, with connections of their own."""

LOOK_AT_TOKEN_S = 1.0

_INSTALL = "pip install 'meshctl-istio[cluster]'"

log = logging.getLogger(__name__)


def connect(kubeconfig: str | None = None, context: str | None = None, *, budget_s: float | None = None) -> ClusterApi:
    """The cluster of a context.

    ``kubeconfig`` is one path or several, as in ``$KUBECONFIG``, which holds where none is given, then
    ``~/.kube/config``.  Where there is no file and no context is named, a pod's own service account is taken.
    ``budget_s`` bounds each call with its retries; a person who waits wants less than a controller.
    Raises `UnknownTarget` (nothing to go by), `InvalidInput` (a file or context that cannot be used) and `Forbidden`
    (a login helper that gives no credentials).
    """
    paths = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        if kubeconfig is None and context is None and _in_a_pod():
            return in_cluster(budget_s=budget_s)
        raise UnknownTarget(
            f"no kubeconfig: there is no file {paths}",
            hint="name one with --kubeconfig or KUBECONFIG, or use the embedded target with --local",
        )
    found = _context(paths, context)
    name, inner = found["name"], found.get("context") or {}
    return _api(
        lambda: _from_kubeconfig(paths, name),
        user=str(inner.get("user") or ""),
        namespace=str(inner.get("namespace") or "default"),
        budget_s=budget_s,
    )


def in_cluster(account: Path = SERVICE_ACCOUNT, *, budget_s: float | None = None) -> ClusterApi:
    """The cluster that this process is a pod of, as its service account.  Raises `UnknownTarget` outside of one."""
    client = _from_pod(account)
    namespace = account / "namespace"
    return _api(
        lambda: _from_pod(account),
        user=_subject(client.configuration.api_key.get("BearerToken", "")),
        namespace=namespace.read_text(encoding="utf-8").strip() if namespace.is_file() else "default",
        budget_s=budget_s,
    )


def _api(make: Callable[[], ApiClient], *, user: str, namespace: str, budget_s: float | None) -> ClusterApi:
    from meshctl.adapters.kubernetes.client import ClusterApi
    from meshctl.adapters.kubernetes.transport import BUDGET_S, Transport

    return ClusterApi(Transport(make, user=user, budget_s=budget_s or BUDGET_S), namespace=namespace)


# ------------------------------------------------------------------------------------------ kubeconfig


def _context(paths: str, wanted: str | None) -> dict[str, Any]:
    """The context to use.  Raises `InvalidInput` when it is not there, with the nearest that is."""
    config = _library()
    try:
        contexts, users, current = _contexts(config, paths)
    except config.ConfigException as error:
        raise InvalidInput(f"kubeconfig {paths}: {error}") from error
    except Exception as error:
        raise InvalidInput(f"kubeconfig {paths} cannot be read: {error}") from error
    known = {context["name"]: context for context in contexts}
    name = wanted or current
    if name in known:
        user = (known[name].get("context") or {}).get("user")
        if user and user not in users:
            raise InvalidInput(f'context "{name}" of kubeconfig {paths} names the user "{user}", who is not in it')
        return known[name]
    listed = ", ".join(sorted(known)) or "none"
    if not name:
        raise InvalidInput(f"kubeconfig {paths} has no current context", hint=f"name one with --context: {listed}")
    raise InvalidInput(
        f'there is no context "{name}" in kubeconfig {paths}',
        hint=" ".join(filter(None, (nearest(name, known), f"known: {listed}"))),
    )


def _contexts(config: Any, paths: str) -> tuple[list[dict[str, Any]], set[str], str]:
    """All contexts, the names of all users, and that of the current context (empty when none is set)."""
    merged = config.kube_config.KubeConfigMerger(paths).config
    if merged is None:
        raise config.ConfigException("it is empty")
    raw = merged.value
    users = {str(entry["name"]) for entry in raw.get("users") or ()}
    return [entry.value for entry in raw.get("contexts") or ()], users, str(raw.get("current-context") or "")


def _from_kubeconfig(paths: str, context: str) -> ApiClient:
    config, settings = _library(), _settings()
    with _helper_words() as words:
        try:
            config.load_kube_config(paths, context, client_configuration=settings)
        except config.ConfigException as error:
            raise InvalidInput(f'context "{context}" of kubeconfig {paths}: {error}') from error
        except Exception as error:
            raise InvalidInput(f'context "{context}" of kubeconfig {paths} cannot be used: {error}') from error
    if words and not settings.api_key and not settings.cert_file:
        raise Forbidden(
            f'context "{context}": the login helper of the kubeconfig gave no credentials: {words[-1][:300]}',
            hint="log in again with the tool of your provider",
        )
    return _client(settings)


@contextmanager
def _helper_words() -> Iterator[list[str]]:
    """What the official client writes to the root logger while it runs a login helper: it raises nothing there."""
    words: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: words.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield words
    finally:
        root.removeHandler(handler)


# ------------------------------------------------------------------------------------------ a pod


def _in_a_pod() -> bool:
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").is_file()


def _from_pod(account: Path) -> ApiClient:
    config, settings = _library(), _settings()
    try:
        config.incluster_config.InClusterConfigLoader(
            token_filename=str(account / "token"), cert_filename=str(account / "ca.crt")
        ).load_and_set(settings)
    except config.ConfigException as error:
        raise UnknownTarget(
            f"this is no pod with a service account: {error}",
            hint="outside of a cluster name one with --context or --kubeconfig",
        ) from error
    return _client(settings)


def _subject(token: str) -> str:
    """Whom a service account's token names, unverified: for messages only."""
    try:
        payload = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])
    except (IndexError, ValueError, KeyError):
        return "the pod's service account"


# ------------------------------------------------------------------------------------------ the official client


def _library() -> Any:
    """`kubernetes.config`.  Raises `InvalidInput` when the extra is not installed."""
    try:
        from kubernetes import config
    except ImportError as error:
        raise InvalidInput(f"clusters need a library that is not installed ({error})", hint=_INSTALL) from error
    return config


def _settings() -> Configuration:
    """Settings of our own: no retries below ours, and a line that the kernel watches."""
    from kubernetes.client import Configuration

    settings = Configuration()
    settings.retries = False
    settings.keep_alive = True
    settings.connection_pool_maxsize = CONNECTIONS_MAX
    return settings


def _client(settings: Any) -> ApiClient:
    import urllib3
    from kubernetes.client import ApiClient

    if not settings.verify_ssl:
        log.warning("the certificate of %s is not checked: the kubeconfig says so", settings.host)
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if settings.refresh_api_key_hook is not None:
        settings.refresh_api_key_hook = _now_and_then(settings.refresh_api_key_hook)
    client = ApiClient(settings)
    client.user_agent = f"meshctl/{__version__}"
    return client


def _now_and_then(renew: Callable[[Any], None]) -> Callable[[Any], None]:
    """The official client looks before every request whether a token is about to end, which takes a third of the
    request's own time; tokens are renewed minutes before their end, so that a look a second is enough."""
    lock, looked_at = threading.Lock(), monotonic()

    def seldom(settings: Any) -> None:
        nonlocal looked_at
        with lock:
            if monotonic() - looked_at < LOOK_AT_TOKEN_S:
                return
            renew(settings)
            settings.refresh_api_key_hook = seldom
            looked_at = monotonic()

    return seldom
