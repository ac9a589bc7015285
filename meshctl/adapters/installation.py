"""What a cluster needs to run meshctl, as text of manifests from ``templates/install``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from meshctl import __version__
from meshctl.adapters.template_engine import Engine, Failure
from meshctl.adapters.template_set import packaged_templates
from meshctl.core.errors import InvalidInput, TemplateError

FOLDER = "install"
IMAGE = f"meshctl:{__version__}"
NAMESPACE = "meshctl-system"
API_PORTS = (443, 6443)
"""Where API servers listen, as pods reach them."""

_USUAL_PORTS = {"http": 80, "https": 443}


class Mode(StrEnum):
    """What drives releases: a program that stays, or one that begins once a minute."""

    CONTROLLER = "controller"
    CRONJOB = "cronjob"


class Crds(StrEnum):
    """Whether the definitions of the kinds are printed: they belong to the whole cluster, all else need not."""

    WITH = "with"
    WITHOUT = "without"
    ONLY = "only"


@dataclass(frozen=True, slots=True)
class Installation:
    """``namespaced``: meshctl acts in ``namespace`` only, which is there already, and needs no right beyond it.

    ``settings`` are the operator's, by the name of their variable.
    """

    mode: Mode = Mode.CONTROLLER
    namespaced: bool = False
    namespace: str = NAMESPACE
    image: str = IMAGE
    replicas: int = 2
    crds: Crds = Crds.WITH
    settings: Mapping[str, str] = field(default_factory=dict)


def manifests(installation: Installation) -> str:
    """All documents of an installation, in the order in which they are to be applied."""
    root = packaged_templates()
    sources = {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in (root / FOLDER).glob("*.j2")}
    engine, context = Engine(sources), _context(installation)
    parts = []
    if installation.crds is not Crds.WITHOUT:
        parts.append((root / FOLDER / "crds.yaml").read_text("utf-8"))
    if installation.crds is not Crds.ONLY:
        parts += [_rendered(engine, f"{FOLDER}/{name}.yaml.j2", context) for name in _files(installation)]
    return "---\n".join(part.removeprefix("---\n").rstrip("\n") + "\n" for part in parts)


def _files(installation: Installation) -> Iterator[str]:
    if not installation.namespaced:
        yield "namespace"
    yield from ("serviceaccount", "rbac", "users")
    yield "deployment" if installation.mode is Mode.CONTROLLER else "cronjob"
    yield "networkpolicy"


def _rendered(engine: Engine, template: str, context: Mapping[str, object]) -> str:
    try:
        return engine.render(template, context)
    except Failure as failure:
        raise TemplateError(f"{failure.template}:{failure.line}: {failure.problem}") from failure


def _context(installation: Installation) -> dict[str, object]:
    controller = installation.mode is Mode.CONTROLLER
    return {
        "mode": installation.mode.value,
        "namespaced": installation.namespaced,
        "namespace": installation.namespace,
        "image": installation.image,
        "replicas": installation.replicas,
        "settings": dict(installation.settings),
        "scope": [] if installation.namespaced else ["-A"],
        "role_kind": "Role" if installation.namespaced else "ClusterRole",
        "watch": ", watch" if controller else "",
        "ports": sorted({*API_PORTS, *_ports(installation.settings)}),
    }


def _ports(settings: Mapping[str, str]) -> Iterator[int]:
    """The ports that the settings make meshctl call."""
    for name in ("MESHCTL_PROMETHEUS_URL", "MESHCTL_ISTIOD_URL"):
        if url := settings.get(name):
            yield _port(name, url)
    for host in filter(None, settings.get("MESHCTL_HOOK_HOSTS", "").split(",")):
        number = host.rpartition(":")[2]
        yield from [int(number)] if number.isdigit() else _USUAL_PORTS.values()


def _port(name: str, url: str) -> int:
    try:
        parts = urlsplit(url)
        port = parts.port or _USUAL_PORTS.get(parts.scheme)
    except ValueError:
        port = None
    if not port:
        raise InvalidInput(f"{name}: {url!r} is no address", hint="Such as http://prometheus.istio-system:9090")
    return port
