"""Expected files: compared, or written anew with `ACCEPT=1`."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


def expect(path: Path, got: str | None, test: str) -> None:
    """The file `path` holds `got` (None: there is no such file); a difference names the command that accepts it."""
    known = path.read_text("utf-8") if path.exists() else None
    if got == known:
        return
    if os.environ.get("ACCEPT"):
        if got is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(got, "utf-8")
        return
    name = path.relative_to(TESTS.parent).as_posix()
    lines = difflib.unified_diff(
        (known or "").splitlines(), (got or "").splitlines(), name, "now", lineterm=""
    )
    command = f"ACCEPT=1 .venv/bin/python -m pytest {test}"
    pytest.fail("\n".join([*lines, f"If that is right: {command} && git diff {name}"]), pytrace=False)
