"""Adopted routes: the weights of the named ones move, any other field survives, and what is not certain is an error."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.kubernetes.kinds import DESTINATION_RULE, VIRTUAL_SERVICE
from meshctl.core.adoption import OURS, adopted_lies
from meshctl.core.errors import Conflict, InvalidInput, Refused
from meshctl.core.model import Adoption, MeshSpec, Ownership, Routing
from tests.adapters.istio_world import NEW, OLD, RENDERER, IstioWorld, destination, storefront, subsets


@pytest.fixture
def world() -> IstioWorld:
    return IstioWorld(Ownership.ADOPT)


@pytest.fixture
def begun(world) -> IstioWorld:
    """The version that serves is known to meshctl."""
    world.begin()
    world.apply(0.0)
    return world


def adopt(world, *routes, rule=None) -> None:
    mesh = MeshSpec(Ownership.ADOPT, adopt=Adoption("storefront", routes, rule))
    world.release = replace(world.release, spec=replace(world.release.spec, mesh=mesh))


def theirs(service, names=("main", "admin")):
    """All that is not meshctl's to change."""
    rest = copy.deepcopy(service)
    for key in ("resourceVersion", "generation", "managedFields"):
        rest["metadata"].pop(key, None)
    notes = rest["metadata"].pop("annotations", {})
    rest["notes"] = {key: value for key, value in notes.items() if not key.startswith(OURS)}
    for route in rest["spec"]["http"]:
        if route.get("name") in names:
            for each in route["route"]:
                each.pop("weight", None)
    return rest


# ------------------------------------------------------------------------------------ what moves


def test_all_named_routes_get_the_weights_and_nothing_else_changes(begun):
    before = theirs(begun.service)
    begun.apply(10.0)
    assert begun.weights("main") == begun.weights("admin") == {"v2-0-0": 900, "v2-1-0": 100}
    assert begun.weights("legacy") == {"": None}
    assert theirs(begun.service) == before
    begun.mesh.lower(begun.release, "shop-1")
    assert begun.weights("main") == begun.weights("admin") == {"v2-0-0": 1000, "v2-1-0": 0}
    assert theirs(begun.service) == before


def test_a_route_that_is_not_named_keeps_its_weights(begun):
    adopt(begun, "main")
    begun.apply(10.0)
    assert begun.weights("main") == {"v2-0-0": 900, "v2-1-0": 100}
    assert begun.weights("admin") == {"v2-0-0": 1000, "v2-1-0": 0}
    begun.mesh.lower(begun.release, "shop-1")
    assert begun.weights("main") == {"v2-0-0": 1000, "v2-1-0": 0}


