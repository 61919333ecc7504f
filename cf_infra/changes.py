"""Grants given, renewed and taken away: what an ask means for the entries of grants.yaml, and the edits that do it.

What is asked for becomes an entry of its own, also where the repository has one with the same conditions: reason,
request, dates and approver belong to an entry, and the next one to renew or revoke one of the two would touch both.
What is granted already changes nothing. Raises Failure where an edit is not possible; nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from cf_infra import capacity
from cf_infra.admin_requests import Request
from cf_infra.catalog import Catalog
from cf_infra.diagnostics import Diagnostic, Failure, nearest, some
from cf_infra.edit import Editor
from cf_infra.model import Grant, Inventory, Key, Stack
from cf_infra.parse import GRANTS
from cf_infra.resolve import has_access, key_of
from cf_infra.rules_grants import conditions

ROLES = ["admin", "maintain", "write"]
"""Who may trigger by a request: those who may push, as conda-forge's admin-requests grant it."""


@dataclass
class Draft:
    """grants.yaml on its way from one state to the next: the text, what it means, and what has changed so far."""

    text: str
    inventory: Inventory
    offers: Catalog
    editor: Editor = field(init=False)
    grants: dict[int, Grant] = field(init=False)
    _numbers: dict[str, list[int]] = field(default_factory=dict)
    added: list[Key] = field(default_factory=list)
    changed: list[Key] = field(default_factory=list)
    removed: list[Key] = field(default_factory=list)
    unchanged: list[Key] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the text as entries."""
        self.editor = Editor(self.text)
        self.grants = dict(self.inventory.grants)
        for index, grant in self.grants.items():
            self._numbers.setdefault(grant.repository.lower(), []).append(index)

    # ---------------------------------------------------------------------------------------------- looking

    def of(self, repository: str) -> list[int]:
        """The entries of a repository, whatever letters it is written in."""
        return [i for i in self._numbers.get(repository.lower(), ()) if i in self.grants]

    def called(self, name: str) -> list[int]:
        """The entries that somebody means by `name`: a feedstock, or a repository by its full name."""
        wanted = name.lower()
        return [
            i
            for i, g in self.grants.items()
            if wanted in (g.repository.lower(), (g.feedstock or g.repo or "").lower())
        ]

    def key(self, index: int, resource: str) -> Key:
        """`repository/class` of a resource of an entry."""
        return key_of(self.grants[index], resource, self.offers)

    def settle(self) -> None:
        """Say of each pair what became of it in the end: one that was added and taken away again is neither."""
        before, after = (
            {key_of(g, r, self.offers) for g in grants.values() for r in g.resources}
            for grants in (self.inventory.grants, self.grants)
        )
        kept, new, gone = before & after, after - before, before - after
        self.changed = [key for key in dict.fromkeys((*self.added, *self.changed)) if key in kept]
        self.added = [key for key in dict.fromkeys(self.added) if key in new]
        self.removed = [key for key in dict.fromkeys(self.removed) if key in gone]
        self.unchanged = list(dict.fromkeys(self.unchanged))

    def _means(self, resource: str, stack: str | None) -> frozenset[tuple[str, str]]:
        """The offers behind a name; a name that nobody offers is one of its own."""
        found = frozenset((o.stack, o.runner_class) for o in self.offers.offers(resource, stack))
        return found or frozenset([("", resource)])

    # ----------------------------------------------------------------------------------------------- giving

    def give(self, wanted: Grant, day: date, donors_terms: bool = True) -> None:
        """Grant `wanted` from `day` on, as far as it is not granted; with the terms of each resource's donor."""
        known = self.of(wanted.repository)
        if known:  # a repository is written in one way
            first = self.grants[known[0]]
            wanted = wanted.model_copy(update={"feedstock": first.feedstock, "repo": first.repo})
        for part in self._by_donor(wanted) if donors_terms else [wanted]:
            self._give(part, day)

    def _by_donor(self, wanted: Grant) -> Iterator[Grant]:
        """The same with `terms`: an entry for each donor whose people differ."""
        parts: dict[tuple[str | None, str | None], list[str]] = {}
        for name in wanted.resources:
            found = self.offers.offers(name, wanted.stack)
            terms = {o.stack: self.inventory.stacks[o.stack].donor.terms.users for o in found}
            apart = len(set(terms.values())) > 1
            for stack, users in (
                terms.items() if apart else [(wanted.stack, next(iter(terms.values()), None))]
            ):
                parts.setdefault((stack, users), []).append(name)
        for (stack, users), names in parts.items():
            yield wanted.model_copy(update={"resources": names, "stack": stack, "terms": users})

    def _give(self, wanted: Grant, day: date) -> None:
        new: list[str] = []
        wider: dict[int, list[str]] = {}
        for name in dict.fromkeys(wanted.resources):
            if any(self._means(name, wanted.stack) <= self._means(other, wanted.stack) for other in new):
                continue  # its class is asked for, too
            index = self._standing(wanted, name, day)
            if index is None:
                new.append(name)
            elif self._widens(wanted, index):
                wider.setdefault(index, []).append(name)
            else:
                self._leave(wanted, index, name)
        for index, names in wider.items():
            self._widen(wanted, index, names)
        self._add(wanted, new)

    def _leave(self, wanted: Grant, index: int, name: str) -> None:
        """What is granted stays as it is; but another number of machines is given where nothing else is meant."""
        grant, key = self.grants[index], self.key(index, name)
        if wanted.count not in (None, grant.count or 1):
            if len(grant.resources) == 1:
                self.editor.set(index, "count", wanted.count or 1)
                self.grants[index] = grant.model_copy(update={"count": wanted.count})
                self.changed.append(key)
                self.notes.append(f"{key}: {wanted.count} machines instead of {grant.count or 1}.")
                return
            self.notes.append(
                f"{key} keeps `count: {grant.count or 1}`, as its entry has other resources, too."
            )
        ends = f", until {grant.expires}" if grant.expires else ""
        longer = grant.expires is not None and wanted.expires is not None and wanted.expires > grant.expires
        what_to_do = "; `grant renew` lets it last longer." if longer else "; nothing changes."
        self.notes.append(f"{key} is granted already{ends}{what_to_do}")
        self.unchanged.append(key)

    def _standing(self, wanted: Grant, name: str, day: date) -> int | None:
        """The entry that gives `name` already, at most without pull requests; what is over is taken away."""
        meant = self._means(name, wanted.stack)
        narrow = None
        for index in self.of(wanted.repository):
            grant = self.grants[index]
            names = [r for r in grant.resources if meant <= self._means(r, grant.stack)]
            if not names or _people(grant) != _people(wanted):
                continue
            if grant.expires is not None and grant.expires <= day:
                self.notes.append(
                    f"{self.key(index, name)} had ended on {grant.expires}; that entry makes room."
                )
                self._take_out(index, names)
            elif not self._widens(wanted, index):
                return index
            elif all(self._means(r, grant.stack) == meant for r in names):
                narrow = index
        return narrow

    def _widens(self, wanted: Grant, index: int) -> bool:
        return wanted.pull_requests and not self.grants[index].pull_requests

    def _widen(self, wanted: Grant, index: int, names: Sequence[str]) -> None:
        """Have jobs of pull requests run: in the entry if all of it is meant, else in a copy with that part of it."""
        grant = self.grants[index]
        meant = {offer for name in names for offer in self._means(name, wanted.stack)}
        own = [r for r in grant.resources if self._means(r, grant.stack) <= meant]
        self.changed += [self.key(index, r) for r in own]
        self.notes += [f"{self.key(index, r)}: jobs of pull requests may run now, too." for r in own]
        if len(own) == len(grant.resources):
            self.editor.set(index, "pull_requests", True)  # noqa: FBT003
            self.grants[index] = grant.model_copy(update={"pull_requests": True})
            return
        self._take_out(index, own)
        self._insert(grant.model_copy(update={"resources": own, "pull_requests": True, "id": None}))

    def _add(self, wanted: Grant, names: list[str]) -> None:
        if not names and wanted.resources:
            return
        for name in names:
            meant = self._means(name, wanted.stack)
            others = [
                i
                for i in self.of(wanted.repository)
                if any(meant & self._means(r, self.grants[i].stack) for r in self.grants[i].resources)
            ]
            self.notes += [f"{self.key(i, name)} is granted under other conditions, too." for i in others[:1]]
        index = self._insert(wanted.model_copy(update={"resources": names}))
        self.added += [self.key(index, name) for name in names]

    def _insert(self, grant: Grant) -> int:
        index = self.editor.add(grant)
        self.grants[index] = grant
        self._numbers.setdefault(grant.repository.lower(), []).append(index)
        return index

    # ----------------------------------------------------------------------------------------------- taking

    def take(self, entries: Iterable[int], names: Sequence[str] | None) -> list[str]:
        """Take resources out of entries, all without `names`; those of the names that none of them gives.

        Raises Failure("revoked-in-part") where a name stands for less than an entry gives under another name.
        """
        found: set[str] = set()
        for index in list(entries):
            gone = self.named(index, names, found)
            self.removed += [self.key(index, r) for r in gone]
            if gone or names is None:
                self._take_out(index, gone)
        return [name for name in names or () if name not in found]

    def named(self, index: int, names: Sequence[str] | None, found: set[str]) -> list[str]:
        """The entry's resources that `names` stand for, by class or label; which names did so goes to `found`."""
        grant = self.grants[index]
        if names is None:
            return list(grant.resources)
        gone = []
        for resource in grant.resources:
            given = self._means(resource, grant.stack)
            meant = {name: self._means(name, None) for name in names}
            fits = [name for name, offers in meant.items() if given <= offers]
            found.update(fits)
            gone += [resource] if fits else []
            part = next((name for name, offers in meant.items() if given & offers and not fits), None)
            if part is not None:
                raise Failure(_only_part(grant, resource, part))
        return gone

    def _take_out(self, index: int, names: Sequence[str]) -> None:
        grant = self.grants[index]
        left = [r for r in grant.resources if r not in names]
        if left:
            self.editor.remove_resources(index, names)
            self.grants[index] = grant.model_copy(update={"resources": left})
        else:
            self.editor.remove(index)
            del self.grants[index]

    # ---------------------------------------------------------------------------------------------- renewing

    def renew(self, index: int, names: Sequence[str], until: date | timedelta, today: date) -> None:
        """Let resources of an entry last until the day before `until`; some of them alone get an entry of their own.

        A span counts from the end that there is, if that is not over, so that early renewals lose no day. Raises
        Failure("not-renewed") if they would not last longer.
        """
        grant = self.grants[index]
        keys = [self.key(index, name) for name in names]
        if grant.expires is None and isinstance(until, timedelta):
            self.notes += [f"{key} has no end; --until gives it one." for key in keys]
            self.unchanged += keys
            return
        if isinstance(until, timedelta):
            until = max(grant.expires or today, today) + until
        if grant.expires == until:
            self.notes += [f"{key} lasts until {until} already." for key in keys]
            self.unchanged += keys
            return
        if grant.expires is not None and grant.expires > until:
            raise Failure(_shorter(keys[0], grant.expires, until, index))
        self.changed += keys
        self.notes += [
            f"{key}: until {until} instead of {grant.expires or 'without an end'}." for key in keys
        ]
        if len(names) == len(grant.resources):
            self.editor.set(index, "expires", until.isoformat())
            self.grants[index] = grant.model_copy(update={"expires": until})
            return
        self._take_out(index, names)
        self._insert(grant.model_copy(update={"resources": list(names), "expires": until, "id": None}))

    def expiring(self, today: date, days: int) -> list[int]:
        """The entries that are alive and end within so many days."""
        last = today + timedelta(days=days)
        return [
            i
            for i, g in self.grants.items()
            if g.expires is not None and g.expires <= last and has_access(g, today)
        ]


