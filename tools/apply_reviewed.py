#!/usr/bin/env python3
"""Plan again, then apply what merged reviews cover; what waits for a second person is handed to the next job.

    tools/apply_reviewed.py                  every stack
    tools/apply_reviewed.py STACK DIGEST     one stack, of which a person accepted just this digest

SINCE in the environment: the commit to begin at where no apply was noted yet. In a job at GitHub the output `waiting`
is a list of {"stack", "digest"} as JSON, and the receipts are printed as Markdown.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from tools.job import at_github
from tools.talk import say

COMMAND = str(ROOT / ".venv" / "bin" / "cf-infra")
#: The code of what waits for a person: no fault of the run that leaves it waiting.
WAITS = "waits-for-review"


def run(words: Sequence[str], environ: Mapping[str, str], root: Path, command: str = COMMAND) -> int:
    """Plan and apply; return the exit code. `words`: none, or a stack and the digest that is accepted."""
    stack, since = list(words[:1]), environ.get("SINCE", "")
    form = ["--format", "markdown"] if at_github(environ) else []
    planned = subprocess.run([command, "plan", *stack, *form], cwd=root, check=False).returncode
    if planned:
        return planned
    asked = [command, "apply", "--reviewed", *stack]
    asked += ["--accept", "=".join(words)] if words else []
    asked += ["--since", since] if since else []
    if not at_github(environ):
        return subprocess.run(asked, cwd=root, check=False).returncode
    done = subprocess.run([*asked, "--format", "json"], cwd=root, stdout=subprocess.PIPE, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return done.returncode or 1
    print("\n".join(markdown(found)), flush=True)
    waiting = waits(found)
    if output := environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as file:
            file.write(f"waiting={json.dumps(waiting)}\n")
    faults = {one["code"] for one in found.get("diagnostics", ()) if one["severity"] == "error"}
    # What was accepted, and waits all the same, is a fault.
    return 0 if waiting and not words and faults <= {WAITS} else done.returncode


def waits(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what a second person may accept: each stack that waits, with the digest of all that waits there."""
    rows = [
        {"stack": row["stack"], "digest": row["digest"]}
        for row in found.get("stacks", ())
        if row.get("waits")
    ]
    return [row for row in rows if all(re.fullmatch(r"[A-Za-z0-9@:._-]{1,200}", one) for one in row.values())]


def markdown(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a job's summary: what is wrong; per stack what was done, and what waits and why."""
    for one in found.get("diagnostics", ()):
        if one["code"] != WAITS:  # told below, with its stack
            yield f"- {one['severity']}: {_code(one['code'])}: {_code(one['summary'])}: {_code(one['detail'])}"
            yield from (f"  - {_code(line)}" for line in (one.get("hint") or "").splitlines() if line.strip())
    for row in found.get("stacks", ()):
        state = "waits for a second person" if row.get("waits") else f"{row['applied']} changes applied"
        yield f"### {_code(row['stack'])}: {'failed' if row['failed'] else state}\n"
        for receipt in row["receipts"]:
            yield f"- {_code(receipt['grant'])} is gone from:"
            yield from (
                f"  - {_code(one['place'])}, {_code(one['checked_at'])}" for one in receipt["gone_from"]
            )
            yield from (f"  - by hand: {_code(step)}" for step in receipt["manual"])
        yield from (f"- {_code(one['what'])}: {_code(one['why'])}" for one in row.get("waits", ()))
        if row.get("waits"):
            yield f"\nDigest: {_code(row['digest'])}"
        yield ""


def _code(text: object) -> str:
    """Words of anybody as inert code: no backtick, one line."""
    return f"`{' '.join(str(text).replace('`', chr(39)).split()) or ' '}`"


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; return the exit code."""
    if len(arguments) not in (0, 2) or not all(arguments):
        say("usage: tools/apply_reviewed.py [STACK DIGEST]")
        return 64
    return run(arguments, os.environ, Path())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
