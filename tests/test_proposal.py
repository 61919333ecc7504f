"""What a pull request with Cirun's lists would do, as a plan tells it: for people, and for the digest of a review."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from test_github_parts import CLASSES, access

from cf_infra import plan, proposal
from cf_infra.access import AccessList, access_text
from cf_infra.github import Github
from cf_infra.github_files import ACCESS, RUNNERS
from cf_infra.rest import Token
from tests.github import Standin, State

ORG = "conda-forge"
TOKEN = "ghp_ThisIsNoTokenButItLooksLikeOne0004"
NO_PLAN = {"format_version": "1.2", "resource_changes": []}


class Lists:
    """The two lists at a stand-in, and what a pull request would make of them."""

    def __init__(self, state: State, github: Github) -> None:
        self.state, self.github = state, github

    def have(self, listed: AccessList, runners: str | None = "runners: []\n") -> None:
        repository = self.state.repository(ORG, ".cirun")
        assert repository is not None
        self.state.commit(repository, {ACCESS: access_text(listed), RUNNERS: runners}, "By somebody")

    def summary(self, listed: AccessList | None, runners: bytes = b"runners: []\n") -> plan.PlanSummary:
        wanted = {ACCESS: access_text(listed).encode(), RUNNERS: runners} if listed is not None else {}
        parts = proposal.parts(self.github, ".cirun", wanted, CLASSES)
        return plan.summarise(NO_PLAN, "lists", {}, {}, beside=parts)


@pytest.fixture
def lists() -> Iterator[Lists]:
    state = State(ORG)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo"])
    state.add_repository(".cirun")
    with Standin(state) as standin:
        github = Github(standin.url, ORG, Token(TOKEN, "a test"))
        yield Lists(state, github)
        github.close()


ONE, TWO, OTHER = ("one", "cirun-gpu"), ("two", "cirun-gpu"), ("three", "other")


def test_equal_changes_have_equal_digests_and_others_have_others(lists: Lists) -> None:
    lists.have(access(TWO))
    alone = lists.summary(access(TWO, ONE))
    lists.have(access(TWO, OTHER))
    busy = lists.summary(access(TWO, OTHER, ONE))
    assert alone.review_digest == busy.review_digest and alone.hashes == busy.hashes
    found = {alone.review_digest}
    for listed, runners in (
        (access(TWO, OTHER), b"runners: []\n"),
        (access(TWO, OTHER, ONE, one="write"), b"runners: []\n"),
        (access(TWO, OTHER, ("one", "cirun-cpu")), b"runners: []\n"),
        (access(TWO, OTHER, ONE, two="write"), b"runners: []\n"),
        (access(OTHER), b"runners: []\n"),
        (access(TWO, OTHER, ONE), b"runners: [{name: a}]\n"),
        (access(TWO, OTHER, ONE), b"runners: [{name: b}]\n"),
        (None, b""),
    ):
        found.add(lists.summary(listed, runners).review_digest)
    assert len(found) == 9


def test_what_no_review_saw_is_told_by_its_address(lists: Lists) -> None:
    lists.have(access(TWO))
    reviewed = lists.summary(access(TWO, ONE))
    more = lists.summary(access(TWO, ONE, OTHER))
    assert plan.beyond(reviewed.hashes, more.hashes) == []
    assert plan.beyond(more.hashes, reviewed.hashes) == [f"list:{ACCESS}#three/other/three-policy"]
    widened = lists.summary(access(TWO, ONE, one="write"))
    assert plan.beyond(widened.hashes, reviewed.hashes) == [f"list:{ACCESS}#one/cirun-gpu/one-policy"]


def test_nothing_to_do_has_the_digest_of_nothing(lists: Lists) -> None:
    lists.have(access(TWO))
    found = lists.summary(access(TWO))
    assert found.review_digest == plan.summarise(NO_PLAN, "lists", {}, {}).review_digest
    assert found.hashes == () and found.items == ()
