"""Fixtures of the cluster tier: one control plane for the whole run, a fresh Kubernetes namespace for each test."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import build, needs, netns
from tests.cluster.cluster import Cluster
from tests.cluster.shop import Shop

_NUMBERS = itertools.count(1)
_TOLD = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A real control plane in a network namespace of its own.  The test's thread is inside that namespace."""
    missing = [reason for reason in (needs.namespace_missing(), build.not_built()) if reason]
    missing += [f"{package} is not installed (make cluster)" for package in needs.missing_packages()]
    if missing:
        pytest.skip(f"no control plane here: {'; '.join(missing)}")
    cluster = Cluster()
    try:
        with _one_after_the_other():
            cluster.start()
        pytestconfig.stash.setdefault(_TOLD, []).append(
            f"control plane: up in {cluster.started_in_s:.1f} s (load average before: {cluster.load_before:.1f})"
        )
        yield cluster
    finally:
        cluster.stop()
    assert cluster.network.name not in netns.existing(), "the network namespace is still there"
    assert not netns.processes_of(cluster.network.inode), "processes of the control plane are still there"


@contextmanager
def _one_after_the_other() -> Iterator[None]:
    """Several processes of a run start their control planes in turn, so that each has the processors for itself."""
    with (Path(tempfile.gettempdir()) / "meshctl-cluster.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def empty_shop(cluster: Cluster) -> Iterator[Shop]:
    """A fresh namespace with the Service ``shop`` and nothing behind it.  Faults of the test are undone after it."""
    shop = Shop(cluster, f"test-{os.getpid()}-{next(_NUMBERS)}")
    try:
        yield shop
    finally:
        cluster.heal()
        shop.remove()


@pytest.fixture
def namespace(empty_shop: Shop) -> Shop:
    """A fresh namespace with the Service ``shop`` and the Deployments ``shop-v1`` and ``shop-v2``, both ready."""
    for version in ("v1", "v2"):
        empty_shop.deploy(version, wait=False)
    for version in ("v1", "v2"):
        empty_shop.wait_ready(version)
    return empty_shop


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes hands over what it has to tell."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["told"] = session.config.stash.get(_TOLD, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a process has handed over."""
    node.config.stash.setdefault(_TOLD, []).extend(getattr(node, "workeroutput", {}).get("told", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long the control planes took."""
    for line in terminalreporter.config.stash.get(_TOLD, []):
        terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what the programs said last."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(cluster, Cluster):
        for process in cluster.processes():
            state = "" if process.alive else " (not running)"
            report.sections.append((f"{process.name}{state}, {process.log}", process.last_words()))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies here belongs to the tier."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
