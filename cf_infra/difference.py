"""What lies between two folders on a day: grants added, changed, removed, and what that does to everything else.

Pure: two inventories and a day become one frozen value. All that is shown is rendered from its JSON form. Each row
has what was before and what is after, so that the way back is the same with the two exchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar

from cf_infra.model import Inventory, Key, Stack
from cf_infra.side import (
    EXPIRES,
    FIELDS,
    Cost,
    Entry,
    Holdings,
    Made,
    Room,
    Side,
    Who,
    asked,
    leaves,
    rooms,
    side,
)

JSON: TypeAlias = dict[str, Any]
Rows: TypeAlias = tuple[JSON, ...]
NEVER = "never"
"""The end of a grant that has none."""
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Effects:
    """What the changes do, as rows; docs/diff.md has the keys of each."""

    grants: Rows
    access: Rows
    machines: Rows
    people: Rows
    lists: Rows
    credentials: Rows
    capacity: Rows
    money: Rows
    unknown_prices: Rows
    ends: Rows
    stacks: Rows


@dataclass(frozen=True)
class Difference:
    """Two folders compared on a day. `added`, `changed`, `removed` are pairs, sorted."""

    today: date
    added: tuple[Key, ...]
    changed: tuple[Key, ...]
    removed: tuple[Key, ...]
    effects: Effects
    currencies: tuple[str, ...] = ()
    """Those in which prices and budgets of either folder are, whether or not they change."""

    @property
    def is_empty(self) -> bool:
        """Do both mean the same in every respect that is compared?"""
        return not any((self.added, self.changed, self.removed, *vars(self.effects).values()))

    def as_json(self) -> JSON:
        """The form that scripts read, and from which text and Markdown are made."""
        grants = {name: list(getattr(self, name)) for name in ("added", "changed", "removed")}
        effects = {name: list(rows) for name, rows in vars(self.effects).items()}
        return {
            "today": self.today.isoformat(),
            "grants": grants,
            "effects": effects,
            "currencies": list(self.currencies),
        }


def difference(base: Inventory, head: Inventory, today: date) -> Difference:
    """What `head` changes of `base`, both on `today`. Expects inventories without errors."""
    one, other = side(base, head, today), side(head, base, today)
    grants = [
        {**_grant(key, a, b), "gives": {"before": one.gives.get(key), "after": other.gives.get(key)}}
        for key, a, b in _both(one.entries, other.entries)
    ]
    effects = Effects(
        grants=tuple(grants),
        access=tuple(_access(one, other)),
        machines=tuple(_machines(one, other)),
        people=tuple(_people(one, other)),
        lists=tuple(_lists(one, other)),
        credentials=tuple(_named(_both(one.credentials, other.credentials), ("stack", "name"))),
        capacity=tuple(_capacity(one, other)),
        money=tuple(_money(one, other)),
        unknown_prices=tuple(_unknown(one, other)),
        ends=tuple(_ends(one, other)),
        stacks=tuple(_stacks(one.stacks, other.stacks)),
    )
    keys = {how: tuple(row["key"] for row in grants if row["change"] == how) for how in HOW}
    currencies = sorted({currency for s in (one, other) for _, currency in s.costs})
    return Difference(today, keys["added"], keys["changed"], keys["removed"], effects, tuple(currencies))


HOW = ("added", "changed", "removed")


def _how(before: object, after: object) -> str:
    return "added" if before is None else "removed" if after is None else "changed"


def _both(one: Mapping[K, V], other: Mapping[K, V]) -> Iterator[tuple[K, V | None, V | None]]:
    """What differs, by key in order; None where a side has nothing."""
    for key in sorted({*one, *other}, key=_order):
        before, after = one.get(key), other.get(key)
        if before != after:
            yield key, before, after


def _order(key: object) -> Any:
    return key if isinstance(key, (str, tuple)) else str(key)


def _named(found: Iterable[tuple[tuple[str, str], Any, Any]], names: tuple[str, str]) -> Iterator[JSON]:
    for key, before, after in found:
        yield {**dict(zip(names, key, strict=True)), "before": before, "after": after}


# -------------------------------------------------------------------------------------------------- grants


def _grant(key: Key, before: tuple[Entry, ...] | None, after: tuple[Entry, ...] | None) -> JSON:
    """One pair: fields where one entry became another, else the entries that went and came as a whole."""
    gone = [entry for entry in before or () if entry not in (after or ())]
    come = [entry for entry in after or () if entry not in (before or ())]
    row: JSON = {"key": key, "change": _how(before, after), "fields": [], "before": [], "after": []}
    if len(gone) == len(come) == 1:
        return {**row, "fields": list(_fields(gone[0], come[0]))}
    return {**row, "before": [_said(entry) for entry in gone], "after": [_said(entry) for entry in come]}


def _fields(one: Entry, other: Entry) -> Iterator[JSON]:
    for name, before, after in zip(FIELDS, one, other, strict=True):
        if before != after:
            yield {"field": name, "before": _plain(before), "after": _plain(after)}


def _said(entry: Entry) -> JSON:
    said = dict(zip(FIELDS, map(_plain, entry), strict=True))
    return {name: value for name, value in said.items() if value not in (None, [], False)}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (tuple, frozenset)) else value


def _ends(one: Side, other: Side) -> Iterator[JSON]:
    """The first days without access, of those that have another one now."""
    found = ({key: _end(entries) for key, entries in s.entries.items()} for s in (one, other))
    for key, before, after in _both(*found):
        yield {"grant": key, "before": before, "after": after}


def _end(entries: tuple[Entry, ...]) -> str:
    days = [str(entry[EXPIRES]) for entry in entries if entry[EXPIRES] is not None]
    return max(days) if len(days) == len(entries) else NEVER


# -------------------------------------------------------------------------------------- access and machines


def _access(one: Side, other: Side) -> Iterator[JSON]:
    for (place, repository), before, after in _both(one.access, other.access):
        under = [None if s is None else sorted(s.conditions) for s in (before, after)]
        if under[0] == under[1]:
            continue  # the same by another of the repository's grants
        keys = {key for s in (before, after) if s is not None for key in s.grants}
        yield {"what": place[0], "name": place[1], "repository": repository, "grants": sorted(keys),
               "before": under[0], "after": under[1]}  # fmt: skip


def _machines(one: Side, other: Side) -> Iterator[JSON]:
    for (stack, address), before, after in _both(one.machines, other.machines):
        told = [None if m is None else {"what": m.what, "monthly": _month(m)} for m in (before, after)]
        if told[0] == told[1]:
            continue  # a pool's machine that serves others now
        grants = sorted({key for m in (before, after) if m is not None for key in m.grants})
        yield {"stack": stack, "machine": address, "grants": grants, "before": told[0], "after": told[1]}


def _month(machine: Made) -> JSON | None:
    if machine.monthly is None:
        return None
    return {"amount": _rounded(machine.monthly[0]), "currency": machine.monthly[1]}


def _rounded(amount: Decimal | None) -> float | None:
    return None if amount is None else round(float(amount), 2)


# -------------------------------------------------------------------------------------------------- people


def _people(one: Side, other: Side) -> Iterator[JSON]:
    """Who gains or loses anything: single people only where it is not said of all people of some terms."""
    sides = (one, other)
    for who in sorted({*one.holdings, *other.holdings}):
        if who[0] != "user":
            yield from _row(who[0], who[1], who, one, other)
    named = {who[1] for who, _, _ in _both(one.holdings, other.holdings) if who[0] == "user"}
    none: frozenset[str] = frozenset()
    for name in {*one.members, *other.members}:
        named |= one.members.get(name, none) ^ other.members.get(name, none)
    names = {**one.names, **other.names}
    rows = [(names[person], person) for person in named]
    for login, person in sorted(rows):
        before, after = (_of_person(s, person) for s in sides)
        yield from _compared(
            {"who": "user", "name": login, "people": {"before": [], "after": []}}, before, after
        )


def _of_person(s: Side, person: str) -> Holdings:
    """All that one person has, by name and by every list that they are on."""
    found = dict(s.holdings.get(("user", person), {}))
    for terms, people in s.members.items():
        if person in people:
            for key, words in s.holdings.get(("terms", terms), {}).items():
                found[key] = found.get(key, frozenset()) | words
    return found


def _row(what: str, name: str, who: Who, one: Side, other: Side) -> Iterator[JSON]:
    people = [sorted(s.names[p] for p in s.members.get(name, ()) if what == "terms") for s in (one, other)]
    head = {"who": what, "name": name, "people": {"before": people[0], "after": people[1]}}
    yield from _compared(head, one.holdings.get(who, {}), other.holdings.get(who, {}))


def _compared(head: JSON, before: Holdings, after: Holdings) -> Iterator[JSON]:
    gains, loses = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    otherwise = sorted(key for key, words in before.items() if after.get(key, words) != words)
    if gains or loses or otherwise:
        yield {**head, "gains": gains, "loses": loses, "otherwise": otherwise}


def _lists(one: Side, other: Side) -> Iterator[JSON]:
    """The people of users/*.json, whether or not a grant needs them."""
    for name, before, after in _both(one.lists, other.lists):
        found: dict[str, list[str]] = {how: [] for how in HOW}
        for person, was, now in _both(before or {}, after or {}):
            names = other.names if now is not None else one.names
            found[_how(was, now)].append(names[person])
        yield {"list": name, **{how: sorted(people) for how, people in found.items()}}


# -------------------------------------------------------------------------------------- capacity and money


def _capacity(one: Side, other: Side) -> Iterator[JSON]:
    """Hosts whose room changes. Where the same is asked of the same hosts, its order alone changes nothing."""
    for stack in sorted({*one.stacks, *other.stacks}):
        if asked(one, stack) != asked(other, stack):
            for host, before, after in _both(rooms(one, stack), rooms(other, stack)):
                yield {"stack": stack, "host": host, "before": _room(before), "after": _room(after)}


def _room(room: Room | None) -> JSON | None:
    return None if room is None else {"total": asdict(room.total), "free": asdict(room.left)}


def _money(one: Side, other: Side) -> Iterator[JSON]:
    for (stack, currency), before, after in _both(one.costs, other.costs):
        yield {"stack": stack, "currency": currency, "before": _cost(before), "after": _cost(after)}


def _cost(cost: Cost | None) -> JSON | None:
    """`left` of the budget is what machines that always run leave of it; what jobs use comes on top."""
    if cost is None:
        return None
    left = None if cost.budget is None else cost.budget - cost.fixed
    return {"fixed": _rounded(cost.fixed), "on_demand_at_most": _rounded(cost.at_most),
            "budget": _rounded(cost.budget), "left": _rounded(left)}  # fmt: skip


def _unknown(one: Side, other: Side) -> Iterator[JSON]:
    """Classes without a price. `machines`: how many there are, or may be at a time; null: nobody limits them."""
    found = ({key: (number,) for key, number in s.unknown.items()} for s in (one, other))
    for (stack, runner_class), before, after in _both(*found):
        counts = [None if n is None else {"machines": n[0]} for n in (before, after)]
        yield {"stack": stack, "class": runner_class, "before": counts[0], "after": counts[1]}


# -------------------------------------------------------------------------------------------------- stacks


def _stacks(one: Mapping[str, Stack], other: Mapping[str, Stack]) -> Iterator[JSON]:
    """Stack files that say something else, key by key; an added or removed one is named as a whole."""
    for name, before, after in _both(one, other):
        fields: list[JSON] = []
        if before is not None and after is not None:
            fields = list(_keys(before, after))
            if not fields:
                continue  # the same in another order
        yield {"stack": name, "change": _how(before, after), "fields": fields}


def _keys(before: Stack, after: Stack) -> Iterator[JSON]:
    values = (dict(leaves(s.model_dump(mode="json", exclude_none=True))) for s in (before, after))
    for field, was, now in _both(*values):
        yield {"field": field, "before": was, "after": now}
