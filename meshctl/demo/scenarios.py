"""The demo's scenarios as data, and the Workload and Release that play them.

What differs from the product's own defaults is in `DIFFERENCES` and is said to whoever watches; alpha, beta,
tolerances, margins and harm are left as they are.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from meshctl.core.errors import InvalidInput
from meshctl.core.model import API_VERSION, Phase

NAME = "shop"
BASELINE = "1.0.0"
REPLICAS = 2
RPS = 600.0
BASELINE_S = 10.0
"""So long the baseline alone gets the load before the candidate is released."""

DWELL = ((1.0, "8s"), (10.0, "8s"), (50.0, "10s"), (80.0, "15s"), (100.0, "3s"))
DIFFERENCES = (
    "stages last at least 8/8/10/15/3 s, not 60/60/120/600/60 s: the demo's load is heavy enough to decide sooner",
    "warmUp is none, not auto: these replicas are as fast at their first request as at any later one",
    "readiness is asked every second and the judge looks every second, as always on one machine",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is wrong with the candidate, and how its run is to end.

    ``errors`` is the share of requests that fail; with ``late`` they fail only under load: as soon as a replica gets
    more than `late_threshold` requests a second, which happens at the 50 percent stage and not before.
    """

    name: str
    candidate: str
    expected: Phase
    errors: float = 0.0
    slow: float = 1.0
    late: bool = False

    def environment(self, rps: float, seed: int | None = None) -> dict[str, str]:
        """The environment of the candidate's replicas at a load of ``rps`` on the whole service."""
        environment = {} if seed is None else {"SEED": str(seed)}
        if self.errors:
            environment["ERRORS"] = f"{self.errors:g}"
        if self.late:
            environment["ERRORS_ABOVE_RPS"] = f"{late_threshold(rps):g}"
        if self.slow != 1.0:
            environment["SLOW"] = f"{self.slow:g}"
        return environment


def late_threshold(rps: float) -> float:
    """Requests a second of one replica that lie midway between the 10 and the 50 percent stage."""
    return round(rps * (0.10 + 0.50) / 2 / REPLICAS, 3)


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("good", "does the same as the baseline", Phase.PROMOTED),
        Scenario("errors", "fails 5 % of its requests", Phase.ROLLED_BACK, errors=0.05),
        Scenario("spike", "fails 30 % of its requests", Phase.ROLLED_BACK, errors=0.30),
        Scenario("slow", "takes twice as long", Phase.ROLLED_BACK, slow=2.0),
        Scenario("late", "fails 5 % once half the load is on it", Phase.ROLLED_BACK, errors=0.05, late=True),
    )
}
SHOW = ("good", "errors")
"""What is played, in this order, when no scenario is named."""


def plan(name: str | None, *, once: bool) -> tuple[Scenario, ...]:
    """The scenarios to play.  Raises `InvalidInput` for an unknown name, and for ``--once`` without one."""
    if name is None:
        if once:
            raise InvalidInput(
                "cannot run the demo: --once plays one scenario and none was named",
                hint=f"add --scenario with one of: {', '.join(SCENARIOS)}",
            )
        return tuple(SCENARIOS[shown] for shown in SHOW)
    if name not in SCENARIOS:
        near = difflib.get_close_matches(name, SCENARIOS, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise InvalidInput(
            f"cannot run the demo: there is no scenario {name!r}", hint=f"{meant}known are: {', '.join(SCENARIOS)}"
        )
    return (SCENARIOS[name],)


def candidate_version(position: int) -> str:
    """The version that the scenario at this place of the plan releases: 1.1.0, 1.2.0, ..."""
    return f"1.{position + 1}.0"


def workload(scenarios: tuple[Scenario, ...], rps: float, seed: int | None = None) -> dict[str, Any]:
    """The Workload object: the baseline and one version for each scenario, all started alike."""
    environments = {BASELINE: {} if seed is None else {"SEED": str(seed)}}
    for position, scenario in enumerate(scenarios):
        environments[candidate_version(position)] = scenario.environment(rps, seed)
    command = [sys.executable, "-m", "meshctl.demo.service"]
    return {
        "apiVersion": API_VERSION,
        "kind": "Workload",
        "metadata": {"name": NAME},
        "spec": {
            "listen": "127.0.0.1:0",
            "readiness": {"path": "/healthz", "interval": "1s", "timeout": "500ms", "failures": 2},
            "drain": "5s",
            "versions": {
                version: {"replicas": REPLICAS, "command": list(command), "env": environment}
                for version, environment in environments.items()
            },
        },
    }


def release(version: str) -> dict[str, Any]:
    """The Release object that wishes ``version``; without an slo, so that the comparison alone decides."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Release",
        "metadata": {"name": NAME},
        "spec": {
            "version": version,
            "service": NAME,
            "mesh": {
                "hosts": [NAME],
                "timeout": "2s",
                "retries": {"attempts": 2, "retryOn": "connect-failure,refused-stream,reset-before-request"},
            },
            "strategy": {
                "canary": {"stages": [{"weight": weight, "minDuration": dwell} for weight, dwell in DWELL]},
            },
            "analysis": {"warmUp": "none"},
        },
    }


def write_object(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write one object as the YAML file that a user would have written, whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(yaml.safe_dump(dict(manifest), sort_keys=False), encoding="utf-8")
    beside.replace(path)
