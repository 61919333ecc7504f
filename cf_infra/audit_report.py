"""An audit's findings for people: text of 80 columns by place, and Markdown. Made from the JSON form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from cf_infra.diagnostics import printable
from cf_infra.findings import KINDS
from cf_infra.report import block, code
from cf_infra.terminal import WIDTH, wrapped

SHOWN_AT_MOST = 200
"""Findings that Markdown shows: GitHub takes 65,536 characters in a comment."""
Rows = Sequence[Mapping[str, Any]]


def terminal(findings: Rows, asked: Iterable[str]) -> str:
    """The findings as text, grouped by place; commands stand on lines of their own and are never wrapped."""
    lines: list[str] = []
    for where, rows in groupby(findings, key=lambda row: row["where"]):
        lines += [printable(where), *(line for row in rows for line in _finding(row)), ""]
    return "\n".join([*lines, *wrapped(_counted(findings, asked), "", "")]) + "\n"


def _finding(row: Mapping[str, Any]) -> list[str]:
    lines = [f"  {row['kind']}  {printable(row['subject'])}"]
    since = f"Since {row['since'][:10]}. " if row["since"] else ""
    lines += wrapped(printable(since + row["what"]), "      ", "      ")
    first, *rest = _commands(row["fix"]) or [""]
    return [*lines, f"      fix: {first}", *(f"           {line}" for line in rest)] if first else lines


def _commands(fix: str) -> list[str]:
    """A fix in lines; one that is too wide goes on after `&&`, where a shell goes on as well."""
    lines: list[str] = []
    for line in fix.splitlines():
        parts = line.split(" && ") if len(line) > WIDTH - 11 else [line]
        lines += [
            printable(part) + (" &&" if number < len(parts) else "") for number, part in enumerate(parts, 1)
        ]
    return lines


def markdown(findings: Rows, asked: Iterable[str]) -> str:
    """The findings as Markdown; whatever comes from files or places stands in code, and is neither markup nor HTML."""
    lines = ["### Audit", "", _counted(findings, map(code, asked)), ""]
    for where, rows in groupby(findings[:SHOWN_AT_MOST], key=lambda row: row["where"]):
        lines += [f"#### {code(where)}", "", "| kind | what | since |", "|---|---|---|"]
        told = list(rows)
        lines += [_row(row) for row in told]
        fixes = dict.fromkeys(row["fix"] for row in told if row["fix"])
        lines += ["", "To mend:", "", *block(printable_lines(fixes)), ""] if fixes else [""]
    if len(findings) > SHOWN_AT_MOST:
        lines += [f"and {len(findings) - SHOWN_AT_MOST} more", ""]
    return "\n".join(lines).rstrip() + "\n"


def printable_lines(texts: Iterable[str]) -> str:
    """Several texts, one under another, without what would steer a terminal."""
    return "\n".join(printable(line) for text in texts for line in text.splitlines())


def _row(row: Mapping[str, Any]) -> str:
    what = f"{code(printable(row['subject']))}: {code(printable(row['what']))}"
    return f"| {row['kind']} | {what} | {code(printable(row['since'])) if row['since'] else ''} |"


def _counted(findings: Rows, asked: Iterable[str]) -> str:
    places = ", ".join(asked) or "nothing"
    if not findings:
        return f"No findings. Looked at: {places}."
    counts = Counter(row["kind"] for row in findings)
    told = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if kind in counts)
    return f"{len(findings)} finding{'' if len(findings) == 1 else 's'}: {told}. Looked at: {places}."
