"""A day's findings, what of them a person must decide, and whether the one issue changes. Pure.

What goes by itself stands in the run's summary only. The issue's first line, which nobody sees, names what it is about:
so a day with nothing new changes nothing, and nobody is told twice. A part that could not be asked is no proof that all
is well: what the issue says of it stays.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from cf_infra import drift
from cf_infra.chain import quote
from cf_infra.diagnostics import Diagnostic
from cf_infra.model import Inventory
from cf_infra.renewals import ending, lasts
from cf_infra.report import block
from cf_infra.terminal import wrapped

MARKER = "cf-infra daily:"
_FIRST = re.compile(rf"<!-- {MARKER}((?: [a-z]+/[0-9a-f]{{12}})*) -->")
TITLE = "cf-infra: something waits for a person"
PARTS = {
    "credentials": "Credentials",
    "manual": "Credentials that only others can make anew",
    "audit": "What is there and what the files say",
    "drift": "What was changed at a cloud behind our back",
    "reviews": "Pull requests that wait",
}
"""The parts of a day, in their order, and their headings."""
PASSING = frozenset(
    "service-silent rate-limited no-token token-refused token-lacks-scope interrupted state-locked not-audited".split()
)
"""Faults of the run and not of what it looks at: the run fails, and the next day tries again."""
BY_ITSELF = timedelta(days=2)
"""So long the next applies have for taking away what ended."""
WAITS = timedelta(days=7)
"""A pull request of ours that is older waits for somebody who has forgotten it."""
SHOWN = 25
"""So many of a part stand in the issue in full."""
SOON = 30


class Do(StrEnum):
    """What is done about the issue."""

    OPEN = "open"
    UPDATE = "update"
    CLOSE = "close"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Item:
    """Something that a person must decide. `about` names it for good; texts may be anybody's."""

    part: str
    about: str
    what: str
    fix: str = ""

    @property
    def mark(self) -> str:
        """What it is remembered by."""
        return f"{self.part}/{hashlib.sha256(self.about.encode()).hexdigest()[:12]}"

    def as_json(self) -> dict[str, str]:
        """For scripts."""
        return {"part": self.part, "about": self.about, "what": self.what, "fix": self.fix}


@dataclass
class Day:
    """What a day brought. `silent`: the parts that could not be asked, or not wholly; `told`: what went by itself."""

    items: list[Item] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)


# ----------------------------------------------------------------------------------- from findings to decisions


def of_faults(part: str, found: Iterable[Diagnostic], day: Day) -> None:
    """Sort what went wrong: what passes fails the run, the rest waits for a person."""
    for one in found:
        if one.severity != "error":
            continue
        if one.code in PASSING:
            day.silent.add(part)
            day.diagnostics.append(one)
        else:
            # Days and counts in a message change from day to day; what it is about does not.
            about = f"{one.code} {one.file or ''} {re.sub('[0-9]+', '0', one.detail)}"
            day.items.append(Item(part, about, one.detail or one.summary, one.hint))


def of_rows(stack: str, rows: Iterable[Mapping[str, Any]], day: Day, *, turned: bool) -> None:
    """A stack's credentials: what turned by itself, and what only others can make."""
    for row in rows:
        name = f"{stack}/{row['credential']}"
        if row["by_hand"]:
            fix = row["by_hand"][0]
            day.items.append(Item("manual", f"{name} {row['turns']}", f"{name}: {fix}"))
        state = {True: "works", False: "does not work", None: "not tried"}[row["works"]]
        day.told.append(
            f"{name}/{row['generation']}: {state}, next {row['next']}" if turned else f"{name}: {state}"
        )


def of_audit(found: Iterable[Mapping[str, Any]], today: date, day: Day) -> None:
    """An audit's findings; what ended just now is taken away by the next apply."""
    for row in found:
        if row["kind"] == "not-audited":
            day.silent.add("audit")
            continue
        since = row["since"] or ""
        if (
            row["kind"] == "expired-but-alive"
            and since
            and date.fromisoformat(since[:10]) > today - BY_ITSELF
        ):
            day.told.append(f"{row['subject']} has ended, and goes with the next apply")
            continue
        about = f"{row['kind']} {row['where']} {row['subject']}"
        what = f"{row['where']}: {row['kind']} {row['subject']}. {row['what']}"
        day.items.append(Item("audit", about, what, row["fix"] or ""))


def of_drift(rows: Iterable[Mapping[str, Any]], day: Day) -> None:
    """What was changed behind our back, stack by stack; see drift.py."""
    for row in rows:
        name = row["stack"]
        for item in row["drift"]:
            fix = f"look at it; to make it as the files say:\ncf-infra plan {name} && cf-infra apply {name}"
            day.items.append(Item("drift", f"{name} {item['address']}", f"{name}: {drift.said(item)}", fix))
        if not row["drift"] and not row["failed"]:
            day.told.append(f"{name}: nothing was changed behind our back")


def of_pulls(found: Iterable[tuple[str, date]], today: date, day: Day) -> None:
    """Open pull requests of ours, by address and the day on which each was opened."""
    for address, opened in found:
        if opened <= today - WAITS:
            day.items.append(
                Item("reviews", address, f"{address} is open since {opened}.", "review it, or close it")
            )
        else:
            day.told.append(f"{address} is open since {opened}")


