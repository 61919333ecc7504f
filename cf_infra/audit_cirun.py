"""Cirun itself compared with what grants say: which repositories it is active for, and which list it reads."""

from __future__ import annotations

from collections.abc import Iterator, Set

from cf_infra.access import AccessList, read_access
from cf_infra.audit_lists import entries
from cf_infra.declared import Declared
from cf_infra.diagnostics import Failure, some
from cf_infra.findings import Finding
from cf_infra.observed import SeenCirun, SeenLists

WHERE = "cirun"


def cirun(
    declared: Declared, seen: SeenCirun, lists: SeenLists | None, moved: Set[str] = frozenset()
) -> Iterator[Finding]:
    """Everything that differs at Cirun. Repositories of other organisations are not ours to judge.

    `moved`: repositories, in small letters, that are not there any more under this name: to be told once, elsewhere.
    """
    owner = declared.organisation
    there = {
        name.partition("/")[2].lower(): name.partition("/")[2]
        for name in seen.activated
        if name.partition("/")[0].lower() == owner.lower()
    }
    for name in sorted(there.keys() - declared.by_cirun.keys()):
        text = "Cirun makes runners for it, and no grant gives it any."
        if name in declared.repositories:
            text = "Cirun makes runners for it, and its grants need none of Cirun's."
        fix = f"cirun repo remove {owner}/{there[name]}"
        yield Finding("activation-without-grant", WHERE, there[name], text, fix=fix)
    for name in sorted(declared.by_cirun.keys() - there.keys() - moved):
        written = declared.by_cirun[name]
        text = "It has a grant, and Cirun makes no runners for it: its jobs wait for ever."
        yield Finding(
            "grant-without-activation", WHERE, written, text, fix=f"cirun repo add {owner}/{written}"
        )
    yield from _list(declared, seen, lists)


def _list(declared: Declared, seen: SeenCirun, lists: SeenLists | None) -> Iterator[Finding]:
    """Does Cirun read the list that stands in the organisation? It decides by what it read."""
    if lists is None or lists.access is None:
        return
    where = f"{WHERE} access-control"
    try:
        read = read_access(seen.access.encode(), where) if seen.access is not None else AccessList()
        there = read_access((lists.access.content or "version: 1\n").encode(), lists.where)
    except Failure as failure:
        if seen.access is not None and lists.access.content is not None:
            why = some(d.detail.split("\n")[0] or d.summary for d in failure.diagnostics)
            yield Finding(
                "unreadable-list",
                where,
                "the whole list",
                f"It cannot be read: {why}",
                fix=declared.mend_access(),
            )
        return
    ours, theirs = entries(there), entries(read)
    for pair in sorted(pair for pair in ours.keys() | theirs.keys() if ours.get(pair) != theirs.get(pair)):
        kind = "missing-access" if pair not in theirs else "undeclared-access"
        text = "Cirun goes by another entry than the one that stands in the organisation's list now."
        fix = f"cirun repo remove {declared.organisation}/{pair[0]}\n# and ask Cirun to read the list again"
        yield Finding(kind, where, "/".join(pair), text, fix=fix)
