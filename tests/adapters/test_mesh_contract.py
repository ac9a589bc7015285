"""What every `Mesh` promises: the one in memory, the three ownerships on Istio (API server and istiod in memory), and
real Envoy beside real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from meshctl.adapters.istio import proxies
from meshctl.adapters.memory import FakeMesh, FakeRenderer
from meshctl.core.errors import Conflict, InvalidInput, MeshctlError, Unreachable
from meshctl.core.model import Ownership, Routing
from meshctl.core.ports import NO_ROUTES
from tests.adapters import envoy_world
from tests.adapters.istio_world import IstioWorld
from tests.adapters.store_values import release

OLD, NEW = "2.0.0", "2.1.0"
WITHIN_S = 5.0


class Memory:
    """The mesh in memory.  Every world says how its mesh is reached, stopped, and changed by another hand."""

    begins_empty = True

    def __init__(self) -> None:
        self.release, self.mesh, self.renderer = release(), FakeMesh(), FakeRenderer()

    def objects(self, weight, run="shop-1", aborted=False):
        return self.renderer.render(self.release, Routing(OLD, NEW, weight, run, aborted=aborted))

    def alone(self, version, run):
        return self.renderer.render(self.release, Routing(version, None, 0.0, run))

    def begin(self):
        return self.mesh.apply(self.release, self.alone(OLD, "shop-0"))

    def apply(self, weight, run="shop-1", expected=None):
        fallback = self.objects(0.0, run, aborted=True) if weight else ()
        return self.mesh.apply(self.release, self.objects(weight, run), fallback=fallback, expected=expected)

    def meddle(self, weights):
        self.mesh.meddle("shop", weights)

    def stop_proxies(self):
        self.mesh.stuck = True

    def start_proxies(self):
        self.mesh.settle()

    def cut(self):
        self.mesh.unreachable = True


class Istio(Memory):
    """One ownership on Istio in memory."""

    def __init__(self, ownership: Ownership) -> None:
        self.world = IstioWorld(ownership)
        self.release, self.mesh = self.world.release, self.world.mesh
        self.begins_empty = ownership is not Ownership.ADOPT

    def objects(self, weight, run="shop-1", aborted=False):
        return self.world.objects(weight, run=run, aborted=aborted)

    def alone(self, version, run):
        return self.world.alone(version, run=run)

    def meddle(self, weights):
        self.world.meddle(weights)

    def stop_proxies(self):
        self.world.istiod.stuck = True

    def start_proxies(self):
        self.world.istiod.stuck = False

    def cut(self):
        self.world.api.fail(Unreachable("the API server does not answer (a fault was asked for)"), times=1000)


class Envoy(Memory):
    """Real Envoy with both versions ready."""

    def __init__(self, base: Path) -> None:
        declared = envoy_world.workload({OLD: envoy_world.version(), NEW: envoy_world.version()})
        self.world = envoy_world.World(base, declared)
        self.world.start()
        self.world.have_ready(OLD, NEW)
        self.release, self.mesh = envoy_world.RELEASE, self.world.mesh

    def objects(self, weight, run="shop-1", aborted=False):
        share = round(weight * 10)
        return envoy_world.objects({OLD: 1000 - share, NEW: share}, run=run, aborted=aborted)

    def alone(self, version, run):
        return envoy_world.objects({version: 1000}, run=run)


WORLDS = {
    "memory": lambda base: Memory(),
    "istio-generated": lambda base: Istio(Ownership.GENERATED),
    "istio-delegate": lambda base: Istio(Ownership.DELEGATE),
    "istio-adopt": lambda base: Istio(Ownership.ADOPT),
    "envoy": Envoy,
}


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """What was written just before is on its way for a moment only."""
    monkeypatch.setattr(proxies, "SETTLE_S", 0.05)


@pytest.fixture(params=[*list(WORLDS)[:-1], pytest.param("envoy", marks=pytest.mark.e2e)])
def world(request, tmp_path) -> Iterator[Memory]:
    made = WORLDS[request.param](tmp_path / "m")
    yield made
    if isinstance(made, Envoy):
        made.world.stop()


@pytest.fixture
def begun(world) -> Memory:
    """The version that serves, alone."""
    world.begin()
    return world


@pytest.fixture(params=list(WORLDS)[:-1])
def remote(request, tmp_path) -> Memory:
    """A mesh that others may change, that may stay behind, or be out of reach; Envoy's files are none of that."""
    made = WORLDS[request.param](tmp_path / "m")
    made.begin()
    return made


def settled(world, revision):
    """What is live once the data plane has followed."""
    assert world.mesh.confirm(world.release, revision, WITHIN_S)
    live = world.mesh.read(world.release)
    assert live is not None
    assert live.in_effect
    return live


def refused(act: Callable[[], object]) -> type[MeshctlError] | None:
    with suppress(MeshctlError):
        act()
        return None
    return MeshctlError


def test_where_there_are_no_routes_nothing_is_read_lowered_or_confirmed(world):
    if world.begins_empty:
        assert world.mesh.read(world.release) is None
        assert world.mesh.lower(world.release, "shop-1") is None
        assert world.mesh.confirm(world.release, "1", 0.1) is False
    else:
        assert world.mesh.read(world.release).run == ""


