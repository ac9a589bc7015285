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
RUNS_LEAST = 3
TARGET = 0.2
"""Of the better peer's failed requests."""
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


def line(candidate: str, contender: str, mine: list[Row], *, current: bool) -> list[object]:
    """One controller with one candidate; ``current``: with the settings that the table of terms tells."""
    wrong = [each for each in mine if not each["right"]]
    alone = [each["aloneS"] for each in mine if each["aloneS"] is not None]
    return [
        CANDIDATES[candidate],
        contender if current else f"{contender}, with earlier settings",
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
    """The runs of each controller and candidate that were made with the settings of the newest one."""
    last = {(each["contender"], each["candidate"]): each["setup"] for each in kept}
    return [each for each in kept if each["setup"] == last[each["contender"], each["candidate"]]]


def verdicts(kept: list[Row]) -> list[str]:
    """meshctl's targets, candidate by candidate."""
    said = []
    own_runs = [each for each in kept if each["contender"] == "meshctl"]
    wrong = sum(not each["right"] for each in own_runs)
    missing = [told for name, told in CANDIDATES.items() if name not in {each["candidate"] for each in own_runs}]
    untried = f"; no run counts yet for: {', '.join(missing)}" if missing else ""
    said.append(f"- wrong outcomes of meshctl: {wrong} of {len(own_runs)} runs (target 0){untried}")
    for candidate in ("errors", "few", "slow"):
        means, fewest = {}, RUNS_LEAST
        for contender in dict.fromkeys(each["contender"] for each in kept):
            mine = [each["failed"] for each in kept if (each["contender"], each["candidate"]) == (contender, candidate)]
            if mine:
                means[contender] = sum(one["v2"] + one["mesh"] + one["died"] for one in mine) / len(mine)
                fewest = min(fewest, len(mine))
        own = means.pop("meshctl", None)
        if own is None or not means:
            continue
        better = min(means, key=lambda name: means[name])
        share = own / means[better] if means[better] else float("inf")
        met = "met" if share <= TARGET else "**not met**"
        if fewest < RUNS_LEAST:
            met = f"too few runs to say whether it is met: {fewest} for one of them, {RUNS_LEAST} are wanted"
        said.append(
            f"- {CANDIDATES[candidate]}: meshctl {own:.1f} failed requests a run, the better peer ({better}) "
            f"{means[better]:.1f}: {100 * share:.0f} % (target {100 * TARGET:.0f} %, {met})"
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
    whole = rows("peers")
    every = sane(whole)
    kept = newest_setup(every)
    if not kept:
        return "No runs yet."
    newest = {each["contender"]: each["setup"] for each in every}
    body = []
    for candidate in CANDIDATES:
        for contender in dict.fromkeys(each["contender"] for each in kept):
            mine = [each for each in every if (each["contender"], each["candidate"]) == (contender, candidate)]
            for setup in dict.fromkeys(each["setup"] for each in reversed(mine)):
                same = [each for each in mine if each["setup"] == setup]
                body.append(line(candidate, contender, same, current=setup == newest[contender]))
    at_once = max(each["atOnce"] for each in kept)
    beside = "Controllers ran at the same time, each with a release and a load of its own." if at_once > 1 else ""
    explained = (
        f"One release at a time for each controller, {kept[-1]['rps']:g} requests/s through the gateway. {beside}",
        (
            "Median and range of the runs; `until alone` is from the wish to the last answer of the version that lost. "
            "A bad version that was promoted is counted for 300 s, or to its promotion, and fails on then. "
            "`by the mesh` are failures that no version wrote: the controller's own, target 0. "
            "`load` is the machine's, 1 or less would be a quiet one. "
            f"{len(whole) - len(every)} of {len(whole)} runs are left out because the load generator "
            f"itself was more than {LATE_MS_MAX / 1000:g} s late."
        ),
    )
    return "\n\n".join([*explained, table(HEADER, body), "\n".join(verdicts(kept)), terms(kept)])


if __name__ == "__main__":
    print(report())
