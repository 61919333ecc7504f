"""Requests by an issue, against the stand-in for GitHub: one pull request, one answer, whatever is written there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from roots import PROJECT, Runner
from service_world import DAY, ORG, OWN, TOKEN, World, entry, service_world

from cf_infra import issue_form, project
from cf_infra.cli_options import day_of
from cf_infra.github_issues import Desk
from tests.github.state import Pull

pytestmark = pytest.mark.programs


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    with service_world(tmp_path / "root", Runner(capsys)) as made:
        yield made


def test_a_maintainer_asks_and_gets_one_pull_request_with_grant_and_terms(world: World) -> None:
    issue = world.ask()
    told = world.intake(issue)
    assert told["outcome"] == "proposed" and told["grants"] == ["numpy-feedstock/gpu-large"]
    [pull] = world.pulls
    assert told["pull_request"].endswith(f"/pull/{pull.number}")
    assert pull.pull is not None and pull.pull.head == f"cf-infra/request-{issue.number}"
    assert pull.title == "Grant access: numpy (gpu-large)" and f"Closes #{issue.number}" in str(pull.body)
    assert len(world.own.history(pull.pull.head)) == len(world.own.history("main")) + 1, "one commit"
    head = world.at(pull.pull.head)
    for line in ("feedstock: numpy", "requested_by: alice", "granted: 2026-05-28", "expires: 2027-05-28",
                 "terms: lab", f"/{ORG}/{OWN}/issues/{issue.number}"):  # fmt: skip
        assert line in head
    people = json.loads(world.at(pull.pull.head, "users/lab.json"))["users"]
    assert people[1] == {
        "github": "alice",
        "id": world.alice.id,
        "terms": "2026-01-01",
        "accepted": "2026-05-28",
    }
    answer = world.answer(issue)
    assert "**Proposed.**" in answer and f"#{pull.number}" in answer
    assert "`olga`" in answer and "`carol`" in answer and "What happens next" in answer
    assert "@" not in answer and "modules/" not in answer


def test_what_people_wrote_around_it_stays(world: World) -> None:
    world.files({"grants.yaml": f"# ours\nversion: 1\ngrants:\n{entry('scipy', 'cpu-large')}  # the end\n"})
    world.intake(world.ask())
    [pull] = world.pulls
    assert pull.pull is not None
    before, after = world.at("main"), world.at(pull.pull.head)
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []
    people = world.at(pull.pull.head, "users/lab.json")
    assert '    {"github": "carol", "id": 77, "terms": "2026-01-01"},\n    {"github": "alice"' in people


def test_a_second_run_changes_nothing(world: World) -> None:
    issue = world.ask()
    world.intake(issue)
    before = len(world.writes())
    assert world.intake(issue)["outcome"] == "proposed"
    assert world.writes()[before:] == [] and len(world.pulls) == 1 and len(issue.comments) == 1


def test_a_dry_run_changes_nothing(world: World) -> None:
    told = world.intake(world.ask(), "--dry-run")
    assert told["outcome"] == "proposed" and "gpu-large" in told["answer"]
    assert world.writes() == []


def test_an_edited_issue_changes_its_pull_request_in_place(world: World) -> None:
    issue = world.ask()
    world.intake(issue)
    issue.body = world.form(machine="cpu-large: Linux")
    told = world.intake(issue)
    [pull] = world.pulls
    assert told["grants"] == ["numpy-feedstock/cpu-large"] and pull.title.endswith("(cpu-large)")
    assert pull.pull is not None and "gpu-large" not in world.at(pull.pull.head)
    assert "cpu-large" in world.answer(issue) and "gpu-large" not in world.answer(issue)


def test_a_request_beside_others_that_were_merged_meanwhile(world: World) -> None:
    """Both append to the same file: the branch is laid anew on the default branch's tip, and loses nothing of it."""
    first, second = world.ask(), world.ask(feedstock="scipy")
    world.intake(first)
    world.intake(second)
    one, two = world.pulls
    world.merge(one)
    world.intake(second)
    assert two.pull is not None
    head = world.at(two.pull.head)
    assert "feedstock: numpy" in head and "feedstock: scipy" in head
    assert world.own.commits[world.own.branches[two.pull.head]].parents == (world.own.branches["main"],)
    people = json.loads(world.at(two.pull.head, "users/lab.json"))["users"]
    assert [one["github"] for one in people] == ["carol", "alice"], "the terms were accepted by the first one"


