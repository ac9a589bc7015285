"""The house rules, executed: what a reviewer would say every time, a test says once."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = sorted([*ROOT.glob("meshctl/**/*.py"), *ROOT.glob("analysis/meshctl_analysis/**/*.py")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
MODEL = ROOT / "meshctl/core/model.py"
"""The one module that may be longer: it is a list of values, not of behaviour."""
FOR_TESTS = {ROOT / f"meshctl/adapters/{name}.py" for name in ("memory", "mesh_memory", "store_memory")}
"""The world in memory: the other side of the contract suites."""


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", SHIPPED, ids=_name)
def test_a_module_says_why_it_exists_and_stays_short(path):
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return
    assert ast.get_docstring(ast.parse(text)), "a module begins by saying why it exists"
    if path != MODEL:
        assert text.count("\n") <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", SHIPPED, ids=_name)
def test_a_function_fits_on_a_screen(path):
    long = [f.name for f in _functions(path) if (f.end_lineno or 0) - f.lineno >= FUNCTION_LINES_MAX]
    assert not long


@pytest.mark.parametrize("path", [*SHIPPED, *TESTS], ids=_name)
def test_nothing_is_left_for_later(path):
    marks = re.findall(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b", path.read_text(encoding="utf-8"))
    assert not marks


@pytest.mark.parametrize("path", TESTS, ids=_name)
def test_a_test_waits_on_conditions_and_never_by_the_clock(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    sleeps = [
        c.lineno for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "sleep" and c.args and _long(c)
    ]
    assert not sleeps, "a pause inside a loop that looks at a condition may take 50 ms at most"


def _long(call: ast.Call) -> bool:
    argument = call.args[0]
    if not isinstance(argument, ast.Constant):
        return False
    return isinstance(argument.value, int | float) and argument.value > 0.05


@pytest.mark.parametrize("path", SHIPPED, ids=_name)
def test_every_module_is_used_by_another_or_is_an_entry(path):
    if path.name in {"__init__.py", "__main__.py"} or path.parts[-2] == "cli" or path in FOR_TESTS:
        return
    dotted = _dotted(path)
    assert any(dotted in _imports(other) for other in SHIPPED if other != path), f"nothing shipped imports {dotted}"


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("analysis.")


@cache
def _imports(path: Path) -> set[str]:
    """Everything a module imports, absolute names; ``from a import b`` counts as ``a`` and as ``a.b``.  A module
    that is started by ``-m NAME`` is used too."""
    text = path.read_text(encoding="utf-8")
    package = _dotted(path).rpartition(".")[0]
    found = set(re.findall(r'"-m", "([\w.]+)"', text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, (package if node.level else "", node.module)))
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def test_every_room_of_the_house_stands_where_the_docs_say():
    for folder in ("meshctl/core", "meshctl/app", "meshctl/adapters", "meshctl/cli", "analysis/meshctl_analysis"):
        assert (ROOT / folder / "__init__.py").exists()
    for folder in ("templates", "examples", "docs", "bench"):
        assert (ROOT / folder).is_dir()
