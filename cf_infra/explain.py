"""May a repository use a resource, and if not, what is the shortest way: the whole chain, as a value.

Pure: files and a question in, an answer out. Only what the answer needs is validated (see selection.py), so faults in
entries of others do not hinder it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cf_infra import parse, steps_grant, steps_offer, steps_people
from cf_infra.asked import Case, Entry, Question, stack_file, surroundings
from cf_infra.catalog import Offered
from cf_infra.chain import Explanation, Outcome, Step
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.feedstock import feedstock_lines
from cf_infra.model import Grant, Login, Repository, Resource
from cf_infra.parse import GRANTS, validated
from cf_infra.selection import ENDING, Entries, Found, Selection


def question_faults(question: Question) -> list[Diagnostic]:
    """What of a question is no name: such texts are refused before anything is made of them."""
    asked: list[tuple[str, str, Any, str]] = [
        ("FEEDSTOCK", question.name, Repository, "a feedstock's name, without its organisation"),
        ("RESOURCE", question.resource, Resource, "a runner class or a label"),
    ]
    if question.user is not None:
        asked.append(("--user", question.user, Login, "a login as GitHub writes it, without @"))
    return [
        Diagnostic("usage", detail=f"{name} must be {what}, not {text[:100]!r}.", hint=_better(text, form))
        for name, text, form, what in asked
        if not _fits(text, form)
    ]


def _fits(text: str, form: Any) -> bool:
    try:
        TypeAdapter(form).validate_python(text)
    except ValidationError:
        return False
    return text not in (".", "..")


def _better(text: str, form: Any) -> str:
    """The name in an address or a path, if there is one."""
    last = text.strip().rstrip("/").rpartition("/")[2].removesuffix(".git").lstrip("@")
    return f"write {last}" if _fits(last, form) else "see the forms:\ncf-infra explain --help"


def explain(files: Mapping[str, bytes], question: Question) -> Explanation:
    """The answer that the files of a root folder give. Raises Failure for faults that hinder one."""
    if faults := question_faults(question):
        raise Failure(*faults)
    if GRANTS not in files:
        raise Failure(*parse.parse(files).diagnostics)
    entries = Entries(files[GRANTS])
    grants = _own_grants(entries.select(_short(question.name)))
    around = surroundings(entries, files)
    offers = around.catalog.offers(question.resource)
    if not offers:
        around.needs("stacks/")  # it may be offered there
    case = Case(around, question, _repository(grants, question.name), offers)
    own = [(f, grant) for f, grant in grants if grant.repository.lower() == case.repository.lower()]
    return _answer(case, own)


def _short(name: str) -> str:
    ending = name.lower().endswith(ENDING) and len(name) > len(ENDING)
    return name[: -len(ENDING)] if ending else name


def _own_grants(selection: Selection) -> list[tuple[Found, Grant]]:
    """The entries, validated. Raises Failure with the faults of all of them."""
    faults, grants = list(selection.faults), []
    for found in selection.entries:
        wrong: list[Diagnostic] = []
        grant = validated(found.value, Grant, GRANTS, wrong)
        faults += found.placed(wrong)
        if grant is not None:
            grants.append((found, grant))
    if faults:
        raise Failure(*faults)
    return grants


def _repository(grants: list[tuple[Found, Grant]], name: str) -> str:
    """The repository that is meant: the feedstock, unless only another repository of this name has entries."""
    feedstock = name if name.lower().endswith(ENDING) else f"{name}{ENDING}"
    spelled = {grant.repository.lower(): grant.repository for _, grant in grants}
    known = (spelled[wanted.lower()] for wanted in (feedstock, name) if wanted.lower() in spelled)
    return next(known, feedstock)


def _answer(case: Case, own: list[tuple[Found, Grant]]) -> Explanation:
    """The chain of the entry that allows most; where there is none, what an entry would meet."""
    entries: list[Entry] = []
    others: list[Entry] = []
    for found, grant in own:
        opened = _opened(case, grant)
        (others if opened is None else entries).append(Entry(found, grant, opened or ()))
    chains = [_chain(case, entry) for entry in entries]
    if not chains:
        made = _made(case, _without_entry(case, others), case.offers, pull_requests=False)
        return replace(made, offers=case.offers)
    best = min(range(len(chains)), key=lambda i: _refusals(chains[i]))
    rest = [
        (e.line(), not _refusals(c)) for e, c in zip(entries, chains, strict=True) if e is not entries[best]
    ]
    entry = entries[best]
    made = _made(case, chains[best], entry.offers, entry.grant.pull_requests, tuple(rest))
    return replace(made, grant=entry.grant, offers=entry.offers)


def _made(
    case: Case,
    chain: list[Step],
    offers: tuple[Offered, ...],
    pull_requests: bool,
    others: tuple[tuple[int, bool], ...] = (),
) -> Explanation:
    question = case.question
    lines = feedstock_lines(case.giving(offers) or offers, pull_requests) if case.is_feedstock else ()
    unread = tuple(sorted(case.around.inventory.unread))
    return Explanation(
        case.repository, question.resource, question.user, question.today, tuple(chain), lines, others, unread
    )


def _refusals(chain: list[Step]) -> int:
    return sum(step.outcome is Outcome.NO for step in chain)


def _opened(case: Case, grant: Grant) -> tuple[Offered, ...] | None:
    """The offers that an entry opens of those that are asked for; None if it is about other resources.

    A label of one donor does not open what another one offers of the same class.
    """
    wanted = {(o.stack, o.runner_class) for o in case.offers}
    named = [o for r in grant.resources for o in case.around.catalog.offers(r)]
    meant = {(o.stack, o.runner_class): o for o in named if (o.stack, o.runner_class) in wanted}
    if not meant and case.question.resource not in grant.resources:
        return None
    if grant.stack is not None:
        case.around.needs(stack_file(grant.stack))
    return tuple(o for o in meant.values() if grant.stack in (None, o.stack))


def _chain(case: Case, entry: Entry) -> list[Step]:
    return [
        steps_grant.granted(case, entry),
        steps_grant.dates(case, entry),
        steps_grant.approver(case, entry),
        steps_offer.offered(case, entry),
        *steps_offer.alive(case, entry.offers),
        *steps_people.terms(case, entry),
        steps_people.who(case, entry),
        steps_people.pull_request(entry),
        *steps_offer.runner_group(case),
        *steps_offer.label(case, entry.offers),
    ]


def _without_entry(case: Case, others: list[Entry]) -> list[Step]:
    return [
        steps_grant.not_granted(case, others),
        steps_offer.offered(case, None),
        *steps_offer.alive(case, case.offers),
        *steps_people.terms_to_come(case),
        *steps_offer.runner_group(case),
        *steps_offer.label(case, case.offers),
    ]
