"""Certificates, the key that signs service-account tokens, and kubeconfig files."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

from tests.cluster.addresses import API_SERVICE, API_URL

ADMIN_TOKEN = "admin-of-a-control-plane-that-lives-for-one-test-run"
_OPENSSL = f"""
[req]
distinguished_name = name
prompt = no
[name]
CN = meshctl-cluster
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:{API_SERVICE},IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
"""


class Credentials:
    """The files, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.authority = folder / "ca.crt"
        self.certificate = folder / "api.crt"
        self.key = folder / "api.key"
        self.token_key = folder / "service-account.key"
        self.token_public_key = folder / "service-account.pub"
        self.tokens = folder / "tokens.csv"
        self.kubeconfig = folder / "kubeconfig"
        self._folder = folder

    def make(self) -> None:
        """Make all of them, for one day."""
        (self._folder / "openssl.cnf").write_text(_OPENSSL)
        authority_key = self._folder / "ca.key"
        self._certificate("authority", authority_key, self.authority)
        self._certificate(
            "server", self.key, self.certificate, "-CA", str(self.authority), "-CAkey", str(authority_key)
        )
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(self.token_key))
        _openssl("pkey", "-in", str(self.token_key), "-pubout", "-out", str(self.token_public_key))
        self.tokens.write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n')
        self.write_kubeconfig(self.kubeconfig, ADMIN_TOKEN)

    def write_kubeconfig(self, path: Path, token: str, namespace: str = "default", server: str = API_URL) -> Path:
        """A kubeconfig for whoever holds ``token``."""
        authority = base64.b64encode(self.authority.read_bytes()).decode()
        context = {"cluster": "cluster", "user": "user", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "clusters": [{"name": "cluster", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "cluster", "context": context}],
        }
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    def _certificate(self, kind: str, key: Path, certificate: Path, *signed_by: str) -> None:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1")
        config = ("-config", str(self._folder / "openssl.cnf"), "-extensions", kind)
        _openssl("req", "-x509", *curve, *config, *signed_by, "-keyout", str(key), "-out", str(certificate))


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)
