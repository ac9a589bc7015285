"""Whatever answers in Prometheus's place: one clear line tells it, in time and without a secret, and nothing counts."""

from __future__ import annotations

import json
import logging
import ssl
import subprocess
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from meshctl.adapters.background import Background
from meshctl.adapters.prometheus import PrometheusMetrics, PrometheusSettings, Transport
from meshctl.adapters.prometheus.questions import Questions
from meshctl.adapters.secrets import Secrets
from meshctl.core.errors import InvalidInput
from meshctl.core.model import SecretRef
from tests.adapters import loopback
from tests.adapters.loopback import Loopback, answers, in_turn
from tests.adapters.prometheus_world import NEW, OLD, RELEASE, START_MS, Answering, FixedClock, Proxy, Store, answer

SECRET = "s3cret-t0ken-value"
WITHIN_S = 10.0
HASTE = {"timeout_s": 0.5, "budget_s": 1.5}
"""For those that say nothing; the others have time, however busy the machine is."""


@pytest.fixture
def background():
    made = Background()
    yield made
    made.stop()


@pytest.fixture
def reader(background):
    """Makes metrics that ask a server."""
    made = []

    def make(url, prometheus=None, **options):
        transport = Transport(PrometheusSettings(url=url, **options), Secrets(), background)
        made.append(transport)
        return PrometheusMetrics(transport, FixedClock(prometheus or Answering(Store())))

    yield make
    for transport in made:
        transport.close()


def read(metrics, cursor=""):
    return metrics.read(RELEASE, OLD, NEW, cursor, entry=0, weight=10.0)


def served(prometheus):
    """A conversation that is answered from a store."""

    def talk(connection, heard):
        parts = urlsplit(heard.path)
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = prometheus.ask(parts.path, parameters, None)
        answers(200, body, "Content-Type: application/json")(connection, heard)

    return talk


def busy_shop():
    """A store in which the last minute of the service is."""
    proxy, store = Proxy("edge-0"), Store()
    for second in range(-60, 30):
        proxy.request(START_MS + second * 1000 + 500)
        proxy.request(START_MS + second * 1000 + 600, version=NEW)
    for second in range(-59, 30, 5):
        store.scrape(proxy, START_MS + second * 1000)
    return Answering(store)


def error(kind, text):
    return json.dumps({"status": "error", "errorType": kind, "error": text}).encode()


SERIES = [{"metric": {"__name__": "istio_requests_total"}, "value": [1, "NaN"]}]
MATRIX = [{"metric": {}, "values": [[1, "1"]]}]
PARTIAL = answer("vector", [], warnings=["store 10.0.0.7 is unavailable"])

TROUBLE = {
    "hangs": (loopback.hangs, "gave no whole answer within 0.5 s"),
    "drips": (loopback.drips, "gave no whole answer within 0.5 s"),
    "drips its head": (loopback.drips_its_head, "gave no whole answer within 0.5 s"),
    "floods": (loopback.floods, "answered more than 0.0625 MiB: too many series, or too long a time"),
    "closes early": (loopback.closes_early, "broke the conversation off"),
    "closes at once": (loopback.closes_at_once, "broke the conversation off"),
    "nothing": (answers(200), "answered something that is not JSON of the API of Prometheus"),
    "html": (answers(200, b"\n<!doctype html><title>Log in</title>"), "answered HTML, not the API of Prometheus"),
    "other json": (answers(200, b'{"kind": "Status"}'), "answered something that is not JSON of the API"),
    "half a json": (answers(200, answer("vector", SERIES)[:-9]), "answered something that is not JSON of the API"),
    "another type": (answers(200, answer("scalar", [1, "1"])), "answered a scalar where a vector was asked for"),
    "no vector": (answers(200, answer("vector", {"a": 1})), "answered a vector that cannot be read"),
    "empty vector": (answers(200, answer("vector", [])), "answered 0 numbers where one was asked for"),
    "nan": (answers(200, answer("vector", SERIES)), "says that istio_requests_total is NaN, which no counter can be"),
    "half an answer": (answers(200, PARTIAL), "gave only part of an answer, and warns: store 10.0.0.7 is unavailable"),
    "error in a 200": (answers(200, error("execution", "out of memory")), "says: execution: out of memory"),
    "400": (answers(400, error("bad_data", "parse error")), "refuses the question (400): bad_data: parse error"),
    "401": (answers(401), "refuses us (401): check the token, the user or the tenant"),
    "403": (answers(403, b"no org id"), "refuses us (403)"),
    "404": (answers(404, b"404 page not found"), "has no API of Prometheus there (404): check the path"),
    "422": (answers(422, error("execution", "too many samples")), "refuses the question (422): execution: too many"),
    "429": (answers(429, b"", "Retry-After: 60"), "answered 429"),
    "500": (answers(500, error("internal", "disk")), "answered 500: internal: disk"),
    "503": (answers(503, error("timeout", "query timed out")), "answered 503: timeout: query timed out"),
    "a redirect": (
        answers(302, b"", "Location: https://login.example.com/?next=secret"),
        "redirects to login.example.com, perhaps to a login",
    ),
    "gzip": (answers(200, b"\x1f\x8b", "Content-Encoding: gzip"), "in an encoding that was not asked for"),
}


