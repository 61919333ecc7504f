"""Who must approve a change, and who did: the rules of settings.yaml against GitHub's reviews of one pull request.

Pure. The merge itself is an approval, of whoever may give one. A review counts for the head that it was made of, and
the last one of a person counts. Whoever asked for something approves none of it, by whatever login the users files know
them; bots approve nothing. docs/approvals.md has examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cf_infra.diagnostics import some
from cf_infra.holders import people
from cf_infra.model import Eyes, Inventory, Kind
from cf_infra.parse import GRANTS
from cf_infra.touched import Touched

APPROVED, AGAINST, DISMISSED = "APPROVED", "CHANGES_REQUESTED", "DISMISSED"
DECIDING = (APPROVED, AGAINST, DISMISSED)
"""The states of a review that change what its person said before; a comment does not."""


@dataclass(frozen=True, slots=True)
class Review:
    """One review, in the order in which they were given. `commit`: the head that it was made of."""

    login: str
    state: str
    commit: str
    bot: bool = False


@dataclass(frozen=True)
class Said:
    """What was said to a pull request. `merger`: None while it is open; `head`: the one that counts."""

    author: str
    head: str
    reviews: tuple[Review, ...] = ()
    merger: str | None = None
    merger_is_bot: bool = False


@dataclass(frozen=True)
class Need:
    """What somebody must approve. `stack`: None for what concerns all; `by`: logins, or teams ORGANISATION/TEAM."""

    what: str
    stack: str | None
    needed: int
    by: tuple[str, ...]


Teams = Mapping[str, Iterable[str] | None]
"""By ORGANISATION/TEAM in small letters the logins of its members; None if nobody could be asked."""


# ------------------------------------------------------------------------------------------------ who may


def of_grants(inventory: Inventory) -> tuple[str, ...]:
    """Who looks at grants.yaml: `approvals.default`, else the operators."""
    return people(inventory.settings.approvals.default) or of_operators(inventory)


def of_operators(inventory: Inventory) -> tuple[str, ...]:
    """Who looks at what only operators may change."""
    return people(inventory.settings.operators)


def of_donor(inventory: Inventory, stack: str) -> tuple[str, ...]:
    """Who decides for a donor: whom the settings name, else the donor's contacts."""
    named = inventory.settings.approvals.stacks.get(stack)
    donor = inventory.stacks[stack].donor.contacts if stack in inventory.stacks else []
    return people(named or donor)


def of_stack(inventory: Inventory, stack: str) -> tuple[str, ...]:
    """Who looks at a stack's file."""
    return people((*of_donor(inventory, stack), *of_operators(inventory)))


def of_users(inventory: Inventory, name: str) -> tuple[str, ...]:
    """Who looks at a file of users: the donors whose terms these people accept, else the operators."""
    donors = [s for s in sorted(inventory.stacks) if inventory.stacks[s].donor.terms.users == name]
    return people(one for stack in donors for one in of_donor(inventory, stack)) or of_operators(inventory)


# ----------------------------------------------------------------------------------------------- what needs


def needs(inventory: Inventory, change: Touched, destroys: bool = False) -> list[Need]:
    """What must be approved. `inventory`: the base's, whose rules hold; `destroys`: does a plan take away?"""
    rules, found = inventory.settings.approvals, []
    required = rules.required
    for name in sorted(change.files):
        by = _owners(inventory, name)
        found.append(Need(name, _stack_of(name), required, by))
    for stack in sorted(change.stacks.keys() & rules.stacks.keys()):
        if not any(need.stack == stack for need in found):
            found.append(Need(f"stack {stack}", stack, required, of_donor(inventory, stack)))
    found = _merged(found)
    everybody = people(one for need in found for one in need.by)
    extra = rules.extra
    for stack in sorted(change.gpu):
        found += _eyes(extra.gpu, f"GPUs of {stack}", stack, everybody)
    if destroys or change.ended:
        found += _eyes(extra.destroy, "taking away", None, everybody)
    if is_org_wide(inventory, change):
        found += _eyes(extra.org_wide, "a change for the whole organisation", None, everybody)
    return found


def is_org_wide(inventory: Inventory, change: Touched) -> bool:
    """Does it change what holds for all: settings, overrides, modules, the program, a stack of the organisation?"""
    organisations = {n for n, s in inventory.stacks.items() if s.kind in (Kind.GITHUB, Kind.APP)}
    return any(
        _stack_of(name) in organisations if name.startswith("stacks/") else not _is_data(name)
        for name in change.files
    )


def _is_data(name: str) -> bool:
    return name == GRANTS or name.startswith("users/")


def _owners(inventory: Inventory, name: str) -> tuple[str, ...]:
    """Who looks at a file, as CODEOWNERS says it."""
    if name == GRANTS:
        return of_grants(inventory)
    if name.startswith("users/"):
        return of_users(inventory, name.removeprefix("users/").removesuffix(".json"))
    stack = _stack_of(name)
    return of_stack(inventory, stack) if stack is not None else of_operators(inventory)


def _stack_of(name: str) -> str | None:
    folder, _, rest = name.partition("/")
    return rest.rpartition(".")[0] or None if folder == "stacks" else None


def _merged(found: Sequence[Need]) -> list[Need]:
    """Several files of the same people are one need: nobody approves the same change twice."""
    names: dict[tuple[str | None, tuple[str, ...]], list[str]] = {}
    for need in found:
        names.setdefault((need.stack, need.by), []).append(need.what)
    needed = {(need.stack, need.by): need.needed for need in found}
    return [Need(some(what), key[0], needed[key], key[1]) for key, what in names.items()]


