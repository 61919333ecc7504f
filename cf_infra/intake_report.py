"""What a request's issue is answered, and what its pull request says: words for somebody who is new to it.

Texts of strangers stand in backticks or fences; names are those that were checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cf_infra.answer import fenced
from cf_infra.approvals import Need
from cf_infra.chain import Outcome as StepOutcome
from cf_infra.chain import Step, listed, quote
from cf_infra.diagnostics import Diagnostic
from cf_infra.intake import SUFFIX, Decision, Issue, Outcome
from cf_infra.model import Inventory
from cf_infra.parse import GRANTS

FOOTER = "Written by cf-infra. Change the text of this issue, and this answer and the pull request follow it."
MOST_DIAGNOSTICS = 10
NAMES = {
    "repository": "whether the repository is there",
    "runner-group": "whether it is in its runner group",
    "access-list": "whether it stands in the access list",
    "cirun-list": "whether Cirun has read the access list",
    "cirun": "whether Cirun makes runners for it",
    "feedstock": "whether its jobs are to run there",
    "labels": "whether its jobs ask for this machine",
}
"""The steps between a grant and a running job, as `explain --live` names them, for people."""


@dataclass(frozen=True)
class Around:
    """What is known beside the decision.

    `pull`: the number and the state of the request's pull request (None: there is none); `ours`: is the grant of this
    very issue in grants.yaml already; `way`: the steps from the grant to a running job, as `explain --live` has them;
    `needs`: who must approve.
    """

    organisation: str
    pull: int | None = None
    ours: bool = False
    kept: str = ""
    way: Sequence[tuple[str, Sequence[Step]]] = ()
    needs: Sequence[Need] = ()


# ----------------------------------------------------------------------------------------------- the pull request


def title(decision: Decision) -> str:
    """The title of the pull request and the first line of its commit: checked names only."""
    verb = "Revoke access" if decision.wanted.revoke else "Grant access"
    if not decision.keys:
        return f"Accept terms: {', '.join(decision.terms)}"
    names = list(decision.names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    what = ", ".join(decision.wanted.resources[:3])
    return f"{verb}: {', '.join(names[:3])}{more} ({what})"


def body(decision: Decision, issue: Issue, hidden: str) -> str:
    """The text of the pull request. `hidden`: a line for programs."""
    lines = [
        hidden,
        f"Asked for in #{issue.number} by {quote(issue.author.login)} (number {issue.author.id}).",
    ]
    if decision.keys:
        lines += ["", "What changes:", *(f"- {quote(key)}" for key in decision.keys)]
    lines += [f"- {note}" for note in map(_inert, decision.notes)]
    if decision.terms:
        who = f"{quote(issue.author.login)} accepts the terms {listed(decision.terms)}"
        lines += ["", f"{who}, by a tick in the issue; that is written down here, too."]
    if decision.wanted.reason and not decision.wanted.revoke:
        lines += ["", "The reason, in the words of who asks:", "", *fenced(decision.wanted.reason, "text")]
    lines += ["", *_check(decision.diagnostics)]
    lines += ["", f"Closes #{issue.number}", "", "Made by cf-infra. Edit the issue instead of this branch."]
    return "\n".join(lines) + "\n"


def _inert(text: str) -> str:
    return quote(text)


def _check(found: Sequence[Diagnostic]) -> list[str]:
    if not found:
        return ["`cf-infra check` has nothing to say against it."]
    lines = ["What `cf-infra check` says of it:", ""]
    for one in found[:MOST_DIAGNOSTICS]:
        detail = one.detail.split("\n", 1)[0]
        lines.append(f"- {one.severity}: {one.summary}. {quote(detail)}")
    more = len(found) - MOST_DIAGNOSTICS
    return lines + ([f"- and {more} more"] if more > 0 else [])


# --------------------------------------------------------------------------------------------------- the answer


def comment(decision: Decision, issue: Issue, inventory: Inventory, around: Around) -> str:
    """The answer in the issue, without its hidden marker; empty where nothing is to be said."""
    lines = list(_told(decision, issue, inventory, around))
    return "\n".join([*lines, "", f"<sub>{FOOTER}</sub>"]) + "\n" if lines else ""


def _told(decision: Decision, issue: Issue, inventory: Inventory, around: Around) -> Iterator[str]:
    if decision.outcome is Outcome.UNCLEAR:
        yield from _unclear(decision)
    elif decision.outcome is Outcome.STRANGER:
        yield from _stranger(decision, inventory)
    elif decision.outcome is Outcome.GRANTED:
        yield from _granted(decision, around)
    elif decision.outcome is Outcome.ELSEWHERE:
        yield from _elsewhere(decision)
    elif decision.outcome is Outcome.REFUSED:
        yield from _refused(decision, inventory)
    elif decision.outcome is Outcome.PROPOSED:
        yield from _proposed(decision, issue, around)
    elif decision.outcome is Outcome.WITHDRAWN:
        yield from _withdrawn(around)


def _unclear(decision: Decision) -> Iterator[str]:
    count = len(decision.missing)
    yield f"**Not clear yet: {count} thing{'s' * (count != 1)} missing.** Nothing was proposed."
    yield ""
    for number, sentence in enumerate(decision.missing, start=1):
        yield f"{number}. {_indented(sentence)}"
    yield ""
    yield "What happens next: edit the text of this issue (the three dots above it), and it is looked at again."


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n   ")


def _stranger(decision: Decision, inventory: Inventory) -> Iterator[str]:
    yield "**Only a maintainer of the feedstock can ask for this.** Nothing was proposed."
    yield ""
    yield from (f"- {sentence}" for sentence in decision.missing)
    yield ""
    yield "What you can do: ask one of its maintainers to open a request, or become one of them first: add your login"
    yield "below `recipe-maintainers` in the recipe. If GitHub has not yet heard that you are one, wait until the team"
    yield f"was updated, and edit this issue. {_operators(inventory, 'can ask for any feedstock')}"


def _operators(inventory: Inventory, what: str) -> str:
    known = inventory.settings.operators
    return f"The operators ({listed(known)}) {what}." if known else ""


def _granted(decision: Decision, around: Around) -> Iterator[str]:
    until = f" until {decision.until}" if decision.until is not None else ""
    what = listed(decision.keys) if decision.keys else "What it asks for"
    plural = len(decision.keys) > 1
    if decision.wanted.revoke:
        yield "**There is nothing to take away.** No entry grants what this request names."
    elif around.ours:
        yield f"**Granted.** {what} {'are' if plural else 'is'} in `{GRANTS}`{until}."
    else:
        yield f"**Granted already{until}.** {what} {'are' if plural else 'is'} in `{GRANTS}`; nothing was changed."
    if around.way:
        yield from _way(around)


def _way(around: Around) -> Iterator[str]:
    """From the grant to a running job: what is done, and what is next."""
    for repository, steps in around.way:
        yield ""
        yield f"On the way to a running job of {quote(f'{around.organisation}/{repository}')}:"
        yield ""
        yield from (f"- {_stands(step)}" for step in steps)
        first = next((step for step in steps if step.outcome is StepOutcome.NO), None)
        yield ""
        if first is None:
            yield "What happens next: nothing has to be done any more, as far as could be asked."
            continue
        theirs = first.step in NAMES and first.step not in ("feedstock", "labels")
        yield f"What happens next: {_who(first, theirs)}"
        for fix in () if theirs else first.remedies:
            yield from ("", f"{fix.do}:", "", *fenced(fix.text, fix.language))


def _stands(step: Step) -> str:
    if step.outcome is StepOutcome.UNKNOWN:
        return f"not known here: {NAMES.get(step.step, step.step)}"
    return f"{'done:' if step.outcome is StepOutcome.YES else '**open:**'} {step.why}"


def _who(step: Step, theirs: bool) -> str:
    if theirs:
        return "the infrastructure team brings about what is open first; you need not do anything."
    if any("/pull/" in fix.text for fix in step.remedies):
        return "you, or another maintainer, merge the pull request in the feedstock and rerender it."
    return (
        "what is open first; the infrastructure team proposes it in the feedstock, or a maintainer does it."
    )


def _elsewhere(decision: Decision) -> Iterator[str]:
    yield f"**Asked for already in {' '.join(decision.notes)}.** Nothing was changed."
    yield ""
    yield "What happens next: follow that one. You can close this one; if it asks for something else, say what."


def _refused(decision: Decision, inventory: Inventory) -> Iterator[str]:
    yield "**It cannot be granted as it is.** Nothing was proposed."
    yield ""
    yield from _check(decision.diagnostics)
    yield ""
    yield "What happens next: if a smaller machine will do, edit the text of this issue; else it waits for a person."
    yield _operators(inventory, "see it here")


def _proposed(decision: Decision, issue: Issue, around: Around) -> Iterator[str]:
    pull = f"#{around.pull}" if around.pull is not None else "A pull request"
    yield _verdict(decision, pull)
    yield from (("", around.kept) if around.kept else ())
    yield ""
    yield "Who must approve:"
    yield from _approvers(issue, around)
    yield ""
    yield from _check(decision.diagnostics)
    if decision.notes:
        yield ""
        yield from (f"- {_inert(note)}" for note in decision.notes)
    yield ""
    yield "What happens next:"
    yield f"1. Somebody of these looks at {pull} and merges it. You need not do anything."
    if decision.wanted.revoke:
        yield "2. The next apply takes the access away, and proves that it is gone."
        return
    yield "2. The next apply opens the access."
    names = listed(f"{around.organisation}/{name}{SUFFIX}" for name in decision.names)
    yield f"3. A pull request comes to {names}; this answer will name it. Merge it and rerender: then jobs run there."


def _verdict(decision: Decision, pull: str) -> str:
    if not decision.keys:
        return f"**Proposed.** {pull} writes down that you accept the terms {listed(decision.terms)}."
    verb = "takes away" if decision.wanted.revoke else "gives"
    until = f" until {decision.until}" if decision.until is not None and not decision.wanted.revoke else ""
    return f"**Proposed.** {pull} {verb} {listed(decision.keys)}{until}."


def _approvers(issue: Issue, around: Around) -> Iterator[str]:
    """Who may say yes to what; who asks is none of them."""
    for need in around.needs:
        others = _without(need.by, issue.author.login)
        many = need.needed > 1 or len(others) > 1
        who = (
            f"{need.needed} of {listed(others)}"
            if many
            else listed(others)
            if others
            else "one of the operators"
        )
        yield f"- for {', '.join(map(quote, need.what.split(', ')))}: {who}"


def _without(names: Iterable[str], login: str) -> list[str]:
    return [name for name in names if name.lower() != login.lower()]


def _withdrawn(around: Around) -> Iterator[str]:
    yield "**Withdrawn.** This issue was closed before anything was granted."
    if around.pull is not None:
        yield f"#{around.pull} was closed with it."
    yield ""
    yield "What happens next: nothing. Open it again if it is still needed."
