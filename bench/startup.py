"""``meshctl --help``: wall time and peak memory of the whole process, and what it loads.

python bench/startup.py
"""

from __future__ import annotations

import os
import sys
import time

from common import median, record

RUNS = 15


def once() -> tuple[float, float]:
    """Milliseconds and MiB of one run."""
    begin = time.perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "meshctl", "--help"],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit("meshctl --help failed")
    return (time.perf_counter() - begin) * 1000, usage.ru_maxrss / 1024


def main() -> None:
    once()
    runs = [once() for _ in range(RUNS)]
    milliseconds, mebibytes = median([run[0] for run in runs]), max(run[1] for run in runs)
    record("startup", {"ms": round(milliseconds), "MiB": round(mebibytes, 1)})
    print(f"meshctl --help: {milliseconds:.0f} ms median of {RUNS} (budget 150), {mebibytes:.1f} MiB peak (budget 35)")


if __name__ == "__main__":
    main()
