"""The clusters and their endpoints: which replicas of which version Envoy knows, and whether they are healthy.

A version's cluster exists as soon as its replicas do, before any route leads there: readiness is what Envoy's own
health checks say, since they decide on traffic.  `LocalWorkloads` publishes endpoints, `EnvoyMesh` adds the
DestinationRule's policies; both through this class, which writes the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshctl.adapters.envoy.admin import Admin
from meshctl.adapters.envoy.bootstrap import discovery, file_source, resource
from meshctl.adapters.envoy.fields import Place
from meshctl.adapters.envoy.files import read_object, write_json
from meshctl.adapters.envoy.layout import Layout
from meshctl.adapters.envoy.policy import cluster_policy
from meshctl.adapters.envoy.translate import cluster_name
from meshctl.core.model import Readiness, Workload
from meshctl.core.names import subset_name

QUICK_CHECK_S = 0.2
"""How often a replica that is not healthy yet is asked again, in seconds (never less often than its interval)."""


class Pools:
    """Clusters of all workloads.  Versions are named as in the `Workload`; ports are on 127.0.0.1."""

    def __init__(self, layout: Layout, workloads: Mapping[str, Workload], admin: Admin) -> None:
        self._layout = layout
        self._workloads = workloads
        self._admin = admin

    def publish(self, service: str, version: str, ports: Sequence[int]) -> None:
        """Make ``ports`` the endpoints of a version.  What is not among them gets no new request from now on;
        requests under way there go on to their end."""
        state = self._state()
        known = state.get(service, {}).get(version)
        if known is not None and known["ports"] == list(ports):
            return
        state.setdefault(service, {})[version] = {"policy": None, **(known or {}), "ports": list(ports)}
        self._write_endpoints(service, version, ports)
        self._write(state)

    def add(self, service: str, policies: Mapping[str, dict[str, Any]]) -> None:
        """Have a cluster with this policy for each version, beside those that there are."""
        state = self._state()
        versions = state.setdefault(service, {})
        for version, policy in policies.items():
            if version not in versions:
                self._write_endpoints(service, version, ())
            versions[version] = {"ports": [], **versions.get(version, {}), "policy": policy}
        self._write(state)

    def superfluous(self, service: str, versions: Iterable[str]) -> list[str]:
        """The versions whose clusters are neither among ``versions`` nor have endpoints."""
        kept = set(versions)
        known = self._state().get(service, {})
        return [version for version, pool in known.items() if version not in kept and not pool["ports"]]

    def keep(self, service: str, versions: Iterable[str]) -> None:
        """Remove what is `superfluous`; only after Envoy works by routes that do not lead there."""
        gone = self.superfluous(service, versions)
        state = self._state()
        known = state.get(service, {})
        for version in gone:
            del known[version]
        if gone:
            self._write(state)
            for version in gone:
                self._layout.pool(self.cluster(service, version)).unlink(missing_ok=True)

    def ports(self, service: str, version: str) -> list[int]:
        """The endpoints of a version, healthy or not."""
        return list(self._state().get(service, {}).get(version, {}).get("ports", ()))

    def healthy(self, service: str, version: str) -> int | None:
        """How many endpoints may get requests; ``None`` while Envoy does not have the cluster.  Raises
        `Unreachable`."""
        hosts = self._admin.health(f"{service}.").get(self.cluster(service, version))
        if hosts is None:
            return None
        wished = set(self.ports(service, version))
        return sum(healthy for port, healthy in hosts.items() if port in wished)

    def write(self) -> None:
        """Write all files, for an Envoy that is about to start."""
        state = self._state()
        for service, versions in state.items():
            for version, pool in versions.items():
                self._write_endpoints(service, version, pool["ports"])
        self._write(state)

    @staticmethod
    def cluster(service: str, version: str) -> str:
        return cluster_name(service, subset_name(version))

    def _state(self) -> dict[str, dict[str, dict[str, Any]]]:
        found = read_object(self._layout.pools)
        return {service: versions for service, versions in found.items() if service in self._workloads}

    def _write_endpoints(self, service: str, version: str, ports: Sequence[int]) -> None:
        name = self.cluster(service, version)
        hosts = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
            for port in ports
        ]
        assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}
        body = resource("envoy.config.endpoint.v3.ClusterLoadAssignment", assignment)
        write_json(self._layout.pool(name), discovery(_digest(body), [body]))

    def _write(self, state: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        write_json(self._layout.pools, state)
        clusters = [
            self._cluster(service, version, pool["policy"])
            for service, versions in sorted(state.items())
            for version, pool in sorted(versions.items())
        ]
        content = discovery(_digest(clusters), clusters)
        if read_object(self._layout.clusters) != content:
            write_json(self._layout.clusters, content)

    def _cluster(self, service: str, version: str, policy: Mapping[str, Any] | None) -> dict[str, Any]:
        name = self.cluster(service, version)
        readiness = self._workloads[service].spec.readiness
        body = {
            **(policy if policy is not None else cluster_policy({}, Place(name))),
            "name": name,
            "type": "EDS",
            "eds_cluster_config": {"service_name": name, "eds_config": file_source(self._layout.pool(name))},
            "health_checks": [_health_check(service, readiness)],
            # A replica gets traffic after its first good check and never before, were all the others dead.  Without
            # the merge window the worker learns of health at once and in order: what /clusters calls healthy can
            # be routed to by the next write.  (By default it learns up to 1 s later, and answers 503 UH until then.)
            "common_lb_config": {
                "healthy_panic_threshold": {"value": 0},
                "ignore_new_hosts_until_first_hc": True,
                "update_merge_window": "0s",
            },
            # Who leaves the endpoints leaves at once; connections are drained, not cut.
            "ignore_health_on_host_removal": True,
        }
        return resource("envoy.config.cluster.v3.Cluster", body)


def _health_check(service: str, readiness: Readiness) -> dict[str, Any]:
    interval = readiness.interval.total_seconds()
    return {
        "timeout": f"{readiness.timeout.total_seconds():.3f}s",
        "interval": f"{interval:.3f}s",
        # Envoy asks a cluster without traffic once a minute; a candidate has none before its first stage.
        "no_traffic_interval": f"{min(QUICK_CHECK_S, interval):.3f}s",
        "no_traffic_healthy_interval": f"{interval:.3f}s",
        "unhealthy_interval": f"{min(QUICK_CHECK_S, interval):.3f}s",
        "unhealthy_edge_interval": f"{min(QUICK_CHECK_S, interval):.3f}s",
        "unhealthy_threshold": readiness.failures,
        "healthy_threshold": 1,
        "http_health_check": {"path": readiness.path, "host": service},
    }


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
