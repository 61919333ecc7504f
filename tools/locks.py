#!/usr/bin/env python3
"""Write locks/ again: the hashes of the providers that set-up built here, added to those of other platforms and Gos.

    tools/locks.py

Only hashes of the pinned version stay. Run by `make lock`; what it writes is reviewed and committed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from tools.build import read_pointer
from tools.talk import say

LOCKS = ROOT / "locks"
HEAD = """\
# Written by `make lock`: the hashes of the providers that set-up builds from tools/, by the Go that built them.
# Every build/<stack>/ gets a copy, and plan runs with -lockfile=readonly.

"""
_HASH = re.compile(r'"(h1:[^"]+)"')


def merged(made: str, committed: str) -> str:
    """A lock with the hashes of both, or of `made` alone if the committed one is of another version."""
    hashes = set(_HASH.findall(made))
    if _version(made) == _version(committed):
        hashes |= set(_HASH.findall(committed))
    listed = "".join(f'    "{one}",\n' for one in sorted(hashes))
    provider = made[made.index("provider ") :]
    return HEAD + re.sub(r"hashes = \[.*?\]", f"hashes = [\n{listed}  ]", provider, flags=re.DOTALL)


def _version(lock: str) -> str | None:
    found = re.search(r'^\s*version\s*=\s*"([^"]+)"', lock, re.MULTILINE)
    return found[1] if found else None


def main() -> int:
    """Run the command line; return its exit code."""
    tools = read_pointer().get("tools")
    if tools is None:
        say("error[no-tools]: There are no tools in this clone yet\nhint: make setup")
        return 1
    for name, made in json.loads(Path(tools).read_text(encoding="utf-8"))["locks"].items():
        path = LOCKS / f"{name}.lock.hcl"
        committed = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(merged(Path(made).read_text(encoding="utf-8"), committed), encoding="utf-8")
        say(f"locks/{path.name}: {_version(path.read_text(encoding='utf-8'))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
