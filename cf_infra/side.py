"""One side of a difference: what a folder's files mean on a day, laid out so that two of them can be compared.

Nothing here depends on the order of entries, keys or names in a list, nor on how they are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, TypeAlias

from cf_infra import capacity
from cf_infra.capacity import Demand, Shape
from cf_infra.catalog import Catalog, Offered
from cf_infra.model import Grant, Inventory, Key, Kind, Mode, Offer, Price, Stack, User, Via
from cf_infra.people import terms_of, with_access
from cf_infra.resolve import Access, Resolved, ResolvedStack, demands, followers, key_of, resolve

HOURS_A_MONTH = 730
"""Hours of a month, as clouds reckon prices of machines that run all the time (8,760 hours a year)."""
FIELDS = (
    "resource", "reason", "request", "requested_by", "approved_by", "granted", "expires", "pull_requests", "roles",
    "teams", "users", "terms", "terms_url", "stack", "count", "id", "imported",
)  # fmt: skip
"""What an entry says of one pair, in the order of Entry."""
EXPIRES = FIELDS.index("expires")
GIVEN = ("GPU", "machine", "app")
"""What a grant can give, the greatest first."""

Value: TypeAlias = str | int | bool | tuple[str, ...] | None
Entry: TypeAlias = tuple[Value, ...]
Place: TypeAlias = tuple[str, str]
"""Where access is: ("label", NAME) of Cirun, ("drone", STACK/CLASS), ("runner group", NAME), ..."""
Who: TypeAlias = tuple[str, str]
"""("user", person), ("terms", NAME), ("list", URL), ("role", NAME) or ("team", NAME)."""
Holdings: TypeAlias = dict[Key, frozenset[str]]
"""By pair the further conditions under which somebody has it, in words."""


@dataclass(frozen=True, slots=True)
class Made:
    """A machine: what it is, what it costs in a month (None: nobody said), and whom it serves."""

    what: str
    monthly: tuple[Decimal, str] | None
    grants: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A repository's access to a place: the pairs that it comes from, and under which conditions."""

    grants: frozenset[Key]
    conditions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Room:
    """A host: what it can give, and what is left beside pools and dedicated machines."""

    total: Shape
    left: Shape


@dataclass(frozen=True, slots=True)
class Cost:
    """A stack's month in one currency. `at_most`: on-demand machines all the time; None: nobody limits them."""

    fixed: Decimal
    at_most: Decimal | None
    budget: Decimal | None


@dataclass(frozen=True)
class Side:
    """A folder on a day; see the functions that fill it."""

    entries: dict[Key, tuple[Entry, ...]]
    gives: dict[Key, str]
    machines: dict[tuple[str, str], Made]
    access: dict[tuple[Place, str], Opened]
    credentials: dict[tuple[str, str], dict[str, Any]]
    wanted: dict[str, list[Demand]]
    costs: dict[tuple[str, str], Cost]
    unknown: dict[tuple[str, str], int | None]
    holdings: dict[Who, Holdings]
    members: dict[str, frozenset[str]]
    lists: dict[str, dict[str, tuple[object, ...]]]
    names: dict[str, str]
    stacks: dict[str, Stack]


def side(inventory: Inventory, other: Inventory, today: date) -> Side:
    """What `inventory` means on `today`. Expects one without errors; of `other` only people's ids are taken."""
    resolved = resolve(inventory, today)
    persons = _Persons(inventory, other)
    members = _members(inventory, persons, today)
    costs, unknown = _costs(resolved)
    return Side(
        entries=_entries(inventory, resolved.catalog),
        gives=_gives(inventory, resolved.catalog),
        machines=_machines(resolved),
        access=_access(resolved, inventory, members),
        credentials=_credentials(resolved),
        wanted=demands(inventory, resolved.catalog, today),
        costs=costs,
        unknown=unknown,
        holdings=_holdings(resolved, persons),
        members=members,
        lists={n: {persons.of(u): _facts(u) for u in f.users} for n, f in inventory.users.items()},
        names=persons.names,
        stacks=inventory.stacks,
    )


# -------------------------------------------------------------------------------------------------- grants


