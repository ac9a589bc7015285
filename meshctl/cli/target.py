"""Which mesh a command acts on: an embedded folder or a cluster, only when told so, never by guessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import update_wrapper
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from meshctl.cli import config
from meshctl.core.errors import InvalidInput, UnknownTarget

if TYPE_CHECKING:
    from meshctl.app.commands import Applied
    from meshctl.core.advice.finding import Finding
    from meshctl.core.catalog import StateStore
    from meshctl.core.model import Release, Verb, Workload

DEFAULT_FOLDER = ".meshctl"

RELEASES_COMPLETED = 20
"""The runs of no more releases than this are offered to a shell: they have to be read first."""

F = TypeVar("F", bound=Callable[..., Any])


class Target(Protocol):
    """A mesh as commands use it: its records, and the way to whoever brings its releases further."""

    @property
    def store(self) -> StateStore:
        """The records of the folder, or of the one namespace that is meant.  Raises `UnknownTarget`."""
        ...

    @property
    def everywhere(self) -> bool:
        """Whether all namespaces of a cluster are meant."""
        ...

    @property
    def suffix(self) -> str:
        """What a command must end with to act on the same mesh."""
        ...

    def sources(self) -> Sequence[tuple[str, StateStore]]:
        """The records of each namespace that is meant, by its name; of a folder under no name."""
        ...

    def idle(self) -> str:
        """Why nothing moves by itself here, in words; empty where somebody brings releases further, or might."""
        ...

    def wishes(self, path: Path, *, create: bool = False) -> list[Release | Workload]:
        """What the manifests of a file or folder wish of this mesh, checked by all that it knows; nothing is stored.

        ``create``: a folder that is not there yet is made.  Raises `InvalidInput` and `Refused`.
        """
        ...

    def present(self, wish: Release | Workload) -> Release | Workload | None:
        """What is wished now under the same name."""
        ...

    def put(self, wishes: Sequence[Release | Workload]) -> Iterator[Applied]:
        """Store wishes that were checked."""
        ...

    def carry(self, applied: Sequence[Applied]) -> None:
        """Have what was stored looked at soon, and say so where nobody will."""
        ...

    def ask(self, name: str, verb: Verb, **fields: Any) -> str:
        """Store a request, have it served, and return the answer.

        Raises `Refused` with the words of whoever served it, and `Unreachable` when nobody did.
        """
        ...

    def look(self, path: Path | None, **options: Any) -> list[Finding]:
        """What lint finds in the manifests of a file or folder, for this mesh; without them in what is there already.

        ``options`` as of `meshctl.wiring.inspect_manifests`.
        """
        ...

    def changes(self, name: str | None, *, timeout_s: float | None = None) -> Iterator[None]:
        """Now, and after each change of a release (or of any), until the time is up."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """What the flags of a command say of its target."""

    local: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    namespace: str | None = None
    all_namespaces: bool = False

    @property
    def cluster(self) -> bool:
        return any((self.context, self.kubeconfig, self.namespace, self.all_namespaces))


def resolve(named: Named) -> Target:
    """The target of the flags; where they name none that of ``MESHCTL_*`` or a settings file, the nearest first.

    Raises `UnknownTarget` when nothing names one and `InvalidInput` when two are named in the same place.
    """
    if named.local and named.cluster:
        raise InvalidInput(
            "--local and a cluster are named at once", hint="Leave out one: --local, or --context, --kubeconfig, -n, -A"
        )
    if not named.local and not named.cluster:
        found = {each.setting.key: str(each.value) for each in config.nearest("local", "context")}
        named = Named(local=found.get("local"), context=found.get("context"))
    if named.local:
        from meshctl.cli.target_local import LocalTarget

        return LocalTarget(Path(named.local))
    if not named.cluster:
        raise UnknownTarget(
            "no target: on which mesh shall this be done?",
            hint="For the embedded mesh of this folder say --local, or --local=DIR; for a cluster --context NAME, or\n"
            "  -n NAMESPACE in the present context.  MESHCTL_LOCAL, MESHCTL_CONTEXT and the keys 'local' and\n"
            f"  'context' in {config.CONFIG_FILE} do the same.",
        )
    from meshctl.cli.target_cluster import ClusterTarget

    return ClusterTarget(
        context=config.value("context", flag=named.context),
        kubeconfig=config.value("kubeconfig", flag=named.kubeconfig),
        namespace=config.value("namespace", flag=named.namespace),
        everywhere=named.all_namespaces,
    )


def folder_of(local: str | None) -> Path:
    """The embedded folder that flag, variable or settings file names, whatever cluster they name; else the usual."""
    return Path(config.value("local", flag=local or None) or DEFAULT_FOLDER)


def need_cluster_libraries() -> None:
    """Raises `InvalidInput` where the libraries that speak to a cluster are not installed."""
    missing = [name for name in ("kubernetes", "msgspec", "stamina", "urllib3") if find_spec(name) is None]
    if missing:
        raise InvalidInput(
            f"a cluster needs {', '.join(missing)}, which this installation lacks",
            hint="Install it with: pip install 'meshctl-istio[cluster]'",
        )


# ------------------------------------------------------------------------------------ options


def local_option(command: F) -> F:
    """``--local[=DIR]``: without a value the folder ``.meshctl``."""
    option = click.option(
        "--local",
        is_flag=False,
        flag_value=DEFAULT_FOLDER,
        metavar="[DIR]",
        help=f"Act on the embedded mesh in DIR ({DEFAULT_FOLDER} when none is given).  Env: MESHCTL_LOCAL.",
    )
    return option(command)


def cluster_options(command: F) -> F:
    """``--context``, ``--kubeconfig``, ``-n``."""
    for option in (
        click.option("-n", "--namespace", metavar="NAME", help="The namespace in the cluster; else the context's."),
        click.option("--kubeconfig", metavar="FILE", help="The kubeconfig to use.  Env: KUBECONFIG."),
        click.option("--context", metavar="NAME", help="Act on the cluster of this context.  Env: MESHCTL_CONTEXT."),
    ):
        command = option(command)
    return command


def everywhere_option(command: F) -> F:
    """``-A``: every namespace of the cluster."""
    return click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces of the cluster.")(command)


def pass_target(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command the `Target` that its options, the environment or ``meshctl.toml`` names."""

    def invoke(*args: Any, **options: Any) -> Any:
        return command(resolve(taken(options)), *args, **options)

    return local_option(cluster_options(update_wrapper(invoke, command)))