def test_the_first_version_gets_everything(world):
    live = settled(world, world.begin())
    assert {version: weight for version, weight in live.weights.items() if weight} == {OLD: 100.0}
    assert (live.run, live.aborted) == ("shop-0", False)


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 33.3, 50.0, 99.9, 100.0])
def test_what_is_applied_is_read_back_in_percent_and_confirmed(begun, weight):
    begun.apply(0.0)
    revision = begun.apply(weight)
    live = settled(begun, revision)
    assert live.weights == {OLD: round(100 - weight, 1), NEW: weight}
    assert (live.run, live.aborted, live.revision) == ("shop-1", False, revision)


def test_there_and_back_again_is_a_new_revision(begun):
    first = begun.apply(10.0)
    second = begun.apply(20.0)
    assert len({first, second, begun.apply(10.0)}) == 3
    assert begun.mesh.confirm(begun.release, first, 0.1) is False


def test_lowering_sends_all_to_the_baseline_and_leaves_the_mark(begun):
    begun.apply(10.0)
    live = settled(begun, begun.mesh.lower(begun.release, "shop-1"))
    assert (live.weights, live.run, live.aborted) == ({OLD: 100.0, NEW: 0.0}, "shop-1", True)


def test_lowering_twice_is_as_good_as_once(begun):
    begun.apply(10.0)
    begun.mesh.lower(begun.release, "shop-1")
    assert settled(begun, begun.mesh.lower(begun.release, "shop-1")).weights == {OLD: 100.0, NEW: 0.0}


def test_after_a_promotion_lowering_leads_to_the_version_that_is_kept_warm(begun):
    begun.apply(100.0)
    promoted = begun.objects(100.0)
    begun.mesh.apply(begun.release, promoted, fallback=begun.objects(0.0, aborted=True))
    assert settled(begun, begun.mesh.lower(begun.release, "shop-1")).weights == {OLD: 100.0, NEW: 0.0}


def test_a_late_lowering_does_not_undo_a_newer_run(begun):
    begun.apply(10.0, run="shop-2")
    with pytest.raises(Conflict, match="shop-2"):
        begun.mesh.lower(begun.release, "shop-1")
    assert begun.mesh.read(begun.release).weights[NEW] == 10.0


def test_a_new_run_is_not_aborted_by_the_mark_of_the_one_before(begun):
    begun.apply(10.0)
    begun.mesh.lower(begun.release, "shop-1")
    live = settled(begun, begun.apply(0.0, run="shop-2"))
    assert (live.run, live.aborted, live.weights[NEW]) == ("shop-2", False, 0.0)


def test_a_write_on_routes_that_are_not_live_any_more_changes_nothing(world):
    first = (
        world.begin()
        if not world.begins_empty
        else world.mesh.apply(world.release, world.alone(OLD, "shop-0"), expected=NO_ROUTES)
    )
    second = world.apply(1.0, expected=first)
    for late in (first, NO_ROUTES):
        with pytest.raises(Conflict):
            world.apply(10.0, expected=late)
    live = world.mesh.read(world.release)
    assert (live.revision, live.weights[NEW]) == (second, 1.0)


def test_an_abort_between_looking_and_writing_is_not_undone(begun):
    seen = begun.apply(10.0)
    begun.mesh.lower(begun.release, "shop-1")
    with pytest.raises(Conflict):
        begun.apply(50.0, expected=seen)
    assert begun.mesh.read(begun.release).aborted


def test_objects_that_are_not_the_two_expected_ones_are_refused(begun):
    service, rule = sorted(begun.objects(1.0), key=lambda each: each["kind"] != "VirtualService")
    before = begun.mesh.read(begun.release)
    for objects in ([], [rule], [rule, service, service], [rule, {**service, "kind": "Gateway"}]):
        assert refused(lambda objects=objects: begun.mesh.apply(begun.release, objects)) is not None
    with pytest.raises(InvalidInput):
        begun.mesh.apply(begun.release, [service, begun.alone(OLD, "shop-1")[1]])
    assert begun.mesh.read(begun.release).weights == before.weights


def test_a_data_plane_that_does_not_follow_is_not_in_effect_and_holds_nobody_up(remote):
    settled(remote, remote.apply(1.0))
    remote.stop_proxies()
    revision = remote.apply(10.0)
    live = remote.mesh.read(remote.release)
    assert (live.weights[NEW], live.in_effect) == (10.0, False)
    assert not remote.mesh.confirm(remote.release, revision, 0.1)
    remote.start_proxies()
    assert settled(remote, revision).weights[NEW] == 10.0


def test_another_hands_weights_are_read_and_lowering_still_leads_home(remote):
    before = remote.apply(10.0)
    remote.meddle({OLD: 50.0, NEW: 50.0})
    live = remote.mesh.read(remote.release)
    assert (live.weights[NEW], live.run, live.aborted) == (50.0, "shop-1", False)
    assert live.revision != before
    assert settled(remote, remote.mesh.lower(remote.release, "shop-1")).weights == {OLD: 100.0, NEW: 0.0}


def test_a_mesh_that_cannot_be_reached_says_so(remote):
    remote.apply(1.0)
    remote.cut()
    for act in (
        lambda: remote.mesh.read(remote.release),
        lambda: remote.apply(10.0),
        lambda: remote.mesh.lower(remote.release, "shop-1"),
    ):
        with pytest.raises(Unreachable):
            act()
