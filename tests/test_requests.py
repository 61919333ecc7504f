"""Requests and commands for single grants: what is said, and what grants.yaml becomes, case by case.

tests/requests/NAME/ is a folder whose files replace those of _base (`FILE.absent` takes one away). `command` has the
words behind `cf-infra` (default: import requests request.yml). _expected.txt is what is printed, stdout then stderr;
_expected.json the same with --format json. A new case is a new folder; `ACCEPT=1` writes what is expected.
"""

from __future__ import annotations

import shlex
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from accept import expect
from roots import PROJECT, TODAY, Runner, read_folder, write_root

from cf_infra import project
from cf_infra.diagnostics import has_errors

CASES = Path(__file__).parent / "requests"
BASE = read_folder(CASES / "_base")
NAMES = sorted(p.name for p in CASES.iterdir() if p.name != "_base")
HISTORY = Path(__file__).parent / "data" / "access-requests-2023-2025.jsonl"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def of_case(name: str) -> tuple[dict[str, bytes], list[str]]:
    files = {k: v for k, v in read_folder(CASES / name).items() if not k.startswith("_")}
    command = files.pop("command", b"import requests request.yml").decode()
    return files, shlex.split(command)


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    files, command = of_case(name)
    test = f"tests/test_requests.py -k 'test_case and {name}'"
    root = write_root(tmp_path / "text", {**BASE, **files})
    monkeypatch.chdir(root)
    before = read_folder(root)
    text = run(*command, "--today", TODAY)
    after = read_folder(root)
    monkeypatch.chdir(write_root(tmp_path / "json", {**BASE, **files}))
    data = run(*command, "--today", TODAY, "--format", "json")

    expect(CASES / name / "_expected.txt", f"{text.out}{text.err}", test)
    found = orjson.dumps(data.json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    expect(CASES / name / "_expected.json", found, test)
    assert text.code == data.code and data.err == ""
    assert str(tmp_path) not in text.out + text.err + data.out
    errors = [d for d in orjson.loads(data.out)["diagnostics"] if d["severity"] == "error"]
    assert bool(errors) == (text.code != 0)
    assert all(d["detail"] and d["hint"] for d in orjson.loads(data.out)["diagnostics"])
    if errors:
        assert after == before, "a command that refuses writes nothing"
    else:
        same_as_the_diff(tmp_path, {**BASE, **files}, text.out, after)


def same_as_the_diff(folder: Path, before: dict[str, bytes], diff: str, after: dict[str, bytes]) -> None:
    """What was written is what was shown, and it is sound."""
    root = write_root(folder / "patched", before)
    if diff.startswith("---"):
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        subprocess.run(["git", "apply", "-"], input=diff.encode(), cwd=root, check=True)
    assert (root / "grants.yaml").read_bytes() == after["grants.yaml"]
    assert not has_errors(project.read(root, date.fromisoformat(TODAY)).diagnostics)
