"""``meshctl wait``."""

from __future__ import annotations

from datetime import timedelta

import click

from meshctl.cli.target import Target, pass_target, release_argument
from meshctl.core.errors import InvalidInput
from meshctl.core.model import Run

TIMED_OUT = 12


@click.command("wait")
@release_argument
@click.option(
    "--for",
    "goal",
    type=click.Choice(["promoted", "ended"]),
    default="promoted",
    show_default=True,
    help="What to wait for: promoted, or an end of either kind.",
)
@click.option("--timeout", default="1h", show_default=True, metavar="DURATION", help="For instance 90s or 30m.")
@pass_target
def wait_command(target: Target, name: str, goal: str, timeout: str) -> int:
    """Wait until release NAME is promoted, or until its run has ended either way.

    A hold that ends by itself (no metrics, no traffic) is waited out.  The last line says how the run stands.

    \b
    Exit code: 0 promoted; with --for ended also when rolled back
               10 rolled back
               11 held, and only a person can lead on
               12 timed out; the run goes on all the same
    Examples:
      meshctl apply -f release.yaml --local && meshctl wait shop --local
      meshctl wait shop --local --for promoted --timeout 30m || page-somebody
      meshctl wait shop --local --for ended
    """
    from meshctl.app.commands import end_of, is_answered
    from meshctl.cli.output import warn_where_nothing_moves
    from meshctl.wiring import parse_duration

    limit: timedelta = parse_duration(timeout)
    if limit <= timedelta(0):
        raise InvalidInput(f"--timeout {timeout}: must be longer than nothing")
    store = target.store
    warn_where_nothing_moves(target)
    for _ in target.changes(name, timeout_s=limit.total_seconds()):
        stored = store.load(name)
        code = end_of(stored.state) if is_answered(stored) else None
        if code is not None:
            run = stored.state.run
            assert run is not None
            click.echo(f"{run.name} {run.phase} {run.reason or ''}: {run.message}")
            return 0 if goal == "ended" and code == 10 else code
    run = store.load(name).state.run
    click.echo(f"{name} is still on its way after {timeout}: waits for {_waits_for(run)}", err=True)
    return TIMED_OUT


def _waits_for(run: Run | None) -> str:
    return "the controller" if run is None else run.waits_for
