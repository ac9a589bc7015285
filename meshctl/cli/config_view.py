"""``meshctl config``: which settings are in force, and who set them."""

from __future__ import annotations

import json

import click

from meshctl.cli import config
from meshctl.cli.target import cluster_options, local_option


@click.group("config")
def config_command() -> None:
    """Look at the settings that commands take their defaults from.

    \b
    The first that names a value wins:
      1. the flag of the command                       --template-dir ours
      2. the environment, MESHCTL_ and the key         MESHCTL_TEMPLATE_DIR=ours
      3. meshctl.toml in the folder you stand in       template_dir = "ours"
      4. your own file, the same keys                  ~/.config/meshctl/config.toml
      5. the default

    The fourth lies in XDG_CONFIG_HOME when that is set.  A key that does not exist is an error with the nearest
    name.

    \b
    Example:
      meshctl config view --show-origin
    """


@config_command.command("view")
@click.option("--show-origin", is_flag=True, help="Say for each value where it was found: flag, variable, file:line.")
@click.option(
    "-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)
@local_option
@cluster_options
def view_command(show_origin: bool, output: str, **target: str | None) -> int:
    """Print every setting with the value that is in force here; secrets as ***.

    Global flags count: meshctl --no-color config view --show-origin says so.  docs/config.md explains each key.

    \b
    Exit code: 0; 2 when a file is no TOML, holds an unknown key or a value of the wrong kind.
    Examples:
      meshctl config view
      meshctl config view --show-origin
      MESHCTL_LOCAL=staging meshctl config view --show-origin -o json
    """
    no_color = bool(click.get_current_context().find_root().params.get("no_color"))
    flags = {key: (target[key] or None, f"--{key}") for key in ("local", "context", "kubeconfig", "namespace")}
    flags |= {"color": ("never" if no_color else None, "--no-color")}
    rows = []
    for setting in config.SETTINGS:
        flag, name = flags.get(setting.key, (None, ""))
        found = config.resolve(setting.key, flag=flag, flag_name=name)
        rows.append((setting.key, setting.shown(found.value), found.origin))
    for name, meant in config.near_misses():
        click.echo(f"meshctl: the variable {name} is no setting; did you mean {meant}?", err=True)
    if output == "json":
        click.echo(json.dumps({key: _object(shown, origin, show_origin) for key, shown, origin in rows}, indent=2))
        return 0
    width = max(len(key) for key, _, _ in rows)
    values = max(len(_text(shown)) for _, shown, _ in rows)
    for key, shown, origin in rows:
        line = f"{key:{width}}  {_text(shown):{values}}" + (f"  {origin}" if show_origin else "")
        click.echo(line.rstrip())
    return 0


def _object(shown: str | float | None, origin: str, show_origin: bool) -> object:
    return {"value": shown, "origin": origin} if show_origin else shown


def _text(shown: str | float | None) -> str:
    return "-" if shown is None else f"{shown:g}" if isinstance(shown, float) else shown
