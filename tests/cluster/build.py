"""``make cluster``: the programs of a real control plane, built from pinned Go modules into a cache.

The pins are the ``go.mod`` and ``go.sum`` files beside this module (``programs/*``).  Their digest names the folder in
the cache, so that another set of pins never meets old programs.  A program is built beside the folder and moved into
it when it is whole: an interrupted build leaves nothing half-made, and the next one goes on with what Go has cached.
Prometheus and iproute2 come from Debian's packages.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.needs import PACKAGES, go_missing, missing_packages, namespace_missing

MODULES = Path(__file__).parent / "programs"
KUBERNETES_VERSION = "1.36.3"
CRDS = "istio-crds.yaml"
_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True, slots=True)
class Group:
    """Programs of one Go module, built by one command so that what they share is compiled once."""

    module: str
    packages: dict[str, str]
    """Program by name: the package that it is built from."""
    tags: str = ""
    set_values: tuple[str, ...] = ()


GROUPS = (
    Group("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Group(
        "kubernetes",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kubectl")},
        set_values=(
            # Clients read the version to know what the server can do; without it, it is empty.
            f"{_VERSION}.gitVersion=v{KUBERNETES_VERSION}",
            f"{_VERSION}.gitMajor={KUBERNETES_VERSION.split('.')[0]}",
            f"{_VERSION}.gitMinor={KUBERNETES_VERSION.split('.')[1]}",
        ),
    ),
    Group(
        "istio",
        {
            "pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery",
            "istioctl": "istio.io/istio/istioctl/cmd/istioctl",
        },
        tags="vtprotobuf,disable_pgv",
    ),
)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Programs that belong together: their pins, and their folder in the cache."""

    name: str
    modules: Path
    """In it a folder with ``go.mod`` and ``go.sum`` for each module."""
    groups: tuple[Group, ...]
    copies: dict[str, tuple[Group, str, str]] = field(default_factory=dict)
    """Files by name that are taken over as they are: out of which Go module of a group, and where they are in it."""

    def digest(self) -> str:
        """What the programs are built from and how, as twelve characters."""
        whole = hashlib.sha256(repr(self.groups).encode())
        for group in self.groups:
            for name in ("go.mod", "go.sum"):
                whole.update((self.modules / group.module / name).read_bytes())
        return whole.hexdigest()[:12]

    def folder(self) -> Path:
        """The folder of these pins' programs, there or not."""
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(base) / "meshctl" / self.name / self.digest()

    def lacking(self) -> list[str]:
        """The files that are not there yet."""
        wanted = [*(name for group in self.groups for name in group.packages), *self.copies]
        return [name for name in wanted if not (self.folder() / name).exists()]

    def build(self) -> None:
        """Build what is lacking, program by program, telling how far it is."""
        lacking = self.lacking()
        for number, group in enumerate(self.groups, 1):
            packages = {name: package for name, package in group.packages.items() if name in lacking}
            title = f"[{number}/{len(self.groups)}] {', '.join(group.packages)}"
            if packages:
                self._build_group(group, packages, title)
            else:
                print(f"{title}: there", flush=True)
        for name, (group, module, path) in self.copies.items():
            if name in lacking:
                with self._workshop() as workshop:
                    source = self._go(group, ["list", "-m", "-f", "{{.Dir}}", module]).strip()
                    shutil.copyfile(Path(source) / path, workshop / name)
                    (workshop / name).replace(self.folder() / name)

    def _build_group(self, group: Group, packages: dict[str, str], title: str) -> None:
        flags = ["-trimpath", f"-ldflags=-s -w {' '.join(f'-X {value}' for value in group.set_values)}".rstrip()]
        flags += [f"-tags={group.tags}"] if group.tags else []
        print(f"{title}: fetching modules", flush=True)
        stale = self._go(group, ["list", "-deps", *flags, "-f", "{{if .Stale}}x{{end}}", *packages.values()])
        total = stale.count("x")
        with self._workshop() as workshop:
            started = time.monotonic()
            command = ["go", "build", "-v", *flags, "-o", f"{workshop}/", *packages.values()]
            with subprocess.Popen(
                command, cwd=self.modules / group.module, env=_environment(), stderr=subprocess.PIPE, text=True
            ) as process:
                try:
                    words = _follow(process, title, total, started)
                except BaseException:
                    process.terminate()
                    raise
            if process.returncode:
                said = "".join(words[-20:])
                raise SystemExit(f"cannot build {', '.join(packages)}: {' '.join(command)} said:\n{said}")
            for name, package in packages.items():
                _built_as(workshop, package).replace(self.folder() / name)
        print(f"{title}: built in {_clock(time.monotonic() - started)}", flush=True)

    def _go(self, group: Group, arguments: Sequence[str]) -> str:
        done = subprocess.run(
            ["go", *arguments], cwd=self.modules / group.module, env=_environment(), stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            programs = ", ".join(group.packages)
            raise SystemExit(f"cannot prepare {programs}: go {' '.join(arguments[:2])} failed, see above")
        return done.stdout

    @contextlib.contextmanager
    def _workshop(self) -> Iterator[Path]:
        """A folder beside the cache's, gone afterwards; those of builders that died go too."""
        folder = self.folder()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob("*.building-*"):
            if not Path(f"/proc/{left.name.rpartition('-')[2]}").exists():
                shutil.rmtree(left, ignore_errors=True)
        path = folder.with_name(f"{folder.name}.building-{os.getpid()}")
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


CONTROL_PLANE = Shelf(
    "cluster", MODULES, GROUPS, {CRDS: (GROUPS[-1], "istio.io/istio", "manifests/charts/base/files/crd-all.gen.yaml")}
)


def cache() -> Path:
    """The folder of the control plane's programs, there or not."""
    return CONTROL_PLANE.folder()


def not_built() -> str:
    """Why the programs cannot be used yet; empty when all are there."""
    lacking = CONTROL_PLANE.lacking()
    return f"not built: {', '.join(lacking)} (make cluster)" if lacking else ""


def _built_as(workshop: Path, package: str) -> Path:
    """Go names a program after the last part of its package that is no major version."""
    parts = package.split("/")
    return workshop / (parts[-2] if parts[-1][0] == "v" and parts[-1][1:].isdigit() else parts[-1])


def _follow(process: subprocess.Popen[str], title: str, total: int, started: float) -> list[str]:
    """Tell every few seconds how many packages are compiled, until the build ends; all it said."""
    words: list[str] = []
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(1 if sys.stdout.isatty() else 15):
            line = f"{title}: {min(len(words), total)} of {total} packages, {_clock(time.monotonic() - started)}"
            print(line, end="\r" if sys.stdout.isatty() else "\n", flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    assert process.stderr is not None
    for line in process.stderr:
        words.append(line)
    process.wait()
    ended.set()
    teller.join()
    return words


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly", "GOWORK": "off"}


def install_packages() -> None:
    """Debian's packages that are missing: installed by root, else named with the command that does it."""
    names = missing_packages()
    if not names:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *names]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit(f"missing: {', '.join(names)}.  As root: {' '.join(command)}")
    print(f"installing {', '.join(names)} with apt-get", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["apt-get", "update", "--quiet=2"], [*command, "--quiet=2"]):
        subprocess.run(words, env=quiet, stdout=subprocess.DEVNULL, check=True)


def main() -> int:
    """Build everything, and say what else is needed to run it."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    started = time.monotonic()
    reason = go_missing() if not_built() else ""
    if reason:
        print(f"cannot build the control plane: {reason}", file=sys.stderr)
        return 1
    print(f"needs besides Go: {', '.join(PACKAGES.values())} from Debian's packages; root, for a network namespace")
    install_packages()
    CONTROL_PLANE.build()
    print(f"control plane: {cache()}", flush=True)
    reason = namespace_missing()
    print(f"ready after {time.monotonic() - started:.1f} s" + (f"; but it cannot run here: {reason}" if reason else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
