"""Who stands where in the namespace: every 10.x address is local there.

The API server and istiod listen on the addresses and ports of their Services, which are thereby reachable as in a
cluster, without a kube-proxy.
"""

from __future__ import annotations

NODE = "10.0.0.1"
GATEWAY = "10.0.0.2"
SIDECAR = "10.0.0.3"
ISTIOD = "10.0.0.10"
"""Its endpoint; `ISTIOD_SERVICE` is its Service."""
PODS = "10.244"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
ISTIOD_SERVICE = "10.96.0.10"
PROMETHEUS_SERVICE = "10.96.0.11"
API_URL = f"https://{API_SERVICE}"
ISTIOD_DEBUG_URL = "http://127.0.0.1:15014"
"""From this machine's loopback istiod asks for no token; by `ISTIOD_SERVICE` it does."""
PROMETHEUS_URL = f"http://{PROMETHEUS_SERVICE}:9090"
SYSTEM = "istio-system"
