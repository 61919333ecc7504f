"""What a command says: results to stdout, progress and faults to stderr, in the form that was asked for."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from cf_infra.diagnostics import Diagnostic, has_errors, in_order, render

DIFFERENCES = 2
USAGE = 64
INTERRUPTED = 130
"""Exit codes beside 0 and 1: docs/commands.md."""


class Format(StrEnum):
    """How results are written."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def today_utc() -> date:
    """The clock's day."""
    return datetime.now(UTC).date()


class Console:
    """Collects a command's diagnostics and its result, and writes them once."""

    def __init__(self, form: Format, quiet: bool, no_color: bool) -> None:
        self.form = form
        self.quiet = quiet
        self.color = not no_color and "NO_COLOR" not in os.environ and sys.stderr.isatty()
        self._diagnostics: list[Diagnostic] = []
        self._result: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._begin = time.monotonic()

    def progress(self, text: str) -> None:
        """One line of talk, with the seconds since the start."""
        if not self.quiet:
            with self._lock:
                sys.stderr.write(f"{time.monotonic() - self._begin:6.1f}s  {text}\n")
                sys.stderr.flush()

    def hint(self, text: str) -> None:
        """What a person may want to do next."""
        if not self.quiet and self.form is Format.TEXT:
            sys.stderr.write(f"{text}\n")

    def diagnostics(self, found: Iterable[Diagnostic]) -> None:
        """Show them, if the form is for people, and keep them for the end."""
        ordered = in_order(found)
        self._diagnostics += ordered
        if ordered and self.form is not Format.JSON:
            sys.stderr.write(render(ordered, self.color) + "\n")

    def keep(self, found: Iterable[Diagnostic]) -> None:
        """Have them in the JSON form only; people are told by `check` and need not be told each time."""
        self._diagnostics += in_order(found)

    def stop_on_errors(self) -> None:
        """End the command here if anything so far is an error."""
        if has_errors(self._diagnostics):
            self.finish()

    def result(self, data: dict[str, Any], text: str) -> None:
        """What the command found or did: data for JSON, text for people."""
        self._result.update(data)
        if self.form is not Format.JSON and text:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def finish(self, code: int = 0) -> None:
        """Write JSON if that is the form, and end with `code`, or 1 if anything was an error."""
        import typer

        if self.form is Format.JSON:
            self._write_json()
        sys.stdout.flush()
        if code in (0, 2) and has_errors(self._diagnostics):
            code = 1
        if code:
            raise typer.Exit(code)

    def fail(self, *found: Diagnostic) -> None:
        """The end of a command that could not go on."""
        self.diagnostics(found)
        if self.form is Format.JSON:
            self._write_json()

    def _write_json(self) -> None:
        import orjson

        data = {"diagnostics": [d.as_json() for d in self._diagnostics], **self._result}
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
        sys.stdout.flush()