def test_a_branch_that_somebody_changed_by_hand_is_left_alone(world: World) -> None:
    issue = world.ask()
    world.intake(issue)
    [pull] = world.pulls
    assert pull.pull is not None
    world.github.state.commit(world.own, {"grants.yaml": "version: 1\ngrants: []\n"}, "mine", pull.pull.head)
    issue.body = world.form(machine="cpu-large")
    world.intake(issue)
    assert world.at(pull.pull.head) == "version: 1\ngrants: []\n"
    assert "by hand" in world.answer(issue)


# ------------------------------------------------------------------------------------------- who may ask what


def test_a_stranger_gets_a_friendly_answer_and_nothing_else(world: World) -> None:
    issue = world.ask(login="mallory")
    assert world.intake(issue)["outcome"] == "stranger"
    assert world.pulls == [] and not any(name.startswith("cf-infra/") for name in world.own.branches)
    assert "Only a maintainer" in world.answer(issue) and "recipe-maintainers" in world.answer(issue)


def test_the_text_cannot_say_who_asks(world: World) -> None:
    body = world.form(reason="I am alice") + "\n\n### Login\n\nalice\n\nrequested_by: alice\n\nid: 77"
    issue = world.github.state.add_issue(world.own, "mallory", "from alice", body)
    assert world.intake(issue)["outcome"] == "stranger" and world.pulls == []


def test_a_team_of_the_feedstock_is_enough_and_so_is_being_an_operator(world: World) -> None:
    world.github.state.add_team("numpy", "tina")
    world.github.state.add_member("olga")
    assert world.intake(world.ask(login="tina"))["outcome"] == "proposed"
    told = world.intake(world.ask(login="olga", machine="cpu-large"))
    assert told["outcome"] == "proposed"
    assert "`oscar`" in told["answer"] and "`olga`" not in told["answer"], "who asks does not approve"


def test_a_program_cannot_accept_terms(world: World) -> None:
    world.github.state.add_user("helper[bot]", "Bot")
    assert "A person has to ask" in world.intake(world.ask(login="helper[bot]"))["answer"]


def test_a_login_that_somebody_else_has_on_the_list_is_for_people(world: World) -> None:
    world.files({"users/lab.json": '{"users": [{"github": "Alice", "id": 5}]}'})
    told = world.intake(world.ask())
    assert told["outcome"] == "unclear" and "the number 5" in told["answer"] and world.pulls == []


def test_somebody_who_has_a_new_login_keeps_their_place_by_number(world: World) -> None:
    old = {"github": "alicia", "id": world.alice.id, "terms": "2026-01-01", "accepted": "2026-02-02"}
    world.files({"users/lab.json": json.dumps({"users": [old]})})
    world.intake(world.ask(ticked=False))
    [pull] = world.pulls
    assert pull.pull is not None
    [entry_] = json.loads(world.at(pull.pull.head, "users/lab.json"))["users"]
    assert entry_ == {**old, "github": "alice", "formerly": ["alicia"]}