def test_the_first_contact_writes_no_weight_but_the_same_in_thousandths(world):
    before = theirs(world.service)
    world.begin()
    assert world.weights("main") == {"v2-0-0": 1000, "v2-1-0": 0}
    assert theirs(world.service) == before
    assert world.service["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "argocd"}


def test_what_a_foreign_hand_does_beside_the_weights_survives(begun):
    def change(service):
        service["spec"]["http"][2]["retries"] = {"attempts": 7}
        service["spec"]["http"][0]["match"] = [{"uri": {"prefix": "/older"}}]

    begun.change_service(change)
    begun.apply(10.0)
    begun.mesh.lower(begun.release, "shop-1")
    service = begun.service
    assert service["spec"]["http"][2]["retries"] == {"attempts": 7}
    assert service["spec"]["http"][0]["match"] == [{"uri": {"prefix": "/older"}}]


@pytest.mark.parametrize("edit", ["weight", "retries", "order"])
def test_a_foreign_hand_between_looking_and_writing_is_a_lost_race_and_nothing_is_written(begun, edit):
    def change(service):
        if edit == "weight":
            service["spec"]["http"][2]["route"][1]["weight"] = 500
        elif edit == "retries":
            service["spec"]["http"][2]["retries"] = {"attempts": 7}
        else:
            service["spec"]["http"].reverse()

    def before(call):
        if (call.verb, call.kind) == ("patch", VIRTUAL_SERVICE):
            begun.api.before = None
            begun.change_service(change)

    begun.api.before = before
    with pytest.raises(Conflict):
        begun.apply(10.0)
    assert begun.weights("main")["v2-1-0"] == (500 if edit == "weight" else 0)
    assert begun.weights("admin") == {"v2-0-0": 1000, "v2-1-0": 0}


def test_the_same_weights_again_write_nothing(begun):
    revision = begun.apply(10.0)
    begun.api.calls.clear()
    assert begun.apply(10.0) == revision
    assert [call.verb for call in begun.api.calls if call.verb not in ("get", "list")] == []


def test_weights_that_another_hand_moved_are_written_again(begun):
    begun.apply(10.0)
    begun.meddle({OLD: 50.0, NEW: 50.0})
    begun.apply(10.0)
    assert begun.weights("main") == begun.weights("admin") == {"v2-0-0": 900, "v2-1-0": 100}


# ------------------------------------------------------------------------------------ what is refused


def change_main(world, change) -> None:
    world.change_service(lambda service: change(service["spec"]["http"][2]))


@pytest.mark.parametrize(
    ("names", "edit", "said"),
    [
        (("front",), None, "has no route named 'front'; its routes are: legacy, admin, main"),
        (
            ("main",),
            lambda http: http.append(copy.deepcopy(http[2])),
            r"has several routes named 'main' \(spec\.http\[2\] and spec\.http\[3\]\); which one is meant\?",
        ),
        (("main",), lambda http: http[2].update(redirect={"uri": "/x"}), "has no weights: it is a redirect"),
        (("main",), lambda http: http[2].update(delegate={"name": "x"}), "has no weights: it is a delegate"),
        (("main",), lambda http: http[2].pop("route"), "has no weights: it is a route to nowhere"),
    ],
)
def test_ambiguous_routes_are_a_loud_error_and_nothing_is_written(begun, names, edit, said):
    adopt(begun, *names)
    if edit is not None:
        begun.change_service(lambda service: edit(service["spec"]["http"]))
    before = begun.service
    for act in (lambda: begun.mesh.read(begun.release), lambda: begun.apply(10.0)):
        with pytest.raises(InvalidInput, match=said):
            act()
    assert begun.service == before


def test_a_virtual_service_of_tcp_routes_is_refused_by_name(begun):
    begun.change_service(lambda service: service.update(spec={"hosts": ["shop"], "tcp": [{"route": []}]}))
    with pytest.raises(InvalidInput, match=r"TCP or TLS routes only; meshctl moves HTTP requests \(gRPC and TCP"):
        begun.mesh.read(begun.release)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda route: route.update(route=[destination(OLD, 100)]),
            r"no destination for version 2\.1\.0; add to its route: - \{destination: \{host: shop, subset: v2-1-0\}",
        ),
        (
            lambda route: route["route"].append(destination(NEW, 0)),
            "has several destinations for version 2.1.0; which one is meant?",
        ),
        (
            lambda route: route["route"].append({"destination": {"host": "attic"}, "weight": 5}),
            "also sends requests to attic.default.svc.cluster.local; set its weight to 0",
        ),
        (
            lambda route: route["route"].append({"destination": {"host": "shop.bank.svc.cluster.local"}, "weight": 5}),
            "also sends requests to shop.bank.svc.cluster.local",
        ),
    ],
)
def test_destinations_that_are_missing_or_too_many_are_named_with_the_line_to_add(begun, edit, said):
    change_main(begun, edit)
    before = begun.service
    with pytest.raises(InvalidInput, match=said):
        begun.apply(10.0)
    assert begun.service == before


def test_a_destination_without_weight_beside_the_two_is_no_stranger(begun):
    change_main(begun, lambda route: route["route"].append({"destination": {"host": "attic"}, "weight": 0}))
    revision = begun.apply(10.0)
    assert begun.weights("main") == {"v2-0-0": 900, "v2-1-0": 100, "": 0}
    assert begun.mesh.read(begun.release).weights == {OLD: 90.0, NEW: 10.0}
    assert begun.apply(10.0) == revision, "and it is no reason to write again"
    begun.mesh.lower(begun.release, "shop-1")
    begun.mesh.apply(begun.release, begun.alone(OLD, run="shop-1"))
    assert begun.mesh.read(begun.release).weights == {OLD: 100.0}, "so idle releases have nothing to write"
    begun.apply(0.0, run="shop-2")
    assert begun.mesh.read(begun.release).weights == {OLD: 100.0, NEW: 0.0}