def _entries(inventory: Inventory, offers: Catalog) -> dict[Key, tuple[Entry, ...]]:
    """By pair what its entries say. An imported entry without resources gives nothing: its key is `repository/`."""
    found: dict[Key, list[Entry]] = {}
    for grant in inventory.grants.values():
        said = _said(grant)
        for resource in grant.resources:
            entry = (_written(resource, grant.stack, offers), *said)
            found.setdefault(key_of(grant, resource, offers), []).append(entry)
        if not grant.resources:
            found.setdefault(f"{grant.repository}/", []).append((None, *said))
    return {key: tuple(sorted(rows, key=repr)) for key, rows in found.items()}


def _gives(inventory: Inventory, offers: Catalog) -> dict[Key, str]:
    """By pair what jobs get: a `GPU`, a `machine` without one, an `app`; `nothing` where nobody offers it.

    Where several offers are meant, the greatest counts.
    """
    stacks = inventory.stacks

    @cache
    def of(resource: str, stack: str | None) -> str:
        kinds = {_kind(stacks[o.stack], o.offer) for o in offers.offers(resource, stack)}
        return next((kind for kind in GIVEN if kind in kinds), "nothing")

    found: dict[Key, str] = {}
    for grant in inventory.grants.values():
        for resource in grant.resources:
            key, kind = key_of(grant, resource, offers), of(resource, grant.stack)
            found[key] = min(found.get(key, kind), kind, key=(*GIVEN, "nothing").index)
    return found


def _kind(stack: Stack, offer: Offer) -> str:
    if offer.via is Via.APP:
        return "app"
    size = capacity.shape(stack, offer)
    return "GPU" if size is not None and size.gpus else "machine"


def _written(resource: str, stack: str | None, offers: Catalog) -> str:
    """The class for a label that means the same; a label that means less than its class stays what it is."""
    known = offers.canonical(resource)
    return known if offers.offers(resource, stack) == offers.offers(known, stack) else resource


def _said(grant: Grant) -> Entry:
    """All that an entry says beside repository and resource; that a number is one need not be written."""
    return (
        grant.reason, grant.request, grant.requested_by, tuple(sorted(grant.approved_by)), _day(grant.granted),
        _day(grant.expires), grant.pull_requests, tuple(sorted(grant.roles)), tuple(sorted(grant.teams)),
        tuple(sorted(grant.users)), grant.terms, grant.terms_url, grant.stack, grant.count or 1, grant.id,
        grant.imported,
    )  # fmt: skip


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


# ------------------------------------------------------------------------------------------------ machines


def _machines(resolved: Resolved) -> dict[tuple[str, str], Made]:
    found = {}
    for name, stack in resolved.stacks.items():
        told = {one: (_what(stack, one), monthly(use.offer.price)) for one, use in stack.uses.items()}
        for address, machine in stack.machines.items():
            what, price = told[machine.runner_class]
            found[name, address] = Made(what, price, tuple(sorted(machine.grants)))
    return found


def _what(stack: ResolvedStack, runner_class: str) -> str:
    use = stack.uses[runner_class]
    size = capacity.words(use.shape) if use.shape is not None else f"flavor {use.offer.flavor}"
    return f"{runner_class}: {size}, image {use.offer.image}"


# -------------------------------------------------------------------------------------------------- access


@lru_cache(maxsize=1 << 12)
def _words(
    roles: tuple[str, ...],
    teams: tuple[str, ...],
    users: tuple[str, ...],
    terms: str | None,
    url: str | None,
    pulls: bool,
) -> str:
    rows = (("roles", roles), ("teams", teams), ("users", users), ("terms", (terms,) if terms else ()),
            ("list", (url,) if url else ()))  # fmt: skip
    said = [f"{name} {', '.join(values)}" for name, values in rows if values]
    return "; ".join([*said, "jobs of pull requests" if pulls else "no jobs of pull requests"])


def conditions(grant: Grant) -> str:
    """Who may start jobs, in words; equal ones have equal words."""
    roles, teams, users = (tuple(sorted(names)) for names in (grant.roles, grant.teams, grant.users))
    return _words(roles, teams, users, grant.terms, grant.terms_url, grant.pull_requests)


