"""Protocols are found as Istio finds them."""

import pytest

from meshctl.core.protocols import protocol_of, unmoved_protocol


@pytest.mark.parametrize(
    ("port", "spoken"),
    [
        ({"name": "http"}, "http"),
        ({"name": "http-admin"}, "http"),
        ({"name": "HTTP2-x"}, "http2"),
        ({"name": "grpc"}, "grpc"),
        ({"name": "grpc-api"}, "grpc"),
        ({"name": "grpc-web-api"}, "grpc-web"),
        ({"name": "tcp-replication"}, "tcp"),
        ({"name": "https"}, "https"),
        ({"name": "web"}, ""),
        ({}, ""),
        ({"port": 3306}, "tcp"),
        ({"name": "grpc", "appProtocol": "http"}, "http"),
        ({"name": "http", "appProtocol": "kubernetes.io/h2c"}, "http2"),
        ({"name": "http", "appProtocol": "kubernetes.io/wss"}, "https"),
        ({"name": "http", "protocol": "UDP"}, "udp"),
    ],
)
def test_the_protocol_of_a_port_is_told_by_app_protocol_then_by_name(port, spoken):
    assert protocol_of(port) == spoken


@pytest.mark.parametrize(
    ("names", "spoken"),
    [
        (["http"], ""),
        (["web"], ""),
        (["grpc", "http-metrics"], ""),
        (["grpc"], "grpc"),
        (["grpc", "tcp-x"], "grpc"),
        (["tcp"], "tcp"),
        ([], ""),
    ],
)
def test_a_service_is_moved_when_some_port_may_speak_http(names, spoken):
    assert unmoved_protocol({"spec": {"ports": [{"name": name} for name in names]}}) == spoken
    assert unmoved_protocol({}) == ""