def limits(problem):
    return HASTE if "no whole answer" in problem else {}


@pytest.mark.parametrize(("talk", "problem"), TROUBLE.values(), ids=TROUBLE)
def test_an_answer_that_is_none_is_told_in_one_line_and_the_cursor_stays(reader, talk, problem):
    with Loopback(talk) as server:
        metrics = reader(server.url.partition("/checks")[0], answer_bytes_max=65536, **limits(problem))
        began = time.monotonic()
        for cursor in ("", "where we were"):
            found = read(metrics, cursor)
            assert (found.blocks, found.cursor) == ((), cursor)
            assert found.problem.startswith(f"metrics of Release/shop: {server.host} ")
            assert problem in found.problem
            assert "\n" not in found.problem
            assert found.silence_s == 26.0
        assert time.monotonic() - began < WITHIN_S


@pytest.mark.parametrize(("talk", "problem"), TROUBLE.values(), ids=TROUBLE)
def test_trouble_with_the_second_question_gives_no_block_either(reader, talk, problem):
    prometheus = busy_shop()
    with Loopback(served(prometheus)) as server:
        cursor = read(reader(server.url.partition("/checks")[0])).cursor
    prometheus.now_ms += 27_000
    with Loopback(in_turn(served(prometheus), talk)) as server:
        found = read(reader(server.url.partition("/checks")[0], answer_bytes_max=65536, **limits(problem)), cursor)
    assert (found.blocks, found.cursor) == ((), cursor)
    assert found.problem
    assert "defect" not in found.problem


def test_where_nobody_listens_that_is_told(reader):
    with Loopback(loopback.hangs) as server:
        url = server.url.partition("/checks")[0]
    found = read(reader(url))
    assert "cannot be reached" in found.problem


def test_a_bucket_that_is_a_native_histogram_is_told(reader):
    native = answer("matrix", [{"metric": {"__name__": "latency"}, "histograms": [[1, {"count": "1"}]]}])
    prometheus = busy_shop()
    with Loopback(served(prometheus)) as server:
        cursor = read(reader(server.url.partition("/checks")[0])).cursor
    prometheus.now_ms += 27_000
    with Loopback(in_turn(served(prometheus), answers(200, native))) as server:
        found = read(reader(server.url.partition("/checks")[0]), cursor)
    assert "keeps latency as a native histogram; classic buckets (_bucket series) are needed" in found.problem


