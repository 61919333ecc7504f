"""Rules of grants.yaml: each entry by itself, entries among themselves, entries and what is offered.

Each rule is one small "Ensure ..." function; they are listed in check.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from cf_infra.catalog import machines_of_its_own
from cf_infra.diagnostics import MOST_NAMED, Diagnostic, some
from cf_infra.model import Grant, Mode
from cf_infra.parse import GRANTS
from cf_infra.rule import View, at, grant_fault, meant, stack_fault

# ---------------------------------------------------------------------------------------------- one entry


def repository_is_named(view: View) -> Iterator[Diagnostic]:
    """Ensure each entry names a feedstock or a repository, and not both."""
    for index, grant in view.inventory.grants.items():
        if grant.feedstock is None and grant.repo is None:
            yield grant_fault(
                "missing-key",
                at(index),
                "needs `feedstock`",
                "`feedstock` is missing.",
                "feedstock: pytorch-cpu   (without -feedstock), or repo: NAME for a repository that is none",
            )
        elif grant.feedstock is not None and grant.repo is not None:
            yield grant_fault(
                "bad-value",
                at(index, "repo"),
                "not beside `feedstock`",
                "An entry is for a feedstock or for another repository, not for both.",
                "write two entries",
            )
        elif grant.feedstock is not None and grant.feedstock.endswith("-feedstock"):
            yield grant_fault(
                "bad-value",
                at(index, "feedstock"),
                "without `-feedstock`",
                "A feedstock is named without its ending.",
                f"feedstock: {grant.feedstock.removesuffix('-feedstock')}",
            )
        elif grant.repo in (".", ".."):
            yield grant_fault(
                "bad-value",
                at(index, "repo"),
                "not a repository",
                f"`{grant.repo}` is no repository's name.",
                "repo: NAME, without the organisation",
            )


def history_is_told(view: View) -> Iterator[Diagnostic]:
    """Ensure reason, request, granted and at least one resource are there, unless the entry is imported."""
    for index, grant in view.inventory.grants.items():
        if grant.imported is not None or (
            grant.reason and grant.request and grant.granted and grant.resources
        ):
            continue
        for name, example in _HISTORY.items():
            if not getattr(grant, name):
                yield grant_fault(
                    "missing-key", at(index), f"needs `{name}`", f"`{name}` is missing.", f"{name}: {example}"
                )
        if not grant.resources:
            yield grant_fault(
                "bad-value",
                at(index, "resources"),
                "empty",
                "The entry grants nothing.",
                "name a resource, or delete the entry",
            )


_HISTORY = {
    "reason": "CUDA builds exceed 6 h on hosted agents",
    "request": "https://github.com/conda-forge/admin-requests/pull/1234",
    "granted": "2026-01-31",
}


def dates_are_in_order(view: View) -> Iterator[Diagnostic]:
    """Ensure a grant ends after it begins."""
    for index, grant in view.entries():
        if grant.expires is not None and grant.granted is not None and grant.expires <= grant.granted:
            yield grant_fault(
                "expires-before-granted",
                at(index, "expires"),
                f"granted is {grant.granted}",
                f"{grant.expires} is the first day without access, and access begins on {grant.granted}.",
                "correct one of the two dates",
            )


def another_approved(view: View) -> Iterator[Diagnostic]:
    """Ensure the requester is not the only one who approved."""
    for index, grant in view.entries():
        if not grant.approved_by or grant.requested_by is None:
            continue
        requester = grant.requested_by.lower()
        if all(login.lower() == requester for login in grant.approved_by):
            yield grant_fault(
                "self-approved",
                at(index, "approved_by"),
                "the requester",
                f"`{grant.requested_by}` asked for it and is the only one who approved.",
                "name who else approved, or leave `approved_by` out: then who merges approves",
            )


def somebody_may_trigger(view: View) -> Iterator[Diagnostic]:
    """Ensure at least one of roles, teams, users and terms says who may trigger."""
    for index, grant in view.inventory.grants.items():
        if not (grant.roles or grant.teams or grant.users or grant.terms or grant.terms_url):
            yield grant_fault(
                "nobody-may-trigger",
                at(index),
                "does not say who",
                "`roles`, `teams`, `users` and `terms` are all empty, so no person could start a job.",
                "roles: [admin, maintain, write]",
            )


def terms_are_there(view: View) -> Iterator[Diagnostic]:
    """Ensure `terms: NAME` has its users/NAME.json."""
    known = sorted(view.inventory.users)
    for index, grant in view.entries():
        terms = grant.terms
        if terms is None or terms in view.inventory.users or f"users/{terms}.json" in view.inventory.unread:
            continue
        yield grant_fault(
            "unknown-terms",
            at(index, "terms"),
            "no such file",
            f"users/{terms}.json is not there. There are: {some(known, terms)}.",
            meant(terms, known, "add the file"),
        )


def end_is_known(view: View) -> Iterator[Diagnostic]:
    """Ensure nobody overlooks that a grant has no end (a warning)."""
    for index, grant in view.inventory.grants.items():
        if grant.expires is None and grant.imported is None:
            yield grant_fault(
                "no-expiry",
                at(index),
                "has no `expires`",
                f"`{grant.repository}` keeps its access until somebody thinks of it.",
                "expires: YYYY-MM-DD, the first day without access",
            )


def imports_are_known(view: View) -> Iterator[Diagnostic]:
    """Ensure imported entries that lack their history are known of (one warning)."""
    bare = [
        i
        for i, g in view.inventory.grants.items()
        if g.imported is not None and not (g.reason and g.request and g.granted and g.expires)
    ]
    if bare:
        count = f"{len(bare)} entries were" if len(bare) > 1 else "One entry was"
        source = view.inventory.grants[bare[0]].imported
        yield grant_fault(
            "imported",
            at(bare[0]),
            "the first of them" if len(bare) > 1 else "this one",
            f"{count} imported ({source}) without a reason, a request, a begin or an end.",
            "fill them in as you learn them; nothing depends on it",
        )


# ------------------------------------------------------------------------------------- entries among themselves


def ids_are_unique(view: View) -> Iterator[Diagnostic]:
    """Ensure an id names one entry: two policies of one id would be one policy, with the access of both."""
    first: dict[str, int] = {}
    for index, grant in view.inventory.grants.items():
        if grant.id is None:
            continue
        seen = first.setdefault(grant.id, index)
        if seen != index:
            yield grant_fault(
                "id-twice",
                at(index, "id"),
                f"also in line {view.line(seen)}",
                f"`{grant.id}` is the id of {GRANTS}:{view.line(seen)} already.",
                "give one of them another id, or leave it out",
            )


def pairs_are_granted_once(view: View) -> Iterator[Diagnostic]:
    """Ensure two entries for one repository and resource differ in their conditions, and one at most has a count."""
    class_of = view.catalog.class_of
    first: dict[str, tuple[int, int]] = {}
    more: dict[str, list[tuple[int, int]]] = {}
    for index, grant in view.inventory.grants.items():
        repository = grant.repository.lower()
        for position, resource in enumerate(grant.resources):
            pair = f"{repository}/{class_of.get(resource, resource)}"
            if pair in first:
                more.setdefault(pair, []).append((index, position))
            else:
                first[pair] = (index, position)
    for pair, others in more.items():
        yield from _repeated(view, pair, first[pair], others)


def _repeated(
    view: View, pair: str, first: tuple[int, int], others: list[tuple[int, int]]
) -> Iterator[Diagnostic]:
    grants = view.inventory.grants
    runner_class = pair.rpartition("/")[2]
    named: dict[object, dict[str, int]] = {}
    counted = None
    entries: set[int] = set()
    for index, position in [first, *others]:
        grant = grants[index]
        name = grant.resources[position]
        seen = named.setdefault(conditions(grant), {})
        same = _granted_before(seen, name, runner_class)
        if index in entries:
            if _stands_before(grant, position, runner_class):
                yield grant_fault(
                    "granted-twice",
                    at(index, "resources", position),
                    "again",
                    f"`{pair}` stands in this entry already, by its class or a label.",
                    "delete one of the two",
                )
        elif same is not None:
            line = view.line(same)
            yield grant_fault(
                "granted-twice",
                at(index, "resources", position),
                f"also in line {line}",
                f"`{pair}` is granted by {GRANTS}:{line} already, under the same conditions.",
                "delete one of the two, or give them different roles, teams, users, terms or pull_requests",
            )
        elif grant.count is not None and counted is not None:
            line = view.line(counted)
            yield grant_fault(
                "count-twice",
                at(index, "count"),
                f"also in line {line}",
                f"`{pair}` has a count in {GRANTS}:{line} already, and it is for the pair.",
                "keep the count at one entry",
            )
        seen.setdefault(name, index)
        entries.add(index)
        if grant.count is not None and counted is None:
            counted = index


def _granted_before(seen: dict[str, int], name: str, runner_class: str) -> int | None:
    """The entry that gives what `name` gives; two labels of one class are two donors' offers."""
    if name == runner_class and seen:
        return next(iter(seen.values()))
    return seen.get(name, seen.get(runner_class))