def taken(options: dict[str, Any]) -> Named:
    """The flags of the target, taken out of a command's options."""
    return Named(**{each.name: options.pop(each.name) for each in fields(Named) if each.name in options})


def release_argument(command: F) -> F:
    """The argument NAME, a release; shells complete it."""
    return click.argument("name", shell_complete=release_names)(command)


def release_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of releases that begin like this, to be offered: where nothing names a target, those of the usual folder.

    Never an error: a shell that asks must not be shouted at.
    """
    try:
        return [name for store in _sources(context) for name in store.names() if name.startswith(incomplete)]
    except Exception:
        return []


def run_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of kept runs that begin like this; with many releases only once enough of one is there.  Never an error."""
    try:
        meant = [
            (store, name)
            for store in _sources(context)
            for name in store.names()
            if name.startswith(incomplete) or incomplete.startswith(f"{name}-")
        ]
        kept = [kept for store, name in meant if len(meant) <= RELEASES_COMPLETED for kept in store.runs(name)]
        return [each.run.name for each in kept if each.run.name.startswith(incomplete)]
    except Exception:
        return []


def release_and_run_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Both, where either may be meant."""
    return [*release_names(context, parameter, incomplete), *run_names(context, parameter, incomplete)]


def _sources(context: click.Context) -> list[StateStore]:
    """The stores that a command line being typed means."""
    try:
        target = resolve(taken(dict(context.params)))
    except Exception:
        target = resolve(Named(local=DEFAULT_FOLDER))
    return [store for _, store in target.sources()]
