"""A day through the real provider: commented in the morning, merged in another order, applied, covered."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_github_kind import ORG, TWO, World, entry, grants, world
from test_reviewed import PAIRS

from tests.github.state import Commit, Issue, Pull, Repository

__all__ = ["world"]
pytestmark = pytest.mark.sandbox  # no OpenStack, but the real provider for GitHub
PLACE = f"{ORG}/ci-access"
COUNT = 5
"""Of the day's feedstocks: each comment and each apply runs OpenTofu several times."""
OPERATOR = "operator"


class Day:
    """A clone of the repository, and its pull requests at the stand-in."""

    def __init__(self, world: World) -> None:
        self.world = world
        settings = (world.root / "settings.yaml").read_text()
        added = f"operators: [{OPERATOR}, another]\n"
        (world.root / "settings.yaml").write_text(
            settings.replace("api: ", f"repository: {PLACE}, api: ") + added
        )
        (world.root / ".gitignore").write_text("/.state/\n/build/\n")
        self.repository: Repository = world.state.add_repository("ci-access")
        self.git("init", "-q", "-b", "main")
        self.entries = [*TWO]
        self.morning = self.commit("morning")

    def git(self, *words: str) -> str:
        quiet = {name: value for name, value in os.environ.items() if name != "GITHUB_TOKEN"}
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", *who, "-C", str(self.world.root), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=quiet).stdout.strip()

    def commit(self, message: str, *entries: str) -> str:
        self.world.write(grants=grants(*(entries or self.entries)))
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        sha = self.git("rev-parse", "HEAD")
        self.repository.commits[sha] = Commit(sha, {}, message, None, "", "", 0.0)
        if self.git("branch", "--show-current") == "main":
            self.repository.branches["main"] = sha
        return sha

    def open(self, feedstock: str) -> int:
        """A pull request of the morning, commented by `cf-infra comment`."""
        number = len(self.repository.issues) + 1
        self.world.state.add_repository(f"{feedstock}-feedstock")
        self.git("checkout", "-q", "-b", f"head-{number}", self.morning)
        head = self.commit(f"head {number}", *TWO, entry(feedstock, "gpu-large"))
        self.git("checkout", "-q", "main")
        self.repository.branches[f"head-{number}"] = head
        author = self.world.state.add_user(f"maintainer-{number}").id
        pull = Pull(f"head-{number}", "main", head_sha=head)
        self.repository.issues[number] = Issue(number, number, feedstock, "", author, 0.0, pull=pull)
        told = self.world("comment", f"{PLACE}#{number}", "--plan")
        assert "<!-- cf-infra record 1 " in next(iter(self.repository.issues[number].comments.values())).body
        approvals = told["comments"][0]["review"]["approvals"]
        assert [(row["what"], row["missing"]) for row in approvals] == [("grants.yaml", 1)]
        return number

    def merge(self, number: int, feedstock: str) -> None:
        """Squashed onto main by an operator."""
        self.entries = [*self.entries, entry(feedstock, "gpu-large")]
        sha = self.commit(f"{feedstock} (#{number})")
        issue = self.repository.issues[number]
        assert issue.pull is not None
        who = self.world.state.user(OPERATOR)
        assert who is not None
        issue.state, issue.pull.merged_at, issue.pull.merge_sha, issue.pull.merger = (
            "closed",
            0.0,
            sha,
            who.id,
        )

    def apply(self, *words: str, code: int = 0) -> dict[str, Any]:
        self.world("plan")
        return self.world("apply", "--reviewed", *words, code=code)


def test_a_day_is_applied_as_it_is_merged_and_what_nobody_reviewed_waits(world: World) -> None:
    play(world)


def play(world: World) -> None:
    day = Day(world)
    told = day.apply(code=1)
    assert {row["stack"] for row in told["stacks"] if row["waits"]} == {"access", "namespace"}, (
        "never applied"
    )
    world("apply")
    feedstocks = list(dict.fromkeys(name for name, _ in PAIRS if name not in ("pytorch-cpu", "llama.cpp")))[
        :COUNT
    ]
    numbers = {name: day.open(name) for name in feedstocks}
    order = random.Random(7).sample(feedstocks, COUNT)
    for count, feedstock in enumerate(order, 1):
        day.merge(numbers[feedstock], feedstock)
        if count % 3 == 0 or count == COUNT:
            told = day.apply()
            assert all(row["waits"] == [] for row in told["stacks"])
            assert f"{feedstock}-feedstock" in world.group() and feedstock in (
                world.file(".access.yml") or ""
            )
    journal = Path(world.root / ".state" / "access" / "journal.jsonl").read_text()
    assert journal.count('"event":"approved"') == COUNT

    day.entries = [*day.entries, entry("pushed", "gpu-large")]
    world.state.add_repository("pushed-feedstock")
    day.commit("pushed past all reviews")
    told = day.apply(code=1)
    (access,) = [row for row in told["stacks"] if row["stack"] == "access"]
    assert {w["why"] for w in access["waits"]} == {"no review covers it"}
    assert "pushed-feedstock" not in world.group()
    assert "other-digest" in str(
        world("apply", "access", "--reviewed", "--accept", f"access={'e' * 64}", code=1)
    )
    told = day.apply("--accept", f"access={access['digest']}")
    assert "pushed-feedstock" in world.group()
    assert all(row["items"] == [] for row in world("plan")["stacks"])
