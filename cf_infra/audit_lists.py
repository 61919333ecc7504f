"""Cirun's two lists as they stand in the organisation, compared with those that we would write, entry by entry.

An entry is a repository, a label and the conditions under which its jobs may run; the ids of policies are only names.
The age of a difference is the oldest version of the file from which on it was there without a break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from cf_infra import yaml12
from cf_infra.access import AccessList, Policy, read_access
from cf_infra.declared import Declared, word
from cf_infra.diagnostics import Failure, some
from cf_infra.findings import Finding
from cf_infra.observed import SeenFile, SeenLists, Version

ACCESS, RUNNERS = ".access.yml", ".cirun.global.yml"


class Conditions(NamedTuple):
    """Who may trigger, and whether jobs of pull requests may run; names in small letters, as GitHub compares them."""

    roles: frozenset[str]
    teams: frozenset[str]
    users: frozenset[str]
    people: str | None
    pull_requests: bool


Pair = tuple[str, str]
"""(repository in small letters, label)"""
Entries = dict[Pair, set[Conditions]]


def lists(declared: Declared, seen: SeenLists) -> Iterator[Finding]:
    """Everything that differs in the two lists."""
    if seen.access is not None:
        yield from _access(declared, f"{seen.where}{ACCESS}", seen.access)
    if seen.runners is not None:
        yield from _runners(declared, f"{seen.where}{RUNNERS}", seen.runners)


# ------------------------------------------------------------------------------------------------ .access.yml


def _access(declared: Declared, where: str, file: SeenFile) -> Iterator[Finding]:
    try:
        live = read_access(file.content.encode(), ACCESS) if file.content is not None else AccessList()
    except Failure as failure:
        yield _unreadable(where, file, failure, declared.mend_access())
        return
    yield from Entrywise(declared, where, file).differences(live)


def _unreadable(where: str, file: SeenFile, failure: Failure, fix: str) -> Finding:
    why = some(d.detail.split("\n")[0] or d.summary for d in failure.diagnostics)
    last = file.versions[0] if file.versions else None
    return Finding(
        "unreadable-list",
        where,
        "the whole list",
        f"It cannot be read: {why}",
        last.when if last is not None else "",
        fix,
    )


@dataclass(frozen=True)
class Entrywise:
    """One access list against ours. `where` names it; `file` has its history."""

    declared: Declared
    where: str
    file: SeenFile

    @cached_property
    def ours(self) -> Entries:
        """What we would export."""
        return entries(self.declared.access)

    def differences(self, live: AccessList) -> Iterator[Finding]:
        """Both ways, pair by pair."""
        ours, theirs = self.ours, entries(live)
        names = _written(self.declared.access) | _written(live)
        for pair in sorted(ours.keys() | theirs.keys()):
            wanted, there = ours.get(pair, set()), theirs.get(pair, set())
            repository, label = names[pair[0]], pair[1]
            if wanted != there:
                yield from self._pair(
                    repository, label, _in_order(wanted - there), _in_order(there - wanted), pair
                )
            if there:
                yield from self._people(repository, label, there)

    def _pair(
        self, repository: str, label: str, lacking: list[Conditions], extra: list[Conditions], pair: Pair
    ) -> Iterator[Finding]:
        whole = not self.ours.get(pair)
        for one in list(extra):
            other = next((c for c in lacking if c._replace(pull_requests=one.pull_requests) == one), None)
            if other is not None:
                lacking.remove(other)
                extra.remove(one)
                yield self._finding("wrong-pull-requests", repository, label, _pulls(one), _has(pair, one))
        while lacking and extra:
            one, other = extra.pop(0), lacking.pop(0)
            text = f"It says {_said(one)}; the grant says {_said(other)}."
            yield self._finding("wrong-conditions", repository, label, text, _has(pair, one))
        for one in extra:
            yield self._extra(repository, label, one, pair, whole)
        for one in lacking:
            text = f"No entry lets it run there for {_said(one)}, and a grant does."
            yield self._finding("missing-access", repository, label, text, _has_not(pair, one))

    def _extra(self, repository: str, label: str, one: Conditions, pair: Pair, whole: bool) -> Finding:
        grant = self.declared.ended(repository, label)
        if grant is not None and grant.expires is not None:
            end = grant.expires.isoformat()
            text = f"Its grant ended on {end}, and the list still lets it run there."
            return self._finding("expired-but-alive", repository, label, text, end)
        which = "No grant names it" if whole else "No grant has these conditions"
        text = f"{which}: the list lets it run there for {_said(one)}."
        if label not in self.declared.labels:
            text += " No stack offers this label."
        return self._finding("undeclared-access", repository, label, text, _has(pair, one))

    def _people(self, repository: str, label: str, there: set[Conditions]) -> Iterator[Finding]:
        """Somebody on a donor's machines who stands in none of the donor's lists."""
        terms = _terms(self.declared, label)
        if terms is None:
            return
        pair = _pair_of(repository, label)
        for one in _in_order(there):
            fix = _give_terms(repository, terms[0]) if one in self.ours.get(pair, ()) else ""
            for text in _without(one, *terms):
                yield self._finding("people-without-terms", repository, label, text, _has(pair, one), fix)

    def _finding(
        self,
        kind: str,
        repository: str,
        label: str,
        text: str,
        since: str | Callable[[Entries], bool],
        fix: str = "",
    ) -> Finding:
        words = text
        if not isinstance(since, str):
            since, by = self._since(since)
            words += f" By {by}." if by else ""
        fix = fix or self.declared.mend_access()
        return Finding(kind, self.where, f"{repository}/{label}", words, since, fix)

    def _since(self, holds: Callable[[Entries], bool]) -> tuple[str, str]:
        """When the oldest version was made from which on it holds without a break, and by whom."""
        when, by = "", ""
        for version in self.file.versions:
            found = _entries_of(version)
            if found is None or not holds(found):
                break
            when, by = (version.when, version.by) if version is not None else (when, by)
        return when, by


def _pair_of(repository: str, label: str) -> Pair:
    return repository.lower(), label


def _without(one: Conditions, name: str, url: str | None, known: frozenset[str]) -> Iterator[str]:
    """What is wrong with the people of an entry, by the donor's terms."""
    if not one.users and one.people is None:
        yield f"It asks nobody for the terms of `{name}`: {_said(one)}."
    elif one.people is not None and url is not None and one.people != url:
        yield f"It reads its people from {one.people}, and those of the donor are at {url}."
    if strange := sorted(one.users - known):
        yield f"Not in users/{name}.json, so without the donor's terms: {some(strange)}."


