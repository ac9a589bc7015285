"""The Dockerfile, as far as it can be held to something without a container engine: what it copies makes a program."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

from tests.packaging.test_wheel import ROOT, run

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()


def told(word):
    return [line.split()[1:] for line in LINES if line.startswith(f"{word} ")]


def sent(path: str) -> bool:
    """Whether a path is part of what is sent to the engine: everything is ignored but what is named."""
    named = [rule[1:] for rule in IGNORED if rule.startswith("!")]
    dropped = [rule for rule in IGNORED if rule.startswith("**/")]
    inside = any(path == name or path.startswith(f"{name}/") for name in named)
    return inside and not any(fnmatch(f"/{path}/", f"*{rule[2:]}/*") for rule in dropped)


def test_it_starts_from_one_exact_base_and_runs_as_nobody():
    bases = [words[0] for words in told("FROM")]
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases[0])
    (user,) = told("USER")
    assert user == ["65532:65532"]
    assert not told("ADD")
    assert told("ENTRYPOINT") == [['["meshctl"]']]


def test_what_it_copies_is_enough_to_build_the_program(tmp_path):
    for *sources, _ in (words for words in told("COPY") if not words[0].startswith("--")):
        for source in sources:
            for file in [ROOT / source] if (ROOT / source).is_file() else (ROOT / source).rglob("*"):
                path = file.relative_to(ROOT).as_posix()
                if file.is_file() and sent(path):
                    place = tmp_path / path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, place)
    assert not (tmp_path / "tests").exists()
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(tmp_path), cwd=tmp_path)
    (wheel,) = Path(tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"meshctl/__main__.py", "meshctl_analysis/__init__.py", "meshctl/_templates/install/crds.yaml"} <= set(names)
    assert "meshctl/_templates/istio/virtualservice.yaml.j2" in names


def test_it_installs_the_tested_versions_of_what_a_cluster_needs():
    (installs,) = [line for line in LINES if "pip install" in line]
    assert "--constraint constraints.txt" in installs
    assert '".[cluster]"' in installs
