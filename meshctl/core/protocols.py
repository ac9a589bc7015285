"""What a Service speaks, as Istio finds out from its ports (pkg/config/kube, ``ConvertProtocol``).

meshctl moves HTTP requests and judges them by their status: TCP has no requests, and gRPC tells its failures where no
status does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshctl.core.routes import mapping, sequence, spec_of

HTTP = ("http", "http2", "http_proxy")
GRPC = ("grpc", "grpc-web")
TCP = ("tcp", "tls", "https", "mongo", "redis", "mysql", "udp")
_STANDARD = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_WELL_KNOWN_TCP = (25, 3306, 27017)
"""Ports that are TCP where nothing else is said: SMTP, MySQL, MongoDB."""


def protocol_of(port: Mapping[str, Any]) -> str:
    """The protocol of a Service's port; empty where the proxies find out by themselves."""
    if port.get("protocol") == "UDP":
        return "udp"
    said = str(port.get("appProtocol") or port.get("name") or "").lower()
    said = _STANDARD.get(said, said)
    word = "grpc-web" if said.startswith("grpc-web") else said.partition("-")[0]
    if word in (*HTTP, *GRPC, *TCP):
        return word
    return "tcp" if port.get("port") in _WELL_KNOWN_TCP else ""


def unmoved_protocol(service: Mapping[str, Any]) -> str:
    """The protocol that keeps a Service's requests from being moved; empty when some port speaks HTTP, or may."""
    ports = [mapping(each) for each in sequence(spec_of(service).get("ports"))]
    spoken = [protocol_of(port) for port in ports]
    return spoken[0] if spoken and all(each in (*GRPC, *TCP) for each in spoken) else ""
