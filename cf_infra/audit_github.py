"""The organisation compared with what grants say: repositories, runner groups, secrets, variables, apps, people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cf_infra import github_files
from cf_infra.audit_lists import labels_of
from cf_infra.declared import Declared, word
from cf_infra.diagnostics import some
from cf_infra.findings import Finding
from cf_infra.model import AppInstallation, Kind
from cf_infra.observed import Chosen, SeenApp, SeenGithub, SeenPeople, SeenRepository, Selected

Followed = tuple[str, list[str], str | bool | None]
_SHUT = "Public repositories may not use it, and feedstocks are public: their jobs wait for ever."


def github(declared: Declared, seen: SeenGithub) -> Iterator[Finding]:
    """Everything that differs at GitHub beside the lists."""
    yield from _repositories(declared, seen.repositories)
    yield from _selections(declared, seen)
    yield from _apps(declared, seen)
    for address, people in sorted(seen.people.items()):
        yield from _people(declared, address, people)


# ------------------------------------------------------------------------------------------------ repositories


def _repositories(declared: Declared, seen: Mapping[str, SeenRepository]) -> Iterator[Finding]:
    where = f"github:{declared.organisation}"
    for name, found in sorted(seen.items()):
        granted = declared.repositories.get(name.lower())
        if granted is not None:
            yield from _named(declared, where, granted, found)
        if found.own_runners is not None:
            yield _own_runners(declared, found)


def _named(declared: Declared, where: str, name: str, found: SeenRepository) -> Iterator[Finding]:
    """A repository that a grant names: is it still that one?"""
    owner, _, now = found.full_name.partition("/")
    short = name.removesuffix("-feedstock")
    if not found.full_name:
        text = f"{declared.organisation} has no repository of this name, or the token may not see it."
        yield Finding("missing-repository", where, name, text, fix=declared.revoke(name))
    elif owner.lower() != declared.organisation.lower():
        text = f"It belongs to somebody else now: {found.full_name}. Whoever takes the old name would get the access."
        yield Finding("renamed-repository", where, name, text, fix=declared.revoke(name))
    elif now.lower() != name.lower():
        text = f"It is called {now} now. Whoever takes the old name would get the access."
        fix = _rename(short, now.removesuffix("-feedstock"), name, now)
        yield Finding("renamed-repository", where, name, text, fix=fix)
    elif found.archived:
        text = "It is archived, so it needs no machines; who opens it again has them."
        yield Finding("archived-repository", where, name, text, fix=declared.revoke(name))


def _rename(short: str, now: str, whole: str, whole_now: str) -> str:
    old = re.escape(short).replace("/", "")
    if whole.endswith("-feedstock") and whole_now.endswith("-feedstock"):
        return f"sed -i 's/feedstock: {old}$/feedstock: {now}/' grants.yaml && cf-infra check"
    return f"sed -i 's/repo: {re.escape(whole)}$/repo: {whole_now}/' grants.yaml && cf-infra check"


def _own_runners(declared: Declared, found: SeenRepository) -> Finding:
    labels = labels_of(found.own_runners or "")
    if labels is None:
        text = "Its .cirun.yml cannot be read as a list of runners."
    else:
        strange = [label for label in labels if label not in declared.labels]
        text = f"Its .cirun.yml defines runners of its own, with the labels {some(labels)}."
        text += f" No stack offers {some(strange)}." if strange else ""
    text += f" Last changed by {found.own_by}." if found.own_by else ""
    path = f"/repos/{found.full_name}/contents/.cirun.yml"
    fix = f"gh api -X DELETE {path} -f sha={found.own_sha} -f message='Remove .cirun.yml'"
    where = f"github:{found.full_name.partition('/')[0]}"
    return Finding("own-runners", where, found.full_name.partition("/")[2], text, found.own_since, fix)


# -------------------------------------------------------------------------- runner groups, secrets, variables


def _selections(declared: Declared, seen: SeenGithub) -> Iterator[Finding]:
    wanted = _followed(declared)
    there = {(one.sort, one.name): one for one in seen.selections}
    for (sort, name), (stack, repositories, meant) in sorted(wanted.items()):
        where, fix = f"github:{declared.organisation} {sort} {name}", declared.apply(stack)
        found = there.get((sort, name))
        if found is None and sort in seen.silent:
            continue
        if found is None:
            for repository in repositories:
                yield Finding("missing-access", where, repository, f"The {sort} is not there.", fix=fix)
        elif found.repositories is None:
            yield _for_all(where, found, fix)
        else:
            yield from _selection(where, repositories, found, fix)
        if found is not None:
            yield from _other_value(where, found, meant, fix)
    for found in seen.selections:
        if found.sort == "runner group" and _is_strange(found, wanted):
            path = f"/orgs/{declared.organisation}/actions/runner-groups/{found.id}"
            name = word(f"name={found.name}")  # GitHub asks for it with every change
            where = f"github:{declared.organisation} runner group {found.name}"
            yield _for_all(where, found, f"gh api -X PATCH {path} -f {name} -f visibility=selected")


def _other_value(where: str, found: Selected, meant: str | bool | None, fix: str) -> Iterator[Finding]:
    """A variable's value, and whether a group lets public repositories in."""
    is_group = found.sort == "runner group"
    if meant is None or meant == (found.public if is_group else found.value):
        return
    text = f"It shows {str(found.value)[:80]!r} where we write {str(meant)[:80]!r}."
    if is_group:
        text = "Public repositories may use it, and should not." if found.public else _SHUT
    yield Finding("wrong-value", where, found.name, text, found.since, fix)


