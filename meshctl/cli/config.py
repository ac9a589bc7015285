"""Where settings come from: a flag, ``MESHCTL_*``, ``meshctl.toml`` here, the user's own file, the default.

The first of them that names a value wins.  Files are read when a command needs a setting, never before: a broken file
must not keep anybody from an ``abort --local=DIR``.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from meshctl.core.errors import InvalidInput

CONFIG_FILE = "meshctl.toml"
PREFIX = "MESHCTL_"
DEFAULT_ORIGIN = "default"
HIDDEN = "***"

Command = tuple[str, ...]
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class Setting:
    """One key.  ``used_by`` are the commands whose option of the same name it gives a default to."""

    key: str
    help: str
    default: str | float | None = None
    kind: type[str] | type[float] = str
    allowed: tuple[str, ...] = ()
    path: bool = False
    secret: bool = False
    used_by: tuple[Command, ...] = ()

    @property
    def variable(self) -> str:
        return PREFIX + self.key.upper()

    def read(self, value: Any, origin: str) -> str | float:
        """The value with its type.  Raises `InvalidInput` that names where it was found."""
        try:
            if self.kind is float and not isinstance(value, bool):
                return float(value)
        except (TypeError, ValueError):
            pass
        if self.kind is float or not isinstance(value, str) or not value:
            wanted = "a number" if self.kind is float else "text"
            raise InvalidInput(f"{origin}: {self.key}: must be {wanted}, found {self._quoted(value)}")
        if self.allowed and value not in self.allowed:
            close = difflib.get_close_matches(value, self.allowed, n=1)
            guess = f"Did you mean {close[0]!r}?  " if close else ""
            raise InvalidInput(
                f"{origin}: {self.key}: there is no {value!r}", hint=f"{guess}Allowed: {', '.join(self.allowed)}."
            )
        return str(Path(value).expanduser()) if self.path else value

    def shown(self, value: str | float | None) -> str | float | None:
        """The value for people's eyes: what is secret is hidden, and so is what stands before ``@`` in an address."""
        if self.secret and value is not None:
            return HIDDEN
        return _USERINFO.sub(HIDDEN, value) if isinstance(value, str) else value

    def _quoted(self, value: Any) -> str:
        return HIDDEN if self.secret else repr(value)


_UP = ("local", "up")
_DRIVERS: tuple[Command, ...] = (("controller",), ("tick",))
_OPERATED = (*_DRIVERS, ("install",))

_OPERATOR: tuple[tuple[str, str, str | None], ...] = (
    ("prometheus_url", "Where the metrics of the mesh are: Prometheus, Thanos or Mimir.", None),
    ("prometheus_token_file", "The file with the bearer token for Prometheus, read anew for each question.", None),
    ("prometheus_username", "The user for Prometheus, beside prometheus_password_file.", None),
    ("prometheus_password_file", "The file with that user's password.", None),
    ("prometheus_headers", "Headers for Prometheus, as NAME=VALUE,..: X-Scope-OrgID=shop.", None),
    ("prometheus_ca_file", "The certificates that Prometheus is trusted by, instead of the machine's.", None),
    ("prometheus_matchers", "Labels that narrow every query, as NAME=VALUE,..: cluster=prod.", None),
    ("prometheus_scrape_interval", "How often Prometheus reads the proxies.", "5s"),
    ("prometheus_reporter", "Whose counters are read: source, destination or waypoint.", "source"),
    ("prometheus_version_label", "The label of the metrics that names the version.", "destination_version"),
    ("prometheus_proxy_labels", "The labels that tell one proxy from another.", "cluster,namespace,pod"),
    (
        "prometheus_namespace_label",
        "The label that releases' own metrics are confined to their namespace by; - for none.",
        "namespace",
    ),
    ("istiod_url", "istiod's debug interface, which tells what each proxy has acknowledged; - for none.", None),
    ("istiod_token_file", "The file with a token for istiod (audience istio-ca).", None),
    (
        "host_suffixes",
        "Names outside of the cluster that releases may route, with all below: example.com,..",
        None,
    ),
    ("gateways", "Gateways that releases may bind to, as NAMESPACE/NAME,.. with * for any.", "*/*"),
    ("cluster_domain", "The domain of the cluster's own names.", "cluster.local"),
    ("hook_hosts", "Hosts that hooks may call, as HOST[:PORT],..; no others, and none when nothing is said.", None),
    ("hook_secrets", "Secrets that hooks may send, each to one host: VARIABLE@HOST,/FILE@HOST,..", None),
)
"""What the operator of a cluster says: key, help, default."""

