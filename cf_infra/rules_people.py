"""Rules of users/: ids decide who somebody is, terms are accepted, bots belong to somebody; and who left.

Each rule is one small "Ensure ..." function; they are listed in check.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cf_infra.diagnostics import Diagnostic, Path, nearest, printable, some
from cf_infra.model import Terms, User, UsersFile
from cf_infra.people import Standing, person, standing, terms_of
from cf_infra.rule import View, at, grant_fault, stack_fault


def users_file(name: str) -> str:
    """The file of a donor's people."""
    return f"users/{name}.json"


def _user_fault(
    code: str, name: str, path: Path, label: str, detail: str, hint: str, on_key: bool = False
) -> Diagnostic:
    return Diagnostic(
        code, file=users_file(name), path=path, label=label, detail=detail, hint=hint, on_key=on_key
    )


def _everybody(view: View) -> Iterable[tuple[str, int, User]]:
    for name, people in sorted(view.inventory.users.items()):
        for position, user in enumerate(people.users):
            yield name, position, user


# --------------------------------------------------------------------------------------------- who is who


def people_stand_once(view: View) -> Iterator[Diagnostic]:
    """Ensure no id and no login stands twice in a file."""
    for name, people in view.inventory.users.items():
        ids: dict[int, str] = {}
        logins: dict[str, int] = {}
        for position, user in enumerate(people.users):
            login = user.github.lower()
            if user.id in ids:
                yield _user_fault(
                    "user-twice",
                    name,
                    ("users", position, "id"),
                    "again",
                    f"The id {user.id} is that of `{ids[user.id]}` already.",
                    "delete one of the two; which login it has today is told by:\n"
                    f"gh api user/{user.id} --jq .login",
                )
            elif login in logins:
                yield _user_fault(
                    "user-twice",
                    name,
                    ("users", position, "github"),
                    "again",
                    f"`{user.github}` stands with the id {logins[login]} already.",
                    f"delete one of the two; which id it has today is told by:\n{_ask_id(user.github)}",
                )
            ids.setdefault(user.id, user.github)
            logins.setdefault(login, user.id)


def _ask_id(login: str) -> str:
    return f"gh api users/{login} --jq .id" if "[" not in login else f"gh api 'users/{login}' --jq .id"


def logins_have_one_id(view: View) -> Iterator[Diagnostic]:
    """Ensure a login means one id in all files: an account that took over a login is somebody else."""
    first: dict[str, tuple[str, int]] = {}
    before: dict[str, tuple[str, User]] = {}
    for name, _, user in _everybody(view):
        for login in user.formerly:
            before.setdefault(login.lower(), (name, user))
    for name, position, user in _everybody(view):
        login = user.github.lower()
        other, known = first.setdefault(login, (name, user.id))
        place = ("users", position, "github")
        if other != name and known != user.id:
            yield _user_fault(
                "login-taken-over",
                name,
                place,
                f"id {known} in {users_file(other)}",
                f"`{user.github}` has the id {user.id} here and {known} in {users_file(other)}: one is somebody else.",
                f"ask GitHub whose login it is today, and delete the other entry:\n{_ask_id(user.github)}",
            )
        elif login in before and before[login][1].id != user.id:
            owner = before[login]
            yield _user_fault(
                "login-taken-over",
                name,
                place,
                f"was the login of id {owner[1].id}",
                f"`{user.github}` was the login of `{owner[1].github}` ({users_file(owner[0])}), who has another id.",
                "if both are meant, delete it from `formerly` there, and see that grants.yaml means the new owner",
            )


def ids_have_one_login(view: View) -> Iterator[Diagnostic]:
    """Ensure an id has the same login in all files (a warning: people rename themselves)."""
    first: dict[int, tuple[str, User]] = {}
    for name, position, user in _everybody(view):
        other, known = first.setdefault(user.id, (name, user))
        if other == name or known.github.lower() == user.github.lower():
            continue
        yield _user_fault(
            "login-changed",
            name,
            ("users", position, "github"),
            f"`{known.github}` in {users_file(other)}",
            f"The id {user.id} is `{user.github}` here and `{known.github}` in {users_file(other)}; ids do not change.",
            "\n".join(
                [
                    "ask GitHub which of the two it is today, and write it in both files:",
                    f"gh api user/{user.id} --jq .login",
                    f"in {users_file(name)}: " + entry_text(known.github, user.id, user.github),
                    f"or in {users_file(other)}: " + entry_text(user.github, user.id, known.github),
                ]
            ),
        )


def entry_text(login: str, number: int, before: str) -> str:
    """An entry of a users file for somebody who has a new login."""
    return f'{{"github": "{login}", "id": {number}, "formerly": ["{before}"]}}'


