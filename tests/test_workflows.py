"""The workflows as they are written: what starts them, what they may do, and what of a stranger's reaches them.

tests/sandbox/test_workflows_run.py runs them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from roots import PROJECT

from tools import lint_workflows

FILES = sorted(lint_workflows.WORKFLOWS.glob("*.yml"))
NAMES = [path.stem for path in FILES]
MAIN = "main"
BASE, HEAD = "github.event.pull_request.base.sha", "github.event.pull_request.head.sha"

#: What starts each workflow, and nothing else does.
TRIGGERS: dict[str, dict[str, Any]] = {
    "check": {
        "pull_request": {"branches": [MAIN]},
        "pull_request_review": {"types": ["submitted", "dismissed"]},
    },
    "comment": {
        "workflow_run": {"workflows": ["check"], "types": ["completed"]},
        "schedule": [{"cron": "7,37 * * * *"}],
        "workflow_dispatch": {
            "inputs": {
                "pull": {
                    "description": "Number of one pull request; empty for all that wait",
                    "required": "false",
                    "default": "",
                }
            }
        },
    },
    "apply": {
        "push": {"branches": [MAIN]},
        "schedule": [{"cron": "23 3 * * *"}],
        "workflow_dispatch": "",
    },
    "daily": {"schedule": [{"cron": "23 4 * * *"}], "workflow_dispatch": ""},
    "renewals": {"schedule": [{"cron": "41 6 * * *"}], "workflow_dispatch": ""},
    "intake": {
        "issues": {"types": ["opened", "edited"]},
        "schedule": [{"cron": "17 * * * *"}],
        "workflow_dispatch": "",
    },
}
#: Each job's environment and permissions. More is a decision that a reviewer sees here.
MAY: dict[str, tuple[str, dict[str, str]]] = {
    "check/check": ("", {"contents": "read"}),
    "comment/comment": ("comment", {"contents": "read", "id-token": "write", "pull-requests": "write"}),
    "comment/waiting": ("comment", {"contents": "read", "id-token": "write", "pull-requests": "write"}),
    "apply/apply": ("apply", {"contents": "read", "id-token": "write", "pull-requests": "read"}),
    "apply/danger": ("danger", {"contents": "read", "id-token": "write", "pull-requests": "read"}),
    "daily/daily": (
        "apply",
        {"contents": "read", "id-token": "write", "issues": "write", "pull-requests": "read"},
    ),
    "renewals/renewals": ("renewals", {"contents": "read"}),
    "intake/intake": ("intake", {"contents": "write", "issues": "write", "pull-requests": "write"}),
}
#: What of an event is used: numbers and hashes, which GitHub makes. Of a text it is only asked whether it has a word.
OF_EVENTS = {
    "github.event.pull_request.number",
    BASE,
    HEAD,
    "github.event.workflow_run.head_sha",
    "github.event.issue.number",
    "inputs.pull",  # typed by somebody who may write here
}
KNOWN_ACTIONS = {
    "actions/checkout",
    "actions/setup-go",
    "actions/cache",
    "actions/cache/restore",
    "aws-actions/configure-aws-credentials",
}
SECRET = re.compile(r"secrets\.|github\.token")


def read(name: str) -> Any:
    """A workflow: with every value as text, since YAML 1.1 reads `on` as true."""
    text = (lint_workflows.WORKFLOWS / f"{name}.yml").read_text()
    return yaml.load(text, yaml.BaseLoader)


def jobs() -> Iterator[tuple[str, Any]]:
    for name in NAMES:
        for job, described in read(name)["jobs"].items():
            yield f"{name}/{job}", described


JOBS = dict(jobs())
every_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)


def expressions(value: Any) -> Iterator[str]:
    """Every `${{ ... }}` below, and conditions, which are expressions without the signs."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "if" else expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)
    else:
        yield from re.findall(r"\$\{\{(.*?)\}\}", value, re.DOTALL)


# ------------------------------------------------------------------------------------------- other people's checks


def said_by(command: list[str] | None) -> tuple[int, str]:
    if command is None:
        pytest.skip("NOT TESTED: the workflows by actionlint. Run `python3 tools/build.py actionlint`.")
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_actionlint_finds_nothing() -> None:
    assert said_by(lint_workflows.actionlint(FILES)) == (0, "")


