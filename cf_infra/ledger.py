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
    """The ledger of a deployment's state folder; empty before the first apply.

    Raises Failure: unreadable if it is damaged, foreign-state if it was copied from another deployment.
    """
    path = state / NAME
    if not path.is_file():
        return {}
    try:
        data = orjson.loads(path.read_bytes())
        if data.get("of", state.name) != state.name:
            raise Failure(_of_another(path, str(data["of"])))
        return credentials.from_json(data)
    except (ValueError, KeyError, TypeError, AttributeError):
        detail = "It does not say which credentials were proven, and nothing is retired by guessing."
        hint = "bring it back from a copy of the state folder; without one, delete it: the next apply proves anew"
        raise Failure(Diagnostic("unreadable", file=str(path), detail=detail, hint=hint)) from None


def _of_another(path: Path, name: str) -> Diagnostic:
    detail = f"It is that of `{name}`, and lies where `{path.parent.name}` keeps its own."
    mine = f"{path.parent.parent.name}/{path.parent.name}"
    hint = f"bring back what belongs there, or put aside what was copied:\nmv {mine} {path.parent.name}.aside"
    return Diagnostic("foreign-state", file=str(path), detail=detail, hint=hint)


def save(state: Path, ledger: Ledger) -> None:
    """Write it whole, or not at all."""
    data = {**credentials.as_json(ledger), "of": state.name}
    raw = orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write(state / NAME, raw)


def note(state: Path, name: str, change: Callable[[History], History]) -> History:
    """Change what is known of one credential, and write it down at once: the run may be killed in the next moment."""
    ledger = load(state)
    ledger[name] = change(ledger.get(name, UNKNOWN))
    save(state, ledger)
    return ledger[name]