def _access(
    resolved: Resolved, inventory: Inventory, members: Mapping[str, frozenset[str]]
) -> dict[tuple[Place, str], Opened]:
    """Every place's repositories: labels of Cirun, offers that are reached otherwise, what follows at GitHub."""
    found: dict[tuple[Place, str], tuple[set[Key], set[str]]] = {}
    following = _following(inventory, resolved.catalog)
    for access in resolved.access:
        grant, words = access.grant, conditions(access.grant)
        for what, name in _places(access, resolved.catalog):
            if what == "label" and _is_empty(grant, members):
                continue
            keys, under = found.setdefault(((what, name), grant.repository), (set(), set()))
            keys.add(access.key)
            under.add(words)
        for place in following.get(resolved.catalog.canonical(access.resource), ()):
            found.setdefault((place, grant.repository), (set(), set()))[0].add(access.key)
    return {where: Opened(frozenset(keys), frozenset(under)) for where, (keys, under) in found.items()}


def _places(access: Access, offers: Catalog) -> Iterator[Place]:
    found = offers.offers(access.resource, access.grant.stack)
    if not found:
        yield "label", access.resource  # imported, and offered by nobody we know: listed as it is
    for offered in found:
        yield from _place(offered)


def _place(offered: Offered) -> Iterator[Place]:
    if offered.offer.via is not Via.CIRUN:
        yield offered.offer.via.value, f"{offered.stack}/{offered.runner_class}"
    elif offered.offer.label is not None:
        yield "label", offered.offer.label


def _following(inventory: Inventory, offers: Catalog) -> dict[str, list[Place]]:
    """By class or label the runner groups, secrets and variables whose repositories follow its grants."""
    found: dict[str, list[Place]] = {}
    for _, stack in sorted(inventory.stacks.items()):
        for sort, name, resources in followers(stack):
            for resource in sorted({offers.canonical(one) for one in resources}):
                found.setdefault(resource, []).append((sort, name))
    return found


