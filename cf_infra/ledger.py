"""What is known of a stack's credentials, beside its state: which were proven, and where they were delivered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson

from cf_infra import credentials
from cf_infra.credentials import UNKNOWN, History, Ledger
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import write

NAME = "credentials.json"


def load(state: Path) -> dict[str, History]:
    """The ledger of a deployment's state folder; empty before the first apply. Raises Failure("unreadable")."""
    path = state / NAME
    if not path.is_file():
        return {}
    try:
        return credentials.from_json(orjson.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError):
        detail = "It does not say which credentials were proven, and nothing is retired by guessing."
        hint = "bring it back from a copy of the state folder; without one, delete it: the next apply proves anew"
        raise Failure(Diagnostic("unreadable", file=str(path), detail=detail, hint=hint)) from None


def save(state: Path, ledger: Ledger) -> None:
    """Write it whole, or not at all."""
    raw = orjson.dumps(credentials.as_json(ledger), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write(state / NAME, raw)


def note(state: Path, name: str, change: Callable[[History], History]) -> History:
    """Change what is known of one credential, and write it down at once: the run may be killed in the next moment."""
    ledger = load(state)
    ledger[name] = change(ledger.get(name, UNKNOWN))
    save(state, ledger)
    return ledger[name]
