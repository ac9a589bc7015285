"""The cache of a kind stays true whatever becomes of the line between it and the API server."""

from __future__ import annotations

import json
import random
import tracemalloc
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.kubernetes import Cache
from meshctl.adapters.kubernetes.api import Patch
from meshctl.adapters.kubernetes.kinds import CONFIG_MAP, POD
from meshctl.core.errors import Forbidden, Refused, Unreachable
from tests.adapters.api_memory import MemoryApi
from tests.adapters.rude_server import (
    HTML,
    answer,
    bookmark,
    cut,
    event,
    hang,
    listing,
    refusal,
    rude_server,
    status,
    stream,
    thing,
)
from tests.adapters.test_kubernetes_line import quick
from tests.cluster.waiting import eventually

WAIT_S = 10.0


@contextmanager
def cached(api, kind=POD, namespace="web", **options):
    cache = Cache(api, kind, namespace, **{"backoff_s": (0.01, 0.05), **options})
    cache.start()
    try:
        yield cache
    finally:
        cache.stop()


def names(cache):
    return [item["metadata"]["name"] for item in cache.items()]


def until(look, what="the cache is up to date"):
    eventually(look, WAIT_S, what)


# ------------------------------------------------------------------------------------------ in memory


@pytest.fixture
def api():
    return MemoryApi(namespace="web", namespaces=("web", "shop"))


def config_map(name, namespace="web", **data):
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


def test_what_is_there_is_listed_and_what_changes_is_told(api):
    api.create(CONFIG_MAP, config_map("a"))
    told = []
    with cached(api, CONFIG_MAP, "", changed=lambda kind, namespace, name: told.append((namespace, name))) as cache:
        assert cache.wait_until_synced(WAIT_S)
        api.create(CONFIG_MAP, config_map("b", "shop", x="1"))
        until(lambda: ("shop", "b") in told)
        assert cache.get("b", "shop")["data"] == {"x": "1"}
        assert cache.get("b", "web") is None
        assert cache.keys() == [("shop", "b"), ("web", "a")]
        assert [item["metadata"]["name"] for item in cache.items("web")] == ["a"]
        api.delete(CONFIG_MAP, "a", "web")
        until(lambda: told.count(("web", "a")) == 2)
        assert len(cache) == 1
        assert cache.behind_s() == 0.0
    assert cache.lists == 1
    assert cache.behind_s() > 0.0
    assert cache.get("b", "shop") is not None


def test_an_idle_kind_costs_one_list_and_one_watch(api):
    api.create(CONFIG_MAP, config_map("a"))
    api.calls.clear()
    with cached(api, CONFIG_MAP) as cache:
        cache.wait_until_synced(WAIT_S)
        until(lambda: cache.watches == 1)
        for _ in range(100):
            cache.get("a", "web")
    assert [call.verb for call in api.calls] == ["list", "watch"]


def test_what_is_trimmed_away_is_neither_kept_nor_a_change(api):
    told = []

    def trim(object):
        return {"metadata": {"name": object["metadata"]["name"], "namespace": "web"}, "data": object["data"]}

    with cached(api, CONFIG_MAP, trim=trim, changed=lambda *what: told.append(what)) as cache:
        cache.wait_until_synced(WAIT_S)
        api.create(CONFIG_MAP, config_map("a", x="1"))
        until(lambda: len(told) == 1)
        api.patch(CONFIG_MAP, "a", "web", {"metadata": {"labels": {"l": "1"}}}, form=Patch.MERGE)
        api.create(CONFIG_MAP, config_map("b"))
        until(lambda: len(told) == 2)
        assert [name for _, _, name in told] == ["a", "b"]
        assert cache.get("a", "web") == {"metadata": {"name": "a", "namespace": "web"}, "data": {"x": "1"}}


