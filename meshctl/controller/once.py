"""One look at every release that is not idle, then no more: ``meshctl tick`` without ``--for``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from meshctl.controller.looks import Looks, World

WORKERS = 8


def look_once(world: World) -> list[str]:
    """Tick every release that moves or changed; returns those with trouble.

    Raises what `World.start` raises, before anything was done.
    """
    world.start(lambda name: None)
    try:
        looks = Looks(world)
        due = [name for name in world.names() if world.due_s(name) == 0.0]
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(looks.look, due))
        return looks.troubled()
    finally:
        world.stop()
