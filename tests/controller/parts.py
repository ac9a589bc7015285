"""The real controller over the world in memory: rounds are taken one by one, nothing is started."""

from __future__ import annotations

from types import SimpleNamespace

from meshctl.app.tick import Ports
from meshctl.controller.local import LocalController
from tests.cli.scenes import NEW, Scene


class MemoryMesh:
    """Stands for `meshctl.wiring.Embedded`."""

    def __init__(self, scene: Scene) -> None:
        world = scene.world
        self.ports = Ports(
            world.store, world.mesh, world.workloads, world.metrics, scene.judge, world.renderer, world.clock
        )
        self.place = SimpleNamespace(base="memory")
        self.problems: tuple[str, ...] = ()
        self.monotonic = lambda: world.clock.now().timestamp()

    def supervise(self, now):
        return self.problems

    def listening(self):
        return {}


class Played:
    """A release ``shop`` that the controller brings along, a second at a time."""

    def __init__(self, observer=None, **behaviour) -> None:
        self.scene = Scene()
        self.mesh = MemoryMesh(self.scene)
        self.controller = LocalController(self.mesh, observer)
        if behaviour:
            self.scene.behave(**behaviour)

    def rounds(self, number):
        for _ in range(number):
            self.scene.world.clock.advance(1.0)
            self.controller._round()

    def until(self, condition, limit=600):
        for _ in range(limit):
            if condition(self.scene.view.status):
                return
            self.rounds(1)
        raise AssertionError(f"not reached: {self.scene.view.status}")

    def release(self):
        self.scene.put(NEW)
