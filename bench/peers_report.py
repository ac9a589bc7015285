"""The tables of `peers.py`, from the runs that were kept."""

from __future__ import annotations

from typing import Any

from common import median, rows, table

CANDIDATES = {
    "errors": "5 % errors",
    "few": "0.5 % errors against 0.1 %",
    "slow": "+25 % latency",
    "good": "the same as before",
}
LATE_MS_MAX = 2000
"""A run in which a request left so much later than it was due was a run on a machine that stood still."""
HEADER = (
    "candidate",
    "controller",
    "runs",
    "wrong outcomes",
    "until alone, s",
    "failed by the candidate",
    "by the mesh",
    "died inside",
    "processor, s a minute",
    "peak MiB",
    "load",
)
Row = dict[str, Any]


def spread(values: list[float], digits: int = 0) -> str:
    """The median, and in brackets the range."""
    whole = f"{median(values):.{digits}f}"
    return whole if len(values) == 1 else f"{whole} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def line(candidate: str, contender: str, mine: list[Row]) -> list[object]:
    """One controller with one candidate."""
    wrong = [each for each in mine if not each["right"]]
    alone = [each["aloneS"] for each in mine if each["aloneS"] is not None]
    return [
        CANDIDATES[candidate],
        contender,
        len(mine),
        f"**{len(wrong)}** ({', '.join(sorted({each['outcome'] for each in wrong}))})" if wrong else 0,
        spread(alone) if alone else "-",
        spread([each["failed"]["v2"] for each in mine]),
        sum(each["failed"]["mesh"] for each in mine),
        sum(each["failed"]["died"] for each in mine),
        spread([60 * each["processorS"] / each["tookS"] for each in mine], 2),
        spread([each["peakMiB"] for each in mine]),
        spread([each["loadAverage"]["mean"] for each in mine], 1),
    ]


def sane(runs: list[Row]) -> list[Row]:
    """The runs in which the machine let the load generator do its work."""
    return [each for each in runs if each["lateMs"] <= LATE_MS_MAX]


def newest_setup(kept: list[Row]) -> list[Row]:
    """The runs of each controller that were made with the numbers of its newest one."""
    last = {each["contender"]: each["setup"] for each in kept}
    return [each for each in kept if each["setup"] == last[each["contender"]]]


def verdicts(kept: list[Row]) -> list[str]:
    """meshctl's targets, candidate by candidate."""
    said = []
    wrong = sum(not each["right"] for each in kept if each["contender"] == "meshctl")
    said.append(f"- wrong outcomes of meshctl: {wrong} (target 0)")
    for candidate in ("errors", "few", "slow"):
        means = {}
        for contender in dict.fromkeys(each["contender"] for each in kept):
            mine = [each["failed"] for each in kept if (each["contender"], each["candidate"]) == (contender, candidate)]
            if mine:
                means[contender] = sum(one["v2"] + one["mesh"] + one["died"] for one in mine) / len(mine)
        own = means.pop("meshctl", None)
        if own is None or not means:
            continue
        better = min(means, key=lambda name: means[name])
        share = own / means[better] if means[better] else float("inf")
        met = "met" if share <= 0.2 else "**not met**"
        said.append(
            f"- {CANDIDATES[candidate]}: meshctl {own:.1f} failed requests a run, the better peer ({better}) "
            f"{means[better]:.1f}: {100 * share:.0f} % (target 20 %, {met})"
        )
    return said


def terms(kept: list[Row]) -> str:
    """What each user chose, and why."""
    newest = {each["contender"]: each for each in kept}
    return table(
        ("controller", "what", "chosen, and why"),
        [
            (f"{name} {each['version']}".strip(), what, why)
            for name, each in newest.items()
            for what, why in each["terms"].items()
        ],
    )


def report() -> str:
    """Everything there is to say about the runs."""
    every = newest_setup(rows("peers"))
    kept = sane(every)
    if not kept:
        return "No runs yet."
    body = []
    for candidate in CANDIDATES:
        for contender in dict.fromkeys(each["contender"] for each in kept):
            mine = [each for each in kept if (each["contender"], each["candidate"]) == (contender, candidate)]
            if mine:
                body.append(line(candidate, contender, mine))
    at_once = max(each["atOnce"] for each in kept)
    beside = "Controllers ran at the same time, each with a release and a load of its own." if at_once > 1 else ""
    explained = (
        f"One release at a time for each controller, {kept[-1]['rps']:g} requests/s through the gateway. {beside}",
        (
            "Median and range of the runs; `until alone` is from the wish to the last answer of the version that lost. "
            "A bad version that was promoted is counted for 300 s, or to its promotion, and fails on then. "
            "`by the mesh` are failures that no version wrote: the controller's own, target 0. "
            "`load` is the machine's, 1 or less would be a quiet one. "
            f"{len(every) - len(kept)} runs are left out because the load generator "
            f"itself was more than {LATE_MS_MAX / 1000:g} s late."
        ),
    )
    return "\n\n".join([*explained, table(HEADER, body), "\n".join(verdicts(kept)), terms(kept)])


if __name__ == "__main__":
    print(report())