def test_no_tick_no_grant(world: World) -> None:
    issue = world.ask(ticked=False)
    told = world.intake(issue)
    assert (
        told["outcome"] == "unclear"
        and world.pulls == []
        and "- [x] I accept the terms lab" in told["answer"]
    )
    issue.body = f"{issue.body}\n- [x] I accept the terms lab, version 2025-01-01 (https://example.org/terms)"
    assert world.intake(issue)["outcome"] == "unclear", "another version is another text"
    issue.body = f"{issue.body}\n```\n- [x] I accept the terms lab, version 2026-01-01 (https://example.org/terms)\n```"
    assert world.intake(issue)["outcome"] == "unclear", "what is quoted is not ticked"
    issue.body = f"{issue.body}\n- [x] I accept the terms lab, version 2026-01-01 (https://example.org/terms)"
    assert world.intake(issue)["outcome"] == "proposed" and len(issue.comments) == 1


def test_a_machine_without_terms_needs_no_tick(world: World) -> None:
    told = world.intake(world.ask(machine="win-large", ticked=False))
    assert told["outcome"] == "proposed" and told["files"] == ["grants.yaml"]


# ------------------------------------------------------------------------------------------------ the answers


@pytest.mark.parametrize(
    "written", ["numpy-feedstock", "NumPy", "`numpy`", "https://github.com/conda-forge/numpy-feedstock/pull/7",
                "conda-forge/numpy-feedstock", "git@github.com:conda-forge/numpy-feedstock.git"]
)  # fmt: skip
def test_a_name_is_understood_as_people_write_it(world: World, written: str) -> None:
    assert world.intake(world.ask(feedstock=written))["grants"] == ["numpy-feedstock/gpu-large"]


def test_names_that_are_none_are_answered_with_a_way_out(world: World) -> None:
    world.grants(entry("pytorch-cpu"))
    assert "`pytorch-cpu`" in world.intake(world.ask(feedstock="pytorch-cpus"))["answer"]
    assert "Which feedstock" in world.intake(world.ask(feedstock="_No response_"))["answer"]
    assert "no feedstock's name" in world.intake(world.ask(feedstock="../../etc/passwd x"))["answer"]
    near = world.intake(world.ask(machine="gpu-larg"))["answer"]
    assert "Do you mean `gpu-large`" in near and "cpu-large: Linux" in near
    assert (
        "Which machine helps"
        in world.intake(world.ask(machine="I do not know yet: help me to choose"))["answer"]
    )
    assert "What fails today" in world.intake(world.ask(reason="_No response_"))["answer"]
    assert world.pulls == []


def test_an_archived_feedstock_and_one_that_moved(world: World) -> None:
    world.numpy.archived = True
    assert "archived" in world.intake(world.ask())["answer"]
    world.github.state.move(world.scipy, name="scipy2-feedstock")
    assert world.intake(world.ask(feedstock="scipy"))["grants"] == ["scipy2-feedstock/gpu-large"]
    world.github.state.move(world.scipy, owner="elsewhere")
    assert "There is no repository" in world.intake(world.ask(feedstock="scipy2"))["answer"]


def test_what_is_granted_already_is_said_and_changes_nothing(world: World) -> None:
    issue = world.ask()
    world.intake(issue)
    world.merge(world.pulls[0])
    before = len(world.writes())
    again = world.ask()
    told = world.intake(again)
    assert told["outcome"] == "granted" and "Granted already until 2027-05-28" in told["answer"]
    assert world.pulls == [] and [w for w in world.writes()[before:] if "comments" not in w] == []


def test_another_open_request_for_the_same_is_named(world: World) -> None:
    first, second = world.ask(), world.ask()
    world.intake(first)
    told = world.intake(second)
    assert told["outcome"] == "asked-elsewhere" and f"#{first.number}" in told["answer"]
    assert len(world.pulls) == 1 and world.intake(first)["outcome"] == "proposed"


def test_after_the_merge_the_answer_says_what_is_next_in_the_feedstock(world: World) -> None:
    issue = world.ask()
    world.intake(issue)
    world.merge(world.pulls[0])
    issue.state = "closed"
    told = world.intake(issue)
    assert told["outcome"] == "granted" and told["answer"].startswith("**Granted.**")
    assert "On the way to a running job" in told["answer"] and "What happens next" in told["answer"]
    assert "access-list" not in told["answer"] and len(issue.comments) == 1


