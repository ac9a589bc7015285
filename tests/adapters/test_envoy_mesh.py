"""Routes on real Envoy: they split as they say, take effect at once, and no request fails by our hand."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshctl.adapters.envoy.files import wait_until
from meshctl.adapters.envoy.mesh import EnvoyMesh, lower_by_name
from meshctl.adapters.supervision import ProcessTable, alive
from meshctl.core.errors import Conflict, InvalidInput, Refused
from meshctl.core.model import Workload
from tests.adapters.envoy_world import NEW, OLD, RELEASE, Load, World, objects, version, workload

pytestmark = pytest.mark.e2e
CHI_SQUARE_AT_1E6 = 23.9
"""One degree of freedom, p = 1e-6: a right split fails once in a million runs."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def begin(declared: Workload | None = None) -> World:
        world = World(tmp_path / "m", declared or workload({OLD: version(), NEW: version()}))
        made.append(world)
        world.start()
        return world

    yield begin
    for world in made:
        world.stop()


@pytest.fixture
def shop(start: Callable[..., World]) -> World:
    world = start()
    world.have_ready(OLD, NEW)
    world.apply({OLD: 1000, NEW: 0})
    return world


def test_a_version_of_weight_zero_gets_no_request(shop: World):
    assert shop.get(2000) == {f"200 {OLD} -": 2000}


@pytest.mark.parametrize("weight", [1, 100])
def test_traffic_splits_as_the_weights_say(shop: World, weight: int):
    shop.apply({OLD: 1000 - weight, NEW: weight}, fallback={OLD: 1000, NEW: 0})
    count = 5000
    answers = shop.get(count)
    expected = count * weight / 1000
    got = answers[f"200 {NEW} -"]
    assert sum(answers.values()) == count == got + answers[f"200 {OLD} -"]
    assert (got - expected) ** 2 / expected + (got - expected) ** 2 / (count - expected) < CHI_SQUARE_AT_1E6


def test_the_preview_header_reaches_a_version_of_weight_zero(shop: World):
    assert shop.get(20, headers={"x-meshctl-preview": NEW}) == {f"200 {NEW} -": 20}


def test_what_is_read_back_is_what_envoy_follows(shop: World):
    revision = shop.apply({OLD: 995, NEW: 5}, fallback={OLD: 1000, NEW: 0})
    live = shop.mesh.read(RELEASE)
    assert live is not None
    assert (live.weights, live.run, live.aborted) == ({OLD: 99.5, NEW: 0.5}, "shop-1", False)
    assert (live.revision, live.in_effect) == (revision, True)


def test_the_same_objects_again_write_nothing(shop: World):
    first = shop.apply({OLD: 900, NEW: 100})
    assert shop.apply({OLD: 900, NEW: 100}) == first


def test_there_and_back_again_is_a_new_revision_that_gets_confirmed(shop: World):
    first = shop.apply({OLD: 900, NEW: 100})
    shop.mesh.apply(RELEASE, objects({OLD: 800, NEW: 200}))
    assert shop.apply({OLD: 900, NEW: 100}) != first


def test_no_routes_are_read_as_none_and_foreign_ones_too(start: Callable[..., World]):
    world = start()
    assert world.mesh.read(RELEASE) is None
    assert world.mesh.lower(RELEASE, "shop-1") is None
    world.server.layout.routes("shop").parent.mkdir(parents=True, exist_ok=True)
    world.server.layout.routes("shop").write_text('{"resources": []}')
    assert world.mesh.read(RELEASE) is None


def test_an_unknown_field_is_refused_and_changes_nothing(shop: World):
    before = shop.mesh.read(RELEASE)
    with pytest.raises(InvalidInput, match=r"spec\.http\[2\]\.fault"):
        shop.mesh.apply(RELEASE, objects({OLD: 0, NEW: 1000}, fault={}))
    assert shop.mesh.read(RELEASE) == before


