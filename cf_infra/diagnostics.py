"""What is wrong, as data: collected, sorted, then rendered for people or as JSON.

The text for people is made from the same fields as the JSON form, so the two cannot disagree.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from cf_infra.codes import CODES

MOST_NAMED = 8
"""So many alternatives or holders are named in a message; more are counted."""
WIDEST = 120
"""So many columns of a line are shown."""

Severity = Literal["error", "warning"]
Path = tuple[str | int, ...]
"""The way to a value inside a YAML file: keys and indices from the top, such as ("grants", 3, "count")."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake or one thing to know.

    `code` is stable and has a constant summary (see codes.py). `file` is relative to the root; `line` and
    `column` count from one and show the wrong value. `label` stands under it, `excerpt` is the line itself.
    `path` is where the value is before anybody looked up its line (parse.place does that).
    """

    code: str
    detail: str = ""
    hint: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    label: str = ""
    excerpt: str = ""
    width: int = 1
    path: Path | None = None
    on_key: bool = False

    @property
    def severity(self) -> Severity:
        """error: the command fails; warning: it goes on."""
        return CODES[self.code].severity

    @property
    def summary(self) -> str:
        """The constant first line of this code."""
        return CODES[self.code].summary

    def as_json(self) -> dict[str, object]:
        """The form that scripts read; `label` and `excerpt` are there for those who draw it themselves."""
        return {
            "severity": self.severity,
            "code": self.code,
            "summary": self.summary,
            "detail": self.detail,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "hint": self.hint,
            "label": self.label,
            "excerpt": self.excerpt,
        }


class Failure(Exception):
    """A command cannot go on; carries the diagnostics that say why. Never shown as a traceback."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("; ".join(f"{d.code}: {d.detail or d.summary}" for d in diagnostics))
        self.diagnostics = list(diagnostics)


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """True if anything among them stops the command."""
    return any(d.severity == "error" for d in diagnostics)


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Each one once, sorted by place; those without a place come last."""
    unique = dict.fromkeys(replace(d, path=None, on_key=False) for d in diagnostics)
    return sorted(
        unique,
        key=lambda d: (
            d.file is None,
            d.file or "",
            d.line or 0,
            d.column or 0,
            d.severity,
            d.code,
            d.detail,
        ),
    )


def render(diagnostics: Iterable[Diagnostic], color: bool = False) -> str:
    """The text for people: one block for each diagnostic, an empty line between them."""
    return "\n".join(_block(d, color) for d in diagnostics)


def _block(d: Diagnostic, color: bool) -> str:
    paint = _paint if color else _plain
    tone = "31" if d.severity == "error" else "33"
    lines = [paint(f"{d.severity}[{d.code}]", f"1;{tone}") + paint(f": {d.summary}", "1")]
    lines += _place(d, paint, tone)
    lines += map(printable, d.detail.splitlines())
    if d.hint:
        first, *rest = map(printable, d.hint.splitlines())
        lines += [paint("hint", "1;36") + f": {first}", *(f"    {line}" for line in rest)]
    return "\n".join(lines) + "\n"


def _place(d: Diagnostic, paint: Callable[[str, str], str], tone: str) -> list[str]:
    if d.file is None:
        return []
    spot = printable(":".join(str(part) for part in (d.file, d.line, d.column) if part is not None))
    if d.line is None or not d.excerpt or (d.column or 1) > len(d.excerpt) + 1:
        return [paint("  --> ", "34") + spot]
    number = str(d.line)
    margin = " " * len(number)
    line, start = _window(d.excerpt, (d.column or 1) - 1)
    pad = "".join("\t" if c == "\t" else " " for c in line[:start])
    carets = "^" * max(1, min(d.width, len(line) - start))
    return [
        paint(f"{margin}--> ", "34") + spot,
        paint(f"{margin} |", "34"),
        paint(f"{number} | ", "34") + printable(line),
        paint(f"{margin} | ", "34") + pad + paint(f"{carets} {printable(d.label)}".rstrip(), tone),
    ]


def _window(line: str, start: int) -> tuple[str, int]:
    """The part of a long line around `start` that fits a terminal, and where `start` is in it."""
    if len(line) <= WIDEST:
        return line, start
    begin = max(0, min(start - WIDEST // 3, len(line) - WIDEST))
    part = line[begin : begin + WIDEST]
    before = "..." if begin else ""
    after = "..." if begin + WIDEST < len(line) else ""
    return before + part + after, start - begin + len(before)


def _paint(text: str, sgr: str) -> str:
    return f"\x1b[{sgr}m{text}\x1b[0m"


def _plain(text: str, _: str) -> str:
    return text


# ------------------------------------------------------------------------------------- words for messages


def printable(text: str) -> str:
    """The text with a sign in place of what would steer a terminal or turn the direction of writing."""
    return (
        text if text.isprintable() else "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)
    )


def some(names: Iterable[str], near: str | None = None) -> str:
    """At most MOST_NAMED of the names and how many more there are; those like `near` come first if there are more."""
    known = list(names)
    if near is not None and len(known) > MOST_NAMED:
        close = difflib.get_close_matches(near, known, n=MOST_NAMED, cutoff=0.3)
        known = close + [n for n in known if n not in close]
    shown = ", ".join(known[:MOST_NAMED]) or "none"
    return f"{shown} and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else shown


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that somebody meant who wrote `name`, if one is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)