def logins_are_current(view: View) -> Iterator[Diagnostic]:
    """Ensure `users` of grants.yaml names people as the users files do: a login that is free is anybody's."""
    spelling: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for _, _, user in _everybody(view):
        spelling.setdefault(user.github.lower(), user.github)
        for login in user.formerly:
            renamed.setdefault(login.lower(), user.github)
    for index, grant in view.entries() if spelling else ():
        for position, login in enumerate(grant.users):
            now, better = spelling.get(login.lower()), renamed.get(login.lower())
            if now is not None and now != login:
                yield grant_fault(
                    "login-spelling",
                    at(index, "users", position),
                    f"`{now}` elsewhere",
                    f"The users files write `{now}`; GitHub takes both for one.",
                    f"write `{now}`",
                )
            elif now is None and better is not None:
                yield grant_fault(
                    "login-changed",
                    at(index, "users", position),
                    f"now `{better}`",
                    f"`{login}` is now `{better}`; whoever takes the free login would have this access.",
                    f"write `{better}`",
                )


# --------------------------------------------------------------------------------------------------- bots


def bots_have_owners(view: View) -> Iterator[Diagnostic]:
    """Ensure a bot belongs to a person of its file; that it is told as one, and its end is known (warnings)."""
    for name, position, user in _everybody(view):
        place = ("users", position)
        people = view.inventory.users[name]
        if user.bot is None:
            if user.github.endswith("[bot]"):
                yield _user_fault(
                    "bot-without-owner",
                    name,
                    (*place, "github"),
                    "needs `bot`",
                    f"`{user.github}` is a bot, and nobody answers for it.",
                    'add to its entry:\n"bot": {"owner": "LOGIN", "until": "YYYY-MM-DD"}',
                )
            continue
        yield from _owner_faults(name, place, user, people)
        if view.today >= user.bot.until:
            yield _user_fault(
                "delegation-ended",
                name,
                (*place, "bot", "until"),
                "over",
                f"`{user.github}` acted for `{user.bot.owner}` until {user.bot.until}, and is left out since.",
                f"let `{user.bot.owner}` set a later day, or delete the entry",
            )


def _owner_faults(name: str, place: Path, user: User, people: UsersFile) -> Iterator[Diagnostic]:
    assert user.bot is not None
    owner = person(people, user.bot.owner)
    if owner is None:
        logins = [u.github for u in people.users if u.bot is None and not u.github.endswith("[bot]")]
        near = nearest(user.bot.owner, logins)
        yield _user_fault(
            "bad-bot",
            name,
            (*place, "bot", "owner"),
            "not in this file",
            f"`{user.bot.owner}` is not in {users_file(name)}. There are: {some(logins, user.bot.owner)}.",
            f"do you mean `{near}`?" if near else "name a person of this file, who accepted the terms",
        )
    elif owner.bot is not None:
        yield _user_fault(
            "bad-bot",
            name,
            (*place, "bot", "owner"),
            "a bot itself",
            f"`{user.bot.owner}` is a bot, and a bot cannot answer for another.",
            f"name the person behind it, such as `{owner.bot.owner}`",
        )
    if user.terms is not None or user.accepted is not None:
        key = "terms" if user.terms is not None else "accepted"
        yield _user_fault(
            "bad-value",
            name,
            (*place, key),
            "not beside `bot`",
            "A bot accepts nothing: its owner does, and the bot has access as long as the owner has.",
            f"delete `{key}`",
            on_key=True,
        )


# -------------------------------------------------------------------------------------------------- terms


def grace_ends_after_the_version(view: View) -> Iterator[Diagnostic]:
    """Ensure a grace is one for a version, and ends after that begins."""
    for name, stack in view.inventory.stacks.items():
        terms = stack.donor.terms
        place = ("donor", "terms", "grace_until")
        if terms.grace_until is None:
            continue
        if terms.version is None:
            yield stack_fault(
                "missing-key",
                name,
                place[:-1],
                "needs `version`",
                "`version` is missing: the grace is for those who accepted an older one.",
                "version: 2026-01-31",
            )
        elif terms.grace_until <= terms.version:
            yield stack_fault(
                "bad-value",
                name,
                place,
                f"version is {terms.version}",
                f"The grace ends on {terms.grace_until}, and the terms are new from {terms.version} on.",
                "write a later day, or leave `grace_until` out",
            )


