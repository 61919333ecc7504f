"""`review` and `comment`: a pull request between a real clone and the stand-in for GitHub."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from feedstock_world import DAY, LISTS, ORG, STACK, TOKEN, entry
from roots import Ran, Runner, write_root
from test_review import is_inert

from cf_infra import reviewing, sticky
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github import FOLDED
from cf_infra.head_plans import HeadPlans
from cf_infra.model import Settings
from cf_infra.parse import parse
from cf_infra.reviewing import secrets_of
from tests.github import Standin, State
from tests.github.state import Comment, Issue, Pull, Repository

pytestmark = pytest.mark.programs

NAME = "access"
PLACE = f"{ORG}/{NAME}#1"
BASE = "version: 1\ngrants:\n" + entry()
MORE = BASE + entry("scipy")


class Clone:
    """A clone, its repository at the stand-in, and one pull request."""

    def __init__(self, root: Path, github: Standin, run: Runner) -> None:
        self.root, self.github, self.run = root, github, run
        settings = f"version: 1\norganisation: {ORG}\ngithub: {{api: '{github.url}'}}\n"
        files = {
            "settings.yaml": settings.encode(),
            "stacks/somebody.yaml": STACK,
            "stacks/lists.yaml": LISTS,
        }
        write_root(root, {**files, "grants.yaml": BASE.encode()})
        self.git("init", "-q", "-b", "main")
        self.main = self.commit("Begin")
        found = github.state.repository(ORG, NAME)
        assert found is not None
        self.there: Repository = found
        self.issue = self.pull(1, "feature", MORE)

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        env = {name: value for name, value in os.environ.items() if name != "GITHUB_TOKEN"}
        command = ["git", *who, *words]
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def head(self, branch: str, grants: str, start: str = "main", **files: bytes) -> str:
        """A branch with other grants; the work tree is as it was afterwards."""
        self.git("checkout", "-q", "-B", branch, start)
        write_root(self.root, {"grants.yaml": grants.encode(), **files})
        made = self.commit(f"Change on {branch}")
        self.git("checkout", "-q", "main")
        self.there.branches[branch] = made
        return made

    def pull(self, number: int, branch: str, grants: str) -> Issue:
        self.head(branch, grants)
        eve = self.github.state.user("eve") or self.github.state.add_user("eve")
        made = Issue(100 + number, number, "Add @all", None, eve.id, 0.0, pull=Pull(branch, "main"))
        self.there.issues[number] = made
        return made

    def __call__(self, *words: str, code: int = 0) -> Ran:
        ran = self.run(*words, "--root", str(self.root), "--today", DAY)
        assert TOKEN not in ran.out + ran.err
        assert ran.code == code, ran.out + ran.err
        return ran

    @property
    def said(self) -> list[str]:
        return [one.body for one in self.issue.comments.values()]

    def wrote(self) -> list[str]:
        return [
            f"{one.method} {one.path.rpartition('/')[2]}" for one in self.github.log if one.method != "GET"
        ]


@pytest.fixture
def clone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clone]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setattr("cf_infra.rest.BACKOFF", (0.01,))
    state = State(ORG)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo"])
    state.add_repository(NAME, files={"README.md": "x"})
    with Standin(state) as github:
        yield Clone(tmp_path / "clone", github, Runner(capsys))


DONOR = STACK + b"credentials: {hook: {kind: secret, deliver: [file], source: env DONOR_KEY}}\n"
VERDICT = "Gives 1 feedstock a GPU until 2027-01-01, takes away no machine, costs are not known"


def test_a_pull_request_gets_its_comment_in_one_go(clone: Clone) -> None:
    ran = clone("comment", PLACE)
    (text,) = clone.said
    assert text.startswith(f"<!-- cf-infra review -->\n### {VERDICT}")
    assert text.endswith(f"<!-- cf-infra head {clone.there.branches['feature']} -->\n")
    assert "`scipy-feedstock/gpu-large`" in text and "nothing was planned" in text
    assert "@all" in text, "a stranger's words are shown"
    is_inert(text)
    assert f"{PLACE}: {VERDICT}" in ran.out


def test_a_later_run_changes_the_comment_and_the_same_run_nothing(clone: Clone) -> None:
    clone("comment", PLACE)
    clone("comment", PLACE)
    assert clone.wrote() == ["POST comments"]
    clone.head("feature", MORE + entry("jax"), "feature")
    clone("comment", PLACE)
    (text,) = clone.said
    assert "Gives 2 feedstocks" in text
    assert [word.partition(" ")[0] for word in clone.wrote()] == ["POST", "PATCH"]


def test_a_dry_run_posts_nothing(clone: Clone) -> None:
    ran = clone("comment", PLACE, "--dry-run")
    assert ran.out.startswith(f"### {VERDICT}") and clone.said == [] and clone.wrote() == []
    found: Any = clone("comment", PLACE, "--dry-run", "--format", "json").json()
    (one,) = found["comments"]
    assert one["comment"] is None and one["review"]["verdict"].startswith(VERDICT)
    assert one["review"]["pull"] == {"repository": f"{ORG}/{NAME}", "number": 1}


def test_a_number_alone_is_one_of_the_named_repository(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "which repository" in clone("comment", "1", code=64).err
    clone("comment", "1", "--repository", f"{ORG}/{NAME}")
    monkeypatch.setenv("GITHUB_REPOSITORY", f"{ORG}/{NAME}")
    clone("comment", "1")
    assert len(clone.said) == 1


@pytest.mark.parametrize("text", ["x", f"{ORG}/{NAME}", "../..#1", "1x", "#1", "-1"])
def test_what_is_no_pull_request_is_wrong_usage(clone: Clone, text: str) -> None:
    assert clone("comment", "--", text, code=64).out == ""


def test_another_organisation_is_refused(clone: Clone) -> None:
    assert "settings.yaml is for" in clone("comment", "somebody/access#1", code=64).err


def test_the_head_that_the_caller_means_must_be_the_newest(clone: Clone) -> None:
    old = clone.there.branches["feature"]
    clone.head("feature", MORE + entry("jax"), "feature")
    ran = clone("comment", PLACE, "--head", old, code=1)
    assert "error[head-moved]" in ran.err and clone.said == []
    clone("comment", PLACE, "--head", clone.there.branches["feature"])


def test_a_head_that_moves_meanwhile_gets_no_comment_about_the_old_one(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = reviewing.made

    def moving(*given: Any) -> Any:
        clone.head("feature", MORE + entry("evil"), "feature")
        return made(*given)

    monkeypatch.setattr(reviewing, "made", moving)
    ran = clone("comment", PLACE, code=1)
    assert "error[head-moved]" in ran.err and "the run for the newer head says it" in ran.err
    assert clone.said == []


def test_a_closed_one_and_one_for_another_branch_get_none(clone: Clone) -> None:
    clone.issue.state = "closed"
    assert "error[pull-refused]" in clone("comment", PLACE, code=1).err
    clone.issue.state = "open"
    clone.there.branches["other"] = clone.there.branches["main"]
    assert clone.issue.pull is not None
    clone.issue.pull.base = "other"
    assert "goes into another branch" in clone("comment", PLACE, code=1).err
    assert "error[not-at-github]" in clone("comment", f"{ORG}/{NAME}#7", code=1).err
    assert clone.said == []


def test_a_head_that_is_not_in_the_clone_is_not_fetched(clone: Clone) -> None:
    clone.there.branches["feature"] = "0600a98db8f6a1f3d5a90bb0600a98db8f6a1f3d"
    ran = clone("comment", PLACE, code=1)
    assert (
        "error[bad-revision]" in ran.err and "git fetch origin refs/pull/1/head refs/pull/1/merge" in ran.err
    )


def test_faults_of_the_head_are_said_in_the_comment(clone: Clone) -> None:
    clone.head("feature", MORE + "  - feedstock: '</details> @all'\n    resources: [x]\n", "feature")
    clone("comment", PLACE)
    (text,) = clone.said
    assert "### Cannot be applied: the files have" in text and "`grants.yaml:" in text
    is_inert(text)


def test_a_link_instead_of_a_file_is_said_and_not_followed(clone: Clone) -> None:
    clone.git("checkout", "-q", "feature")
    (clone.root / "grants.yaml").unlink()
    (clone.root / "grants.yaml").symlink_to("/proc/self/environ")
    clone.there.branches["feature"] = clone.commit("A link")
    clone.git("checkout", "-q", "main")
    clone("comment", PLACE)
    (text,) = clone.said
    assert "### Cannot be applied: the files have 1 error." in text and "a link" in text and TOKEN not in text


# ------------------------------------------------------------------------------------ what merging would do


def test_a_head_that_is_behind_takes_nothing_of_others_away(clone: Clone) -> None:
    """It is compared with where it parted, and not planned."""
    write_root(clone.root, {"grants.yaml": (BASE + entry("jax")).encode()})
    clone.commit("Another request is merged")
    clone("comment", PLACE, "--plan")
    (text,) = clone.said
    assert "Gives 1 feedstock" in text and "jax" not in text
    assert "update the branch" in text and "1 stack NOT PLANNED" in text


def test_the_try_to_merge_is_used_where_the_clone_has_it(clone: Clone) -> None:
    clone.git("checkout", "-q", "-B", "other", "main")
    write_root(clone.root, {"users/x.json": b'{"users": []}'})
    clone.commit("Something else is merged")
    clone.git("checkout", "-q", "-B", "main", "other")
    head = clone.there.branches["feature"]
    clone.git("checkout", "-q", "--detach", "main")
    clone.git("merge", "-q", "--no-ff", "-m", "Merge", head)
    merged = clone.git("rev-parse", "HEAD")
    clone.git("checkout", "-q", "main")
    assert clone.issue.pull is not None
    clone.issue.pull.merge_sha = merged
    clone("comment", PLACE)
    (text,) = clone.said
    assert f"`{merged[:12]}`" in text and "Gives 1 feedstock" in text
    assert f"<!-- cf-infra head {head} -->" in text


def test_a_merge_of_another_head_is_not_used(clone: Clone) -> None:
    write_root(clone.root, {"grants.yaml": (BASE + entry("jax")).encode()})
    clone.commit("Another request is merged")
    clone.git("checkout", "-q", "--detach", "main")
    clone.git("merge", "-q", "--no-ff", "-s", "ours", "-m", "Merge", clone.head("evil", BASE))
    forged = clone.git("rev-parse", "HEAD")
    clone.git("checkout", "-q", "main")
    assert clone.issue.pull is not None
    clone.issue.pull.merge_sha = forged
    clone("comment", PLACE)
    (text,) = clone.said
    assert forged[:12] not in text and "Gives 1 feedstock" in text


# ---------------------------------------------------------------------------------------- one comment, ours


def test_the_oldest_wins_and_a_second_one_is_folded(clone: Clone) -> None:
    operator = clone.github.state.user("operator")
    assert operator is not None
    for number in (7, 8):
        body = f"<!-- cf-infra review -->\nOf run {number}"
        clone.issue.comments[number] = Comment(number, operator.id, body, 0.0, 0.0)
    clone("comment", PLACE)
    assert VERDICT in clone.said[0] and clone.said[1] == FOLDED
    clone("comment", PLACE)
    assert clone.wrote() == ["PATCH 8", "PATCH 7"], "what is folded is left alone"


def test_somebody_elses_comment_with_our_marker_is_left_alone(clone: Clone) -> None:
    eve = clone.github.state.user("eve")
    assert eve is not None
    clone.issue.comments[7] = Comment(7, eve.id, "<!-- cf-infra review -->\nAll is well.", 0.0, 0.0)
    clone("comment", PLACE)
    assert clone.said[0].endswith("All is well.") and VERDICT in clone.said[1]


def test_a_comment_that_somebody_removes_meanwhile_is_made_anew(clone: Clone) -> None:
    clone("comment", PLACE)
    clone.head("feature", MORE + entry("jax"), "feature")
    clone.github.fail_next(404, matching="^PATCH", body={"message": "Not Found"})
    clone("comment", PLACE)
    assert "Gives 2 feedstocks" in clone.said[-1] and len(clone.said) == 2
    clone.issue.comments.clear()
    clone("comment", PLACE)
    assert len(clone.said) == 1


def test_two_runs_at_once_leave_one_comment_after_the_next(clone: Clone) -> None:
    """Both looked before either wrote: the next run folds the second one."""
    clone("comment", PLACE)
    (first,) = clone.issue.comments.values()
    clone.issue.comments[first.id + 1] = Comment(first.id + 1, first.author, first.body, 0.0, 0.0)
    clone("comment", PLACE)
    assert clone.said == [first.body, FOLDED]


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_silent_api_is_told_with_a_way_out(clone: Clone, status: int) -> None:
    clone.github.fail_next(status, times=50)
    ran = clone("comment", PLACE, code=1)
    assert "hint:" in ran.err and clone.said == []
    assert "comments" not in ran.out


# ------------------------------------------------------------------------------------------------- waiting


def test_all_that_wait_get_their_comment(clone: Clone) -> None:
    second = clone.pull(2, "second", BASE + entry("jax"))
    clone("comment", PLACE)
    found: Any = clone("comment", "--waiting", "--repository", f"{ORG}/{NAME}", "--format", "json").json()
    assert [one["pull"] for one in found["comments"]] == [2] and len(second.comments) == 1
    clone.head("feature", MORE + entry("jax"), "feature")
    found = clone("comment", "--waiting", "--repository", f"{ORG}/{NAME}", "--format", "json").json()
    assert [one["pull"] for one in found["comments"]] == [1]
    assert clone("comment", "--waiting", "--repository", f"{ORG}/{NAME}").out == ""


def test_one_that_fails_hinders_no_other(clone: Clone) -> None:
    clone.there.branches["feature"] = "0600a98db8f6a1f3d5a90bb0600a98db8f6a1f3d"
    second = clone.pull(2, "second", BASE + entry("jax"))
    ran = clone("comment", "--waiting", "--repository", f"{ORG}/{NAME}", code=1)
    assert "At pull request 1: " in ran.err and len(second.comments) == 1 and clone.said == []


def test_either_a_pull_request_or_all_that_wait(clone: Clone) -> None:
    assert clone("comment", code=64).out == "" and clone("comment", PLACE, "--waiting", code=64).out == ""


# -------------------------------------------------------------------------------------------------- review


def test_review_in_three_forms(clone: Clone) -> None:
    text = clone("review", "main", "feature").out
    assert text.startswith("Gives 1 feedstock a GPU") and all(len(line) <= 80 for line in text.splitlines())
    markdown = clone("review", "main", "feature", "--format", "markdown").out
    assert markdown.startswith(f"### {VERDICT}")
    found: Any = clone("review", "main", "feature", "--format", "json").json()
    assert found["verdict"].startswith(VERDICT) and found["asked"] is False
    assert found["diff"]["grants"]["added"] == ["scipy-feedstock/gpu-large"] and found["diagnostics"] == []


def test_review_of_a_faulty_head_ends_with_1_and_prints_its_result(clone: Clone) -> None:
    clone.head("feature", "version: 1\ngrants: [x]\n", "feature")
    ran = clone("review", "main", "feature", code=1)
    assert ran.out.startswith("Cannot be applied: the files have 1 error.") and "error[" in ran.err
    found: Any = clone("review", "main", "feature", "--format", "json", code=1).json()
    assert found["diff"] is None and found["diagnostics"][0]["severity"] == "error"


def test_a_secret_that_stands_in_the_files_is_masked_by_value(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody pasted into a reason must not be repeated where everybody reads it."""
    secret = "pasted-by-mistake-0001"
    monkeypatch.setattr(reviewing, "secrets_of", lambda *_given: [secret])
    clone.head("feature", MORE.replace("CUDA tests", secret), "feature")
    clone("comment", PLACE)
    assert secret not in clone.said[0] and "(secret)" in clone.said[0]
    assert secret not in clone("review", "main", "feature", "--format", "json").out


