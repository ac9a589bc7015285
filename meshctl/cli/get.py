"""``meshctl get``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meshctl.cli.output import output_option
from meshctl.cli.target import Target, pass_target, release_names
from meshctl.core.errors import InvalidInput

if TYPE_CHECKING:
    from meshctl.app.queries import Source


@click.command("get")
@click.argument("name", required=False, shell_complete=release_names)
@click.option("-w", "--watch", is_flag=True, help="Follow live until Ctrl-C; on a pipe one line per decision.")
@output_option
@pass_target
def get_command(target: Target, name: str | None, watch: bool, output: str) -> int:
    """Show all releases, or release NAME alone.

    With -w one release is drawn as a tree that follows every change: versions, stages, evidence, decisions.  On a
    pipe -w writes one line per decision: TIME NAME phase=.. stage=.. weight=.. reason=.. message=..

    \b
    Examples:
      meshctl get --local
      meshctl get shop --local -w
      meshctl get shop --local -o wide
      meshctl get shop --local -o jsonpath={.status.phase}
    """
    from meshctl.app.queries import release_view, release_views
    from meshctl.cli.output import print_releases, say, warn_without_controller
    from meshctl.wiring import system_clock

    if watch and output not in ("table", "wide"):
        raise InvalidInput(f"-w shows a picture or lines, not {output}", hint="Leave out -o, or ask again and again.")
    now, store = system_clock().now(), target.store
    warn_without_controller(target)
    if watch:
        _watch(store, name, wide=output == "wide")
        return 0
    views = (release_view(store, name, now=now),) if name else release_views(store, now=now)
    if not views and output in ("table", "wide"):
        say("there are no releases yet; create one with: meshctl apply -f FILE")
        return 0
    print_releases(views, output, single=name is not None)
    return 0


def _watch(source: Source, name: str | None, *, wide: bool) -> None:
    from meshctl.app.queries import release_view, release_views
    from meshctl.cli.output import console, table
    from meshctl.cli.tree import follow, live, watching
    from meshctl.wiring import system_clock

    now = system_clock().now
    try:
        if name:
            live(watching(source, lambda: release_view(source, name, now=now())), console())
        else:
            frames = watching(source, lambda: release_views(source, now=now()))
            follow(frames, console(), lambda views: table(views, wide=wide))
    except KeyboardInterrupt:
        return