def _give_terms(repository: str, name: str) -> str:
    feedstock = word(repository.removesuffix("-feedstock"))
    return f"# the grant itself lacks them: give it `terms: {name}`, in grants.yaml at\ngrep -n {feedstock} grants.yaml"


def _in_order(found: Iterable[Conditions]) -> list[Conditions]:
    return sorted(found, key=_said)


def _has(pair: Pair, one: Conditions) -> Callable[[Entries], bool]:
    return lambda found: one in found.get(pair, ())


def _has_not(pair: Pair, one: Conditions) -> Callable[[Entries], bool]:
    return lambda found: one not in found.get(pair, ())


def entries(listed: AccessList) -> Entries:
    """The list as pairs, each with its conditions."""
    policies = {policy.id: policy for policy in listed.policies}
    found: Entries = {}
    for control in listed.access_control:
        for name in control.policies:
            pair = _pair_of(policies[name].repo, control.resource)
            found.setdefault(pair, set()).add(_conditions(policies[name]))
    return found


def _conditions(policy: Policy) -> Conditions:
    parts = (frozenset(n.lower() for n in names) for names in (policy.roles, policy.teams, policy.users))
    roles, teams, users = parts
    return Conditions(roles, teams, users, policy.users_from_json, policy.pull_request)


def _written(listed: AccessList) -> dict[str, str]:
    return {policy.repo.lower(): policy.repo for policy in listed.policies}


@cache
def _entries_of(version: Version | None) -> Entries | None:
    if version is None:
        return {}
    try:
        return entries(read_access(version.content.encode(), ACCESS))
    except Failure:
        return None


