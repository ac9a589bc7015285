"""The demo's folder as its `Target`: the embedded mesh that the scenarios are played on."""

from __future__ import annotations

from pathlib import Path

from meshctl.app.commands import apply
from meshctl.core.catalog import StateStore
from meshctl.demo.view import RunView
from meshctl.wiring import (
    STATE_FILE,
    EmbeddedPlace,
    controller_command,
    endpoints,
    load_wishes,
    system_clock,
)


class EmbeddedTarget:
    """Implements `meshctl.demo.view.Target` by the same means as the command line."""

    def __init__(self) -> None:
        self._stores: dict[Path, StateStore] = {}

    def controller(self, folder: Path) -> list[str]:
        return controller_command(folder, files=folder / "objects")

    def clear(self, folder: Path) -> None:
        """What ``local down`` does: a controller that still lives goes first, it would start again what is ended."""
        if (folder / STATE_FILE).exists():
            self._stores.pop(folder, None)
            EmbeddedPlace(folder).take_down()

    def apply(self, folder: Path) -> None:
        outside = EmbeddedPlace(folder)
        store = self._store(folder)
        for applied in apply(store, load_wishes(folder / "objects", store.workloads()), outside.now()):
            if applied.kind == "Release" and applied.action != "unchanged":
                outside.wake(applied.name)

    def address(self, folder: Path) -> str | None:
        return next(iter(endpoints(folder).values()), None)

    def follow(self, folder: Path) -> RunView | None:
        if not (folder / STATE_FILE).exists():
            return None
        store = self._store(folder)
        names = store.names()
        run = store.load(names[0]).state.run if names else None
        return None if run is None else RunView(system_clock().now(), run)

    def _store(self, folder: Path) -> StateStore:
        if folder not in self._stores:
            self._stores[folder] = EmbeddedPlace(folder).store()
        return self._stores[folder]
