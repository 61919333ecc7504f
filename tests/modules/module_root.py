"""A root configuration in a folder of its own, run with the real OpenTofu (or, for `validate`, Terraform)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cf_infra import github_files
from cf_infra.compile import configuration
from cf_infra.model import Kind, Rights

PROJECT = Path(__file__).resolve().parents[2]
MODULES = PROJECT / "modules"
ROOTS = Path(__file__).resolve().parent
NAMES = sorted(path.name for path in MODULES.iterdir() if path.is_dir())
PROVIDERS = sorted({name.partition("-")[0] for name in NAMES})
PASSWORDS = {"provisioner": "provisioner-of-the-tests", "cirun/1": "cirun-1-of-the-tests"}
# What the examples leave to their reader.
ARGUMENTS = {
    "openstack-project": {"password": '${var.passwords["provisioner"]}'},
    "openstack-user": {"user_password": '${var.passwords["cirun/1"]}'},
}
JSON = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """OpenTofu or Terraform, and the CLI configuration that names our provider mirror."""

    path: Path
    settings: Path | None


class Root:
    """A folder with a configuration; nothing of the caller's OpenStack or OpenTofu settings reaches it."""

    def __init__(self, folder: Path, program: Program, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.program = program
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "TF_"))}
        self.env = {
            **kept,
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_CLI_CONFIG_FILE": str(program.settings or os.devnull),
            **(variables or {}),
        }

    def run(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [self.program.path, *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    def init(self) -> None:
        self.run("init", "-input=false", "-no-color")

    def apply(self, *arguments: str) -> None:
        self.run("apply", "-input=false", "-no-color", "-auto-approve", *arguments)

    def destroy(self) -> None:
        self.apply("-destroy")

    def plan(self, *arguments: str) -> dict[str, str]:
        """What a plan would do, by address, without what stays: `create`, `update`, `delete,create`, ..."""
        self.run("plan", "-input=false", "-no-color", "-out=saved", *arguments)
        plan = json.loads(self.run("show", "-json", "saved"))
        changes = {change["address"]: change["change"] for change in plan.get("resource_changes", [])}
        return {
            address: ",".join(change["actions"]) + (" import" if "importing" in change else "")
            for address, change in changes.items()
            if change["actions"] not in (["no-op"], ["read"]) or "importing" in change
        }

    def values(self) -> JSON:
        return dict(json.loads((self.folder / "grants.auto.tfvars.json").read_text(encoding="utf-8")))

    def write_values(self, values: JSON) -> None:
        (self.folder / "grants.auto.tfvars.json").write_text(json.dumps(values), encoding="utf-8")

    def outputs(self) -> JSON:
        return dict(json.loads(self.run("output", "-json")))

    def state(self) -> list[str]:
        if not (self.folder / "terraform.tfstate").exists():
            return []
        return self.run("state", "list").splitlines()


def compiled(name: str, folder: Path) -> Path:
    """`admin`, `member`, `github` or `app`: a folder as compile writes it, with the values beside this file."""
    shutil.copytree(MODULES, folder / "modules")
    access = name in ("github", "app")
    document = github_files.configuration(Kind(name)) if access else configuration(Rights(name))
    (folder / "main.tf.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    shutil.copy(values_file(name), folder / "grants.auto.tfvars.json")
    (folder / "own.raw").write_bytes(b"an image that nothing boots")
    return folder


def values_file(name: str) -> Path:
    """What `admin` or `member` deploys: every kind of thing, with names and texts that try to be more than text."""
    return ROOTS / f"{name}.auto.tfvars.json"


def examples(folder: Path, provider: str = "openstack") -> Path:
    """One root that calls the example of every README of a provider's modules, as its reader would type it in."""
    folder.mkdir(parents=True)
    modules: JSON = {}
    names = [name for name in NAMES if name.startswith(f"{provider}-")]
    for name in names:
        place = folder / "examples" / name
        place.mkdir(parents=True)
        (place / "main.tf").write_text(example(name), encoding="utf-8")
        shutil.copy(MODULES / name / "versions.tf", place)
        shutil.copytree(MODULES, place / "modules")
        modules[name] = {"source": f"./examples/{name}", **ARGUMENTS.get(name, {})}
    configuration: JSON = {"module": modules}
    if provider == "openstack":
        configuration |= {
            "variable": {
                "cloud": {"type": "string"},
                "passwords": {"type": "map(string)", "sensitive": True},
            },
            "provider": {"openstack": {"cloud": "${var.cloud}"}},
        }
    shutil.copy(MODULES / names[0] / "versions.tf", folder)
    (folder / "main.tf.json").write_text(json.dumps(configuration, indent=2), encoding="utf-8")
    return folder


def example(name: str) -> str:
    found = re.findall(
        r"^```hcl\n(.*?)^```", (MODULES / name / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    assert len(found) == 1, f"modules/{name}/README.md has {len(found)} examples, not one"
    return str(found[0])


def unexpected(diagnostics: list[JSON]) -> list[str]:
    """Errors and warnings, without the one that provider 1.54.1 gives to everybody (3.x has no `use_octavia`)."""
    return [
        f"{item['severity']}: {item['summary']}: {item.get('detail', '')}"
        for item in diagnostics
        if not (item["severity"] == "warning" and "'use_octavia'" in item.get("detail", ""))
    ]
