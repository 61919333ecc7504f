"""What an issue asks for, what becomes of it, and the files of the pull request that grants it.

The issue's author is whom GitHub says; what the text says of anybody is a stranger's word. What only GitHub knows
(is the feedstock there, does the author maintain it) comes in as `Feedstock`s. Same input, same files: a second run
proposes the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum

from cf_infra import changes, edit_people, issue_form, yaml12
from cf_infra.admin_requests import Request, feedstock_fault, read_request, resource_fault
from cf_infra.catalog import Catalog, catalog
from cf_infra.chain import quote
from cf_infra.changes import ROLES, Draft
from cf_infra.check import check
from cf_infra.diagnostics import Diagnostic, Failure, has_errors, nearest
from cf_infra.issue_form import Answers
from cf_infra.model import Grant, Inventory, Key, User, UsersFile
from cf_infra.parse import GRANTS, parse, place
from cf_infra.people import Standing, person, standing, terms_of
from cf_infra.resolve import has_access
from cf_infra.rules_people import users_file

YEAR = timedelta(days=365)
"""How long a grant lasts that was asked for by an issue: then somebody says whether it is still needed."""
RENEWED_WITHIN = timedelta(days=60)
"""Who asks again for what ends so soon wants it renewed."""
MAY_ASK = frozenset(ROLES)
SUFFIX = "-feedstock"


class Outcome(StrEnum):
    """What becomes of an issue."""

    SILENT = "silent"
    """It asks for nothing: somebody talks to people."""
    UNCLEAR = "unclear"
    """Something is missing, or cannot be read."""
    STRANGER = "stranger"
    """Its author does not maintain what it is for."""
    GRANTED = "granted"
    """Everything that it asks for is granted already."""
    ELSEWHERE = "asked-elsewhere"
    """Another open request asks for the same."""
    REFUSED = "refused"
    """It is clear, and `check` says that it cannot be."""
    PROPOSED = "proposed"
    """There is, or will be, a pull request."""
    WITHDRAWN = "withdrawn"
    """It was closed before it was granted."""


@dataclass(frozen=True)
class Author:
    """Who opened the issue, as GitHub says: the number stays, the login may change."""

    login: str
    id: int
    is_person: bool = True


@dataclass(frozen=True)
class Issue:
    """The issue itself. `url`: its address, as it stands in grants.yaml.

    `files`: requests of admin-requests, where it is a pull request that brings some.
    """

    number: int
    author: Author
    body: str
    opened: date
    url: str
    is_open: bool = True
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Feedstock:
    """A feedstock as GitHub has it. `name`: without its ending, as it is called now, None if it is not there."""

    asked: str
    name: str | None
    archived: bool = False
    role: str | None = None
    in_team: bool = False

    def may_be_asked_for(self) -> bool:
        """Is the author a maintainer?"""
        return self.role in MAY_ASK or self.in_team


@dataclass(frozen=True)
class Wanted:
    """What an issue asks for, in our names. `missing`: sentences on what is not clear, each with a way out."""

    feedstocks: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    reason: str = ""
    pull_requests: bool = False
    revoke: bool = False
    ticked: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    asks: bool = True


@dataclass(frozen=True)
class Decision:
    """What is to be done. `files`: what the pull request writes; `terms`: names whose acceptance is written down."""

    outcome: Outcome
    wanted: Wanted
    files: Mapping[str, bytes] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    terms: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    until: date | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The feedstocks."""
        return self.wanted.feedstocks


# ---------------------------------------------------------------------------------------------- what is asked


def wanted(issue: Issue, inventory: Inventory) -> Wanted:
    """What an issue asks for, as far as its text can be read."""
    offers = catalog(inventory.stacks)
    answers = issue_form.read(issue.body)
    if issue.files:
        return _of_files(issue, answers, offers)
    if answers.is_form:
        return _of_form(answers, inventory, offers)
    if answers.request:
        return _of_files(replace(issue, files={"request.yml": answers.request.encode()}), answers, offers)
    return Wanted(asks=False)