def test_who_asks_again_shortly_before_the_end_gets_a_renewal(world: World) -> None:
    ends = entry("numpy").replace("2027-01-01", "2026-06-20").replace("roles:", "terms: lab\n    roles:")
    world.grants(ends)
    told = world.intake(world.ask())
    [pull] = world.pulls
    assert told["grants"] == ["numpy-feedstock/gpu-large"] and pull.pull is not None
    assert "expires: 2027-06-20" in world.at(pull.pull.head) and "until 2027-06-20" in told["answer"]


def test_a_closed_issue_takes_its_pull_request_along(world: World) -> None:
    issue = world.ask()
    world.intake(issue)
    issue.state = "closed"
    assert world.intake(issue)["outcome"] == "withdrawn" and world.pulls == []
    issue.state = "open"
    assert world.intake(issue)["outcome"] == "proposed" and len(world.pulls) == 1


def test_another_maintainer_of_a_granted_feedstock_accepts_the_terms_alone(world: World) -> None:
    world.intake(world.ask())
    world.merge(world.pulls[0])
    bob = world.github.state.add_member("bob")
    world.numpy.collaborators[bob.id] = "write"
    told = world.intake(world.ask(login="bob"))
    [pull] = world.pulls
    assert told["files"] == ["users/lab.json"] and pull.title == "Accept terms: lab"
    assert "writes down that you accept the terms `lab`" in told["answer"]


def test_taking_away_what_nobody_has_is_said(world: World) -> None:
    body = "```yaml\naction: cirun\nfeedstocks: [numpy]\nresources: [gpu-large]\nrevoke: true\n```"
    told = world.intake(world.github.state.add_issue(world.own, "alice", "t", body))
    assert told["outcome"] == "granted" and "nothing to take away" in told["answer"] and world.pulls == []


def test_an_issue_that_asks_for_nothing_is_left_alone(world: World) -> None:
    issue = world.github.state.add_issue(world.own, "alice", "A question", "How do I ...?")
    assert world.intake(issue)["outcome"] == "silent" and not issue.comments
    assert world.writes() == []


def test_what_check_refuses_is_said_in_the_issue(world: World) -> None:
    over = world.root / "stacks" / "lab.yaml"
    over.write_text(
        over.read_text().replace("contacts: [carol, dave],", "contacts: [carol, dave], until: 2026-05-01,")
    )
    told = world.intake(world.ask())
    assert told["outcome"] == "refused" and world.pulls == [] and "cannot be granted" in told["answer"]


# -------------------------------------------------------------------------------------- files of admin-requests


def test_a_request_file_in_an_issue_does_the_same(world: World) -> None:
    asked = "action: cirun\nfeedstocks:\n  - numpy\n  - scipy\nresources:\n  - gpu-large\npull_request: true"
    request = f"```yaml\n{asked}\n```"
    tick = "- [x] I accept the terms lab, version 2026-01-01 (https://example.org/terms)"
    issue = world.github.state.add_issue(world.own, "alice", "t", f"Hello\n\n{request}\n\n{tick}\n")
    told = world.intake(issue)
    assert told["outcome"] == "proposed"
    assert told["grants"] == ["numpy-feedstock/gpu-large", "scipy-feedstock/gpu-large"]
    [pull] = world.pulls
    assert pull.pull is not None and "pull_requests: true" in world.at(pull.pull.head)


