"""The peers: installed once into the cache of all clones, exactly as peers/*lock* say."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import BenchError, NotHere, say
from tools.cache import building, cache_folder

FOLDER = Path(__file__).resolve().parent / "peers"
LOCKS = ("package.json", "package-lock.json", ".npmrc", "requirements.lock")

AT_THEIR_BEST = {
    "CDKTN_DISABLE_CREATION_STACK": "1",  # cdktn notes for each token where it was made: up to half of its time
}


@dataclass(frozen=True)
class Peers:
    """Where the peers are; `node` is None where there is no Node, which PyPI's cdktn needs as well."""

    python: Path
    node: Path | None
    modules: Path

    def needs_node(self) -> None:
        """Raise NotHere if there is no Node."""
        if self.node is None:
            raise NotHere(
                "There is no `node` with `npm` on PATH, and both packages of cdktn run on it.\n"
                "Install Node.js 20 or later."
            )

    def npm(self, script: str, *arguments: str | Path) -> list[str | Path]:
        """The command of a peer in JavaScript."""
        return [self.node or "node", FOLDER / script, *arguments]

    def pypi(self, script: str, *arguments: str | Path) -> list[str | Path]:
        """The command of a peer in Python."""
        return [self.python, FOLDER / script, *arguments]

    def environment(self, best: bool = False) -> dict[str, str]:
        """What both run with; `best`: with what makes them faster than they are by default."""
        return {**(AT_THEIR_BEST if best else {}), "NODE_PATH": str(self.modules)}


def installed() -> Peers:
    """The peers, after installing them if this is the first time. Raises BenchError."""
    node = _node()
    folder = cache_folder() / f"bench-{_digest(node)}"
    if not folder.is_dir():
        say(f"Installing the peers into {folder} (once)")
        with building(folder) as draft:
            _install_python(draft)
            if node is not None:
                _install_node(draft)
    return Peers(folder / "venv" / "bin" / "python", node, folder / "node" / "node_modules")


def _node() -> Path | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    return Path(node) if node and npm else None


def _digest(node: Path | None) -> str:
    whole = hashlib.sha256(f"python {sys.version_info[:2]}, node {node is not None}\n".encode())
    for name in LOCKS:
        whole.update((FOLDER / name).read_bytes())
    return whole.hexdigest()[:16]


def _install_python(folder: Path) -> None:
    venv = folder / "venv"
    # Copied from .venv's own Python: ours and theirs are the same interpreter.
    _command([sys.executable, "-m", "venv", venv])
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    _command([venv / "bin" / "python", "-m", "pip", "install", *options, "-r", FOLDER / "requirements.lock"])


def _install_node(folder: Path) -> None:
    target = folder / "node"
    target.mkdir()
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(FOLDER / name, target)
    _command(["npm", "ci", "--ignore-scripts", "--silent"], target)


def _command(command: Sequence[str | Path], folder: Path | None = None) -> None:
    arguments = [str(part) for part in command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise BenchError(f"The peers cannot be installed: `{' '.join(arguments[:4])} ...` failed:\n{last}")
