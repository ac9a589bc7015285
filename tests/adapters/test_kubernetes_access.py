"""Where the cluster is and who we are there; what is wrong with either is told in one message."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from meshctl.adapters.kubernetes import connect, in_cluster
from meshctl.adapters.kubernetes.kinds import POD
from meshctl.core.errors import Forbidden, InvalidInput, UnknownTarget, Unreachable
from tests.adapters.rude_server import Handler, Rude, answer, kubeconfig, rude_server, thing
from tests.cluster.waiting import eventually

POD_A = thing("a", 1)
BLANK_ENVIRONMENT = {"KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """Neither this machine's kubeconfig nor a pod's account."""
    for name in BLANK_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def rude():
    with rude_server() as rude:
        rude.otherwise = answer(200, POD_A)
        yield rude


# ------------------------------------------------------------------------------------------ kubeconfigs


def test_the_current_context_is_taken_with_its_namespace_and_user(rude, tmp_path):
    api = connect(rude.kubeconfig(tmp_path))
    assert (api.namespace, api.user, api.server) == ("web", "anna", rude.url)
    assert api.get(POD, "a", "web") == POD_A
    assert rude.asked[0].headers["authorization"] == "Bearer t0k3n"


def test_another_context_is_taken_when_it_is_named(rude, tmp_path):
    assert connect(rude.kubeconfig(tmp_path), "production").namespace == "default"


def test_the_file_is_found_as_kubectl_finds_it(rude, tmp_path, monkeypatch):
    path = rude.kubeconfig(tmp_path)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing{os.pathsep}{path}")
    assert connect().server == rude.url
    monkeypatch.delenv("KUBECONFIG")
    (tmp_path / "home/.kube").mkdir(parents=True)
    Path(path).rename(tmp_path / "home/.kube/config")
    assert connect().server == rude.url


def test_without_any_kubeconfig_both_ways_out_are_named(tmp_path):
    with pytest.raises(UnknownTarget, match=rf"there is no file {tmp_path}/home/\.kube/config") as error:
        connect()
    assert error.value.exit_code == 2
    assert "--kubeconfig" in str(error.value)
    assert "--local" in str(error.value)


def test_an_unknown_context_is_told_with_the_nearest(rude, tmp_path):
    with pytest.raises(InvalidInput, match='there is no context "prodution" in kubeconfig') as error:
        connect(rude.kubeconfig(tmp_path), "prodution")
    assert "did you mean 'production'?" in str(error.value)
    assert "known: production, rude" in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clusters: [", "cannot be read"),
        ("", "is empty"),
        ("[]", "cannot be read"),
        ('{"contexts": [], "clusters": [], "users": []}', "has no current context"),
        ('{"current-context": "a", "contexts": [{"name": "a"}], "clusters": []}', 'context "a" of kubeconfig'),
        (
            '{"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "b"}}], "clusters": []}',
            'context "a" of kubeconfig',
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_told_with_its_path(tmp_path, text, told):
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=told) as error:
        connect(str(path))
    assert str(path) in str(error.value)


def test_a_context_whose_user_is_missing_is_told(rude, tmp_path):
    path = Path(rude.kubeconfig(tmp_path))
    path.write_text(path.read_text().replace('"name": "anna"', '"name": "berta"'))
    with pytest.raises(InvalidInput, match=r'context "rude" of kubeconfig .* names the user "anna"'):
        connect(str(path))


def test_an_authority_that_is_not_there_is_told(tmp_path):
    path = kubeconfig(tmp_path, "https://127.0.0.1:1", **{"certificate-authority": "/nowhere/ca.crt"})
    with pytest.raises(InvalidInput, match=r"/nowhere/ca\.crt"):
        connect(path)


# ------------------------------------------------------------------------------------------ login helpers


def helper(tmp_path, script):
    """A user who logs in by a program."""
    program = tmp_path / "helper"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(program),
            "interactiveMode": "Never",
        }
    }


def credential(token, expires):
    status = json.dumps({"token": token, "expirationTimestamp": expires})
    return f'echo \'{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{status}}}\''


def test_a_login_helper_gives_the_token(rude, tmp_path):
    user = helper(tmp_path, credential("helped", "2100-01-01T00:00:00Z"))
    connect(rude.kubeconfig(tmp_path, user=user)).get(POD, "a", "web")
    assert rude.asked[0].headers["authorization"] == "Bearer helped"


def test_a_token_that_ends_soon_is_fetched_anew_while_calls_go_on(rude, tmp_path):
    count = tmp_path / "count"
    script = f"echo x >> {count}; " + credential("t", "2001-01-01T00:00:00Z")
    api = connect(rude.kubeconfig(tmp_path, user=helper(tmp_path, script)))
    api.get(POD, "a", "web")
    eventually(
        lambda: api.get(POD, "a", "web") and len(count.read_text().split()) > 2, 10, "the helper was asked again"
    )


def test_a_login_helper_that_fails_is_told_in_its_own_words(rude, tmp_path, capfd):
    user = helper(tmp_path, "echo 'session is over, run: cloud login' >&2; exit 3")
    with pytest.raises(Forbidden, match=r"gave no credentials: .*session is over, run: cloud login") as error:
        connect(rude.kubeconfig(tmp_path, user=user))
    assert error.value.exit_code == 15
    assert "ERROR" not in capfd.readouterr().err


def test_a_login_helper_that_is_not_installed_is_told(rude, tmp_path):
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-helper"}}
    with pytest.raises(Forbidden, match="no-such-helper"):
        connect(rude.kubeconfig(tmp_path, user=user))


# ------------------------------------------------------------------------------------------ trust


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """(path of certificate and key) by what is special about it."""
    folder = tmp_path_factory.mktemp("certificates")

    def make(name, address, *days):
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        words += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={address}"]
        words += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt"), *days]
        subprocess.run(words, check=True, capture_output=True)
        return folder / f"{name}.crt", folder / f"{name}.key"

    return {
        "ours": make("ours", "IP:127.0.0.1"),
        "theirs": make("theirs", "IP:127.0.0.1"),
        "elsewhere": make("elsewhere", "DNS:elsewhere.example"),
    }


@pytest.fixture
def secure(certificates):
    """Start a server with a certificate; gives its URL."""
    servers = []

    def start(which):
        certificate, key = certificates[which]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        rude = Rude("", otherwise=answer(200, POD_A))
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"rude": rude}))
        server.handle_error = lambda *_: None
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"https://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def authority(certificates, which):
    return {"certificate-authority-data": base64.b64encode(certificates[which][0].read_bytes()).decode()}


def test_the_authority_of_the_kubeconfig_is_trusted_and_no_other(secure, certificates, tmp_path):
    url = secure("ours")
    assert connect(kubeconfig(tmp_path, url, **authority(certificates, "ours"))).get(POD, "a", "web") == POD_A
    with pytest.raises(Unreachable, match="is not signed by the authority that the kubeconfig names") as error:
        connect(kubeconfig(tmp_path, url, **authority(certificates, "theirs"))).get(POD, "a", "web")
    assert url in str(error.value)
    assert error.value.exit_code == 14


def test_a_certificate_for_another_name_is_told(secure, certificates, tmp_path):
    path = kubeconfig(tmp_path, secure("elsewhere"), **authority(certificates, "elsewhere"))
    with pytest.raises(Unreachable, match="its certificate is for another name"):
        connect(path).get(POD, "a", "web")
    named = {**authority(certificates, "elsewhere"), "tls-server-name": "elsewhere.example"}
    assert connect(kubeconfig(tmp_path, secure("elsewhere"), **named)).get(POD, "a", "web") == POD_A


def test_trust_that_was_switched_off_is_told_in_the_log(secure, tmp_path, caplog):
    path = kubeconfig(tmp_path, secure("ours"), **{"insecure-skip-tls-verify": True})
    assert connect(path).get(POD, "a", "web") == POD_A
    assert "is not checked: the kubeconfig says so" in caplog.text


# ------------------------------------------------------------------------------------------ in a pod


@pytest.fixture
def account(secure, certificates, tmp_path, monkeypatch):
    """The folder of a pod's service account."""
    host, port = secure("ours").removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text(token("system:serviceaccount:web:meshctl"))
    (folder / "ca.crt").write_bytes(certificates["ours"][0].read_bytes())
    (folder / "namespace").write_text("web")
    return folder


