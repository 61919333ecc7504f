"""A state in S3, through the real OpenTofu: shared by two people on two machines, lost, locked, moved, recovered."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest
from real_tofu import tool_with_github
from roots import Runner, read_folder, write_root
from s3_standin import BUCKET, S3, log_in, serving
from test_github_kind import ACCESS, ACCOUNT, DAY, ORG, SETTINGS, TOKEN, entry, grants
from test_head_plans_at_github import commit

from cf_infra import head_plans, keys, locks
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

    def codes(self, *arguments: str, code: int = 0) -> list[str]:
        """What is said, without that nobody could recover the key: here that is another test."""
        told = self(*arguments, code=code)["diagnostics"]
        return [d["code"] for d in told if d["code"] != "few-recovery-keys"]

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
    tool_with_github()
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


def test_a_second_person_recovers_on_a_new_machine(world: World) -> None:
    """From the repository, the bucket and one of two recovery keys to an apply that works."""
    office, vault = (pyrage.x25519.Identity.generate() for _ in range(2))
    settings = (world.first.root / "settings.yaml").read_bytes()
    settings += b"  recovery:\n"
    for name, identity in (("office", office), ("vault", vault)):
        line = f"    - {{name: {name}, recipient: {identity.to_public()}, holders: [{name}-person]}}\n"
        settings += line.encode()
    for machine in (world.first, world.second):
        write_root(machine.root, {"settings.yaml": settings})
    planned = world.first("plan")
    assert [d["code"] for d in planned["diagnostics"]] == ["old-seal"], "nobody could recover it yet"
    world.first("apply")
    assert world.first("state", "seal") == {
        "sealed_for": ["office", "vault"],
        "fresh": True,
        "diagnostics": [],
    }
    assert world.first("state", "seal")["fresh"] is False
    digits = world.first.key.read_text().strip()
    for content in world.s3.objects.values():
        assert digits.encode() not in content and bytes.fromhex(digits) not in content
    assert world.first("plan")["diagnostics"] == []

    assert world.second("plan", code=1)["diagnostics"][-1]["code"] == "no-key"
    mine = world.second.home / "recovery.key"
    mine.write_text(f"# created: 2026-11-21\n# public key: {vault.to_public()}\n{vault}\n")
    mine.chmod(0o600)
    ran = world.second("state", "recover", "--identity", str(mine))
    assert ran["files"] == [{"file": str(world.second.key), "written": True}]
    assert world.second.key.read_text() == world.first.key.read_text()
    assert world.second.key.stat().st_mode & 0o777 == 0o600
    assert world.second("state", "recover", "--identity", str(mine))["files"][0]["written"] is False
    assert all(r["items"] == [] for r in world.second("plan")["stacks"])
    world.second.write(ONE)
    world.second("plan")
    (row,) = world.second("apply")["stacks"]
    assert row["receipts"][0]["grant"] == "llama.cpp-feedstock/gpu-large"
    assert world.group() == {"pytorch-cpu-feedstock"}


def test_a_state_that_is_lost_is_told_and_made_anew(world: World) -> None:
    world.first("plan")
    world.first("apply")
    kept = world.s3.objects["states/access/terraform.tfstate"]
    world.s3.delete("states/access/terraform.tfstate")
    assert world.first.codes("plan") == ["state-lost"]
    world.s3.put("states/access/terraform.tfstate", kept)
    planned = world.first("plan")
    assert planned["stacks"][0]["items"] == [], "brought back from a backup"
    assert world.first.codes("plan") == []
    world.s3.delete("states/access/terraform.tfstate")
    world.first("plan")
    world.first("apply")
    assert world.group() == {"pytorch-cpu-feedstock", "llama.cpp-feedstock"}
    assert world.first("plan")["stacks"][0]["items"] == [], "what was there is adopted"


def test_a_local_state_moves_into_the_bucket(world: World) -> None:
    machine = world.first
    shared = (machine.root / "settings.yaml").read_bytes()
    write_root(machine.root, {"settings.yaml": shared.partition(b"state:")[0]})
    machine("plan")
    machine("apply")
    write_root(machine.root, {"settings.yaml": shared})
    refused = machine("plan", code=1)["diagnostics"]
    assert [d["code"] for d in refused] == ["state-not-moved"] and world.s3.objects == {}
    assert machine("state", "move")["moved"] == ["access"]
    assert machine("state", "move")["moved"] == []
    assert all(r["items"] == [] for r in machine("plan")["stacks"])
    assert "states/access/inventory.json" in world.s3.objects
    (machine.root / ".state" / "access" / "terraform.tfstate.moved").rename(
        machine.root / ".state" / "access" / "terraform.tfstate"
    )
    world.s3.put("states/access/terraform.tfstate", b"another")
    assert [d["code"] for d in machine("state", "move", code=1)["diagnostics"]] == ["state-conflict"]
    assert world.s3.objects["states/access/terraform.tfstate"] == b"another"


def test_who_may_not_use_the_bucket_is_told_so(world: World) -> None:
    world.first("plan")
    world.first("apply")
    log_in(world.first.monkeypatch, (world.s3.operator[0], "no-such-secret-of-anybody"))
    told = world.first("plan", code=1)["diagnostics"]
    assert [d["code"] for d in told] == ["bucket-refused"]
    assert "no-such-secret" not in str(told)
    log_in(world.first.monkeypatch, world.s3.reader)
    assert world.first("status")["stacks"][0]["stack"] == "access", "who may only read may look"
    assert world.first.codes("plan", code=1) == ["bucket-refused"], "OpenTofu's lock is written"


def test_the_plan_of_a_head_only_reads_the_bucket(world: World) -> None:
    """With a login that may only read, from a machine that never had any of it, while somebody else holds the lock."""
    world.first("plan")
    world.first("apply")
    shutil.copy(world.first.key, world.second.home / "key")
    world.second.monkeypatch.setenv("CF_INFRA_KEY_FILE", str(world.second.home / "key"))
    world.second.monkeypatch.delenv("GITHUB_TOKEN")
    root = world.second.root
    base = commit(root)
    world.second.write(ONE)
    head = commit(root)
    world.s3.put("states/access/terraform.tfstate.tflock", b"{}")
    there, here = world.s3.objects, read_folder(root)
    log_in(world.second.monkeypatch, world.s3.reader)
    found = head_plans.plans(root, base, head, date.fromisoformat(DAY), lambda _: None)
    (row,) = found.plans
    assert row["lost"] == ["llama.cpp-feedstock/gpu-large"] and row["hashes"]
    assert world.s3.objects == there and read_folder(root) == here


def test_the_lock_of_a_dead_run_is_broken_and_that_of_another_is_not(world: World) -> None:
    """OpenTofu's lock in S3 outlives its process: by whom it was taken decides."""
    world.first("plan")
    world.first("apply")
    stack = world.first.root / "build" / "access" / ".terraform"
    lock = {
        "ID": "11111111-2222-3333-4444-555555555555",
        "Operation": "OperationTypePlan",
        "Info": "",
        "Who": f"somebody@{socket.gethostname()}",
        "Version": "1.12.6",
        "Created": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "Path": f"{BUCKET}/states/access/terraform.tfstate",
    }
    world.s3.put("states/access/terraform.tfstate.tflock", json.dumps(lock).encode())
    told = world.first("plan", code=1)["diagnostics"][0]
    assert told["code"] == "state-locked" and "force-unlock 11111111" in told["hint"]
    dead = subprocess.Popen(["true"])
    with locks.noted(stack, dead.pid, "plan"):
        note = (stack / f"cf-infra-run-{dead.pid}.json").read_text()
    dead.wait()
    taken = json.dumps({**json.loads(note), "at": lock["Created"]})
    (stack / f"cf-infra-run-{dead.pid}.json").write_text(taken)
    assert all(r["items"] == [] for r in world.first("plan")["stacks"])
    assert "states/access/terraform.tfstate.tflock" not in world.s3.objects


def test_an_apply_that_fails_is_known_to_the_others(world: World) -> None:
    """What lies beside the state is sent however a run ends: here GitHub refuses in the middle."""
    world.first("plan")
    world.github.fail_next(403, 100, "^POST .*/variables", {"message": "No"})
    world.first("apply", code=1)
    inventory = json.loads(world.s3.objects["states/access/inventory.json"])
    assert inventory["complete"] is False and inventory["holds"]
    assert (
        "states/access/begun.json" in world.s3.objects and "states/access/proven.json" not in world.s3.objects
    )


def test_a_bucket_that_is_gone_in_the_middle_loses_no_state(world: World) -> None:
    """OpenTofu cannot save what it made: it is kept here, and brought home by the next run."""
    world.first("plan")
    with world.s3.refusing("states/access/terraform.tfstate"):
        codes = world.first.codes("apply", code=1)
    assert "bucket-refused" in codes
    assert (world.first.root / "build" / "access" / "errored.tfstate").exists()
    assert all(r["items"] == [] for r in world.first("plan")["stacks"]), "nothing is made twice"
    assert not (world.first.root / "build" / "access" / "errored.tfstate").exists()
    assert b'"encrypted_data"' in world.s3.objects["states/access/terraform.tfstate"]
