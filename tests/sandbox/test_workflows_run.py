"""The workflows as they run: by `act` on this machine, against the stand-ins for GitHub and S3.

What GitHub does is done by workflow_world.py: which secrets a job gets, what an event says, where a fork's head is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import s3_standin
import workflow_world
from cirun_standin import CirunStandin, CirunState
from real_tofu import tool_with_github
from s3_standin import S3
from workflow_world import NAME, OWNER, Ended, World

from tests import leaks
from tests.github import Standin, State
from tests.github.state import Commit, Pull
from tests.leaks import WATCH

pytestmark = pytest.mark.sandbox
KEY = "5e1d9b0347c2a6f8" * 4
BOT, PEOPLE = "ghs_TheTokenOfAJobAtGithub0001", "ghp_TheTokenOfTheOperators0001"
ACCOUNT = b"""\
version: 1
kind: cirun
donor: {name: Somebody}
offers:
  gpu-large: {via: cirun, mode: on-demand, label: cirun-gpu-large, cirun: {cloud: aws, instance_type: g4dn}}
"""
ACCESS = b"""\
version: 1
kind: github
donor: {name: conda-forge}
github:
  variables: {CF_GPU_RUNNER: {resources: [gpu-large]}}
"""
ENTRY = """\
  - feedstock: FEEDSTOCK
    resources: [gpu-large]
    reason: REASON
    request: https://example.org/1
    requested_by: somebody
    granted: 2026-01-01
    expires: 2099-01-01
    roles: [admin, maintain]
