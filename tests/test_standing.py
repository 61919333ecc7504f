"""What a comment carries beside the review: who must still approve, and a record that an apply can trust."""

from __future__ import annotations

from pathlib import Path

import pytest
from feedstock_world import TOKEN
from test_sticky import NAME, ORG, PLACE, Clone, clone

from cf_infra import gate, project, review_record
from cf_infra.console import today_utc
from tests.leaks import KEY, WATCH

__all__ = ["clone"]
DIGITS = "6b92f0d4187ea35c" * 4


@pytest.fixture
def keyed(clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    """A clone of operators who have the key, with rules."""
    key = tmp_path / "state.key"
    key.write_text(DIGITS)
    key.chmod(0o600)
    WATCH.knows("the master key of the comments' tests", DIGITS, KEY)
    monkeypatch.setenv("CF_INFRA_KEY_FILE", str(key))
    settings = clone.root / "settings.yaml"
    settings.write_text(
        settings.read_text() + "operators: [olga]\napprovals: {default: [zoe, conda-forge/core]}\n"
    )
    clone.main = clone.commit("Rules")
    clone.github.state.add_team("core", "ann")
    clone.github.state.add_token(TOKEN, "operator", scopes=["repo", "read:org"])
    return clone


def opened(clone: Clone) -> review_record.ReviewRecord | str:
    folder = project.read(clone.root, today_utc())
    keys = gate.review_keys(folder, ["github:conda-forge"]).by_fingerprint()
    (said,) = clone.said
    return review_record.opened(said, keys)


def again(clone: Clone) -> str:
    """The pull request begins at the rules, and is commented."""
    head = clone.head("feature", (clone.root / "grants.yaml").read_text().replace("numpy", "scipy"))
    clone("comment", PLACE)
    return head


def test_the_comment_is_signed_for_this_head_with_what_its_files_touch(keyed: Clone) -> None:
    head = again(keyed)
    found = opened(keyed)
    assert isinstance(found, review_record.ReviewRecord)
    assert (found.repository, found.pull, found.head) == (f"{ORG}/{NAME}", 1, head)
    assert found.other(f"{ORG}/{NAME}", 1, head) == ""
    assert {name for name, one in found.stacks.items() if one.marks} == {"somebody", "lists"}
    before, newer = head, keyed.head("feature", "version: 1\ngrants: []\n")
    keyed("comment", PLACE)
    found = opened(keyed)
    assert isinstance(found, review_record.ReviewRecord)
    assert found.head == newer != before and before[:12] in found.other(f"{ORG}/{NAME}", 1, before) + before


def test_the_comment_says_who_must_still_approve(keyed: Clone) -> None:
    head = again(keyed)
    (said,) = keyed.said
    assert "#### Approvals" in said and "0 of 1" in said and "still needs 1 of conda-forge/core, zoe" in said
    pull = keyed.issue.pull
    assert pull is not None
    keyed.github.state.review(pull, "ann", "APPROVED", head)
    keyed("comment", PLACE)
    (said,) = keyed.said
    assert "1 of 1" in said and "still needs" not in said, said


def test_rules_of_the_head_are_not_asked(keyed: Clone) -> None:
    loose = (keyed.root / "settings.yaml").read_text().replace("[zoe, conda-forge/core]", "[eve, mallory]")
    keyed.head("feature", (keyed.root / "grants.yaml").read_text(), **{"settings.yaml": loose.encode()})
    keyed("comment", PLACE)
    (said,) = keyed.said
    assert "mallory" not in said and "still needs 1 of olga" in said


def test_without_a_key_or_reviews_the_comment_is_made_all_the_same(keyed: Clone, tmp_path: Path) -> None:
    (tmp_path / "state.key").unlink()
    keyed.github.fail_next(status=404, times=9, matching="/reviews")
    ran = keyed("comment", PLACE)
    assert "not signed, so an apply will wait: no-key" in ran.err
    assert "nobody can tell who approved: not-at-github" in ran.err
    assert opened_without(keyed) == "the comment has no record of what was reviewed"


def opened_without(clone: Clone) -> object:
    (said,) = clone.said
    return review_record.opened(said, {})
