"""What users install: a wheel built from the sdist, in an environment that holds nothing else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RELEASE = """\
apiVersion: meshctl.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  version: "2.1.0"
  service: shop
  mesh: {hosts: [shop], timeout: 2s, retries: {attempts: 2}}
"""


def run(*command, cwd):
    """Run without anything of this checkout or of the caller's environment in the way."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MESHCTL", "VIRTUAL"))}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the sdist as ``build`` does it by default."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT), cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory):
    """An environment with the wheel and what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", str(folder), cwd=folder)
    constraints = str(ROOT / "constraints.txt")
    run(str(folder / "bin/pip"), "install", "--quiet", "-c", constraints, str(wheel), cwd=folder)
    return folder / "bin"


def test_the_wheel_holds_both_packages_the_templates_and_nothing_for_developers(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {"meshctl", "meshctl_analysis"} <= tops
    assert not tops & {"tests", "analysis", "templates", "bench", "docs"}
    shipped = {path.relative_to(ROOT / "templates").as_posix() for path in (ROOT / "templates").rglob("*.j2")}
    assert shipped
    assert shipped == {name.removeprefix("meshctl/_templates/") for name in names if name.endswith(".j2")}


def test_the_installed_command_renders_every_template(bin_folder, tmp_path):
    (tmp_path / "release.yaml").write_text(RELEASE, encoding="utf-8")
    arguments = ("render", "-f", "release.yaml", "--baseline", "2.0.0", "--weight", "10")
    printed = run(str(bin_folder / "meshctl"), *arguments, cwd=tmp_path)
    assert "kind: VirtualService" in printed
    assert "kind: DestinationRule" in printed
    assert "weight: 900" in printed


def test_the_installed_command_prints_what_a_cluster_needs_and_names_what_it_lacks_to_reach_one(bin_folder, tmp_path):
    printed = run(str(bin_folder / "meshctl"), "install", cwd=tmp_path)
    for kind in ("CustomResourceDefinition", "ClusterRole", "Deployment", "NetworkPolicy"):
        assert f"kind: {kind}\n" in printed
    for words in (["get", "-n", "shop"], ["controller", "-A"], ["tick", "-A"]):
        done = subprocess.run(
            [str(bin_folder / "meshctl"), *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert "meshctl-istio[cluster]" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_installed_judge_compares_two_files_by_both_of_its_names(bin_folder, tmp_path):
    chance = random.Random(7)
    for name, factor in (("baseline.csv", 1.0), ("candidate.csv", 1.5)):
        lines = [f"{factor * chance.lognormvariate(3.7, 0.5):.2f}" for _ in range(5000)]
        (tmp_path / name).write_text("\n".join(["latency_ms", *lines]) + "\n", encoding="utf-8")
    judge = ("judge", "--baseline", "baseline.csv", "--candidate", "candidate.csv")
    for command in (
        (str(bin_folder / "meshctl"), *judge),
        (str(bin_folder / "python"), "-m", "meshctl_analysis", "baseline.csv", "candidate.csv"),
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 10, done.stderr
        assert done.stdout.startswith("FAIL")


def test_the_kubectl_plugin_is_the_same_program(bin_folder, tmp_path):
    assert run(str(bin_folder / "kubectl-meshctl"), "version", cwd=tmp_path) == run(
        str(bin_folder / "meshctl"), "version", cwd=tmp_path
    )


def test_without_its_extra_the_demo_says_what_to_install(bin_folder, tmp_path):
    done = subprocess.run(
        [str(bin_folder / "meshctl"), "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "meshctl-istio[embedded]" in done.stderr
    assert "Traceback" not in done.stderr
