"""Metrics from Prometheus."""

from meshctl.adapters.prometheus.metrics import PrometheusMetrics
from meshctl.adapters.prometheus.settings import PrometheusSettings
from meshctl.adapters.prometheus.transport import Transport

__all__ = ["PrometheusMetrics", "PrometheusSettings", "Transport"]
