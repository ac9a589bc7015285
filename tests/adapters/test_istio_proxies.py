"""Confirmation by acknowledgement: never before every proxy works by the routes, and never waiting for ever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.istio.confirm import Subsets, Wish
from meshctl.adapters.istio.envoyroutes import agrees
from meshctl.adapters.istio.proxies import FOREIGN_FOR_S, GONE_FOR_S, SETTLE_S, ProxyAcknowledgements
from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE, SERVICE, VIRTUAL_SERVICE
from meshctl.core.errors import Forbidden
from meshctl.core.model import Metadata, Release, ReleaseSpec
from tests.adapters.api_memory import MemoryApi
from tests.adapters.istiod_memory import MemoryIstiod, routes_of

HOST = "shop.default.svc.cluster.local"
RELEASE = Release(Metadata("shop"), ReleaseSpec("2.1.0", "shop"))


class Mesh:
    """One release's VirtualService, replicas of istiod, proxies, and a clock that moves by hand."""

    def __init__(self, replicas: int = 1) -> None:
        self.api = MemoryApi()
        self.api.create(SERVICE, {"metadata": {"name": "shop", "namespace": "default"}, "spec": {}})
        self.api.create(VIRTUAL_SERVICE, _service(0))
        self.api.create(DESTINATION_RULE, _rule())
        self.istiods = [MemoryIstiod(self.api, f"http://istiod-{number}") for number in range(replicas)]
        self.now = 1000.0
        self.running: set[str] = set()
        self.plane = ProxyAcknowledgements(
            lambda: self.istiods, is_running=self.running.__contains__, monotonic=lambda: self.now
        )

    def write(self, weight: int) -> Wish:
        self.api.replace(VIRTUAL_SERVICE, _service(weight))
        return self.wish()

    def wish(self) -> Wish:
        service = self.api.get(VIRTUAL_SERVICE, "shop", "default")
        shares = {each["destination"]["subset"]: each["weight"] for each in service["spec"]["http"][0]["route"]}
        return Wish(
            release=RELEASE,
            revision=service["metadata"]["resourceVersion"],
            host=HOST,
            services=(("default", "shop"),),
            delegate=False,
            whole=True,
            routes={"main": (shares,)},
            weights={},
            before={},
            written=None,
        )

    def lacks(self, wish: Wish) -> str:
        self.now += 0.06
        return self.plane.lacks_routes(wish)

    def wait(self, wish: Wish, seconds: float) -> str:
        """The last word after looking for a while."""
        until = self.now + seconds
        text = self.lacks(wish)
        while text and self.now < until:
            text = self.lacks(wish)
        return text

    def works_by(self, wish: Wish, connection) -> bool | None:
        return agrees(routes_of(connection.works_by, connection.sees), wish)


def _service(weight: int) -> dict[str, object]:
    route = [
        {"destination": {"host": "shop", "subset": "v1"}, "weight": 1000 - weight},
        {"destination": {"host": "shop", "subset": "v2"}, "weight": weight},
    ]
    spec = {"hosts": ["shop"], "http": [{"name": "main", "route": route}]}
    return {"metadata": {"name": "shop", "namespace": "default"}, "spec": spec}


def _rule() -> dict[str, object]:
    subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
    return {"metadata": {"name": "shop", "namespace": "default"}, "spec": {"host": "shop", "subsets": subsets}}


@pytest.fixture
def mesh() -> Mesh:
    made = Mesh()
    made.istiods[0].connect("edge-0.istio-system")
    made.istiods[0].connect("client-0.default", "sidecar")
    return made


def push(istiod, only: tuple[str, ...] = (), acknowledge: bool = True) -> None:
    """One whole push; to those in ``only``, if any are named."""
    istiod.begin_push()
    for connection in istiod.connections.values():
        if not only or connection.id in only:
            istiod.take_over(connection)
            istiod.send(connection)
            if acknowledge:
                istiod.acknowledge(connection)


def test_nothing_is_in_effect_before_istiod_has_pushed_it(mesh):
    wish = mesh.write(100)
    assert mesh.lacks(wish) == "edge-0.istio-system has not been given the routes yet"
    push(mesh.istiods[0])
    assert mesh.lacks(wish) == ""