def test_an_abort_under_load_is_one_rename_and_fails_no_request(shop: World):
    shop.apply({OLD: 500, NEW: 500}, fallback={OLD: 1000, NEW: 0})
    load = Load(shop.server.listen("shop"))
    load.start()
    shop.until(lambda: load.answers[f"200 {NEW} -"] > 100)
    revision = shop.mesh.lower(RELEASE, "shop-1")
    assert revision
    assert shop.mesh.confirm(RELEASE, revision, 2.0)
    live = shop.mesh.read(RELEASE)
    assert live is not None
    assert (live.weights, live.aborted, live.run) == ({OLD: 100.0, NEW: 0.0}, True, "shop-1")
    answers = load.finish()
    assert set(answers) == {f"200 {OLD} -", f"200 {NEW} -"}
    assert shop.get(500) == {f"200 {OLD} -": 500}
    assert shop.mesh.lower(RELEASE, "shop-1") == revision, "an abort twice is one abort"


def test_an_abort_of_an_older_run_touches_nothing(shop: World):
    shop.apply({OLD: 900, NEW: 100}, fallback={OLD: 1000, NEW: 0}, run="shop-2")
    with pytest.raises(Conflict, match="belong to shop-2"):
        shop.mesh.lower(RELEASE, "shop-1")
    live = shop.mesh.read(RELEASE)
    assert live is not None
    assert live.weights[NEW] == 10.0


def test_a_write_on_routes_that_are_not_live_any_more_changes_nothing(shop: World):
    first = shop.apply({OLD: 900, NEW: 100}, fallback={OLD: 1000, NEW: 0})
    shop.mesh.lower(RELEASE, "shop-1")
    with pytest.raises(Conflict, match="not live any more"):
        shop.mesh.apply(RELEASE, objects({OLD: 500, NEW: 500}), fallback=objects({OLD: 1000, NEW: 0}), expected=first)
    live = shop.mesh.read(RELEASE)
    assert live is not None
    assert live.aborted
    shop.mesh.apply(RELEASE, objects({OLD: 1000, NEW: 0}), expected=live.revision)


def test_an_abort_needs_neither_envoy_nor_a_writable_folder(shop: World, monkeypatch: pytest.MonkeyPatch):
    shop.apply({OLD: 900, NEW: 100}, fallback={OLD: 1000, NEW: 0})
    shop.server.stop()

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    assert EnvoyMesh(shop.server).lower(RELEASE, "shop-1")
    live = EnvoyMesh(shop.server).read(RELEASE)
    assert live is not None
    assert (live.weights[NEW], live.aborted, live.in_effect) == (0.0, True, False)


def test_who_knows_only_the_name_of_a_promoted_release_goes_back_to_the_version_before(shop: World):
    """No state says whether the run was promoted: an abort then is what a rollback would be."""
    shop.apply({NEW: 1000, OLD: 0}, fallback={OLD: 1000, NEW: 0})
    assert lower_by_name(shop.server.layout, "other") is None
    assert lower_by_name(shop.server.layout, "shop") == "shop-1"
    live = shop.mesh.read(RELEASE)
    assert live is not None
    assert (live.weights[OLD], live.aborted, live.run) == (100.0, True, "shop-1")


def test_who_knows_only_the_name_changes_nothing_once_no_version_before_is_kept_warm(shop: World):
    shop.apply({NEW: 1000})
    with pytest.raises(Refused, match="no way back lies beside the live routes"):
        lower_by_name(shop.server.layout, "shop")
    live = shop.mesh.read(RELEASE)
    assert live is not None
    assert (live.weights, live.aborted) == ({NEW: 100.0}, False)