def test_whole_answers_over_http_are_blocks(reader):
    prometheus = busy_shop()
    with Loopback(served(prometheus)) as server:
        metrics = reader(server.url.partition("/checks")[0] + "/prometheus/", prometheus)
        cursor = read(metrics).cursor
        prometheus.now_ms += 27_000
        found = read(metrics, cursor)
        assert found.problem is None
        assert [block.candidate.requests for block in found.blocks] == [5, 5, 5, 5]
        assert {heard.path.partition("?")[0] for heard in server.heard} == {"/prometheus/api/v1/query"}
        assert ["partial_response=false" in heard.path for heard in server.heard] == [True, False, True]
        assert "vector%280%29" in server.heard[1].path, "what time it is"
        assert read(metrics, found.cursor).blocks == ()
        assert len(server.heard) == 3, "before a block can have ended nobody is asked"


def test_what_is_worth_it_is_tried_again_within_one_budget(reader):
    good = answers(200, answer("vector", [{"metric": {}, "value": [1.8e9, "0"]}]))
    for bad in (answers(503), loopback.closes_at_once, answers(429, b"", "Retry-After: 0")):
        with Loopback(in_turn(bad, good)) as server:
            assert read(reader(server.url.partition("/checks")[0])).cursor
            assert len(server.heard) == 2
    for bad in (answers(400), answers(401), answers(302), answers(200, b"<html>")):
        with Loopback(in_turn(bad, good)) as server:
            assert read(reader(server.url.partition("/checks")[0])).problem
            assert len(server.heard) == 1


# ------------------------------------------------------------------------------------ who we are


def test_a_token_is_read_anew_for_every_question_and_never_told(reader, tmp_path, caplog):
    token = tmp_path / "token"

    def repeats(connection, heard):
        answers(400, error("bad_data", f"what is {heard.headers['authorization']}?"))(connection, heard)

    with Loopback(repeats) as server, caplog.at_level(logging.DEBUG):
        metrics = reader(server.url.partition("/checks")[0], bearer=SecretRef(file=str(token)))
        missing = read(metrics)
        for value in (SECRET, f"{SECRET}-renewed"):
            token.write_text(f"{value}\n")
            found = read(metrics)
            assert SECRET not in found.problem
            assert "what is Bearer ***?" in found.problem
            assert server.heard[-1].headers["authorization"] == f"Bearer {value}"
    assert f"the file {token} cannot be read" in missing.problem
    assert SECRET not in caplog.text
    assert SECRET not in repr(metrics.settings)


