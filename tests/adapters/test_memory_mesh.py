"""The mesh in memory keeps the promises of its port, and its faults are those of a real one."""

from __future__ import annotations

import pytest

from meshctl.adapters.memory import FakeMesh, FakeRenderer
from meshctl.core.errors import Conflict, InvalidInput, Unreachable
from meshctl.core.model import LiveRouting, Routing
from meshctl.core.ports import NO_ROUTES
from tests.adapters.store_values import release

SHOP = release()
RENDERER = FakeRenderer()


@pytest.fixture
def mesh():
    return FakeMesh()


def route(mesh, weight, run="shop-1"):
    objects = RENDERER.render(SHOP, Routing("2.0.0", "2.1.0", weight, run))
    fallback = RENDERER.render(SHOP, Routing("2.0.0", "2.1.0", 0.0, run, aborted=True)) if weight else ()
    return mesh.apply(SHOP, objects, fallback=fallback)


def test_a_mesh_without_routes_says_so(mesh):
    assert mesh.read(SHOP) is None
    assert mesh.lower(SHOP, "shop-1") is None
    assert mesh.confirm(SHOP, "1", 0.5) is False


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 33.3, 50.0, 99.9, 100.0])
def test_what_is_applied_is_read_back_in_percent(mesh, weight):
    revision = route(mesh, weight)
    weights = {"2.0.0": round(100 - weight, 1), "2.1.0": weight}
    assert mesh.read(SHOP) == LiveRouting(weights, "shop-1", False, revision, in_effect=True)
    assert mesh.in_force() == {"shop": weights}
    assert mesh.confirm(SHOP, revision, 0.5)


def test_a_single_version_has_everything(mesh):
    mesh.apply(SHOP, RENDERER.render(SHOP, Routing("2.0.0", None, 0.0, "shop-1")))
    assert mesh.read(SHOP).weights == {"2.0.0": 100.0}


def test_each_write_has_a_revision_of_its_own(mesh):
    first, second = route(mesh, 1.0), route(mesh, 1.0)
    assert first != second
    assert not mesh.confirm(SHOP, first, 0.5)


def test_lowering_sends_all_to_the_baseline_and_leaves_the_mark(mesh):
    route(mesh, 10.0)
    revision = mesh.lower(SHOP, "shop-1")
    assert mesh.read(SHOP) == LiveRouting({"2.0.0": 100.0, "2.1.0": 0.0}, "shop-1", True, revision, in_effect=True)


def test_lowering_twice_is_as_good_as_once(mesh):
    route(mesh, 10.0)
    mesh.lower(SHOP, "shop-1")
    mesh.lower(SHOP, "shop-1")
    assert mesh.read(SHOP).weights == {"2.0.0": 100.0, "2.1.0": 0.0}


def test_a_late_lowering_does_not_undo_a_newer_run(mesh):
    route(mesh, 10.0, run="shop-2")
    with pytest.raises(Conflict, match="belong to run 'shop-2' by now, not to 'shop-1'"):
        mesh.lower(SHOP, "shop-1")
    assert mesh.read(SHOP).weights["2.1.0"] == 10.0


def test_a_stuck_data_plane_takes_the_write_and_goes_on_as_before(mesh):
    route(mesh, 1.0)
    mesh.stuck = True
    revision = route(mesh, 10.0)
    live = mesh.read(SHOP)
    assert (live.weights["2.1.0"], live.in_effect) == (10.0, False)
    assert mesh.in_force()["shop"]["2.1.0"] == 1.0
    assert not mesh.confirm(SHOP, revision, 0.5)
    mesh.settle()
    assert mesh.confirm(SHOP, revision, 0.5)
    assert [weights["2.1.0"] for _, weights in mesh.history] == [1.0, 10.0]


def test_an_unreachable_mesh_says_so_and_keeps_what_it_had(mesh):
    revision = route(mesh, 1.0)
    mesh.unreachable = True
    for act in (lambda: mesh.read(SHOP), lambda: route(mesh, 10.0), lambda: mesh.lower(SHOP, "shop-1")):
        with pytest.raises(Unreachable, match="'shop'"):
            act()
    assert mesh.confirm(SHOP, revision, 0.5) is False
    mesh.unreachable = False
    assert mesh.read(SHOP).weights["2.1.0"] == 1.0


def test_another_hand_changes_weights_and_nothing_else(mesh):
    before = route(mesh, 10.0)
    mesh.meddle("shop", {"2.0.0": 50.0, "2.1.0": 50.0})
    live = mesh.read(SHOP)
    assert (live.weights["2.1.0"], live.run, live.aborted) == (50.0, "shop-1", False)
    assert live.revision != before
    mesh.lower(SHOP, "shop-1")
    assert mesh.read(SHOP).weights == {"2.0.0": 100.0, "2.1.0": 0.0}


def test_two_versions_that_serve_are_refused_without_a_fallback(mesh):
    with pytest.raises(AssertionError, match="applied with a fallback"):
        mesh.apply(SHOP, RENDERER.render(SHOP, Routing("2.0.0", "2.1.0", 10.0, "shop-1")))


def test_objects_that_are_not_the_two_expected_ones_are_refused(mesh):
    rule, service = RENDERER.render(SHOP, Routing("2.0.0", None, 0.0, "shop-1"))
    for objects in ([], [rule], [rule, service, service], [rule, {"kind": "Gateway"}]):
        with pytest.raises(InvalidInput, match="a VirtualService and a DestinationRule were expected"):
            mesh.apply(SHOP, objects)


def test_a_route_to_a_subset_that_does_not_exist_is_refused(mesh):
    rule, _ = RENDERER.render(SHOP, Routing("2.0.0", None, 0.0, "shop-1"))
    _, service = RENDERER.render(SHOP, Routing("9", None, 0.0, "shop-1"))
    with pytest.raises(InvalidInput, match="names subset 'v9', which does not exist"):
        mesh.apply(SHOP, [rule, service])


def test_a_write_on_routes_that_are_not_live_any_more_changes_nothing():
    mesh = FakeMesh()
    objects = RENDERER.render(SHOP, Routing("2.0.0", None, 0.0, "shop-1"))
    first = mesh.apply(SHOP, objects, expected=NO_ROUTES)
    second = mesh.apply(SHOP, objects, expected=first)
    for late in (first, NO_ROUTES):
        with pytest.raises(Conflict):
            mesh.apply(SHOP, objects, expected=late)
    routes = mesh.read(SHOP)
    assert routes is not None
    assert routes.revision == second
