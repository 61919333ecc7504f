"""GitHub's side of a workflow: a repository with pull requests from forks, and `act` in host mode as its runner.

The workflows, the Makefile and the tools are the project's own; remote actions are doubles that do with plain git what
the real ones do (checkout), or nothing (Go, caches, a login at AWS). What set-up would install is there already: PYTHON
passes it over, and `.venv` leads to the one that runs the tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from roots import PROJECT

from tests.leaks import WATCH

OWNER, NAME = "conda-forge", "access"
REPOSITORY = f"{OWNER}/{NAME}"
ADDRESS = f"https://github.com/{REPOSITORY}"
USES = re.compile(r"^([\w.-]+/[\w.-]+)((?:/[\w.-]+)*)@([0-9a-f]{40})$")
PYTHON = """\
#!/bin/sh
case $1 in tools/setup.py) exit 0 ;; *) exec {python} "$@" ;; esac
"""
CHECKOUT = """
test "$PERSIST" = false
git init -q -b main .
git remote add origin "$ADDRESS" 2>/dev/null || true
git fetch -q --depth="$((DEPTH ? DEPTH : 2147483647))" origin "$REF"
git checkout -q -f --detach FETCH_HEAD
ln -sfn "$VENV" .venv
"""


def program() -> str:
    """The `act` of this clone; skips loudly where it was not built."""
    pointer = PROJECT / ".tools" / "current.json"
    if pointer.is_file():
        described = json.loads(Path(json.loads(pointer.read_text())["tools"]).read_text())
        if found := described["programs"].get("act"):
            return str(found)
    pytest.skip("NOT TESTED: the workflows as they run. Run `python3 tools/build.py act`.")


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, and all that it printed."""

    code: int
    log: str

    @property
    def jobs(self) -> list[str]:
        """The jobs that ran, by name."""
        found = re.findall(r"^\[[^/\]]+/(.*?)\s*\] 🏁  Job (?:succeeded|failed)", self.log, re.MULTILINE)
        return sorted(set(found))

    @property
    def commands(self) -> list[str]:
        """The lines of steps that the runner obeyed."""
        return re.findall(r"  (?:⚙  ::|❗  ::|🚧  ::|💬  ::).*$", self.log, re.MULTILINE)