def _of_form(answers: Answers, inventory: Inventory, offers: Catalog) -> Wanted:
    missing = []
    name = feedstock_of(answers.feedstock)
    if not name:
        missing.append(_no_feedstock(answers.feedstock))
    machine = resource_of(answers.machine, offers)
    if not machine:
        missing.append(_no_machine(answers.machine, inventory, offers))
    if not answers.reason:
        missing.append("What fails today? A sentence below that heading is enough; it stands in the grant.")
    return Wanted(
        (name,) if name else (),
        (machine,) if machine else (),
        answers.reason,
        ticked=answers.ticked,
        missing=tuple(missing),
    )


def feedstock_of(text: str) -> str:
    """A feedstock's name from how people write it: with its ending, as an address, in other letters. Empty: none."""
    name = re.sub(r"[?#].*", "", text.strip().strip("`'\" "))
    name = re.sub(r"^(?:https?://|git@)?(?:www\.)?github\.com[/:]", "", name, flags=re.IGNORECASE)
    parts = [part for part in name.split("/") if part]
    name = parts[1] if len(parts) > 1 else parts[0] if parts else ""
    name = name.removesuffix(".git")
    if name.lower().endswith(SUFFIX):
        name = name[: -len(SUFFIX)]
    return "" if feedstock_fault(name) is not None else name


def resource_of(text: str, offers: Catalog) -> str:
    """The class or label that an answer begins with; empty if nobody offers it."""
    name = text.partition(":")[0].strip().strip("`").strip()
    known = {one.lower(): one for one in offers.names()}
    return known.get(name.lower(), "")


def _no_feedstock(text: str) -> str:
    if not text:
        return "Which feedstock is it for? Write its name below the heading, such as `pytorch-cpu`."
    return f"{quote(text)} is no feedstock's name. Write it without its ending and its address, such as `pytorch-cpu`."


def _no_machine(text: str, inventory: Inventory, offers: Catalog) -> str:
    name = text.partition(":")[0].strip()
    near = nearest(name.lower(), offers.names()) if name and text != issue_form.UNDECIDED else None
    said = f"Nobody offers {quote(name)}. " if name and text != issue_form.UNDECIDED else ""
    meant = f"Do you mean {quote(near)}? " if near else ""
    rows = "\n".join(f"- {quote(words)}" for words in issue_form.machines(inventory).values())
    return f"{said}{meant}Which machine helps? Write one of these names below that heading:\n\n{rows}\n"


def _of_files(issue: Issue, answers: Answers, offers: Catalog) -> Wanted:
    """Requests as admin-requests has them. Several files are one request if they ask for the same of several."""
    found: list[Request] = []
    missing: list[str] = []
    for name, raw in sorted(issue.files.items()):
        try:
            found.append(read_request(raw, name, offers))
        except Failure as failure:
            missing += [_in_words(one) for one in failure.diagnostics]
    kinds = {(r.resources, r.pull_request, r.revoke) for r in found}
    if len(kinds) > 1:
        missing.append("The files ask for different things. Ask for each in a request of its own.")
    if not found or missing:
        return Wanted(missing=tuple(missing))
    first = found[0]
    return Wanted(
        tuple(dict.fromkeys(name for request in found for name in request.feedstocks)),
        first.resources,
        answers.reason or "Asked for by a request file without a reason",
        first.pull_request,
        first.revoke,
        answers.ticked,
    )


def _in_words(one: Diagnostic) -> str:
    where = f"{quote(one.file)}, line {one.line}: " if one.file and one.line else ""
    hint = f" What to do: {quote(one.hint)}." if one.hint else ""
    return f"{where}{quote(one.detail or one.summary)}{hint}"


# ---------------------------------------------------------------------------------------------- the decision


