"""The plan of a head without a cloud is the plan that is made with the cloud once the head is merged.

Stacks are applied at a real OpenStack; the head plans run where no clouds.yaml leads to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from testlab import PROJECT, Lab, free_base_port, sandbox, skip_without_tools

from cf_infra import head_plans, plan, record
from cf_infra.diagnostics import render
from cf_infra.head_plans import HeadPlans
from tests.leaks import WATCH

pytestmark = pytest.mark.sandbox
STACKS = PROJECT / "tests" / "e2e" / "stacks"
TODAY, LATER = date(2040, 1, 10), date(2040, 6, 10)
QCOW2 = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 20).ljust(1 << 16, b"\0")
COMMON = {
    "reason": 'A test ${file("/etc/passwd")} %{ for x in [1] }y%{ endfor }',
    "request": "https://github.com/conda-forge/admin-requests/pull/1",
    "requested_by": "asker",
    "approved_by": ["approver"],
    "granted": "2039-01-01",
    "expires": "2041-01-01",
    "roles": ["admin", "maintain", "write"],
}
SECONDS = 10.0
"""So long the head plan of two stacks may take."""


@dataclass
class Place:
    """A root folder in a repository, its stacks at a sandbox, and an environment that knows of no cloud."""

    root: Path
    lab: Lab
    env: Mapping[str, str]
    monkeypatch: pytest.MonkeyPatch

    def grants(self, *entries: Mapping[str, Any]) -> None:
        lines = "".join(f"  - {json.dumps({**COMMON, **entry})}\n" for entry in entries)
        (self.root / "grants.yaml").write_text(
            f"version: 1\ngrants:\n{lines}" if lines else "version: 1\ngrants: []\n"
        )

    def git(self, *words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(self.root), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, branch: str) -> str:
        self.git("checkout", "-q", "-B", branch)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", branch)
        return self.git("rev-parse", "HEAD")

    def cf_infra(self, *words: str) -> None:
        command = [sys.executable, "-m", "cf_infra", *words, "--root", str(self.root)]
        done = subprocess.run(
            command, cwd=PROJECT, env=dict(self.env), capture_output=True, text=True, check=False
        )
        WATCH.said(f"cf-infra {words[0]}", done.stdout, done.stderr)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    def planned(self, today: date = TODAY) -> dict[str, list[list[str]]]:
        """The hashes of a plan with the cloud, by stack."""
        self.cf_infra("plan", "--today", today.isoformat())
        build = self.root / "build"
        names = [path.parent.parent.name for path in build.glob("*/plan/record.json")]
        return {name: record.load(build, name).hashes for name in names}

    def unasked(self, base: str, head: str, today: date = TODAY) -> HeadPlans:
        """The head's plan, and proof that it wrote nothing."""
        before, said = self.everything(), []
        began = time.monotonic()
        found = head_plans.plans(self.root, base, head, today, said.append)
        took = time.monotonic() - began
        print(f"head plan of {len(found.plans)} stacks: {took:.1f} s")
        WATCH.said("head plan", json.dumps(found.as_json()), "\n".join(said) + render(found.diagnostics))
        assert self.everything() == before, "a head's plan writes nothing of ours"
        assert took < SECONDS
        assert "root:x" not in json.dumps(found.as_json()), "texts of grants are not evaluated"
        return found

    def everything(self) -> dict[str, str]:
        return {
            path.relative_to(self.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and ".git/" not in path.as_posix()
        }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    skip_without_tools()
    root = tmp_path / "root"
    (root / "stacks").mkdir(parents=True)
    for name in ("life", "given"):
        (root / "stacks" / f"{name}.yaml").write_bytes((STACKS / f"{name}.yaml").read_bytes())
    (root / "settings.yaml").write_text("version: 1\nsinks: {cirun: {kind: cirun, several: true}}\n")
    (root / "images").mkdir()
    (root / "images" / "own.img").write_bytes(QCOW2)
    (root / ".gitignore").write_text("build/\n.state/\n")
    lab = Lab(tmp_path / "sandbox", free_base_port())
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("OS_", "TF_", "CF_INFRA_", "XDG_CONFIG"))
    }
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "NO_COLOR": "1"}
    monkeypatch.setenv("XDG_CONFIG_HOME", config["XDG_CONFIG_HOME"])
    monkeypatch.setenv("CF_INFRA_SANDBOX_DIR", str(tmp_path / "no-sandbox"))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "no-clouds.yaml"))
    made = Place(root, lab, {**kept, **lab.environment(), **config}, monkeypatch)
    made.grants()
    made.git("init", "-q", "-b", "main")
    made.commit("main")
    sandbox(lab, root, "up")
    try:
        yield made
    finally:
        sandbox(lab, root, "down")


