"""Jinja2, tied down: plain data in, text out, no files, no mutation, an end to every output.

The templates come as a dictionary, so rendering opens no file.  ``render`` yields text; ``trace`` renders once more
and says which line of which template wrote each line, for messages about what was rendered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import DictLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError, nodes
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

OUTPUT_LIMIT = 256 * 1024
_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: no manifest holds them
_FILE_PREFIX = "template "
_NOT_IN_YAML = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON leaves as it is and YAML reads as a line's end or not at all."""


class Failure(Exception):
    """A template that could not be rendered: which one, at which line (0: unknown), and why."""

    def __init__(self, template: str, line: int, problem: str) -> None:
        super().__init__(template, line, problem)
        self.template = template
        self.line = line
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Origin:
    """The template line that wrote a rendered line."""

    template: str
    line: int


class Engine:
    """Renders a fixed set of templates.  Raises `Failure` and nothing else."""

    def __init__(self, sources: Mapping[str, str], *, output_limit: int = OUTPUT_LIMIT) -> None:
        self._plain = _environment(sources)
        self._traced = _environment(sources, traced=True)
        self._output_limit = output_limit

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        return self._run(self._plain, template, context, self._output_limit)

    def trace(self, template: str, context: Mapping[str, Any]) -> list[Origin]:
        """Where each rendered line comes from; empty when a template's own text work hides it."""
        marked = self._run(self._traced, template, context, 100 * self._output_limit)
        text, origins = _take_marks(marked, template)
        return origins if text == self.render(template, context) else []

    def _run(self, environment: _Sandbox, template: str, context: Mapping[str, Any], limit: int) -> str:
        try:
            chunks: list[str] = []
            length = 0
            for chunk in environment.get_template(template).generate(context):
                chunks.append(chunk)
                length += len(chunk)
                if length > limit:
                    raise Failure(template, 0, f"renders more than {limit // 1024} KiB; does a loop repeat too much?")
            return "".join(chunks)
        except Failure:
            raise
        except TemplateSyntaxError as error:
            name = error.name or template
            raise Failure(name, error.lineno, f"does not parse: {error.message}") from error
        except TemplateNotFound as error:
            raise Failure(template, _line(error, template)[1], f"no template {error.name!r} exists") from error
        except RecursionError as error:
            raise Failure(*_line(error, template), "calls itself without end") from error
        except MemoryError as error:
            raise Failure(*_line(error, template), "needs too much memory") from error
        except Exception as error:  # a template may call anything of its values
            said = str(error) or type(error).__name__
            kind = "" if isinstance(error, JinjaError) else f"{type(error).__name__}: "
            raise Failure(*_line(error, template), f"{kind}{said}") from error


class _Sandbox(ImmutableSandboxedEnvironment):
    """The immutable sandbox; compiled code carries the template's name in its traceback."""

    def compile(self, source: Any, name: Any = None, filename: Any = None, *args: Any, **options: Any) -> Any:
        return super().compile(source, name, f"{_FILE_PREFIX}{name}", *args, **options)


class _TracingSandbox(_Sandbox):
    """Marks each piece of output with the template line that it comes from."""

    def _generate(self, source: nodes.Template, name: str | None, *args: Any, **options: Any) -> str:
        return super()._generate(_Marker(str(name)).visit(source), name, *args, **options)


class _Marker(NodeTransformer):
    def __init__(self, name: str) -> None:
        self._name = name

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        marked: list[nodes.Expr] = []
        for child in node.nodes:
            line = child.lineno
            for part in child.data.splitlines(keepends=True) if isinstance(child, nodes.TemplateData) else [child]:
                marked.append(nodes.TemplateData(f"{_OPEN}{self._name}:{line}{_CLOSE}", lineno=line))
                marked.append(nodes.TemplateData(part, lineno=line) if isinstance(part, str) else part)
                line += 1
        node.nodes = marked
        return node


def _environment(sources: Mapping[str, str], *, traced: bool = False) -> _Sandbox:
    kind = _TracingSandbox if traced else _Sandbox
    environment = kind(
        loader=DictLoader(sources),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        auto_reload=False,
    )
    environment.filters["quoted"] = _quoted
    return environment


def _quoted(value: Any) -> str:
    """A value in the double quotes of JSON, which YAML reads as the same text, whatever is in it."""
    text = json.dumps(value if isinstance(value, (bool, int, float, list, dict)) else str(value), ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _line(error: BaseException, template: str) -> tuple[str, int]:
    """The innermost template line of a traceback."""
    place = (template, 0)
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if name.startswith(_FILE_PREFIX):
            place = (name.removeprefix(_FILE_PREFIX), step.tb_lineno)
        step = step.tb_next
    return place


def _take_marks(marked: str, template: str) -> tuple[str, list[Origin]]:
    """Text without marks, and per line the origin of its last piece that is not blank."""
    text: list[str] = []
    origins: list[Origin] = []
    origin, current = Origin(template, 1), None
    for piece in marked.split(_OPEN):
        mark, closed, rest = piece.partition(_CLOSE)
        if closed:
            name, _, line = mark.rpartition(":")
            origin = Origin(name, int(line))
        else:
            rest = mark
        for part in rest.splitlines(keepends=True):
            text.append(part)
            current = origin if part.strip() or current is None else current
            if part.endswith("\n"):
                origins.append(current)
                current = None
    if current is not None:
        origins.append(current)
    return "".join(text), origins
