"""``meshctl get``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from meshctl.app.sums import Follower
from meshctl.app.views import ReleaseView
from meshctl.cli.output import output_option
from meshctl.cli.target import Target, everywhere_option, pass_target, release_names
from meshctl.core.errors import InvalidInput


@click.command("get")
@click.argument("name", required=False, shell_complete=release_names)
@click.option("-w", "--watch", is_flag=True, help="Follow live until Ctrl-C; on a pipe one line per decision.")
@output_option
@everywhere_option
@pass_target
def get_command(target: Target, name: str | None, watch: bool, output: str) -> int:
    """Show all releases, or release NAME alone.

    With -w one release is drawn as a tree that follows every change: versions, stages, evidence, decisions.  On a
    pipe -w writes one line per decision: TIME NAME phase=.. stage=.. weight=.. reason=.. message=..

    \b
    Examples:
      meshctl get --local
      meshctl get -A
      meshctl get shop -n shop -w
      meshctl get shop --local -o wide
      meshctl get shop -n shop -o jsonpath={.status.phase}
    """
    from meshctl.cli.output import print_releases, say, warn_where_nothing_moves
    from meshctl.wiring import system_clock

    if watch and output not in ("table", "wide"):
        raise InvalidInput(f"-w shows a picture or lines, not {output}", hint="Leave out -o, or ask again and again.")
    if name and target.everywhere:
        raise InvalidInput(f"get {name} -A: a release is looked for in one namespace", hint="Name it: -n NAMESPACE")
    views = _views(target, name, system_clock().now())
    warn_where_nothing_moves(target)
    if watch:
        _watch(target, name, wide=output == "wide")
        return 0
    if not views and output in ("table", "wide"):
        say("there are no releases yet; create one with: meshctl apply -f FILE")
        return 0
    print_releases(views, output, single=name is not None, everywhere=target.everywhere)
    return 0


def _views(target: Target, name: str | None, now: datetime, follower: Follower | None = None) -> Sequence[ReleaseView]:
    from meshctl.app.queries import release_view, release_views

    if name:
        return (release_view(target.store, name, now=now, follower=follower),)
    return tuple(view for _, source in target.sources() for view in release_views(source, now=now))


def _watch(target: Target, name: str | None, *, wide: bool) -> None:
    from meshctl.cli.output import console, table
    from meshctl.cli.tree import follow, live, watching
    from meshctl.wiring import system_clock

    now, follower = system_clock().now, Follower()
    frames = watching(target.changes(name), lambda: _views(target, name, now(), follower))
    try:
        if name:
            live((views[0] for views in frames), console())
        else:
            follow(frames, console(), lambda views: table(views, wide=wide, everywhere=target.everywhere))
    except KeyboardInterrupt:
        return
