"""What OpenTofu says while it runs: the lines of its `-json` output as events, its diagnostics as data.

Source of the types: OpenTofu's internal/command/views/json/message_types.go and internal/command/jsonentities,
"ui" version 1.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cf_infra.mask import Masker

TAIL = 20
"""Lines that are no JSON which an error shows, counted from the end."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of OpenTofu's `-json` output, masked.

    `kind` is its `type` (apply_start, apply_progress, apply_complete, planned_change, diagnostic, change_summary,
    ...), or: `text` for a line that is no JSON, `interrupt` for what a Ctrl-C means. `elapsed` is in seconds.
    `raw` is the whole object.
    """

    kind: str
    message: str
    level: str = "info"
    address: str | None = None
    action: str | None = None
    elapsed: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The line to show while it runs: OpenTofu's own words, without ids."""
        return re.sub(r" \[id=[^\]]*\]$", "", self.message)


@dataclass(frozen=True, slots=True)
class Problem:
    """A diagnostic of OpenTofu, masked. `file` is relative to the folder it ran in; line and column from one."""

    severity: str
    summary: str
    detail: str = ""
    address: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    excerpt: str = ""
    width: int = 1


class Heard:
    """What a run said: its diagnostics, and lines that are no JSON (a panic, a plugin's last words)."""

    def __init__(self, masker: Masker, emit: Callable[[Event], None]) -> None:
        self._masker = masker
        self._emit = emit
        self.problems: list[Problem] = []
        self.rest: list[str] = []
        self.state: object = None
        """A state that OpenTofu could save nowhere and so printed; encrypted."""

    def line(self, line: str) -> None:
        """Take one line of stdout."""
        if not line.strip():
            return
        try:
            raw = self._masker.value(json.loads(line))
        except ValueError:
            raw = None
        if not isinstance(raw, dict) or "@message" not in raw:
            self.rest = [*self.rest[-TAIL:], self._masker.text(line)]
            self._emit(Event("text", self.rest[-1]))
            return
        event = event_of(raw)
        if event.kind == "log" and "state" in raw:
            self.state = raw["state"]
            return
        if event.kind == "diagnostic":
            self.problems.append(problem_of(raw.get("diagnostic") or {}))
        self._emit(event)


def event_of(raw: Mapping[str, Any]) -> Event:
    """Make an event of one line of output."""
    inner = raw.get("hook") or raw.get("change") or {}
    elapsed = inner.get("elapsed_seconds")
    return Event(
        kind=str(raw.get("type") or "log"),
        message=str(raw.get("@message", "")),
        level=str(raw.get("@level", "info")),
        address=(inner.get("resource") or {}).get("addr"),
        action=inner.get("action"),
        elapsed=float(elapsed) if isinstance(elapsed, int | float) else None,
        raw=raw,
    )


def problem_of(said: Mapping[str, Any]) -> Problem:
    """Make a problem of a diagnostic as OpenTofu writes it."""
    place = said.get("range") or {}
    start = place.get("start") or {}
    end = place.get("end") or {}
    width = (
        int(end.get("column", 1)) - int(start.get("column", 1)) if end.get("line") == start.get("line") else 1
    )
    return Problem(
        severity=str(said.get("severity", "error")),
        summary=str(said.get("summary", "")),
        detail=str(said.get("detail", "")).strip(),
        address=said.get("address"),
        file=place.get("filename"),
        line=start.get("line"),
        column=start.get("column"),
        excerpt=_excerpt(said.get("snippet") or {}, start.get("line")),
        width=max(1, width),
    )


def _excerpt(snippet: Mapping[str, Any], line: int | None) -> str:
    lines = str(snippet.get("code", "")).split("\n")
    index = (line or 0) - int(snippet.get("start_line", 0))
    found = lines[index] if 0 <= index < len(lines) else ""
    return found if len(found) <= 160 and any(map(str.isalnum, found)) else ""


def unboxed(text: str) -> list[str]:
    """The lines of OpenTofu's text for people, without the frame around them."""
    bare = (re.sub(r"^[╷│╵] ?", "", line).rstrip() for line in text.splitlines())
    return [line for line in bare if line]
