#!/usr/bin/env python3
"""Look at .github/workflows/ with actionlint (is it right?) and zizmor (can strangers misuse it?), without the network.

What cannot run is told, and is no fault of the workflows: actionlint is built from source once, which needs Go.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from tools.build import POINTER, read_pointer, set_up
from tools.talk import SetupError, say

WORKFLOWS = ROOT / ".github" / "workflows"


def actionlint(files: Sequence[Path]) -> list[str] | None:
    """Return the command that checks these files; None if actionlint was not built in this clone."""
    described = read_pointer(POINTER).get("tools")
    programs = json.loads(Path(described).read_text(encoding="utf-8"))["programs"] if described else {}
    if "actionlint" not in programs:
        return None
    # Neither is a part of this project: whether they are on PATH must not decide.
    return [programs["actionlint"], "-no-color", "-shellcheck=", "-pyflakes=", *map(str, files)]


def zizmor(files: Sequence[Path]) -> list[str]:
    """Return the command that checks these files."""
    program = Path(sys.executable).with_name("zizmor")
    return [str(program), "--offline", "--quiet", "--no-progress", "--persona=pedantic", *map(str, files)]


def main() -> int:
    """Check all workflows; return the exit code."""
    files = sorted(WORKFLOWS.glob("*.yml"))
    try:
        set_up(["actionlint"])
    except (SetupError, OSError) as error:
        say(f"{error}\nNOT CHECKED by actionlint: it could not be built")
    commands = [command for command in (actionlint(files), zizmor(files)) if command]
    return max(subprocess.run(command, check=False).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main())