def _stands_before(grant: Grant, position: int, runner_class: str) -> bool:
    """True if a resource is named before in its entry; two labels of one class are two donors' offers."""
    before, name = grant.resources[:position], grant.resources[position]
    return name in before or runner_class in (name, *before)


def conditions(grant: Grant) -> tuple[object, ...]:
    """Under which an entry gives access: what two entries for one pair must differ in."""
    return (
        frozenset(grant.roles),
        frozenset(grant.teams),
        frozenset(login.lower() for login in grant.users),
        grant.terms,
        grant.terms_url,
        grant.pull_requests,
    )


def names_are_written_alike(view: View) -> Iterator[Diagnostic]:
    """Ensure a repository is written in one way: GitHub takes both for one, but their machines would be two."""
    first: dict[str, int] = {}
    for index, grant in view.inventory.grants.items():
        seen = first.setdefault(grant.repository.lower(), index)
        other = view.inventory.grants[seen]
        if seen != index and other.repository != grant.repository:
            line = view.line(seen)
            yield grant_fault(
                "bad-value",
                at(index, "feedstock" if grant.feedstock is not None else "repo"),
                f"other letters than in line {line}",
                f"{GRANTS}:{line} writes `{other.repository}`; GitHub takes both for one repository.",
                f"write `{other.feedstock or other.repo}` in both",
            )