def test_a_proxy_that_does_not_acknowledge_is_named(mesh):
    wish = mesh.write(100)
    push(mesh.istiods[0], acknowledge=False)
    mesh.istiods[0].acknowledge(mesh.istiods[0].connections["edge-0.istio-system"])
    assert mesh.wait(wish, 60) == "not acknowledged by client-0.default"
    mesh.istiods[0].acknowledge(mesh.istiods[0].connections["client-0.default"])
    assert mesh.lacks(wish) == ""


def test_a_proxy_that_refuses_the_routes_is_named_with_its_reason(mesh):
    wish = mesh.write(100)
    push(mesh.istiods[0], acknowledge=False)
    mesh.istiods[0].acknowledge(mesh.istiods[0].connections["edge-0.istio-system"])
    mesh.istiods[0].connections["client-0.default"].error = "unknown filter"
    assert mesh.lacks(wish) == "client-0.default refuses the routes: unknown filter"


def test_every_replica_of_istiod_counts():
    mesh = Mesh(replicas=2)
    mesh.istiods[0].connect("edge-0.istio-system")
    mesh.istiods[1].connect("edge-1.istio-system")
    wish = mesh.write(100)
    push(mesh.istiods[0])
    assert mesh.wait(wish, 60) == "edge-1.istio-system has not been given the routes yet"
    push(mesh.istiods[1])
    assert mesh.lacks(wish) == ""


def test_an_istiod_that_does_not_answer_is_not_in_effect_and_what_was_in_effect_stays_so(mesh):
    wish = mesh.write(100)
    push(mesh.istiods[0])
    mesh.istiods[0].unreachable = True
    assert "does not answer" in mesh.lacks(wish)
    istiod = mesh.istiods.pop()
    assert "no istiod" in mesh.lacks(wish)
    mesh.istiods.append(istiod)
    istiod.unreachable = False
    assert mesh.lacks(wish) == ""
    istiod.unreachable = True
    assert mesh.lacks(wish) == ""


def test_where_istiod_shows_nothing_to_us_that_is_said_by_an_error(mesh):
    def closed() -> list[MemoryIstiod]:
        raise Forbidden("401")

    plane = ProxyAcknowledgements(closed)
    with pytest.raises(Forbidden):
        plane.lacks_routes(mesh.wish())


def test_routes_that_no_proxy_has_are_not_in_effect():
    mesh = Mesh()
    assert mesh.lacks(mesh.wish()) == "none of the 0 connected proxies has the routes of default/shop"
    mesh.istiods[0].connect("edge-0.istio-system", sees=lambda host: False)
    mesh.now += 1
    assert mesh.wait(mesh.wish(), 5) == "none of the 1 connected proxies has the routes of default/shop"


def test_a_proxy_without_these_routes_is_not_waited_for(mesh):
    mesh.istiods[0].connect("other-0.elsewhere", "sidecar", sees=lambda host: False)
    wish = mesh.write(100)
    push(mesh.istiods[0], only=("edge-0.istio-system", "client-0.default"))
    assert mesh.lacks(wish) == "not acknowledged by other-0.elsewhere"
    assert mesh.wait(wish, SETTLE_S + 0.5) == ""
    wish = mesh.write(200)
    push(mesh.istiods[0], only=("edge-0.istio-system", "client-0.default"))
    assert mesh.lacks(wish) == "", "it is known by now"
    mesh.now += FOREIGN_FOR_S
    wish = mesh.write(300)
    push(mesh.istiods[0], only=("edge-0.istio-system", "client-0.default"))
    assert mesh.lacks(wish) == "not acknowledged by other-0.elsewhere", "and is asked anew after a while"


def test_a_later_push_that_does_not_concern_a_proxy_does_not_hold_it_back(mesh):
    istiod = mesh.istiods[0]
    wish = mesh.write(100)
    push(istiod)
    istiod.begin_push()
    for connection in istiod.connections.values():
        istiod.take_over(connection, concerned=False)
    assert mesh.lacks(wish) == "not acknowledged by edge-0.istio-system, client-0.default"
    assert mesh.wait(wish, SETTLE_S + 0.5) == ""


def test_many_proxies_that_are_not_concerned_are_found_out_in_the_end(mesh):
    for number in range(200):
        mesh.istiods[0].connect(f"other-{number}.elsewhere", "sidecar", sees=lambda host: False)
    mesh.istiods[0].connect("a-first.default", "router", sees=lambda host: False)
    wish = mesh.write(100)
    push(mesh.istiods[0], only=("edge-0.istio-system", "client-0.default"))
    text = mesh.lacks(wish)
    assert "and " in text
    assert text.endswith(" more")
    assert mesh.wait(wish, 10) == ""


