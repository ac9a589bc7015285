"""What commands print: tables for people, JSON and YAML for scripts, data to stdout and words to stderr."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from meshctl.app.views import ReleaseView
from meshctl.app.words import span, weight
from meshctl.cli import config
from meshctl.cli.target import Target
from meshctl.core.errors import InvalidInput
from meshctl.core.model import API_VERSION, Verdict
from meshctl.core.plaintext import plain, plain_json
from meshctl.core.status import as_data

if TYPE_CHECKING:
    from rich.console import Console

JSONPATH = "jsonpath="
FORMATS = ("table", "wide", "name", "json", "yaml")

GLYPHS = {
    "Pending": "○",
    "Progressing": "◐",
    "Paused": "‖",
    "Held": "▲",
    "Promoted": "✔",
    "RolledBack": "✖",
}
"""A sign for every phase, so that colour is never alone; the word stands beside it."""

COLOURS = {
    "Pending": "dim",
    "Progressing": "cyan",
    "Paused": "yellow",
    "Held": "yellow",
    "Promoted": "green",
    "RolledBack": "red",
}


def output_option(command: Any) -> Any:
    """``-o table|wide|name|json|yaml|jsonpath=PATH``."""
    option = click.option(
        "-o",
        "--output",
        type=_Format(),
        default="table",
        show_default=True,
        help="table, wide, name, json, yaml or jsonpath=PATH; scripts should read the last three only.",
    )
    return option(command)


class _Format(click.ParamType[str]):
    """One of `FORMATS`, or a JSONPath as kubectl writes it: ``jsonpath={.status.phase}``."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if text not in FORMATS and not text.startswith(JSONPATH):
            close = difflib.get_close_matches(text, FORMATS, n=1)
            near = f"; did you mean {close[0]!r}?" if close else ""
            self.fail(f"{text!r} is none of {', '.join(FORMATS)}, jsonpath=PATH{near}", param, ctx)
        return text


def console(file: TextIO | None = None) -> Console:
    """A console on stdout.  ``NO_COLOR``, ``TERM=dumb`` and the setting ``color`` are heeded.

    A pipe gets no colours and no width limit.
    """
    from rich.console import Console

    never = True if config.value("color") == "never" else None
    found = Console(
        file=file or sys.stdout, highlight=False, emoji=False, markup=False, soft_wrap=False, no_color=never
    )
    if not found.is_terminal:
        found.width = 100
    return found


def say(message: str) -> None:
    """A word to the person, on stderr."""
    click.echo(f"meshctl: {message}", err=True)


def warn_where_nothing_moves(target: Target) -> None:
    """Say so where nobody brings anything further: a picture that stands still would look like a calm one."""
    if reason := target.idle():
        say(reason)


def print_releases(views: Sequence[ReleaseView], output: str, *, single: bool, everywhere: bool = False) -> None:
    """Print releases as ``output`` says; ``single`` prints one object instead of a list, ``everywhere`` says in which
    namespace each is."""
    if output == "name":
        for view in views:
            click.echo(f"release/{view.name}")
    elif output in ("json", "yaml") or output.startswith(JSONPATH):
        objects = [release_data(view) for view in views]
        data = objects[0] if single else release_list(objects)
        text = picked(data, output.removeprefix(JSONPATH)) if output.startswith(JSONPATH) else encoded(data, output)
        click.echo(text, nl=False)
    else:
        click.echo(table(views, wide=output == "wide", everywhere=everywhere), nl=False)


def encoded(data: Any, output: str) -> str:
    """Plain data as JSON or YAML text with its last newline."""
    if output == "json":
        return plain_json(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"
    import yaml

    return yaml.dump(data, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True, width=120)


def picked(data: Any, path: str) -> str:
    """What a JSONPath finds, separated by spaces: text as it is, anything else as JSON.

    Braces and a missing ``$`` are as kubectl has them.  Raises `InvalidInput` for a path that is none.
    """
    import jsonpath

    bare = path.strip().removeprefix("{").removesuffix("}")
    try:
        found = jsonpath.findall(bare if bare.startswith("$") else f"${bare}", data)
    except jsonpath.JSONPathError as error:
        raise InvalidInput(f"-o jsonpath={path}: {error}", hint="For instance: -o jsonpath={.status.phase}") from error
    return " ".join(_shown(each) for each in found) + "\n"


def _shown(value: Any) -> str:
    """Text line by line, without anything that steers a terminal; other values as JSON."""
    return "\n".join(plain(line) for line in value.split("\n")) if isinstance(value, str) else json.dumps(value)


def release_data(view: ReleaseView) -> dict[str, Any]:
    """A release with its status as a Kubernetes client would show it."""
    import yaml

    from meshctl.wiring import wish_as_yaml

    wish = yaml.safe_load(wish_as_yaml(view.release))
    metadata = wish["metadata"] | {"generation": view.release.metadata.generation}
    head = {"apiVersion": wish["apiVersion"], "kind": wish["kind"], "metadata": metadata}
    return head | {"spec": wish["spec"], "status": as_data(view.status)}


def release_list(objects: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several releases as one object."""
    return {"apiVersion": API_VERSION, "kind": "ReleaseList", "items": list(objects)}


# ------------------------------------------------------------------------------------ the table

_COLUMNS = ("NAME", "PHASE", "VERSION", "STAGE", "WEIGHT", "VERDICT", "REASON")
_WIDE = ("BASELINE", "IN EFFECT", "EVIDENCE", "RUN", "FOR", "WAITS FOR")


def table(views: Sequence[ReleaseView], *, wide: bool = False, everywhere: bool = False) -> str:
    """Releases as columns that ``awk`` can read: no value but the last holds two spaces in a row."""
    rows = [("NAMESPACE",) * everywhere + _COLUMNS + (_WIDE if wide else ())]
    for view in views:
        cells = (view.release.metadata.namespace,) * everywhere + row(view, wide=wide)
        rows.append(tuple(text or "-" for text in cells))
    widths = [max(len(cells[index]) for cells in rows) for index in range(len(rows[0]))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


def row(view: ReleaseView, *, wide: bool = False) -> tuple[str, ...]:
    """The cells of one release."""
    status = view.status
    cells = (
        view.name,
        status.phase.value,
        status.candidate or view.release.spec.version,
        stage_of(view),
        weight(status.weight),
        "" if status.verdict is Verdict.UNDECIDED and status.stage is None else status.verdict.value,
        status.reason.value if status.reason else "",
    )
    if not wide:
        return cells
    evidence = "" if view.abort is None else f"{100 * view.abort.share:.0f}%"
    if view.gate is not None:
        evidence += f"/{100 * view.gate.share:.0f}%"
    since = "" if view.run is None or view.moment is None else span(view.moment - view.run.started_at)
    rest = (status.baseline or "", weight(status.confirmed), evidence, status.run or "", since, view.waits_for)
    return cells + rest


def stage_of(view: ReleaseView) -> str:
    """``2/5``, counted from 1; nothing before the first traffic."""
    if view.status.stage is None:
        return ""
    return f"{view.status.stage + 1}/{len(view.stages)}"