def _only_part(grant: Grant, resource: str, name: str) -> Diagnostic:
    return Diagnostic(
        "revoked-in-part",
        detail=f"`{grant.repository}` has `{resource}`, which several donors offer; `{name}` is one of them only.",
        hint=f"name {resource}, and grant again what shall stay, with its donor (stack: NAME)",
    )


def _people(grant: Grant) -> tuple[object, ...]:
    """The conditions but for pull requests."""
    return conditions(grant.model_copy(update={"pull_requests": False}))


def _shorter(key: Key, ends: date, until: date, index: int) -> Diagnostic:
    return Diagnostic(
        "not-renewed",
        file=GRANTS,
        path=("grants", index, "expires"),
        label=f"later than {until}",
        detail=f"`{key}` lasts until {ends}; {until} is before that.",
        hint="name a later day; to end it earlier, revoke it or change `expires` by hand",
    )


# ------------------------------------------------------------------------------------------- the people's asks


def apply_request(draft: Draft, request: Request, template: Grant, day: date, file: str) -> None:
    """Do what a request says, in `draft`; `template` has what is known of its history."""
    for feedstock in request.feedstocks:
        if request.revoke:
            entries = draft.of(f"{feedstock}-feedstock")
            missing = draft.take(entries, request.resources)
            draft.diagnostics += [
                Diagnostic(
                    "nothing-to-revoke",
                    file=file,
                    line=request.line,
                    detail=f"`{feedstock}` has no grant of `{name}`; nothing was taken from it.",
                    hint=_has(draft, feedstock) or "look for the name under which it was granted",
                )
                for name in missing
            ]
            continue
        values = {
            "feedstock": feedstock,
            "resources": list(request.resources),
            "pull_requests": request.pull_request,
            "roles": ROLES,
            "granted": day,
        }
        draft.give(template.model_copy(update=values), day)


