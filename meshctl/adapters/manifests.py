"""Reads a user's manifests: YAML files into Release and Workload, checked, each error with file, line and column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from meshctl.adapters.wire import WireError, decode, encode, format_path, nearest
from meshctl.adapters.yaml12 import Document, Place, YamlError, read_documents, write_documents
from meshctl.core.errors import InvalidInput
from meshctl.core.model import API_VERSION, Release, Workload
from meshctl.core.validation import Problem, validate_release, validate_together, validate_workload

SIZE_LIMIT = 1024 * 1024
DOCUMENTS_LIMIT = 1000
SUFFIXES = (".yaml", ".yml")
KINDS: dict[str, type[Release] | type[Workload]] = {"Release": Release, "Workload": Workload}

Path_ = tuple[str | int, ...]

_NOT_BY_HAND = {"ReleaseRun": "is the record of a run; meshctl writes it, nobody applies it"}
_LATER_KINDS = ("FlagRelease", "DarkLaunch", "GitSync")
_LATER_FIELDS: dict[Path_, str] = {
    ("spec", "strategy", "blueGreen"): "the strategy blueGreen is not supported yet; write canary",
    ("spec", "strategy", "rolling"): "the strategy rolling is not supported yet; write canary",
    ("status",): "is written by meshctl; take it out of the manifest",
}
_OTHER_PROTOCOLS = ("grpc", "tcp", "tls")


class Complaint(NamedTuple):
    """One thing that keeps a manifest from being accepted, and where it stands (counted from 1)."""

    file: str
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"


class ManifestError(InvalidInput):
    """A document that has not the shape of any object.  ``path`` leads to the wrong place in its data."""

    def __init__(self, complaint: Complaint, path: Path_, *, hint: str = "") -> None:
        super().__init__(str(complaint), hint=hint)
        self.complaint = complaint
        self.path = path


@dataclass(frozen=True, slots=True)
class Loaded:
    """An object and the document it came from."""

    value: Release | Workload
    file: str
    document: Document

    def complaint(self, problem: Problem) -> Complaint:
        place = self.document.place(problem.path)
        return Complaint(self.file, place.line, place.column, format_path(problem.path), problem.message)


def load_manifests(
    path: Path,
    *,
    known_workloads: Sequence[Workload] = (),
    embedded: bool = True,
    namespace: str = "",
    only: bool = False,
) -> list[Release | Workload]:
    """Every object of a file, or of the YAML files of a folder (not of folders in it).

    A release is also checked against the workload of its service, if that is among them or in ``known_workloads``.
    ``namespace`` is that of an object which names none; with ``only`` no other may be named.
    Raises `InvalidInput` naming every broken rule with its place.
    """
    texts = [(str(file), read_manifest(file)) for file in manifest_files(path)]
    return _load(texts, str(path), known_workloads, embedded, _Home(namespace, only))


def load_text(
    text: str, name: str = "<stdin>", *, known_workloads: Sequence[Workload] = (), embedded: bool = True
) -> list[Release | Workload]:
    """As `load_manifests`, from text; ``name`` stands in messages where a file's name would."""
    if len(text.encode()) > SIZE_LIMIT:
        raise _too_large(name)
    return _load([(name, text)], name, known_workloads, embedded, _Home())


def dump_yaml(objects: Iterable[Any]) -> str:
    """Objects, as plain data or as values of the core, in readable YAML."""
    return write_documents(_head_first(item if isinstance(item, Mapping) else encode(item)) for item in objects)


def _head_first(data: Mapping[str, Any]) -> dict[str, Any]:
    head = {key: data[key] for key in ("apiVersion", "kind", "metadata") if key in data}
    return head | dict(data)


