"""Rules of this repository that no off-the-shelf linter checks."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
SPEC_TAG = r"(?:SAFE|LIVE|CONV|HONEST|HOOK|LOSS|AUD)-\d+"
# Character classes, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X)\b")
SOMEBODYS_PATH = re.compile(r"(?<![\w./<>~-])/(?:w[o]rk|h[o]me|r[o]ot)/")


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file that is, or is about to be, under version control; a tree without git is walked."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(git, capture_output=True, check=False)
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        paths = [p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in paths if path.is_file()))


def python_files() -> list[Path]:
    """The modules; at the top of the tree only tool configuration lies."""
    return [path for path in repository_files() if path.suffix == ".py"]


def text_lines() -> Iterator[tuple[str, str]]:
    """(place, line) of every text file but the licence, whose words are not ours."""
    for path in repository_files():
        if path.name == "LICENSE":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary test data
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def nodes(kinds: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[tuple[str, ast.AST]]:
    """(place, node) of every syntax node of some kind in every module."""
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
            if isinstance(node, kinds):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", node


def swallows_everything(handler: ast.ExceptHandler) -> bool:
    """Whether a handler takes every exception and does nothing with it."""
    caught = {None} if handler.type is None else {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
    idle = all(
        isinstance(statement, ast.Pass | ast.Continue)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in handler.body
    )
    return idle and not caught.isdisjoint({None, "Exception", "BaseException"})


def suppresses_everything(call: ast.Call) -> bool:
    """Whether a call is `contextlib.suppress(Exception)`, the same thing in other words."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "suppress" and any(getattr(arg, "id", "") in {"Exception", "BaseException"} for arg in call.args)


def test_modules_stay_within_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files()}
    assert not {path: lines for path, lines in lengths.items() if lines > MODULE_LINES_MAX}


def test_functions_stay_within_70_lines() -> None:
    functions = nodes((ast.FunctionDef, ast.AsyncFunctionDef))
    long = {}
    for place, node in functions:
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            long[f"{place} {node.name}"] = lines
    assert not long


def test_nothing_is_marked_unfinished() -> None:
    assert not [f"{place}: {line.strip()}" for place, line in text_lines() if UNFINISHED.search(line)]


def test_no_absolute_path_of_somebodys_machine() -> None:
    found = [f"{place}: {line.strip()}" for place, line in text_lines() if SOMEBODYS_PATH.search(line)]
    assert not found, "use a relative path, or /srv/... where a test or a text needs an absolute one"


def test_no_handler_swallows_every_exception() -> None:
    handlers = [place for place, node in nodes(ast.ExceptHandler) if swallows_everything(node)]  # type: ignore[arg-type]
    calls = [place for place, node in nodes(ast.Call) if suppresses_everything(node)]  # type: ignore[arg-type]
    assert not handlers + calls, "record or report what was caught, or catch less"


@pytest.mark.parametrize(
    ("code", "swallowed"),
    [
        ("try: f()\nexcept: pass", True),
        ("try: f()\nexcept Exception: ...", True),
        ("try: f()\nexcept (OSError, Exception): pass", True),
        ("try: f()\nexcept OSError: pass", False),
        ("try: f()\nexcept Exception as e: log(e)", False),
    ],
)
def test_swallowing_handlers_are_recognised(code: str, swallowed: bool) -> None:
    statement = ast.parse(code).body[0]
    assert isinstance(statement, ast.Try)
    assert swallows_everything(statement.handlers[0]) is swallowed


def promised_tags(text: str) -> dict[str, str]:
    """Tag → status, from a table whose rows begin with a tag and end with a status."""
    row = re.compile(rf"^\|\s*`?({SPEC_TAG})`?\s*\|.*\|\s*(\w+)\s*\|\s*$", re.MULTILINE)
    return dict(row.findall(text))


def citations(text: str) -> set[str]:
    """Tags that follow `Spec:` anywhere in a text."""
    found = re.findall(rf"Spec:\s*({SPEC_TAG}(?:\s*(?:,|and)\s*{SPEC_TAG})*)", text)
    return {tag for citation in found for tag in re.findall(SPEC_TAG, citation)}


def tags_of_tests(source: str) -> set[str]:
    """Tags that a test module cites in the docstring of a test function, or in its own if it has any test."""
    tree = ast.parse(source)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tests: list[ast.FunctionDef | ast.AsyncFunctionDef | ast.Module] = [
        node for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")
    ]
    documented = [*tests, tree] if tests else []
    return {tag for node in documented for tag in citations(ast.get_docstring(node) or "")}


PROMISES = promised_tags((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))


def test_every_enforced_promise_is_cited_by_a_test() -> None:
    enforced = {tag for tag, status in PROMISES.items() if status == "enforced"}
    assert enforced, "the table of promises in ARCHITECTURE.md was not found"
    modules = [p for p in python_files() if p.is_relative_to(ROOT / "tests") and p.name.startswith("test_")]
    tested = {tag for path in modules for tag in tags_of_tests(path.read_text(encoding="utf-8"))}
    assert not sorted(enforced - tested), "each needs a test whose docstring says 'Spec: TAG'"


def test_every_cited_promise_is_in_the_table() -> None:
    others = [path for path in python_files() if path != Path(__file__).resolve()]
    unknown = {str(path): citations(path.read_text(encoding="utf-8")) - PROMISES.keys() for path in others}
    assert not {path: tags for path, tags in unknown.items() if tags}


def test_every_promise_that_the_program_or_its_manual_names_is_in_the_table() -> None:
    named: dict[str, str] = {}
    for place, line in text_lines():
        if not place.startswith("tests/"):
            named.update(dict.fromkeys(re.findall(rf"\b{SPEC_TAG}\b", line), place))
    assert not {tag: place for tag, place in named.items() if tag not in PROMISES}


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        ('def test_a() -> None:\n    """What. Spec: SAFE-1, LIVE-2 and AUD-1."""', {"SAFE-1", "LIVE-2", "AUD-1"}),
        ('"""Spec: HOOK-1."""\nasync def test_a() -> None: ...', {"HOOK-1"}),
        ('class TestIt:\n    def test_a(self) -> None:\n        """Spec: CONV-1."""', {"CONV-1"}),
        ('"""Spec: HOOK-1."""\ndef helper() -> None:\n    """Spec: SAFE-1."""', set()),
        ('def test_a() -> None:\n    # Spec: SAFE-1\n    """Keeps SAFE-2."""', set()),
    ],
)
def test_only_what_a_test_says_of_itself_is_a_citation(source: str, tags: set[str]) -> None:
    assert tags_of_tests(source) == tags


def test_the_table_of_promises_is_read_row_by_row() -> None:
    table = "| tag | promise | status |\n|---|---|---|\n| SAFE-1 | a | enforced |\n| `AUD-1` | c | planned |"
    assert promised_tags(table) == {"SAFE-1": "enforced", "AUD-1": "planned"}
    assert promised_tags("SAFE-1 | enforced |") == {}
