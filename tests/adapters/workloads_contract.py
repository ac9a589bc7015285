"""What the port `Workloads` promises, as tests for every adapter: memory, processes, pods, a real control plane."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

import pytest

from meshctl.core.errors import InvalidInput, MeshctlError
from meshctl.core.model import ReadyReplicas, Release
from meshctl.core.ports import Workloads


class World(Protocol):
    """A service with two versions, ``old`` and ``new``, of two replicas each, none running yet."""

    workloads: Workloads
    old: str
    new: str
    ends_replicas: bool
    """Whether `Workloads.retire` ends replicas; those of the user's own Deployments are the user's."""

    def release(self, version: str) -> Release:
        """The release when this version is wished."""
        ...

    def begin(self, version: str) -> None:
        """What a user does beside wishing for a version, if anything."""
        ...

    def until(self, version: str, ready: int) -> ReadyReplicas:
        """Let things happen until so many replicas of a version are ready."""
        ...

    def kill(self, version: str) -> None:
        """Another hand ends every replica of a version."""
        ...

    def cut(self) -> None:
        """From now on nobody can say how replicas are."""
        ...


class WorkloadsContract:
    """Subclasses give the fixture ``world``."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    def start(self, world: World, version: str) -> Release:
        release = world.release(version)
        world.begin(version)
        world.workloads.ensure(release, version, run=1)
        found = world.until(version, 2)
        assert found.complete
        assert (found.ready, found.wished) == (2, 2)
        return release

    def test_a_version_that_is_ensured_gets_all_its_replicas(self, world: World):
        release = world.release(world.old)
        before = world.workloads.ready(release, world.old)
        assert before is None or not before.complete
        self.start(world, world.old)

    def test_ensuring_again_changes_nothing(self, world: World):
        release = self.start(world, world.old)
        for _ in range(3):
            world.workloads.ensure(release, world.old, run=1)
        assert world.workloads.ready(release, world.old) == ReadyReplicas(2, 2)

    def test_both_versions_run_beside_one_another(self, world: World):
        self.start(world, world.old)
        release = self.start(world, world.new)
        world.workloads.ensure(release, world.old, run=1)
        assert world.workloads.ready(release, world.old) == ReadyReplicas(2, 2)

    def test_a_version_that_nobody_knows_is_not_ready_says_why_and_cannot_be_ensured(self, world: World):
        release = self.start(world, world.old)
        found = world.workloads.ready(release, "9.9.9")
        assert found is not None
        assert not found.complete
        assert found.ready == 0
        assert found.message
        with pytest.raises(InvalidInput, match=r"9\.9\.9"):
            world.workloads.ensure(release, "9.9.9", run=1)

    def test_versions_that_are_kept_stay_and_the_others_go(self, world: World):
        self.start(world, world.old)
        release = self.start(world, world.new)
        world.workloads.retire(release, [world.new, world.old], run=1)
        assert world.until(world.old, 2).complete
        world.workloads.retire(release, [world.new], run=1)
        assert world.until(world.old, 0 if world.ends_replicas else 2).ready == (0 if world.ends_replicas else 2)
        assert world.workloads.ready(release, world.new) == ReadyReplicas(2, 2)

    def test_what_a_later_run_needs_is_left_alone_by_who_knows_only_an_earlier_one(self, world: World):
        self.start(world, world.old)
        release = self.start(world, world.new)
        world.workloads.ensure(release, world.old, run=8)
        world.workloads.ensure(release, world.old, run=7)
        world.workloads.retire(release, [world.new], run=7)
        assert world.until(world.old, 2).complete
        world.workloads.retire(release, [world.new], run=8)
        assert world.until(world.old, 0 if world.ends_replicas else 2).ready == (0 if world.ends_replicas else 2)

    def test_a_version_that_went_comes_back(self, world: World):
        self.start(world, world.old)
        release = self.start(world, world.new)
        world.workloads.retire(release, [world.new], run=1)
        world.until(world.old, 0 if world.ends_replicas else 2)
        world.workloads.ensure(release, world.old, run=1)
        assert world.until(world.old, 2).complete

    def test_replicas_that_another_hand_ends_are_noticed_and_come_back(self, world: World):
        release = self.start(world, world.old)
        world.kill(world.old)
        found = world.until(world.old, 0)
        assert (found.ready, found.wished) == (0, 2)
        world.workloads.ensure(release, world.old, run=1)
        assert world.until(world.old, 2).complete

    def test_what_cannot_be_found_out_is_unknown(self, world: World):
        release = self.start(world, world.old)
        world.cut()
        with suppress(MeshctlError):
            assert world.workloads.ready(release, world.old) is None
