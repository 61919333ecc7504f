"""tools/apply_reviewed.py: what waits is handed on, what failed fails, and nothing of a stranger is markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import apply_reviewed

DIGEST = "d1" * 32
WAITING = {
    "address": "a",
    "action": "create",
    "what": "server `x`\n::set-output",
    "why": "nobody reviewed it",
}
RECEIPT = {
    "grant": "numpy-feedstock/gpu-large",
    "gone_from": [{"place": "lab: server cf-lab-1", "checked_at": "2026-06-01T00:00:00+00:00"}],
    "manual": ["end it in the dashboard"],
}


def row(stack: str, *waits: dict[str, str], failed: bool = False) -> dict[str, Any]:
    receipts = [RECEIPT] if not waits else []
    own = {"stack": stack, "applied": 0 if waits else 2, "failed": failed, "receipts": receipts}
    return {**own, "waits": list(waits), "reviews": [], "digest": DIGEST}


def fault(code: str) -> dict[str, Any]:
    told = {
        "severity": "error",
        "code": code,
        "summary": "Refused",
        "detail": "It `is` so.",
        "hint": "do:\nthis",
    }
    return {**told, "file": None, "line": None, "column": None}


class Job:
    """A command that answers as cf-infra does, and what a step at GitHub leaves."""

    def __init__(self, folder: Path, found: object, code: int = 0, plan: int = 0) -> None:
        self.folder, self.output = folder, folder / "output"
        (folder / "found.json").write_text(found if isinstance(found, str) else json.dumps(found))
        program = folder / "command"
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/calls\n'
            f"case $1 in plan) exit {plan} ;; apply) cat {folder}/found.json; exit {code} ;; esac\n"
        )
        program.chmod(0o755)

    def run(self, *words: str, at_github: bool = True, **environ: str) -> int:
        github = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(self.output)} if at_github else {}
        return apply_reviewed.run(words, {**github, **environ}, self.folder, str(self.folder / "command"))

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def waiting(self) -> Any:
        return json.loads(self.output.read_text().removeprefix("waiting="))


def test_what_waits_goes_to_the_next_job_and_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job(
        tmp_path,
        {"stacks": [row("lab", WAITING), row("other")], "diagnostics": [fault("waits-for-review")]},
        1,
    )
    assert job.run() == 0
    assert job.waiting == [{"stack": "lab", "digest": DIGEST}]
    assert job.calls == ["plan --format markdown", "apply --reviewed --format json"]
    said = capsys.readouterr().out
    assert "### `lab`: waits for a second person" in said and f"Digest: `{DIGEST}`" in said
    assert "- `server 'x' ::set-output`: `nobody reviewed it`" in said
    assert "### `other`: 2 changes applied" in said and "  - `lab: server cf-lab-1`, `2026-06" in said
    assert "by hand: `end it in the dashboard`" in said


def test_a_fault_beside_what_waits_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = [fault("waits-for-review"), fault("cloud-silent")]
    job = Job(
        tmp_path, {"stacks": [row("lab", WAITING), row("other", failed=True)], "diagnostics": faults}, 1
    )
    assert job.run() == 1
    assert job.waiting == [{"stack": "lab", "digest": DIGEST}]
    said = capsys.readouterr().out
    assert "- error: `cloud-silent`: `Refused`: `It 'is' so.`" in said and "  - `this`" in said
    assert "### `other`: failed" in said


def test_what_was_accepted_and_waits_all_the_same_is_a_failure(tmp_path: Path) -> None:
    job = Job(tmp_path, {"stacks": [row("lab", WAITING)], "diagnostics": [fault("waits-for-review")]}, 1)
    assert job.run("lab", DIGEST) == 1
    assert job.calls == [
        "plan lab --format markdown",
        f"apply --reviewed lab --accept lab={DIGEST} --format json",
    ]


def test_nothing_is_applied_without_a_plan(tmp_path: Path) -> None:
    job = Job(tmp_path, {}, plan=1)
    assert job.run() == 1
    assert job.calls == ["plan --format markdown"]


@pytest.mark.parametrize("found", ["", "no JSON", '{"diagnostics": []}'])
def test_an_apply_that_ends_early_is_a_failure(found: str, tmp_path: Path) -> None:
    assert Job(tmp_path, found, 1).run() == 1


def test_only_names_and_digests_are_handed_on(tmp_path: Path) -> None:
    strange = row("lab", WAITING) | {"digest": "${{ x }}\nwaiting=[]"}
    job = Job(tmp_path, {"stacks": [strange], "diagnostics": [fault("waits-for-review")]}, 1)
    assert job.run() == 1 and job.waiting == []


def test_a_person_gets_what_the_commands_say(tmp_path: Path) -> None:
    job = Job(tmp_path, "told", 1)
    assert job.run(at_github=False, SINCE="abc") == 1
    assert job.calls == ["plan", "apply --reviewed --since abc"]
    assert not job.output.exists()


@pytest.mark.parametrize("arguments", [["lab"], ["lab", ""], ["", DIGEST], ["a", "b", "c"]])
def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert apply_reviewed.main(arguments) == 64
    assert "usage:" in capsys.readouterr().err
