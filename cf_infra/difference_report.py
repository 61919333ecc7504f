"""A difference for people: text for a terminal of 80 columns without colour, and Markdown for a pull request.

Made from the JSON form (Difference.as_json with what the two sides are called), so that the three cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from cf_infra.diagnostics import MOST_NAMED, printable
from cf_infra.difference import HOW, NEVER
from cf_infra.report import code
from cf_infra.terminal import WIDTH, wrapped

JSON: TypeAlias = Mapping[str, Any]
SHOWN_AT_MOST = 100
"""Rows of each part that Markdown shows; text and JSON have all."""
SIGNS = {"added": "+", "changed": "~", "removed": "-"}
HAVE = ("gains", "loses", "otherwise")
"""What becomes of what people have."""
LONGEST = 300
"""Characters of a value that are shown; JSON has all of it."""


class Line(NamedTuple):
    """One thing to say: its sign, what it is about (a name of the files), and the rest in words."""

    sign: str
    what: str
    words: str
    below: tuple[str, ...] = ()


def verdict(data: JSON) -> str:
    """The first line: what a reviewer needs."""
    counts = {how: len(data["grants"][how]) for how in HOW}
    if not any(counts.values()) and not any(data["effects"].values()):
        return "No change."
    machines = Counter(map(_machine_how, data["effects"]["machines"]))
    money = [more(row) for row in data["effects"]["money"]]
    changed, removed = counts["changed"], counts["removed"]
    parts = [
        f"{counts['added']} {_plural(counts['added'], 'grant')} added, {changed} changed, {removed} removed",
        f"machines: {machines['added']} made, {machines['changed']} changed, {machines['removed']} destroyed",
        ", ".join(f"{text} a month" for text in money if text) or "no known cost changes",
    ]
    unknown = len(data["effects"]["unknown_prices"])
    parts += [f"{unknown} {_plural(unknown, 'price')} unknown"] if unknown else []
    over = [row["stack"] for row in data["effects"]["money"] if ((row["after"] or NO_COST)["left"] or 0) < 0]
    parts += [f"OVER BUDGET: {', '.join(over)}"] if over else []
    return "; ".join(parts) + "."


def terminal(data: JSON) -> str:
    """A difference as text."""
    lines = [
        f"{side_name(data['base'])} -> {side_name(data['head'])}, on {data['today']}",
        *_wrapped("", verdict(data)),
        *text_lines(data),
    ]
    return "\n".join(lines) + "\n"


def text_lines(data: JSON) -> list[str]:
    """What lies between the two sides, part by part, each with its title."""
    lines: list[str] = []
    for title, told in _parts(data):
        if told:
            lines += ["", title]
        for line in told:
            lines += _wrapped(f"  {line.sign} ", printable(": ".join(filter(None, (line.what, line.words)))))
            lines += [row for text in line.below for row in _wrapped("      ", printable(text))]
    return lines


def markdown(data: JSON) -> str:
    """A difference as Markdown. What comes from files stands in code: neither markup nor HTML, and it calls nobody."""
    head = f"### {code(side_name(data['base']))} to {code(side_name(data['head']))}, on {data['today']}"
    lines = [head, "", f"**{verdict(data)}**", "", *sections(data, SHOWN_AT_MOST)]
    return "\n".join(lines).rstrip() + "\n"


def sections(data: JSON, most: int | None) -> list[str]:
    """What lies between the two sides as Markdown's lines: at most so many rows of each part."""
    lines: list[str] = []
    for title, told in _parts(data):
        if not told:
            continue
        shown = told[:most]
        lines += [f"#### {title}", ""]
        for line in shown:
            words = f": {code(line.words)}" if line.words else ""
            lines += [
                f"- {code(line.sign)} {code(line.what)}{words}",
                *(f"  - {code(text)}" for text in line.below),
            ]
        if len(told) > len(shown):
            lines += [f"- and {len(told) - len(shown)} more, which `--format json` has"]
        lines += [""]
    return lines