def test_the_secrets_that_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "the-token")
    monkeypatch.setenv("DONOR_KEY", "the-key")
    key = parse({"stacks/a.yaml": DONOR}).inventory.stacks
    assert secrets_of(Settings(), key.values(), "another") == ["another", "the-key", "the-token"]


# ------------------------------------------------------------------------------------------- with the head's plans


def planned(*diagnostics: Diagnostic) -> HeadPlans:
    items = [{"address": 'a.b["x"]', "action": "delete", "what": "server x", "grants": []}]
    row = {"stack": "lab", "items": items, "review_digest": "ab", "hashes": [["a", "delete", "h"]]}
    nobody: dict[str, str | None] = {"name": "", "commit": None}
    waits = [{"stack": "other", "why": "its file is changed"}]
    return HeadPlans(nobody, nobody, [row], waits, list(diagnostics), ["lab: uses the override of 3"])


def test_plans_of_the_head_are_a_part_of_it(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    fault = Diagnostic("tofu-warning", detail="lab: it is old")

    def plans(*given: Any, **more: Any) -> HeadPlans:
        asked.append((*given[1:4], more["stacks_approved"], more["clouds"]))
        return planned(fault)

    monkeypatch.setattr(reviewing.head_plans, "plans", plans)
    ran = clone("comment", PLACE, "--plan", "--stacks-approved", "--cloud", "lab=sandbox")
    (text,) = clone.said
    assert "DESTROYS 1 thing" in text and "1 stack NOT PLANNED" in text and "its file is changed" in text
    assert "no cloud was asked" in text and "uses the override of 3" in text and "it is old" in text
    head = clone.there.branches["feature"]
    assert asked == [(clone.main, head, date.fromisoformat(DAY), True, {"lab": "sandbox"})]
    assert "DESTROYS 1 thing" in ran.out


def test_a_record_of_what_was_reviewed_goes_into_the_comment(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviewing.head_plans, "plans", lambda *_given, **_more: planned())
    options = reviewing.Options(clone.root, date.fromisoformat(DAY), plan=True)
    seen: list[Any] = []

    class Beside:
        def approvals(self, *_given: Any) -> None:
            return None

        def record(self, _place: str, pull: Any, _sides: Any, reviewed: reviewing.Reviewed) -> str:
            seen.append((pull.number, reviewed.hashes))
            return "<!-- cf-infra record x -->"

    place = sticky.Place(ORG, NAME)
    sticky.comment(sticky.Options(options, place), 1, lambda _text: None, Beside())
    (text,) = clone.said
    assert seen == [(1, {"lab": [["a", "delete", "h"]]})]
    assert text.endswith(" -->\n<!-- cf-infra record x -->\n")


def test_a_head_that_cannot_be_planned_says_why(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    def plans(*_given: Any, **_more: Any) -> HeadPlans:
        raise Failure(Diagnostic("no-key", detail="The key is not here."))

    monkeypatch.setattr(reviewing.head_plans, "plans", plans)
    clone("comment", PLACE, "--plan")
    (text,) = clone.said
    assert "no-key: The key is not here." in text and "Cannot be applied" in text
