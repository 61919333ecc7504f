"""One case, one fault: the exact message, as text and as JSON.

tests/errors/NAME.yaml is a grants.yaml that replaces the one of tests/errors/_base/; tests/errors/NAME/ is a folder
whose files replace those of _base (`FILE.absent` takes one away; access.yml is imported, maintainers.json given
with --maintainers). NAME.txt is what `check`
says, NAME.json what it says with --format json. A new case is a new file; `ACCEPT=1` writes what is expected.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path

import orjson
import pytest
from accept import expect
from roots import PROJECT, TODAY, Runner, read_folder, write_root

from cf_infra.codes import CODES

ERRORS = Path(__file__).parent / "errors"
BASE = read_folder(ERRORS / "_base")
NAMES = sorted(
    {p.stem for p in ERRORS.glob("*.yaml")}
    | {p.name for p in ERRORS.iterdir() if p.is_dir() and p != ERRORS / "_base"}
)
PURE = (
    "yaml12",
    "parse",
    "check",
    "rules_grants",
    "rules_stacks",
    "rules_github",
    "rules_credentials",
    "rules_capacity",
    "rules_people",
    "rules_settings",
    "access",
)


def files_of(name: str) -> dict[str, bytes]:
    single = ERRORS / f"{name}.yaml"
    return {"grants.yaml": single.read_bytes()} if single.exists() else read_folder(ERRORS / name)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(name)
    root = write_root(tmp_path, {**BASE, **files})
    monkeypatch.chdir(root)
    imports = any(n.removesuffix(".absent") == "access.yml" for n in files)
    command = ["import", "access", "access.yml"] if imports else ["check"]
    command += ["--maintainers", "maintainers.json"] * any("maintainers.json" in n for n in files)
    before = read_folder(root)

    text = run(*command, "--today", TODAY)
    data = run(*command, "--today", TODAY, "--format", "json")

    test = f"tests/test_errors.py -k 'test_message and {name}'"
    expect(ERRORS / f"{name}.txt", text.err, test)
    found = orjson.dumps(data.json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    expect(ERRORS / f"{name}.json", found, test)
    diagnostics = orjson.loads(data.out)["diagnostics"]
    errors = [d for d in diagnostics if d["severity"] == "error"]
    assert text.code == data.code == (1 if errors else 0)
    assert data.err == ""
    assert read_folder(root) == before, "a command that refuses writes nothing"
    assert str(tmp_path) not in text.err + data.out
    for d in diagnostics:
        assert_is_placed(d, files)
        assert d["hint"] and d["detail"], "a message says what to do and why"
    places = [(d["file"], d["line"], d["column"]) for d in diagnostics]
    assert places == sorted(places, key=lambda p: (p[0], p[1] or 0, p[2] or 0))
    assert len({tuple(d.items()) for d in diagnostics}) == len(diagnostics), "each one once"


def assert_is_placed(d: dict[str, object], files: dict[str, bytes]) -> None:
    assert isinstance(d["file"], str) and not d["file"].startswith("/")
    if d["line"] is None:
        assert d["code"] in ("not-found", "bad-name")
        return
    if "after the import" in str(d["detail"]):
        return  # a place in the file as it would be
    raw = {**BASE, **files}[d["file"]].decode("utf-8-sig", "replace")
    lines = raw.split("\n")
    assert isinstance(d["line"], int) and isinstance(d["column"], int)
    assert 1 <= d["line"] <= len(lines)
    assert 1 <= d["column"] <= len(lines[d["line"] - 1]) + 1


def test_no_case_is_left_over() -> None:
    expected = {p.stem for p in ERRORS.glob("*.txt")} | {p.stem for p in ERRORS.glob("*.json")}
    if os.environ.get("ACCEPT"):
        for name in expected - set(NAMES):
            (ERRORS / f"{name}.txt").unlink(missing_ok=True)
            (ERRORS / f"{name}.json").unlink(missing_ok=True)
    else:
        assert expected == set(NAMES)


def test_each_code_has_a_case() -> None:
    """Every code that reading and checking files can raise is seen in a case."""
    raised = {code for module in PURE for code in codes_in(PROJECT / "cf_infra" / f"{module}.py")}
    seen = {d["code"] for p in ERRORS.glob("*.json") for d in orjson.loads(p.read_bytes())["diagnostics"]}
    # A big file is made in a test, not kept.
    assert raised - seen == {"too-large"}


def codes_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in CODES
    }


@pytest.mark.parametrize(
    ("name", "size"),
    [("grants.yaml", 50_000_000), ("stacks/lab.yaml", 1_100_000), ("users/lab-terms.json", 1_100_000)],
)
def test_big_file(name: str, size: int, tmp_path: Path, run: Runner) -> None:
    root = write_root(tmp_path, {**BASE, name: b"# " + b"x" * size})
    ran = run("check", "--root", str(root), "--today", TODAY, "--format", "json")
    [d] = [d for d in orjson.loads(ran.out)["diagnostics"] if d["severity"] == "error"]
    assert ran.code == 1
    assert (d["code"], d["file"]) == ("too-large", name)
    assert ("45,000,000" if name == "grants.yaml" else "1,000,000") in d["detail"]
