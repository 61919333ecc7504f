"""Who of a donor's people may start jobs today: versions of terms, grace, and bots with their owners.

Ids decide who somebody is; logins are what is shown and what Cirun compares, without regard to letters' case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from enum import StrEnum
from typing import TypeAlias

import orjson

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.model import Stack, Terms, User, UsersFile
from cf_infra.yaml12 import located

Maintainers: TypeAlias = Mapping[str, frozenset[str]]
"""By feedstock, without its ending, the logins of those who maintain it; all in small letters."""


class Standing(StrEnum):
    """Where somebody stands with a donor's terms on a day."""

    GOOD = "good"
    UNRECORDED = "unrecorded"
    """The donor has versions, and nobody wrote down which one was accepted: imported, so to speak."""
    GRACE = "grace"
    """An older version was accepted, and that is still enough."""
    LAPSED = "lapsed"
    """An older version, or none that is known, was accepted, and the grace is over."""
    ENDED = "ended"
    """A bot whose delegation is over, or that belongs to nobody on the list."""


HAS_ACCESS = frozenset({Standing.GOOD, Standing.UNRECORDED, Standing.GRACE})


def standing(user: User, people: UsersFile, terms: Terms, today: date) -> Standing:
    """Where `user`, one of `people`, stands with `terms` on `today`. A bot stands where its owner does."""
    if user.bot is not None:
        owner = person(people, user.bot.owner)
        if today >= user.bot.until or owner is None or owner.bot is not None:
            return Standing.ENDED
        return standing(owner, people, terms, today)
    if terms.version is None or today < terms.version or (user.terms or date.min) >= terms.version:
        return Standing.GOOD
    if terms.grace_until is not None and today >= terms.grace_until:
        return Standing.LAPSED
    return Standing.UNRECORDED if user.terms is None else Standing.GRACE


def person(people: UsersFile, login: str) -> User | None:
    """The entry of a login; letters' case is no matter."""
    wanted = login.lower()
    return next((user for user in people.users if user.github.lower() == wanted), None)


def formerly(people: UsersFile, login: str) -> User | None:
    """The entry of somebody who had this login before."""
    wanted = login.lower()
    return next((user for user in people.users if wanted in map(str.lower, user.formerly)), None)


def terms_of(stacks: Mapping[str, Stack], name: str) -> Terms:
    """The terms whose people are in users/`name`.json; what stacks leave out is taken from the others."""
    found: dict[str, object] = {}
    for _, stack in sorted(stacks.items()):
        if stack.donor.terms.users == name:
            found = {**stack.donor.terms.model_dump(exclude_none=True), **found}
    return Terms(users=name).model_copy(update=found)


def with_access(people: UsersFile, terms: Terms, today: date) -> list[User]:
    """Those of `people` who may start jobs on `today`, in the order of the file."""
    return [user for user in people.users if standing(user, people, terms, today) in HAS_ACCESS]


# -------------------------------------------------------------------------------------------- maintainers

_FORM = '{"pytorch-cpu": ["login", "another-login"]}'


def maintainers(raw: bytes, file: str) -> Maintainers:
    """The feedstocks' maintainers in `raw`. Raises Failure("bad-maintainers-file")."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        bad = _bad_file(file, f"It is not JSON: {error.msg}.")
        raise Failure(replace(bad, line=error.lineno, column=error.colno)) from None
    fault = None
    if not isinstance(value, dict):
        fault = _bad_file(file, "It must be feedstocks, each with a list of its maintainers.")
    else:
        for feedstock, logins in value.items():
            if not isinstance(logins, list) or not all(isinstance(login, str) for login in logins):
                fault = replace(
                    _bad_file(file, f"`{feedstock}` must have a list of logins."), path=(feedstock,)
                )
    if fault is not None:
        raise Failure(*located([fault], {file: raw.decode()}))
    return {
        feedstock.lower().removesuffix("-feedstock"): frozenset(login.lower() for login in logins)
        for feedstock, logins in value.items()
    }


def _bad_file(file: str, detail: str) -> Diagnostic:
    return Diagnostic("bad-maintainers-file", file=file, path=(), detail=detail, hint=f"the form is {_FORM}")
