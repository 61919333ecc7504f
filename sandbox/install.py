#!/usr/bin/env python3
"""Installs the sandbox's OpenStack packages once per machine, for all clones.

Only the standard library is used, because set-up calls this before any environment of the project exists:

    python3 sandbox/install.py        # talk goes to stderr, the folder to stdout

The packages go into `${XDG_CACHE_HOME:-~/.cache}/cf-infra/openstack-DIGEST/`, a virtual environment. It is built
beside its final place and renamed when it is complete, so an interrupted installation is never taken for a
finished one. Scripts inside have the first place's path in them: use only `bin/python FILE` or `bin/python -m`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "requirements.lock"
SUPPORTED = ((3, 11), (3, 12))
# Some packages come as source only. They are built with these, taken from the lock like everything else: pip's
# build isolation would fetch build tools that no hash protects.
BUILD_TOOLS = ("pbr", "setuptools")


class InstallError(Exception):
    """The packages cannot be installed; `str()` says why and what to do."""


def cache_folder() -> Path:
    """`${XDG_CACHE_HOME:-~/.cache}/cf-infra`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cf-infra"


def location() -> Path:
    """Where this lock file's packages belong for the running Python, installed or not."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(version.encode() + b"\n" + LOCK.read_bytes()).hexdigest()
    return cache_folder() / f"openstack-{digest[:16]}"


def install(progress: Callable[[str], None]) -> Path:
    """Return the environment's folder, after building it if it is not there yet.

    Raises InstallError if Python is too old or too new, or pip fails.
    """
    folder = location()
    if folder.is_dir():
        return folder
    if sys.version_info[:2] not in SUPPORTED:
        raise InstallError(
            f"The sandbox's OpenStack release needs Python 3.11 or 3.12; this is "
            f"{sys.version_info.major}.{sys.version_info.minor}. Run it with one of those."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "openstack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two clones that set up at once: the second one finds it done
        if not folder.is_dir():
            _build(folder, progress)
    return folder


def _build(folder: Path, progress: Callable[[str], None]) -> None:
    started = time.monotonic()
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    progress(f"Installing OpenStack for the sandbox into {folder} (once; about a minute)")
    _run([sys.executable, "-m", "venv", str(temporary)], temporary)
    python = str(temporary / "bin" / "python")
    # --no-deps: the lock file is complete, and it skips pip's resolver.
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    pip = [python, "-m", "pip", "install", *options]
    tools = temporary / "build-tools.lock"
    tools.write_text("".join(_lock_entry(name) for name in BUILD_TOOLS))
    _run([*pip, "-r", str(tools)], temporary)
    _run([*pip, "--no-build-isolation", "--no-compile", "-r", str(LOCK)], temporary)
    # pip compiles on one core only
    site = next((temporary / "lib").glob("python3*/site-packages"))
    _run([python, "-m", "compileall", "-q", "-j", "0", "-x", r"/tests?/", str(site)], temporary)
    temporary.rename(folder)
    progress(f"OpenStack is installed ({time.monotonic() - started:.0f} s)")


def _lock_entry(name: str) -> str:
    """One package's lines of the lock file: its version and hashes."""
    entry = re.search(rf"^{re.escape(name)}==.*\n(?:[ \t].*\n)*", LOCK.read_text(), re.MULTILINE)
    if entry is None:
        raise InstallError(f"{LOCK.name} has no entry for {name}. Make it again as requirements.in says.")
    return entry.group()


def _run(command: list[str], temporary: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        shutil.rmtree(temporary, ignore_errors=True)
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        what = " ".join(command[1:4])
        raise InstallError(f"`python {what} ...` failed:\n{last}\nNothing was installed; run it again.")


if __name__ == "__main__":
    try:
        print(install(lambda line: print(line, file=sys.stderr, flush=True)))
    except InstallError as error:
        sys.exit(f"error: {error}")