def _has(draft: Draft, name: str) -> str:
    keys = [draft.key(i, r) for i in draft.called(name) for r in draft.grants[i].resources]
    return f"it has {some(dict.fromkeys(keys))}" if keys else ""


def entries_of(draft: Draft, name: str, resources: Sequence[str] | None) -> list[int]:
    """The entries that a person means. Raises Failure("not-granted") for a name or resource that has none."""
    entries = draft.called(name)
    if not entries:
        known = sorted({g.feedstock or g.repo or "" for g in draft.grants.values()})
        near = nearest(name, known)
        raise Failure(
            Diagnostic(
                "not-granted",
                detail=f"No entry of grants.yaml is for `{name}`. There are: {some(known, name)}.",
                hint=f"do you mean `{near}`?" if near else "name one of them",
            )
        )
    own = list(dict.fromkeys(r for i in entries for r in draft.grants[i].resources))
    names = list(dict.fromkeys([*own, *(draft.offers.canonical(r) for r in own)]))
    found: set[str] = set()
    for index in entries:
        draft.named(index, resources, found)
    faults = []
    for resource in resources or ():
        near = nearest(resource, names)
        if resource not in found:
            faults.append(
                Diagnostic(
                    "not-granted",
                    detail=f"`{name}` has no grant of `{resource}`. It has: {some(own, resource)}.",
                    hint=f"do you mean `{near}`?" if near else "name one of them",
                )
            )
    if faults:
        raise Failure(*faults)
    return entries


def gpu_classes(stacks: Mapping[str, Stack]) -> set[str]:
    """`stack/class` of all offers with a GPU."""
    return {
        f"{name}/{runner_class}"
        for name, stack in stacks.items()
        for runner_class in stack.offers
        if capacity.has_gpu(stack, runner_class)
    }
