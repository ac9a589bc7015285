"""Templates as a set of files that are read once: rendered into documents, each mistake told with file and line.

The packaged ones are rendered in this process.  A user's own are rendered in a child process with limits on time and
memory: inside one process nothing stops a template whose loop, power or text repetition runs in C.
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
from meshctl.core.guard import Lie

ROUTES = ("istio/virtualservice.yaml.j2", "istio/destinationrule.yaml.j2")
DEPLOYMENT = "kubernetes/deployment.yaml.j2"
SUFFIX = ".j2"
FILES_LIMIT = 100
FILE_SIZE_LIMIT = 256 * 1024
TIME_LIMIT_S = 2.0

_HINT = "docs/templates.md lists what a template gets and what it must render; nothing was applied"


class _Engine(Protocol):
    def render(self, template: str, context: Mapping[str, Any]) -> str: ...

    def trace(self, template: str, context: Mapping[str, Any]) -> list[Origin]: ...


class TemplateSet:
    """The packaged templates below ``folder`` and those of ``user_dir``, which win by name."""

    def __init__(self, folder: str, user_dir: Path | None = None, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        packaged = packaged_templates()
        self._files = _find(packaged / folder, packaged)
        if user_dir is not None:
            self._files |= _find_own(user_dir)
        sources = {name: _read(path) for name, path in sorted(self._files.items())}
        self.digest = f"sha256:{hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()}"
        self._worker = WorkerEngine(sources, time_limit_s=time_limit_s) if user_dir is not None else None
        self._engine: _Engine = self._worker or Engine(sources)

    def documents(self, template: str, context: Mapping[str, Any]) -> list[tuple[str, Document]]:
        """What a template renders, each document with the template's name.  Raises `TemplateError`."""
        try:
            text = self._engine.render(template, context)
        except Failure as failure:
            raise self._failed(failure) from failure
        try:
            return [(template, document) for document in read_documents(text) if document.data is not None]
        except YamlError as error:
            place = self._origin(template, error.line, context)
            raise TemplateError(f"{place}: renders what is {_lower(error.problem)}", hint=_HINT) from error

    def refuse(
        self,
        lies: Sequence[Lie],
        documents: Sequence[tuple[str, Document]],
        templates: Sequence[str],
        context: Mapping[str, Any],
        release: str,
    ) -> NoReturn:
        """Raise the `TemplateError` of what was rendered for a release and not decided, with its line."""
        first = lies[0]
        where = ", ".join(str(self._files[template]) for template in templates)
        if first.path and first.index < len(documents):
            template, document = documents[first.index]
            where = self._origin(template, document.place(first.path).key_line, context)
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first.path).lstrip(".")
        more = f" (and {len(lies) - 1} more)" if len(lies) > 1 else ""
        what = f"{path}: {first.message}" if path else first.message
        raise TemplateError(f"{where}: renders for release {release} what was not decided: {what}{more}", hint=_HINT)

    def close(self) -> None:
        """End the child process, if there is one."""
        if self._worker is not None:
            self._worker.close()

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
            hint=f"--template-dir names a folder that holds {', '.join(ROUTES)} or {DEPLOYMENT}",
        )
    files = _find(folder, folder)
    if not files.keys() & {*ROUTES, DEPLOYMENT}:
        raise TemplateError(
            f"the template folder {folder} has neither {ROUTES[0]} nor {ROUTES[1]} nor {DEPLOYMENT}",
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
