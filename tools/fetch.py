#!/usr/bin/env python3
"""Bring commits of pull requests into the clone as git objects: nothing is checked out, nothing of them is run.

    tools/fetch.py REVISION...    full hashes are fetched if the clone lacks them; other names are those of the clone

No submodule, no tag, no file of Git LFS comes with them, no hook runs, and no more than LARGEST bytes are taken for
one of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from cf_infra.keyprovider import command_environment
from tools.talk import SetupError, say

#: Bytes of one pack: what may be read of a revision is 100 MB, and packs are compressed.
LARGEST = 300_000_000
SECONDS = 300
REMOTE = "origin"
_GIT = ("git", "--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")
_FETCH = (
    *("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance"),
    *("--no-write-fetch-head", "--end-of-options", REMOTE),
)


def git(*words: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run git without prompts and without our tokens. Raise SetupError if it does not end in time."""
    own = {name: value for name, value in os.environ.items() if name.startswith("GIT_")}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}
    environ = {**command_environment(os.environ), **own, **quiet}
    # `ulimit -f` counts in blocks of 512 bytes; what a hostile head makes larger ends with SIGXFSZ.
    limited = ["sh", "-c", f'ulimit -f {LARGEST // 512}; exec "$@"', "sh", *_GIT, *words]
    try:
        return subprocess.run(
            limited, cwd=root, env=environ, capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _failed(" ".join(words[:1]), f"It took more than {SECONDS} seconds.") from None


def have(revision: str, root: Path) -> None:
    """Have a commit in the clone, if it is named by its full hash. Raise SetupError if it cannot be had."""
    if not re.fullmatch("[0-9a-f]{40}([0-9a-f]{24})?", revision):
        return
    if git("cat-file", "-e", f"{revision}^{{commit}}", root=root).returncode:
        _fetch(revision, revision, root)


def head_of(number: int, root: Path) -> str:
    """Bring the head of a pull request into the clone; return its commit. Raise SetupError if it cannot be had.

    With it comes GitHub's own try to merge it, where there is one.
    """
    place = f"refs/cf-infra/pull/{number}"
    _fetch(f"+refs/pull/{number}/head:{place}", f"the head of pull request {number}", root)
    git(*_FETCH, f"+refs/pull/{number}/merge:{place}-merge", root=root)
    return git("rev-parse", "--verify", f"{place}^{{commit}}", root=root).stdout.strip()


def _fetch(refspec: str, name: str, root: Path) -> None:
    done = git(*_FETCH, refspec, root=root)
    if done.returncode:
        raise _failed(name, done.stderr.strip()[-1000:] or f"git ended with {done.returncode}.")


def _failed(name: str, why: str) -> SetupError:
    return SetupError(
        "not-fetched",
        "A commit could not be fetched",
        f"{name} from {REMOTE}: {why}",
        "a head that was replaced meanwhile is gone: look at the pull request.\n"
        f"More than {LARGEST:,} bytes are not taken for one head.",
    )


def main(arguments: Sequence[str]) -> int:
    """Fetch what is named; return the exit code."""
    try:
        for revision in arguments:
            have(revision, Path())
    except SetupError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
