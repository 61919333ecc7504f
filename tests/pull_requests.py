"""A clone and its repository at the stand-in for GitHub: pull requests of forks, their reviews, their merges."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.github import State
from tests.github.state import Commit, Issue, Pull, Review, User

WHO = ("-c", "user.name=A test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
Write = Callable[[], None]
"""Writes into the clone what a commit is to have."""


class PullRequests:
    """The clone at `root` has the commits of all; GitHub knows them by their hashes alone."""

    def __init__(self, root: Path, state: State, name: str) -> None:
        self.root, self.state = root, state
        self.repository = state.add_repository(name)
        self.heads: dict[int, str] = {}
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str) -> str:
        """Run git without the tokens of the shell; what it printed."""
        env = {name: value for name, value in os.environ.items() if not name.endswith("TOKEN")}
        command = ["git", "-C", str(self.root), *WHO, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.strip()

    def commit(self, message: str, write: Write = lambda: None) -> str:
        """A commit of everything, on what is checked out."""
        write()
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        sha = self.git("rev-parse", "HEAD")
        self.repository.commits[sha] = Commit(sha, {}, message, None, "", "", self.state.clock())
        if self.git("branch", "--show-current") == "main":
            self.repository.branches["main"] = sha
        return sha

    def open(self, number: int, author: str, write: Write) -> str:
        """A fork's pull request: its commit is in the clone as an object, and not checked out. The commit."""
        made = Pull(f"fork-{number}", "main")
        about = (self.state.number(), number, f"pull {number}", "", self._user(author).id, self.state.clock())
        self.repository.issues[number] = Issue(*about, pull=made)
        return self.push(number, write)

    def push(self, number: int, write: Write) -> str:
        """Its author pushes another commit."""
        self.git("checkout", "-q", "-B", f"fork-{number}", "main")
        sha = self.commit(f"head {number}", write)
        pull = self._pull(number)
        self.heads[number] = self.repository.branches[pull.head] = pull.head_sha = sha
        self.git("checkout", "-q", "main")
        return sha

    def approve(self, number: int, login: str) -> None:
        """Somebody approves its newest commit."""
        about = (self._user(login).id, "APPROVED", self.heads[number], self.state.clock())
        self._pull(number).reviews.append(Review(self.state.number(), *about))

    def merge(self, number: int, login: str, write: Write) -> str:
        """Somebody squashes it onto the default branch, which then has what `write` writes. The commit."""
        sha, pull = self.commit(f"pull {number} (#{number})", write), self._pull(number)
        pull.merged_at, pull.merge_sha, pull.merger = self.state.clock(), sha, self._user(login).id
        self.repository.issues[number].state = "closed"
        return sha

    def comments(self, number: int) -> list[str]:
        """What is said there."""
        return [one.body for one in self.repository.issues[number].comments.values()]

    def _pull(self, number: int) -> Pull:
        found = self.repository.issues[number].pull
        assert found is not None
        return found

    def _user(self, login: str) -> User:
        return self.state.user(login) or self.state.add_user(login)
