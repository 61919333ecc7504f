"""`history`: who had what when, case by case, and what git and broken journals change.

tests/journals/NAME/asked.json has the events of all journals and the words of the question; expected.txt, expected.md
and expected.json are the answer. A new case is a new folder; `ACCEPT=1` writes what is expected.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from accept import expect
from roots import TODAY, Ran, Runner, write_root

from cf_infra import journal
from cf_infra.journal import NOTHING
from cf_infra.journal_file import JOURNAL

CASES = Path(__file__).parent / "journals"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir())
ACCOUNT = b"""\
version: 1
kind: cirun
donor: {name: Somebody}
offers:
  gpu-large: {via: cirun, mode: on-demand, label: cirun-gpu-large, cirun: {cloud: aws, instance_type: g4dn}}
"""
GRANTS = """\
version: 1
grants:
  - feedstock: scipy
    resources: [gpu-large]
    reason: Another one's
    request: https://example.org/1
    granted: 2026-01-01
    roles: [admin]
  - feedstock: numpy
    resources: [cirun-gpu-large]
    reason: "Not in any journal: builds exceed six hours"
    request: https://example.org/2
    requested_by: carol
    approved_by: [dave, erin]
    granted: 2026-01-01
    roles: [admin]
"""


def read(name: str) -> dict[str, Any]:
    found = orjson.loads((CASES / name / "asked.json").read_bytes())
    assert isinstance(found, dict)
    return found


def write(root: Path, events: list[dict[str, Any]]) -> Path:
    """A root folder with these events in the journals of their stacks."""
    write_root(root, {"grants.yaml": GRANTS.encode(), "stacks/somebody.yaml": ACCOUNT})
    for stack in {one["stack"] for one in events}:
        raw, _ = journal.chained([one for one in events if one["stack"] == stack], NOTHING)
        assert journal.verify(raw) is None, "a case has events that journals have"
        write_root(root / ".state" / stack, {JOURNAL: raw})
    return root


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    runner = Runner(capsys)

    def asked(*words: str) -> Ran:
        return runner("history", *words, "--root", str(tmp_path), "--today", TODAY)

    return asked


@pytest.mark.parametrize("name", NAMES)
def test_who_had_what_when(name: str, tmp_path: Path, run: Any) -> None:
    asked, test = read(name), f"tests/test_had.py -k 'test_who_had_what_when and {name}'"
    write(tmp_path, asked["events"])
    for form, ending in (("text", "txt"), ("markdown", "md"), ("json", "json")):
        ran = run(*asked["ask"], "--format", form)
        assert ran.code == 0 and ran.err == ""
        expect(CASES / name / f"expected.{ending}", ran.out, test)
        assert form != "text" or max(map(len, ran.out.splitlines())) <= 80


def git(root: Path, *words: str) -> str:
    who = ("-c", "user.name=a test", "-c", "user.email=test@example.org")
    done = subprocess.run(["git", "-C", str(root), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def applied(tmp_path: Path) -> Path:
    """A folder whose numpy got access by a commit that git has."""
    (event,) = [e for e in read("never")["events"] if e["event"] == "apply-ended"]
    write(tmp_path, [])
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "grants.yaml")
    git(tmp_path, "commit", "-q", "-m", "Grants")
    commit = git(tmp_path, "rev-parse", "HEAD")
    write(tmp_path, [{**event, "commit": commit, "grants": journal.digest(GRANTS.encode())}])
    (tmp_path / "grants.yaml").write_text("version: 1\ngrants: []\n")
    return tmp_path


def test_the_commit_says_who_asked_and_approved(applied: Path, run: Any) -> None:
    (period,) = run("numpy", "cirun-gpu-large", "--format", "json").json()["periods"]
    assert period["request"] == "https://example.org/2" and period["requested_by"] == "carol"
    assert period["approved_by"] == ["dave", "erin"] and period["applied_by"] == "alice"
    text = run("numpy").out
    assert "approved by dave, erin" in text and "exceed six hours" not in text


def test_a_commit_with_another_grants_file_says_nothing(applied: Path, run: Any) -> None:
    """What was applied was not what is committed: nobody of that commit is named for it."""
    path = applied / ".state" / "lists" / JOURNAL
    event = {k: v for k, v in orjson.loads(path.read_bytes()).items() if k not in ("previous", "hash")}
    path.write_bytes(journal.chained([{**event, "grants": "d" * 64}], NOTHING)[0])
    (period,) = run("numpy", "--format", "json").json()["periods"]
    assert period["request"] is None and period["approved_by"] == []
    assert "its entry of grants.yaml is not in git here" in run("numpy").out


def test_a_broken_journal_is_an_error_and_what_stands_before_it_is_told(tmp_path: Path, run: Any) -> None:
    write(tmp_path, read("given-and-taken-back")["events"])
    path = tmp_path / ".state" / "lists" / JOURNAL
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(b'"bob"', b'"eve"'))
    ran = run("numpy", "--format", "json")
    assert ran.code == 1
    (told,) = ran.json()["diagnostics"]
    assert told["code"] == "broken-journal" and "line 2 is the first" in told["detail"]
    assert [period["to"] for period in ran.json()["periods"]] == [None]
    ran = run("--verify")
    assert ran.code == 1 and "lists: BROKEN at line 2" in ran.out


def test_verify_names_each_journal(tmp_path: Path, run: Any) -> None:
    assert "There is no journal yet" in run("--verify").out
    write(tmp_path, read("two-stacks")["events"])
    with (tmp_path / ".state" / "lab" / JOURNAL).open("ab") as file:
        file.write(b'{"at":')
    ran = run("--verify", "--format", "json")
    rows = {row["journal"]: row for row in ran.json()["journals"]}
    assert ran.code == 0 and set(rows) == {"lab", "lab@sandbox", "lists"}
    assert rows["lab"]["torn_bytes"] == 6 and rows["lists"]["whole"] and rows["lab@sandbox"]["lines"] == 2
    assert "lab: whole, 1 lines, and 6 bytes of a run that was killed" in run("--verify").out


def test_one_of_both_is_asked(run: Any) -> None:
    assert run().code == 64
    assert run("numpy", "--verify").code == 64