# ------------------------------------------------------------------------------------- entries and offers


def resources_are_offered(view: View) -> Iterator[Diagnostic]:
    """Ensure each resource is a class or label of a stack (imported labels: a warning)."""
    if view.misses("stacks"):
        return
    offered = view.catalog.by_name
    names = view.catalog.names()
    strange: dict[str, list[tuple[int, int]]] = {}
    for index, grant in view.entries():
        for position, resource in enumerate(grant.resources):
            if resource in offered:
                continue
            if grant.imported is not None:
                strange.setdefault(resource, []).append((index, position))
                continue
            yield grant_fault(
                "unknown-resource",
                at(index, "resources", position),
                "nobody offers this",
                f"No stack offers `{resource}`. Offered are: {some(names, resource)}.",
                meant(resource, names, "name one of them, or add an offer to a stack"),
            )
    for resource, places in strange.items():
        index, position = places[0]
        entries = f"{len(places)} imported entries name" if len(places) > 1 else "An imported entry names"
        yield grant_fault(
            "not-offered",
            at(index, "resources", position),
            "nobody offers this",
            f"{entries} `{resource}`, which no stack offers; it is exported as it is.",
            "add an offer with this label to a stack, or revoke it",
        )


def stack_is_there(view: View) -> Iterator[Diagnostic]:
    """Ensure `stack: NAME` is a stack and offers what is granted."""
    stacks = sorted(view.inventory.stacks)
    for index, grant in view.entries():
        if grant.stack is None or f"stacks/{grant.stack}.yaml" in view.inventory.unread:
            continue
        if grant.stack not in view.inventory.stacks:
            yield grant_fault(
                "unknown-stack",
                at(index, "stack"),
                "no such stack",
                f"stacks/{grant.stack}.yaml is not there. There are: {some(stacks, grant.stack)}.",
                meant(grant.stack, stacks, "name one of them"),
            )
            continue
        for position, resource in enumerate(grant.resources):
            where = sorted({o.stack for o in view.catalog.offers(resource)})
            if where and grant.stack not in where:
                yield grant_fault(
                    "unknown-resource",
                    at(index, "resources", position),
                    f"not at {grant.stack}",
                    f"`{resource}` is offered by {some(where)}, not by {grant.stack}.",
                    f"stack: {where[0]}",
                )