def test_a_missing_subset_is_named_with_the_line_to_add_before_the_run_can_begin(begun):
    rule = begun.rule
    rule["spec"]["subsets"].pop()
    begun.user.replace(DESTINATION_RULE, rule)
    said = r"DestinationRule storefront has no subset with version: 2\.1\.0; add to its spec\.subsets: "
    with pytest.raises(InvalidInput, match=said + r"- \{name: v2-1-0, labels: \{version: '2\.1\.0'\}\}"):
        begun.apply(0.0, run="shop-2")
    live = begun.mesh.read(begun.release)
    assert "has no subset with version: 2.1.0" in live.lacks, "a person sees it in the release's status"


def test_two_subsets_of_one_version_are_ambiguous(begun):
    rule = begun.rule
    rule["spec"]["subsets"].append({"name": "other", "labels": {"version": NEW}})
    begun.user.replace(DESTINATION_RULE, rule)
    with pytest.raises(InvalidInput, match=r"several subsets with version: 2\.1\.0 \(v2-1-0, other\); which one"):
        begun.apply(10.0)


def test_subsets_may_have_any_names_since_their_labels_tell_the_versions_apart(world):
    names = {"v2-0-0": "stable", "v2-1-0": "fresh"}
    rule = world.rule
    for each in rule["spec"]["subsets"]:
        each["name"] = names[each["name"]]
    world.user.replace(DESTINATION_RULE, rule)

    def change(service):
        for route in service["spec"]["http"][1:]:
            for each in route["route"]:
                each["destination"]["subset"] = names[each["destination"]["subset"]]

    world.change_service(change)
    world.begin()
    world.apply(0.0)
    revision = world.apply(10.0)
    assert world.weights("main") == {"stable": 900, "fresh": 100}
    assert world.mesh.confirm(world.release, revision, 5.0)
    assert world.mesh.read(world.release).weights == {OLD: 90.0, NEW: 10.0}
    world.mesh.lower(world.release, "shop-1")
    assert world.weights("main") == {"stable": 1000, "fresh": 0}


def test_without_a_destination_rule_or_with_several_it_must_be_named(begun):
    second = subsets()
    second["metadata"]["name"] = "second"
    begun.user.create(DESTINATION_RULE, second)
    with pytest.raises(InvalidInput, match="there is not exactly one DestinationRule whose host is shop"):
        begun.apply(10.0)
    adopt(begun, "main", "admin", rule="second")
    begun.apply(10.0)
    adopt(begun, "main", "admin", rule="third")
    with pytest.raises(InvalidInput, match="there is no DestinationRule third"):
        begun.apply(10.0)


def test_a_virtual_service_that_is_not_there_is_named(world):
    world.user.delete(VIRTUAL_SERVICE, "storefront", "default")
    assert world.mesh.read(world.release) is None
    with pytest.raises(InvalidInput, match="VirtualService default/storefront: there is none"):
        world.begin()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({OLD: 90.0, NEW: 10.0}, "sends 90 % to 2.0.0, 10 % to 2.1.0, and the first release"),
        ({OLD: 0.0, NEW: 100.0}, "sends 100 % to 2.1.0, and the first release"),
    ],
)
def test_whoever_adopts_begins_with_the_version_that_serves(world, weights, said):
    world.meddle(weights)
    before = world.service
    with pytest.raises(Refused, match=said):
        world.begin()
    assert world.service == before


def test_a_release_that_begins_with_a_new_version_moves_nobody(world):
    before = world.service
    with pytest.raises(Refused, match="Begin with a Release whose version is the one that serves"):
        world.mesh.apply(world.release, RENDERER.render(world.release, Routing(NEW, None, 0.0, "shop-1")))
    assert world.service == before


# ------------------------------------------------------------------------------------ any object at all