def side_name(row: JSON) -> str:
    """What a side is called, with the beginning of its commit."""
    name, commit = printable(row["name"]), row["commit"] or ""
    if name == commit:
        return str(commit[:12])
    return f"{name} ({commit[:12]})" if commit else name


def _parts(data: JSON) -> Iterator[tuple[str, Sequence[Line]]]:
    effects = data["effects"]
    yield "Grants", list(_grants(effects))
    yield "Machines", [_machine(row) for row in effects["machines"]]
    yield "Access", [_access(row) for row in effects["access"]]
    yield "People", [line for row in together(effects["people"], HAVE) for line in _person(row)]
    yield "Lists of people", [line for row in effects["lists"] for line in _list(row)]
    yield "Credentials", [_credential(row) for row in effects["credentials"]]
    yield "Free on hosts", [host(row) for row in effects["capacity"]]
    yield "Money in a month", [*map(money, effects["money"]), *map(_unknown, effects["unknown_prices"])]
    yield "Ends", [_end(row) for row in effects["ends"]]
    yield "Stack files", [_stack(row) for row in effects["stacks"]]


# -------------------------------------------------------------------------------------------------- grants


def _grants(effects: JSON) -> Iterator[Line]:
    """Each grant with what it does; the parts below have the same by place and by person."""
    machines, access, people = (
        _by_grant(effects["machines"], lambda row: row["grants"]),
        _by_grant(effects["access"], lambda row: row["grants"]),
        _by_grant(effects["people"], lambda row: [*row["gains"], *row["loses"], *row["otherwise"]]),
    )
    for row in effects["grants"]:
        key = row["key"]
        below = [field(one) for one in row["fields"]]
        below += [f"{sign} {_said(e)}" for side, sign in (("before", "-"), ("after", "+")) for e in row[side]]
        found = Counter(how for how in map(_machine_how, machines.get(key, ())) if how in HOW)
        below += (
            [f"machines: {', '.join(f'{found[how]} {how}' for how in HOW if found[how])}"] if found else []
        )
        below += [f"month: {text}" for text in _months(machines.get(key, ()))]
        below += [f"{one['what']} {one['name']}: {_became(one)}" for one in access.get(key, ())]
        below += [text for how in HAVE for text in _whom(people.get(key, ()), key, how)]
        if key not in machines and key not in access and key not in people:
            below.append("nobody gains or loses anything on this day")
        yield Line(SIGNS[row["change"]], key, "", tuple(below))


def _by_grant(rows: Iterable[JSON], keys: Any) -> dict[str, list[JSON]]:
    found: dict[str, list[JSON]] = {}
    for row in rows:
        for key in keys(row):
            found.setdefault(key, []).append(row)
    return found


def field(row: JSON) -> str:
    """What became of one field of an entry or a stack file."""
    return f"{row['field']}: {_value(row['before'])} -> {_value(row['after'])}"


def _said(entry: JSON) -> str:
    return (
        "; ".join(f"{name} {_value(value)}" for name, value in entry.items() if name != "resource")
        or "no words"
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(item)}" for key, item in value.items()) + "}"
    text = (
        ", ".join(map(_value, value))
        if isinstance(value, list)
        else "nothing"
        if value is None
        else str(value)
    )
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]}...") or "nothing"


def _months(rows: Iterable[JSON]) -> Iterator[str]:
    sums: Counter[str] = Counter()
    unknown = 0
    for row in rows:
        for side, sign in (("before", -1), ("after", 1)):
            month = row[side] and row[side]["monthly"]
            if month:
                sums[month["currency"]] += sign * month["amount"]
            unknown += sign if row[side] and not month else 0
    yield from (f"{amount:+,.2f} {currency}" for currency, amount in sorted(sums.items()))
    if unknown:
        yield f"{unknown:+d} {_plural(abs(unknown), 'machine')} whose price is unknown"


