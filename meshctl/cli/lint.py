"""``meshctl lint``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshctl.cli.target import Named, cluster_options, everywhere_option, local_option, resolve, taken
from meshctl.core.errors import InvalidInput, UnknownTarget

if TYPE_CHECKING:
    from meshctl.core.advice.finding import Finding


@click.command("lint")
@click.option(
    "-f",
    "--filename",
    "path",
    type=click.Path(path_type=Path, readable=False),
    help="A YAML file or a folder of them; without it the releases of a cluster.",
)
@click.option(
    "--template-dir",
    type=click.Path(path_type=Path, readable=False),
    help="Render with your own templates, instead of the built-in ones.",
)
@click.option("--rps", type=float, metavar="R", help="Requests a second of the service: forecast how long gates take.")
@click.option(
    "--error-rate",
    type=float,
    metavar="P",
    help="Share of requests that fails anyway, for the forecast; 0.001 when none is given.",
)
@click.option("--strict", is_flag=True, help="Exit 1 when there are warnings.")
@click.option(
    "-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)
@local_option
@everywhere_option
@cluster_options
def lint_command(
    path: Path | None,
    template_dir: Path | None,
    rps: float | None,
    error_rate: float | None,
    strict: bool,
    output: str,
    **target: Any,
) -> int:
    """Find what apply would refuse, and what an engineer on call would ask about; changes nothing, needs no mesh.

    All errors at once, each with file, line and column; then warnings, each with a rule's name, why it matters and
    what to do.  Templates are rendered at every stage's weight and checked as before an apply.  With --local, or a
    Workload among the files, what the embedded mesh cannot do is an error too.

    With a cluster (-n, -A, --context) the API server is asked whether it would take them, and what stands around them
    is looked at: missing subsets, hosts that two take, VirtualServices that shadow each other, who else writes the same
    objects.  Without -f the releases that are there already are looked at.  istioctl is asked where it is installed.

    With --rps it is forecast how long each gate takes for a version as good as the old one.

    \b
    A rule that does not fit is silenced in the object itself:
      metadata: {name: shop, annotations: {meshctl.dev/lint-ignore: "bake-short, no-slo"}}
    docs/lint.md lists the rules.

    \b
    Exit code: 0 no errors, 1 warnings with --strict, 2 errors.
    Examples:
      meshctl lint -f release.yaml
      meshctl lint -f examples/local-shop --rps 50 --error-rate 0.002
      meshctl lint -f deploy/ --template-dir templates --strict -o json
      meshctl lint -f release.yaml -n shop
      meshctl lint -A --strict
    """
    if rps is not None and not 0 < rps < 1e9:
        raise InvalidInput(f"--rps {rps:g}: must be above 0")
    if error_rate is not None and not 0 < error_rate < 1:
        raise InvalidInput(f"--error-rate {error_rate:g}: must lie between 0 and 1, for instance 0.001")
    found = _findings(path, taken(target), template_dir, None if rps is None else (rps, error_rate))
    counts = {severity: sum(1 for each in found if each.severity == severity) for severity in ("error", "warning")}
    if output == "json":
        click.echo(json.dumps({"kind": "LintResult", **_plural(counts), "findings": [asdict(f) for f in found]}))
    else:
        _print(found, counts, path)
    return 2 if counts["error"] else 1 if strict and counts["warning"] else 0


def _findings(
    path: Path | None, named: Named, template_dir: Path | None, traffic: tuple[float, float | None] | None
) -> list[Finding]:
    from meshctl.wiring import inspect_manifests

    try:
        target = resolve(named)
    except UnknownTarget:
        if path is None:
            raise
        look = inspect_manifests(path, known=(), embedded=False, template_dir=template_dir, traffic=traffic)
        return list(look.findings)
    return target.look(path, template_dir=template_dir, traffic=traffic)


def _plural(counts: dict[str, int]) -> dict[str, int]:
    return {f"{severity}s": number for severity, number in counts.items()}


def _print(found: Sequence[Finding], counts: dict[str, int], path: Path | None) -> None:
    for each in found:
        field = f"{each.field}: " if each.field else ""
        click.echo(f"{each.file}:{each.line}:{each.column}: {each.severity} {each.rule}: {field}{each.message}")
        if each.hint:
            click.echo(f"    {each.hint}")
    words = [f"{number} {severity}{'' if number == 1 else 's'}" for severity, number in counts.items() if number]
    click.echo(f"meshctl: {path or 'lint'}: {' and '.join(words) or 'nothing to complain about'}", err=True)
