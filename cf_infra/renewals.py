"""Asking the maintainers of a feedstock whether a grant that ends soon is still needed: whom, when, and in which words.

The issue in the feedstock's own repository is the memory: its first line, which nobody sees, names the pairs that were
asked about and the ends that were known then. So each end is asked about once, whoever runs this, and from where.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from urllib.parse import urlencode

from cf_infra import issue_form
from cf_infra.catalog import catalog
from cf_infra.chain import quote
from cf_infra.model import Inventory, Key
from cf_infra.resolve import has_access, key_of

MARKER = "cf-infra renewal:"
_FIRST = re.compile(rf"<!-- {MARKER}((?: [^\s=<>]+=[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})*) -->")
TITLE = "Is the access to donated machines still needed?"
SUFFIX = "-feedstock"


class Do(StrEnum):
    """What is done about one repository."""

    ASK = "ask"
    """Open an issue."""
    ADD = "add"
    """Say in the open issue what else ends."""
    TIDY = "tidy"
    """Take out of the open issue what is settled."""
    CLOSE = "close"
    """Everything that it asks is settled."""
    NOTHING = "nothing"


@dataclass(frozen=True)
class Asked:
    """An issue of ours: what it asked about, each with the end that was known then."""

    number: int
    is_open: bool
    pairs: Mapping[Key, date]


@dataclass(frozen=True)
class Action:
    """What is done about one repository. `pairs`: what the issue asks about then; `new`: what of it is new."""

    repository: str
    do: Do
    number: int | None = None
    pairs: Mapping[Key, date] = field(default_factory=dict)
    new: tuple[Key, ...] = ()
    settled: Mapping[Key, str] = field(default_factory=dict)
    duplicates: tuple[int, ...] = ()

    @property
    def first_end(self) -> date:
        """The first of the ends."""
        return min(self.pairs.values(), default=date.max)


# -------------------------------------------------------------------------------------------- what ends when


def lasts(inventory: Inventory, today: date) -> dict[str, dict[Key, date | None]]:
    """By repository, the pairs that have access, and the first day on which no entry gives it (None: never)."""
    offers = catalog(inventory.stacks)
    found: dict[str, dict[Key, date | None]] = {}
    for grant in inventory.grants.values():
        if not has_access(grant, today):
            continue
        own = found.setdefault(grant.repository, {})
        for resource in grant.resources:
            key = key_of(grant, resource, offers)
            known = own.get(key, date.min)
            own[key] = None if known is None or grant.expires is None else max(known, grant.expires)
    return found


def dated(inventory: Inventory) -> list[str]:
    """The repositories that have, or had, a grant with an end: those that may have been asked."""
    return sorted({grant.repository for grant in inventory.grants.values() if grant.expires is not None})


def ending(pairs: Mapping[Key, date | None], today: date, days: int) -> dict[Key, date]:
    """The pairs that end within so many days."""
    last = today + timedelta(days=days)
    return {key: end for key, end in pairs.items() if end is not None and end <= last}


# ------------------------------------------------------------------------------------------------- the decision


def decide(
    repository: str, pairs: Mapping[Key, date | None], issues: Iterable[Asked], today: date, days: int
) -> Action:
    """What is done about one repository; `issues` are ours, oldest first."""
    known = list(issues)
    asked = {(key, end) for one in known for key, end in one.pairs.items()}
    soon = ending(pairs, today, days)
    new = {key: end for key, end in soon.items() if (key, end) not in asked}
    opened = [one for one in known if one.is_open]
    if not opened:
        return Action(repository, Do.ASK if new else Do.NOTHING, None, new, tuple(new))
    first, *others = opened
    mine = {key: end for one in opened for key, end in one.pairs.items()}
    settled = {key: why for key, end in mine.items() if (why := _settled(pairs, key, end, today))}
    wanted = {**{key: end for key, end in mine.items() if key not in settled}, **new}
    do = Do.CLOSE if not wanted else Do.ADD if new else Do.TIDY
    if do is Do.TIDY and dict(first.pairs) == wanted and not others:
        do = Do.NOTHING
    return Action(
        repository, do, first.number, wanted, tuple(new), settled, tuple(one.number for one in others)
    )


def _settled(pairs: Mapping[Key, date | None], key: Key, end: date, today: date) -> str:
    """Why nobody has to be asked about a pair any more; empty if somebody has."""
    if key not in pairs:
        return "has ended"
    now = pairs[key]
    if now is None:
        return "has no end any more"
    if now > end:
        return f"is renewed until {now}"
    return "has ended" if now <= today else ""


# ---------------------------------------------------------------------------------------------------- the words


def first_line(pairs: Mapping[Key, date]) -> str:
    """The line that nobody sees: what is asked about."""
    return f"<!-- {MARKER}{''.join(f' {key}={end}' for key, end in sorted(pairs.items()))} -->"


def read(body: str | None) -> dict[Key, date]:
    """What an issue of ours asks about; nothing if its first line is none of ours."""
    found = _FIRST.match(body or "")
    pairs = {}
    for word in found[1].split() if found is not None else ():
        key, _, end = word.rpartition("=")
        try:
            pairs[key] = date.fromisoformat(end)
        except ValueError:
            continue
    return pairs


@dataclass(frozen=True)
class Way:
    """How to renew: where the form is, and what a class is called in it. `form`: empty if nobody knows."""

    form: str
    machines: Mapping[str, str]


def way(inventory: Inventory, web: str, own: str) -> Way:
    """How to renew in the repository `own` of the organisation."""
    where = f"{web}/{inventory.settings.organisation}/{own}/issues/new" if own else ""
    return Way(where, issue_form.machines(inventory))


def body(action: Action, how: Way, operators: Sequence[str]) -> str:
    """The text of the issue."""
    count = len(action.pairs)
    ends = f"{count} grants of this repository end" if count > 1 else "A grant of this repository ends"
    lines = [first_line(action.pairs), f"{ends} soon. Is it still needed?", ""]
    lines += ["| what | first day without access |", "|---|---|"]
    lines += [f"| {quote(key.partition('/')[2])} | {end} |" for key, end in sorted(action.pairs.items())]
    lines += ["", "**To renew it for a year**", "", *_how(action, how, operators)]
    lines += [
        "",
        "**Otherwise nothing has to be done.** From that day on its jobs find no machine there. Somebody can ask again",
        "at any time.",
        "",
        "This issue closes by itself when all of it is renewed or has ended. You will not be asked again.",
        "",
        "<sub>Written by cf-infra.</sub>",
    ]
    return "\n".join(lines) + "\n"


def _how(action: Action, how: Way, operators: Sequence[str]) -> list[str]:
    names = sorted({key.partition("/")[2] for key in action.pairs})
    feedstock = action.repository.removesuffix(SUFFIX)
    is_form = (
        bool(how.form) and action.repository.endswith(SUFFIX) and any(name in how.machines for name in names)
    )
    lines = []
    if is_form:
        lines += ["A maintainer opens this form, says why, and sends it:", ""]
        lines += [f"- [{name}]({_address(how, feedstock, name)})" for name in names if name in how.machines]
    left = [name for name in names if not is_form or name not in how.machines]
    if left:
        who = f"An operator ({', '.join(map(quote, operators[:4]))})" if operators else "An operator"
        lines += [""] * bool(lines) + [
            f"{who} renews {', '.join(map(quote, left))}; answer here that it is needed. Their command:"
        ]
        words = " ".join(left)
        lines += ["", "```sh", f"cf-infra grant renew {feedstock} {words} --for 365d", "```"]
    return lines


def _address(how: Way, feedstock: str, name: str) -> str:
    """The form with its answers filled in, but for the reason and the terms."""
    answers = {
        "template": issue_form.PATH.rpartition("/")[2],
        "title": f"Access: {feedstock}",
        "feedstock": feedstock,
        "machine": how.machines[name],
    }
    return f"{how.form}?{urlencode(answers)}"


def added(action: Action) -> str:
    """The comment that tells what else ends."""
    lines = [f"- {quote(key.partition('/')[2])} ends on {action.pairs[key]}" for key in sorted(action.new)]
    return "\n".join(["This ends soon, too; the text above says how to renew it:", "", *lines]) + "\n"


def closed(action: Action) -> str:
    """The comment with which the issue is closed."""
    lines = [f"- {quote(key.partition('/')[2])} {why}" for key, why in sorted(action.settled.items())]
    return "\n".join(["Nothing is left to ask:", "", *lines]) + "\n"