def _is_empty(grant: Grant, members: Mapping[str, frozenset[str]]) -> bool:
    """Is nobody left of a grant's people? Then Cirun's list has no policy of it (access.export_access)."""
    return (
        grant.terms is not None and not grant.users and not grant.terms_url and members.get(grant.terms) == frozenset()
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------- people


class _Persons:
    """Who is who on both sides: the id of a users file where one of them has the login, else the login itself."""

    def __init__(self, inventory: Inventory, other: Inventory) -> None:
        own = _ids(inventory)
        self._ids = {**_ids(other), **own}
        self.names: dict[str, str] = {}
        for file in inventory.users.values():
            self.names |= {f"#{user.id}": user.github for user in file.users}

    def of(self, user: User) -> str:
        return f"#{user.id}"

    def named(self, login: str) -> str:
        found = self._ids.get(login.lower())
        person = login.lower() if found is None else f"#{found}"
        self.names.setdefault(person, login)
        return person


def _ids(inventory: Inventory) -> dict[str, int]:
    users = [user for _, file in sorted(inventory.users.items()) for user in file.users]
    former = {login.lower(): user.id for user in users for login in user.formerly}
    return {**former, **{user.github.lower(): user.id for user in users}}


def _facts(user: User) -> tuple[object, ...]:
    bot = (user.bot.owner, user.bot.until) if user.bot is not None else None
    return user.github, user.terms, user.accepted, bot, tuple(sorted(user.formerly))


def _members(inventory: Inventory, persons: _Persons, today: date) -> dict[str, frozenset[str]]:
    """By terms those who may start jobs today."""
    return {
        name: frozenset(map(persons.of, with_access(file, terms_of(inventory.stacks, name), today)))
        for name, file in inventory.users.items()
    }


def _holdings(resolved: Resolved, persons: _Persons) -> dict[Who, Holdings]:
    """Who has what today: people by name, by a donor's terms or by a list elsewhere, else by role or team.

    Where people are given, roles and teams are a condition more, and nobody has anything by them alone.
    """
    found: dict[Who, dict[Key, set[str]]] = {}
    for access in resolved.access:
        grant = access.grant
        people: list[Who] = [("user", persons.named(login)) for login in grant.users]
        people += [("list", grant.terms_url)] if grant.terms_url else []
        people += [("terms", grant.terms)] if grant.terms and not grant.terms_url else []
        groups: list[Who] = [("role", r) for r in grant.roles] + [("team", t) for t in grant.teams]
        further = " or ".join(sorted(f"{what} {name}" for what, name in groups)) if people else ""
        for who in people or groups:
            found.setdefault(who, {}).setdefault(access.key, set()).add(further)
    return {who: {key: frozenset(words) for key, words in keys.items()} for who, keys in found.items()}


# --------------------------------------------------------------------------------------------- credentials


def _credentials(resolved: Resolved) -> dict[tuple[str, str], dict[str, Any]]:
    """Each credential as its file has it, with the generation that the calendar asks for today."""
    found = {}
    for name, stack in resolved.stacks.items():
        for login, credential in stack.stack.credentials.items():
            said = credential.model_dump(mode="json", exclude_none=True)
            sinks = sorted(said.pop("deliver"))
            labels = sorted(g.label for g in stack.generations.values() if g.name == login)
            lists = {key: sorted(value, key=repr) for key, value in said.items() if isinstance(value, list)}
            found[name, login] = {**said, **lists, "sinks": sinks, "generations": labels}
    return found


# ------------------------------------------------------------------------------------------------ capacity


def rooms(one: Side, stack: str) -> dict[str, Room]:
    """By host what is left beside pools and dedicated machines, placed as `status` does it; {} without hosts."""
    if not _has_rooms(one, stack):
        return {}
    hosts = one.stacks[stack].hosts
    left = capacity.place(hosts, one.wanted[stack]).left
    return {host.name: Room(capacity.total(host), left[host.name]) for host in hosts}


def asked(one: Side, stack: str) -> object:
    """What a stack's hosts are and what is asked of them, whatever its order: where it is equal, as much is free."""
    if not _has_rooms(one, stack):
        return None
    wanted = one.wanted[stack]
    of_a_class = {id(demand.hosts): demand.hosts for demand in wanted}  # one tuple for all of its machines
    hosts = {number: frozenset(names) for number, names in of_a_class.items()}
    totals = {host.name: capacity.total(host) for host in one.stacks[stack].hosts}
    return totals, Counter((d.runner_class, d.count, d.machine, hosts[id(d.hosts)]) for d in wanted)


def _has_rooms(one: Side, stack: str) -> bool:
    return stack in one.stacks and one.stacks[stack].kind is Kind.OPENSTACK and bool(one.stacks[stack].hosts)


# --------------------------------------------------------------------------------------------------- money


def monthly(price: Price | None) -> tuple[Decimal, str] | None:
    """A price's month in its currency; None where nobody said one."""
    if price is None:
        return None
    amount = Decimal(str(price.amount))
    return (amount * HOURS_A_MONTH if price.per == "hour" else amount), price.currency


def _costs(
    resolved: Resolved,
) -> tuple[dict[tuple[str, str], Cost], dict[tuple[str, str], int | None]]:
    """By stack and currency what a month costs; and by stack and class how many machines have no price."""
    costs, unknown = {}, {}
    for name, stack in resolved.stacks.items():
        counts = Counter(machine.runner_class for machine in stack.machines.values())
        fixed: Counter[str] = Counter()
        at_most: dict[str, Decimal | None] = {}
        for runner_class, use in stack.uses.items():
            ahead = use.offer.mode is not Mode.ON_DEMAND
            number = counts[runner_class] if ahead else use.offer.max
            price = monthly(use.offer.price)
            if price is None:
                unknown[name, runner_class] = number
            elif ahead:
                fixed[price[1]] += price[0] * (number or 0)  # type: ignore[assignment]
            else:
                at_most[price[1]] = _more(at_most.get(price[1], Decimal(0)), price[0], use.offer)
        budget = monthly(stack.stack.donor.budget)
        for currency in {*fixed, *at_most, *([budget[1]] if budget else [])}:
            own = budget[0] if budget is not None and budget[1] == currency else None
            costs[name, currency] = Cost(Decimal(fixed[currency]), at_most.get(currency, Decimal(0)), own)
    return costs, unknown


def _more(known: Decimal | None, price: Decimal, offer: Offer) -> Decimal | None:
    return None if known is None or offer.max is None else known + price * offer.max


# -------------------------------------------------------------------------------------------------- stacks


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[str, Any]]:
    """The values of a stack file by their place; hosts by name, every other list as a set."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, str(key)))
    elif isinstance(value, list) and path == ("hosts",):
        yield from leaves({host["name"]: host for host in value}, path)
    elif value != []:
        yield ".".join(path), sorted(value, key=repr) if isinstance(value, list) else value