def test_traffic_is_not_sent_where_no_replica_is_healthy(start: Callable[..., World], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("meshctl.adapters.envoy.mesh.WARM_S", 0.5)
    world = start(workload({OLD: version(), NEW: version(BROKEN_READINESS="1")}))
    world.have_ready(OLD)
    world.workloads.ensure(RELEASE, NEW)
    world.apply({OLD: 1000, NEW: 0})
    before = world.mesh.read(RELEASE)
    with pytest.raises(Refused, match=rf"no healthy replica .*{NEW} 0"):
        world.mesh.apply(RELEASE, objects({OLD: 900, NEW: 100}), fallback=objects({OLD: 1000, NEW: 0}))
    assert world.mesh.read(RELEASE) == before


def test_an_unhealthy_endpoint_gets_no_request_beside_a_healthy_one(start: Callable[..., World]):
    world = start(workload({OLD: version(2)}))
    world.have_ready(OLD)
    world.apply({OLD: 1000})
    ports = world.server.pools.ports("shop", OLD)
    closed = next(port for port in range(32_000, 32_100) if port not in ports)
    world.server.pools.publish("shop", OLD, [*ports, closed])
    assert world.get(500) == {f"200 {OLD} -": 500}
    assert world.server.pools.healthy("shop", OLD) == 2


def test_a_killed_replica_leaves_the_pool_and_only_what_was_inside_it_fails(start: Callable[..., World]):
    world = start(workload({OLD: version(2)}))
    world.have_ready(OLD)
    world.apply({OLD: 1000})
    load = Load(world.server.listen("shop"))
    load.start()
    world.until(lambda: load.answers.total() > 50)
    victim = world.workloads.pids("shop", OLD)[0]
    os.kill(victim, signal.SIGKILL)
    world.until(lambda: victim not in world.workloads.pids("shop", OLD) and world.complete(OLD))
    seen = load.answers.copy()
    world.until(lambda: load.answers.total() > seen.total() + 500)
    answers = load.finish()
    failed = {answer: count for answer, count in answers.items() if not answer.startswith("200")}
    assert set(failed) <= {"503 - UC"}, "refused connections are tried on the other replica"
    assert sum(failed.values()) <= 2 * load.parallel
    assert answers["503 - UC"] == seen["503 - UC"], "nothing fails once it is replaced"


def test_a_dead_replica_costs_no_request_while_nobody_supervises(start: Callable[..., World]):
    world = start(workload({OLD: version(2)}))
    world.have_ready(OLD)
    world.apply({OLD: 1000})
    [process] = [entry for entry in ProcessTable(world.base).records().values() if entry.notes.get("number") == 0]
    os.kill(process.pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(process), 5.0)
    assert world.get(500) == {f"200 {OLD} -": 500}
    assert wait_until(lambda: world.server.pools.healthy("shop", OLD) == 1, 5.0)


def test_a_new_traffic_policy_under_load_fails_no_request(shop: World):
    load = Load(shop.server.listen("shop"))
    load.start()
    shop.until(lambda: load.answers.total() > 100)
    manifests = objects({OLD: 999, NEW: 1})
    manifests[1]["spec"]["trafficPolicy"] = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
    assert shop.mesh.confirm(RELEASE, shop.mesh.apply(RELEASE, manifests), 2.0)
    seen = load.answers.total()
    shop.until(lambda: load.answers.total() > seen + 1000)
    assert set(load.finish()) <= {f"200 {OLD} -", f"200 {NEW} -"}


def test_at_the_end_the_routes_go_first_and_then_the_old_cluster(shop: World):
    shop.apply({OLD: 0, NEW: 1000})
    load = Load(shop.server.listen("shop"))
    load.start()
    shop.until(lambda: load.answers.total() > 100)
    shop.apply({NEW: 1000}, run="shop-2")
    shop.workloads.retire(RELEASE, [NEW])
    shop.until(lambda: not shop.workloads.pids("shop", OLD))
    shop.apply({NEW: 1000}, run="shop-3")
    shop.until(lambda: "shop.v2-0-0" not in shop.server.admin.health("shop."))
    assert set(load.finish()) == {f"200 {NEW} -"}


def test_envoys_own_answers_say_why_and_name_no_server(shop: World):
    shop.workloads.retire(RELEASE, [NEW])
    shop.until(lambda: shop.server.pools.healthy("shop", OLD) == 0)
    assert shop.get(3) == {"503 - UH": 3}


def test_a_folder_with_a_long_path_works_too(tmp_path: Path):
    world = World(tmp_path / ("long-" * 20), workload({OLD: version()}))
    try:
        world.start()
        world.have_ready(OLD)
        world.apply({OLD: 1000})
        assert world.get(5) == {f"200 {OLD} -": 5}
    finally:
        world.stop()
        shutil.rmtree(world.server.admin.path.parent, ignore_errors=True)
