"""The command group, and how every way out becomes an exit code (design: objects.md)."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from meshctl import __version__
from meshctl.cli.config import Defaults
from meshctl.core.errors import Forbidden, MeshctlError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Show a release end to end: real Envoy, real processes, real requests."),
    "apply": ("wishes", "Store releases and workloads from files; a new version starts a run."),
    "diff": ("wishes", "Show what apply would change; exit 1 when anything would."),
    "render": ("render", "Print the mesh objects of a release at a given weight."),
    "install": ("install", "Print what a cluster needs: CRDs, rights, a controller or a CronJob."),
    "controller": ("controller", "Drive the releases of a cluster, until told to stop."),
    "tick": ("tick", "Look once at each release that moves: what a CronJob runs."),
    "local": ("local", "Run an embedded mesh on this machine: up, down, status, logs."),
    "get": ("get", "Show releases; -w follows one live."),
    "describe": ("describe", "Tell in plain words why a release stands where it stands."),
    "promote": ("requests", "Open a manual gate, or override an undecided judge with a reason."),
    "abort": ("requests", "Take the candidate to 0 % in one write, now."),
    "pause": ("requests", "Keep the weight as it is until resume."),
    "resume": ("requests", "Go on after a pause or a hold."),
    "retry": ("requests", "Try a rejected version again in a new run."),
    "rollback": ("requests", "Give all traffic back to the version before, while it is kept warm."),
    "set-weight": ("requests", "Set the candidate's weight by hand and pause there."),
    "history": ("history", "List the kept runs and how they ended, or every decision."),
    "replay": ("replay", "Derive the verdicts of a run once more and prove its record."),
    "export": ("history", "Write a run as one file that replay accepts anywhere."),
    "wait": ("wait", "Wait until a release is promoted or its run has ended."),
    "lint": ("lint", "Find what apply would refuse and what an engineer on call would ask about."),
    "judge": ("judge", "Compare two files of measurements, without any mesh."),
    "config": ("config_view", "Show the settings in force, and who set them."),
    "completion": ("completion", "Print the script that completes meshctl in bash, zsh or fish."),
    "version": ("version", "Print the versions of meshctl and of what it runs on."),
}
"""Command name -> (module of `meshctl.cli`, one line of help).  The line is here so that ``--help`` loads nothing."""

SECTIONS: dict[str, tuple[str, ...]] = {
    "Begin": ("demo", "local", "apply"),
    "See": ("get", "describe", "wait", "history"),
    "Decide": ("promote", "abort", "pause", "resume", "retry", "rollback", "set-weight"),
    "Run it in a cluster": ("install", "controller", "tick"),
    "Check beforehand": ("lint", "diff", "render", "judge"),
    "Prove afterwards": ("replay", "export"),
    "This program": ("config", "completion", "version"),
}
"""How ``--help`` lists the commands, by what a person wants to do."""

EXIT_CODES = """\b
Exit codes:
  0   done, promoted             12  wait timed out
  1   error; diff: differences   13  lost a race, try again
  2   usage or invalid input     14  controller or API not reachable
  10  rolled back                15  forbidden
  11  held or undecided          16  refused in this state
"""


class LazyGroup(click.Group):
    """Loads a command's module when it is used and offers the nearest name when there is no such command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"meshctl.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"  Did you mean {close[0]!r}?" if close else "  See: meshctl --help"
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), COMMANDS[name][1]) for name in names])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "default_map": Defaults()},
    epilog=EXIT_CODES,
)
@click.option("--no-color", is_flag=True, help="No colours; the variable NO_COLOR does the same.")
@click.version_option(__version__, prog_name="meshctl")
def group(no_color: bool) -> None:
    """Move production traffic from one version of a service to the next, only as far as the evidence allows.

    \b
    Start with:          meshctl demo
    Any command:         meshctl COMMAND --help
    Which mesh is meant: --local[=DIR] for the embedded one, --context NAME or -n NAMESPACE for a cluster;
                         or MESHCTL_LOCAL, MESHCTL_CONTEXT, or the keys local and context in meshctl.toml
    """
    if no_color:
        os.environ["NO_COLOR"] = "1"


def root(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors made for people are printed to stderr."""
    try:
        code = group.main(args=arguments, prog_name="meshctl", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except MeshctlError as error:
        click.echo(f"meshctl: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        click.echo(f"meshctl: {error.filename or 'the system'}: {error.strerror or error}", err=True)
        return Forbidden.exit_code if isinstance(error, PermissionError) else MeshctlError.exit_code
    return code if isinstance(code, int) else 0