def donor_is_chosen(view: View) -> Iterator[Diagnostic]:
    """Ensure a grant with machines of its own names its donor where several offer them."""
    several = {
        name: sorted({o.stack for o in offers})
        for name, offers in view.catalog.by_name.items()
        if len({o.stack for o in offers}) > 1 and machines_of_its_own(offers)
    }
    for index, grant in view.inventory.grants.items() if several else ():
        for position, resource in enumerate(grant.resources):
            if grant.stack is None and resource in several:
                where = several[resource]
                yield grant_fault(
                    "ambiguous-offer",
                    at(index, "resources", position),
                    "at which donor?",
                    f"Machines are made for this grant, and `{resource}` is offered by {some(where)}.",
                    "\n".join(["add one of:", *(f"stack: {name}" for name in where[:MOST_NAMED])]),
                )


def counts_have_machines(view: View) -> Iterator[Diagnostic]:
    """Ensure `count` stands only where each grant has machines of its own."""
    for index, grant in view.inventory.grants.items():
        if grant.count is None:
            continue
        offers = [o for r in grant.resources for o in view.catalog.offers(r, grant.stack)]
        if offers and not any(o.offer.mode is Mode.DEDICATED for o in offers):
            modes = some(sorted({f"{o.runner_class} ({o.offer.mode})" for o in offers}))
            yield grant_fault(
                "count-without-machines",
                at(index, "count"),
                "nothing to count",
                f"Machines are counted for offers of mode dedicated; this grant has: {modes}.",
                "delete `count`, or ask for a dedicated class",
            )


def donor_lasts(view: View) -> Iterator[Diagnostic]:
    """Ensure no grant was made after its donor's end; and that ends of donors are known (a warning)."""
    stacks = view.inventory.stacks
    ending = {name: s.donor.until for name, s in stacks.items() if s.donor.until is not None}
    longer: dict[str, int] = dict.fromkeys(ending, 0)
    for index, grant in view.inventory.grants.items() if ending else ():
        where = {o.stack for r in grant.resources for o in view.catalog.offers(r, grant.stack)}
        if not where or not where <= ending.keys():
            continue
        last = max(ending[name] for name in where)
        if grant.granted is not None and grant.granted > last:
            yield grant_fault(
                "donor-gone",
                at(index, "granted"),
                f"donor until {last}",
                f"{some(sorted(where))} gives machines until {last} only.",
                "ask for a class of another donor",
            )
            continue
        for name in where:
            longer[name] += grant.expires is None or grant.expires > ending[name]
    for name, count in longer.items():
        if count:
            entries = f"{count} entries last" if count > 1 else "One entry lasts"
            yield stack_fault(
                "donor-ends",
                name,
                ("donor", "until"),
                "the end",
                f"{entries} longer than {name}, which gives machines until {ending[name]}.",
                "find another home for what lasts longer, or let it expire by then",
            )
