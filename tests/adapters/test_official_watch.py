"""Why there is a watch of our own: what the official client's does (docs/adr/0005-our-own-watch.md).

When one of these fails after an upgrade, the official one became better: read that page again.
"""

from __future__ import annotations

import logging

import pytest
from kubernetes import client, watch
from kubernetes.informer import SharedInformer

from tests.adapters.rude_server import answer, cut, event, rude_server, status, stream, thing
from tests.cluster.waiting import eventually

GONE = stream(event("ERROR", status(410, "Expired", "too old resource version")))
WAIT_S = 10.0


@pytest.fixture
def rude():
    with rude_server() as rude:
        rude.otherwise = stream(silent=True)
        yield rude


def connected(rude):
    settings = client.Configuration()
    settings.host, settings.retries = rude.url, False
    return client.ApiClient(settings)


def things(rude):
    """The way to list and watch a custom resource."""
    api = client.CustomObjectsApi(connected(rude))
    return lambda namespace, **options: api.list_namespaced_custom_object("g", "v1", namespace, "things", **options)


def watched(rude, **options):
    """What `Watch` yields until it raises or has said ``c``, and from which versions it began."""
    stream = watch.Watch().stream(things(rude), "web", resource_version="10", _request_timeout=2, **options)
    seen = []
    try:
        for found in stream:
            seen.append(found and found["object"]["metadata"]["name"])
            if seen[-1] == "c":
                break
    except (KeyError, client.ApiException) as error:
        seen.append(type(error).__name__)
    return seen, [asked.query["resourceVersion"] for asked in rude.asked]


def test_in_plain_json_it_begins_again_at_the_first_version_and_repeats(rude):
    rude.reply(stream(event("ADDED", thing("a", 11))), stream(event("ADDED", thing("a", 11))))
    rude.reply(stream(event("ADDED", thing("c", 12))))
    assert watched(rude, deserialize=False) == (["a", "a", "c"], ["10", "10", "10"])


def test_in_plain_json_a_forgotten_version_is_an_error_of_its_own(rude):
    rude.reply(GONE)
    assert watched(rude, deserialize=False)[0] == ["KeyError"]


def test_a_line_that_is_no_json_is_passed_over_and_its_event_is_lost(rude):
    rude.reply(stream(b'{"type": "ADDED", "object": {"metadata": {"name": "b\n', event("ADDED", thing("c", 13))))
    assert watched(rude)[0] == [None, "c"]


def test_nobody_asks_for_bookmarks(rude):
    rude.reply(stream(event("ADDED", thing("c", 11))))
    watched(rude)
    assert "allowWatchBookmarks" not in rude.asked[0].query


# ------------------------------------------------------------------------------------------ the informer


@pytest.fixture
def informed(rude, caplog):
    """Starts an informer; gives it and the errors that it tells."""
    caplog.set_level(logging.CRITICAL)
    started = []

    def start(list_objects):
        informer, errors = SharedInformer(list_objects, namespace="web"), []
        informer.add_event_handler("ERROR", errors.append)
        informer.start()
        started.append(informer)
        return informer, errors

    yield start
    rude.over.set()
    for informer in started:
        informer.stop()


def config_maps(rude):
    return client.CoreV1Api(connected(rude)).list_namespaced_config_map


def listed(*names):
    items = [{"metadata": thing(name, 10)["metadata"]} for name in names]
    return answer(200, {"metadata": {"resourceVersion": "10"}, "items": items})


def test_the_informer_never_gets_to_know_a_custom_resource(rude, informed):
    rude.reply(listed("a"))
    informer, errors = informed(things(rude))
    eventually(lambda: errors, WAIT_S, "the informer has failed")
    assert isinstance(errors[0], TypeError)
    assert informer.cache.list() == []


def test_the_informer_hammers_an_api_server_that_hangs_up(rude, informed):
    rude.reply(listed("a"))
    rude.otherwise = cut
    informed(config_maps(rude))
    eventually(lambda: len(rude.asked) > 30, WAIT_S, "the informer has come back thirty times")


def test_one_object_that_its_models_refuse_keeps_the_informer_from_all(rude, informed):
    odd = {"metadata": thing("b", 10)["metadata"], "data": {"x": 1}}
    good = {"metadata": thing("a", 10)["metadata"]}
    rude.reply(answer(200, {"metadata": {"resourceVersion": "10"}, "items": [good, odd]}))
    informer, errors = informed(config_maps(rude))
    eventually(lambda: errors, WAIT_S, "the informer has failed")
    assert informer.cache.list() == []
