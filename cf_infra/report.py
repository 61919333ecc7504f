"""What a plan does, for people: plain text for a terminal of 80 columns, and Markdown for a pull request.

Made from the JSON form (PlanSummary.as_json), so that the three cannot disagree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cf_infra.diagnostics import printable
from cf_infra.terminal import wrapped

SYMBOLS = {"create": "+", "update": "~", "replace": "-/+", "delete": "-", "read": "<=", "forget": "forget"}
"""As OpenTofu draws them; `forget` is an error and is spelt out."""
DOES = {
    "create": "make",
    "update": "change",
    "replace": "replace",
    "delete": "destroy",
    "read": "adopt",
}
"""The same in words."""
ORDER = ("forget", "delete", "replace", "update", "create", "read")
"""What is taken away comes first."""
SHOWN_AT_MOST = 100
"""Lines of a long plan that Markdown shows: GitHub takes 65,536 characters in a comment."""


def terminal(summary: Mapping[str, Any], refusals: Sequence[Sequence[str]], lost: Sequence[str]) -> str:
    """A plan as text. `refusals` are (code, detail, hint); `lost` are the grants that lose access."""
    lines = [f"{summary['stack']}: {_counts(summary)}"]
    for item in _visible(summary):
        lines += _wrapped(f"  {SYMBOLS.get(item['action'], item['action']):>3} ", item["what"])
        lines += _wrapped("      ", whose(item))
    lines += _internal(summary, "      ")
    if lost:
        lines += ["", "  These lose access:", *(f"      {key}" for key in lost)]
    for _, detail, hint in refusals:
        lines += [
            "",
            "  REFUSED: " + detail.replace("\n", "\n  "),
            "  hint: " + hint.replace("\n", "\n      "),
        ]
    lines += [f"  review digest {summary['review_digest']}"] if summary.get("review_digest") else []
    return "\n".join(lines) + "\n"


def markdown(summary: Mapping[str, Any], refusals: Sequence[Sequence[str]], lost: Sequence[str]) -> str:
    """A plan as Markdown.

    Whatever comes from files or a cloud stands in code: there it is neither markup nor HTML and mentions nobody.
    """
    lines = [f"### {code(summary['stack'])}: {_counts(summary)}", ""]
    for _, detail, hint in refusals:
        lines += ["**Refused.**", "", *block(f"{detail}\nhint: {hint}"), ""]
    if lost:
        lines += ["These lose access:", "", *(f"- {code(key)}" for key in lost), ""]
    lines += table(summary, SHOWN_AT_MOST)
    lines += [f"Review digest: {code(summary['review_digest'])}"] if summary.get("review_digest") else []
    return "\n".join(lines).rstrip() + "\n"


def table(summary: Mapping[str, Any], most: int | None) -> list[str]:
    """What a plan does, as a table in Markdown's lines: at most so many rows, and how many more there are."""
    items = list(_visible(summary))
    shown = items[:most]
    lines = ["|   | what | whose |", "|---|---|---|", *map(_row, shown), ""] if shown else []
    if len(items) > len(shown):
        lines += [f"and {len(items) - len(shown):,} more", ""]
    return [*lines, *(f"{line}\n" for line in _internal(summary, ""))]


def _row(item: Mapping[str, Any]) -> str:
    action = item["action"]
    cells = f"{code(SYMBOLS.get(action, action))} {DOES.get(action, '')}".rstrip(), code(item["what"])
    return f"| {' | '.join(cells)} | {', '.join(map(code, item['grants']))} |"


def _counts(summary: Mapping[str, Any]) -> str:
    parts = [
        (summary["add"], "to add"),
        (summary["change"], "to change"),
        (summary["replace"], "to replace"),
        (summary["destroy"], "to destroy"),
        (summary.get("import", 0), "to adopt"),
        (summary.get("forget", 0), "to forget"),
    ]
    return ", ".join(f"{count} {words}" for count, words in parts if count) or "nothing to do"


def is_internal(item: Mapping[str, Any]) -> bool:
    """Is it only a record? terraform_data is a note in the state; nothing at a cloud comes of it."""
    return bool(re.search(r"(^|\.)terraform_data\.", item["address"])) and item["action"] != "forget"


def _rank(action: str) -> int:
    """Where an action stands; one that is not known comes first of all."""
    return ORDER.index(action) if action in ORDER else -1


def _visible(summary: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    ordered = sorted(summary["items"], key=lambda item: (_rank(item["action"]), item["address"]))
    for item in ordered:
        if not is_internal(item) and (item["action"] != "read" or item["what"].startswith("adopt ")):
            yield item


def _internal(summary: Mapping[str, Any], indent: str) -> list[str]:
    hidden = Counter(item["action"] for item in summary["items"] if is_internal(item))
    if not hidden:
        return []
    told = ", ".join(f"{hidden[action]} {SYMBOLS[action]}" for action in ORDER if action in hidden)
    return [f"{indent}and records in the state only: {told}"]


def whose(item: Mapping[str, Any]) -> str:
    """For whom it is, where its own words do not say so."""
    keys = [key for key in item["grants"] if key not in item["what"]]
    shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
    return f"for {shown}" if keys else ""


def _wrapped(first: str, text: str) -> list[str]:
    return wrapped(text, first, " " * (len(first) + 2))


def code(text: str) -> str:
    """A code span: no backtick ends it, no bar ends its cell in a table, no line end its row; nothing in it steers."""
    return "`" + (printable(" ".join(re.sub(r"[`|]", " ", text).split())) or " ") + "`"


def block(text: str) -> list[str]:
    """A fenced block, in lines; no row of backticks ends it."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 3)
    return [f"{fence}text", text, fence]
