"""The tests themselves: each of them checks something, in every case that it goes through."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import workers

TESTS = Path(__file__).parent
ROOT = TESTS.parent
FILES = sorted(TESTS.rglob("*.py"))
CHECKS = {"raises", "warns", "fail"}
WRITTEN_OUT = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Constant)
ALWAYS_TRUE = (*WRITTEN_OUT, ast.JoinedStr, ast.GeneratorExp, ast.Lambda)
INSIDE = (ast.FunctionDef, ast.ClassDef, ast.Lambda)
ANY_ERROR = {"Exception", "BaseException"}


@cache
def trees() -> list[tuple[str, ast.Module]]:
    return [(str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8"))) for file in FILES]


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def name_called(node: ast.AST) -> str:
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", ""))


def checks(node: ast.AST, helpers: set[str]) -> bool:
    """Whether something in a piece of a test can make it fail by itself."""
    return any(
        isinstance(part, ast.Assert) or name_called(part) in CHECKS | helpers or name_called(part).startswith("assert_")
        for part in ast.walk(node)
    )


def own(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions and classes inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, INSIDE):
            yield child
            yield from own(child)


def may_be_empty(loop: ast.For, test: ast.FunctionDef) -> bool:
    """Whether a loop may go through nothing, as far as the test itself says."""
    written_out = {
        target.id
        for node in test.body
        if isinstance(node, ast.Assign) and isinstance(node.value, WRITTEN_OUT)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    given = loop.iter.args if name_called(loop.iter) in ("zip", "enumerate", "product") else [loop.iter]
    return not any(
        isinstance(one, WRITTEN_OUT) or name_called(one) == "range" or getattr(one, "id", "") in written_out
        for one in given
    )


def faults(test: ast.FunctionDef, helpers: set[str]) -> Iterator[str]:
    outside = [part for part in test.body if not (isinstance(part, ast.For) and may_be_empty(part, test))]
    if not checks(test, helpers):
        yield "checks nothing"
    elif not any(checks(part, helpers) for part in outside):
        yield "checks in a loop alone that may be empty"
    for number, part in enumerate(test.body):
        more_follows = any(checks(later, helpers) for later in test.body[number + 1 :])
        for node in () if isinstance(part, INSIDE) else (part, *own(part)):
            if is_one_sided(node, helpers) and not more_follows:
                yield f"ends with checks only if {ast.unparse(node.test)}"
            yield from faults_of_node(node)


def is_one_sided(node: ast.AST, helpers: set[str]) -> bool:
    """Whether it checks something on one side of a condition alone."""
    if not isinstance(node, ast.If):
        return False
    sides = [any(checks(part, helpers) for part in branch) for branch in (node.body, node.orelse)]
    return any(sides) and not all(sides)


def faults_of_node(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Return):
        yield "returns early: say what must hold (hypothesis.assume), or write a second test"
    if isinstance(node, ast.Assert) and isinstance(node.test, ALWAYS_TRUE):
        yield f"asserts what is always true: {ast.unparse(node.test)}"
    if isinstance(node, ast.ExceptHandler) and all(isinstance(part, ast.Pass) for part in node.body):
        yield "hides an error"
    if name_called(node) == "raises" and takes_any(node):
        yield "takes any error for the one that it wants"


def takes_any(raises: ast.Call) -> bool:
    return bool(ANY_ERROR & {getattr(one, "id", "") for one in raises.args}) and not raises.keywords


def helpers_that_check() -> set[str]:
    """Names of functions next to the tests that check something."""
    found = [function for _, tree in trees() for function in functions(tree) if not function.name.startswith("test_")]
    return {function.name for function in found if checks(function, set())}


def test_every_test_can_fail():
    tests = [(file, one) for file, tree in trees() for one in functions(tree) if one.name.startswith("test_")]
    helpers = helpers_that_check()
    found = [f"{file}:{test.lineno}: {fault}" for file, test in tests for fault in faults(test, helpers)]
    assert len(tests) > 100
    assert found == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("work()", "checks nothing"),
        ("if given: assert work()", "ends with checks only if given"),
        ("if given: assert work()\n    assert given", None),
        ("for one in work(): assert one", "checks in a loop alone that may be empty"),
        ("for one in (1, 2): assert one", None),
        ("assert (work(), 1)", "asserts what is always true: (work(), 1)"),
        ("with pytest.raises(Exception): work()", "takes any error for the one that it wants"),
        ("with pytest.raises(ValueError): work()", None),
        ("check(work())", None),
        ("assert work()\n    return", "returns early: say what must hold (hypothesis.assume), or write a second test"),
        ("try: assert work()\n    except ValueError: pass", "hides an error"),
    ],
)
def test_faults_of_tests_are_found(body, fault):
    (test,) = functions(ast.parse(f"def test_x(given):\n    {body}"))
    assert list(faults(test, {"check"})) == ([fault] if fault else [])


def test_files_of_ours_that_a_page_names_are_there():
    pages = [*FILES, *(ROOT / "segpipe").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    named = {
        (page.name, path.rstrip("."))
        for page in pages
        if page.name != "CHANGELOG.md"
        for path in re.findall(r"(?<![\w/.])(?:tests|segpipe)/[\w/.-]+", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 3
    assert {(page, path) for page, path in named if not (ROOT / path).exists()} == set()


def test_no_port_is_given_twice(monkeypatch):
    monkeypatch.setattr(workers, "PORTS", range(19_000, 19_000 + 40 * workers.COUNT))
    assert len({workers.free_port() for _ in range(20)}) == 20