def test_the_only_proxies_that_have_the_routes_are_found_among_many_others():
    mesh = Mesh()
    for number in range(100):
        mesh.istiods[0].connect(f"other-{number}.elsewhere", sees=lambda host: False)
    mesh.istiods[0].connect("shopper-0.default", "sidecar")
    wish = mesh.write(100)
    push(mesh.istiods[0])
    assert "more proxies are to be looked at" in mesh.lacks(wish)
    assert mesh.wait(wish, 5) == ""


def test_a_proxy_that_runs_on_without_a_connection_works_by_what_it_had(mesh):
    push(mesh.istiods[0])
    assert mesh.lacks(mesh.wish()) == ""
    mesh.running.add("client-0.default")
    lost = mesh.istiods[0].connections.pop("client-0.default")
    wish = mesh.write(100)
    push(mesh.istiods[0])
    text = mesh.wait(wish, 60)
    assert text == "client-0.default runs and is connected to no istiod, so it works by what it had"
    mesh.istiods[0].connections["client-0.default"] = lost
    push(mesh.istiods[0])
    assert mesh.lacks(wish) == ""


def test_a_proxy_whose_pod_is_gone_is_not_missed(mesh):
    mesh.lacks(mesh.wish())
    del mesh.istiods[0].connections["client-0.default"]
    wish = mesh.write(100)
    push(mesh.istiods[0])
    assert mesh.lacks(wish) == ""


def test_a_lost_proxy_is_asked_after_for_a_while_only(mesh):
    mesh.lacks(mesh.wish())
    mesh.running.add("client-0.default")
    del mesh.istiods[0].connections["client-0.default"]
    wish = mesh.write(100)
    push(mesh.istiods[0])
    assert mesh.lacks(wish)
    mesh.now += GONE_FOR_S
    assert mesh.lacks(wish) == ""


def test_routes_that_were_overtaken_by_the_same_as_before_must_have_passed(mesh):
    push(mesh.istiods[0])
    assert mesh.lacks(mesh.wish()) == ""
    on_its_way = mesh.write(500)
    assert mesh.lacks(on_its_way)
    back = mesh.write(0)
    assert mesh.lacks(back) == "the routes written just before may still be on their way"
    assert mesh.wait(back, SETTLE_S + 0.2) == ""


def test_after_a_restart_of_istiod_its_small_numbers_are_later_ones(mesh):
    istiod = mesh.istiods[0]
    for _ in range(30):
        push(istiod)
    assert mesh.lacks(mesh.wish()) == ""
    fresh = MemoryIstiod(mesh.api, istiod.url)
    fresh.number = 0
    wish = mesh.write(100)
    fresh.begin_push()
    for name in ("edge-0.istio-system", "client-0.default"):
        fresh.connect(name)
    mesh.istiods[:] = [fresh]
    assert mesh.lacks(wish) == ""


# ------------------------------------------------------------------------------------ subsets


def subsets(mesh, *names, serving=()) -> Subsets:
    rule = mesh.api.get(DESTINATION_RULE, "shop", "default")
    return Subsets(RELEASE, rule["metadata"]["resourceVersion"], HOST, names, serving, None)


def declare(mesh, *names) -> None:
    rule = mesh.api.get(DESTINATION_RULE, "shop", "default")
    rule["spec"]["subsets"] = [{"name": name, "labels": {"version": name}} for name in names]
    mesh.api.replace(DESTINATION_RULE, rule)


def lacks_subsets(mesh, wish, seconds: float = 0.0) -> str:
    until = mesh.now + seconds
    while True:
        mesh.now += 0.06
        text = mesh.plane.lacks_subsets(wish)
        if not text or mesh.now >= until:
            return text


def test_a_new_subset_is_known_once_every_proxy_has_acknowledged_it(mesh):
    declare(mesh, "v1", "v2", "v3")
    wish = subsets(mesh, "v2", "v3")
    assert lacks_subsets(mesh, wish, 30) == "edge-0.istio-system has not been given the subset v3 yet"
    push(mesh.istiods[0], acknowledge=False)
    mesh.istiods[0].acknowledge(mesh.istiods[0].connections["edge-0.istio-system"])
    assert lacks_subsets(mesh, wish, 30) == "the subsets v2, v3 are not acknowledged by client-0.default"
    mesh.istiods[0].acknowledge(mesh.istiods[0].connections["client-0.default"])
    assert lacks_subsets(mesh, wish) == ""


