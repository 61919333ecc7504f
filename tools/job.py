#!/usr/bin/env python3
"""Run a command as a step of a job at GitHub; anywhere else, just run it.

    tools/job.py [--kept] [--summary] COMMAND [ARGUMENT...]

GitHub's runner obeys lines of a step's output that look like commands (`::set-output ...`, `##[...]`), and what we
print holds words of strangers, wrapped wherever a line is full. So the runner is told to obey nothing until a word
that nobody can guess and that never comes: it holds for the rest of the step
(https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands, "Stopping and starting workflow
commands"). With --summary, what the command prints on stdout is the job's summary, too. With --kept a
job ends at once if its states would be gone with its machine.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from tools.talk import SetupError, from_os_error, say

#: Bytes that GitHub takes as the summary of one step (1 MiB), less what says that it was cut.
LONGEST_SUMMARY = 1_048_576 - 200
CUT = b"\n\n(The rest did not fit into a summary; it stands in the log of this step.)\n"


def at_github(environ: Mapping[str, str]) -> bool:
    """Tell whether this is a step of a job at GitHub."""
    return environ.get("GITHUB_ACTIONS") == "true"


def run(command: Sequence[str], environ: Mapping[str, str], *, summary: bool) -> int:
    """Run a command with the runner obeying nothing; return its exit code."""
    _say(f"::stop-commands::{secrets.token_hex(16)}\n".encode())
    printed = bytearray()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for line in process.stdout or ():
            _say(line)
            printed += line[: LONGEST_SUMMARY + 1 - len(printed)]
    if summary and printed and environ.get("GITHUB_STEP_SUMMARY"):
        with Path(environ["GITHUB_STEP_SUMMARY"]).open("ab") as file:
            file.write(fitting(bytes(printed)))
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def fitting(text: bytes) -> bytes:
    """Return the text as far as a summary takes it, cut at the end of a line."""
    if len(text) <= LONGEST_SUMMARY:
        return text
    return text[:LONGEST_SUMMARY].rpartition(b"\n")[0] + CUT


def _say(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def keeps(root: Path) -> None:
    """Raise SetupError if the states would stay on this machine."""
    from cf_infra.files import read_root  # only this needs what set-up installs
    from cf_infra.model import StateKind
    from cf_infra.parse import parse

    if parse(read_root(root)).inventory.settings.state.kind is StateKind.LOCAL:
        raise SetupError(
            "state-not-kept",
            "The states would be lost",
            "settings.yaml keeps the states on the machine that applies, and a machine of GitHub's is gone after\n"
            "the job: the next one would make everything once more.",
            "have the states in a bucket: docs/state.md",
        )


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; return the exit code."""
    command = list(arguments)
    kept, summary = (bool(command[:1] == [name] and command.pop(0)) for name in ("--kept", "--summary"))
    if not command:
        sys.stderr.write(f"usage: {(__doc__ or '').splitlines()[2].strip()}\n")
        return 64
    try:
        if not at_github(os.environ):
            os.execvp(command[0], command)  # noqa: S606
        if kept:
            keeps(Path())
        return run(command, os.environ, summary=summary)
    except SetupError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(str(from_os_error(error)))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
