"""What this machine has already: an OpenTofu that fits, a Go that can build one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.recipes import TOFU_AT_LEAST, TOFU_BELOW, TOFU_RANGE, TOOLS, Tool, parse_version
from tools.talk import SetupError, say


@dataclass(frozen=True)
class Go:
    """The Go that builds one tool, as `go env` names it in that tool's folder."""

    version: str
    platform: str


@dataclass(frozen=True)
class Tofu:
    """An OpenTofu that was found or built."""

    path: Path
    version: str


def tofu_on_path() -> Tofu | None:
    """Return the `tofu` of PATH if its version fits, and say whether it is used."""
    found = shutil.which("tofu")
    if found is None:
        return None
    version = _version_of_tofu(found)
    if version is not None and tofu_fits(version):
        say(f"OpenTofu {version}: found on PATH and used ({found})")
        return Tofu(Path(found).absolute(), version)
    reason = "does not tell its version" if version is None else f"is {version}"
    say(
        f"OpenTofu: {found} {reason}, but {TOFU_RANGE} is needed; "
        f"the pinned {TOOLS['tofu'].version} is used instead"
    )
    return None


def tofu_fits(version: str) -> bool:
    """Tell whether this OpenTofu is new enough and not too new; a preview of the oldest release is not."""
    try:
        numbers = parse_version(version)
    except ValueError:
        return False
    preview = "-" in version
    return TOFU_AT_LEAST <= numbers < TOFU_BELOW and not (preview and numbers == TOFU_AT_LEAST)


def _version_of_tofu(path: str) -> str | None:
    try:
        done = subprocess.run(
            [path, "version", "-json"],
            env=tofu_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        version = json.loads(done.stdout)["terraform_version"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) else None


def tofu_environment() -> dict[str, str]:
    """Return the environment of every OpenTofu that set-up runs: without the user's settings file.

    That file may name mirrors, caches or credentials, or may be missing, which is an error.
    """
    return {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}


def find_go(tool: Tool, needed_for: Sequence[Tool]) -> Go:
    """Return the Go that builds `tool`.

    It is asked in the tool's folder, because a Go that may fetch newer toolchains changes itself into the
    one that go.mod names. Raise SetupError where there is none or it is too old.
    """
    oldest = ".".join(map(str, tool.go_version))
    what = " and ".join(f"{item.title} {item.version}" for item in needed_for)
    way_out = (
        f"install Go {oldest} or later: https://go.dev/doc/install\n"
        f"Without Go: put OpenTofu ({TOFU_RANGE}) on PATH and let it install the providers itself:\n"
        "    CF_INFRA_PROVIDERS=registry make setup"
    )
    program = shutil.which("go")
    if program is None:
        raise SetupError(
            "go-missing",
            "Go was not found",
            f"{what} must be built from source, which needs Go {oldest} or later; there is no `go` on PATH.",
            way_out,
        )
    asked = subprocess.run(
        [program, "env", "GOVERSION", "GOOS", "GOARCH"],
        cwd=tool.folder,
        env=go_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    answer = asked.stdout.split("\n")
    numbers = re.search(r"go(\d+(?:\.\d+)+)", answer[0])
    if asked.returncode or numbers is None or parse_version(numbers[1]) < tool.go_version:
        reason = asked.stderr.strip() or f"{program} is {answer[0] or 'of unknown version'}."
        raise SetupError(
            "go-too-old",
            "Go is too old",
            f"{what} must be built from source, which needs Go {oldest} or later.\n{reason}",
            way_out,
        )
    return Go(answer[0], f"{answer[1]}_{answer[2]}")


def go_environment(*, cgo: bool = False) -> dict[str, str]:
    """Return the environment of every `go`: for this machine, whatever the user cross-compiles for."""
    kept = {key: value for key, value in os.environ.items() if key not in ("GOOS", "GOARCH")}
    # GOGC: the compiler collects less often and needs a fifth less time, for a third more memory (measured, Go 1.26).
    # GOWORK: a go.work in a folder above the clone is not ours.
    return {"GOGC": "400", **kept, "GOWORK": "off", "CGO_ENABLED": "1" if cgo else "0"}