def own(feedstock: str, stack: str = "life", **more: Any) -> dict[str, Any]:
    return {"feedstock": feedstock, "stack": stack, "resources": ["gpu-own"], **more}


def same(found: HeadPlans, real: Mapping[str, list[list[str]]]) -> dict[str, tuple[list[str], list[str]]]:
    """By stack what only the real plan does, and what only the head's does."""
    assert found.unplanned == [], found.unplanned
    hashes = {row["stack"]: row["hashes"] for row in found.plans}
    assert hashes.keys() == real.keys()
    return {n: (plan.beyond(real[n], hashes[n]), plan.beyond(hashes[n], real[n])) for n in hashes}


NOTHING: tuple[list[str], list[str]] = ([], [])


def test_a_head_is_planned_as_it_will_be_once_it_is_merged(place: Place) -> None:
    # Nothing was ever applied: what is there at the cloud is known to nobody.
    place.grants(own("alpha", resources=["gpu-pool"]), own("gamma", "given"))
    place.commit("first")
    found = place.unasked("main", "first")
    told = same(found, place.planned())
    assert told["life"] == NOTHING, "all ids are made by the first apply"
    # A donor's flavors and images are there before, and nobody looked them up yet: this waits for a person.
    machine = 'openstack_compute_instance_v2.this["gamma-feedstock/gpu-own"]'
    assert told["given"][0] == [f"module.machine.{machine}", *told["given"][0][1:]]
    codes = {(d.code, d.detail.split("`")[0]) for d in found.diagnostics if d.code == "not-looked-up"}
    assert len(codes) == 2, render(found.diagnostics)
    place.cf_infra("apply")
    place.git("checkout", "-q", "-B", "main")
    assert not any(place.planned().values()), "nothing is left to do"
    assert not any(row["hashes"] for row in place.unasked("main", "main").plans), (
        "and that is known without asking"
    )

    # Grants more and less at each stack; classes that nobody used before, and an image of the cloud's: the last apply
    # noted its id.
    place.grants(own("alpha", count=2), own("job", resources=["gpu-job"]), own("epsilon", "given"))
    place.commit("pull")
    found = place.unasked("main", "pull")
    rows = {row["stack"]: row for row in found.plans}
    assert (
        rows["life"]["add"] and rows["life"]["destroy"] and rows["given"]["add"] and rows["given"]["destroy"]
    )
    assert rows["life"]["lost"] == ["alpha-feedstock/gpu-pool"] and rows["given"]["lost"] == [
        "gamma-feedstock/gpu-own"
    ]
    sizes = [item["what"] for item in rows["given"]["items"] if item["what"].startswith("server ")]
    assert sizes and all(what.endswith("(4 vCPUs, 8 GiB, 1 GPU)") for what in sizes)
    assert same(found, place.planned()) == {"life": NOTHING, "given": NOTHING}
    assert [d.code for d in found.diagnostics if d.severity == "error"] == []

    # Time alone: generations of credentials turn.
    main = place.git("rev-parse", "main")
    place.git("checkout", "-q", "--detach", main)
    found = place.unasked(main, main, LATER)
    assert any(row["hashes"] for row in found.plans), "credentials turn within five months"
    assert same(found, place.planned(LATER)) == {"life": NOTHING, "given": NOTHING}


def test_it_needs_neither_the_cloud_nor_its_login(place: Place) -> None:
    place.grants(own("alpha"))
    place.commit("main")
    place.planned()
    place.cf_infra("apply")
    sandbox(place.lab, place.root, "down")
    place.grants(own("alpha"), own("beta"))
    place.commit("pull")
    found = place.unasked("main", "pull")
    assert {row["stack"]: row["add"] for row in found.plans} == {"life": 3, "given": found.plans[0]["add"]}
