"""Imports go one way, and the core takes values and returns values: no clock, disk, network, process, environment."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "cf_infra"
MODULES = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py") if path.stem != "__init__"}

# Lower ones first: a module imports only those that stand before it.
CORE = [
    "codes",
    "terminal",
    "diagnostics",
    "mask",
    "model",
    "yaml12",
    "parse",
    "catalog",
    "capacity",
    "names",
    "journal",
    "credentials",
    "credential_report",
    "reach",
    "resolve",
    "people",
    "rule",
    "rules_grants",
    "rules_stacks",
    "rules_github",
    "making",
    "rules_credentials",
    "rules_capacity",
    "rules_people",
    "report",
    "holders",
    "rules_settings",
    "check",
    "edit",
    "access",
    "admin_requests",
    "changes",
    "github_files",
    "compile",
    "side",
    "difference",
    "difference_report",
    "compact",
    "review",
    "review_report",
    "plan",
    "drift",
    "touched",
    "approvals",
    "codeowners",
    "review_record",
    "reviewed",
    "github_parts",
    "selection",
    "chain",
    "had",
    "asked",
    "feedstock",
    "steps_grant",
    "steps_offer",
    "steps_people",
    "explain",
    "answer",
    "findings",
    "observed",
    "declared",
    "audit_lists",
    "audit_github",
    "audit_cirun",
    "audit_credentials",
    "audit_openstack",
    "audit",
    "audit_report",
    "feedstock_yaml",
    "lastmile",
    "issue_form",
    "edit_people",
    "intake",
    "intake_report",
    "renewals",
    "daily",
]
# What reaches outside. `date` and `datetime` are values, as long as nobody asks them what time it is.
OUTSIDE = set(
    """
    asyncio builtins concurrent ctypes fcntl ftplib glob http importlib io locale logging mmap multiprocessing
    openstack os pathlib platform random requests resource runpy secrets shutil signal site smtplib socket sqlite3
    ssl subprocess sys sysconfig tempfile threading time tty typer uuid webbrowser zoneinfo
    """.split()
)
CLOCK = {"now", "today", "utcnow", "time", "monotonic", "perf_counter"}
DISK = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}


def imports(tree: ast.AST) -> tuple[set[str], set[str]]:
    """Our own modules, and the names of others, wherever they are imported."""
    own, others = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            others |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "cf_infra":
            own |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("cf_infra."):
            own.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their module in full"
            others.add(str(node.module))
    return own & MODULES.keys(), others


@pytest.mark.parametrize("name", CORE)
def test_core_imports_what_stands_before_it(name: str) -> None:
    own, _ = imports(MODULES[name])
    assert own <= set(CORE[: CORE.index(name)])


@pytest.mark.parametrize("name", CORE)
def test_core_reaches_nothing_outside(name: str) -> None:
    _, others = imports(MODULES[name])
    assert not {other for other in others if other.split(".")[0] in OUTSIDE}
    assert not {o for o in others if o.startswith("urllib") and o not in ("urllib.parse",)}


@pytest.mark.parametrize("name", CORE)
def test_core_asks_no_clock_and_opens_no_file(name: str) -> None:
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in CLOCK, f"{name}.py:{node.lineno}"
            assert node.func.attr not in ("read_text", "read_bytes", "write_text", "write_bytes"), (
                f"{name}.py:{node.lineno}"
            )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in DISK, f"{name}.py:{node.lineno}"


def test_nothing_imports_in_a_circle() -> None:
    """Where a module is loaded; what a function imports when it runs may look up."""
    graph = {}
    for name, tree in MODULES.items():
        loaded = ast.Module([n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))], [])
        graph[name] = imports(loaded)[0]
    assert set(TopologicalSorter(graph).static_order()) == MODULES.keys()


def test_every_module_says_what_it_is() -> None:
    for name, tree in MODULES.items():
        assert ast.get_docstring(tree), f"{name}.py has no docstring"


def test_the_guard_sees_what_it_must() -> None:
    """A core module that reached outside would be found."""
    bad = ast.parse(
        "import os.path\nfrom subprocess import run\nfrom cf_infra import tofu\ndef f():\n    import time\n"
    )
    own, others = imports(bad)
    assert own == {"tofu"}
    assert {other.split(".")[0] for other in others} <= OUTSIDE


def _replaced(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Module and name of what a test has replaced in cf_infra."""
    own, _ = imports(tree)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "monkeypatch.setattr"):
            continue
        target, *rest = node.args
        if isinstance(target, ast.Name) and target.id in own and isinstance(rest[0], ast.Constant):
            yield target.id, str(rest[0].value)
        elif isinstance(target, ast.Constant) and str(target.value).startswith("cf_infra."):
            module, _, name = str(target.value).removeprefix("cf_infra.").partition(".")
            yield module, name


def test_what_tests_replace_is_there() -> None:
    """Those that need a cloud as well: they are run too seldom to find it out by themselves."""
    found = [
        (path.name, module, name)
        for path in sorted(Path(__file__).resolve().parent.rglob("*.py"))
        for module, name in _replaced(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert len(found) > 20, "the guard sees them"
    missing = [row for row in found if not hasattr(importlib.import_module(f"cf_infra.{row[1]}"), row[2])]
    assert not missing
