"""What becomes of one call when the line, the API server or something in between misbehaves."""

from __future__ import annotations

import pytest

from meshctl.adapters.kubernetes import access
from meshctl.adapters.kubernetes.api import AlreadyExists, NotFound, Patch
from meshctl.adapters.kubernetes.client import ClusterApi
from meshctl.adapters.kubernetes.kinds import CONFIG_MAP, POD, RELEASE, VIRTUAL_SERVICE
from meshctl.adapters.kubernetes.transport import Transport
from meshctl.core.errors import Conflict, Forbidden, InvalidInput, MeshctlError, Refused, Unreachable
from tests.adapters.rude_server import (
    HTML,
    answer,
    cut,
    drip,
    hang,
    kubeconfig,
    listing,
    refusal,
    rude_server,
    status,
    thing,
)

POD_A = thing("a", 1)


@pytest.fixture
def rude():
    with rude_server() as rude:
        yield rude


@pytest.fixture
def api(rude, tmp_path):
    path = rude.kubeconfig(tmp_path)
    return quick(path)


def quick(path, **limits):
    """A client with limits that suit a test."""
    transport = Transport(
        lambda: access._from_kubeconfig(path, "rude"),
        user="anna",
        **{"budget_s": 8.0, "attempt_s": 4.0, "silence_s": 20.0, **limits},
    )
    return ClusterApi(transport, namespace="web")


def get(api):
    return api.get(POD, "a", "web")


# ------------------------------------------------------------------------------------------ tried again


@pytest.mark.parametrize(
    "trouble",
    [refusal(500), refusal(503), refusal(504), cut, refusal(429)],
    ids=["500", "503", "504", "cut", "429"],
)
def test_a_read_is_tried_again_after_a_passing_trouble(api, rude, trouble):
    rude.reply(trouble, trouble, answer(200, POD_A))
    assert get(api) == POD_A
    assert len(rude.asked) == 3


def test_the_api_server_says_when_it_wants_to_be_asked_again(api, rude):
    rude.reply(refusal(429, "TooManyRequests", retry_after="1"), answer(200, POD_A))
    assert get(api) == POD_A


def test_a_wait_that_leads_beyond_the_budget_is_not_begun(api, rude):
    rude.reply(refusal(429, "TooManyRequests", "slow down", retry_after="30"))
    with pytest.raises(Unreachable, match="answered 429: slow down"):
        get(api)
    assert len(rude.asked) == 1


def test_attempts_end_with_the_budget(rude, tmp_path):
    api = quick(rude.kubeconfig(tmp_path), budget_s=2.0)
    rude.otherwise = refusal(503, "ServiceUnavailable", "starting")
    with pytest.raises(Unreachable, match=r"reading Pod web/a: http://127.0.0.1:\d+ answered 503: starting"):
        get(api)
    assert len(rude.asked) >= 3


def test_an_answer_that_does_not_come_is_given_up_in_time(rude, tmp_path):
    rude.otherwise = hang
    with pytest.raises(Unreachable, match="did not answer in time"):
        get(quick(rude.kubeconfig(tmp_path), budget_s=0.3, attempt_s=0.1))


def test_an_answer_that_drips_is_given_up_too(rude, tmp_path):
    rude.otherwise = drip
    with pytest.raises(Unreachable, match="did not end in time"):
        get(quick(rude.kubeconfig(tmp_path), budget_s=0.3, attempt_s=0.2))


def test_a_creation_whose_answer_is_lost_is_not_repeated(api, rude):
    rude.reply(cut)
    with pytest.raises(Unreachable):
        api.create(POD, POD_A)
    assert len(rude.asked) == 1


def test_a_creation_that_was_turned_away_at_the_door_is(api, rude):
    rude.reply(refusal(429), answer(201, POD_A))
    assert api.create(POD, {"metadata": {"name": "a", "namespace": "web"}}) == POD_A


@pytest.mark.parametrize(
    ("write", "repeated"),
    [
        (lambda api: api.replace(POD, thing("a", 1)), True),
        (lambda api: api.replace(POD, {"metadata": {"name": "a", "namespace": "web"}}), False),
        (lambda api: api.patch(POD, "a", "web", {}, form=Patch.MERGE), True),
        (lambda api: api.patch(POD, "a", "web", {}, form=Patch.APPLY), True),
        (lambda api: api.patch(POD, "a", "web", [{"op": "test", "path": "/x", "value": 1}], form=Patch.JSON), True),
        (lambda api: api.patch(POD, "a", "web", [{"op": "remove", "path": "/x"}], form=Patch.JSON), False),
        (lambda api: api.delete(POD, "a", "web"), True),
    ],
)
def test_a_write_is_repeated_only_where_twice_is_like_once(api, rude, write, repeated):
    rude.reply(cut, answer(200, POD_A))
    if repeated:
        write(api)
    else:
        with pytest.raises(Unreachable):
            write(api)
    assert len(rude.asked) == 1 + repeated


