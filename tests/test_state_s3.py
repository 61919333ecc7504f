"""A state in S3, through the real OpenTofu: shared by two people on two machines, lost, locked, moved, recovered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from real_tofu import tool_or_skip
from roots import Runner, write_root
from s3_standin import S3, log_in, serving
from test_github_kind import ACCESS, ACCOUNT, DAY, ORG, SETTINGS, TOKEN, entry, grants

from cf_infra import keys
from tests.github import Standin, State

pytestmark = pytest.mark.sandbox  # no OpenStack, but many runs of OpenTofu
ONE = entry("pytorch-cpu", "gpu-large")
TWO = (ONE, entry("llama.cpp", "gpu-large"))


@dataclass
class Machine:
    """Somebody's home and clone."""

    home: Path
    run: Runner
    monkeypatch: pytest.MonkeyPatch

    @property
    def root(self) -> Path:
        return self.home / "clone"

    @property
    def key(self) -> Path:
        return self.home / ".config" / "cf-infra" / "state.key"

    def __call__(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        self.monkeypatch.setenv("HOME", str(self.home))
        day = ("--today", DAY) if arguments[0] in ("plan", "destroy", "status") else ()
        ran = self.run(*arguments, "--root", str(self.root), *day, "--format", "json")
        assert ran.code == code, ran.out + ran.err
        return dict(ran.json())

    def write(self, *entries: str) -> None:
        write_root(self.root, {"grants.yaml": grants(*entries)})


@dataclass
class World:
    """GitHub, S3, and two people: the first has applied nothing yet, the second has a bare clone."""

    github: Standin
    s3: S3
    first: Machine
    second: Machine

    def group(self) -> set[str]:
        """Who may use the runner group, by GitHub itself."""
        state = self.github.state
        (group,) = [g for g in state.groups.values() if g.name == "cf-gpu"]
        return {state.repositories[i].name for i in group.selected}


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    tool = tool_or_skip()
    if "github" not in tool.locks:
        pytest.skip("The provider integrations/github was not built. Run `make setup`.")
    state = State(ORG)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    state.add_repository(".cirun", files={"README.md": "# Access\n"})
    for name in ("pytorch-cpu-feedstock", "llama.cpp-feedstock", "admin-requests"):
        state.add_repository(name)
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    for name in ("CF_INFRA_KEY_FILE", "CF_INFRA_PREVIOUS_KEY_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    first, second = (Machine(tmp_path / n, Runner(capsys), monkeypatch) for n in ("first", "second"))
    with Standin(state) as github, serving() as s3:
        log_in(monkeypatch, s3.operator)
        settings = SETTINGS + f"github: {{api: {github.url!r}}}\n".encode() + s3.settings()
        files = {
            "grants.yaml": grants(*TWO),
            "settings.yaml": settings,
            "stacks/account.yaml": ACCOUNT,
            "stacks/access.yaml": ACCESS.replace(b"  secrets: {STAGING: {resources: [gpu-large]}}\n", b""),
        }
        write_root(first.root, files)
        write_root(second.root, files)
        keys.state_key(keys.KeyFile(first.key), first.root, create=True)
        yield World(github, s3, first, second)


def test_what_one_applied_the_other_sees_and_changes(world: World) -> None:
    world.first("plan")
    world.first("apply")
    assert not list((world.first.root / ".state").rglob("*.tfstate*")), "no state lies on the machine"
    names = set(world.s3.objects)
    assert names >= {f"states/access/{n}" for n in ("terraform.tfstate", "inventory.json", "proven.json")}
    assert b'"encrypted_data"' in world.s3.objects["states/access/terraform.tfstate"]
    (row,) = world.second("status")["stacks"]
    assert row["stack"] == "access" and row["holds"]

    world.second.key.parent.mkdir(parents=True)
    shutil.copy(world.first.key, world.second.key)
    assert all(r["items"] == [] for r in world.second("plan")["stacks"]), "the second plan is empty"
    world.second.write(ONE)
    world.second("plan")
    world.second("apply")
    assert world.group() == {"pytorch-cpu-feedstock"}
    world.first.write(ONE)
    assert all(r["items"] == [] for r in world.first("plan")["stacks"])
