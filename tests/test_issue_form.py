"""What an issue's text says, whatever stands in it; and lists of people, changed in place."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_world import FREE, ORG, STACK, USERS

from cf_infra import edit_people, intake, intake_report, issue_form
from cf_infra.chain import Outcome as StepOutcome
from cf_infra.chain import Remedy, Step
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.intake import Author, Feedstock, Issue, Outcome
from cf_infra.intake_report import Around
from cf_infra.model import User
from cf_infra.parse import parse

TODAY = date(2026, 6, 1)
GRANTS = """\
# ours
version: 1
grants:
  - feedstock: scipy  # theirs
    resources: [cpu-large]
    reason: Long tests
    request: https://example.org/1
    granted: 2026-01-01
    expires: 2027-01-01
    roles: [admin]
"""
SETTINGS = f"version: 1\norganisation: {ORG}\noperators: [olga, oscar]\n"
FILES = {
    "grants.yaml": GRANTS,
    "settings.yaml": SETTINGS,
    "stacks/lab.yaml": STACK,
    "stacks/free.yaml": FREE,
    "users/lab.json": USERS,
}
RAW = {name: text.encode() for name, text in FILES.items()}
INVENTORY = parse(RAW).inventory
TICK = issue_form.tick(INVENTORY, "lab")
WORDS = ["### Feedstock", "### Machine", "### Terms", "### What fails today?", "numpy", "scipy", "gpu-large",
         "win-large: x", f"- [x] {TICK}", "```", "````yaml", "action: cirun", "feedstocks: [scipy]",
         "resources: [cpu-large]", "<!--", "-->", "_No response_", "", "\r", "\x00", "\u202e", "@all", "#1",
         "revoke: true", "  - feedstock: scipy", "'\"`|{}"]  # fmt: skip
PIECES = st.sampled_from(WORDS) | st.text(max_size=30)
TEXTS = st.lists(PIECES, max_size=30).map("\n".join)
FORMS = st.builds(
    "### Feedstock\n\n{}\n\n### Machine\n\n{}\n\n### Terms\n\n{}\n\n### What fails today?\n\n{}".format,
    st.sampled_from(["numpy", "scipy", "NumPy-feedstock"]),
    st.sampled_from(["gpu-large: x", "cpu-large", "win-large"]),
    st.sampled_from([f"- [X] {TICK}", f"- [ ] {TICK}"]),
    TEXTS,
)
FILE = "```yaml\naction: cirun\nfeedstocks: [{}]\nresources: [{}]\nrevoke: {}\n```\n- [x] {}\n{}"
REQUESTS = st.builds(
    FILE.format,
    st.sampled_from(["numpy", "scipy", "scipy, numpy"]),
    st.sampled_from(["gpu-large", "cirun-cpu-large", "nothing"]),
    st.sampled_from(["true", "false"]),
    st.just(TICK),
    TEXTS,
)
BODIES = TEXTS | FORMS | REQUESTS


def issue(body: str, login: str = "alice") -> Issue:
    return Issue(7, Author(login, 5), body, TODAY, "https://github.com/o/r/issues/7")


def decided(one: Issue, role: str = "write") -> intake.Decision:
    asked = intake.wanted(one, INVENTORY)
    there = [Feedstock(name, name, role=role) for name in asked.feedstocks]
    return intake.decide(one, asked, there, RAW, TODAY)


@given(BODIES)
def test_any_text_edits_its_own_grant_and_nothing_else(body: str) -> None:
    one = issue(body)
    made = decided(one)
    assert set(made.files) <= {"grants.yaml", "users/lab.json"}
    if made.outcome is not Outcome.PROPOSED:
        assert not made.files or made.outcome is Outcome.REFUSED
    after = parse({**RAW, **made.files})
    assert not after.diagnostics
    own = {f"{name}-feedstock" for name in made.names}
    before = INVENTORY.grants.values()
    for grant in after.inventory.grants.values():
        assert grant in before or (
            grant.repository in own and grant.requested_by == "alice" and not grant.users
        )
    for grant in before:
        assert grant in after.inventory.grants.values() or grant.repository in own
    people = after.inventory.users["lab"].users
    assert people[0] == INVENTORY.users["lab"].users[0] and {one.id for one in people[1:]} <= {5}
    words = intake_report.comment(made, one, INVENTORY, Around(ORG, 9))
    assert (words == "") == (made.outcome is Outcome.SILENT) and len(words) < 65_536
    if made.outcome is Outcome.PROPOSED:
        assert "\n" not in intake_report.title(made) and "@" not in intake_report.title(made)
        assert intake_report.body(made, one, "<!-- x -->").startswith("<!-- x -->\n")


@given(BODIES)
def test_who_does_not_maintain_it_changes_nothing(body: str) -> None:
    assert not decided(issue(body, "mallory"), "read").files


@given(BODIES)
def test_line_ends_are_no_matter(body: str) -> None:
    plain = body.replace("\r", "")
    assert issue_form.read(plain) == issue_form.read(plain.replace("\n", "\r\n"))


def test_a_megabyte_of_anything_is_read_in_no_time() -> None:
    begin = time.process_time()
    for text in ("<!--", "```\n", "### Feedstock\n", "- [x] ", "action:\n", "\u2028", "`" * 9 + "\n~~~\n"):
        issue_form.read(text * (1_000_000 // len(text)))
    assert time.process_time() - begin < 3


def test_the_answers_of_a_form_are_read() -> None:
    body = (
        f"### Feedstock\n\n`numpy`\n\n### Machine\n\ngpu-large: x\n\n### Terms\n\n- [X] {TICK}\n- [ ] no\n\n"
    )
    answers = issue_form.read(
        f"{body}### What fails today?\n\na\nb <!-- hidden -->\n### Machine\n\ncpu-large\n"
    )
    assert (answers.feedstock, answers.machine, answers.ticked) == ("numpy", "gpu-large: x", {TICK})
    assert answers.reason == "a b ### Machine cpu-large" and answers.is_form and not answers.request
    assert issue_form.read(None) == issue_form.Answers()


def test_a_request_is_found_in_its_fence_only() -> None:
    text = "action: cirun\nfeedstocks: [a]\n"
    assert issue_form.read(f"hello\n\n~~~yaml\n{text}~~~\n").request == text
    assert (
        issue_form.read(f"```\nother\n```\n````yml\n{text}```\nx: 1\n````\n").request == f"{text}```\nx: 1\n"
    )
    assert issue_form.read(text).request == ""


def test_the_form_has_a_box_for_each_terms_and_none_without() -> None:
    import yaml

    boxes = {one["id"]: one for one in yaml.safe_load(issue_form.form(INVENTORY))["body"]}
    assert list(boxes) == ["feedstock", "machine", "terms", "reason"]
    assert boxes["terms"]["attributes"]["options"] == [{"label": TICK, "required": True}]
    assert boxes["machine"]["attributes"]["options"][0] == issue_form.UNDECIDED
    other = (
        STACK.replace("users: lab", "users: other")
        .replace("gpu-large", "gpu-big")
        .replace("cpu-large", "cpu-big")
    )
    other = other.replace("cirun-gpu-big", "cirun-g").replace("cirun-cpu-big", "cirun-c")
    two = parse({**RAW, "stacks/other.yaml": other.encode(), "users/other.json": USERS.encode()}).inventory
    boxes = {one["id"]: one for one in yaml.safe_load(issue_form.form(two))["body"]}
    assert len(boxes["terms"]["attributes"]["options"]) == 2
    assert not any("required" in one for one in boxes["terms"]["attributes"]["options"])
    none = parse({"stacks/free.yaml": FREE.encode()}).inventory
    assert "terms" not in {one["id"] for one in yaml.safe_load(issue_form.form(none))["body"]}


def way(*outcomes: str, fix: str = "") -> str:
    """The answer to a granted request with these steps from the grant to a running job."""
    names = ("access-list", "cirun", "feedstock", "labels")
    remedies = (Remedy("merge what is open", fix, "text"),) if fix else ()
    steps = [
        Step(
            name,
            StepOutcome(outcome),
            f"{name} says {outcome}.",
            remedies=remedies if outcome == "no" else (),
        )
        for name, outcome in zip(names, outcomes, strict=True)
    ]
    made = replace(decided(issue("")), outcome=Outcome.GRANTED, keys=("numpy-feedstock/gpu-large",))
    around = Around(ORG, ours=True, way=[("numpy-feedstock", steps)])
    return intake_report.comment(made, issue(""), INVENTORY, around)


def test_the_last_mile_says_who_has_to_do_what() -> None:
    assert "nothing has to be done any more" in way("yes", "yes", "yes", "unknown")
    assert "the infrastructure team brings about" in way("no", "yes", "no", "no", fix="cf-infra plan")
    assert "cf-infra plan" not in way("no", "yes", "no", "no", fix="cf-infra plan")
    theirs = way("yes", "yes", "no", "yes", fix="https://github.com/o/numpy-feedstock/pull/3")
    assert "merge the pull request in the feedstock" in theirs and "/pull/3" in theirs
    assert "the infrastructure team proposes it" in way("yes", "unknown", "yes", "no")
    assert "not known here: whether Cirun makes runners for it" in way("yes", "unknown", "yes", "yes")


def test_a_long_list_of_what_check_says_is_cut_and_a_closed_pull_request_is_named() -> None:
    made = decided(issue(""))
    many = tuple(Diagnostic("over-capacity", detail=f"`h` {number}") for number in range(30))
    refused = replace(made, outcome=Outcome.REFUSED, diagnostics=many)
    assert "and 20 more" in intake_report.comment(refused, issue(""), INVENTORY, Around(ORG))
    gone = intake.withdrawn(made.wanted)
    assert "#4 was closed with it" in intake_report.comment(gone, issue(""), INVENTORY, Around(ORG, 4))
    assert "closed with it" not in intake_report.comment(gone, issue(""), INVENTORY, Around(ORG))
    nobody = parse({**RAW, "settings.yaml": b"version: 1\n"}).inventory
    assert "()" not in intake_report.comment(refused, issue(""), nobody, Around(ORG))


# ------------------------------------------------------------------------------------------- lists of people

LOGINS = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
PEOPLE = st.lists(st.tuples(LOGINS, st.integers(1, 50)), max_size=5, unique_by=lambda one: one[1])
STYLES = st.sampled_from([None, 1, 2, 4, "\t"])


@given(PEOPLE, STYLES, LOGINS, st.integers(1, 60), st.booleans(), st.booleans())
def test_one_person_changes_and_every_other_line_stays(
    people: list[tuple[str, int]], indent: Any, login: str, number: int, crlf: bool, beside: bool
) -> None:
    value: dict[str, Any] = {"users": [{"github": name, "id": one} for name, one in people]}
    if beside:
        value = {"x": [{"users": []}], **value, "y": {"z": 1}}
    text = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    text = text.replace("\n", "\r\n") if crlf else text
    after = edit_people.with_person(text, User(github=login, id=number), "users/x.json")
    kept = {name for name, one in people if one != number}
    found = json.loads(after)
    assert {one["github"] for one in found["users"] if one["id"] != number} == kept
    assert [one for one in found["users"] if one["id"] == number] == [{"github": login, "id": number}]
    assert {key: found[key] for key in found if key != "users"} == {
        k: v for k, v in value.items() if k != "users"
    }
    assert edit_people.with_person(after, User(github=login, id=number), "users/x.json") == after
    if indent is not None and people:
        lost = [
            line
            for line in text.splitlines()
            if line.rstrip(",") not in {a.rstrip(",") for a in after.splitlines()}
        ]
        assert len(lost) <= 2, "at most the lines of the one entry"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"users": {}}', '{"users": [1]}', '{"users": [', '{"a": 1 "users": []}']
)
def test_a_list_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(Failure) as caught:
        edit_people.with_person(text, User(github="a", id=1), "users/x.json")
    assert caught.value.diagnostics[0].code == "cannot-edit"


def test_the_projects_own_list_is_changed_by_one_entry() -> None:
    path = Path(__file__).resolve().parent.parent / "users" / "open-gpu-server.json"
    before = path.read_text()
    after = edit_people.with_person(before, User(github="zoe", id=1), "x")
    assert set(before.splitlines()) - set(after.splitlines()) == set()
    assert len(after.splitlines()) == len(before.splitlines()) + 4
