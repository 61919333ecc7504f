"""An OpenStack for a whole session of tests, with the hosts of every stack that a test uses."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cf_infra import tofu
from cf_infra.diagnostics import Failure
from tests.leaks import WATCH

PROJECT = Path(__file__).resolve().parent.parent
WITH_SERVERS = ("eighths", "given", "killed", "left", "life", "limits", "reviewed", "strays", "turning")
"""The stacks of tests/e2e/stacks/ that boot servers, each on hosts and GPUs of its own; the others need none."""
STACKS = [PROJECT / "tests" / "e2e" / "stacks" / f"{name}.yaml" for name in WITH_SERVERS]
STACKS += [PROJECT / "stacks" / "quansight-v100.yaml"]
KEEP = "CF_INFRA_TEST_SANDBOX"
"""A folder in which the sandboxes stay between two runs of pytest, for those who work on tests."""
KEPT_PORTS = {"scenes": 22_000, "modules": 22_100}


@dataclass(frozen=True)
class Lab:
    """A running sandbox that has the hosts of STACKS."""

    state: Path
    port: int

    @property
    def clouds_yaml(self) -> Path:
        """The clouds `sandbox` (administrator) and `sandbox-member` (member of one project)."""
        return self.state / "clouds.yaml"

    def environment(self) -> dict[str, str]:
        """What cf-infra needs to find it."""
        return {"CF_INFRA_SANDBOX_DIR": str(self.state), "CF_INFRA_SANDBOX_PORT": str(self.port)}


@contextmanager
def start(folders: pytest.TempPathFactory, name: str) -> Iterator[Lab]:
    """Start a sandbox for the session and stop it in the end. Skips, with the reason, where it cannot run."""
    skip_without_tools()
    kept = os.environ.get(KEEP)
    root = folders.mktemp("lab-root")
    (root / "stacks").mkdir()
    for stack in STACKS:
        shutil.copy(stack, root / "stacks")
    shutil.copytree(PROJECT / "users", root / "users")
    (root / "grants.yaml").write_text("version: 1\ngrants: []\n")
    several = (
        "version: 1\nsinks: {cirun: {kind: cirun, several: true}}\n"  # no stack here is used with another
    )
    (root / "settings.yaml").write_text(several)
    if kept:
        made = Lab(Path(kept) / name, KEPT_PORTS[name])
    else:
        made = Lab(folders.mktemp("lab") / "sandbox", free_base_port())
    try:
        sandbox(made, root, "up")
        if kept:
            sandbox(made, root, "reset")
        yield made
    finally:
        if not kept:
            sandbox(made, root, "down")


def _not_tested(why: str) -> None:
    """Skip with the reason; where everything is to be tested (`make test`), fail with it."""
    if os.environ.get("CF_INFRA_TEST_ALL"):
        pytest.fail(why)
    pytest.skip(f"NOT TESTED: nothing of the sandbox. {why}")


def skip_without_tools() -> None:
    """Say loudly what was not tested, instead of failing on a machine that was not set up."""
    try:
        tofu.find(PROJECT)
    except Failure as failure:
        _not_tested(f"OpenTofu is not there. Run `make setup`. ({failure})")
    located = [sys.executable, "-c", "import install; print(install.location())"]
    done = subprocess.run(located, cwd=PROJECT / "sandbox", capture_output=True, text=True, check=True)
    if not Path(done.stdout.strip()).is_dir():
        _not_tested("The sandbox's OpenStack is not installed. Run `make setup`.")


def sandbox(lab: Lab, root: Path, command: str) -> None:
    """`cf-infra sandbox COMMAND`, as a person types it."""
    done = subprocess.run(
        [sys.executable, "-m", "cf_infra", "sandbox", command, "--root", str(root)],
        cwd=PROJECT,
        env={**os.environ, **lab.environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    WATCH.said(f"cf-infra sandbox {command}", done.stdout, done.stderr)
    assert done.returncode == 0, f"cf-infra sandbox {command} ended with {done.returncode}:\n{done.stderr}"


def free_base_port() -> int:
    """The first of five free ports that follow each other."""
    # Below the ports that systems give to outgoing connections (32768 on Linux).
    for base in range(23_000 + os.getpid() % 500 * 10, 32_700, 10):
        if all(_is_free(base + offset) for offset in range(5)):
            return base
    raise AssertionError("no five free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
