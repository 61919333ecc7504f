"""grants x stacks x today: which machines there are, who has access to what, which credentials live.

Pure: `today` is an argument. What a day changes (grants that begin or end, credentials that turn) is decided
here and nowhere else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from types import MappingProxyType

from cf_infra import capacity
from cf_infra.capacity import Demand, Shape
from cf_infra.catalog import Catalog, Offered, catalog
from cf_infra.credentials import EPOCH, UNKNOWN, Generation, Ledger, live
from cf_infra.model import (
    GithubAccess,
    Grant,
    Inventory,
    Key,
    Kind,
    Mode,
    Offer,
    Stack,
    Via,
)


@dataclass(frozen=True, slots=True)
class Machine:
    """One server that we make: `key` is its address in OpenTofu, `grants` are those whom it serves."""

    key: str
    runner_class: str
    grants: tuple[Key, ...]
    hostname: str


@dataclass(frozen=True, slots=True)
class Access:
    """One entry's access to one resource, as lists of other programs show it."""

    index: int
    grant: Grant
    resource: str
    key: Key


@dataclass(frozen=True, slots=True)
class Use:
    """An offer that somebody may use today, its machine's size and GPU model, and by whom."""

    runner_class: str
    offer: Offer
    shape: Shape | None
    gpu_model: str | None
    grants: tuple[Key, ...]


@dataclass(frozen=True)
class ResolvedStack:
    """Everything that a stack must have today."""

    name: str
    stack: Stack
    uses: dict[str, Use] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    generations: dict[str, Generation] = field(default_factory=dict)
    access: dict[Key, date | None] = field(default_factory=dict)
    operators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """All stacks by name, and all access that is alive, in the order of the file."""

    today: date
    stacks: dict[str, ResolvedStack]
    access: tuple[Access, ...]
    catalog: Catalog


def resolve(
    inventory: Inventory,
    today: date,
    clock: date | None = None,
    ledgers: Mapping[str, Ledger] = MappingProxyType({}),
) -> Resolved:
    """What `inventory` means on `today` (UTC). Expects an inventory without errors (see check.py).

    `clock` is the real day, if `today` is only pretended: clouds take no credential that ends before it. `ledgers`:
    by stack what is known of its credentials.
    """
    offers = catalog(inventory.stacks)
    access: list[Access] = []
    by_stack: dict[str, _Gathered] = {name: _Gathered() for name in inventory.stacks}
    listing = [name for name, stack in inventory.stacks.items() if stack.kind is Kind.GITHUB]
    for index, grant in inventory.grants.items():
        for resource in grant.resources:
            key = key_of(grant, resource, offers)
            found = offers.offers(resource, grant.stack)
            if has_access(grant, today):
                access.append(Access(index, grant, resource, key))
                for name in listing:
                    if _is_listed(key, found, inventory.stacks[name], offers):
                        by_stack[name].note(grant, key)
            for offered in found:
                by_stack[offered.stack].add(grant, key, offered, today)
    operators = tuple(inventory.settings.operators)
    stacks = {
        name: replace(
            _resolved(name, inventory.stacks[name], gathered, today, clock or today, ledgers.get(name, {})),
            operators=operators,
        )
        for name, gathered in by_stack.items()
    }
    return Resolved(today, stacks, tuple(access), offers)


def _is_listed(key: Key, found: tuple[Offered, ...], stack: Stack, offers: Catalog) -> bool:
    """Does a pair have something at a stack of kind github: an entry of Cirun's list, a group, a secret, a variable?"""
    if through_cirun(found):
        return True
    return key.partition("/")[2] in {offers.canonical(r) for _, _, entry in followers(stack) for r in entry}


def through_cirun(found: Iterable[Offered]) -> bool:
    """Do jobs reach one of these offers through Cirun? What nobody offers is an imported label of Cirun's list."""
    offered = list(found)
    return not offered or any(one.offer.via is Via.CIRUN for one in offered)


def at_cirun(resolved: Resolved) -> frozenset[str]:
    """The repositories, in small letters, that a grant brings to Cirun today."""
    return frozenset(
        access.grant.repository.lower()
        for access in resolved.access
        if through_cirun(resolved.catalog.offers(access.resource, access.grant.stack))
    )


def followers(stack: Stack) -> list[tuple[str, str, list[str]]]:
    """What follows grants at a stack of kind github, beside Cirun's list: (sort, name, resources)."""
    github = stack.github or GithubAccess()
    rows = [("runner group", name, entry.resources) for name, entry in github.runner_groups.items()]
    rows += [("secret", name, entry.resources) for name, entry in github.secrets.items()]
    return rows + [("variable", name, entry.resources) for name, entry in github.variables.items()]


def key_of(grant: Grant, resource: str, offers: Catalog) -> Key:
    """`repository/resource`; a label counts as its class, so that naming it otherwise moves nothing."""
    return f"{grant.repository}/{offers.canonical(resource)}"


def has_access(grant: Grant, today: date) -> bool:
    """True from the day of `granted` to the day before `expires`."""
    return (grant.granted is None or grant.granted <= today) and (
        grant.expires is None or today < grant.expires
    )


def has_machines(grant: Grant, offer: Offer, today: date) -> bool:
    """As access, but its machines stay `max_hours` longer, in whole days, so that a running build may end."""
    begun = grant.granted is None or grant.granted <= today
    return begun and not _is_over(grant, offer, today)