@dataclass
class World:
    """The repository at GitHub, as git has it, and what its settings give to jobs."""

    folder: Path
    act: str
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bare, self.work = self.folder / "upstream.git", self.folder / "work"
        self.git("init", "-q", "--bare", "-b", "main", str(self.bare), cwd=self.folder)
        self.git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=self.bare)
        self.git("init", "-q", "-b", "main", str(self.work), cwd=self.folder)
        self._doubles()
        python = self.folder / "python"
        python.write_text(PYTHON.format(python=sys.executable))
        python.chmod(0o755)

    def git(self, *words: str, cwd: Path | None = None) -> str:
        """Run git as a person does; return what it printed."""
        done = subprocess.run(
            ["git", *words], cwd=cwd or self.work, env=self.environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    def commit(self, files: Mapping[str, bytes | None], message: str = "change", branch: str = "main") -> str:
        """A commit on a branch of the working clone, from the default branch if it is new; None removes a file."""
        if branch != "main":
            self.git("checkout", "-q", "-B", branch, "main")
        for name, content in files.items():
            path = self.work / name
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        made = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "main")
        return made

    def push(self) -> str:
        """Have the default branch at GitHub; return its commit."""
        self.git("push", "-q", str(self.bare), "main")
        return self.git("rev-parse", "main")

    def pull(self, number: int, head: str) -> None:
        """Have a pull request with this head at GitHub: the commit is reachable by its number only, as a fork's is."""
        self.git("push", "-q", "-f", str(self.bare), f"{head}:refs/pull/{number}/head")

    def run(
        self,
        event: str,
        payload: Mapping[str, Any],
        workflow: str,
        *,
        of: str = "main",
        secrets: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run a workflow file as it is at the commit `of`, for one event."""
        run = self.folder / "run"
        workflows = run / "repository" / ".github" / "workflows"
        workflows.mkdir(parents=True)
        text = self.git("show", f"{of}:.github/workflows/{workflow}")
        (workflows / workflow).write_text(text)
        for words in (
            ["init", "-q", "-b", "main"],
            ["remote", "add", "origin", ADDRESS],
            ["add", "-A"],
            ["commit", "-qm", "-"],
        ):
            self.git(
                *words, cwd=run / "repository"
            )  # from here act learns the repository's name, and nothing else
        (run / "event.json").write_text(json.dumps({**self.repository(), **payload}))
        given = self.secrets if secrets is None else secrets
        (run / "secrets").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
        command = [
            *(self.act, event, "-C", str(run / "repository"), "-W", str(workflows / workflow)),
            *("-e", str(run / "event.json"), "--actor", "somebody", "--defaultbranch", "main"),
            *("-P", "ubuntu-24.04=-self-hosted", "--no-skip-checkout", "--no-cache-server"),
            *(f"--local-repository={known}" for known in self._known(text)),
            *("--secret-file", str(run / "secrets")),
            *(f"--var={name}={value}" for name, value in self.variables.items()),
        ]
        environ = {**self.environment(), "XDG_CACHE_HOME": str(run / "cache"), "HOME": str(run / "home")}
        environ |= self.environ
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=600, cwd=run)
        log = f"{done.stdout}{done.stderr}"
        WATCH.said(f"act {event} {workflow}", done.stdout, done.stderr)
        shutil.rmtree(run)  # a machine of GitHub's is gone after its job, and with it what it held
        return Ended(done.returncode, log)

    def repository(self) -> dict[str, Any]:
        """What every event says of where it happened."""
        owner = {"login": OWNER, "id": 1, "type": "Organization"}
        known = {"id": 2, "name": NAME, "full_name": REPOSITORY, "owner": owner, "default_branch": "main"}
        return {"repository": {**known, "private": False, "fork": False}, "sender": {"login": "somebody"}}

    def _known(self, text: str) -> list[str]:
        found = {(match[1], match[3]) for match in map(USES.match, uses(yaml.safe_load(text))) if match}
        return [f"{name}@{commit}={self.folder / 'actions' / name}" for name, commit in sorted(found)]

    def _doubles(self) -> None:
        inputs = {name: {"default": ""} for name in ("ref", "fetch-depth", "persist-credentials")}
        wanted = {"REF": "ref", "DEPTH": "fetch-depth", "PERSIST": "persist-credentials"}
        step = {
            "shell": "bash",
            "run": CHECKOUT,
            "env": {key: f"${{{{ inputs.{value} }}}}" for key, value in wanted.items()}
            | {"VENV": str(Path(sys.executable).parents[1]), "ADDRESS": ADDRESS},
        }
        self._double("actions/checkout", inputs, [step])
        told = [{"shell": "bash", "run": "true"}]
        for name in ("actions/setup-go", "actions/cache", "actions/cache/restore"):
            self._double(name, {}, told)
        given = {"AWS_ACCESS_KEY_ID": "aws-access-key-id", "AWS_SECRET_ACCESS_KEY": "aws-secret-access-key"}
        login = {
            "shell": "bash",
            "run": "".join(f'echo "{key}=${key}" >> "$GITHUB_ENV"\n' for key in given),
            "env": {key: f"${{{{ inputs.{value} }}}}" for key, value in given.items()},
        }
        wanted = {name: {"default": ""} for name in (*given.values(), "aws-region", "role-to-assume")}
        self._double("aws-actions/configure-aws-credentials", wanted, [login])

    def _double(self, name: str, inputs: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> None:
        folder = self.folder / "actions" / name
        folder.mkdir(parents=True, exist_ok=True)
        made = {"name": name, "inputs": inputs, "runs": {"using": "composite", "steps": list(steps)}}
        (folder / "action.yml").write_text(yaml.safe_dump(made))

    def environment(self) -> dict[str, str]:
        """Nothing of the machine's but what finds programs; GitHub's address leads to the bare repository."""
        names = (f"GIT_{role}_{part}" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL"))
        who = dict.fromkeys(names, "somebody@example.org")
        return {
            **{name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ},
            **who,
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{self.bare}.insteadOf",
            "GIT_CONFIG_VALUE_0": ADDRESS,
            "PYTHON": str(self.folder / "python"),
            "GITHUB_REPOSITORY": REPOSITORY,
        }


def uses(workflow: Any) -> list[str]:
    """Every action that a workflow uses."""
    jobs = workflow["jobs"].values()
    return [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]


def project_files() -> dict[str, bytes]:
    """What the workflows need of this project, as it stands in this clone."""
    wanted = [PROJECT / "Makefile", *(PROJECT / "tools").glob("*.py"), *(PROJECT / "tools").glob("*/go.*")]
    wanted += (PROJECT / ".github" / "workflows").glob("*.yml")
    return {path.relative_to(PROJECT).as_posix(): path.read_bytes() for path in wanted}


def made(folder: Path, data: Mapping[str, bytes]) -> World:
    """A repository whose default branch has the project's workflows and this data."""
    assert shutil.which("make") and shutil.which("git")
    world = World(folder, program())
    world.commit({**project_files(), **data, ".gitignore": (PROJECT / ".gitignore").read_bytes()}, "begin")
    world.push()
    return world