def test_user_and_password_and_headers_are_sent(reader, monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_PASSWORD", "open sesame")
    monkeypatch.setenv("PROMETHEUS_KEY", SECRET)
    with Loopback(answers(401)) as server:
        metrics = reader(
            server.url.partition("/checks")[0],
            username="anna",
            password=SecretRef(env="PROMETHEUS_PASSWORD"),
            headers={"X-Scope-OrgID": "team-a"},
            secret_headers={"X-Api-Key": SecretRef(env="PROMETHEUS_KEY")},
        )
        read(metrics)
        headers = server.heard[0].headers
    assert headers["authorization"] == "Basic YW5uYTpvcGVuIHNlc2FtZQ=="
    assert (headers["x-scope-orgid"], headers["x-api-key"]) == ("team-a", SECRET)
    assert headers["accept-encoding"] == "identity"


# ------------------------------------------------------------------------------------ whom we trust


def certificate(folder, name):
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def over_tls(talk, cert, key, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)

    class Server(Loopback):
        def _serve(self, connection):
            try:
                wrapped = context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
            super()._serve(wrapped)

    return Server(talk)


def test_a_certificate_that_nobody_vouches_for_is_refused_and_a_named_authority_is_trusted(reader, tmp_path, caplog):
    cert, key = certificate(tmp_path, "prometheus")
    with over_tls(served(busy_shop()), cert, key) as server:
        url = f"https://{server.host}"
        assert "its certificate is not valid" in read(reader(url)).problem
        assert server.heard == []
        assert read(reader(url, ca_file=str(cert))).problem is None
        assert "insecurely" not in caplog.text
        assert read(reader(url, insecure=True)).problem is None
        assert "is asked insecurely: its certificate is not checked" in caplog.text


def test_our_own_certificate_is_shown_and_read_anew_when_it_is_renewed(reader, tmp_path):
    cert, key = certificate(tmp_path, "prometheus")
    stranger, stranger_key = certificate(tmp_path, "stranger")
    ours, our_key = certificate(tmp_path, "meshctl")
    shown, shown_key = tmp_path / "shown.crt", tmp_path / "shown.key"
    with over_tls(served(busy_shop()), cert, key, client_ca=ours) as server:
        metrics = reader(
            f"https://{server.host}",
            ca_file=str(cert),
            client_cert_file=str(shown),
            client_key_file=str(shown_key),
        )
        assert "the client certificate" in read(metrics).problem
        shown.write_bytes(stranger.read_bytes()), shown_key.write_bytes(stranger_key.read_bytes())
        assert read(metrics).problem
        assert server.heard == []
        shown.write_bytes(ours.read_bytes()), shown_key.write_bytes(our_key.read_bytes())
        assert read(metrics).problem is None


# ------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"url": "prometheus:9090"}, "url must be an address like"),
        ({"url": "http://[::1"}, "url must be an address like"),
        ({"url": "ftp://prometheus"}, "url must be an address like"),
        ({"url": "http://anna:sesame@prometheus"}, "url must hold no user"),
        ({"url": "http://prometheus/?tenant=a"}, "url must end with its path"),
        ({"url": "http://prometheus", "bearer": SecretRef(env="T")}, "url must be https:"),
        ({"bearer": SecretRef(env="T"), "username": "anna", "password": SecretRef(env="P")}, "exclude each other"),
        ({"username": "anna"}, "username and password belong together"),
        ({"client_cert_file": "a"}, "client_cert_file and client_key_file belong together"),
        ({"headers": {"X Scope": "a"}}, "a name that no header can have"),
        ({"headers": {"X-Scope": "a\r\nHost: b"}}, "not one line of printable ASCII"),
        ({"reporter": "gateway"}, "reporter must be source, destination or waypoint, found 'gateway'"),
        ({"requests_metric": 'a{b="c"}'}, "requests_metric must be the name of a metric"),
        ({"version_label": "a-b"}, "labels must be names of labels, found 'a-b'"),
        ({"matchers": {'a="b",c': "d"}}, "labels must be names of labels"),
        ({"scrape_interval_s": 0.1}, "scrape_interval_s must lie between 1 and 120, found 0.1"),
        ({"scrape_interval_s": 30.0, "lookback_s": 60.0}, "lookback_s must span three scrapes, 90 s, or more"),
        ({"series_max": 0}, "series_max must lie between 1 and 1e+06"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(wrong, told):
    with pytest.raises(InvalidInput) as refusal:
        PrometheusSettings(**{"url": "https://prometheus", **wrong})
    assert told in str(refusal.value)
    assert "sesame" not in str(refusal.value)


def test_whoever_scrapes_seldom_is_looked_back_for_longer():
    found = [PrometheusSettings(url="http://p", scrape_interval_s=every).lookback_s for every in (5.0, 30.0, 60.0)]
    assert found == [60.0, 180.0, 360.0]


def test_credentials_over_plain_http_are_allowed_to_ourselves_and_where_it_was_said():
    for url, insecure in (("http://127.0.0.1:9090", False), ("http://prometheus", True)):
        PrometheusSettings(url=url, bearer=SecretRef(env="T"), insecure=insecure)


def test_a_question_that_comes_too_late_in_its_reading_is_not_asked(background):
    with Loopback(loopback.hangs) as server:
        settings = PrometheusSettings(url=server.url.partition("/checks")[0], timeout_s=0.3, budget_s=0.4)
        questions = Questions(Transport(settings, Secrets(), background))
        for _ in range(2):
            with pytest.raises(Exception, match=r"gave no whole answer|was not asked"):
                questions.numbers("vector(0)")
        assert questions.left_s < 0.1
