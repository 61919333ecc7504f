"""What those who use a stack are given: Cirun's two lists for its labels, and the logins that were made for them.

Sinks of the real world come one by one; what goes to the sandbox, and to the sink `file`, is a file with mode 600.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from cf_infra.access import (
    AccessList,
    access_text,
    export_access,
    read_access,
    runners_text,
)
from cf_infra.catalog import Catalog
from cf_infra.deployment import Deployment, InventoryFile
from cf_infra.diagnostics import Diagnostic
from cf_infra.files import write
from cf_infra.github_files import ACCESS, RUNNERS, common, rows
from cf_infra.keys import Ring, password
from cf_infra.model import CredentialKind, Inventory, Stack
from cf_infra.names import is_sandbox, prefix
from cf_infra.openstack import Login
from cf_infra.resolve import Resolved, ResolvedStack

FILE = "file"


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


def give(
    deployment: Deployment,
    resolved: Resolved,
    inventory: Inventory,
    placed: InventoryFile,
    login: Login,
    ring: Ring,
    made: Mapping[str, Any],
) -> list[Diagnostic]:
    """Second half of an apply: lists and logins, now that what they open is there. Returns what needs a hand.

    `made`: the application credentials by `name/generation`, as OpenTofu's output `credentials` has them.
    """
    stack = resolved.stacks[deployment.stack]
    for file, content in lists(resolved, inventory, deployment.stack).items():
        write(deployment.delivered / file, content)
    _forget_others(deployment, stack)
    values = {name: _value(stack, placed, login, ring, made, name) for name in stack.stack.credentials}
    return [
        fault
        for name, value in values.items()
        if value is not None
        for fault in _hand_over(deployment, stack, name, value)
    ]


def _forget_others(deployment: Deployment, stack: ResolvedStack) -> None:
    """A login that is in the stack file no more is of no use to anybody."""
    for path in deployment.delivered.glob("*.json"):
        if path.stem not in stack.stack.credentials:
            path.unlink()


def _due(stack: ResolvedStack, name: str) -> int:
    return max(g.number for g in stack.generations.values() if g.name == name)


def _value(
    stack: ResolvedStack,
    placed: InventoryFile,
    login: Login,
    ring: Ring,
    made: Mapping[str, Any],
    name: str,
) -> dict[str, str | None] | None:
    """What its user needs to log in; None if somebody else made the login."""
    credential, due = stack.stack.credentials[name], _due(stack, name)
    where: dict[str, str | None] = {"auth_url": login.auth_url, "network": f"{prefix(stack.name)}-net"}
    if credential.source is not None:
        return None
    if credential.kind is CredentialKind.USER:
        return {
            "username": f"{prefix(stack.name)}-{name}-{due}",
            "password": password(ring.of(), name, due),
            "project_id": placed.project,
            "domain_id": "default",
            **where,
        }
    own = made[f"{name}/{due}"]
    return {"application_credential_id": own["id"], "application_credential_secret": own["secret"], **where}


def _hand_over(
    deployment: Deployment, stack: ResolvedStack, name: str, value: Mapping[str, str | None]
) -> list[Diagnostic]:
    credential = stack.stack.credentials[name]
    sinks = [sink for sink in credential.deliver if not is_sandbox(deployment.cloud) and sink != FILE]
    if len(sinks) < len(credential.deliver):
        raw = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        write(deployment.delivered / f"{name}.json", raw, mode=0o600)
    return [
        Diagnostic(
            "undelivered",
            file=f"stacks/{stack.name}.yaml",
            path=("credentials", name, "deliver"),
            label="no way there yet",
            detail=f"`{name}` was made, generation {_due(stack, name)}, and cf-infra has no way to `{sink}` yet.",
            hint=f"let it be written to a file with mode 600, and hand it over:\ndeliver: [{FILE}]",
        )
        for sink in sinks
    ]


def withdraw(deployment: Deployment) -> None:
    """After a stack is destroyed: nothing of it is given any more."""
    if deployment.delivered.is_dir():
        for path in deployment.delivered.iterdir():
            path.unlink()
        deployment.delivered.rmdir()
