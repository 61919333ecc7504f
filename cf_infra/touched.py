"""What a change of the files touches, stack by stack, as rows like those of a plan: what a review must have seen of it.

Pure. A plan alone does not tell who may start jobs on a machine that is there already; the files do. A row is one entry
for one resource, one person of a list, one file: so two requests that are merged in any order touch just what each of
them did. No day counts: an entry that begins tomorrow is the same row today.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from cf_infra.capacity import SliceFault
from cf_infra.catalog import catalog
from cf_infra.changes import gpu_classes
from cf_infra.model import Grant, Inventory, Key, Kind
from cf_infra.parse import OVERRIDES, SETTINGS
from cf_infra.plan import Hash
from cf_infra.resolve import key_of

MODULES = "modules/"
_SAID_ONLY = frozenset(
    {"feedstock", "repo", "resources", "reason", "request", "requested_by", "approved_by", "imported", "id"}
)
"""What an entry says to people alone, or what its key says already."""


@dataclass(frozen=True)
class Folder:
    """What counts of one side. `files`: all files of the root folder; `modules`: git's id of that folder."""

    inventory: Inventory
    files: Mapping[str, bytes]
    modules: str | None = None


@dataclass(frozen=True)
class Touched:
    """What a change touches. `stacks`: by stack the rows (address, action, hash).

    `files`: what changed, relative to the root folder; `gpu`: the stacks with GPUs where somebody is given something;
    `ended`: keys and stacks that are there no more; `requesters`: who asked for the entries that came.
    """

    stacks: dict[str, list[Hash]] = field(default_factory=dict)
    files: frozenset[str] = frozenset()
    gpu: frozenset[str] = frozenset()
    ended: tuple[str, ...] = ()
    requesters: frozenset[str] = frozenset()

    def joined(self, other: Touched) -> Touched:
        """Both, as the commits of one pull request."""
        names = {*self.stacks, *other.stacks}
        rows = {n: [*self.stacks.get(n, ()), *other.stacks.get(n, ())] for n in names}
        return Touched(
            rows,
            self.files | other.files,
            self.gpu | other.gpu,
            tuple(sorted({*self.ended, *other.ended})),
            self.requesters | other.requesters,
        )


def touched(before: Folder, after: Folder, more: frozenset[str] = frozenset()) -> Touched:
    """What lies between two sides. `more`: names of other files that changed, for those who must look at them."""
    one, other = before.inventory, after.inventory
    names = sorted({*one.stacks, *other.stacks})
    rows: dict[str, list[Hash]] = {name: [] for name in names}
    old, new = _entries(one), _entries(other)
    for stack, row in _differing(old, new):
        rows[stack].append(row)
    for stack, row in _differing(_people(one), _people(other)):
        rows[stack].append(row)
    for name in names:
        rows[name] += _file(f"stacks/{name}.yaml", _stack(one, name), _stack(other, name))
    common = list(_common(before, after))
    for name in names:
        rows[name] += common
    come = (new.entries - old.entries).keys()
    came = {key for _stack_name, key, _ in come}
    keys = {key for _, key, _ in old.entries} - {key for _, key, _ in new.entries}
    return Touched(
        {name: sorted(found, key=tuple) for name, found in rows.items() if found},
        frozenset({*_files(before, after), *more}),
        frozenset(_with_gpus(other, {(stack, key) for stack, key, _ in come})),
        tuple(sorted({*keys, *(one.stacks.keys() - other.stacks.keys())})),
        frozenset(g.requested_by for g in _came(one, other, came) if g.requested_by is not None),
    )


@dataclass(frozen=True)
class _Rows:
    """Rows (stack, key, hash), as often as they stand there; `prefix` begins their addresses."""

    prefix: str
    entries: Counter[tuple[str, str, str]]


def _differing(old: _Rows, new: _Rows) -> Iterator[tuple[str, Hash]]:
    for action, rows in (("delete", old.entries - new.entries), ("create", new.entries - old.entries)):
        for (stack, key, value), count in sorted(rows.items()):
            for _ in range(count):
                yield stack, (f"{new.prefix}{key}", action, value)


def _entries(inventory: Inventory) -> _Rows:
    """Each entry for each resource, at the stacks that it means, and at those which list everybody."""
    offers = catalog(inventory.stacks)
    listing = [name for name, stack in inventory.stacks.items() if stack.kind is Kind.GITHUB]
    found: Counter[tuple[str, str, str]] = Counter()
    for grant in inventory.grants.values():
        said = _digest(grant.model_dump(mode="json", exclude=set(_SAID_ONLY)))
        for resource in grant.resources:
            key = key_of(grant, resource, offers)
            means = [o.stack for o in offers.offers(resource, grant.stack)]
            for stack in dict.fromkeys([*means, *listing]):
                found[stack, key, said] += 1
    return _Rows("grant:", found)


def _people(inventory: Inventory) -> _Rows:
    """Each person of each list, at the stacks whose terms it is about."""
    found: Counter[tuple[str, str, str]] = Counter()
    for name, stack in inventory.stacks.items():
        users = stack.donor.terms.users
        file = inventory.users.get(users) if users is not None else None
        for user in file.users if file is not None else ():
            found[name, f"{users}/{user.id}", _digest(user.model_dump(mode="json"))] += 1
    return _Rows("user:", found)


def _stack(inventory: Inventory, name: str) -> str | None:
    stack = inventory.stacks.get(name)
    return None if stack is None else _digest(stack.model_dump(mode="json"))


def _common(before: Folder, after: Folder) -> Iterator[Hash]:
    """What all stacks are made with, and who decides about them."""
    one, other = (_digest(f.inventory.settings.model_dump(mode="json")) for f in (before, after))
    yield from _file(SETTINGS, one, other)
    one, other = (_digest(f.inventory.overrides.model_dump(mode="json")) for f in (before, after))
    yield from _file(OVERRIDES, one, other)
    yield from _file(MODULES, before.modules, after.modules)


def _file(name: str, before: str | None, after: str | None) -> list[Hash]:
    if before == after:
        return []
    action = "create" if before is None else "delete" if after is None else "update"
    return [(f"file:{name}", action, after or "")]


def _files(before: Folder, after: Folder) -> Iterator[str]:
    """The root folder's own files that changed."""
    for name in sorted({*before.files, *after.files}):
        if before.files.get(name) != after.files.get(name):
            yield name
    if before.modules != after.modules:
        yield MODULES


def _came(before: Inventory, after: Inventory, keys: set[Key]) -> Iterator[Grant]:
    """The entries that give what was not given so before."""
    offers, old = catalog(after.stacks), Counter(map(_whole, before.grants.values()))
    for grant in after.grants.values():
        new = any(key_of(grant, resource, offers) in keys for resource in grant.resources)
        if new and not old[_whole(grant)]:
            yield grant


def _whole(grant: Grant) -> str:
    return _digest(grant.model_dump(mode="json"))


def _with_gpus(inventory: Inventory, given: set[tuple[str, Key]]) -> Iterator[str]:
    """The stacks where GPUs are given. Where a slice does not come out, nobody can say that it has none."""
    try:
        with_gpus = gpu_classes(inventory.stacks)
    except SliceFault:
        with_gpus = {f"{stack}/{key.partition('/')[2]}" for stack, key in given}
    yield from {stack for stack, key in given if f"{stack}/{key.partition('/')[2]}" in with_gpus}


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
