"""One pod: bound, started, reported, and ended."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from tests.cluster.addresses import NODE
from tests.cluster.nodelet.api import MERGE, Client, Object, Refused
from tests.cluster.nodelet.container import Container, now
from tests.cluster.nodelet.files import PodFiles


class Pod:
    """From its appearance in the API to its disappearance."""

    def __init__(self, manifest: Object, address: str, client: Client, folder: Path) -> None:
        metadata, spec = manifest["metadata"], manifest["spec"]
        self.address = address
        self._manifest, self._client = manifest, client
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        self._folder = folder / metadata["namespace"] / metadata["name"]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files = PodFiles(manifest, address, client, self._folder)
        policy = spec.get("restartPolicy", "Always")
        make = (self._files, self._folder)
        self._first = [
            Container(one, "OnFailure" if policy == "Always" else policy, address, *make)
            for one in spec.get("initContainers", [])
        ]
        self._containers = [Container(one, policy, address, *make) for one in spec["containers"]]
        self._changed = asyncio.Event()
        self._since: dict[str, tuple[str, str]] = {}
        self._started = now()
        self._trouble = ""
        self.doomed = False
        """Nothing is started any more."""
        self._ending = False
        self._life = asyncio.create_task(self._live())
        self._reports = asyncio.create_task(self._report())

    async def _live(self) -> None:
        for container in [*self._first, *self._containers]:
            container.changed = self._changed.set
        try:
            await self._bind()
            await self._files.prepare()
        except Exception as error:  # whatever it is, the pod says so and can still be deleted
            self._trouble = f"{type(error).__name__}: {error}"
            self._changed.set()
            return
        if self.doomed:
            return
        fresh = asyncio.create_task(self._files.keep_tokens_fresh())
        for container in self._first:
            await container.run()
            if container.exit_code or self.doomed:
                break
        else:
            await asyncio.gather(*(container.run() for container in self._containers))
        fresh.cancel()
        self._changed.set()

    async def _bind(self) -> None:
        """What the scheduler does: there is one node."""
        if self._manifest["spec"].get("nodeName"):
            return
        target = {"apiVersion": "v1", "kind": "Node", "name": "node"}
        body = {"metadata": {"name": self._manifest["metadata"]["name"]}, "target": target}
        with contextlib.suppress(Refused):
            await self._client.insist("POST", f"{self._path}/binding", body)

    async def end(self, grace_s: float) -> None:
        """Stop every container, say so, and let the API server forget the pod."""
        containers = [*self._first, *self._containers]
        if self._ending:
            if not grace_s:
                for container in containers:
                    container.kill()
            return
        self.doomed = self._ending = True
        await asyncio.gather(*(container.stop(grace_s) for container in containers))
        await self._life
        self._reports.cancel()
        with contextlib.suppress(Refused):
            await self._client.insist("PATCH", f"{self._path}/status", {"status": self._status()}, MERGE)
        uid = self._manifest["metadata"]["uid"]
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        with contextlib.suppress(Refused):
            await self._client.insist("DELETE", self._path, options)

    async def _report(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            with contextlib.suppress(Refused):
                await self._client.insist("PATCH", f"{self._path}/status", {"status": self._status()}, MERGE)

    def _status(self) -> Object:
        ready = bool(self._containers) and all(container.ready for container in self._containers)
        initialized = all(container.exit_code == 0 for container in self._first)
        conditions = {
            "PodScheduled": True,
            "Initialized": initialized,
            "ContainersReady": ready,
            "Ready": ready,
        }
        return {
            "phase": self._phase(),
            "hostIP": NODE,
            "hostIPs": [{"ip": NODE}],
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "startTime": self._started,
            "message": self._trouble or None,
            "conditions": [self._condition(name, holds) for name, holds in conditions.items()],
            "initContainerStatuses": [container.status() for container in self._first],
            "containerStatuses": [container.status() for container in self._containers],
        }

    def _condition(self, name: str, holds: bool) -> Object:
        status = "True" if holds else "False"
        if self._since.get(name, ("", ""))[0] != status:
            self._since[name] = (status, now())
        return {"type": name, "status": status, "lastTransitionTime": self._since[name][1]}

    def _phase(self) -> str:
        if any(container.exit_code for container in self._first):
            return "Failed"
        codes = [container.exit_code for container in self._containers]
        if all(code is not None for code in codes):
            return "Failed" if any(codes) else "Succeeded"
        if any(container.started or container.restarts for container in self._containers):
            return "Running"
        return "Pending"
