"""What a pod's containers find: environment, mounted files, and the token of their service account."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from tests.cluster.addresses import API_SERVICE, NODE
from tests.cluster.nodelet.api import Client, Object, Refused

ROOT = Path(__file__).parents[3]
RENEW_EVERY_S = 600.0
PROGRAMS = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Unmountable(Exception):
    """Something a container needs is not there, or cannot be put where it wants it."""


class PodFiles:
    """The volumes and variables of one pod."""

    def __init__(self, pod: Object, address: str, client: Client, folder: Path) -> None:
        self._pod, self._address, self._client, self._folder = pod, address, client, folder
        self._namespace = pod["metadata"]["namespace"]
        self._sources: dict[str, Path] = {}

    async def prepare(self) -> None:
        """Write every volume to the disk."""
        for volume in self._pod["spec"].get("volumes", []):
            path = self._folder / "volumes" / volume["name"]
            path.mkdir(parents=True, exist_ok=True)
            self._sources[volume["name"]] = path
            if "hostPath" in volume:
                self._sources[volume["name"]] = Path(volume["hostPath"]["path"])
            for source in volume.get("projected", {}).get("sources", [volume]):
                await self._fill(path, source)

    async def keep_tokens_fresh(self) -> None:
        """Renew the tokens long before they expire, until cancelled."""
        never = asyncio.Event()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), RENEW_EVERY_S)
            for volume in self._pod["spec"].get("volumes", []):
                for source in volume.get("projected", {}).get("sources", []):
                    if "serviceAccountToken" in source:
                        await self._fill(self._sources[volume["name"]], source)

    async def _fill(self, path: Path, source: Object) -> None:
        if "serviceAccountToken" in source:
            token = source["serviceAccountToken"]
            _put(path / token["path"], (await self._token(token)).encode())
        for kind, name in (("configMap", "name"), ("secret", "secretName")):
            if kind in source:
                wanted = source[kind].get("name") or source[kind].get(name)
                content = await self._content(kind, wanted, source[kind].get("optional", False))
                items = {item["key"]: item["path"] for item in source[kind].get("items") or []}
                for key, value in content.items():
                    if not items or key in items:
                        _put(path / items.get(key, key), value)
        for item in source.get("downwardAPI", {}).get("items", []):
            _put(path / item["path"], self._field(item["fieldRef"]["fieldPath"]).encode())

    async def _token(self, wanted: Object) -> str:
        metadata = self._pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        spec: Object = {"expirationSeconds": wanted.get("expirationSeconds", 3600), "boundObjectRef": bound}
        if "audience" in wanted:
            spec["audiences"] = [wanted["audience"]]
        account = self._pod["spec"].get("serviceAccountName", "default")
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._client.insist("POST", path, body)
        return str(answer["status"]["token"])

    async def _content(self, kind: str, name: str, optional: bool) -> dict[str, bytes]:
        plural = {"configMap": "configmaps", "secret": "secrets"}[kind]
        try:
            found = await self._client.insist("GET", f"/api/v1/namespaces/{self._namespace}/{plural}/{name}")
        except Refused as refusal:
            if optional and refusal.status == 404:
                return {}
            raise Unmountable(f"{kind} {name}: {refusal}") from refusal
        data = found.get("data") or {}
        if kind == "secret":
            return {key: base64.b64decode(value) for key, value in data.items()}
        return {key: value.encode() for key, value in data.items()}

    def _field(self, path: str) -> str:
        known = {"status.podIP": self._address, "status.hostIP": NODE, "spec.nodeName": "node"}
        if path in known:
            return known[path]
        bracket = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
        if bracket:
            return str(self._pod["metadata"].get(bracket[1], {}).get(bracket[2], ""))
        value: Any = self._pod
        for part in path.split("."):
            value = value.get(part, {}) if isinstance(value, dict) else ""
        return value if isinstance(value, str) else ""

    async def environment(self, container: Object) -> dict[str, str]:
        """The variables of one container: its own, and how to reach the API server."""
        found = {
            "PATH": PROGRAMS,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'analysis'}",
            "HOME": str(self._folder),
            "HOSTNAME": self._pod["metadata"]["name"],
            "KUBERNETES_SERVICE_HOST": API_SERVICE,
            "KUBERNETES_SERVICE_PORT": "443",
            "KUBERNETES_SERVICE_PORT_HTTPS": "443",
        }
        for source in container.get("envFrom", []):
            for kind in ("configMap", "secret"):
                if f"{kind}Ref" in source:
                    reference = source[f"{kind}Ref"]
                    content = await self._content(kind, reference["name"], reference.get("optional", False))
                    prefix = source.get("prefix", "")
                    found |= {prefix + key: value.decode() for key, value in content.items()}
        for variable in container.get("env", []):
            found[variable["name"]] = await self._variable(variable, found)
        return found

    async def _variable(self, variable: Object, found: dict[str, str]) -> str:
        origin = variable.get("valueFrom", {})
        if "fieldRef" in origin:
            return self._field(origin["fieldRef"]["fieldPath"])
        for kind in ("configMap", "secret"):
            if f"{kind}KeyRef" in origin:
                reference = origin[f"{kind}KeyRef"]
                content = await self._content(kind, reference["name"], reference.get("optional", False))
                return content.get(reference["key"], b"").decode()
        return expand(variable.get("value", ""), found)

    def enclosure(self, container: Object) -> list[str]:
        """The words before a container's command that show it its own mounts, and nobody else."""
        steps = ["set -e", "mount -t tmpfs tmpfs /run"]
        wanted = container.get("volumeMounts", [])
        # Whatever hides the folder that the volumes lie in goes last.
        for mount in sorted(wanted, key=lambda mount: self._folder.is_relative_to(mount["mountPath"])):
            source = self._sources[mount["name"]]
            steps += self._mount(source / mount.get("subPath", ""), Path(os.path.realpath(mount["mountPath"])))
        steps.append('exec "$@"')
        return ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", "\n".join(steps), "sh"]

    def _mount(self, source: Path, target: Path) -> list[str]:
        steps = []
        if not target.is_relative_to("/run") and not target.exists():
            above = next(parent for parent in target.parents if parent.exists())
            if above == Path("/"):
                raise Unmountable(f"mountPath {target}: give one below a folder that the machine has")
            upper, work = (self._folder / "overlays" / above.as_posix().replace("/", "_") / name for name in "uw")
            for folder in (upper, work):
                folder.mkdir(parents=True, exist_ok=True)
            options = f"lowerdir={above},upperdir={upper},workdir={work}"
            steps.append(f"mount -t overlay overlay -o {shlex.quote(options)} {shlex.quote(str(above))}")
        place = shlex.quote(str(target))
        if source.is_dir():
            steps.append(f"mkdir -p {place}")
        else:
            steps.append(f"mkdir -p {shlex.quote(str(target.parent))}; [ -e {place} ] || : > {place}")
        return [*steps, f"mount --bind {shlex.quote(str(source))} {place}"]


def expand(text: str, variables: dict[str, str]) -> str:
    """``$(NAME)`` as Kubernetes expands it."""
    return re.sub(r"\$\(([A-Za-z_][\w.-]*)\)", lambda found: variables.get(found[1], found[0]), text)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.replace(path)
