"""The part of `make demo` about logins: one turns with an overlap, another is revoked at once, on the real Keystone.

Alone, while the sandbox runs: `.venv/bin/python demo/turning.py`. It has a stack of its own, which it takes away again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stage import expect

from cf_infra import credentials, lab
from cf_infra.canary_cloud import logged_in
from cf_infra.diagnostics import Failure
from cf_infra.material import Material
from cf_infra.model import Credential, CredentialKind

ROOT = Path(__file__).resolve().parent.parent
LOGIN = "cirun"
STACK_FILE = f"""\
version: 1
kind: openstack
rights: admin
cloud: sandbox
donor: {{name: A donor of the demo, contacts: [donor]}}
hosts: [{{name: gpu-01, vcpus: 4, memory_gib: 8, disk_gib: 40, reserved: {{memory_gib: 1}}}}]
images: {{ubuntu: {{name: ubuntu-2204-20231018}}}}
credentials:
  {LOGIN}: {{kind: user, rotate_every: 30d, overlap: 2d, deliver: [file]}}
offers:
  cpu:
    slice: {{vcpus: 1, memory_gib: 1, disk_gib: 5}}
    image: ubuntu
    via: cirun
    mode: on-demand
    max: 1
    label: demo-cpu
"""


class Stage:
    """A root folder with one stack, of a name that no earlier demo had, and its first day."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stack = f"demo-{os.getpid()}"
        (root / "stacks").mkdir(parents=True)
        (root / "grants.yaml").write_text("version: 1\ngrants: []\n", encoding="utf-8")
        (root / "stacks" / f"{self.stack}.yaml").write_text(STACK_FILE, encoding="utf-8")
        declared = Credential.model_validate({"kind": "user", "rotate_every": "30d", "overlap": "2d"})
        number = credentials.period_of(self.stack, LOGIN, declared, datetime.now(UTC).date())
        self.first = credentials.begins(self.stack, LOGIN, declared, number)

    def run(self, *words: str, day: int | None = None) -> None:
        """One command, as a person types it, on a day after the first one."""
        on = ["--today", (self.first + timedelta(days=day)).isoformat()] if day is not None else []
        print(f"$ cf-infra {' '.join([*words, *on])}", flush=True)
        environment = {**os.environ, "CF_INFRA_SANDBOX_DIR": str(lab.state_dir(ROOT))}
        command = [sys.executable, "-m", "cf_infra", *words, *on, "--root", str(self.root)]
        done = subprocess.run(command, check=False, cwd=ROOT, env=environment)
        print(flush=True)
        if done.returncode == 130:
            sys.exit(130)
        expect(done.returncode == 0, f"`cf-infra {words[0]}` ends with 0", quiet=True)

    def delivered(self) -> dict[str, str]:
        """What the login's user has now."""
        path = self.root / ".state" / self.stack / "delivered" / f"{LOGIN}.json"
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def logs_in(self, value: dict[str, str]) -> bool:
        """Does Keystone give a token for it?"""
        material = Material(self.stack, LOGIN, "0", CredentialKind.USER, value, frozenset({"password"}))
        try:
            with logged_in(material, None):
                return True
        except Failure as failure:
            expect(failure.diagnostics[0].code == "login-refused", str(failure), quiet=True)
            return False


def main() -> int:
    """The demo; 0 if everything that it claims was seen."""
    with tempfile.TemporaryDirectory(prefix="cf-infra-demo-") as folder:
        stage = Stage(Path(folder) / "root")
        stage.run("plan", day=0)
        stage.run("apply")
        first = stage.delivered()
        print(f"  {first['username']} was delivered\n", flush=True)
        try:
            turn(stage, first)
            leak(stage)
        finally:
            stage.run("destroy", stage.stack)
            stage.run("apply")
    return 0


def turn(stage: Stage, first: dict[str, str]) -> None:
    """A period later another is made, delivered and proven; the first one goes when its overlap is past."""
    print("A period later another login is made, delivered, and proven by logging in with it:", flush=True)
    stage.run("rotate", day=30)
    second = stage.delivered()
    expect(stage.logs_in(first) and stage.logs_in(second), "during the overlap both log in")
    stage.run("rotate", day=32)
    expect(not stage.logs_in(first), f"after it {first['username']} is refused")
    expect(stage.logs_in(second), f"and {second['username']} logs in")


def leak(stage: Stage) -> None:
    """Somebody has seen the login: it is replaced now, and the old one ends at once, with proof."""
    leaked = stage.delivered()
    print("\nSomebody has seen it: it is replaced now, and the old one is refused at once:", flush=True)
    stage.run("revoke-now", LOGIN, "--yes", day=32)
    expect(not stage.logs_in(leaked), f"{leaked['username']} is refused")
    expect(stage.logs_in(stage.delivered()), f"{stage.delivered()['username']} logs in\n")


if __name__ == "__main__":
    sys.exit(main())
