"""Which mesh a command acts on: an embedded folder, only when told so, never by guessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshctl.cli import config
from meshctl.core.errors import UnknownTarget

if TYPE_CHECKING:
    from meshctl.wiring import EmbeddedPlace, StateStore

DEFAULT_FOLDER = ".meshctl"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Target:
    """An embedded folder: its store, and the way to its controller."""

    base: Path

    @cached_property
    def store(self) -> StateStore:
        """The folder's store.  Raises `UnknownTarget` when nothing was ever started there."""
        return self.embedded.store()

    @cached_property
    def embedded(self) -> EmbeddedPlace:
        from meshctl.wiring import EmbeddedPlace

        return EmbeddedPlace(self.base)


def resolve(local: str | None) -> Path:
    """The folder that was named by flag, ``MESHCTL_LOCAL`` or a settings file, in this order.

    Raises `UnknownTarget` when none of them names one.
    """
    named = config.value("local", flag=local or None)
    if not named:
        raise UnknownTarget(
            "no target: on which mesh shall this be done?",
            hint="For the embedded mesh of this folder say --local, or --local=DIR; MESHCTL_LOCAL and the key 'local' "
            f"in {config.CONFIG_FILE} do the same.",
        )
    return Path(named)


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


def pass_target(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command the `Target` that its ``--local`` option, the environment or ``meshctl.toml`` names."""

    def invoke(*args: Any, local: str | None, **kwargs: Any) -> Any:
        return command(Target(resolve(local)), *args, **kwargs)

    return local_option(update_wrapper(invoke, command))


def release_argument(command: F) -> F:
    """The argument NAME, a release; shells complete it."""
    return click.argument("name", shell_complete=release_names)(command)


def release_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of releases that begin like this, to be offered: where nothing names a folder, those of the usual one.

    Never an error: a shell that asks must not be shouted at.
    """
    try:
        base = resolve(context.params.get("local"))
    except Exception:
        base = Path(DEFAULT_FOLDER)
    try:
        return [name for name in Target(base).store.names() if name.startswith(incomplete)]
    except Exception:
        return []