@dataclass(frozen=True, slots=True)
class _Home:
    """Where objects belong that do not say it; with ``only`` all of them."""

    namespace: str = ""
    only: bool = False

    def take_in(self, file: str, document: Document) -> None:
        """Complete the namespace of a document."""
        metadata = document.data.get("metadata") if isinstance(document.data, dict) else None
        if not self.namespace or not isinstance(metadata, dict):
            return
        named = metadata.setdefault("namespace", self.namespace)
        if self.only and isinstance(named, str) and named != self.namespace:
            path: Path_ = ("metadata", "namespace")
            place = document.place(path)
            message = f"is {named}, but {self.namespace} was asked for"
            complaint = Complaint(file, place.line, place.column, format_path(path), message)
            raise ManifestError(complaint, path, hint="Leave -n out, or change the file.")


def _load(
    texts: Sequence[tuple[str, str]], source: str, known: Sequence[Workload], embedded: bool, home: _Home
) -> list[Release | Workload]:
    loaded = [each for file, text in texts for each in _decode_text(file, text, home)]
    if not loaded:
        raise InvalidInput(
            f"{source}: holds no object",
            hint=f"write at least one of: {', '.join(KINDS)}, with apiVersion {API_VERSION}",
        )
    complaints = broken_rules(loaded, known, embedded=embedded)
    if complaints:
        raise InvalidInput("\n".join(str(each) for each in complaints))
    return [each.value for each in loaded]


def broken_rules(loaded: Sequence[Loaded], known: Sequence[Workload], *, embedded: bool) -> list[Complaint]:
    """Everything that is wrong with objects of the right shape, each alone, then with one another."""
    complaints = [*_repeated(loaded), *_broken_rules(loaded, embedded)]
    return complaints or _mismatched(loaded, known)


# ------------------------------------------------------------------------------------ files


def manifest_files(path: Path) -> list[Path]:
    """The file itself, or the manifests of a folder.  Raises `InvalidInput` when there is none."""
    try:
        if not path.exists():
            raise InvalidInput(f"{path}: there is no such file or folder", hint="check the name given with -f")
        if not path.is_dir():
            return [path]
        files = sorted(
            file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file() and file.name[0] != "."
        )
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
    if not files:
        raise InvalidInput(f"{path}: holds no manifest", hint=f"manifests end in {' or '.join(SUFFIXES)}")
    return files


def read_manifest(file: Path) -> str:
    """The text of a file.  Raises `InvalidInput` for what is too large or no text."""
    try:
        with file.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > SIZE_LIMIT:
        raise _too_large(str(file))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{file}:{line}: is not UTF-8 text") from error


def _too_large(name: str) -> InvalidInput:
    return InvalidInput(f"{name}: is larger than {SIZE_LIMIT // 1024} KiB", hint="divide it into several files")


# ------------------------------------------------------------------------------------ one document


def _decode_text(file: str, text: str, home: _Home) -> list[Loaded]:
    loaded: list[Loaded] = []
    try:
        for number, document in enumerate(read_documents(text)):
            if number >= DOCUMENTS_LIMIT:
                raise InvalidInput(f"{file}: holds more than {DOCUMENTS_LIMIT} documents")
            if document.data is not None:
                home.take_in(file, document)
                loaded.append(Loaded(decode_document(file, document), file, document))
    except YamlError as error:
        raise InvalidInput(f"{file}:{error}") from error
    return loaded


def decode_document(file: str, document: Document) -> Release | Workload:
    """The object that a document describes.  Raises `ManifestError` at the first wrong place."""
    kind = _kind(file, document)
    try:
        return decode(kind, document.data)
    except WireError as error:
        place = document.place(error.path)
        problem, hint = error.problem, error.hint
        if secret := _secret(error.path):
            where = format_path(error.path[: error.path.index("headers") + 1])
            raise InvalidInput(f"{file}:{place.line}:{place.column}: {where}: {secret}") from None
        exact = error.path in document.places
        if error.unknown:
            place = Place(place.key_line, place.key_column, place.key_line, place.key_column)
            problem = _by_name(error.path, document.data) or problem
        elif error.wanted_text and exact and place.raw:
            problem = problem.partition(", found")[0] + f", found {place.raw} without quotes"
            hint = f'write "{place.raw}"'
        complaint = Complaint(file, place.line, place.column, format_path(error.path), problem)
        raise ManifestError(complaint, error.path, hint=hint) from error