def test_zizmor_finds_nothing() -> None:
    code, said = said_by(lint_workflows.zizmor(FILES))
    assert code == 0, said


@pytest.mark.parametrize(
    ("check", "before", "after", "told"),
    [
        (lint_workflows.actionlint, "runs-on: ubuntu-24.04", "runs-onn: ubuntu-24.04", "runs-onn"),
        (lint_workflows.actionlint, "vars.CF_INFRA_STATE_REGION != ''", "nowhere.x != ''", "nowhere"),
        (lint_workflows.zizmor, "run: make comment-waiting", "run: make ${{ inputs.pull }}", "template-injection"),
        (lint_workflows.zizmor, "3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "v7", "unpinned-uses"),
        (lint_workflows.zizmor, "permissions: {}", "permissions: write-all", "excessive-permissions"),
        (lint_workflows.zizmor, "  # zizmor: ignore[dangerous-triggers]", "  #", "dangerous-triggers"),
    ],
)  # fmt: skip
def test_a_fault_is_found(check: Any, before: str, after: str, told: str, tmp_path: Path) -> None:
    text = (lint_workflows.WORKFLOWS / "comment.yml").read_text()
    assert before in text
    changed = tmp_path / ".github" / "workflows" / "comment.yml"
    changed.parent.mkdir(parents=True)
    changed.write_text(text.replace(before, after))
    code, said = said_by(check([changed]))
    assert code != 0 and told in said


# ------------------------------------------------------------------------------------------------- who and what


def test_what_starts_each_workflow() -> None:
    assert {name: read(name)["on"] for name in NAMES} == TRIGGERS


def test_nothing_runs_a_strangers_code_beside_our_secrets() -> None:
    """`pull_request_target`, comments and reviews start what strangers decide, with our token."""
    for name in NAMES:
        started = set(read(name)["on"])
        assert not started & {"pull_request_target", "issue_comment", "discussion", "fork", "watch"}
        theirs = started & {"pull_request", "pull_request_review"}
        assert bool(theirs) is (name == "check")
        assert not theirs or not SECRET.search(str(read(name)))
    assert not {key for key in JOBS["check/check"] if key in ("environment", "env", "secrets")}


def test_what_each_job_may_do() -> None:
    assert {name: (job.get("environment", ""), job["permissions"]) for name, job in JOBS.items()} == MAY
    assert all(read(name)["permissions"] == {} for name in NAMES)


@every_job
def test_every_action_is_pinned_to_a_commit_and_says_which_release_it_is(job: Any) -> None:
    lines = "\n".join(path.read_text() for path in FILES).splitlines()
    for used in [step["uses"] for step in job["steps"] if "uses" in step]:
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40}", used)
        assert used.partition("@")[0] in KNOWN_ACTIONS
        written = {line.partition("uses: ")[2] for line in lines if used in line}
        assert len(written) == 1 and re.search(r" # v\d+\.\d+\.\d+$", written.pop())


@every_job
def test_a_step_is_an_action_or_one_make_target(job: Any) -> None:
    known = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        if run := step.get("run"):
            assert (found := re.fullmatch(r"make ([a-z-]+)", run)), run
            assert found[1] in known


@every_job
def test_what_is_checked_out_is_our_own(job: Any) -> None:
    first, *others = job["steps"]
    assert first["uses"].startswith("actions/checkout@")
    assert first["with"]["persist-credentials"] == "false" and first["with"]["fetch-depth"] == "0"
    wanted = f"${{{{ {BASE} }}}}" if job is JOBS["check/check"] else MAIN
    assert first["with"]["ref"] == wanted
    assert set(first["with"]) == {"ref", "fetch-depth", "persist-credentials"}
    assert not [step for step in others if step.get("uses", "").startswith("actions/checkout@")]


@pytest.mark.parametrize("name", NAMES)
def test_of_an_event_only_numbers_and_hashes_are_used(name: str) -> None:
    for expression in expressions(read(name)):
        asked = re.sub(r"contains\(github\.event\.issue\.body, '[^']*'\)", "", expression)
        used = set(re.findall(r"(?:github\.event|inputs)\.[\w.*-]+", asked))
        assert used <= OF_EVENTS, expression
        assert not re.search(r"github\.(head_ref|ref_name|ref\b|actor|triggering_actor)", expression)


