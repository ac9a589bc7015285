"""The example of a service of one's own: its files fit together, and its replica behaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import yaml

from meshctl.adapters.envoy.ports import SERVICE_PORTS, free_port
from meshctl.adapters.manifests import load_manifests
from tests.demo.doubles import PATIENCE_S, connection, get, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "local-shop"


def objects(*names):
    return [yaml.safe_load((EXAMPLE / name).read_text()) for name in names]


@contextmanager
def shop(**environment):
    port = free_port(SERVICE_PORTS)
    own = {"HOST": "127.0.0.1", "PORT": str(port), "VERSION": "2.0.0", "REPLICA": "0"}
    process = subprocess.Popen([sys.executable, EXAMPLE / "shop.py"], env={**os.environ, **own, **environment})

    def up():
        try:
            return get(port, "/healthz")[0] == 200
        except ConnectionRefusedError:
            return False

    try:
        wait_until(up, "a ready replica")
        yield process, port
    finally:
        process.kill()
        process.wait()


def test_the_releases_differ_in_their_version_only_and_every_version_can_be_started():
    (workload,) = objects("workload.yaml")
    releases = objects("release.yaml", "next/2.1.0.yaml", "next/2.2.0.yaml")
    versions = [release["spec"].pop("version") for release in releases]
    assert versions == list(workload["spec"]["versions"]) == ["2.0.0", "2.1.0", "2.2.0"]
    assert releases[0] == releases[1] == releases[2]


def test_the_release_with_hooks_is_the_same_but_for_its_hooks():
    plain, hooked = objects("next/2.1.0.yaml", "next/2.1.0-hooks.yaml")
    assert [hook["name"] for hook in hooked["spec"].pop("hooks")] == ["smoke"]
    assert hooked == plain
    load_manifests(EXAMPLE / "next/2.1.0-hooks.yaml")


def test_the_commands_name_files_that_are_there():
    (workload,) = objects("workload.yaml")
    for version in workload["spec"]["versions"].values():
        assert (EXAMPLE.parents[1] / version["command"][1]).is_file()


def test_a_replica_answers_with_its_name():
    with shop() as (_, port):
        assert get(port) == (200, "2.0.0/0", b"welcome to the shop, from 2.0.0/0\n")


def test_a_bad_version_fails():
    with shop(ERRORS="1") as (_, port):
        assert get(port)[0] == 500


def test_a_told_replica_finishes_what_is_inside_and_exits_with_zero():
    with shop() as (process, port), connection(port) as inside:
        inside.request("GET", "/")
        process.send_signal(signal.SIGTERM)
        assert inside.getresponse().status == 200
        assert process.wait(PATIENCE_S) == 0
