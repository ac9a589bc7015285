"""A stand-in for the kubelet (and the scheduler): ``python -m tests.cluster.nodelet --folder DIR --kubeconfig FILE``.

Every container runs as a process of this machine, in the network namespace that the node is in, with a mount namespace
of its own.  Real: pod addresses, readiness, liveness and startup probes, init containers, restarts with backoff,
graceful deletion, exit codes, environment from fields, ConfigMaps and Secrets, volumes of these, projected
service-account tokens at their usual place.  Not real: images, users, resource limits, ``kubectl logs`` and ``exec``.
A program must listen on its pod's own address (``fieldRef: status.podIP``), as all pods share the namespace.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.cluster.addresses import NODE, PODS
from tests.cluster.nodelet.api import Client, Object, Refused
from tests.cluster.nodelet.pod import Pod

MANIFEST: Object = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node", "labels": {"kubernetes.io/hostname": "node"}},
    "status": {
        "addresses": [{"type": "InternalIP", "address": NODE}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "capacity": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
        "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
    },
}


class Node:
    """Every pod of the cluster."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client, self._folder = client, folder
        self._pods: dict[str, Pod] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next = 0

    async def run(self) -> None:
        """Register the node and follow the pods."""
        self._end_leftovers()
        with contextlib.suppress(Refused):
            await self._client.insist("POST", "/api/v1/nodes", MANIFEST)
        async for kind, pods in self._client.watch("/api/v1/pods"):
            if kind == "all":
                self._take_all(pods)
            elif kind == "DELETED":
                self._forget(pods[0]["metadata"]["uid"])
            else:
                self._take(pods[0])

    def _end_leftovers(self) -> None:
        """Processes of a node that died: their pods are started afresh."""
        for path in self._folder.glob("*/*/*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.killpg(int(path.read_text()), signal.SIGKILL)
            path.unlink()

    def _take_all(self, pods: list[Object]) -> None:
        for gone in self._pods.keys() - {pod["metadata"]["uid"] for pod in pods}:
            self._forget(gone)
        for pod in pods:
            self._take(pod)

    def _take(self, manifest: Object) -> None:
        uid, status = manifest["metadata"]["uid"], manifest.get("status", {})
        ending = "deletionTimestamp" in manifest["metadata"]
        if uid not in self._pods:
            if status.get("phase") in ("Succeeded", "Failed") and not ending:
                return
            self._pods[uid] = Pod(manifest, status.get("podIP") or self._address(), self._client, self._folder)
        if ending:
            self._pods[uid].doomed = True
            self._begin(self._pods[uid].end(manifest["metadata"].get("deletionGracePeriodSeconds", 30)))

    def _forget(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod is not None:
            self._begin(pod.end(0))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _address(self) -> str:
        taken = {pod.address for pod in self._pods.values()}
        while True:
            self._next += 1
            address = f"{PODS}.{self._next // 250 % 250 + 1}.{self._next % 250 + 1}"
            if address not in taken:
                return address


async def main(folder: Path, kubeconfig: Path) -> None:
    """Run the node until it is killed."""
    config = json.loads(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    authority = folder / "ca.crt"
    authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    client = Client(cluster["server"], authority, config["users"][0]["user"]["token"])
    await Node(client, folder).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.nodelet", description="A stand-in for the kubelet.")
    parser.add_argument("--folder", type=Path, required=True, help="where pods keep their files and logs")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="JSON, with a token")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(options.folder, options.kubeconfig))
