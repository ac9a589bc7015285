"""The contract of `Workloads` on everything that needs no cluster."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime, timedelta

import pytest

from meshctl.adapters.envoy.files import wait_until
from meshctl.adapters.kubernetes.kinds import POD
from meshctl.adapters.kubernetes.rendering import DeploymentRenderer
from meshctl.adapters.kubernetes.workloads import KubernetesWorkloads
from meshctl.adapters.memory import FakeClock, FakeWorkloads
from meshctl.adapters.processes import LocalWorkloads
from meshctl.core.errors import Unreachable
from meshctl.core.model import Metadata, Release, ReleaseSpec, Workload, WorkloadSpec, WorkloadVersion
from tests.adapters.pods_world import PodsWorld, made_release, own_release
from tests.adapters.workloads_contract import WorkloadsContract

RENDERER = DeploymentRenderer()


class InMemory:
    """The fake that the core's worlds run on; replicas that die come back by being asked for."""

    ends_replicas = True
    old, new = "2.0.0", "2.1.0"

    def __init__(self):
        self.workloads = FakeWorkloads(FakeClock(), {self.old: 2, self.new: 2})

    def release(self, version):
        return Release(Metadata("shop"), ReleaseSpec(version, "shop"))

    def begin(self, version):
        """Nothing: every version is known."""

    def until(self, version, ready):
        found = self.workloads.ready(self.release(version), version)
        assert found.ready == ready
        return found

    def kill(self, version):
        release = self.release(version)
        self.workloads.retire(release, [other for other in (self.old, self.new) if other != version], run=10**9)

    def cut(self):
        self.workloads.unknown |= {self.old, self.new}


class Health:
    """Envoy's place: calls every endpoint healthy while it answers."""

    def __init__(self):
        self.ports, self.answers = {}, True

    def publish(self, service, version, ports):
        self.ports[version] = list(ports)

    def healthy(self, service, version):
        if not self.answers:
            raise Unreachable("Envoy does not answer")
        return len(self.ports.get(version, ()))


class Processes(InMemory):
    """Real processes, looked after by hand."""

    def __init__(self, base):
        command = WorkloadVersion((sys.executable, "-c", "import time; time.sleep(60)"), 2)
        spec = WorkloadSpec("127.0.0.1:0", {self.old: command, self.new: command}, drain=timedelta(milliseconds=50))
        self._health = Health()
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self.workloads = LocalWorkloads(base, [Workload(Metadata("shop"), spec)], self._health)
        self._held = False

    def until(self, version, ready):
        release = self.release(version)

        def look():
            if not self._held:
                self._now += timedelta(milliseconds=20)
            self.workloads.supervise(self._now)
            return self.workloads.ready(release, version).ready == ready

        assert wait_until(look, 10.0, every_s=0.01)
        self._held = False
        return self.workloads.ready(release, version)

    def kill(self, version):
        self._held = True
        for pid in self.workloads.pids("shop", version):
            os.kill(pid, signal.SIGKILL)

    def cut(self):
        self._health.answers = False


class OwnDeployments:
    """The user's own Deployments on the API in memory."""

    ends_replicas = False
    old, new = "2.0.0", "2.1.0"

    def __init__(self):
        self.pods = PodsWorld()
        self.workloads = KubernetesWorkloads(self.pods.api, RENDERER, look_valid_s=0.0)

    def release(self, version):
        return own_release(version)

    def begin(self, version):
        self.pods.deploy(version, 2)

    def until(self, version, ready):
        if ready or not self.pods.pods(version):
            found = self.workloads.ready(self.release(version), version)
            if found.ready == ready:
                return found
        self.pods.settle()
        found = self.workloads.ready(self.release(version), version)
        assert found.ready == ready
        return found

    def kill(self, version):
        self.pods.end_pods(version)

    def cut(self):
        self.pods.api.fail(Unreachable("no answer"), kind=POD, times=1000)


class MadeDeployments(OwnDeployments):
    """Deployments that meshctl makes, on the API in memory."""

    ends_replicas = True
    old, new = (made_release(version).spec.version for version in ("2.0.0", "2.1.0"))

    def release(self, version):
        return made_release(version.rpartition("-")[0])

    def begin(self, version):
        """Nothing: the pods are part of the wish."""


class TestInMemory(WorkloadsContract):
    @pytest.fixture
    def world(self):
        return InMemory()


class TestProcesses(WorkloadsContract):
    @pytest.fixture
    def world(self, tmp_path):
        world = Processes(tmp_path)
        yield world
        world.workloads.stop_all()


class TestOwnDeployments(WorkloadsContract):
    @pytest.fixture
    def world(self):
        return OwnDeployments()


class TestMadeDeployments(WorkloadsContract):
    @pytest.fixture
    def world(self):
        return MadeDeployments()