def of_expiry(inventory: Inventory, today: date, day: Day) -> None:
    """What ended today, and what ends soon: told, for time alone does it."""
    for grant in inventory.grants.values():
        if grant.expires == today:
            day.told.append(f"{grant.repository}: {', '.join(grant.resources)} ended today")
    for repository, pairs in sorted(lasts(inventory, today).items()):
        for key, end in sorted(ending(pairs, today, SOON).items()):
            day.told.append(f"{repository}: {key.partition('/')[2]} ends on {end}")


# ------------------------------------------------------------------------------------------------- the issue


@dataclass(frozen=True)
class Change:
    """What is done about the issue: its new text, and the comment that tells people."""

    do: Do
    number: int | None = None
    body: str = ""
    comment: str = ""
    new: tuple[str, ...] = ()


def marks(body: str | None) -> list[str]:
    """What an issue of ours is about."""
    found = _FIRST.match(body or "")
    return found[1].split() if found is not None else []


def change(day: Day, issue: tuple[int, str] | None) -> Change:
    """What becomes of the issue; `issue`: the number and the text of the one that is open."""
    items = {item.mark: item for item in sorted(day.items, key=_order)}
    if issue is None:
        if not items:
            return Change(Do.NOTHING)
        return Change(Do.OPEN, None, body(list(items.values()), list(items)), new=tuple(items))
    number, old = issue
    known = marks(old)
    new = [mark for mark in items if mark not in known]
    kept = [mark for mark in known if mark not in items and mark.partition("/")[0] in day.silent]
    gone = [mark for mark in known if mark not in items and mark not in kept]
    if not items and not kept:
        return Change(Do.CLOSE, number, comment="Nothing waits for a person any more.\n")
    if not new and not gone:
        return Change(Do.NOTHING, number)
    comment = (
        "\n".join(["New since then:", "", *_listed([items[mark] for mark in new])]) + "\n" if new else ""
    )
    if kept:
        # What could not be asked keeps its words; what is new stands behind it until all can be asked again.
        text = _first_line([*known, *new]) + "\n" + old.partition("\n")[2].rstrip("\n") + "\n\n" + comment
        return Change(Do.UPDATE if new else Do.NOTHING, number, text, comment, tuple(new))
    return Change(Do.UPDATE, number, body(list(items.values()), list(items)), comment, tuple(new))


def _order(item: Item) -> tuple[int, str]:
    return list(PARTS).index(item.part), item.about


def _first_line(known: Sequence[str]) -> str:
    return f"<!-- {MARKER}{''.join(f' {mark}' for mark in known)} -->"


def body(items: Sequence[Item], known: Sequence[str]) -> str:
    """The text of the issue. The same items, the same text."""
    count = len(items)
    lines = [
        _first_line(known),
        f"**{count} thing{'s wait' if count != 1 else ' waits'} for a person.** All else goes by itself.",
    ]
    for part, heading in PARTS.items():
        own = [item for item in items if item.part == part]
        lines += ["", f"### {heading}", "", *_listed(own)] if own else []
    lines += [
        "",
        "This issue closes by itself when nothing waits any more.",
        "",
        "<sub>Written by cf-infra.</sub>",
    ]
    return "\n".join(lines) + "\n"


def _wait(count: int) -> str:
    return {0: "Nothing waits", 1: "1 thing waits"}.get(count, f"{count} things wait")


def _listed(items: Sequence[Item]) -> list[str]:
    lines: list[str] = []
    for item in items[:SHOWN]:
        lines.append(f"- {quote(item.what)}")
        lines += [f"  {line}" for line in block(item.fix)] if item.fix else []
    return lines + (
        [f"- and {len(items) - SHOWN} more: `cf-infra daily --dry-run`"] if len(items) > SHOWN else []
    )


# ---------------------------------------------------------------------------------------------- the summary


def as_json(day: Day, done: Change, address: str) -> dict[str, Any]:
    """For scripts."""
    return {
        "waiting": [item.as_json() for item in sorted(day.items, key=_order)],
        "by_itself": day.told,
        "not_asked": sorted(day.silent),
        "issue": {"do": str(done.do), "number": done.number, "address": address or None},
    }


def terminal(day: Day, done: Change, address: str) -> str:
    """For a terminal of 80 columns."""
    lines = [_verdict(day, done, address)]
    for item in sorted(day.items, key=_order):
        lines += [
            "",
            *wrapped(f"{item.part}: {item.what}", "", "  "),
            *(f"    {fix}" for fix in item.fix.splitlines()),
        ]
    if day.told:
        lines += ["", "By itself:", *(line for told in day.told for line in wrapped(told, "  ", "    "))]
    return "\n".join(lines) + "\n"


def markdown(day: Day, done: Change, address: str) -> str:
    """For the run's summary."""
    lines = ["### The day", "", _verdict(day, done, address)]
    lines += ["", *_listed(sorted(day.items, key=_order))] if day.items else []
    lines += ["", "By itself:", "", *(f"- {quote(told)}" for told in day.told)] if day.told else []
    return "\n".join(lines) + "\n"


def _verdict(day: Day, done: Change, address: str) -> str:
    count = len(day.items)
    told = (
        f"{count} thing{'s wait' if count != 1 else ' waits'} for a person."
        if count
        else "Nothing waits for a person."
    )
    if day.silent:
        told += f" Not wholly asked: {', '.join(sorted(day.silent))}."
    words = {
        Do.OPEN: "opened",
        Do.UPDATE: "brought up to date",
        Do.CLOSE: "closed",
        Do.NOTHING: "left as it is",
    }
    return told + (f" The issue was {words[done.do]}: {address}." if address else "")