def test_a_subset_that_is_to_serve_needs_a_healthy_endpoint_at_the_proxies(mesh):
    assert lacks_subsets(mesh, subsets(mesh, "v1", "v2")) == ""
    wish = subsets(mesh, "v1", "v2", serving=("v2",))
    mesh.plane = ProxyAcknowledgements(lambda: mesh.istiods, monotonic=lambda: mesh.now)
    assert lacks_subsets(mesh, wish, 5) == "edge-0.istio-system has no healthy endpoint of v2 yet"


def test_a_service_that_no_proxy_knows_is_waited_for_only_a_moment():
    mesh = Mesh()
    mesh.istiods[0].connect("edge-0.istio-system", sees=lambda host: False)
    wish = subsets(mesh, "v1")
    assert lacks_subsets(mesh, wish) == f"no proxy knows {HOST} yet"
    assert lacks_subsets(mesh, wish, SETTLE_S + 0.2) == ""


# ------------------------------------------------------------------------------------ every order

PROXIES = ("edge-0.istio-system", "client-0.default", "other-0.elsewhere")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 3)),
        st.tuples(st.just("push"), st.just(0)),
        st.tuples(st.just("take"), st.integers(0, 5)),
        st.tuples(st.just("send"), st.integers(0, 2)),
        st.tuples(st.just("ack"), st.integers(0, 2)),
        st.tuples(st.just("look"), st.integers(1, 8)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


def deliver(istiod) -> None:
    """What was pushed is sent to everybody whom it concerns: the real istiod does so within milliseconds."""
    for connection in istiod.connections.values():
        if connection.context is not istiod.context and connection.pending is None:
            take(istiod, connection)
        if connection.pending is not None:
            istiod.send(connection)


def take(istiod, connection) -> None:
    before, after = connection.context, istiod.context
    changed = (before.services, before.rules) != (after.services, after.rules)
    istiod.take_over(connection, concerned=changed and not connection.id.startswith("other"))


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_in_no_order_of_events_a_weight_counts_that_a_concerned_proxy_does_not_have(steps):
    """What counts once counts until the next write, whatever is still on its way."""
    mesh = Mesh()
    istiod = mesh.istiods[0]
    _connect(istiod)
    assert mesh.wait(mesh.wish(), 5) == ""
    arrived = True
    for step, value in steps:
        connection = list(istiod.connections.values())[value % 3]
        if step == "write":
            mesh.write(value * 100)
            arrived = False
        elif step == "push":
            deliver(istiod)
            istiod.begin_push()
        elif step == "take" and connection.pending is None:
            take(istiod, connection)
        elif step == "send" and connection.pending is not None:
            istiod.send(connection)
        elif step == "ack":
            istiod.acknowledge(connection)
        elif step == "restart":
            istiod = mesh.istiods[0] = _restarted(mesh, istiod)
        elif step == "look":
            arrived = _look(mesh, istiod, value) or arrived
        if arrived:
            assert False not in [mesh.works_by(mesh.wish(), each) for each in istiod.connections.values()]
    deliver(istiod)
    istiod.sync()
    for connection in istiod.connections.values():
        istiod.acknowledge(connection)
    assert mesh.wait(mesh.wish(), 5 * SETTLE_S) == "", "and when all has arrived it is seen"


def _look(mesh: Mesh, istiod: MemoryIstiod, count: int) -> bool:
    """Look for a while, in which nothing stays half sent."""
    wish = mesh.wish()
    for number in range(count * 4):
        if mesh.lacks(wish) == "":
            return True
        if number * 0.06 > SETTLE_S / 3:
            deliver(istiod)
    return False


def _connect(istiod: MemoryIstiod) -> None:
    for name in PROXIES:
        istiod.connect(name, sees=lambda host, name=name: not name.startswith("other"))


def _restarted(mesh: Mesh, istiod: MemoryIstiod) -> MemoryIstiod:
    """Another process at the same address, a little later; proxies connect and are given what is there."""
    fresh = MemoryIstiod(mesh.api, istiod.url)
    fresh.number = istiod.number + 3
    fresh.begin_push()
    _connect(fresh)
    return fresh
