"""Steps of `explain` about what is offered: where, whether its donor still gives, how jobs reach it."""

from __future__ import annotations

from datetime import date

from cf_infra.access import scalar
from cf_infra.asked import Case, Entry, stack_file
from cf_infra.catalog import Offered
from cf_infra.chain import Outcome, Remedy, Step, is_like, likest_first, listed, quote
from cf_infra.model import Kind, Via
from cf_infra.parse import GRANTS


def offered(case: Case, entry: Entry | None) -> Step:
    """Which stacks offer it; of the entry's, if there is one."""
    offers = case.offers if entry is None else entry.offers
    if not offers:
        return _not_offered(case, entry)
    first = offers[0]
    where = "; ".join(_place(case, o) for o in offers)
    line = case.around.line(stack_file(first.stack), "offers", first.runner_class)
    return Step("offer", Outcome.YES, f"It is offered by {where}.", stack_file(first.stack), line)


def _place(case: Case, o: Offered) -> str:
    label = f" with the label {quote(o.offer.label)}" if o.offer.label else ""
    return f"{quote(o.stack)} ({quote(case.around.stack(o).donor.name)}) as {quote(o.runner_class)}{label}"


def _not_offered(case: Case, entry: Entry | None) -> Step:
    resource = case.question.resource
    if entry is not None and entry.grant.stack is not None and case.offers:
        where = sorted({o.stack for o in case.offers})
        why = f"The entry is for {quote(entry.grant.stack)} only, which does not offer it; {listed(where)} does."
        fix = Remedy("name the other donor there, or none", f"    stack: {scalar(where[0])}", "yaml")
        return Step("offer", Outcome.NO, why, GRANTS, entry.line("stack"), (fix,))
    if entry is not None and entry.grant.imported is not None:
        why = (
            f"No stack offers {quote(resource)}. The imported entry is exported as it is, and whether there is such "
            "a runner is not known here."
        )
        return Step("offer", Outcome.UNKNOWN, why, GRANTS, entry.line("resources"))
    names = likest_first(case.around.catalog.names(), resource)
    why = f"No stack offers {quote(resource)}. Offered are: {listed(names) or 'none'}."
    near = [name for name in names[:1] if is_like(name, resource)]
    fixes = tuple(Remedy("ask for what is nearest", case.command(resource=name)) for name in near)
    if entry is None:
        return Step("offer", Outcome.NO, why, remedies=fixes)
    return Step("offer", Outcome.NO, why, GRANTS, entry.line("resources"), fixes)


def alive(case: Case, offers: tuple[Offered, ...]) -> list[Step]:
    """Whether a donor of the offers still gives; with the place of the first who does, else of the last who did."""
    if not offers:
        return []
    giving = case.giving(offers)
    ends = {o.stack: case.around.stack(o).donor.until for o in offers}
    name = giving[0].stack if giving else max(ends, key=lambda n: ends[n] or date.min)
    file, until = stack_file(name), ends[name]
    line = case.around.line(file, "donor", *(["until"] if until else []))
    if giving:
        end = f"until {until}" if until else "without a known end"
        return [Step("stack", Outcome.YES, f"{quote(name)} gives machines {end}.", file, line)]
    like = _alternatives(case, offers)
    why = f"{quote(name)} gave machines until {until}, and nobody else offers this."
    why += f" What is like it: {listed(like)}." if like else ""
    fixes = (Remedy("ask for another class", case.command(resource=like[0])),) if like else ()
    return [Step("stack", Outcome.NO, why, file, line, fixes)]


def _alternatives(case: Case, offers: tuple[Offered, ...]) -> list[str]:
    """Classes for the same system and processor whose donors still give; those with a like name first."""
    today, wanted = case.question.today, offers[0].offer
    found = {
        runner_class
        for stack in case.around.inventory.stacks.values()
        if stack.donor.until is None or today <= stack.donor.until
        for runner_class, offer in stack.offers.items()
        if (offer.os, offer.arch) == (wanted.os, wanted.arch)
    }
    kind = offers[0].runner_class.partition("-")[0]
    return sorted(found, key=lambda name: (name.partition("-")[0] != kind, name))[:3]


def runner_group(case: Case) -> list[Step]:
    """Only where a stack manages GitHub; a group is no boundary for Cirun, whose runners go to the repository."""
    name = next((n for n, s in case.around.inventory.stacks.items() if s.kind is Kind.GITHUB), None)
    if name is None:
        return []
    why = "Which repositories a runner group serves is known to GitHub only; for Cirun it is no boundary."
    return [Step("runner-group", Outcome.UNKNOWN, why, stack_file(name), 1)]


def label(case: Case, offers: tuple[Offered, ...]) -> list[Step]:
    """How jobs reach the machine."""
    if not offers:
        return []
    offers = case.giving(offers) or offers
    labelled = [o for o in offers if o.offer.label is not None]
    first = (labelled or list(offers))[0]
    file = stack_file(first.stack)
    if not labelled:
        how = "by SSH" if first.offer.via is Via.DIRECT else f"through {quote(first.offer.via)}"
        line = case.around.line(file, "offers", first.runner_class, "via")
        return [Step("label", Outcome.YES, f"The machine is reached {how}, without a label.", file, line)]
    names = dict.fromkeys(o.offer.label or "" for o in labelled)
    line = case.around.line(file, "offers", first.runner_class, "label")
    return [Step("label", Outcome.YES, f"Jobs ask for it by the label {listed(names, ' or ')}.", file, line)]