def _whom(rows: Iterable[JSON], key: str, how: str) -> Iterator[str]:
    names = list(map(who, together([row for row in rows if key in row[how]], ())))
    if names:
        words = {"gains": "gain", "loses": "lose", "otherwise": "under other conditions"}[how]
        yield f"{words}: {some(names)}"


def together(rows: Iterable[JSON], same: Sequence[str]) -> Iterator[JSON]:
    """Roles, and teams, in one row where they have the same in `same`; every other row as it is."""
    found: dict[object, list[JSON]] = {}
    for number, row in enumerate(rows):
        group = row["who"] in ("role", "team")
        found.setdefault((row["who"], *(tuple(row[name]) for name in same)) if group else number, []).append(
            row
        )
    for alike in found.values():
        yield {**alike[0], "name": " or ".join(row["name"] for row in alike)}


def who(row: JSON) -> str:
    """Whom a row of people means."""
    people = row["people"]["after"] or row["people"]["before"]
    count = f" ({len(people)} {_plural(len(people), 'person', 'people')})" if row["who"] == "terms" else ""
    words = {
        "user": "",
        "terms": "people of the terms ",
        "list": "people listed at ",
        "role": "everybody with the role ",
        "team": "everybody in the team ",
    }
    return f"{words[row['who']]}{row['name']}{count}"


# --------------------------------------------------------------------------------------------- each effect


def _how(row: JSON) -> str:
    return "added" if row["before"] is None else "removed" if row["after"] is None else "changed"


def _became(row: JSON) -> str:
    """What became of a repository's access to a place; a runner group or a selection has no conditions."""
    before, after = (" | ".join(row[side] or ()) for side in ("before", "after"))
    if row["before"] is None:
        return f"gained{', ' + after if after else ''}"
    return f"lost{', ' + before if before else ''}" if row["after"] is None else f"{before} -> {after}"


def _access(row: JSON) -> Line:
    return Line(SIGNS[_how(row)], f"{row['what']} {row['name']}", f"{row['repository']} {_became(row)}")


def _machine(row: JSON) -> Line:
    sides = [row[side] for side in ("before", "after") if row[side] is not None]
    told = [_made(one) for one in sides]
    if _machine_how(row) == "priced":
        told = [f"the same machine, {_cost(sides[0])}", _cost(sides[1])]
    return Line(SIGNS[_how(row)], f"{row['stack']}: {row['machine']}", " -> ".join(told))


def _machine_how(row: JSON) -> str:
    before, after = row["before"], row["after"]
    return "priced" if before and after and before["what"] == after["what"] else _how(row)


def _made(one: JSON) -> str:
    return f"{one['what']}, {_cost(one)}"


def _cost(one: JSON) -> str:
    month = one["monthly"]
    return f"{month['amount']:,.2f} {month['currency']} a month" if month else "price unknown"


def _person(row: JSON) -> Iterator[Line]:
    words = (("gains", "+", ""), ("loses", "-", ""), ("otherwise", "~", "under other conditions: "))
    for how, sign, before in words:
        if row[how]:
            people = row["people"]["before" if how == "loses" else "after"]
            below = (f"these are {some(people)}",) if people else ()
            yield Line(sign, who(row), before + some(row[how]), below)


def _list(row: JSON) -> Iterator[Line]:
    for how in HOW:
        if row[how]:
            yield Line(SIGNS[how], f"users/{row['list']}.json", some(row[how]))


def _credential(row: JSON) -> Line:
    before, after = row["before"], row["after"]
    if before is not None and after is not None:
        names = sorted(n for n in {*before, *after} if before.get(n) != after.get(n))
        told = "; ".join(f"{n} {_value(before.get(n))} -> {_value(after.get(n))}" for n in names)
    else:
        one = after or before
        told = f"{one['kind']}, generation {_value(one['generations'])}, delivered to {_value(one['sinks'])}"
    return Line(SIGNS[_how(row)], f"{row['stack']}/{row['name']}", told)


