"""Releases in namespaces of a world in memory, as the loop of a cluster sees them."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from meshctl.app.tick import Ports
from meshctl.controller.cluster import ClusterController
from meshctl.controller.election import Election
from meshctl.controller.looks import Pace
from tests.cli.scenes import NEW, Scene

FAST = Pace(moving_s=0.001, close_s=0.001, failed_max_s=0.02)


class SceneWorld:
    """Stands for `meshctl.wiring_cluster.ClusterWorld`: one release ``shop`` per namespace, whose clock goes on by a
    second with every look."""

    def __init__(self, *namespaces, new=True):
        self.scenes = {namespace: Scene() for namespace in namespaces}
        self.looks = {f"{namespace}/shop": 0 for namespace in namespaces}
        self.broken = {}
        self.gone = set()
        self.moving = set()
        self.drifted = set()
        self.trouble = ()
        self.look = None
        self.stopped = False
        if new:
            for scene in self.scenes.values():
                scene.put(NEW)

    def start(self, look):
        self.look = look

    def stop(self):
        self.stopped = True

    def names(self):
        return [name for name in self.looks if name not in self.gone]

    def knows(self, name):
        return name not in self.gone

    def strayed(self, name):
        return name in self.drifted

    def due_s(self, name):
        state = self.state(name)
        settled = state.run.phase.ended and state.run.weight == state.run.confirmed
        wished = self.scenes[name.partition("/")[0]].store.release("shop").spec.version
        return None if settled and wished == state.baseline else 0.0

    def state(self, name):
        return self.scenes[name.partition("/")[0]].store.load("shop").state

    def ports(self, namespace):
        self.looks[f"{namespace}/shop"] += 1
        if namespace in self.broken:
            raise self.broken[namespace]
        scene = self.scenes[namespace]
        w = scene.world
        w.clock.advance(1.0)
        return Ports(w.store, w.mesh, w.workloads, w.metrics, scene.judge, w.renderer, w.clock)

    def follow(self, name, *, moving):
        (self.moving.add if moving else self.moving.discard)(name)

    def problems(self):
        return self.trouble


class Lease:
    """A lock that is ours when it is said to be."""

    def __init__(self, ours=True):
        self.ours, self.holder, self.released = ours, "somebody", threading.Event()

    def attempt(self):
        return self.ours

    def release(self):
        self.released.set()


@contextmanager
def running(world, lease=None, observer=None, **options):
    """A controller in a thread of its own; yields it, then tells it to stop and waits."""
    lease = lease or Lease()
    options = {"workers": 2, "pace": FAST} | options
    controller = ClusterController(world, Election(lease), observer, **options)
    thread = threading.Thread(target=controller.run, daemon=True)
    thread.start()
    try:
        yield controller
    finally:
        controller.stop()
        thread.join(30)
        assert not thread.is_alive()