def decide(
    issue: Issue,
    asked: Wanted,
    feedstocks: Sequence[Feedstock],
    files: Mapping[str, bytes],
    today: date,
) -> Decision:
    """What becomes of an issue; `files` are those of the root folder, `feedstocks` what GitHub says of each."""
    parsed = parse(files)
    inventory = parsed.inventory
    if not asked.asks:
        return Decision(Outcome.SILENT, asked)
    if not issue.author.is_person:
        return Decision(
            Outcome.UNCLEAR, asked, missing=("A person has to ask: nobody answers for a program.",)
        )
    if asked.missing:
        return Decision(Outcome.UNCLEAR, asked, missing=asked.missing)
    gone = [one for one in feedstocks if one.name is None or one.archived]
    if gone:
        missing = tuple(_not_there(one, inventory) for one in gone)
        return Decision(Outcome.UNCLEAR, asked, missing=missing)
    asked = replace(asked, feedstocks=tuple(one.name for one in feedstocks if one.name))
    if not _is_operator(issue.author, inventory):
        strange = [one for one in feedstocks if not one.may_be_asked_for()]
        if strange:
            missing = tuple(
                f"You do not maintain {quote(str(one.name))}, as far as GitHub says." for one in strange
            )
            return Decision(Outcome.STRANGER, asked, missing=missing)
    try:
        return _granted(issue, asked, files, inventory, today)
    except Failure as failure:
        return Decision(Outcome.REFUSED, asked, diagnostics=tuple(failure.diagnostics))


def _is_operator(author: Author, inventory: Inventory) -> bool:
    return author.login.lower() in {login.lower() for login in inventory.settings.operators}


def _not_there(one: Feedstock, inventory: Inventory) -> str:
    if one.name is not None:
        return f"{quote(one.name + SUFFIX)} is archived: no job runs there, so no machine is of use to it."
    known = {g.feedstock for g in inventory.grants.values() if g.feedstock}
    near = nearest(one.asked.lower(), known)
    meant = f" Do you mean {quote(near)}?" if near else ""
    return (
        f"There is no repository {quote(one.asked + SUFFIX)}.{meant} Write the feedstock's name as it is called "
        "at GitHub, without its ending."
    )


def _granted(
    issue: Issue, asked: Wanted, files: Mapping[str, bytes], inventory: Inventory, today: date
) -> Decision:
    """The decision on what is clear, and asked for by who may ask. Raises Failure."""
    before = _checked(files, today)
    text = files[GRANTS].decode()
    draft = Draft(text, inventory, catalog(inventory.stacks))
    _change(draft, issue, asked, today)
    draft.settle()
    made: dict[str, bytes] = {}
    if draft.editor.diff():
        made[GRANTS] = draft.editor.text().encode()
    names = [] if asked.revoke else _terms(asked, inventory)
    missing, accepted = [], []
    for name in names:
        people = inventory.users.get(name, UsersFile(users=[]))
        user = _accepting(issue, asked, name, people, inventory, today)
        if isinstance(user, str):
            missing.append(user)
        elif user is not None:
            file = users_file(name)
            old = files.get(file, edit_people.NEW.encode()).decode()
            made[file] = edit_people.with_person(old, user, file).encode()
            accepted.append(name)
    keys = (*draft.added, *draft.changed, *draft.removed)
    common = Decision(Outcome.PROPOSED, asked, made, keys, tuple(accepted), notes=tuple(draft.notes))
    ends = [g.expires for i, g in draft.grants.items() if i not in inventory.grants and g.expires]
    ends += [g.expires for g in draft.grants.values() if g.expires and _is_for(g, asked)]
    common = replace(common, until=max(ends, default=None))
    if missing:
        return replace(common, outcome=Outcome.UNCLEAR, files={}, missing=tuple(missing))
    if not made:
        return replace(common, outcome=Outcome.GRANTED, keys=tuple(draft.unchanged) or keys)
    new = [one for one in _checked({**files, **made}, today) if _said(one) not in map(_said, before)]
    outcome = Outcome.REFUSED if has_errors(new) else Outcome.PROPOSED
    return replace(common, outcome=outcome, diagnostics=(*draft.diagnostics, *new))


def _is_for(grant: Grant, asked: Wanted) -> bool:
    return grant.repository.lower() in {f"{name}{SUFFIX}".lower() for name in asked.feedstocks}