def test_who_reads_may_do_with_the_copy_what_he_likes(api):
    api.create(CONFIG_MAP, config_map("a", x="1"))
    with cached(api, CONFIG_MAP) as cache:
        cache.wait_until_synced(WAIT_S)
        cache.get("a", "web")["data"].clear()
        assert cache.get("a", "web")["data"] == {"x": "1"}
        assert "managedFields" not in cache.get("a", "web")["metadata"]


def test_a_listener_that_fails_stops_nobody(api, caplog):
    told = []

    def fail(*_):
        raise RuntimeError("listener")

    with cached(api, CONFIG_MAP, changed=fail) as cache:
        cache.tell(lambda *what: told.append(what))
        cache.wait_until_synced(WAIT_S)
        api.create(CONFIG_MAP, config_map("a"))
        until(lambda: told)
    assert "whoever is told of ConfigMap web/a failed" in caplog.text


def test_a_missing_right_is_raised_to_who_waits_and_heals_by_itself(api):
    api.deny("list", CONFIG_MAP)
    with cached(api, CONFIG_MAP) as cache:
        with pytest.raises(Forbidden, match="may not list configmaps"):
            cache.wait_until_synced(WAIT_S)
        api._denied.clear()
        until(lambda: cache.problem is None and cache.wait_until_synced(0.0))


def test_a_kind_that_is_not_there_is_raised_too(api):
    api.cluster.unknown.add(CONFIG_MAP)
    with cached(api, CONFIG_MAP) as cache, pytest.raises(Refused, match="does not know the kind"):
        cache.wait_until_synced(WAIT_S)


def test_an_unreachable_api_server_is_waited_for(api):
    api.fail(Unreachable("away"), times=3)
    with cached(api, CONFIG_MAP) as cache:
        assert cache.wait_until_synced(WAIT_S)
    assert not api._faults[0].times


def test_an_unreachable_api_server_is_raised_to_who_does_not_stay(api):
    api.fail(Unreachable("away"), times=3)
    with cached(api, CONFIG_MAP) as cache, pytest.raises(Unreachable, match="away"):
        cache.wait_until_synced(WAIT_S, patient=False)


def test_stopping_ends_a_watch_that_waits(api):
    with cached(api, CONFIG_MAP) as cache:
        cache.wait_until_synced(WAIT_S)
        thread = cache._thread
    assert not thread.is_alive()


STEPS = st.lists(
    st.sampled_from(["put", "put", "put", "delete", "forget", "cut", "fail watch", "fail list", "away"]), max_size=25
)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(0, 2**16))
def test_after_any_trouble_the_cache_holds_what_the_api_server_holds(steps, seed):
    api, chance = MemoryApi(namespace="web", namespaces=("web",)), random.Random(seed)
    other, told = api.seen_by("another"), set()
    with cached(api, CONFIG_MAP, changed=lambda kind, namespace, name: told.add(name)) as cache:
        for number, step in enumerate(steps):
            name = f"m{chance.randrange(4)}"
            match step:
                case "put":
                    if other.find(CONFIG_MAP, name, "web") is None:
                        other.create(CONFIG_MAP, config_map(name, n=str(number)))
                    else:
                        other.patch(CONFIG_MAP, name, "web", {"data": {"n": str(number)}}, form=Patch.MERGE)
                case "delete":
                    other.delete(CONFIG_MAP, name, "web")
                case "forget":
                    api.forget()
                case "cut":
                    api.cut_watches()
                case "fail watch":
                    api.fail(Unreachable("broken"), verb="watch")
                case "fail list":
                    api.fail(Unreachable("broken"), verb="list")
                case "away":
                    api.fail(Unreachable("away"), times=3)
            if chance.random() < 0.3:
                cache.wait_until_synced(0.01)
        truth = other.list(CONFIG_MAP, "web").items
        for item in truth:
            del item["metadata"]["managedFields"]
        until(lambda: list(cache.items()) == truth)
        assert {item["metadata"]["name"] for item in truth} <= told


# ------------------------------------------------------------------------------------------ on a line


@pytest.fixture
def rude():
    with rude_server() as rude:
        yield rude