def token(subject):
    payload = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


def test_a_pod_is_its_service_account(account):
    api = in_cluster(account)
    assert (api.namespace, api.user) == ("web", "system:serviceaccount:web:meshctl")
    assert api.get(POD, "a", "web") == POD_A


def test_outside_of_a_pod_that_is_told(tmp_path):
    with pytest.raises(UnknownTarget, match="this is no pod with a service account") as error:
        in_cluster(tmp_path)
    assert "--context" in str(error.value)


# ------------------------------------------------------------------------------------------ what is loaded


def test_nothing_heavy_is_loaded_before_a_cluster_is_spoken_to():
    code = "import sys, meshctl.adapters.kubernetes.watching\nprint([m for m in %r if m in sys.modules])"
    heavy = ["kubernetes", "urllib3", "stamina", "aiohttp", "pydantic"]
    done = subprocess.run([sys.executable, "-c", code % heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_extra_the_command_that_installs_it_is_told(tmp_path):
    path = kubeconfig(tmp_path, "http://127.0.0.1:1")
    code = (
        "import sys; sys.modules['kubernetes'] = None\n"
        "from meshctl.adapters.kubernetes import connect\n"
        f"try: connect({path!r})\nexcept Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("InvalidInput clusters need a library that is not installed")
    assert "pip install 'meshctl-istio[cluster]'" in done.stdout