def _terms(declared: Declared, label: str) -> tuple[str, str | None, frozenset[str]] | None:
    """(name, address, logins in small letters) of the terms of whoever offers a label."""
    for offered in declared.resolved.catalog.offers(label):
        terms = declared.inventory.stacks[offered.stack].donor.terms
        if terms.users is not None:
            listed = declared.inventory.users.get(terms.users)
            logins = frozenset(user.github.lower() for user in listed.users) if listed else frozenset()
            return terms.users, terms.url, logins
    return None


def _pulls(one: Conditions) -> str:
    if one.pull_requests:
        return "Jobs of pull requests may run there, and the grant does not say so: a stranger's code runs."
    return "Jobs of pull requests may not run there, and the grant says they may."


def _said(one: Conditions) -> str:
    parts = [
        f"{name} {some(sorted(values))}"
        for name, values in (("roles", one.roles), ("teams", one.teams), ("users", one.users))
        if values
    ]
    parts += [f"people of {one.people}"] if one.people else []
    return "; ".join(parts) + (" (pull requests, too)" if one.pull_requests else "") if parts else "anybody"


# ------------------------------------------------------------------------------------------ .cirun.global.yml


def _runners(declared: Declared, where: str, file: SeenFile) -> Iterator[Finding]:
    ours, theirs = runners_of(declared.runners), runners_of(file.content or "")
    last = file.versions[0] if file.versions else None
    when = last.when if last is not None else ""
    if ours is None or theirs is None:
        text = "It cannot be read as a list of runners, so nobody can say which machines there are."
        yield Finding("unreadable-list", where, "the whole list", text, when, declared.mend_runners())
        return
    fix = declared.mend_runners()
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in theirs:
            text = "We would write this runner, and it is not there: its jobs find no machine."
            yield Finding("missing-access", where, name, text, _runner_since(file, name, None), fix)
        elif name not in ours:
            yield from _strange(declared, where, file, name, theirs[name])
        elif ours[name] != theirs[name]:
            text = f"It has {_changes(ours[name], theirs[name])}."
            yield Finding("wrong-runner", where, name, text, _runner_since(file, name, theirs[name]), fix)


def _strange(
    declared: Declared, where: str, file: SeenFile, name: str, runner: Mapping[str, Any]
) -> Iterator[Finding]:
    # A label that an offer has without a machine, or that an entry names itself, somebody else defines on purpose.
    if name in declared.labels:
        return
    labels = some(sorted(_texts(runner.get("labels"))))
    text = f"No stack offers this runner, and no grant names it. Its labels: {labels}."
    fix = f"{declared.mend_runners()}\n# or offer it: docs/stacks.md, kind cirun"
    yield Finding("undeclared-label", where, name, text, _runner_since(file, name, runner), fix)


def _runner_since(file: SeenFile, name: str, value: Mapping[str, Any] | None) -> str:
    when = ""
    for version in file.versions:
        found = runners_of(version.content) if version is not None else {}
        if found is None or found.get(name) != value:
            break
        when = version.when if version is not None else when
    return when


def _changes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    found = [
        f"{key} {_shown(theirs.get(key))} where we write {_shown(ours.get(key))}"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]
    return "; ".join(found)


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)[:80]


def runners_of(text: str) -> dict[str, dict[str, Any]] | None:
    """The runners of a `.cirun.yml` or `.cirun.global.yml` by name; None if it is no such list."""
    value, faults = yaml12.load(text.encode(), RUNNERS)
    rows = (value or {}).get("runners", []) if isinstance(value, dict) or value is None else None
    if faults or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    return {str(row.get("name", f"runner {number}")): row for number, row in enumerate(rows, 1)}


def labels_of(text: str) -> list[str] | None:
    """The names and labels of all its runners, sorted; None if it cannot be read."""
    found = runners_of(text)
    if found is None:
        return None
    return sorted({name for row, runner in found.items() for name in (row, *_texts(runner.get("labels")))})


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(one) for one in value] if isinstance(value, list) else []