SETTINGS: tuple[Setting, ...] = (
    Setting("local", "The folder of the embedded mesh that commands act on.", path=True),
    Setting("context", "The context of the kubeconfig whose cluster commands act on."),
    Setting("kubeconfig", "The kubeconfig, instead of KUBECONFIG and ~/.kube/config.", path=True),
    Setting("namespace", "The namespace in the cluster, instead of the context's."),
    Setting(
        "output",
        "How get prints.",
        default="table",
        allowed=("table", "wide", "name", "json", "yaml"),
        used_by=(("get",),),
    ),
    Setting(
        "color", "never: no colours, as NO_COLOR and --no-color say it.", default="auto", allowed=("auto", "never")
    ),
    Setting(
        "template_dir",
        "Your own templates, instead of the built-in ones.",
        path=True,
        used_by=(_UP, *_DRIVERS, ("render",), ("lint",)),
    ),
    Setting("envoy", "The Envoy binary that local up runs.", path=True, used_by=(_UP,)),
    Setting(
        "log_format", "How the controller logs.", default="text", allowed=("text", "json"), used_by=(_UP, *_DRIVERS)
    ),
    Setting(
        "metrics",
        "[HOST:]PORT where the controller serves /metrics, /healthz and /readyz.",
        used_by=(_UP, ("controller",)),
    ),
    Setting(
        "webhook_url",
        "Where the controller posts every decided event; hidden, it may hold a secret.",
        secret=True,
        used_by=(_UP, *_DRIVERS),
    ),
    Setting(
        "webhook_secret_file",
        "The file with the secret that signs these events.",
        path=True,
        used_by=(_UP, *_DRIVERS),
    ),
    Setting(
        "webhook_secret_env",
        "The environment variable with that secret, instead of a file.",
        used_by=(_UP, *_DRIVERS),
    ),
    *(Setting(key, text, default=default, used_by=_OPERATED) for key, text, default in _OPERATOR),
    Setting("rps", "Requests a second of the service, for the forecast of lint.", kind=float, used_by=(("lint",),)),
    Setting("error_rate", "Share of requests that fails anyway, for that forecast.", kind=float, used_by=(("lint",),)),
)
BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Resolved:
    """A setting's value and who named it."""

    setting: Setting
    value: str | float | None
    origin: str


def user_file() -> Path:
    """The user's own file, by the rules of the XDG base directories."""
    home = os.environ.get("XDG_CONFIG_HOME") or ""
    folder = Path(home) if os.path.isabs(home) else Path("~/.config").expanduser()
    return folder / "meshctl" / "config.toml"


def resolve(key: str, *, flag: str | None = None, flag_name: str = "") -> Resolved:
    """The value of one setting and its origin.  Files are read only where flag and environment are silent.

    Raises `InvalidInput` for a file that is no TOML, holds an unknown key or a value of the wrong kind.
    """
    setting = BY_KEY[key]
    if flag is not None:
        return Resolved(setting, flag, f"flag {flag_name or '--' + key.replace('_', '-')}")
    named = os.environ.get(setting.variable)
    if named:
        return Resolved(setting, setting.read(named, setting.variable), f"environment {setting.variable}")
    for file in (Path(CONFIG_FILE), user_file()):
        found = _read(file)
        if key in found:
            return Resolved(setting, *found[key])
    return Resolved(setting, setting.default, DEFAULT_ORIGIN)


def nearest(*keys: str) -> list[Resolved]:
    """The one of several settings that is named in the nearest place: environment, this folder, the user's own file.

    At most one.  Raises `InvalidInput` when two of them are named in the same place.
    """
    for place in _places(keys):
        if len(place) > 1:
            named = " and ".join(f"{key} ({where})" for key, where in place)
            raise InvalidInput(f"{named} are named at once", hint="Take out one of them, or say it with a flag.")
        if place:
            return [resolve(place[0][0])]
    return []


def _places(keys: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
    yield [(key, BY_KEY[key].variable) for key in keys if os.environ.get(BY_KEY[key].variable)]
    for file in (Path(CONFIG_FILE), user_file()):
        found = _read(file)
        yield [(key, str(file)) for key in keys if key in found]


def value(key: str, *, flag: str | None = None) -> Any:
    """As `resolve`, the value alone."""
    return resolve(key, flag=flag).value


def near_misses() -> Iterator[tuple[str, str]]:
    """Variables that look like a setting but are none, with what was probably meant."""
    known = [setting.variable for setting in SETTINGS]
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if close:
                yield name, close[0]


def _read(path: Path) -> dict[str, tuple[str | float, str]]:
    """Every key of a file with its value and place; a file that is not there holds none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: is not UTF-8 text") from error
    try:
        data = tomllib.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{path}: is not TOML: {error}") from error
    found = {}
    for key, raw in data.items():
        place = f"{path}:{_line(text, key)}"
        if key not in BY_KEY:
            close = difflib.get_close_matches(key.replace("-", "_"), BY_KEY, n=1)
            guess = f"Did you mean {close[0]!r}?" if close else f"Allowed: {', '.join(BY_KEY)}."
            raise InvalidInput(f"{place}: unknown setting {key!r}", hint=guess)
        found[key] = (BY_KEY[key].read(raw, place), place)
    return found


def _line(text: str, key: str) -> int:
    """Where a key of the top level, or its table, stands; tomllib does not tell."""
    begins = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    return next((number for number, line in enumerate(text.splitlines(), 1) if begins.match(line)), 1)


class Defaults(dict[str, Any]):
    """click's ``default_map``: looks a setting up when a command asks for the default of its option."""

    def __init__(self, command: Command = ()) -> None:
        super().__init__()
        self._command = command

    def __contains__(self, name: object) -> bool:
        return self._find(str(name)) is not None

    def __getitem__(self, name: str) -> Any:
        return self._find(name)

    def get(self, name: str, default: Any = None) -> Any:
        found = self._find(name)
        return default if found is None else found

    def _find(self, name: str) -> Any:
        deeper = (*self._command, name)
        if any(use[: len(deeper)] == deeper for setting in SETTINGS for use in setting.used_by):
            return Defaults(deeper)
        setting = BY_KEY.get(name)
        if setting is None or self._command not in setting.used_by:
            return None
        try:
            found = resolve(name)
        except InvalidInput:
            context = click.get_current_context(silent=True)
            if context is not None and context.resilient_parsing:  # help and completion work with a broken file too
                return None
            raise
        return None if found.origin == DEFAULT_ORIGIN else found.value
