"""``meshctl completion``: the script by which a shell asks meshctl itself what may come next."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_MESHCTL_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> int:
    """Print the script that teaches your SHELL to complete commands, options, names of releases and runs.

    Names are those of the folder that --local, MESHCTL_LOCAL or a settings file names, else of .meshctl; where no
    mesh was ever started none are offered.

    \b
    Examples:
      source <(meshctl completion bash)                                        # for this shell
      meshctl completion bash > ~/.local/share/bash-completion/completions/meshctl
      meshctl completion zsh > "${fpath[1]}/_meshctl"
      meshctl completion fish > ~/.config/fish/completions/meshctl.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "meshctl", VARIABLE).source())
    return 0
