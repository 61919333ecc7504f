"""A folder whose repository is at a stand-in for GitHub, feedstocks beside it, and people who ask there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feedstock_world import entry
from roots import Ran, Runner, write_root

from cf_infra import issue_form, project
from cf_infra.cli_options import day_of
from tests.github import Standin, State
from tests.github.state import Issue

ORG, OWN, DAY = "conda-forge", "cf-infra", "2026-06-01"
OPENED = 1_780_000_000.0  # 2026-05-28
TOKEN = "ghp_ThisIsNoTokenButItLooksLikeOne0005"
STACK = """\
version: 1
kind: cirun
donor: {name: Somebody, contacts: [carol, dave], terms: {users: lab, version: 2026-01-01, url: "https://example.org/terms"}}
offers:
  gpu-large: {via: cirun, mode: on-demand, max_hours: 12, label: cirun-gpu-large, cirun: {cloud: aws, instance_type: g}}
  cpu-large: {via: cirun, mode: on-demand, max_hours: 6, label: cirun-cpu-large, cirun: {cloud: aws, instance_type: m}}
"""
FREE = """\
version: 1
kind: cirun
donor: {name: Somebody else, contacts: [erin]}
offers:
  win-large: {via: cirun, mode: on-demand, os: windows, label: cirun-win, cirun: {cloud: azure, instance_type: w}}
"""
USERS = '{\n  "users": [\n    {"github": "carol", "id": 77, "terms": "2026-01-01"}\n  ]\n}\n'
REASON = "CUDA tests need a GPU: https://example.org/run/1"


class World:
    """The folder, GitHub, and commands in this process."""

    def __init__(self, root: Path, github: Standin, run: Runner) -> None:
        self.root, self.github, self.run = root, github, run
        state = github.state
        self.alice = state.add_member("alice")
        self.own = state.add_repository(OWN)
        self.numpy = state.add_repository("numpy-feedstock")
        self.scipy = state.add_repository("scipy-feedstock")
        for repository in (self.numpy, self.scipy):
            repository.collaborators[self.alice.id] = "write"
        settings = (
            f"version: 1\norganisation: {ORG}\noperators: [olga, oscar]\naccess_delivery: direct\n"
            f"approvals: {{default: [olga, oscar]}}\ngithub: {{api: '{github.url}'}}\n"
        )
        self.files({"settings.yaml": settings, "stacks/lab.yaml": STACK, "stacks/free.yaml": FREE,
                    "users/lab.json": USERS, "grants.yaml": "version: 1\ngrants: []\n"})  # fmt: skip

    def files(self, files: dict[str, str]) -> None:
        """Write files into the folder and at GitHub's default branch."""
        write_root(self.root, {name: text.encode() for name, text in files.items()})
        self.github.state.commit(self.own, files, "By hand")

    def grants(self, *entries: str) -> None:
        text = "version: 1\ngrants:\n" + "".join(entries) if entries else "version: 1\ngrants: []\n"
        self.files({"grants.yaml": text})

    def __call__(self, *arguments: str, code: int = 0) -> Ran:
        ran = self.run(*arguments, "--root", str(self.root), "--today", DAY)
        assert TOKEN not in ran.out + ran.err
        assert ran.code == code, ran.out + ran.err
        return ran

    def json(self, *arguments: str, code: int = 0) -> Any:
        return self(*arguments, "--format", "json", code=code).json()

    # ---------------------------------------------------------------------------------------------- requests

    def ask(self, login: str = "alice", title: str = "Access: ", **answers: str) -> Issue:
        """An issue as the form makes it."""
        return self.github.state.add_issue(self.own, login, title, self.form(**answers))

    def form(
        self,
        feedstock: str = "numpy",
        machine: str = "gpu-large: Linux x86_64",
        reason: str = REASON,
        ticked: bool = True,
    ) -> str:
        inventory = project.read(self.root, day_of(DAY)).inventory
        box = f"- [{'X' if ticked else ' '}] {issue_form.tick(inventory, 'lab')}"
        return (
            f"### Feedstock\n\n{feedstock}\n\n### Machine\n\n{machine}\n\n### Terms\n\n{box}\n\n"
            f"### What fails today?\n\n{reason}"
        )

    def intake(self, issue: Issue, *more: str) -> Any:
        return self.json("intake", f"{ORG}/{OWN}#{issue.number}", *more)

    @property
    def pulls(self) -> list[Issue]:
        return [one for one in self.own.issues.values() if one.pull and one.state == "open"]

    def at(self, branch: str, path: str = "grants.yaml") -> str:
        return self.own.commits[self.own.branches[branch]].files[path].decode()

    def merge(self, pull: Issue) -> None:
        """Merge as a maintainer does, and bring the folder to the new state."""
        assert pull.pull is not None
        head = self.own.commits[self.own.branches[pull.pull.head]]
        changed = {
            p: c.decode() for p, c in head.files.items() if p == "grants.yaml" or p.startswith("users/")
        }
        pull.state = "closed"
        self.files(changed)

    def answer(self, issue: Issue) -> str:
        [one] = issue.comments.values()
        return one.body

    def writes(self) -> list[str]:
        """What was asked of GitHub that changes something."""
        asked = (one for one in self.github.log if not one.path.endswith("/graphql"))  # which only asks
        return [f"{one.method} {one.path}" for one in asked if one.method != "GET"]


@contextmanager
def service_world(root: Path, run: Runner) -> Iterator[World]:
    """The world, while the stand-in listens."""
    state = State(ORG, clock=lambda: OPENED)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    with Standin(state) as github:
        yield World(root, github, run)


__all__ = ["DAY", "ORG", "OWN", "REASON", "TOKEN", "USERS", "World", "entry", "service_world"]