def test_nothing_is_repeated_that_was_refused(api, rude):
    for code in (400, 403, 404, 409, 410, 422):
        rude.asked.clear()
        rude.reply(refusal(code))
        with pytest.raises(MeshctlError):
            get(api)
        assert len(rude.asked) == 1


# ------------------------------------------------------------------------------------------ in words


def test_nobody_listens(tmp_path):
    with rude_server() as gone:
        url = gone.url
    with pytest.raises(Unreachable, match=rf"nobody answers at {url} \(Connection refused\)") as error:
        get(quick(kubeconfig(tmp_path, url), budget_s=0.2))
    assert "--context" in str(error.value)


def test_a_name_that_does_not_exist(tmp_path):
    with pytest.raises(Unreachable, match=r"the name in https://cluster\.invalid:6443 is not known"):
        get(quick(kubeconfig(tmp_path, "https://cluster.invalid:6443"), budget_s=0.2))


def test_a_server_without_tls(rude, tmp_path):
    with pytest.raises(Unreachable, match=r"cannot be trusted: it does not speak TLS"):
        get(quick(kubeconfig(tmp_path, rude.url.replace("http://", "https://")), budget_s=0.2))


def test_a_login_page_instead_of_an_answer(api, rude):
    rude.reply(HTML)
    with pytest.raises(Unreachable, match="answers, but not as an API server: an HTML page"):
        get(api)


def test_a_redirect_is_not_followed(api, rude):
    rude.reply(answer(302, b"", location="http://elsewhere.invalid/"))
    with pytest.raises(Unreachable, match="answered 302, which no API server says here"):
        get(api)


def test_a_proxy_that_answers_html_with_an_error(rude, tmp_path):
    api = quick(rude.kubeconfig(tmp_path), budget_s=0.5)
    rude.otherwise = answer(502, b"<html>Bad Gateway</html>", content_type="text/html")
    with pytest.raises(Unreachable, match="answered 502: an HTML page, so a proxy"):
        get(api)


def test_half_an_answer_is_none(api, rude):
    def half(handler):
        handler.head(200, content_type="application/json", content_length="1000")
        handler.wfile.write(b'{"metadata"')
        handler.close_connection = True

    rude.reply(half, answer(200, POD_A))
    assert get(api) == POD_A


# ------------------------------------------------------------------------------------------ refusals


def test_each_refusal_has_its_error(api, rude):
    def of(code, reason="", message="", **details):
        rude.reply(answer(code, status(code, reason, message, **details)))
        with pytest.raises(MeshctlError) as raised:
            get(api)
        return type(raised.value)

    assert of(400, "BadRequest") is InvalidInput
    assert of(404, "NotFound", name="a") is NotFound
    assert of(404, "NotFound") is Refused
    assert of(409, "AlreadyExists") is AlreadyExists
    assert of(409, "Conflict") is Conflict
    assert of(413) is InvalidInput
    assert of(422, "Invalid") is InvalidInput


def test_missing_crds_and_a_missing_istio_are_told_with_their_remedy(api, rude):
    rude.otherwise = answer(404, b"404 page not found\n", content_type="text/plain")
    with pytest.raises(Refused, match="meshctl install"):
        api.list(RELEASE)
    with pytest.raises(Refused, match=r"Istio .* is not installed"):
        api.list(VIRTUAL_SERVICE)


def test_a_missing_right_is_told_as_the_rule_that_gives_it(api, rude):
    text = (
        'releases.meshctl.dev is forbidden: User "system:serviceaccount:a:b" cannot list resource "releases" '
        'in API group "meshctl.dev" at the cluster scope'
    )
    rude.reply(refusal(403, "Forbidden", text))
    with pytest.raises(Forbidden) as error:
        api.list(RELEASE)
    assert str(error.value).splitlines() == [
        'listing releases.meshctl.dev: user "system:serviceaccount:a:b" may not list releases',
        '  missing in a ClusterRole: {apiGroups: ["meshctl.dev"], resources: ["releases"], verbs: ["list"]}',
    ]


def test_a_403_that_is_no_matter_of_rights_is_told_as_it_came(api, rude):
    rude.reply(refusal(403, "Forbidden", 'pods "a" is forbidden: exceeded quota: compute'))
    with pytest.raises(Forbidden, match="exceeded quota: compute"):
        api.create(POD, POD_A)