def host(row: JSON) -> Line:
    """What is free on a host, before and after."""
    before, after = row["before"], row["after"]
    names = (
        ("gpus", "GPU groups", 1),
        ("vcpus", "vCPUs", 1),
        ("memory_mib", "GiB", 1024),
        ("disk_gib", "GiB of disk", 1),
    )
    told = []
    for name, words, unit in names:
        sides = [
            f"{one['free'][name] // unit:,} of {one['total'][name] // unit:,}"
            for one in (before, after)
            if one
        ]
        told += [f"{' -> '.join(dict.fromkeys(sides))} {words}"] if (after or before)["total"][name] else []
    return Line(SIGNS[_how(row)], f"{row['stack']}/{row['host']}", ", ".join(told))


NO_COST: JSON = {"fixed": 0.0, "on_demand_at_most": 0.0, "budget": None, "left": None}


def money(row: JSON) -> Line:
    """What a stack costs in a month, before and after."""
    before, after = row["before"] or NO_COST, row["after"] or NO_COST
    told = f"{before['fixed']:,.2f} -> {after['fixed']:,.2f} {row['currency']} for machines that run all the time"
    jobs = [_limit(one["on_demand_at_most"]) for one in (before, after)]
    told += f"; jobs cost at most {' -> '.join(dict.fromkeys(jobs))}" if jobs != ["0.00", "0.00"] else ""
    left = [_budget(one) for one in (before, after)]
    told += (
        f"; left of the budget: {' -> '.join(dict.fromkeys(left))}" if left != [_budget(NO_COST)] * 2 else ""
    )
    return Line(SIGNS[_how(row)], row["stack"], told)


def _limit(amount: float | None) -> str:
    return "without a limit" if amount is None else f"{amount:,.2f}"


def _budget(cost: JSON) -> str:
    return "no budget" if cost["budget"] is None else f"{cost['left']:,.2f} of {cost['budget']:,.2f}"


def more(row: JSON) -> str:
    """What a month costs more or less, of what is certain to be paid."""
    amount = (row["after"] or NO_COST)["fixed"] - (row["before"] or NO_COST)["fixed"]
    return f"{amount:+,.2f} {row['currency']}" if round(amount, 2) else ""


def _unknown(row: JSON) -> Line:
    sides = [_count(row[side]) for side in ("before", "after")]
    return Line(SIGNS[_how(row)], f"{row['stack']}: {row['class']}", f"price unknown: {' -> '.join(sides)}")


def _count(side: JSON | None) -> str:
    if side is None:
        return "no machines"
    number = side["machines"]
    return "machines without a limit" if number is None else f"{number} {_plural(number, 'machine')}"


def _end(row: JSON) -> Line:
    before, after = (_day(row[side]) for side in ("before", "after"))
    if row["before"] is None or row["after"] is None:
        return Line(SIGNS[_how(row)], row["grant"], after if row["before"] is None else before)
    return Line("~", row["grant"], f"{before} -> {after}")


def _day(day: str | None) -> str:
    return "without an end" if day == NEVER else str(day)


def _stack(row: JSON) -> Line:
    return Line(SIGNS[row["change"]], f"{row['stack']}.yaml", "", tuple(map(field, row["fields"])))


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _plural(count: int, one: str, many: str = "") -> str:
    return one if count == 1 else many or f"{one}s"


@lru_cache(maxsize=1 << 12)
def _wrapped(first: str, text: str) -> tuple[str, ...]:
    """The text in lines of a terminal; much of it comes again and again."""
    whole = first + " ".join(text.split())
    if len(whole) <= WIDTH:
        return (whole.rstrip(),)
    return tuple(wrapped(text, first, " " * (len(first) + 2)))
