"""The clone's own `.venv`: exactly the packages of requirements/dev.lock, and the `cf-infra` command.

It is made in its place, because the scripts in it hold its path. A stamp is removed first and written last:
an interrupted run is never taken for a finished one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from tools.talk import SetupError, end_on_sigterm, from_os_error, say

#: Raise it when the way of making the environment changes.
RECIPE = 1
TAIL_LINES = 15
PROGRESS_SECONDS = 5

# A `#!` line holds no blank and at most 127 characters on Linux, so sh starts the clone's Python.
# -P: the current folder is somebody's data, and no module is imported from it.
COMMAND = """#!/bin/sh
exec {python} -P -c 'import sys; sys.argv[0] = "cf-infra"; from cf_infra.cli import main; sys.exit(main())' "$@"
"""


def digest(root: Path) -> str:
    """Return what decides over the environment: the locked packages, comments apart, and the clone's place."""
    lines = (root / "requirements" / "dev.lock").read_bytes().splitlines()
    pins = b"\n".join(line for line in lines if not line.lstrip().startswith(b"#"))
    return hashlib.sha256(b"%d\0%s\0%s" % (RECIPE, os.fsencode(root), pins)).hexdigest()


def python_of_clone(root: Path) -> str:
    """Return the Python that a finished and current .venv was made from; "" if there is none."""
    try:
        stamp = json.loads(_stamp(root).read_text(encoding="utf-8"))
        current = stamp["digest"] == digest(root) and (root / ".venv" / "bin" / "python").exists()
        return str(stamp["python"]) if current and Path(stamp["python"]).exists() else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _stamp(root: Path) -> Path:
    return root / ".venv" / "cf-infra-setup.json"


def make(root: Path) -> None:
    """Make the environment with the running Python. Raise SetupError if a package cannot be installed."""
    started = time.monotonic()
    _stamp(root).unlink(missing_ok=True)
    folder = root / ".venv"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    say(f"making .venv with Python {version} ({sys.executable})")
    _run([sys.executable, "-I", "-m", "venv", "--clear", str(folder)])
    python = folder / "bin" / "python"
    lock = root / "requirements" / "dev.lock"
    total = len(re.findall(r"^\w[^=\s]*==", lock.read_text(encoding="utf-8"), re.MULTILINE))
    say(f"installing the {total} packages of {lock.relative_to(root)}, each checked against its hash")
    # --no-deps: the lock is complete. Compiled afterwards: pip would use one core only.
    pip = ["install", "--require-hashes", "--no-deps", "--no-compile", "--no-input", "--no-color"]
    pip += ["--disable-pip-version-check", "--no-warn-script-location", "--progress-bar=off"]
    _run([str(python), "-I", "-m", "pip", *pip, "-r", str(lock)], total)
    site = folder / "lib" / f"python{version}" / "site-packages"
    _run([str(python), "-I", "-m", "compileall", "-q", "-j", "0", str(site)])
    (site / "cf_infra_clone.pth").write_text(f"{root}\n", encoding="utf-8")
    _write_command(folder / "bin" / "cf-infra", python)
    temporary = _stamp(root).with_suffix(".tmp")
    temporary.write_text(
        json.dumps({"digest": digest(root), "python": sys.executable}) + "\n", encoding="utf-8"
    )
    temporary.replace(_stamp(root))
    say(f"{total} packages installed in {time.monotonic() - started:.0f} s")


def _write_command(file: Path, python: Path) -> None:
    file.write_text(COMMAND.format(python=shlex.quote(str(python))), encoding="utf-8")
    file.chmod(0o755)


def _run(command: Sequence[str], packages: int = 0) -> None:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            log = _follow(process.stdout or (), packages)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        tail = "\n".join(f"    {line}" for line in log[-TAIL_LINES:])
        raise SetupError(
            "packages-failed",
            "The Python packages could not be installed",
            f"`{shutil.which(command[0]) or command[0]} {' '.join(command[1:5])} ...` ended with exit code "
            f"{process.returncode}. Its last words:\n{tail}",
            "check the network and pip's settings (`pip config list`), then run it again:\n    make setup",
        )


def _follow(lines: Iterable[str], packages: int) -> list[str]:
    """Return pip's lines, and say from time to time how far it is."""
    log: list[str] = []
    found, spoken = 0, time.monotonic()
    for line in lines:
        log.append(line.rstrip())
        found += line.startswith("Collecting ")
        if packages and time.monotonic() - spoken > PROGRESS_SECONDS:
            spoken = time.monotonic()
            say(f"{found} of {packages} packages fetched" if found < packages else "unpacking the packages")
    return log


def main() -> int:
    """Make the environment if it is not current; return the exit code."""
    if python_of_clone(ROOT):
        return 0
    end_on_sigterm()
    try:
        make(ROOT)
    except SetupError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(str(from_os_error(error)))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