def _is_strange(found: Selected, wanted: Mapping[tuple[str, str], Any]) -> bool:
    """The default group is everybody's, as GitHub makes it, and holds none of our machines."""
    return found.repositories is None and not found.default and (found.sort, found.name) not in wanted


def _followed(declared: Declared) -> dict[tuple[str, str], Followed]:
    """(sort, name) -> the stack that keeps it, the repositories that it is for, and what else it must be."""
    found: dict[tuple[str, str], Followed] = {}
    for name, stack in declared.resolved.stacks.items():
        if stack.stack.kind is Kind.GITHUB:
            values = github_files.values(stack, declared.resolved, declared.inventory, files=False)
            for group, row in values["runner_groups"].items():
                found["runner group", group] = name, row["repositories"], row["public"]
            for secret, repositories in values["secrets"].items():
                found["secret", secret] = name, repositories, None
            for variable, row in values["variables"].items():
                found["variable", variable] = name, row["repositories"], row["value"]
    return found


def _for_all(where: str, found: Selected, fix: str) -> Finding:
    kind = "group-for-all" if found.sort == "runner group" else "secret-for-all"
    whom = "every repository" if found.visibility == "all" else f"all {found.visibility} repositories"
    return Finding(kind, where, found.name, f"It is open to {whom}, with a grant or not.", found.since, fix)


def _selection(where: str, wanted: Iterable[str], found: Selected, fix: str) -> Iterator[Finding]:
    there = {one.name.lower(): one.name for one in found.repositories or ()}
    names = {name.lower(): name for name in wanted}
    for name in sorted(there.keys() - names.keys()):
        text = f"It is chosen for the {found.sort}, and no grant says so."
        yield Finding("undeclared-access", where, there[name], text, found.since, fix)
    for name in sorted(names.keys() - there.keys()):
        text = f"A grant says so, and it is not chosen for the {found.sort}."
        yield Finding("missing-access", where, names[name], text, found.since, fix)


# -------------------------------------------------------------------------------------------------------- apps


def _apps(declared: Declared, seen: SeenGithub) -> Iterator[Finding]:
    for name, stack in declared.resolved.stacks.items():
        app = stack.stack.app
        if stack.stack.kind is not Kind.APP or app is None:
            continue
        if {"app", str(app.installation)} & set(seen.silent):
            continue
        where = f"github:{declared.organisation} app {app.vendor}"
        found = seen.apps.get(str(app.installation))
        if found is None:
            text = f"There is no installation {app.installation}, or the token may not see it."
            yield Finding("app-for-all", where, str(app.installation), text, fix=_settings(declared, app))
        elif found.selection != "selected":
            text = (
                "It is installed for all repositories, so every one of them has access, with a grant or not."
            )
            yield Finding(
                "app-for-all", where, str(app.installation), text, found.since, _settings(declared, app)
            )
        else:
            wanted = github_files.values(stack, declared.resolved, declared.inventory)["repositories"]
            yield from _app(declared, where, name, app, wanted, found)