"""
REASON = "Builds take long"


def grants(*feedstocks: str, reason: str = REASON) -> bytes:
    entries = [ENTRY.replace("FEEDSTOCK", name).replace("REASON", reason) for name in feedstocks]
    return ("version: 1\ngrants:\n" + "".join(entries) if entries else "version: 1\ngrants: []\n").encode()


@dataclass
class Place:
    """The repository, GitHub's API, the bucket, and what each environment's jobs get."""

    world: World
    github: Standin
    s3: S3
    data: Mapping[str, bytes]

    @property
    def state(self) -> State:
        return self.github.state

    @property
    def repository(self) -> Any:
        found = self.state.repository(OWNER, NAME)
        assert found is not None
        return found

    def secrets(self, environment: str) -> dict[str, str]:
        """What GitHub gives to a job: by its environment, and a token with the job's permissions."""
        if not environment:
            return {}
        login = self.s3.reader if environment == "comment" else self.s3.operator
        given = {"CF_INFRA_STATE_LOGIN": login[0], "CF_INFRA_STATE_PASSWORD": login[1]}
        given |= {"CF_INFRA_STATE_KEY": KEY, "GITHUB_TOKEN": BOT, "CF_INFRA_RENEWALS_TOKEN": PEOPLE}
        return given if environment == "comment" else {**given, "CF_INFRA_GITHUB_TOKEN": PEOPLE}

    def pull(self, head: str, title: str = "A change", branch: str = "change") -> int:
        """A pull request from a fork, at GitHub's API and in git."""
        issue = self.state.add_issue(self.repository, "somebody", title, "")
        issue.pull = Pull(branch, "main", head_sha=head)
        self.world.pull(issue.number, head)
        return int(issue.number)

    def main(self) -> str:
        """Have the default branch at GitHub, where both git and the API know its newest commit."""
        commit = self.world.push()
        made = Commit(commit, {}, "merged", None, "somebody", "a@example.org", self.state.clock())
        self.repository.commits[commit] = made
        self.repository.branches["main"] = commit
        return commit

    def comments(self, number: int) -> list[str]:
        return [one.body for one in self.repository.issues[number].comments.values()]

    def asked(self, method: str) -> list[str]:
        return [one.path for one in self.github.log if one.method == method]

    def check(self, number: int, head: str, /, **more: Any) -> Ended:
        """The run of `check` for a pull request."""
        base = self.world.git("rev-parse", "main")
        pull: dict[str, Any] = {"number": number, "title": "A change", "head": {"ref": "change", "sha": head}}
        pull |= {"base": {"ref": "main", "sha": base}, **more}
        payload = {
            "action": "opened",
            "number": number,
            "pull_request": {**pull, "base": {"ref": "main", "sha": base}, **more},
        }
        return self.world.run("pull_request", payload, "check.yml", secrets=self.secrets(""))

    def ended(self, head: str, /, **more: Any) -> Ended:
        """The run of `comment` that follows the end of `check`."""
        about: dict[str, Any] = {"id": 1, "name": "check", "event": "pull_request", "head_sha": head}
        about |= {"head_branch": "change", "conclusion": "success", "pull_requests": [], **more}
        payload = {
            "action": "completed",
            "workflow_run": {**about, "conclusion": "success", "pull_requests": [], **more},
        }
        return self.world.run("workflow_run", payload, "comment.yml", secrets=self.secrets("comment"))

    def scheduled(self, workflow: str, environment: str) -> Ended:
        payload = {"schedule": "7,37 * * * *"}
        return self.world.run("schedule", payload, workflow, secrets=self.secrets(environment))

    def pushed(self) -> Ended:
        payload = {"ref": "refs/heads/main", "after": self.main()}
        return self.world.run("push", payload, "apply.yml", secrets=self.secrets("apply"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    tool_with_github()
    WATCH.knows("the state's key of a test", bytes.fromhex(KEY), leaks.KEY)
    state = State(OWNER)
    state.add_member("operator", owner=True)
    state.add_token(PEOPLE, "operator", scopes=["repo", "admin:org", "workflow"])
    state.add_user("github-actions[bot]", "Bot")
    state.add_token(BOT, "github-actions[bot]", scopes=["repo"])
    for name in (NAME, ".cirun", "pytorch-cpu-feedstock", "numba-feedstock", "scipy-feedstock"):
        state.add_repository(name)
    with Standin(state) as github, s3_standin.serving() as s3:
        settings = (
            f"version: 1\norganisation: {OWNER}\naccess_delivery: direct\noperators: [operator]\n"
            f"github: {{api: '{github.url}'}}\n"
        )
        data = {
            "settings.yaml": settings.encode() + s3.settings(),
            "grants.yaml": grants("pytorch-cpu"),
            "stacks/account.yaml": ACCOUNT,
            "stacks/access.yaml": ACCESS,
        }
        world = workflow_world.made(tmp_path, data)
        world.variables["CF_INFRA_STATE_REGION"] = s3_standin.REGION
        world.environ |= {"AWS_EC2_METADATA_DISABLED": "true"}
        made = Place(world, github, s3, data)
        made.main()
        yield made


def fork(place: Place, files: Mapping[str, bytes | None]) -> str:
    """A head in somebody's fork."""
    return place.world.commit(files, branch="change")


GIVEN = {"grants.yaml": grants("pytorch-cpu", "numba")}


# ------------------------------------------------------------------------------------------------- check, comment


def test_a_pull_request_of_a_fork_is_checked_and_gets_its_comment(place: Place) -> None:
    head = fork(place, GIVEN)
    number = place.pull(head)
    checked = place.check(number, head)
    assert checked.code == 0 and "**1 grant added" in checked.log, checked.log
    assert place.asked("POST") == []
    ended = place.ended(head)
    assert ended.code == 0, ended.log
    (text,) = place.comments(number)
    assert "numba-feedstock" in text and head in text


def test_code_of_the_head_is_never_run(place: Place, tmp_path: Path) -> None:
    pwned = tmp_path / "pwned"
    steal = f"import os; open({str(pwned)!r}, 'w').write(str(os.environ))\n".encode()
    workflow = (place.world.work / ".github/workflows/comment.yml").read_bytes()
    head = fork(place, {
        **GIVEN,
        "Makefile": f"comment check-pull job-files:\n\t@env > {pwned}\n".encode(),
        "tools/comment.py": steal, "tools/job.py": steal, "tools/fetch.py": steal, "cf_infra/__init__.py": steal,
        "sitecustomize.py": steal, ".gitattributes": b"* filter=steal\n",
        ".github/workflows/comment.yml": workflow.replace(b"make comment", f"env > {pwned}".encode()),
        "settings.yaml": b"version: 1\norganisation: evil\ngithub: {api: 'https://evil.example'}\n",
        "modules/evil/main.tf": f'data "external" "x" {{ program = ["touch", "{pwned}"] }}\n'.encode(),
    })  # fmt: skip
    number = place.pull(head)
    checked, ended = place.check(number, head), place.ended(head)
    assert (checked.code, ended.code) == (0, 0), checked.log + ended.log
    assert not pwned.exists()
    (text,) = place.comments(number)
    assert "numba-feedstock" in text and "settings.yaml" in text


def test_the_number_of_a_pull_request_comes_from_github_alone(place: Place) -> None:
    """A fork writes what it wants into its run's artifacts; what a run's event tells of pull requests is empty then."""
    victim = place.pull(fork(place, {}), branch="victim")
    head = fork(place, GIVEN)
    number = place.pull(head)
    forged = {"number": victim, "head": {"sha": head}, "base": {"ref": "main"}}
    ended = place.ended(head, pull_requests=[forged], display_title=f"#{victim}", run_number=victim)
    assert ended.code == 0, ended.log
    assert place.comments(victim) == [] and len(place.comments(number)) == 1


def test_a_head_that_moves_between_check_and_comment(place: Place) -> None:
    harmless, hostile = fork(place, {}), fork(place, GIVEN)
    number = place.pull(harmless)
    assert place.check(number, harmless).code == 0
    place.repository.issues[number].pull.head_sha = hostile
    place.world.pull(number, hostile)
    ended = place.ended(harmless)
    assert ended.code == 0 and "closed, or moved on" in ended.log, ended.log
    assert place.comments(number) == []
    assert place.ended(hostile).code == 0
    (text,) = place.comments(number)
    assert hostile in text and harmless not in text


def test_a_head_that_git_and_the_api_name_differently_gets_no_comment(place: Place) -> None:
    head = fork(place, GIVEN)
    number = place.pull(head)
    place.world.pull(number, fork(place, {}))
    ended = place.ended(head)
    assert ended.code == 0 and "needs no comment any more" in ended.log, ended.log
    assert place.comments(number) == []


HOSTILE = (
    "x$(touch pwned)`touch pwned`\n::set-output name=waiting::[]\n'; touch pwned; "
    '"${{ secrets.CF_INFRA_STATE_KEY }}'
)


def test_words_of_strangers_are_no_commands(place: Place, tmp_path: Path) -> None:
    pwned = tmp_path / "pwned"
    hostile = HOSTILE.replace("touch pwned", f"touch {pwned}")
    told = (
        "A reason "
        + "which is long, " * 8
        + "::set-output name=waiting::mine ::add-mask::reason ##[error]told ::error::told"
    )
    head = fork(place, {"grants.yaml": grants("pytorch-cpu", "numba", reason=json.dumps(told))})
    number = place.pull(head, title=hostile, branch=hostile)
    side = {
        "title": hostile,
        "body": hostile,
        "user": {"login": hostile},
        "head": {"ref": hostile, "sha": head},
    }
    checked = place.check(number, head, **side)
    ended = place.ended(head, head_branch=hostile, display_title=hostile, actor={"login": hostile})
    assert (checked.code, ended.code) == (0, 0), checked.log + ended.log
    assert not pwned.exists()
    assert KEY not in checked.log + ended.log
    for ran in (checked, ended):
        obeyed = [line for line in ran.commands if "::set-env::" not in line]
        assert obeyed and all("::stop-commands::" in line for line in obeyed)


def test_a_reviewer_asks_for_one_by_number(place: Place) -> None:
    head = fork(place, GIVEN)
    number = place.pull(head)

    def asked(word: str) -> Ended:
        secrets = place.secrets("comment")
        payload = {"inputs": {"pull": word}, "ref": "refs/heads/main"}
        return place.world.run("workflow_dispatch", payload, "comment.yml", secrets=secrets)

    refused = asked(f"{number}; id")
    assert refused.code != 0 and "error[bad-pull]" in refused.log
    assert place.comments(number) == []
    assert asked(str(number)).code == 0
    assert len(place.comments(number)) == 1


def test_those_whose_runs_wait_for_approval_get_their_comment_by_the_clock(place: Place) -> None:
    first, second = fork(place, GIVEN), fork(place, {"grants.yaml": grants()})
    numbers = [place.pull(first), place.pull(second)]
    for _ in range(2):  # the second pass finds nothing to do
        ended = place.scheduled("comment.yml", "comment")
        assert ended.code == 0 and ended.jobs == ["comment where none is"], ended.log
        assert [len(place.comments(number)) for number in numbers] == [1, 1]
    assert len([path for path in place.asked("POST") if path.endswith("/comments")]) == 2
    assert place.asked("PATCH") == []


def test_what_is_no_data_is_refused_and_shows_nothing(place: Place) -> None:
    work = place.world.work
    place.world.git("checkout", "-q", "-B", "change", "main")
    (work / "grants.yaml").unlink()
    (work / "grants.yaml").symlink_to("/proc/self/environ")
    place.world.git("add", "-A", "-f")
    place.world.git("commit", "-qm", "a link")
    head = place.world.git("rev-parse", "HEAD")
    place.world.git("checkout", "-q", "main")
    number = place.pull(head)
    checked, ended = place.check(number, head), place.ended(head)
    assert checked.code != 0 and "it is a link" in checked.log
    assert "it is a link" in ended.log + "".join(place.comments(number))
    said = checked.log + ended.log + "".join(place.comments(number))
    assert not [secret for secret in place.secrets("comment").values() if secret in said]


def test_each_step_has_just_the_secrets_that_it_needs(place: Place, tmp_path: Path) -> None:
    """Set-up, which begins each target, writes its environment down."""
    noted = tmp_path / "noted"
    probe = tmp_path / "probe"
    python = place.world.folder / "python"
    probe.write_text(f'#!/bin/sh\ncase $1 in tools/setup.py) env >> {noted} ;; esac\nexec {python} "$@"\n')
    probe.chmod(0o755)
    place.world.environ["PYTHON"] = str(probe)
    head = fork(place, GIVEN)
    number = place.pull(head)
    secrets = place.secrets("comment")
    place.world.run(
        "pull_request",
        {
            "number": number,
            "pull_request": {"number": number, "head": {"sha": head}, "base": {"sha": place.main()}},
        },
        "check.yml",
        secrets=secrets,  # as if somebody had made them the repository's
    )
    assert "GITHUB_ACTIONS=true" in noted.read_text()
    assert not [name for name, value in secrets.items() if value in noted.read_text()]
    noted.write_text("")
    assert place.ended(head).code == 0
    seen = noted.read_text()
    noted.unlink()
    assert {name for name, value in secrets.items() if value in seen} == {
        "CF_INFRA_STATE_LOGIN", "CF_INFRA_STATE_PASSWORD", "GITHUB_TOKEN",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------- after the merge


def shown(place: Place) -> set[str]:
    """The repositories that GitHub shows the grant's variable to."""
    found = place.state.variables.get("CF_GPU_RUNNER")
    return {place.state.repositories[one].name for one in found.selected} if found else set()


def test_what_nobody_reviewed_waits_and_is_applied_as_it_was_accepted(place: Place) -> None:
    ended = place.pushed()
    assert ended.code == 0, ended.log
    first, second = ended.jobs
    (found,) = re.findall(
        r"Digest: `([0-9a-f]{64})`", ended.log.partition(second)[0].rpartition("Summary")[0]
    )
    assert (first, second) == ("apply what was reviewed", f"danger: access {found}")
    assert shown(place) == {"pytorch-cpu-feedstock"}
    again = place.pushed()  # another push changes nothing, and nobody is asked
    assert again.code == 0 and again.jobs == ["apply what was reviewed"], again.log
    assert KEY not in ended.log + again.log


def merged(place: Place, number: int, files: Mapping[str, bytes | None]) -> None:
    """The operator approves the newest head and merges it as one commit."""
    issue = place.repository.issues[number]
    operator = place.state.user("operator")
    assert issue.pull is not None and operator is not None and issue.pull.head_sha is not None
    place.state.review(issue.pull, "operator", "APPROVED", issue.pull.head_sha)
    place.world.commit(files, f"A change (#{number})")
    issue.pull.merge_sha = place.main()
    issue.pull.merged_at, issue.pull.merger, issue.state = place.state.clock(), operator.id, "closed"


def test_from_a_fork_to_the_machine_without_a_second_person(place: Place) -> None:
    """The whole way: check, comment, review, merge, apply of exactly that, and a receipt for what is gone."""
    assert place.pushed().code == 0
    files = {"grants.yaml": grants("numba")}
    head = fork(place, files)
    number = place.pull(head)
    assert place.check(number, head).code == 0
    assert place.ended(head).code == 0
    merged(place, number, files)
    ended = place.pushed()
    assert ended.code == 0 and ended.jobs == ["apply what was reviewed"], ended.log
    assert shown(place) == {"numba-feedstock"}
    assert "- `pytorch-cpu-feedstock/gpu-large` is gone from:" in ended.log


def test_what_was_changed_after_its_review_waits(place: Place) -> None:
    assert place.pushed().code == 0
    head = fork(place, GIVEN)
    number = place.pull(head)
    assert place.ended(head).code == 0
    merged(place, number, {"grants.yaml": grants("pytorch-cpu", "numba", "scipy")})
    ended = place.pushed()
    assert ended.code == 0 and len(ended.jobs) == 2 and ended.jobs[1].startswith("danger: access "), ended.log
    assert "waits for a second person" in ended.log and "scipy-feedstock" in ended.log


def test_a_queued_run_works_on_the_newest_commit(place: Place) -> None:
    """GitHub gives up a run that waits for another one when a third comes: nothing may be lost by that."""
    assert place.pushed().code == 0
    place.world.commit({"grants.yaml": grants()}, "one")
    lost = place.main()
    place.world.commit({"grants.yaml": grants("numba")}, "two")
    place.main()
    payload = {"ref": "refs/heads/main", "after": lost}
    ended = place.world.run("push", payload, "apply.yml", secrets=place.secrets("apply"))
    assert ended.code == 0, ended.log
    assert shown(place) == {"numba-feedstock"}


def test_a_person_does_the_same_without_github(place: Place) -> None:
    """`make` in a clone: first another digest, which is refused, then the one that was printed."""
    clone = place.world.folder / "clone"
    place.world.git("clone", "-q", str(place.world.bare), str(clone), cwd=place.world.folder)
    (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
    key = place.world.folder / "state.key"
    key.write_text(KEY + "\n")
    key.chmod(0o600)
    login = {"AWS_ACCESS_KEY_ID": place.s3.operator[0], "AWS_SECRET_ACCESS_KEY": place.s3.operator[1]}

    def make(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {
            **place.world.environment(),
            **login,
            "CF_INFRA_KEY_FILE": str(key),
            "GITHUB_TOKEN": PEOPLE,
        }
        done = subprocess.run(["make", *words], cwd=clone, env=environ, capture_output=True, text=True)
        WATCH.said(f"make {words[0]}", done.stdout, done.stderr)
        return done

    waits = make("apply-reviewed")
    assert waits.returncode != 0 and "error[waits-for-review]" in waits.stderr
    (digest,) = set(re.findall(r"access=([0-9a-f]{64})", waits.stderr))
    wrong = make("accept", "STACK=access", f"DIGEST={digest[::-1]}")
    assert wrong.returncode != 0 and "error[other-digest]" in wrong.stderr
    assert shown(place) == set()
    right = make("accept", "STACK=access", f"DIGEST={digest}")
    assert right.returncode == 0, right.stderr
    assert shown(place) == {"pytorch-cpu-feedstock"}


# ------------------------------------------------------------------------------------- requests, renewals, the day


FORM = """\
### Feedstock

numba

### Machine

gpu-large: Linux x86_64

### What fails today?

CUDA tests need a GPU: https://example.org/run/1
"""


def requested(place: Place, body: str, **more: Any) -> Ended:
    """Somebody opens an issue."""
    state = place.state
    author = state.user("alice") or state.add_member("alice")
    feedstock = state.repository(OWNER, "numba-feedstock")
    assert feedstock is not None
    feedstock.collaborators[author.id] = "write"
    issue = state.add_issue(place.repository, "alice", "Access: ", body)
    payload = {"action": "opened", "issue": {"number": issue.number, "body": body, "labels": [], **more}}
    return place.world.run("issues", payload, "intake.yml", secrets=place.secrets("intake"))


def test_a_request_becomes_a_pull_request_and_gets_an_answer(place: Place) -> None:
    place.state.commit(place.repository, place.data, "as it is in git")
    bot = place.state.user("github-actions[bot]")
    assert bot is not None
    place.repository.collaborators[bot.id] = "write"  # `permissions: contents: write`
    ended = requested(place, FORM)
    assert ended.code == 0, ended.log
    (pull,) = [one for one in place.repository.issues.values() if one.pull]
    assert pull.pull is not None
    branch = place.repository.commits[place.repository.branches[pull.pull.head]]
    assert b"numba" in branch.files["grants.yaml"]
    (answer,) = place.comments(1)
    assert f"#{pull.number}" in answer or f"pull/{pull.number}" in answer


def test_an_issue_that_is_no_request_gets_no_answer(place: Place) -> None:
    words = "$(touch pwned) `touch pwned` ${{ secrets.GITHUB_TOKEN }}"
    unasked = requested(place, words)
    assert unasked.code == 0 and unasked.jobs == [] and place.github.log == [], unasked.log
    asked = requested(place, f"### Feedstock\n\n{words}", title=words)
    assert asked.code == 0 and asked.jobs == ["answer a request"], asked.log
    assert place.asked("POST") == [] and place.comments(2) == []


def test_nobody_is_asked_while_nothing_ends(place: Place) -> None:
    ended = place.scheduled("renewals.yml", "renewals")
    assert ended.code == 0 and ended.jobs == ["ask who needs it still"], ended.log
    assert place.asked("POST") == []


def test_a_day_opens_one_issue_and_closes_it_when_nothing_is_left(place: Place) -> None:
    with CirunStandin(CirunState(github=place.state)) as cirun:
        place.world.environ["CIRUN_API_ENDPOINT"] = cirun.url

        def day() -> list[str]:
            secrets = {**place.secrets("apply"), "CIRUN_API_KEY": cirun.state.key}
            payload = {"schedule": "23 4 * * *"}
            ended = place.world.run("schedule", payload, "daily.yml", secrets=secrets)
            assert ended.code == 0, ended.log
            return [one.state for one in place.repository.issues.values() if not one.pull]

        assert [day(), day()] == [["open"], ["open"]]
        assert place.pushed().code == 0
        cirun.state.repositories[f"{OWNER}/pytorch-cpu-feedstock"] = True
        assert day() == ["closed"]
