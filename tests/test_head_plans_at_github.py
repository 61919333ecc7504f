"""The plan of a head without asking GitHub is the plan that is made by asking it, once the head is merged."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
from test_github_kind import DAY, TOKEN, TWO, World, entry, grants, world

from cf_infra import head_plans, plan, record
from cf_infra.diagnostics import render
from cf_infra.head_plans import HeadPlans
from tests.leaks import WATCH

__all__ = ["world"]
pytestmark = pytest.mark.sandbox  # no OpenStack, but the real provider for GitHub
NOTHING: tuple[list[str], list[str]] = ([], [])


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(root), *words]
    bare = {name: value for name, value in os.environ.items() if name != "GITHUB_TOKEN"}
    return subprocess.run(command, env=bare, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path) -> str:
    if not (root / ".git").exists():
        git(root, "init", "-q", "-b", "main")
        (root / ".gitignore").write_text(".state/\nbuild/\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "x")
    return git(root, "rev-parse", "HEAD")


def unasked(world: World, base: str, head: str, monkeypatch: pytest.MonkeyPatch) -> HeadPlans:
    """The head's plan, without a token, and proof that GitHub heard nothing."""
    before = len(world.github.log)
    with monkeypatch.context() as bare:
        bare.delenv("GITHUB_TOKEN")
        found = head_plans.plans(world.root, base, head, date.fromisoformat(DAY), lambda _: None)
    assert len(world.github.log) == before, "GitHub was asked"
    WATCH.said("head plan", json.dumps(found.as_json()), render(found.diagnostics))
    assert TOKEN not in json.dumps(found.as_json())
    return found


def hashes(world: World, *names: str) -> dict[str, list[list[str]]]:
    world("plan")
    return {name: record.load(world.root / "build", name).hashes for name in names}


def compared(found: HeadPlans, real: Mapping[str, list[list[str]]]) -> dict[str, tuple[list[str], list[str]]]:
    """By stack what only the real plan does, and what only the head's does."""
    ours = {row["stack"]: row["hashes"] for row in found.plans}
    assert ours.keys() == real.keys(), render(found.diagnostics)
    return {n: (plan.beyond(real[n], ours[n]), plan.beyond(ours[n], real[n])) for n in ours}


@pytest.mark.parametrize("delivery", ["direct", "pull-request"])
def test_a_head_is_planned_as_it_will_be_once_it_is_merged(
    world: World, delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (world.root / "settings.yaml").read_bytes()
    world.write(settings=settings.replace(b"direct", delivery.encode()))
    base = commit(world.root)
    real = hashes(world, "access", "namespace")
    found = unasked(world, base, base, monkeypatch)
    told = compared(found, real)
    # What is there before a stack is first applied, GitHub alone knows: the secret's selection, and the app's.
    secret = "module.secret-access.github_actions_organization_secret_repositories.this"
    assert all(address.startswith(secret) for address in told["access"][0]), told["access"]
    assert told["namespace"][1] == [
        'module.app-access.github_app_installation_repository.this["admin-requests"]'
    ]
    world("apply")
    if delivery == "pull-request":
        # While the request waits, the lists are as they were seen last: its entries are shown once more.
        found = unasked(world, base, base, monkeypatch)
        assert compared(found, hashes(world, "access", "namespace"))["access"] == NOTHING
        world.merge()
        world("plan")
        world("apply")

    new = ("numpy-feedstock", "scipy-feedstock")
    for name in new:
        world.state.add_repository(name)
    # One grant more of each kind, one changed, one gone.
    world.write(grants=grants(TWO[0], entry("numpy", "gpu-large", "namespace"), entry("scipy", "cpu-large")))
    head = commit(world.root)
    found = unasked(world, base, head, monkeypatch)
    rows = {row["stack"]: row for row in found.plans}
    words = " ".join(item["what"] for item in rows["access"]["items"])
    assert "numpy-feedstock" in words and "llama.cpp-feedstock may use" in words
    assert rows["access"]["lost"] == ["llama.cpp-feedstock/gpu-large"]
    real = hashes(world, "access", "namespace")
    assert all(real.values())
    assert compared(found, real) == {"access": NOTHING, "namespace": NOTHING}
    world("apply")


def test_time_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that were applied last, on a day on which some of it has ended."""
    world.write(grants=grants(TWO[0], entry("llama.cpp", "gpu-large", expires="2026-05-01")))
    base = commit(world.root)
    ran = world.run("plan", "--root", str(world.root), "--today", "2026-04-01")
    assert ran.code == 0, ran.err
    world("apply")
    found = unasked(world, base, base, monkeypatch)
    assert found.plans and any("llama.cpp-feedstock may use" in i["what"] for i in found.plans[0]["items"])
    assert compared(found, hashes(world, "access", "namespace")) == {"access": NOTHING, "namespace": NOTHING}


def test_a_token_of_another_program_is_not_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a token the provider would ask `gh` for one."""
    seen = tmp_path / "asked"
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gh"
    program.write_text(f"#!/bin/sh\ntouch {seen}\necho ghp_none\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    base = commit(world.root)
    found = unasked(world, base, base, monkeypatch)
    assert len(found.plans) == 2 and not seen.exists()