TEXT = st.text("abcxyz-/.~0", min_size=1, max_size=6)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2000) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MORE = st.dictionaries(TEXT.filter(lambda key: key not in ("name", "route", "redirect", "delegate")), JUNK, max_size=3)


@st.composite
def routes(draw):
    """Some routes, two of which are ours: `main` and `admin`, with anything else in them."""
    found = []
    for name in draw(st.permutations(["main", "admin", "legacy", ""])):
        ours = name in ("main", "admin")
        entries = [destination(OLD, 100) | draw(MORE), destination(NEW, 0) | draw(MORE)]
        if not ours:
            entries = [destination(OLD, draw(st.integers(0, 9))), destination(NEW, draw(st.integers(1, 9)))]
        if draw(st.booleans()):
            entries.reverse()
        for entry in entries:
            entry["destination"] |= draw(st.sampled_from([{}, {"port": {"number": 80}}]))
            if ours:
                entry["weight"] = 100 if entry["destination"]["subset"] == "v2-0-0" else 0
        found.append(draw(MORE) | {"route": entries} | ({"name": name} if name else {}))
    return found


@settings(max_examples=60, deadline=None)
@given(routes(), MORE, st.dictionaries(TEXT, TEXT, max_size=3), st.lists(st.sampled_from([0.1, 1.0, 50.0]), max_size=3))
def test_whatever_else_is_in_the_object_survives_every_write(http, more, notes, weights):
    world = IstioWorld(Ownership.ADOPT)

    def change(service):
        service["spec"] = {**more, **service["spec"], "http": http}
        service["metadata"]["annotations"] = notes

    world.change_service(change)
    before = theirs(world.service)
    world.begin()
    world.apply(0.0)
    for weight in weights:
        world.apply(weight)
        share = round(weight * 10)
        assert world.weights("main") == world.weights("admin") == {"v2-0-0": 1000 - share, "v2-1-0": share}
        assert theirs(world.service) == before
    world.mesh.lower(world.release, "shop-1")
    assert world.weights("main") == world.weights("admin") == {"v2-0-0": 1000, "v2-1-0": 0}
    assert theirs(world.service) == before


# ------------------------------------------------------------------------------------ the guard

WEIGHTS = {"v2-0-0": 900, "v2-1-0": 100}


def decided():
    service = storefront()
    for route in service["spec"]["http"][1:]:
        for each in route["route"]:
            each["weight"] = WEIGHTS[each["destination"]["subset"]]
    return service


def test_the_decided_weights_and_marks_of_our_own_pass():
    after = decided()
    after["metadata"] |= {"annotations": {"meshctl.dev/run": "shop-1"}, "resourceVersion": "7"}
    assert adopted_lies(storefront(), after, ("main", "admin"), WEIGHTS) == []


@pytest.mark.parametrize(
    "lie",
    [
        lambda after: after["spec"]["http"][2].pop("retries"),
        lambda after: after["spec"]["http"][2]["route"][0].pop("headers"),
        lambda after: after["spec"]["http"][0]["route"][0].update(weight=1),
        lambda after: after["spec"]["http"][2]["route"][1].update(weight=101),
        lambda after: after["spec"]["http"][2]["route"][1].update(weight=100.0),
        lambda after: after["spec"]["http"][2]["route"][1]["destination"].update(host="attic"),
        lambda after: after["spec"]["http"][2].update(name="other"),
        lambda after: after["spec"]["hosts"].append("bank"),
        lambda after: after["metadata"]["labels"].update(team="x"),
        lambda after: after["metadata"].update(annotations={"argocd": "x"}),
    ],
)
def test_any_other_change_is_a_lie(lie):
    after = decided()
    lie(after)
    assert adopted_lies(storefront(), after, ("main", "admin"), WEIGHTS)


def test_weights_that_do_not_sum_to_a_thousand_are_a_lie():
    after = decided()
    after["spec"]["http"][2]["route"].append({"destination": {"host": "attic"}, "weight": 5})
    before = storefront()
    before["spec"]["http"][2]["route"].append({"destination": {"host": "attic"}, "weight": 5})
    assert adopted_lies(before, after, ("main", "admin"), WEIGHTS)