def _kind(file: str, document: Document) -> type[Release] | type[Workload]:
    data = document.data

    def wrong(field: str, message: str) -> ManifestError:
        path: Path_ = (field,) if field else ()
        place = document.place(path)
        return ManifestError(Complaint(file, place.line, place.column, field, message), path)

    if not isinstance(data, Mapping):
        raise wrong("", "a manifest is a mapping with apiVersion, kind, metadata and spec")
    kind, version = data.get("kind"), data.get("apiVersion")
    if kind is None:
        raise wrong("kind", f"is missing; write one of: {', '.join(KINDS)}")
    if isinstance(kind, str) and kind in _NOT_BY_HAND:
        raise wrong("kind", f"{kind} {_NOT_BY_HAND[kind]}")
    if isinstance(kind, str) and kind in _LATER_KINDS:
        raise wrong("kind", f"{kind} is not supported yet; known are: {', '.join(KINDS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        guess = nearest(str(kind), KINDS)
        raise wrong("kind", f"unknown kind {kind!r}; {f'{guess} ' if guess else ''}known are: {', '.join(KINDS)}")
    if version != API_VERSION:
        found = "is missing" if version is None else f"found {version!r}"
        raise wrong("apiVersion", f"{found}; write {API_VERSION}")
    return KINDS[kind]


def _secret(path: Path_) -> str:
    """What to say of a wrong header of a hook without repeating it: it may be a secret."""
    if path[:2] != ("spec", "hooks") or "headers" not in path:
        return ""
    return "a header's value is never written here; name where it is found: {env: NAME} or {file: PATH}"


def _by_name(path: Path_, data: Any) -> str | None:
    """A word on a field that is known to be wished for but not there."""
    if path in _LATER_FIELDS:
        return _LATER_FIELDS[path]
    name = str(path[-1])
    value = data
    for part in path:
        value = value[part]
    spoken = str(value).lower() if name == "protocol" else name.lower()
    if path[0] == "spec" and any(protocol in spoken for protocol in _OTHER_PROTOCOLS) and len(path) <= 3:
        return "gRPC and TCP routes are not supported yet; meshctl moves HTTP requests only"
    return None


# ------------------------------------------------------------------------------------ rules


def _repeated(loaded: Sequence[Loaded]) -> list[Complaint]:
    first: dict[tuple[str, str, str], Loaded] = {}
    complaints = []
    for each in loaded:
        metadata = each.value.metadata
        known = first.setdefault((each.value.kind, metadata.namespace, metadata.name), each)
        if known is not each:
            line = known.document.place(("metadata", "name")).line
            message = f"{each.value.kind} {metadata.name} is written twice; the other one is at {known.file}:{line}"
            complaints.append(each.complaint(Problem(("metadata", "name"), message)))
    return complaints


def _broken_rules(loaded: Sequence[Loaded], embedded: bool) -> list[Complaint]:
    complaints = []
    for each in loaded:
        value = each.value
        problems = (
            validate_release(value, embedded=embedded) if isinstance(value, Release) else validate_workload(value)
        )
        complaints += [each.complaint(problem) for problem in problems]
    return complaints


def _mismatched(loaded: Sequence[Loaded], known: Sequence[Workload]) -> list[Complaint]:
    workloads = {workload.metadata.name: workload for workload in known}
    workloads |= {each.value.metadata.name: each.value for each in loaded if isinstance(each.value, Workload)}
    return [
        each.complaint(problem)
        for each in loaded
        if isinstance(each.value, Release) and each.value.spec.service in workloads
        for problem in validate_together(each.value, workloads[each.value.spec.service])
    ]