@every_job
def test_secrets_are_in_the_environment_of_single_steps(job: Any) -> None:
    assert "env" not in job
    holders = [step for step in job["steps"] if SECRET.search(str(step))]
    for step in holders:
        assert "env" in step or step["uses"].startswith("aws-actions/")
        if "CF_INFRA_STATE_KEY" in str(step):
            assert step["run"] == "make job-files"
    assert not any(SECRET.search(str(value)) for key, value in job.items() if key != "steps")


def test_an_issue_is_looked_at_if_it_was_made_with_the_form() -> None:
    form = yaml.safe_load((PROJECT / ".github" / "ISSUE_TEMPLATE" / "access.yml").read_text())
    heading = form["body"][0]["attributes"]["label"]  # GitHub writes each label as a heading
    asked = f"github.event_name != 'issues' || contains(github.event.issue.body, '### {heading}')"
    assert JOBS["intake/intake"]["if"] == asked


def test_no_workflow_has_an_environment_for_all_its_jobs() -> None:
    assert not [name for name in NAMES if "env" in read(name) or "defaults" in read(name)]


def test_the_comments_jobs_reach_no_cloud() -> None:
    for name in ("comment/comment", "comment/waiting"):
        used = set(re.findall(r"(?:secrets|vars)\.\w+", str(JOBS[name])))
        state = {"CF_INFRA_STATE_LOGIN", "CF_INFRA_STATE_PASSWORD", "CF_INFRA_STATE_KEY"}
        wanted = {f"secrets.{key}" for key in state}
        assert used == wanted | {"vars.CF_INFRA_STATE_REGION", "vars.CF_INFRA_STATE_ROLE"}


@every_job
def test_every_job_ends_and_nothing_that_writes_is_cancelled(job: Any) -> None:
    assert 0 < int(job["timeout-minutes"]) <= 180
    if job is not JOBS["check/check"]:
        assert job["concurrency"]["cancel-in-progress"] == "false"


def test_the_danger_job_waits_for_people_and_accepts_what_the_first_one_printed() -> None:
    danger = JOBS["apply/danger"]
    assert danger["needs"] == "apply" and danger["environment"] == "danger"
    assert danger["strategy"]["matrix"] == {"include": "${{ fromJSON(needs.apply.outputs.waiting || '[]') }}"}
    last = danger["steps"][-1]
    assert last["run"] == "make accept"
    assert last["env"]["STACK"] == "${{ matrix.stack }}" and last["env"]["DIGEST"] == "${{ matrix.digest }}"
    # A job that waits for reviewers keeps no apply from running: the groups are apart.
    assert danger["concurrency"]["group"] != JOBS["apply/apply"]["concurrency"]["group"]


# ---------------------------------------------------------------------------------------------- the make targets

ECHO = """#!/bin/sh
for word in "$0" "$@"; do printf '[%s]' "$word" >> "$CALLS"; done
echo >> "$CALLS"
"""
HOSTILE = "1\"; touch pwned; ' $(touch pwned) `touch pwned` $$(touch pwned)"
FROM_OUTSIDE = {
    "check-pull": ("BASE", "HEAD"),
    "comment": ("PULL", "HEAD_SHA"),
    "accept": ("STACK", "DIGEST"),
    "intake": ("ISSUE",),
}


@pytest.mark.parametrize("target", FROM_OUTSIDE)
def test_words_from_outside_are_words_and_no_commands(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Makefile").write_text((PROJECT / "Makefile").read_text())
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "cf-infra"):
        (programs / name).write_text(ECHO)
        (programs / name).chmod(0o755)
    environ = {"PATH": "/usr/bin:/bin", "PYTHON": "true", "CALLS": str(tmp_path / "calls")}
    environ |= dict.fromkeys(FROM_OUTSIDE[target], HOSTILE)
    done = subprocess.run(["make", target], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "pwned").exists()
    calls = (tmp_path / "calls").read_text()
    assert HOSTILE in calls