@pytest.fixture
def line(rude, tmp_path):
    return quick(rude.kubeconfig(tmp_path))


def watched(rude):
    """The versions from which was watched so far."""
    return [asked.query["resourceVersion"] for asked in rude.asked if "watch" in asked.query]


def listed(rude):
    return sum("watch" not in asked.query for asked in rude.asked)


def test_the_watch_asks_for_bookmarks_and_for_an_end_of_its_own(rude, line):
    rude.reply(listing("a"), stream(silent=True))
    with cached(line):
        until(lambda: len(rude.asked) == 2)
    query = rude.asked[1].query
    assert query["allowWatchBookmarks"] == "true"
    assert 240 <= int(query["timeoutSeconds"]) <= 300
    assert query["resourceVersion"] == "10"


def test_a_line_cut_in_the_middle_loses_nothing(rude, line):
    whole = event("ADDED", thing("b", 11, image="x" * 500))
    rude.reply(
        listing("a"),
        stream(event("MODIFIED", thing("a", 11)), event("ADDED", thing("b", 12))[:60], end=False),
        stream(event("ADDED", thing("b", 12)), whole[:100], end=True),
        stream(silent=True),
    )
    with cached(line) as cache:
        until(lambda: len(watched(rude)) == 3)
        assert names(cache) == ["a", "b"]
    assert watched(rude) == ["10", "11", "12"]
    assert listed(rude) == 1


def test_a_line_that_comes_in_crumbs_is_read_as_one(rude, line):
    whole = event("ADDED", thing("b", 11, text="ü" * 50)) + event("DELETED", thing("a", 12))
    rude.reply(listing("a"), stream(*(whole[i : i + 7] for i in range(0, len(whole), 7)), silent=True))
    with cached(line) as cache:
        until(lambda: names(cache) == ["b"])


def test_a_forgotten_version_in_the_stream_leads_to_a_new_list(rude, line):
    gone = event("ERROR", status(410, "Expired", "too old resource version: 10 (90)"))
    rude.reply(listing("a"), stream(gone), listing("b", version=95), stream(silent=True))
    told = []
    with cached(line, changed=lambda kind, namespace, name: told.append(name)) as cache:
        until(lambda: watched(rude) == ["10", "95"])
        assert names(cache) == ["b"]
        assert sorted(told) == ["a", "a", "b"]


def test_a_forgotten_version_at_the_door_leads_to_a_new_list(rude, line):
    rude.reply(listing("a"), refusal(410, "Expired"), listing("b", version=95), stream(silent=True))
    with cached(line) as cache:
        until(lambda: watched(rude) == ["10", "95"])
        assert names(cache) == ["b"]


def test_a_bookmark_moves_the_version_and_nothing_else(rude, line):
    rude.reply(listing("a"), stream(bookmark(50)), stream(silent=True))
    told = []
    with cached(line, changed=lambda *what: told.append(what)) as cache:
        until(lambda: len(watched(rude)) == 2)
        assert names(cache) == ["a"]
    assert watched(rude) == ["10", "50"]
    assert len(told) == 1


def test_the_same_event_twice_is_told_once(rude, line):
    twice = event("MODIFIED", thing("a", 11, x=1))
    rude.reply(listing("a"), stream(twice, twice, event("DELETED", thing("z", 12)), bookmark(13)), stream(silent=True))
    told = []
    with cached(line, changed=lambda kind, namespace, name: told.append(name)):
        until(lambda: len(watched(rude)) == 2)
    assert told == ["a", "a"]


def test_a_line_that_falls_silent_is_begun_again_where_it_was(rude, tmp_path):
    line = quick(rude.kubeconfig(tmp_path), silence_s=0.5)
    rude.reply(listing("a"), stream(event("ADDED", thing("b", 11)), silent=True), stream(silent=True))
    with cached(line):
        until(lambda: watched(rude) == ["10", "11"])
    assert listed(rude) == 1


