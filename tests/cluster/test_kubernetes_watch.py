"""A cache on a real API server that dies, freezes, and forgets."""

from __future__ import annotations

import httpx
import pytest

from meshctl.adapters.kubernetes import Cache, connect
from meshctl.adapters.kubernetes.api import Patch
from meshctl.adapters.kubernetes.kinds import CONFIG_MAP, SELF_SUBJECT_REVIEW
from meshctl.core.errors import Forbidden, Unreachable
from tests.cluster.control_plane import ETCD_URL
from tests.cluster.waiting import eventually

WAIT_S = 30.0


@pytest.fixture
def ns(empty_shop):
    return empty_shop.namespace


@pytest.fixture
def api(cluster):
    return connect(str(cluster.kubeconfig))


@pytest.fixture
def told():
    return []


@pytest.fixture
def cache(api, ns, told):
    cache = Cache(api, CONFIG_MAP, ns, changed=lambda kind, namespace, name: told.append(name))
    cache.start()
    assert cache.wait_until_synced(WAIT_S)
    yield cache
    cache.stop()


def put(api, ns, name, number):
    body = {"metadata": {}, "data": {"n": str(number)}}
    api.patch(CONFIG_MAP, name, ns, body, form=Patch.APPLY)


def number(cache, ns, name):
    found = cache.get(name, ns)
    return found and found["data"]["n"]


def test_a_change_is_known_within_a_moment(api, ns, cache, told):
    for n in range(20):
        put(api, ns, "a", n)
        eventually(lambda n=n: number(cache, ns, "a") == str(n), 2, "the change is known")
    api.delete(CONFIG_MAP, "a", ns)
    eventually(lambda: cache.get("a", ns) is None, 2, "the end is known")
    assert told.count("a") == 21
    assert (cache.lists, cache.watches) == (1, 1)


def test_an_api_server_that_was_killed_is_watched_again_and_nothing_is_missed(cluster, api, ns, cache):
    put(api, ns, "a", 1)
    eventually(lambda: number(cache, ns, "a"), WAIT_S, "the object is known")
    cluster.api_server.kill()
    eventually(lambda: cache.behind_s() > 0 and cache.problem, WAIT_S, "the cache knows that it is behind")
    assert isinstance(cache.problem, Unreachable)
    assert number(cache, ns, "a") == "1"
    cluster.api_server.start()
    cluster.api_server.ready()
    put(api, ns, "a", 2)
    put(api, ns, "b", 3)
    eventually(lambda: (number(cache, ns, "a"), number(cache, ns, "b")) == ("2", "3"), WAIT_S, "all is known")
    assert cache.behind_s() == 0.0


def test_what_etcd_has_forgotten_is_listed_anew(cluster, api, ns, cache, told):
    put(api, ns, "a", 1)
    eventually(lambda: number(cache, ns, "a"), WAIT_S, "the object is known")
    for n in range(5):
        put(api, ns, "passing", n)
    eventually(lambda: number(cache, ns, "passing") == "4", WAIT_S, "all is known")
    other = connect(str(cluster.kubeconfig))
    for n in range(50):
        put(other, "default", "elsewhere", n)
    now = int(other.list(CONFIG_MAP, "default").resource_version)
    cluster.api_server.kill()
    done = httpx.post(f"{ETCD_URL}/v3/kv/compaction", json={"revision": now, "physical": True}, trust_env=False)
    assert done.status_code == 200, done.text
    cluster.api_server.start()
    cluster.api_server.ready()
    other.delete(CONFIG_MAP, "passing", ns)
    eventually(lambda: cache.get("passing", ns) is None, WAIT_S, "the end is known")
    assert number(cache, ns, "a") == "1"
    assert cache.lists >= 2


def test_a_frozen_api_server_is_reported_in_time_and_waited_for(cluster, ns, cache):
    impatient = connect(str(cluster.kubeconfig), budget_s=1.0)
    put(impatient, ns, "a", 1)
    cluster.api_server.freeze()
    with pytest.raises(Unreachable, match="did not answer in time"):
        impatient.get(CONFIG_MAP, "a", ns)
    cluster.api_server.thaw()
    eventually(lambda: impatient.find(CONFIG_MAP, "a", ns), WAIT_S, "it answers again", despite=(Unreachable,))
    put(impatient, ns, "a", 2)
    eventually(lambda: number(cache, ns, "a") == "2", WAIT_S, "the cache is up to date")


def test_a_token_that_is_revoked_is_told_and_a_new_one_in_the_kubeconfig_is_taken(cluster, ns):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}}
    cluster.api.apply(account, ns)
    api = connect(str(cluster.kubeconfig_for(ns, "reader")), budget_s=1.0)

    def who():
        return api.create(SELF_SUBJECT_REVIEW, {})["status"]["userInfo"]["username"]

    def refused():
        try:
            who()
        except Forbidden as error:
            return str(error)
        return ""

    assert who() == f"system:serviceaccount:{ns}:reader"
    cluster.api.delete("v1", "ServiceAccount", "reader", ns)
    assert "does not accept our credentials" in eventually(refused, WAIT_S, "the token is no longer accepted")
    cluster.api.apply(account, ns)
    cluster.kubeconfig_for(ns, "reader")
    eventually(who, WAIT_S, "the new token is taken", despite=(Forbidden,))
