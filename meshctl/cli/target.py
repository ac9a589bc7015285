"""Which mesh a command acts on: an embedded folder, only when told so, never by guessing."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshctl.core.errors import InvalidInput, UnknownTarget

if TYPE_CHECKING:
    from meshctl.wiring import EmbeddedPlace, StateStore

DEFAULT_FOLDER = ".meshctl"
CONFIG_FILE = "meshctl.toml"
SETTINGS = ("local",)

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
    """The folder that was named by flag, ``MESHCTL_LOCAL`` or ``meshctl.toml``, in this order.

    Raises `UnknownTarget` when none of them names one.
    """
    named = local or os.environ.get("MESHCTL_LOCAL") or _from_config()
    if not named:
        raise UnknownTarget(
            "no target: on which mesh shall this be done?",
            hint="For the embedded mesh of this folder say --local, or --local=DIR; MESHCTL_LOCAL and the key 'local' "
            f"in {CONFIG_FILE} do the same.",
        )
    return Path(named)


def _from_config() -> str | None:
    path = Path(CONFIG_FILE)
    if not path.exists():
        return None
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput(f"{path}: is not TOML: {error}") from error
    for key in settings:
        if key not in SETTINGS:
            near = difflib.get_close_matches(key, SETTINGS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Allowed: {', '.join(SETTINGS)}."
            raise InvalidInput(f"{path}: unknown setting {key!r}", hint=hint)
    found = settings.get("local")
    if found is not None and not isinstance(found, str):
        raise InvalidInput(f"{path}: local: expected a folder as text, found {found!r}")
    return found


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
