"""Renders the mesh objects of a release from Jinja2 templates and proves that they say what was decided.

The templates are read once; what a running controller uses is what `TemplateRenderer.digest` names.  The packaged
ones are rendered in this process.  A user's own are rendered in a child process with limits on time and memory:
inside one process nothing stops a template whose loop, power or text repetition runs in C.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from meshctl.adapters.template_engine import Engine, Failure, Origin
from meshctl.adapters.template_worker import WorkerEngine
from meshctl.adapters.yaml12 import Document, YamlError, read_documents
from meshctl.core.errors import TemplateError
from meshctl.core.guard import Lie, find_lies, hosts, preview_header, shares
from meshctl.core.model import Release, Retries, Routing
from meshctl.core.ports import Manifest
from meshctl.core.timetext import format_duration

TEMPLATES = ("istio/virtualservice.yaml.j2", "istio/destinationrule.yaml.j2")
SUFFIX = ".j2"
FILES_LIMIT = 100
FILE_SIZE_LIMIT = 256 * 1024
TIME_LIMIT_S = 2.0

_HINT = "docs/templates.md lists what a template gets and what it must render; nothing was applied"


class _Engine(Protocol):
    def render(self, template: str, context: Mapping[str, Any]) -> str: ...

    def trace(self, template: str, context: Mapping[str, Any]) -> list[Origin]: ...


class TemplateRenderer:
    """The `Renderer` port.  Templates in ``user_dir`` win over the packaged ones of the same name."""

    def __init__(self, user_dir: Path | None = None, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        packaged = packaged_templates()
        self._files = _find(packaged / "istio", packaged)
        if user_dir is not None:
            self._files |= _find_own(user_dir)
        sources = {name: _read(path) for name, path in sorted(self._files.items())}
        self._digest = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
        self._worker = WorkerEngine(sources, time_limit_s=time_limit_s) if user_dir is not None else None
        self._engine: _Engine = self._worker or Engine(sources)

    def render(self, release: Release, routing: Routing) -> Sequence[Manifest]:
        """VirtualService and DestinationRule of a decided routing, proved by the guard."""
        context = template_context(release, routing)
        documents: list[tuple[str, Document]] = []
        for template in TEMPLATES:
            documents += [(template, document) for document in self._documents(template, context)]
        objects = [document.data for _, document in documents]
        lies = find_lies(release, routing, objects)
        if lies:
            self._refuse(lies, documents, release, context)
        return objects

    def digest(self) -> str:
        """SHA-256 of all templates that can have a part in what is rendered."""
        return f"sha256:{self._digest}"

    def close(self) -> None:
        """End the child process, if there is one."""
        if self._worker is not None:
            self._worker.close()

    def _documents(self, template: str, context: Mapping[str, Any]) -> list[Document]:
        try:
            text = self._engine.render(template, context)
        except Failure as failure:
            raise self._failed(failure) from failure
        try:
            return [document for document in read_documents(text) if document.data is not None]
        except YamlError as error:
            place = self._origin(template, error.line, context)
            raise TemplateError(f"{place}: renders what is {_lower(error.problem)}", hint=_HINT) from error

    def _failed(self, failure: Failure) -> TemplateError:
        path = self._files.get(failure.template, Path(failure.template))
        where = f"{path}:{failure.line}" if failure.line else f"{path}"
        return TemplateError(f"{where}: {failure.problem}", hint=_HINT)

    def _origin(self, template: str, line: int, context: Mapping[str, Any]) -> str:
        """``file:line`` of the template line that wrote a rendered line."""
        try:
            origins = self._engine.trace(template, context)
        except Failure:
            origins = []
        if origins:
            origin = origins[min(line, len(origins)) - 1]
            return f"{self._files.get(origin.template, Path(origin.template))}:{origin.line} (rendered line {line})"
        return f"{self._files[template]} (rendered line {line})"

    def _refuse(
        self,
        lies: Sequence[Lie],
        documents: Sequence[tuple[str, Document]],
        release: Release,
        context: Mapping[str, Any],
    ) -> NoReturn:
        first = lies[0]
        where = ", ".join(str(self._files[template]) for template in TEMPLATES)
        if first.path and first.index < len(documents):
            template, document = documents[first.index]
            where = self._origin(template, document.place(first.path).key_line, context)
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first.path).lstrip(".")
        more = f" (and {len(lies) - 1} more)" if len(lies) > 1 else ""
        what = f"{path}: {first.message}" if path else first.message
        message = f"{where}: renders for release {release.metadata.name} what was not decided: {what}{more}"
        raise TemplateError(message, hint=_HINT)


def template_context(release: Release, routing: Routing) -> dict[str, Any]:
    """What a template gets: plain data only.  docs/templates.md explains each name."""
    mesh = release.spec.mesh
    versions = [{"version": share.version, "subset": share.subset, "weight": share.weight} for share in shares(routing)]
    header = preview_header(release)
    previews = [
        {"name": f"preview-{entry['subset']}", "version": entry["version"], "destinations": [{**entry, "weight": 1000}]}
        for entry in versions
    ]
    return {
        "release": {
            "name": release.metadata.name,
            "namespace": release.metadata.namespace,
            "labels": dict(release.metadata.labels),
            "service": release.spec.service,
            "version": release.spec.version,
            "version_label": release.spec.version_label,
            "hosts": list(hosts(release)),
            "gateways": list(mesh.gateways),
            "timeout": None if mesh.timeout is None else format_duration(mesh.timeout),
            "retries": None if mesh.retries is None else _retries(mesh.retries),
            "preview_header": header,
        },
        "run": routing.run,
        "aborted": routing.aborted,
        "baseline": versions[0],
        "candidate": versions[1] if len(versions) > 1 else None,
        "subsets": [{"name": entry["subset"], "version": entry["version"]} for entry in versions],
        "routes": [*(previews if header else ()), {"name": "main", "version": None, "destinations": versions}],
    }


def _retries(retries: Retries) -> dict[str, Any]:
    limit = retries.per_try_timeout
    return {
        "attempts": retries.attempts,
        "retry_on": retries.retry_on,
        "per_try_timeout": None if limit is None else format_duration(limit),
    }


def packaged_templates() -> Path:
    """The templates that ship with meshctl: inside the wheel, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "_templates"
    return inside if inside.is_dir() else package.parent / "templates"