def _eyes(eyes: Eyes | None, what: str, stack: str | None, everybody: tuple[str, ...]) -> list[Need]:
    return [] if eyes is None else [Need(what, stack, eyes.required, people(eyes.by) or everybody)]


# ---------------------------------------------------------------------------------------------- who did


def rows(
    inventory: Inventory,
    change: Touched,
    said: Said,
    teams: Teams,
    destroys: bool = False,
) -> list[dict[str, Any]]:
    """One row for each need, and for each donor who is against it.

    {what, stack, needed, given, approvers: [logins], missing, by: [owners], why}; the three are numbers.
    """
    votes = _Votes(inventory, change, said, teams)
    return [
        *(votes.row(need) for need in needs(inventory, change, destroys)),
        *votes.vetoes(change),
    ]


def missing(found: Iterable[Mapping[str, Any]], stack: str | None = None) -> list[str]:
    """What is missing, in words; with `stack` only what concerns it."""
    return [
        f"{row['what']}: {row['why']}"
        for row in found
        if row["missing"] and (stack is None or row["stack"] in (None, stack))
    ]


def approvers(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Whose approval counted for anything."""
    return sorted({login for row in found for login in row["approvers"]}, key=str.lower)


def teams_of(inventory: Inventory) -> list[str]:
    """The teams that the rules name."""
    rules = inventory.settings.approvals
    eyes = [one.by for one in (rules.extra.gpu, rules.extra.destroy, rules.extra.org_wide) if one is not None]
    named = [rules.default, *rules.stacks.values(), *eyes]
    return sorted({one.lower() for owners in named for one in owners if "/" in one})


@dataclass
class _Votes:
    """What people said, person by person."""

    inventory: Inventory
    change: Touched
    said: Said
    teams: Teams
    last: dict[str, Review] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for file in self.inventory.users.values():
            for user in file.users:
                for login in (user.github, *user.formerly):
                    self.names[login.lower()] = f"#{user.id}"
        for review in self.said.reviews:
            if review.state in DECIDING:
                self.last[self.person(review.login)] = review

    def person(self, login: str) -> str:
        """Who it is, by whatever login: the users files know former ones."""
        return self.names.get(login.lower(), login.lower())

    def asked(self, login: str) -> bool:
        """Did they ask for it?"""
        return self.person(login) in {self.person(one) for one in (self.said.author, *self.change.requesters)}

    def row(self, need: Need) -> dict[str, Any]:
        """A need and what was given for it."""
        members, silent = self._members(need.by)
        given = sorted((login for login in self._for() if self.person(login) in members), key=str.lower)
        short = max(need.needed - len(given), 0)
        why = self._why(need, short, members, silent) if short else ""
        return {
            "what": need.what,
            "stack": need.stack,
            "needed": need.needed,
            "given": len(given),
            "approvers": given,
            "missing": short,
            "by": list(need.by),
            "why": why,
        }

    def _for(self) -> list[str]:
        """The people who approved what counts: this head, not their own request, the merger among them."""
        said = self.said
        found = {
            person: review.login
            for person, review in self.last.items()
            if review.state == APPROVED and review.commit == said.head and not _is_bot(review)
        }
        merger = said.merger
        if merger is not None and not said.merger_is_bot and not merger.lower().endswith("[bot]"):
            against = self.last.get(self.person(merger))
            if against is None or against.state != AGAINST:
                found.setdefault(self.person(merger), merger)
        return [login for login in found.values() if not self.asked(login)]

    def _members(self, owners: Iterable[str]) -> tuple[set[str], list[str]]:
        members: set[str] = set()
        silent = []
        for owner in owners:
            if "/" not in owner:
                members.add(self.person(owner))
                continue
            found = self.teams.get(owner.lower())
            if found is None:
                silent.append(owner)
            members |= {self.person(login) for login in found or ()}
        return members, silent

    def _why(self, need: Need, short: int, members: set[str], silent: Sequence[str]) -> str:
        who = some(list(need.by)) if need.by else "nobody, for the files name nobody"
        parts = [f"still needs {short} of {who}"]
        for person, review in self.last.items():
            if person not in members or review.state != APPROVED:
                continue
            if self.asked(review.login):
                parts.append(f"{review.login} asked for it")
            elif review.commit != self.said.head:
                parts.append(f"{review.login} approved the head {review.commit[:12]}")
        merger = self.said.merger
        if merger is not None and self.person(merger) not in members:
            parts.append(f"{merger}, who merged it, is none of them")
        elif merger is not None and self.asked(merger):
            parts.append(f"{merger}, who merged it, asked for it")
        parts += [f"who is in {team} could not be asked" for team in silent]
        return "; ".join(dict.fromkeys(parts))

    def vetoes(self, change: Touched) -> Iterator[dict[str, Any]]:
        """A donor's contact who asks for changes holds back what is that donor's, whatever head they looked at."""
        if not self.inventory.settings.approvals.veto:
            return
        for stack in sorted(change.stacks.keys() & self.inventory.stacks.keys()):
            contacts = people(self.inventory.stacks[stack].donor.contacts)
            mine = {self.person(login) for login in contacts}
            against = sorted(r.login for p, r in self.last.items() if p in mine and r.state == AGAINST)
            if against:
                yield {
                    "what": f"no objection of the donor of {stack}",
                    "stack": stack,
                    "needed": 0,
                    "given": 0,
                    "approvers": [],
                    "missing": len(against),
                    "by": against,
                    "why": f"{some(against)} asked for changes, and has not approved or been dismissed since",
                }


def _is_bot(review: Review) -> bool:
    return review.bot or review.login.lower().endswith("[bot]")
