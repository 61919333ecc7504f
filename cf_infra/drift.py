"""Drift: what somebody changed at a cloud behind OpenTofu's back, as what an apply of the same files would undo.

Pure. Two plans of the same files are compared: one that looks at the cloud, and one that believes the state. What only
the first one does comes of the cloud. A cloud fills in much by itself that nobody declared; that is no drift, and
OpenTofu's own list of it (`resource_drift`) has it all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cf_infra.diagnostics import printable
from cf_infra.plan import Item, PlanSummary, beyond
from cf_infra.report import code, is_internal, whose
from cf_infra.terminal import wrapped

WORDS = {
    "create": "is not there any more",
    "update": "was changed",
    "replace": "was changed, and must be made anew",
    "delete": "was put there by somebody else",
}
"""What happened at the cloud, by what an apply would do about it."""
SIGNS = {"create": "-", "update": "~", "replace": "~", "delete": "+"}


def drifted(looked: PlanSummary, believed: PlanSummary, gone: Iterable[str] = ()) -> list[Item]:
    """What only the plan that looked does. `gone`: addresses that are there no more, and that no provider notices."""
    addresses = set(beyond(looked.hashes, believed.hashes))
    found = [item for item in looked.items if item.address in addresses and item.action in WORDS]
    lost = [Item(address, "create", address) for address in gone if address not in addresses]
    return [item for item in (*found, *lost) if not is_internal(item.as_json())]


def terminal(stack: str, items: Sequence[Mapping[str, Any]]) -> str:
    """A stack's drift as text of 80 columns."""
    if not items:
        return f"{stack}: nothing was changed behind our back\n"
    lines = [f"{stack}: {len(items)} changed behind our back"]
    for item in items:
        lines += wrapped(printable(said(item)), f"  {SIGNS[item['action']]} ", "      ")
    return "\n".join([*lines, f"  to make it as the files say: cf-infra plan {stack}"]) + "\n"


def markdown(stack: str, items: Sequence[Mapping[str, Any]]) -> str:
    """The same as Markdown; what comes from a cloud stands in code."""
    if not items:
        return f"### {code(stack)}: nothing was changed behind our back\n"
    lines = [f"### {code(stack)}: {len(items)} changed behind our back", ""]
    return "\n".join([*lines, *(f"- {code(SIGNS[i['action']])} {code(said(i))}" for i in items)]) + "\n"


def said(item: Mapping[str, Any]) -> str:
    """One change in words."""
    return f"{item['what']} {WORDS[item['action']]} {whose(item)}".rstrip()