def _find(folder: Path, root: Path) -> dict[str, Path]:
    return {path.relative_to(root).as_posix(): path for path in sorted(folder.rglob(f"*{SUFFIX}")) if path.is_file()}


def _find_own(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise TemplateError(
            f"cannot read templates from {folder}: it {found}",
            hint=f"--template-dir names a folder that holds {' or '.join(TEMPLATES)}",
        )
    files = _find(folder, folder)
    if not files.keys() & set(TEMPLATES):
        raise TemplateError(
            f"the template folder {folder} has neither {TEMPLATES[0]} nor {TEMPLATES[1]}",
            hint="put your own templates under these names; what is absent there is taken from meshctl's own",
        )
    if len(files) > FILES_LIMIT:
        raise TemplateError(
            f"the template folder {folder} has {len(files)} templates, more than {FILES_LIMIT}",
            hint="name a folder that holds nothing else than the templates in use",
        )
    return files


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_SIZE_LIMIT + 1)
        if len(data) > FILE_SIZE_LIMIT:
            raise TemplateError(f"{path}: is larger than {FILE_SIZE_LIMIT // 1024} KiB", hint=_HINT)
        return data.decode()
    except OSError as error:
        raise TemplateError(f"{path}: cannot be read: {error.strerror}", hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise TemplateError(f"{path}: is not UTF-8 text", hint=_HINT) from error


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
