"""The demo on a terminal: the tree of ``get -w`` with the load of its users above it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from meshctl.app.queries import release_view
from meshctl.app.sums import Follower
from meshctl.cli.picture import render
from meshctl.core.errors import MeshctlError
from meshctl.demo.scenarios import NAME
from meshctl.demo.view import Frame
from meshctl.wiring import STATE_FILE, EmbeddedPlace, system_clock

if TYPE_CHECKING:
    from meshctl.core.catalog import StateStore

EVERY_S = 0.25


class Screen:
    """A `Show` that draws; inside its ``with`` block `write` puts plain lines above the picture."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._store: StateStore | None = None
        self._follower = Follower()
        self._drawn: tuple[object, float] = ("", -EVERY_S)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def write(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def __call__(self, frame: Frame) -> None:
        """Draw this frame, at most four times a second."""
        if frame.note:
            self.write(frame.note)
        begun, at = self._drawn
        if begun == (frame.scenario.name, frame.step) and 0 <= frame.seconds - at < EVERY_S:
            return
        self._drawn = ((frame.scenario.name, frame.step), frame.seconds)
        self._live.update(Group(self._load(frame), self._tree()), refresh=True)

    def _load(self, frame: Frame) -> RenderableType:
        line = Text.assemble(
            (f"{frame.scenario.name} ", "bold"),
            f"{frame.seconds:5.0f} s  {frame.step.value}  the candidate {frame.scenario.candidate}",
        )
        if frame.load is None:
            return line
        load = frame.load
        users = Text.assemble(
            f"users: {load.requests} requests, ",
            (f"{load.failed} failed", "red" if load.failed else "green"),
            ", ",
            (f"{load.failed_by_mesh} by the mesh", "red" if load.failed_by_mesh else "green"),
        )
        return Group(line, users)

    def _tree(self) -> RenderableType:
        """The release as the store has it; before there is one, or while the store is being made, nothing."""
        try:
            if self._store is None and (self._folder / STATE_FILE).exists():
                self._store = EmbeddedPlace(self._folder).store()
            if self._store is None or NAME not in self._store.names():
                return Text("starting Envoy, the replicas and the controller ...")
            view = release_view(self._store, NAME, now=system_clock().now(), follower=self._follower)
        except MeshctlError as error:
            return Text(str(error))
        return render(view, height=max(self._console.height - 3, 10))
