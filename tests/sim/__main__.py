"""Many worlds, or one: ``python -m tests.sim 1234``, ``python -m tests.sim --seeds 1000000``.

One seed is played, and shrunk if it fails.  Of many, each that fails is named at once, the first ones are shrunk at
the end, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.sim.shrink import shrink
from tests.sim.story import Story, story_of
from tests.sim.world import Failure, play

SHRUNK_MAX = 3
STORES = ("memory", "kubernetes")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", help="the one world to play")
    parser.add_argument("--seeds", type=int, default=5000, help="so many worlds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--real-judge", action="store_true", help="the judge itself instead of a script")
    parser.add_argument("--store", choices=STORES, default=STORES[0], help="where everything is kept")
    options = parser.parse_args(argv)
    kind = {"real_judge": options.real_judge, "cluster": options.store == "kubernetes"}
    if options.seed is not None:
        return _one(options.seed, **kind)
    failed = _many(range(options.first, options.first + options.seeds), **kind)
    for seed in failed[:SHRUNK_MAX]:
        _one(seed, **kind)
    return 1 if failed else 0


def _one(seed: int, **kind: bool) -> int:
    story = story_of(seed, **kind)
    if play(story) is None:
        print(f"seed {seed}: every rule holds in its {len(story.steps)} steps")
        return 0
    print(told(story, play))
    return 1


def _many(seeds: range, **kind: bool) -> list[int]:
    failed: list[int] = []
    for done, seed in enumerate(seeds, start=1):
        failure = play(story_of(seed, **kind))
        if failure is not None:
            failed.append(seed)
            print(f"\nseed {seed}, step {failure.step}: {failure.message}", flush=True)
        if done % 100 == 0 or done == len(seeds):
            print(f"\r{done} of {len(seeds)} worlds, {len(failed)} failed", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"{len(seeds)} worlds, {len(failed)} failed" + (f": {failed}" if failed else ""))
    return failed


def told(story: Story, play: Callable[[Story], Failure | None]) -> str:
    """A failing story, shrunk, in words."""
    shrunk, failure = shrink(story, play)
    steps = [f"  {number:3} {step}" for number, step in enumerate(shrunk.steps)]
    again = f"python -m tests.sim {story.seed}" + (" --real-judge" if story.settings.real_judge else "")
    again += " --store kubernetes" if story.settings.cluster else ""
    return "\n".join(
        [
            f"seed {story.seed} breaks {failure.message}",
            f"  at step {failure.step} of this story (shrunk from {len(story.steps)} steps, the end is the last):",
            f"  {shrunk.settings}",
            *steps,
            f"play it again: {again}   (or: make sim SEED={story.seed} ...)",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