def test_schema_refusals_are_told_field_by_field(api, rude):
    causes = [
        {"field": "spec.strategy.canary.stages[0].weight", "message": "Invalid value: 0.05: finer than 0.1"},
        {"field": "spec.service", "message": "Required value"},
    ]
    rude.reply(answer(422, status(422, "Invalid", "all of it", causes=causes)))
    with pytest.raises(InvalidInput, match=r"stages\[0\]\.weight: Invalid value.*; spec\.service: Required value"):
        api.create(RELEASE, thing("a", 1))


# ------------------------------------------------------------------------------------------ who we are


def test_a_401_reads_the_credentials_anew_once(rude, tmp_path):
    token = tmp_path / "token"
    token.write_text("old")
    api = quick(rude.kubeconfig(tmp_path, user={"tokenFile": str(token)}))
    rude.reply(answer(200, POD_A))
    get(api)
    token.write_text("new")
    api._transport._renewed_at -= 60
    rude.reply(refusal(401, "Unauthorized"), answer(200, POD_A))
    assert get(api) == POD_A
    sent = [asked.headers["authorization"] for asked in rude.asked]
    assert sent == ["Bearer old", "Bearer old", "Bearer new"]


def test_a_401_that_stays_is_told_with_who_we_are(api, rude):
    rude.otherwise = refusal(401, "Unauthorized")
    with pytest.raises(Forbidden, match=r"does not accept our credentials as anna \(401\)") as error:
        get(api)
    assert "expired" in str(error.value)
    assert len(rude.asked) <= 2


# ------------------------------------------------------------------------------------------ how it is asked


def test_names_cannot_lead_elsewhere(api, rude):
    for name in ("../secrets/x", "..", "a/b", "%2e%2e"):
        with pytest.raises(InvalidInput, match="cannot be the name of an object"):
            api.get(POD, name, "web")
        with pytest.raises(InvalidInput):
            api.list(POD, name)
    assert rude.asked == []


def test_every_write_names_its_manager_and_what_may_not_be_guessed_is_strict(api, rude):
    rude.otherwise = answer(200, POD_A)
    api.create(POD, POD_A)
    api.patch(POD, "a", "web", {"spec": {}}, form=Patch.APPLY, manager="meshctl-adopt", force=True, dry_run=True)
    made, applied = rude.asked
    assert made.query == {"fieldManager": "meshctl", "fieldValidation": "Strict"}
    assert applied.query == {
        "fieldManager": "meshctl-adopt",
        "force": "true",
        "dryRun": "All",
        "fieldValidation": "Strict",
    }
    assert applied.headers["Content-Type"] == "application/apply-patch+yaml"
    assert applied.body == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}}
    assert made.headers["User-Agent"].startswith("meshctl/")


def test_a_long_list_comes_in_pages_of_one_moment(api, rude):
    rude.reply(listing("a", "b", more="next"), listing("c"))
    found = api.list(POD, "web", labels="app=x")
    assert [item["metadata"]["name"] for item in found.items] == ["a", "b", "c"]
    assert found.items[0]["kind"] == "Pod"
    assert [asked.query for asked in rude.asked] == [
        {"labelSelector": "app=x", "limit": "500"},
        {"labelSelector": "app=x", "limit": "500", "continue": "next"},
    ]


def test_pages_that_expire_are_read_again_and_at_last_in_one_piece(api, rude):
    expired = refusal(410, "Expired")
    rude.reply(listing("a", more="next"), expired, listing("a", more="next"), expired, listing("a", "b"))
    assert len(api.list(POD, "web").items) == 2
    assert "limit" not in rude.asked[-1].query


def test_text_behind_the_proxy_is_read_within_its_own_time(api, rude):
    rude.reply(answer(200, b'[{"proxy": "a"}]', content_type="text/plain"), hang)
    path = "/api/v1/namespaces/istio-system/pods/istiod:15014/proxy/debug/syncz"
    assert api.get_text(path, query={"x": "y"}) == '[{"proxy": "a"}]'
    with pytest.raises(Unreachable, match=f"reading {path}: "):
        api.get_text(path, timeout_s=0.1)


def test_an_object_with_everything_in_it_is_sent_as_it_is(api, rude):
    rude.otherwise = answer(200, POD_A)
    data = {"text": "ü\n\"'", "none": None, "number": 0.1, "deep": [{"a": []}]}
    api.create(CONFIG_MAP, {"metadata": {"name": "a", "namespace": "web"}, "data": data})
    assert rude.asked[0].body["data"] == data