def test_an_api_server_that_restarts_is_found_again(rude, line):
    rude.reply(listing("a"), stream(event("ADDED", thing("b", 11)), end=False), cut, cut, refusal(503))
    rude.reply(stream(event("ADDED", thing("c", 12)), silent=True))
    with cached(line, backoff_s=(0.001, 0.01)) as cache:
        until(lambda: names(cache) == ["a", "b", "c"])
    assert listed(rude) == 1
    assert watched(rude)[1:] == ["11"] * 4


def test_a_version_that_no_watch_will_have_is_given_up_for_a_list(rude, line):
    too_large = refusal(504, "Timeout", "Too large resource version: 10, current: 3")
    rude.reply(listing("a"), too_large, listing("b", version=3), stream(silent=True))
    with cached(line) as cache:
        until(lambda: watched(rude) == ["10", "3"])
        assert names(cache) == ["b"]


@pytest.mark.parametrize(
    "nonsense", [b"<html>\n", b"{}\n", b'{"type": "ADDED"}\n', b'{"type": "ADDED", "object": {}}\n', b"\xff\xfe\n"]
)
def test_a_line_that_is_no_event_is_never_passed_over(rude, line, nonsense):
    rude.reply(listing("a"), stream(nonsense, event("ADDED", thing("c", 12)), silent=True))
    rude.reply(listing("a", "b"), stream(silent=True)) if b"{}}" in nonsense else rude.reply(stream(silent=True))
    with cached(line) as cache:
        until(lambda: len(watched(rude)) == 2)
        assert "c" not in names(cache)
    assert watched(rude) == ["10", "10"]


def test_a_watch_that_is_ended_at_once_is_not_hammered(rude, line):
    rude.reply(listing("a"))
    rude.otherwise = stream()
    with cached(line, backoff_s=(0.2, 2.0)) as cache:
        until(lambda: len(watched(rude)) >= 3)
        assert cache.watches <= 4
        assert isinstance(cache.problem, Unreachable)


def test_a_list_that_expires_between_its_pages_is_begun_anew(rude, line):
    rude.reply(listing("a", more="next"), refusal(410, "Expired"))
    rude.reply(listing("a", more="next"), listing("b"), stream(silent=True))
    with cached(line) as cache:
        assert cache.wait_until_synced(WAIT_S)
        assert names(cache) == ["a", "b"]


def test_a_login_page_keeps_the_cache_waiting_and_says_why(rude, line):
    rude.otherwise = HTML
    with cached(line) as cache:
        until(lambda: cache.problem is not None)
        assert "an HTML page" in str(cache.problem)
        assert not cache.wait_until_synced(0.0)


def test_a_hanging_api_server_does_not_hold_up_the_end(rude, line):
    rude.reply(listing("a"), stream(silent=True))
    rude.otherwise = hang
    with cached(line) as cache:
        until(lambda: cache.watches == 1 and cache.behind_s() == 0.0)
    assert not cache._thread.is_alive()


# ------------------------------------------------------------------------------------------ size


def test_a_large_kind_needs_little_more_memory_than_its_json(rude, tmp_path):
    def page(first, more):
        items = [thing(f"release-{number}", number, stages=[1] * 20) for number in range(first, first + 500)]
        for item in items:
            item["metadata"]["managedFields"] = [{"fieldsV1": {f"f:{n}": {} for n in range(40)}}]
        return answer(200, {"metadata": {"resourceVersion": "10", "continue": more}, "items": items})

    rude.reply(page(0, "1"), page(500, "2"), page(1000, "3"), page(1500, ""))
    rude.replies.appendleft(answer(200, {"gitVersion": "v1"}))
    cache = Cache(quick(rude.kubeconfig(tmp_path), attempt_s=20.0, budget_s=60.0), POD, "web")
    cache._api.server_version()
    tracemalloc.start()
    try:
        cache._list()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cache) == 2000
    one = len(json.dumps(cache.get("release-7", "web")))
    assert kept < 2000 * (one + 500)
    assert peak < kept + 15e6
