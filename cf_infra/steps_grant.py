"""The first steps of `explain`: is there an entry, does it hold today, who approved it."""

from __future__ import annotations

import shlex

from cf_infra.access import scalar
from cf_infra.asked import Case, Entry
from cf_infra.chain import Outcome, Remedy, Step, likest_first, listed, quote
from cf_infra.parse import GRANTS

REQUESTS = "https://github.com/conda-forge/admin-requests/pull/NUMBER"


def granted(case: Case, entry: Entry) -> Step:
    """The entry, in its own words."""
    grant = entry.grant
    reason = f" Its reason: {quote(grant.reason)}." if grant.reason else ""
    request = f" Its request: {quote(grant.request)}." if grant.request else ""
    source = f" It was imported from {quote(grant.imported)}." if grant.imported else ""
    why = f"An entry grants {listed(grant.resources)} to {quote(case.repository)}.{reason}{request}{source}"
    return Step("grant", Outcome.YES, why, GRANTS, entry.line("resources"))


def not_granted(case: Case, others: list[Entry]) -> Step:
    """No entry is about the resource; `others` are the repository's entries about other ones."""
    name, resource = quote(case.repository), quote(case.question.resource)
    fixes = _requests(case) if case.offers else ()
    if others:
        have = likest_first(sorted({r for e in others for r in e.grant.resources}), case.question.resource)
        why = f"{name} has no entry for {resource}; it has: {listed(have) or 'nothing'}."
        return Step("grant", Outcome.NO, why, GRANTS, others[0].line(), fixes)
    near = case.around.entries.names_like(case.short)
    meant = f" Do you mean {listed(near, ' or ')}?" if near else ""
    asks = tuple(Remedy(f"if {quote(other)} is meant", case.command(other)) for other in near[:1])
    why = f"grants.yaml has no entry for {name}.{meant}"
    return Step("grant", Outcome.NO, why, GRANTS, None, (*asks, *fixes))


def _requests(case: Case) -> tuple[Remedy, ...]:
    question = case.question
    who = question.user or "LOGIN"
    terms = case.around.terms_names(case.offers)
    lines = [
        f"  - {'feedstock' if case.is_feedstock else 'repo'}: {scalar(case.short)}",
        f"    resources: [{scalar(question.resource)}]",
        "    reason: WHY",
        f"    request: {REQUESTS}",
        f"    requested_by: {scalar(who)}",
        f"    granted: {question.today}",
        f"    expires: {case.in_a_year}",
        "    roles: [admin, maintain, write]",
        *(f"    terms: {scalar(name)}" for name in terms[:1]),
    ]
    if not case.is_feedstock:
        return (Remedy("add to grants.yaml", "\n".join(lines), "yaml"),)
    command = (
        f"{shlex.join(['cf-infra', 'grant', 'add', case.short, question.resource])} \\\n"
        f"  --reason 'WHY' --request {REQUESTS} \\\n"
        f"  --requested-by {shlex.quote(who)} --expires {case.in_a_year}"
    )
    return (Remedy("ask for it", command), Remedy("or add to grants.yaml", "\n".join(lines), "yaml"))


def dates(case: Case, entry: Entry) -> Step:
    """Does the entry hold on the day."""
    grant, today = entry.grant, case.question.today
    if grant.granted is not None and today < grant.granted:
        why = f"Access begins on {grant.granted}; {today} is before that."
        fix = Remedy("write an earlier day there", f"    granted: {today}", "yaml")
        return Step("dates", Outcome.NO, why, GRANTS, entry.line("granted"), (fix,))
    begin = f"from {grant.granted} on" if grant.granted else "from a day that is not known"
    if grant.expires is None:
        return Step(
            "dates", Outcome.YES, f"Access holds {begin}; no end is set.", GRANTS, entry.line("granted")
        )
    if today < grant.expires:
        left = _days((grant.expires - today).days)
        why = f"Access holds {begin}; the first day without it is {grant.expires}, in {left}."
        return Step("dates", Outcome.YES, why, GRANTS, entry.line("expires"))
    why = f"Access has ended: the first day without it was {grant.expires}."
    return Step("dates", Outcome.NO, why, GRANTS, entry.line("expires"), _renewals(case))


def _renewals(case: Case) -> tuple[Remedy, ...]:
    text = f"    expires: {case.in_a_year}"
    if not case.is_feedstock:
        return (Remedy("write a later day there", text, "yaml"),)
    words = ["cf-infra", "grant", "renew", case.short, case.question.resource, "--until", str(case.in_a_year)]
    return (Remedy("renew it", shlex.join(words)), Remedy("or write a later day there", text, "yaml"))


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def approver(case: Case, entry: Entry) -> Step:
    """Has somebody else approved than who asked."""
    grant = entry.grant
    asked = f"{quote(grant.requested_by)} asked for it" if grant.requested_by else "Nobody is named who asked"
    known = case.maintainers
    if known is not None and grant.requested_by is not None and grant.requested_by.lower() not in known:
        asked += " (no maintainer of the feedstock now)"
    if not grant.approved_by:
        rest = (
            "the list that it was imported from names no approver."
            if grant.imported is not None
            else "who merged the entry approved it, which the file does not say."
        )
        where = entry.line("imported", "requested_by")
        return Step("approver", Outcome.UNKNOWN, f"{asked}; {rest}", GRANTS, where)
    line = entry.line("approved_by")
    requester = (grant.requested_by or "").lower()
    if all(login.lower() == requester for login in grant.approved_by):
        fix = Remedy("have somebody else approve, and name them there", "    approved_by: [LOGIN]", "yaml")
        return Step("approver", Outcome.NO, f"{asked}, and nobody else approved.", GRANTS, line, (fix,))
    return Step("approver", Outcome.YES, f"{asked}; {listed(grant.approved_by)} approved.", GRANTS, line)