def terms_have_one_version(view: View) -> Iterator[Diagnostic]:
    """Ensure stacks with the same people have the same version and grace: who has access would depend on the stack."""
    first: dict[tuple[str, str], tuple[str, object]] = {}
    for name, stack in view.inventory.stacks.items():
        terms = stack.donor.terms
        for key in ("version", "grace_until"):
            day = getattr(terms, key)
            if terms.users is None or day is None:
                continue
            other, known = first.setdefault((terms.users, key), (name, day))
            if known != day:
                yield stack_fault(
                    "bad-value",
                    name,
                    ("donor", "terms", key),
                    f"{known} in stacks/{other}.yaml",
                    f"stacks/{other}.yaml has another day for the same terms, `{terms.users}`.",
                    "write the same day in both, or name the terms differently",
                )


def terms_are_accepted(view: View) -> Iterator[Diagnostic]:
    """Ensure it is known who has not accepted the version that holds (warnings: one for each file and case)."""
    for name, people in view.inventory.users.items():
        terms = terms_of(view.inventory.stacks, name)
        found: dict[Standing, list[int]] = {}
        for position, user in enumerate(people.users):
            found.setdefault(standing(user, people, terms, view.today), []).append(position)
        for case, code in _TERMS.items():
            positions = [i for i in found.get(case, []) if people.users[i].bot is None]
            if positions:
                yield _not_accepted(name, people, terms, case, code, positions)


_TERMS = {
    Standing.UNRECORDED: "terms-unrecorded",
    Standing.GRACE: "terms-grace",
    Standing.LAPSED: "terms-lapsed",
}


def _not_accepted(
    name: str, people: UsersFile, terms: Terms, case: Standing, code: str, positions: list[int]
) -> Diagnostic:
    count = "One person" if len(positions) == 1 else f"{len(positions)} people"
    logins = some([people.users[i].github for i in positions])
    version, until = terms.version, terms.grace_until
    entries = "One entry does" if len(positions) == 1 else f"{len(positions)} entries do"
    detail = {
        Standing.UNRECORDED: f"The terms are of {version}, and {entries} not say what was accepted: {logins}.",
        Standing.GRACE: f"{count} accepted an older version than that of {version}: {logins}.",
        Standing.LAPSED: f"{count} had until {until} to accept the version of {version}, "
        f"and have no access: {logins}.",
    }[case]
    if case is not Standing.LAPSED:
        kept = f"until {until} (first day without)" if until else "as long as the donor sets no `grace_until`"
        detail += f"\nThey keep their access {kept}."
    return _user_fault(
        code,
        name,
        ("users", positions[0]),
        "the first of them" if len(positions) > 1 else "this one",
        detail,
        f'when somebody has accepted, write the version to their entry:\n"terms": "{version}"'
        + ("\nor delete their entries" if case is Standing.LAPSED else ""),
    )


# -------------------------------------------------------------------------------------- former maintainers


def maintainers_still_are(view: View) -> Iterator[Diagnostic]:
    """Ensure who is named in an entry still maintains the feedstock, if a list of maintainers is given (warnings)."""
    if view.maintainers is None:
        return
    settings = view.inventory.settings
    others = {login.lower() for login in settings.operators}
    others |= {login.lower() for s in view.inventory.stacks.values() for login in s.donor.contacts}
    missing: dict[str, int] = {}
    for index, grant in view.entries():
        if grant.feedstock is None:
            continue
        maintainers = view.maintainers.get(grant.feedstock.lower())
        if maintainers is None:
            missing.setdefault(grant.feedstock, index)
            continue
        named: list[tuple[Path, str, str]] = [
            (at(index, "users", i), login, "may start jobs by name") for i, login in enumerate(grant.users)
        ]
        if grant.requested_by is not None:
            named.append((at(index, "requested_by"), grant.requested_by, "asked for this"))
        for path, login, what in named:
            if login.lower() not in maintainers | others:
                yield _former(path, login, what, grant.feedstock, path[2] == "users")
    if missing:
        yield _unknown_maintainers(missing)


def _former(path: Path, login: str, what: str, feedstock: str, listed: bool) -> Diagnostic:
    return grant_fault(
        "former-maintainer",
        path,
        "no maintainer",
        f"`{login}` {what}, and is no maintainer of `{feedstock}`, no donor's contact and no operator.",
        "take the login off the list, or let a maintainer confirm it"
        if listed
        else "ask a maintainer of today whether the access is still needed",
    )


def _unknown_maintainers(missing: dict[str, int]) -> Diagnostic:
    names = list(missing)
    count = "One feedstock is" if len(names) == 1 else f"{len(names)} feedstocks are"
    return grant_fault(
        "maintainers-unknown",
        at(missing[names[0]], "feedstock"),
        "the first of them" if len(names) > 1 else "this one",
        f"{count} not in the file of maintainers, so nobody was compared there: {printable(some(names))}.",
        'add them to the file: {"feedstock": ["login"]}; an empty list says that there is no maintainer',
    )