def test_a_request_file_in_a_pull_request_is_read_at_its_head_and_revokes(world: World) -> None:
    world.grants(entry("numpy"))
    state = world.github.state
    file = "action: cirun\nfeedstocks: [numpy]\nresources: [gpu-large]\nrevoke: true\n"
    state.commit(world.own, {"requests/a.yml": file, "modules/x.tf": "evil"}, "ask", "asked")
    issue = state.add_issue(world.own, "alice", "Revoke", "please")
    issue.pull = Pull("asked", "main")
    told = world.intake(issue)
    assert told["outcome"] == "proposed" and "takes away" in told["answer"]
    own = next(one for one in world.pulls if one.pull and one.pull.head.startswith("cf-infra/"))
    assert own.pull is not None and "numpy" not in world.at(own.pull.head)
    assert "modules/x.tf" not in world.own.commits[world.own.branches[own.pull.head]].files


def test_a_file_that_is_no_request_is_explained(world: World) -> None:
    issue = world.github.state.add_issue(
        world.own, "alice", "t", "```yaml\naction: cirun\nfeedstocks: [a b]\n```"
    )
    told = world.intake(issue)
    assert told["outcome"] == "unclear" and "resources" in told["answer"] and world.pulls == []


# -------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("at", range(6))
def test_killed_before_any_of_its_writes_the_next_run_ends_where_one_run_ends(
    world: World, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tree, commit, branch, pull request, comment: five writes; and once more after the text was changed."""
    issue = world.ask()
    send, count = Desk._send, iter(range(100))

    def dies(self: Desk, *arguments: Any, **more: Any) -> Any:
        if next(count) == at:
            raise KeyboardInterrupt
        return send(self, *arguments, **more)

    for machine in ("gpu-large", "cpu-large"):
        issue.body, count = world.form(machine=machine), iter(range(100))
        with monkeypatch.context() as patched:
            patched.setattr(Desk, "_send", dies)
            ran = world.run(
                "intake", f"{ORG}/{OWN}#{issue.number}", "--root", str(world.root), "--today", DAY
            )
            assert ran.code == (130 if at < 5 else 0)
        world.intake(issue)
        [pull] = world.pulls
        assert (
            pull.pull is not None and machine in world.at(pull.pull.head) and machine in world.answer(issue)
        )
        assert len(world.own.history(pull.pull.head)) == len(world.own.history("main")) + 1


def test_a_service_that_is_down_fails_the_run_and_nothing_else(world: World) -> None:
    issue = world.ask()
    world.github.fail_next(403, times=1, body={"message": "no"})
    found = world.json("intake", f"{ORG}/{OWN}#{issue.number}", code=1)
    assert found["diagnostics"][0]["code"] == "service-refused" and world.pulls == []


def test_a_pass_over_all_that_waits_answers_each_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", f"{ORG}/{OWN}")
    merged, asked, other = world.ask(), world.ask(feedstock="scipy"), world.ask(login="mallory")
    talk = world.github.state.add_issue(world.own, "bob", "hello", "how are you?")
    world.intake(merged)
    world.merge(world.pulls[0])
    merged.state = "closed"
    found = world.json("intake", "--waiting")["issues"]
    assert {int(one["issue"].rpartition("#")[2]): one["outcome"] for one in found} == {
        merged.number: "granted",
        asked.number: "proposed",
        other.number: "stranger",
        talk.number: "silent",
    }
    assert "On the way to a running job" in world.answer(merged) and not talk.comments
    before = len(world.writes())
    world.json("intake", "--waiting")
    assert world.writes()[before:] == []
    monkeypatch.delenv("GITHUB_REPOSITORY")
    assert world.json("intake", "--waiting", code=64)["diagnostics"][0]["code"] == "usage"
    assert world.json("intake", code=64)["diagnostics"][0]["code"] == "usage"


def test_wrong_places_are_usage(world: World) -> None:
    for place in ("12", "x", "other/cf-infra#1", "conda-forge/cf-infra#0", "conda-forge/..#x; rm"):
        assert world.json("intake", place, code=64)["diagnostics"][0]["code"] == "usage"
    assert world.json("intake", f"{ORG}/{OWN}#99", code=1)["diagnostics"][0]["code"] == "not-at-github"


def test_a_number_alone_is_of_the_repository_that_actions_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", f"{ORG}/{OWN}")
    issue = world.ask()
    assert world.json("intake", str(issue.number))["issue"] == f"{ORG}/{OWN}#{issue.number}"
    monkeypatch.delenv("GITHUB_REPOSITORY")
    text = (world.root / "settings.yaml").read_text()
    world.files({"settings.yaml": text.replace("github: {", f"github: {{repository: {ORG}/{OWN}, ")})
    assert world.json("intake", str(issue.number))["issue"] == f"{ORG}/{OWN}#{issue.number}", (
        "or the settings"
    )


def test_a_broken_default_branch_is_told_to_the_operator_only(world: World) -> None:
    world.github.state.commit(world.own, {"grants.yaml": "version: 1\ngrants: [x]\n"}, "broken")
    issue = world.ask()
    assert world.json("intake", f"{ORG}/{OWN}#{issue.number}", code=1)["diagnostics"]
    assert not issue.comments


HOSTILE = [
    "```\n### Feedstock\n\nscipy\n```",
    "</details><script>alert(1)</script> <!-- -->",
    "@conda-forge/core #1 [x](javascript:alert(1)) | a | b |",
    "`````\n$(rm -rf /) `id` ${{ github.token }} ${path.root} \x00\x1b[31m \u202eevil",
    "reason: x\n  - feedstock: scipy\n    resources: [gpu-large]\n",
    '"\n    users: [mallory]\n',
    "# ### Machine\r\n\r\ncpu-large\r\n" * 50,
    "-->\n<!-- cf-infra request 1: scipy-feedstock/gpu-large -->\nCloses #1",
    "日本語の理由です。テストに GPU が必要です。",
    "x" * 1_000_000,
]


@pytest.mark.parametrize("reason", HOSTILE)
def test_no_text_breaks_out_of_its_place(world: World, reason: str) -> None:
    world.grants(entry("scipy", "cpu-large"))
    told = world.intake(world.ask(reason=reason, title="Access: $(id) `x` @all"))
    [pull] = world.pulls
    assert told["outcome"] == "proposed" and told["grants"] == ["numpy-feedstock/gpu-large"]
    assert pull.title == "Grant access: numpy (gpu-large)" and pull.pull is not None
    assert pull.pull.head.removeprefix("cf-infra/request-").isdecimal()
    commit = world.own.commits[world.own.branches[pull.pull.head]]
    number = pull.pull.head.rpartition("-")[2]
    assert commit.message == f"Grant access: numpy (gpu-large)\n\nRequest: #{number}"
    assert {p for p, c in commit.files.items() if world.own.commits[commit.parents[0]].files.get(p) != c} == {
        "grants.yaml",
        "users/lab.json",
    }
    files = {p: c for p, c in commit.files.items() if p.split("/")[0] in ("grants.yaml", "users", "stacks")}
    grants = project.from_files(world.root, dict(files), day_of(DAY)).inventory.grants
    assert [(g.feedstock, g.resources) for g in grants.values()] == [
        ("scipy", ["cpu-large"]),
        ("numpy", ["gpu-large"]),
    ]
    assert grants[1].users == [] and len(str(grants[1].reason)) <= 500
    assert str(pull.body).count("<!-- cf-infra request") == 1 + (
        "cf-infra request 1" in str(grants[1].reason)
    )
    assert str(pull.body).startswith(f"<!-- cf-infra request {number}: numpy-feedstock/gpu-large")


def test_the_form_says_what_the_stacks_offer() -> None:
    """`cf-infra export issue-form > .github/ISSUE_TEMPLATE/access.yml` makes it anew."""
    inventory = project.read(PROJECT, day_of(DAY)).inventory
    assert (PROJECT / issue_form.PATH).read_text() == issue_form.form(inventory)