@dataclass
class _Gathered:
    """What the grants ask of one stack."""

    counts: dict[Key, tuple[str, int]] = field(default_factory=dict)
    pools: dict[str, list[Key]] = field(default_factory=dict)
    users: dict[str, list[Key]] = field(default_factory=dict)
    access: dict[Key, date | None] = field(default_factory=dict)

    def note(self, grant: Grant, key: Key) -> None:
        """The pair has access, until the last of its entries ends."""
        known, ends = self.access.get(key, EPOCH), grant.expires
        self.access[key] = None if known is None or ends is None else max(known, ends)

    def add(self, grant: Grant, key: Key, offered: Offered, today: date) -> None:
        offer = offered.offer
        if has_access(grant, today):
            self.note(grant, key)
        alive = (
            has_access(grant, today) if offer.mode is Mode.ON_DEMAND else has_machines(grant, offer, today)
        )
        if not alive:
            return
        self.users.setdefault(offered.runner_class, []).append(key)
        if offer.mode is Mode.DEDICATED:
            self.counts[key] = (offered.runner_class, max(grant.count or 1, self.counts.get(key, ("", 0))[1]))
        elif offer.mode is Mode.POOL:
            self.pools.setdefault(offered.runner_class, []).append(key)


def _resolved(
    name: str, stack: Stack, gathered: _Gathered, today: date, clock: date, ledger: Ledger
) -> ResolvedStack:
    uses = {}
    for runner_class, offer in stack.offers.items():
        keys = tuple(dict.fromkeys(gathered.users.get(runner_class, ())))
        if keys:
            size = capacity.shape(stack, offer)
            model = capacity.gpu_model(stack, offer) if size is not None and size.gpus else None
            uses[runner_class] = Use(runner_class, offer, size, model, keys)
    machines = {m.key: m for m in _machines(stack, gathered)}
    logins = _generations(name, stack, today, clock, ledger)
    return ResolvedStack(name, stack, uses, machines, logins, gathered.access)


def _machines(stack: Stack, gathered: _Gathered) -> Iterable[Machine]:
    for key, (runner_class, count) in gathered.counts.items():
        for number in range(1, count + 1):
            address = key if number == 1 else f"{key}/{number}"
            yield Machine(address, runner_class, (key,), hostname(address))
    for runner_class, keys in gathered.pools.items():
        for number in range(1, (stack.offers[runner_class].size or 1) + 1):
            # No repository's name has a colon, so a pool's address is never a grant's.
            address = f"pool:{runner_class}/{number}"
            yield Machine(address, runner_class, tuple(dict.fromkeys(keys)), hostname(address))


def hostname(key: str) -> str:
    """The safe form of a key plus 6 hex digits of its hash: at most 63 letters, digits and dashes (RFC 1123)."""
    safe = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")
    digest = hashlib.sha256(key.encode()).hexdigest()[:6]
    return f"{safe[:56].strip('-') or 'cf'}-{digest}"


# ---------------------------------------------------------------------------------------------- credentials


def _generations(
    stack_name: str, stack: Stack, today: date, clock: date, ledger: Ledger
) -> dict[str, Generation]:
    return {
        generation.address: generation
        for name, credential in stack.credentials.items()
        for generation in live(stack_name, name, credential, today, clock, ledger.get(name, UNKNOWN))
    }


# ------------------------------------------------------------------------------------------------- capacity


def demands(inventory: Inventory, offers: Catalog, today: date) -> dict[str, list[Demand]]:
    """By stack the machines that it must hold: pools first, then dedicated ones in the file's order.

    What has ended counts no more; what begins later does. Several entries of a pair have their machines together.
    Raises SliceFault for a slice that cannot be cut.
    """
    found: dict[str, list[Demand]] = {name: list(_pools(stack)) for name, stack in inventory.stacks.items()}
    dedicated = {
        n for n, offered in offers.by_name.items() if any(o.offer.mode is Mode.DEDICATED for o in offered)
    }
    sizes: dict[tuple[str, str], tuple[Shape | None, tuple[str, ...]]] = {}
    by_pair: dict[tuple[str, str, str], Demand] = {}
    for index, grant in inventory.grants.items():
        for resource in grant.resources:
            for offered in offers.offers(resource, grant.stack) if resource in dedicated else ():
                if offered.offer.mode is not Mode.DEDICATED or _is_over(grant, offered.offer, today):
                    continue
                where = (offered.stack, offered.runner_class)
                if where not in sizes:
                    stack = inventory.stacks[offered.stack]
                    sizes[where] = (capacity.shape(stack, offered.offer), _names(stack, offered.offer))
                size, hosts = sizes[where]
                pair, count = (*where, grant.repository), grant.count or 1
                if size is not None and (pair not in by_pair or by_pair[pair].count < count):
                    by_pair[pair] = Demand(offered.runner_class, index, count, size, hosts)
    for (stack_name, _, _), demand in by_pair.items():
        found[stack_name].append(demand)
    return found


def _pools(stack: Stack) -> Iterable[Demand]:
    for runner_class, offer in stack.offers.items():
        if offer.mode is Mode.POOL and (size := capacity.shape(stack, offer)) is not None:
            yield Demand(runner_class, None, offer.size or 1, size, _names(stack, offer))


def _is_over(grant: Grant, offer: Offer, today: date) -> bool:
    return grant.expires is not None and today >= grant.expires + _stay(offer)


def _stay(offer: Offer) -> timedelta:
    return timedelta(days=-(-offer.max_hours // 24))


def _names(stack: Stack, offer: Offer) -> tuple[str, ...]:
    return tuple(host.name for host in capacity.hosts_of(stack, offer))