def _settings(declared: Declared, app: AppInstallation) -> str:
    return f"# choose `Only select repositories`, and {app.keep}, at\n# https://github.com/organizations/{declared.organisation}/settings/installations/{app.installation}"


def _app(
    declared: Declared, where: str, stack: str, app: AppInstallation, wanted: Iterable[str], found: SeenApp
) -> Iterator[Finding]:
    there: dict[str, Chosen] = {one.name.lower(): one for one in found.repositories}
    names = {name.lower(): name for name in wanted}
    resource = next(iter(declared.inventory.stacks[stack].offers), "")
    for name in sorted(there.keys() - names.keys()):
        grant = declared.ended(name, resource)
        end = grant.expires.isoformat() if grant is not None and grant.expires is not None else ""
        # OpenTofu adds one repository at a time and takes away what it added: not what somebody else chose.
        fix = f"gh api -X DELETE /user/installations/{app.installation}/repositories/{there[name].id}"
        kind = "expired-but-alive" if end else "undeclared-access"
        text = (
            f"Its grant ended on {end}, and the app has it."
            if end
            else "The app has it, and no grant says so."
        )
        yield Finding(kind, where, there[name].name, text, end, fix)
    for name in sorted(names.keys() - there.keys()):
        text = "A grant says so, and the app does not have it."
        yield Finding("missing-access", where, names[name], text, "", declared.apply(stack))


# ------------------------------------------------------------------------------------------------------ people


def _people(declared: Declared, address: str, seen: SeenPeople) -> Iterator[Finding]:
    """A list of people that somebody else keeps, and that lets them trigger."""
    if seen.people is None:
        text = f"It lets people trigger, and cannot be read: {seen.why}"
        yield Finding("not-audited", address, "the list of people", text, fix=f"curl -fsS {word(address)}")
        return
    last = f" Last changed by {seen.by}." if seen.by else ""
    name = _terms_at(declared, address)
    listed = declared.inventory.users.get(name) if name is not None else None
    known = {user.id for user in listed.users} if listed is not None else set()
    unknown = [one for one in seen.people if one.id not in known]
    here = f"users/{name}.json" if name is not None else "users/ of any stack's terms"
    for one in sorted(unknown, key=lambda one: one.github.lower()) if name is not None else ():
        text = f"Number {one.id} may trigger by this list, and is not in {here}.{last}"
        yield Finding("people-changed", address, one.github, text, seen.since, _compare(address, name))
    if seen.before is not None:
        yield from _since_before(address, seen, {one.id for one in unknown} if name else set(), last, name)
    elif name is None:
        text = f"No stack's terms are at this address; whoever may write there lets people trigger.{last}"
        yield Finding("people-changed", address, "the whole list", text, seen.since, _compare(address, None))


def _since_before(
    address: str, seen: SeenPeople, told: set[int], last: str, name: str | None
) -> Iterator[Finding]:
    before = {one.id: one.github for one in seen.before or ()}
    now = {one.id: one.github for one in seen.people or ()}
    for number in sorted(now.keys() - before.keys() - told):
        text = f"Number {number} was added since the last audit.{last}"
        yield Finding("people-changed", address, now[number], text, seen.since, _compare(address, name))
    for number in sorted(before.keys() - now.keys()):
        text = f"Number {number} was taken off since the last audit.{last}"
        yield Finding("people-changed", address, before[number], text, seen.since, _compare(address, name))


def _terms_at(declared: Declared, address: str) -> str | None:
    """The terms whose people are read at an address."""
    terms = (stack.donor.terms for stack in declared.inventory.stacks.values())
    return next((one.users for one in terms if one.url == address and one.users is not None), None)


def _compare(address: str, name: str | None) -> str:
    if name is None:
        return f"curl -fsS {word(address)}"
    return f"curl -fsS {word(address)} | diff users/{name}.json -"
