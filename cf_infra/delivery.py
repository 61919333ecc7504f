"""What tells others who may use a stack: Cirun's two lists, as far as they are about its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from cf_infra.access import (
    AccessList,
    access_text,
    export_access,
    read_access,
    runners_text,
)
from cf_infra.catalog import Catalog
from cf_infra.deployment import Deployment
from cf_infra.files import write
from cf_infra.github_files import ACCESS, RUNNERS, common, rows
from cf_infra.model import Inventory, Stack
from cf_infra.resolve import Resolved


def own_access(resolved: Resolved, inventory: Inventory, stack: str) -> AccessList:
    """The access list as far as it is about the labels of one stack."""
    labels = {o.label for o in resolved.stacks[stack].stack.offers.values() if o.label is not None}
    whole = export_access(resolved, inventory)
    controls = [c for c in whole.access_control if c.resource in labels]
    ids = {policy for c in controls for policy in c.policies}
    return AccessList(policies=[p for p in whole.policies if p.id in ids], access_control=controls)


def lists(resolved: Resolved, inventory: Inventory, stack: str) -> dict[str, bytes]:
    """Cirun's two lists as far as they are about one stack: file name -> content."""
    only = replace(resolved, stacks={stack: resolved.stacks[stack]})
    access = access_text(own_access(resolved, inventory, stack))
    return {ACCESS: access.encode(), RUNNERS: runners_text(only).encode()}


def changes(deployment: Deployment, new: Mapping[str, bytes], stack: Stack) -> list[dict[str, Any]]:
    """What an apply does to the lists that are delivered, in the form of a plan's items. `new`: none if all go."""
    none = AccessList()
    before = _read(deployment.delivered / ACCESS) or none
    found = _access_change(before, read_access(new[ACCESS], ACCESS) if new else none, stack)
    path = deployment.delivered / RUNNERS
    known = path.read_bytes() if path.is_file() else _NO_RUNNERS
    wanted = new.get(RUNNERS, _NO_RUNNERS)
    if known != wanted:
        action = "create" if known == _NO_RUNNERS else "delete" if wanted == _NO_RUNNERS else "update"
        found.append(_item(RUNNERS, action, "Cirun's runner entries", ()))
    return found


_NO_RUNNERS = runners_text(Resolved(date.min, {}, (), Catalog({}, {}))).encode()


def _access_change(before: AccessList, after: AccessList, stack: Stack) -> list[dict[str, Any]]:
    old, new = rows(before), rows(after)
    added, removed = new.keys() - old.keys(), old.keys() - new.keys()
    changed = {row for row in new.keys() & old.keys() if new[row] != old[row]}
    if not (added or removed or changed):
        return []
    counts = ((added, "added"), (removed, "removed"), (changed, "changed"))
    what = f"access list: {', '.join(f'{len(rows)} {word}' for rows, word in counts if rows)}"
    classes = {offer.label: name for name, offer in stack.offers.items()}
    grants = {
        f"{repository}/{classes.get(label, label)}" for repository, label, _ in added | removed | changed
    }
    return [_item(ACCESS, "create" if not old else "update" if new else "delete", what, grants)]


def _item(name: str, action: str, what: str, grants: Iterable[str]) -> dict[str, Any]:
    return {"address": f"list:{name}", "action": action, "what": what, "grants": sorted(grants)}


def _read(path: Path) -> AccessList | None:
    return read_access(path.read_bytes(), ACCESS) if path.is_file() else None


def take_back(deployment: Deployment, new: AccessList | None) -> None:
    """First half of an apply: who is to lose access loses it now, before any machine goes."""
    path = deployment.delivered / ACCESS
    old = _read(path)
    if old is not None:
        write(path, access_text(common(old, new or AccessList())).encode())


def give(deployment: Deployment, resolved: Resolved, inventory: Inventory) -> None:
    """Second half of an apply: the lists, now that what they open is there."""
    for file, content in lists(resolved, inventory, deployment.stack).items():
        write(deployment.delivered / file, content)


def withdraw(deployment: Deployment) -> None:
    """After a stack is destroyed: nothing of it is given any more."""
    if deployment.delivered.is_dir():
        for path in deployment.delivered.iterdir():
            path.unlink()
        deployment.delivered.rmdir()
