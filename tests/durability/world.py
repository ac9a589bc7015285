"""A mesh whose controller dies at a chosen effect, somebody who starts it again, and what must hold all the while."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from meshctl.adapters.envoy.live import read_routes
from meshctl.core.errors import MeshctlError
from meshctl.core.model import Phase, Verb
from meshctl.core.record import faults
from tests.e2e.world import NEW, OLD, Mesh, until

MORTAL = Path(__file__).with_name("mortal.py")
SHORT = "{weight: 50, gate: manual, minDuration: 1s}, {weight: 100, minDuration: 1s}"
LONG_S = 120.0


class MortalMesh(Mesh):
    """As `Mesh`, with a controller that can be told when to die."""

    def __init__(self, folder: Path, stages: str) -> None:
        super().__init__(folder, stages, keep_warm="1s")

    def start_mortal(self, effect: int) -> None:
        """Start a controller that dies before its ``effect``-th effect (0: never) and do not wait for anything."""
        with (self.folder / "up.log").open("ab") as stream:
            controller = subprocess.Popen(
                [sys.executable, str(MORTAL), str(effect), str(self.folder / "effects"), "local", "up"],
                cwd=self.folder,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self._controllers.append(controller)

    def is_up(self) -> bool:
        """Whether the present controller lives and listens."""
        from meshctl.wiring import EmbeddedPlace

        return self.controller().poll() is None and EmbeddedPlace(self.base).answers()

    def effects(self) -> list[str]:
        """What the present mortal controller has done so far."""
        return (self.folder / "effects").read_text().splitlines()

    def serving(self) -> dict[str, int]:
        """Envoy and the replicas of the version that serves, as recorded: whom nobody may end."""
        state = self._store.load("shop").state
        wished = state.baseline or OLD
        prefix = f"shop/v{wished.replace('.', '-')}/"
        return {key: pid for key, pid in self.recorded().items() if key == "envoy" or key.startswith(prefix)}

    def recorded(self) -> dict[str, int]:
        """All that runs, by key; asked without a command, since it is asked often."""
        from meshctl.wiring import EmbeddedPlace

        found = EmbeddedPlace(self.base).status()["processes"]
        return {each["key"]: each["pid"] for each in found if each["state"] == "running"}

    def ask_quickly(self, verb: Verb, **fields: object) -> None:
        """A request as a command would make it; nobody there is no trouble, it is stored."""
        from meshctl.wiring import EmbeddedPlace

        place = EmbeddedPlace(self.base)
        request = place.new_request(verb, actor="test", **fields)
        self._store.request("shop", request)
        with contextlib.suppress(MeshctlError):
            place.say_request("shop", request, timeout_s=5.0)

    def put(self, version: str) -> None:
        """Wish a version, as ``apply`` does."""
        from meshctl.app.commands import apply
        from meshctl.wiring import EmbeddedPlace, load_wishes

        self.wish(version)
        place = EmbeddedPlace(self.base)
        list(apply(self._store, load_wishes(self.files / "release.yaml", self._store.workloads()), place.now()))
        with contextlib.suppress(MeshctlError):
            place.wake("shop")

    def let_go_of_the_state(self) -> None:
        """Close it in good order, as the last command does: its WAL and index are cleared away."""
        self._store.close()
        del self._store
        assert self.run("get", "--local").returncode == 0
        assert not (self.base / "state.db-shm").exists()

    def chain_is_whole(self) -> bool:
        """Whether the records of every run are complete and unchanged."""
        for kept in self._store.runs("shop"):
            records, blocks = self._store.decisions(kept.run.name), self._store.blocks(kept.run.name)
            assert faults(records, head=kept.head, blocks=blocks) == ()
        return True


class Undertaker:
    """Starts controllers one after another, each with its own hour of death; then one that lives."""

    def __init__(self, mesh: MortalMesh, deaths: list[int]) -> None:
        self._mesh = mesh
        self._deaths = list(deaths)
        self._serving: dict[str, int] | None = None
        self.died: list[int] = []
        self.next()

    def next(self) -> None:
        """Start the next one, and see that it adopts who serves."""
        self._at = self._deaths.pop(0) if self._deaths else 0
        self._mesh.start_mortal(self._at)

    def look(self) -> None:
        """Replace the controller if it has died."""
        controller = self._mesh.controller()
        if controller.poll() is None:
            return
        assert controller.returncode == -signal.SIGKILL, self._mesh.log[-3000:]
        self.died.append(self._at)
        serving = self._mesh.serving()
        assert set(serving) >= {"envoy"}, "traffic flows on without a controller"
        assert len(serving) >= 3, serving
        self.next()
        self._serving = serving
        still = {key: pid for key, pid in self._mesh.serving().items() if key in serving}
        assert still == serving, "who serves is adopted, never started again"


class Watch(threading.Thread):
    """Looks at the live routes every few milliseconds: what was taken to nothing for good never rises again."""

    def __init__(self, mesh: MortalMesh) -> None:
        super().__init__(daemon=True)
        self._path = mesh.live_routes()
        self._over = threading.Event()
        self.aborted: set[str] = set()
        self.raised: list[str] = []
        self.looks = 0

    def run(self) -> None:
        while not self._over.wait(0.003):
            live = read_routes(self._path)
            if live is None:
                continue
            self.looks += 1
            if live.run in self.aborted and not live.aborted and max(live.weights.values()) < 1000:
                self.raised.append(f"{live.run}: {live.weights}")
            if live.aborted:
                self.aborted.add(live.run)

    def end(self) -> None:
        self._over.set()
        self.join()


@contextlib.contextmanager
def watched(mesh: MortalMesh) -> Iterator[Watch]:
    """Users and routes watched; afterwards no request has failed and nothing rose after an abort."""
    watch = Watch(mesh)
    watch.start()
    try:
        yield watch
    finally:
        watch.end()
    assert watch.raised == []
    counts = mesh.users.next_counts()
    assert (counts.failed_by_mesh, counts.failed) == (0, 0), counts.causes


def promote_through(mesh: MortalMesh, version: str, undertaker: Undertaker) -> None:
    """A release of ``version`` to its end, whoever dies meanwhile: wished, promoted at its gate, old one retired."""
    mesh.put(version)
    deadline = time.monotonic() + LONG_S
    asked = ""
    while True:
        undertaker.look()
        run = mesh.run_of_store()
        if run.candidate == version and run.phase is Phase.PAUSED and asked != run.name:
            asked = run.name
            mesh.ask_quickly(Verb.PROMOTE)
        over = run.candidate == version and run.phase is Phase.PROMOTED and run.confirmed == 100
        if over and len(mesh.recorded()) == 3:
            break
        assert time.monotonic() < deadline, (run, mesh.log[-2000:])
        time.sleep(0.05)
    assert mesh.live_weight(version) == 100
    assert mesh.chain_is_whole()


def at_the_gate(mesh: MortalMesh, version: str, verb: Verb | None = None) -> str:
    """A living controller and a run of ``version`` that waits at its gate; returns the name of the run."""
    before = mesh.run_of_store().name
    if verb is None:
        mesh.put(version)
    else:
        mesh.ask_quickly(verb, reason="once more")

    def waits() -> bool:
        run = mesh.run_of_store()
        return run.name != before and run.phase is Phase.PAUSED and run.confirmed == 50

    until(waits, LONG_S, "the gate")
    return str(mesh.run_of_store().name)


def abort_through(mesh: MortalMesh, version: str, undertaker: Undertaker) -> None:
    """A person aborts the run that waits, whoever dies meanwhile: it is at nothing when the command returns."""
    assert "0 %" in mesh.ask("abort", "shop")
    assert mesh.live_weight(version) == 0
    assert mesh.run_of_store().phase is Phase.ROLLED_BACK
    looked = time.monotonic()
    until(lambda: undertaker.look() or (mesh.is_up() and time.monotonic() > looked + 1.5), 15, "the next controller")
    assert mesh.live_weight(version) == 0
    assert mesh.run_of_store().phase is Phase.ROLLED_BACK
    assert mesh.chain_is_whole()


__all__ = [
    "NEW",
    "OLD",
    "SHORT",
    "MortalMesh",
    "Undertaker",
    "Verb",
    "abort_through",
    "at_the_gate",
    "promote_through",
    "watched",
]
