"""Put the newest results into ``RESULTS.md``.

python bench/report.py
"""

from __future__ import annotations

import cluster_effect
import demo
import faults
import peers_report
import releases
import scale
from common import HERE, machine, rows, table


def newest(name: str, key: str) -> list[dict[str, object]]:
    """The last row of each value of ``key``."""
    found = {row[key]: row for row in rows(name)}
    return list(found.values())


def text() -> str:
    startup = rows("startup")[-1:]
    parts = [
        "# Results",
        f"Machine: {machine()}; it is shared, so a figure moves by a tenth or so from run to run.",
        "## Start-up: `python bench/startup.py`",
        table(
            ("what", "measured", "budget", "date"),
            [("`meshctl --help`", f"{r['ms']} ms, {r['MiB']} MiB", "150 ms, 35 MiB", r["time"]) for r in startup],
        ),
        "## One tick without a network: `python bench/decision.py`",
        table(
            ("what", "median ms", "95th percentile ms", "budget ms", "date"),
            [
                (r["what"], r["medianMs"], r["p95Ms"], r["budgetMs"] or "-", r["time"])
                for r in newest("decision", "what")
            ],
        ),
        "## Weight change to effect in Envoy: `python bench/effect.py`",
        table(
            ("what", "median ms", "95th percentile ms", "budget ms", "date"),
            [(r["what"], r["medianMs"], r["p95Ms"], r["budgetMs"] or "-", r["time"]) for r in newest("effect", "what")],
        ),
        "## The demo, seen by its users: `python bench/demo.py`",
        "Failed requests are counted by the load generator; `by mesh` are failures that the service did not write.",
        demo.report(),
        "## The demo with faults: `python bench/faults.py`",
        "Each row is one demo in which something goes wrong; `by mesh` are the failures that meshctl must never cause.",
        faults.report(),
        "## Many releases under one controller: `python bench/scale.py`",
        scale.report(),
        "## Thousands of releases in a cluster: `python bench/releases.py`",
        "Real etcd and API server, the controller as it is installed; nothing behind the routes.",
        releases.report(),
        "## One reading of the metrics, two new blocks: `python bench/prometheus.py`",
        "From a real Prometheus that scrapes a made-up fleet; the machine did other work at the same time.",
        table(
            ("what", "median ms", "95th percentile ms", "processor ms", "load of the machine", "date"),
            [
                (r["what"], r["medianMs"], r["p95Ms"], r["processorMs"], r["load"], r["time"])
                for r in newest("prometheus", "what")
            ],
        ),
        "## A word, and evidence, to the weight in Envoy on a control plane: `python bench/cluster_effect.py`",
        cluster_effect.report(),
        "## Beside Argo Rollouts and Flagger: `make bench-peers`",
        peers_report.report(),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (HERE / "RESULTS.md").write_text(text(), encoding="utf-8")
    print(HERE / "RESULTS.md")
