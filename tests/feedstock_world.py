"""A feedstock between a stand-in for GitHub and one for Cirun: for tests of its whole way, and for the demo."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cirun_standin import CirunStandin, CirunState
from roots import Ran, write_root

from cf_infra import keys
from cf_infra.feedstock import CONFIG
from tests.github import Standin, State
from tests.github.state import Issue, Repository

Run = Callable[..., Ran]
"""Runs one command of cf-infra."""
ORG = "conda-forge"
DAY = "2026-06-01"
TOKEN = "ghp_ThisIsNoTokenButItLooksLikeOne0003"
LABEL = "cirun-gpu-large"
STACK = b"""\
version: 1
kind: cirun
donor: {name: Somebody, contacts: [carol]}
offers:
  gpu-large: {via: cirun, mode: on-demand, max_hours: 12, label: cirun-gpu-large, cirun: {cloud: aws, instance_type: g}}
  cpu-large: {via: cirun, mode: on-demand, max_hours: 6, label: cirun-cpu-large, cirun: {cloud: aws, instance_type: m}}
"""
LISTS = b"version: 1\nkind: github\ndonor: {name: conda-forge}\ngithub: {}\n"
CONFIG_BEFORE = "# kept\nbot: {automerge: true}\nprovider:\n  win: azure  # slow\n"


def entry(name: str = "numpy", *resources: str, more: str = "") -> str:
    return (
        f"  - feedstock: {name}\n    resources: [{', '.join(resources or ('gpu-large',))}]\n"
        "    reason: CUDA tests, @all `of` them\n    request: https://example.org/1\n    requested_by: alice\n"
        f"    granted: 2026-01-01\n    expires: 2027-01-01\n    roles: [admin, maintain, write]\n{more}"
    )


class World:
    """A folder, GitHub, Cirun, and commands in this process."""

    def __init__(self, root: Path, github: Standin, cirun: CirunStandin, run: Run) -> None:
        self.root, self.github, self.cirun, self.run = root, github, cirun, run
        self.settings()
        write_root(root, {"stacks/somebody.yaml": STACK, "stacks/lists.yaml": LISTS})
        self.grants(entry())

    def settings(self, more: str = "") -> None:
        text = f"version: 1\norganisation: {ORG}\naccess_delivery: direct\ngithub: {{api: '{self.github.url}'}}\n{more}"
        write_root(self.root, {"settings.yaml": text.encode()})

    def grants(self, *entries: str) -> None:
        text = "version: 1\ngrants:\n" + "".join(entries) if entries else "version: 1\ngrants: []\n"
        write_root(self.root, {"grants.yaml": text.encode()})

    def __call__(self, *arguments: str, code: int = 0) -> Ran:
        ran = self.run(*arguments, "--root", str(self.root), "--today", DAY)
        for secret in (TOKEN, self.cirun.state.key):
            assert secret not in ran.out + ran.err
        assert ran.code == code, ran.out + ran.err
        return ran

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        return self(*arguments, "--format", "json", code=code).json()

    def states(self, *arguments: str, code: int = 0) -> dict[str, str]:
        steps: Any = self.json(*arguments, code=code)["steps"]
        return {step["step"]: step["state"] for step in steps}

    @property
    def numpy(self) -> Repository:
        found = self.github.state.repository(ORG, "numpy-feedstock")
        assert found is not None
        return found

    def file(self, path: str, branch: str = "main") -> str | None:
        raw = self.numpy.commits[self.numpy.branches[branch]].files.get(path)
        return raw.decode() if raw is not None else None

    @property
    def pulls(self) -> list[Issue]:
        return [issue for issue in self.numpy.issues.values() if issue.pull and issue.state == "open"]

    def merge(self) -> None:
        [pull] = self.pulls
        assert pull.pull is not None
        head = self.numpy.commits[self.numpy.branches[pull.pull.head]]
        gone = dict.fromkeys(self.numpy.commits[self.numpy.branches["main"]].files)
        self.github.state.commit(self.numpy, {**gone, **head.files}, "Merged by a maintainer")
        pull.state = "closed"

    @property
    def is_active(self) -> bool:
        return self.cirun.state.repositories.get(f"{ORG}/numpy-feedstock", False)

    def key(self) -> str:
        """A new key for the states, outside of the folder; its file."""
        path = self.root.parent / "key"
        keys.state_key(keys.KeyFile(path), self.root, create=True)
        return str(path)

    def environment(self) -> Mapping[str, str]:
        """What leads a command to the stand-ins and nowhere else."""
        return {"GITHUB_TOKEN": TOKEN, **self.cirun.environment()}


@contextmanager
def between_stand_ins(root: Path, run: Run) -> Iterator[World]:
    """The world, while both stand-ins listen."""
    state = State(ORG)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    state.add_repository(
        "numpy-feedstock", files={CONFIG: CONFIG_BEFORE, "recipe/meta.yaml": "package: {}\n"}
    )
    state.add_repository(".cirun")
    with Standin(state) as github, CirunStandin(CirunState(github=state)) as cirun:
        yield World(root, github, cirun, run)