def _checked(files: Mapping[str, bytes], today: date) -> list[Diagnostic]:
    """What is wrong with a folder."""
    parsed = parse(files)
    line = yaml12.first_line(parsed.texts.get(GRANTS, ""))
    return place(parsed.diagnostics + check(parsed.inventory, today, line), parsed.texts)


def _said(one: Diagnostic) -> tuple[str, str | None, str]:
    return one.code, one.file, one.detail


def _change(draft: Draft, issue: Issue, asked: Wanted, today: date) -> None:
    """Do in the draft what is asked; what ends soon is renewed."""
    template = Grant(
        resources=[],
        reason=asked.reason,
        request=issue.url,
        requested_by=issue.author.login,
    ).model_copy(update={"expires": issue.opened + YEAR})
    request = Request(
        asked.feedstocks,
        asked.resources,
        asked.pull_requests,
        asked.revoke,
        send_pr=False,
        source="the issue",
    )
    faults = [f for name in asked.resources if (f := resource_fault(name, draft.offers)) is not None]
    if faults:
        raise Failure(*faults)
    changes.apply_request(draft, request, template, issue.opened, GRANTS)
    if asked.revoke:
        return
    soon = today + RENEWED_WITHIN
    for name in asked.feedstocks:
        for index in draft.of(f"{name}{SUFFIX}"):
            grant = draft.grants[index]
            if index in draft.inventory.grants and grant.expires is not None and grant.expires <= soon:
                own = draft.named(index, asked.resources, set())
                if own and has_access(grant, today):
                    draft.renew(index, own, YEAR, today)


# ------------------------------------------------------------------------------------------------- the terms


def _terms(asked: Wanted, inventory: Inventory) -> list[str]:
    """The names of the terms that belong to what is asked for."""
    offers = catalog(inventory.stacks)
    found = (
        inventory.stacks[one.stack].donor.terms.users
        for name in asked.resources
        for one in offers.offers(name)
    )
    return sorted({name for name in found if name})


def _accepting(
    issue: Issue, asked: Wanted, name: str, people: UsersFile, inventory: Inventory, today: date
) -> User | str | None:
    """The author's entry as it should be, None if it is so already, or a sentence on what is missing."""
    author, terms = issue.author, terms_of(inventory.stacks, name)
    known = next((user for user in people.users if user.id == author.id), None)
    other = person(people, author.login)
    if other is not None and other.id != author.id:
        return (
            f"{quote(users_file(name))} has somebody else under the login {quote(author.login)}: the number "
            f"{other.id}, and yours is {author.id}. One of the operators has to look at it."
        )
    is_good = known is not None and standing(known, people, terms, today) in (
        Standing.GOOD,
        Standing.UNRECORDED,
    )
    if is_good and known is not None:
        return _renamed(known, author)
    if issue_form.tick(inventory, name) not in asked.ticked:
        return (
            "The terms of who gives the machine have to be accepted by you. Put this line into your text above, "
            f"or tick it there:\n\n```markdown\n- [x] {issue_form.tick(inventory, name)}\n```\n"
        )
    user = known or User(github=author.login, id=author.id)
    values = {"terms": terms.version, "accepted": max(issue.opened, terms.version or issue.opened)}
    return (_renamed(user, author) or user).model_copy(update=values)


def _renamed(user: User, author: Author) -> User | None:
    """The entry under the author's login of today; None if it has that already."""
    if user.github.lower() == author.login.lower():
        return None
    before = [login for login in (*user.formerly, user.github) if login.lower() != author.login.lower()]
    return user.model_copy(update={"github": author.login, "formerly": list(dict.fromkeys(before))})


def withdrawn(asked: Wanted) -> Decision:
    """What becomes of an issue that was closed before it was granted."""
    return Decision(Outcome.WITHDRAWN, asked)


def elsewhere(decision: Decision, number: int) -> Decision:
    """The same, where another open request asks for it all."""
    note = f"#{number}"
    return replace(decision, outcome=Outcome.ELSEWHERE, files={}, notes=(note,))
