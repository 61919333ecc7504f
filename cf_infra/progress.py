"""What people read while OpenTofu works: one line when something begins, drags on or ends, in the plan's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cf_infra.events import Event

Say = Callable[[str], None]

_DOING = {"create": "creating", "update": "changing", "delete": "deleting", "replace": "replacing"}
_DONE = {"create": "created", "update": "changed", "delete": "deleted", "replace": "replaced"}
_STATE_ONLY = "terraform_data."
"""These stand for nothing at the cloud, and are made in no time."""


def words_of(items: list[Mapping[str, Any]]) -> dict[str, str]:
    """Address -> what it is for people, from a plan's items."""
    return {str(item["address"]): str(item["what"]) for item in items}


def teller(say: Say, words: Mapping[str, str] | None = None) -> Callable[[Event], None]:
    """A listener for OpenTofu's events that says what matters."""
    known = words or {}

    def tell(event: Event) -> None:
        line = _line(event, known)
        if line:
            say(line)

    return tell


def _line(event: Event, words: Mapping[str, str]) -> str | None:
    if event.kind in ("text", "interrupt"):
        return event.message or None
    if event.address is None or event.action not in _DOING or _STATE_ONLY in event.address:
        return None
    what = words.get(event.address, event.address)
    seconds = f" ({event.elapsed:.0f} s)" if event.elapsed is not None else ""
    if event.kind == "apply_start":
        return f"{_DOING[event.action]} {what}"
    if event.kind == "apply_progress":
        return f"still {_DOING[event.action]} {what}{seconds}"
    if event.kind == "apply_complete":
        return f"{_DONE[event.action]} {what}{seconds}"
    return f"failed: {_DOING[event.action]} {what}{seconds}" if event.kind == "apply_errored" else None
